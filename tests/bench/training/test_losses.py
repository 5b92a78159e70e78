"""Losses against sums by hand and by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.training import features, losses
from bench.training.losses import Adversary, Objective, Term, parse
from zoo import memnet
from zoo.errors import InputError
from zoo.srresnet import Discriminator

CPU = torch.device("cpu")


class Scaled(nn.Module):
    """A network whose SR is its input times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Supervised(Scaled):
    """The same, with two outputs more."""

    def outputs(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return x * self.weight, (x * self.weight + 0.25, x * 0.75)


def batch(channels: int = 1, side: int = 7, count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand((2, count, channels, side, side), generator=generator))


def loss_of(
    text: str,
    x: Tensor,
    hr: Tensor,
    *,
    border: int = 0,
    network: nn.Module | None = None,
    adversary: Adversary | None = None,
) -> float:
    network = network or Scaled()
    objective = Objective(network, parse(text), border, adversary, CPU)
    loss, sr = objective(x, hr)
    assert not sr.requires_grad
    assert sr.dtype == torch.float32
    assert torch.equal(sr, network(x).detach())
    return float(loss.detach())


# Each term


def by_numpy(name: str, sr: np.ndarray, hr: np.ndarray) -> float:
    difference = sr - hr
    if name == "l1":
        return float(np.mean(np.abs(difference)))
    if name == "l2":
        return float(np.mean(difference**2))
    if name == "euclidean":
        return float(np.mean([np.sum(one**2) / 2 for one in difference]))
    rows, columns = sr[:, :, 1:] - sr[:, :, :-1], sr[:, :, :, 1:] - sr[:, :, :, :-1]
    return float(np.mean(np.abs(rows)) + np.mean(np.abs(columns)))


@pytest.mark.parametrize("name", ["l1", "l2", "euclidean", "tv"])
@pytest.mark.parametrize("border", [0, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_term_is_what_numpy_makes_of_its_formula(name: str, border: int, channels: int) -> None:
    x, hr = batch(channels)
    inside = slice(border, 7 - border)
    cut = [image.double().numpy()[..., inside, inside] for image in (x / 2, hr)]
    assert loss_of(name, x, hr, border=border) == pytest.approx(by_numpy(name, *cut), rel=1e-5)


def test_terms_of_four_pixels_by_hand() -> None:
    x = torch.tensor([[[[0.0, 1.0], [0.5, 0.2]]]])  # SR is 0, 0.5, 0.25, 0.1
    hr = torch.tensor([[[[0.1, 0.5], [0.05, 0.5]]]])  # differs by 0.1, 0, 0.2, 0.4
    assert loss_of("l1", x, hr) == pytest.approx(0.7 / 4)
    assert loss_of("l2", x, hr) == pytest.approx(0.21 / 4)
    assert loss_of("euclidean", x, hr) == pytest.approx(0.21 / 2)
    # down |0.25 - 0| and |0.1 - 0.5|, right |0.5 - 0| and |0.1 - 0.25|
    assert loss_of("tv", x, hr) == pytest.approx(0.65 / 2 + 0.65 / 2)


def test_only_what_is_within_the_border_counts() -> None:
    x, hr = batch()
    other = hr.clone()
    other[..., :2, :] = other[..., -2:, :] = other[..., :, :2] = other[..., :, -2:] = 9.0
    assert loss_of("l2", x, hr, border=2) == loss_of("l2", x, other, border=2)
    assert loss_of("l2", x, hr, border=1) != loss_of("l2", x, other, border=1)
    other[..., 3, 3] = 9.0
    assert loss_of("l2", x, hr, border=2) != loss_of("l2", x, other, border=2)


def test_terms_are_added_by_their_weights() -> None:
    x, hr = batch()
    l1, l2, tv = (loss_of(name, x, hr) for name in ("l1", "l2", "tv"))
    assert loss_of("l2 + 0.5 l1 + 2e-3 tv", x, hr) == pytest.approx(l2 + 0.5 * l1 + 2e-3 * tv)
    assert loss_of("0 l1 + l2", x, hr) == pytest.approx(l2)


@pytest.mark.parametrize("border", [0, 1])
def test_multi_supervised_is_lal_and_javids_sum(border: int) -> None:
    x, hr = batch()
    inside = slice(border, 7 - border)
    y = hr.double().numpy()[..., inside, inside]
    s, *memories = (
        image.double().numpy()[..., inside, inside] for image in (x / 2, x / 2 + 0.25, x * 0.75)
    )
    m, b, alpha = 2, 3, 1 / 3
    expected = alpha / (2 * m * b) * np.sum((y - s) ** 2)
    expected += sum((1 - alpha) / (2 * m * b) * np.sum((y - each) ** 2) for each in memories)
    found = loss_of("multi-supervised", x, hr, border=border, network=Supervised())
    assert found == pytest.approx(expected, rel=1e-5)


def memnet_of(*, multi: bool) -> memnet.MemNet:
    torch.manual_seed(0)
    return memnet.MemNet(blocks=2, recursions=1, features=4, gate=1, shared=True, multi=multi)


def test_multi_supervised_trains_every_memory_of_memnet() -> None:
    x, hr = batch()
    network = memnet_of(multi=True)
    Objective(network, parse("multi-supervised"), 0, None, CPU)(x, hr)[0].backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


@pytest.mark.parametrize("network", [Scaled(), memnet_of(multi=False)])
def test_multi_supervised_needs_an_output_a_memory(network: nn.Module) -> None:
    objective = Objective(network, parse("l2 + multi-supervised"), 0, None, CPU)
    with pytest.raises(InputError, match="give memnet:supervision=multi"):
        objective(*batch())


def test_features_are_compared_within_the_border(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def network(found: Any, device: torch.device) -> nn.Module:
        asked.append((found, device))
        return nn.AvgPool2d(5)

    monkeypatch.setattr(features, "network", network)
    x, hr = batch(3)
    means = [image.numpy()[..., 1:6, 1:6].mean((2, 3), dtype=float) for image in (x / 2, hr)]
    expected = np.mean((means[0] - means[1]) ** 2)
    assert loss_of("0.006 vgg19:relu5_4", x, hr, border=1) == pytest.approx(0.006 * expected)
    assert asked == [(features.parse("vgg19:relu5_4"), CPU)]


def test_the_loss_is_taken_in_float32_whatever_the_network_computes_in() -> None:
    x, hr = batch()
    network = nn.Conv2d(1, 1, 3, padding=1)
    objective = Objective(network, parse("euclidean"), 0, None, CPU)
    with torch.autocast("cpu", torch.bfloat16):
        loss, sr = objective(x, hr)
    assert loss.dtype == sr.dtype == torch.float32
    assert torch.equal(sr, sr.bfloat16().float())
    expected = by_numpy("euclidean", sr.double().numpy(), hr.double().numpy())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


# Adversaries


class Judge(nn.Module):
    """A small discriminator, since what is made of its verdicts does not depend on it."""

    def __init__(self, patch: int, dropout: float, place: str) -> None:
        super().__init__()
        self.dense = nn.Linear(3 * patch**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(4 * self.dense(x.flatten(1)))


@pytest.fixture
def small_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "Discriminator", Judge)


def judged(kind: str) -> Adversary:
    """An adversary of 16x16 patches whose verdict is the same each time."""
    torch.manual_seed(0)
    return Adversary({"loss": kind}, 16).eval()


def verdicts(adversary: Adversary, image: Tensor) -> np.ndarray:
    with torch.no_grad():
        found = adversary.judge(image).double().numpy()
    assert found.shape == (3, 1)
    assert ((found > 0) & (found < 1)).all()
    return found


@pytest.mark.usefixtures("small_judge")
def test_a_logarithmic_adversary_is_srgans() -> None:
    adversary = judged("log")
    x, hr = batch(3, 16)
    real, fake = verdicts(adversary, hr), verdicts(adversary, x / 2)
    found = adversary(x / 2, hr)
    assert float(found.detach()) == pytest.approx(
        np.mean(-np.log(real) - np.log(1 - fake)), rel=1e-5
    )
    share = np.mean(-np.log(fake))
    assert loss_of("adversarial", x, hr, adversary=adversary) == pytest.approx(share, rel=1e-5)
    found = loss_of("l1 + 0.1 adversarial", x, hr, adversary=adversary)
    assert found == pytest.approx(loss_of("l1", x, hr) + 0.1 * share, rel=1e-5)


@pytest.mark.usefixtures("small_judge")
def test_a_linear_adversary_is_lal_and_javids() -> None:
    adversary = judged("linear")
    x, hr = batch(3, 16)
    real, fake = verdicts(adversary, hr), verdicts(adversary, x / 2)
    found = adversary(x / 2, hr)
    assert float(found.detach()) == pytest.approx(np.mean(1 - real + fake), rel=1e-5)
    share = loss_of("adversarial", x, hr, adversary=adversary)
    assert share == pytest.approx(np.mean(1 - fake), rel=1e-5)


@pytest.mark.usefixtures("small_judge")
def test_log_is_the_adversary_where_none_is_named() -> None:
    torch.manual_seed(0)
    plain = Adversary({}, 16).eval()
    x, hr = batch(3, 16)
    assert torch.equal(plain(x, hr), judged("log")(x, hr))


@pytest.mark.usefixtures("small_judge")
def test_an_adversary_sees_what_is_within_the_border() -> None:
    adversary = judged("linear")
    x, hr = batch(3, 20)
    fake = verdicts(adversary, x[..., 2:18, 2:18] / 2)
    found = loss_of("adversarial", x, hr, border=2, adversary=adversary)
    assert found == pytest.approx(np.mean(1 - fake), rel=1e-5)


def test_the_generators_share_teaches_the_generator_alone() -> None:
    adversary, network = judged("log").train(), Scaled()
    assert isinstance(adversary.judge, Discriminator)
    x, hr = batch(3, 16)
    objective = Objective(network, parse("adversarial"), 0, adversary, CPU)
    assert [name for name, _ in objective.named_parameters()] == ["network.weight"]
    loss, sr = objective(x, hr)
    loss.backward()
    assert network.weight.grad is not None
    assert network.weight.grad != 0
    assert all(parameter.grad is None for parameter in adversary.parameters())

    network.weight.grad = None
    adversary(sr, hr).backward()
    assert network.weight.grad is None
    for name, parameter in adversary.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"loss": "hinge"}, "adversary.loss=hinge: choose from: log, linear"),
        ({"droput": 0.5}, "no choice of an adversary 'droput'; did you mean 'dropout'?"),
        ({"dropout": 0.5}, "dropout 0.5 at place 'none' drops nothing"),
        ({"dropout": 1.0, "place": "dense"}, "give a rate in [0, 1)"),
        ({"place": "head"}, "place 'head'; choose from"),
        ({"rate": -1e-4}, "adversary.rate=-0.0001: give a learning rate"),
        ({"rate": float("nan")}, "adversary.rate=nan: give a learning rate"),
    ],
)
def test_an_adversary_that_there_is_not_is_refused(choices: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as error:
        Adversary(choices, 16)
    assert says in str(error.value)


# Texts


def test_a_loss_is_read_as_weights_and_names() -> None:
    assert parse("l1") == (Term(1.0, "l1"),)
    assert parse("  l2  +  1e-3 adversarial + 2e-8  tv ") == (
        Term(1.0, "l2"),
        Term(1e-3, "adversarial"),
        Term(2e-8, "tv"),
    )
    [term] = parse("0.006 vgg19:relu5_4")
    assert (term.weight, term.is_features) == (0.006, True)
    assert not parse("euclidean")[0].is_features


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no term ''"),
        ("l3", "no term 'l3'; choose from: l1, l2"),
        ("l1+l2", "no term 'l1+l2'"),
        ("l1 +", "weight 'l1'; give terms as WEIGHT NAME"),
        ("l1 + + l2", "loss 'l1 + + l2'"),
        ("l1 l2", "weight 'l1'; give terms as WEIGHT NAME"),
        ("-1 l1", "weight '-1'"),
        ("nan l1", "weight 'nan'"),
        ("inf l1", "weight 'inf'"),
        ("0.1 * l1", "weight '0.1 *'"),
        ("l2 + 0.006 vgg99:relu5_4", "no feature network 'vgg99'"),
        ("vgg19:relu9_9", "no layer of vgg19 'relu9_9'"),
        ("vgg19:", "no layer of vgg19 ''"),
    ],
)
def test_a_loss_that_there_is_not_is_refused_in_a_line(text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_every_plain_term_is_named_when_one_is_missing() -> None:
    with pytest.raises(InputError) as error:
        parse("mse")
    assert all(name in str(error.value) for name in losses._PLAIN)
