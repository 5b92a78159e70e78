from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.ensemble import SelfEnsemble, self_ensemble
from zoo.errors import InputError
from zoo.espcn import ESPCN
from zoo.srcnn import SRCNN

TURNS: list[Callable[[Tensor], Tensor]] = [
    lambda x, k=quarters, m=mirrored: torch.rot90(x.flip(3) if m else x, k, (2, 3))
    for quarters in range(4)
    for mirrored in (False, True)
]  # type: ignore[misc]


def network(scale: int) -> nn.Module:
    torch.manual_seed(scale)
    net = ESPCN(scale, 16, 8)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.requires_grad_(False)


@pytest.mark.parametrize("turn", TURNS, ids=[f"turn{i}" for i in range(8)])
@pytest.mark.parametrize("scale", [2, 3])
def test_what_is_turned_first_is_turned_afterwards_to_the_last_bit(
    turn: Callable[[Tensor], Tensor], scale: int
) -> None:
    both = SelfEnsemble(network(scale))
    x = torch.rand(2, 1, 11, 17)
    assert torch.equal(both(turn(x)), turn(both(x)))
    assert not torch.equal(network(scale)(x.flip(3)), network(scale)(x).flip(3))


def test_it_is_the_mean_of_eight_by_another_route() -> None:
    net = network(2).double()
    x = torch.rand(1, 1, 6, 9, dtype=torch.float64)
    back: list[Tensor] = []
    for mirrored in (False, True):
        for k in range(4):
            seen = torch.rot90(x.flip(2) if mirrored else x, k, (2, 3))
            out = torch.rot90(net(seen), -k, (2, 3))
            back.append(out.flip(2) if mirrored else out)
    expected = torch.stack(back).mean(0)
    torch.testing.assert_close(SelfEnsemble(net)(x), expected, rtol=0, atol=1e-14)


def test_an_even_network_is_its_own_ensemble() -> None:
    blur = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.constant_(blur.weight, 1 / 9)
    x = torch.rand(1, 1, 5, 8)
    torch.testing.assert_close(SelfEnsemble(blur)(x), blur(x))


def test_double_input_that_comes_back_unchanged_is_left_alone() -> None:
    x = torch.rand(1, 1, 3, 4, dtype=torch.float64)
    before = x.clone()
    torch.testing.assert_close(SelfEnsemble(nn.Identity())(x), before)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["espcn", "srcnn-9-1-5", "bicubic"])
def test_a_plus_behind_any_name_is_its_ensemble(name: str) -> None:
    plain, _ = zoo.load(name)
    method, tag = zoo.load(f"{name}+@none")
    assert (method.name, tag) == (f"{name}+", "none")
    assert method.wrap is not None
    assert isinstance(method.wrap(nn.Identity()), SelfEnsemble)
    assert (method.weights, method.takes) == (plain.weights, plain.takes)
    assert plain.multiplies is not None
    assert method.multiplies is not None
    assert method.multiplies(2, method.settings) == 8 * plain.multiplies(2, plain.settings)


def test_settings_stand_behind_the_plus_and_the_name_can_be_given_again() -> None:
    method, tag = zoo.load("srcnn-9-1-5+:n1=8@none")
    assert (method.name, tag) == ("srcnn-9-1-5+:n1=8", "none")
    assert zoo.load(method.name)[0].name == method.name
    built = method.build(2, method.settings)
    assert isinstance(built, SRCNN)
    assert built.conv1.out_channels == 8


def test_an_ensemble_of_an_ensemble_is_refused() -> None:
    with pytest.raises(InputError, match=r"no method 'espcn\+'; did you mean 'espcn'"):
        zoo.load("espcn++")


def test_a_file_of_ones_own_has_an_ensemble(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from torch import nn\nfrom zoo.method import Method\nNAMES = ('mine',)\n"
        "def method(name):\n    return Method(name=name, citation='me', takes='interpolated', "
        "channels='any', build=lambda scale, settings: nn.Identity())\n"
    )
    method, tag = zoo.load(f"{path}+@none")
    assert (method.name, tag) == ("mine+", "none")
    assert method.wrap is not None
    assert isinstance(method.wrap(nn.Identity()), SelfEnsemble)


def test_what_a_card_wraps_around_its_network_stays_inside_the_ensemble() -> None:
    inner = replace(zoo.load("espcn")[0], wrap=lambda network: nn.Sequential(network, nn.Tanh()))
    wrap = self_ensemble(inner).wrap
    assert wrap is not None
    both = wrap(nn.Identity())
    assert isinstance(both, SelfEnsemble)
    assert isinstance(both.network, nn.Sequential)
