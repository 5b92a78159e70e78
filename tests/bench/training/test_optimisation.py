"""Rates, groups, clipping and first weights against numbers worked by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from skimage.transform import downscale_local_mean
from torch import Tensor, nn

import zoo
from bench.training import optimisation
from zoo.errors import InputError
from zoo.recipe import Descent

PLAIN = Descent(patch=8, rate=0.8, batch=4, updates=100)


def rates(at: list[int], **choices: Any) -> list[float]:
    descent = replace(PLAIN, **choices)
    return [optimisation.rate_at(descent, update) for update in at]


# Schedules


def test_constant_stays() -> None:
    assert rates([0, 1, 99, 10**7]) == [0.8] * 4


def test_cosine_falls_from_the_whole_to_nearly_nothing() -> None:
    # cos 0, 45, 90, 120 degrees: 1, 0.70711, 0, -0.5; (1 + cos) / 2 of 0.8
    found = rates([0, 30, 60, 80], schedule="cosine", updates=120)
    assert found == pytest.approx([0.8, 0.4 * (1 + math.sqrt(0.5)), 0.4, 0.2])
    [last] = rates([119], schedule="cosine", updates=120)
    assert 0 < last < 0.8 * 0.0002


def test_steps_come_after_equal_spans() -> None:
    found = rates([0, 9, 10, 19, 20, 30], schedule="steps of 10 by 0.5")
    assert found == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2, 0.1])


def test_at_names_the_updates() -> None:
    found = rates([0, 6, 7, 49, 50, 99], schedule="at 7,50 by .1")
    assert found == pytest.approx([0.8, 0.8, 0.08, 0.08, 0.008, 0.008])


def test_warmup_rises_to_what_the_schedule_says() -> None:
    assert rates([0, 1, 2, 3, 4], warmup=4) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    found = rates([0, 1, 2, 3], warmup=4, schedule="steps of 2 by 0.5")
    assert found == pytest.approx([0.2, 0.4, 0.3, 0.4])


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "linear",
        "constant ",
        "steps",
        "steps of 10",
        "steps of 0 by 0.5",
        "steps of 200,000 by 0.5",
        "at ,5 by 0.1",
        "at 5, by 0.1",
        "at 5 by 0",
        "at 5 by 2",
        "at 5 by -0.1",
        "at 5 by 1e-1",
        "steps of 10 by 0.5 ",
    ],
)
def test_a_schedule_that_says_nothing_is_refused_in_a_line(schedule: str) -> None:
    with pytest.raises(InputError, match="; give one of: constant, cosine") as error:
        optimisation.refuse_bad_choices(replace(PLAIN, schedule=schedule))
    assert repr(schedule) in str(error.value)
    assert "\n" not in str(error.value)


# Checks


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("patch", 0, "at least 1"),
        ("stride", -1, "at least 0"),
        ("border", -6, "at least 0"),
        ("batch", 0, "at least 1"),
        ("updates", 0, "at least 1"),
        ("warmup", -1, "at least 0"),
        ("skip", math.nan, "at least 0"),
        ("skip", math.inf, "at least 0"),
        ("rate", 0.0, "above 0"),
        ("rate", -0.1, "above 0"),
        ("rate", math.nan, "above 0"),
        ("rate", math.inf, "above 0"),
        ("momentum", 1.0, "at least 0 and less than 1"),
        ("momentum", math.nan, "at least 0 and less than 1"),
        ("beta2", 1.0, "at least 0 and less than 1"),
        ("beta2", -0.1, "at least 0 and less than 1"),
        ("epsilon", -1e-8, "at least 0"),
        ("weight_decay", math.nan, "at least 0"),
        ("weight_decay", -1e-4, "at least 0"),
        ("scales", (2, 1), "at least 2"),
        ("scales", (0,), "at least 2"),
        ("rates", {"*": -1.0}, "at least 0"),
        ("rates", {"*": math.nan}, "at least 0"),
        ("clip", "0.4", "'norm LIMIT' or 'value LIMIT'"),
        ("clip", "norm", "'norm LIMIT' or 'value LIMIT'"),
        ("clip", "norm -0.4", "'norm LIMIT' or 'value LIMIT'"),
        ("clip", "norm 0", "'norm LIMIT' or 'value LIMIT'"),
        ("clip", "value 0.4 /rate", "'norm LIMIT' or 'value LIMIT'"),
    ],
)
def test_what_makes_no_training_is_refused_in_a_line(key: str, value: Any, says: str) -> None:
    optimisation.refuse_bad_choices(PLAIN)
    with pytest.raises(InputError) as error:
        optimisation.refuse_bad_choices(replace(PLAIN, **{key: value}))
    assert str(error.value).startswith(key)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_every_recipe_of_the_zoo_passes_the_checks() -> None:
    found = [
        recipe.learn
        for name in zoo.names()
        for recipe in zoo.load(name)[0].recipes
        if isinstance(recipe.learn, Descent)
    ]
    assert len(found) >= 3
    for descent in found:
        optimisation.refuse_bad_choices(descent)


# Optimizers


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3)
        self.conv2 = nn.Conv2d(2, 1, 1)


def step(module: nn.Module, descent: Descent, gradient: float = 1.0) -> dict[str, Tensor]:
    """By how much each parameter falls in an update whose every gradient is the same."""
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    trainer, factors = optimisation.optimizer(module, descent, descent.rate)
    for group, factor in zip(trainer.param_groups, factors, strict=True):
        group["lr"] = descent.rate * factor
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    trainer.step()
    return {name: before[name] - p.detach() for name, p in module.named_parameters()}


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_each_parameter_moves_at_the_rate_of_the_last_pattern_that_fits(kind: Any) -> None:
    patterns = {"conv1.*": 0.5, "*.bias": 0.1, "conv2.weight": 0.0}
    descent = replace(PLAIN, optimizer=kind, rates=patterns, epsilon=0.0)
    fallen = step(Chain(), descent)
    # the first update of SGD is rate * gradient, and Adam's is the rate
    expected = {"conv1.weight": 0.4, "conv1.bias": 0.08, "conv2.weight": 0.0, "conv2.bias": 0.08}
    assert fallen.keys() == expected.keys()
    for name, fall in fallen.items():
        assert torch.allclose(fall, torch.full_like(fall, expected[name]), atol=1e-6), name


def test_the_order_of_patterns_decides() -> None:
    fallen = step(Chain(), replace(PLAIN, optimizer="sgd", rates={"*.bias": 0.1, "conv1.*": 0.5}))
    assert fallen["conv1.bias"].tolist() == pytest.approx([0.4, 0.4], abs=1e-6)
    assert fallen["conv2.bias"].tolist() == pytest.approx([0.08], abs=1e-6)


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"rates\.conv9\.\*: no parameter of that name"):
        optimisation.optimizer(Chain(), replace(PLAIN, rates={"conv9.*": 0.1}), 0.8)


def test_momentum_decay_and_betas_are_the_recipes() -> None:
    p = nn.ParameterList([torch.tensor([2.0])])
    sgd = replace(PLAIN, optimizer="sgd", rate=0.5, momentum=0.25, weight_decay=0.1)
    trainer, _ = optimisation.optimizer(p, sgd, 0.5)
    for gradient in (1.0, 3.0):
        p[0].grad = torch.tensor([gradient])
        trainer.step()
    # v = 1 + 0.2 = 1.2, p = 1.4; v = 0.25 * 1.2 + 3 + 0.14 = 3.44, p = -0.32
    assert p[0].item() == pytest.approx(-0.32)

    p = nn.ParameterList([torch.tensor([2.0])])
    adam = replace(PLAIN, rate=0.5, momentum=0.5, beta2=0.75, epsilon=1.0)
    trainer, _ = optimisation.optimizer(p, adam, 0.5)
    for gradient in (1.0, 3.0):
        p[0].grad = torch.tensor([gradient])
        trainer.step()
    # m / (1 - 0.5) = 1, v / (1 - 0.75) = 1: p = 2 - 0.5 * 1 / 2 = 1.75
    # m = 0.25 + 1.5, over 0.75; v = 0.1875 + 2.25, over 0.4375
    second = 1.75 - 0.5 * (1.75 / 0.75) / (math.sqrt(2.4375 / 0.4375) + 1)
    assert p[0].item() == pytest.approx(second)


# Clipping


def clipped(text: str, rate: float = 0.5) -> list[list[float]]:
    """What is left of the gradients (3, 0) and (0, 4), whose norm is 5."""
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, -4.0])
    optimisation.clip(parameters, text, rate)
    return [parameter.grad.tolist() for parameter in parameters if parameter.grad is not None]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", [[3, 0], [0, -4]]),
        ("norm 5.1", [[3, 0], [0, -4]]),
        ("norm 1", [[0.6, 0], [0, -0.8]]),
        ("norm 1/rate", [[1.2, 0], [0, -1.6]]),
        ("value .5", [[0.5, 0], [0, -0.5]]),
        ("value 1.75/rate", [[3, 0], [0, -3.5]]),
    ],
)
def test_gradients_are_clipped(text: str, left: list[list[float]]) -> None:
    for found, expected in zip(clipped(text), left, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


# First weights


def photograph() -> Tensor:
    """(1, 1, 64, 64) in [0, 1]."""
    small = downscale_local_mean(data.camera()[64:320, 128:384] / 255.0, (4, 4))
    return torch.from_numpy(small)[None, None].float()


def started(name: str, how: str, scale: int = 3, seed: int = 0) -> nn.Module:
    method, _ = zoo.load(name)
    network = method.build(scale, method.settings)
    optimisation.initialise(network, how, torch.Generator().manual_seed(seed))
    return network


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


@torch.no_grad()
def keep_the_path(network: nn.Module) -> None:
    """Set aside all that is drawn: what is left is the first channel's way through."""
    *rest, last = convolutions(network)
    for layer in rest:
        layer.weight[1:] = 0
    last.weight[:, 1:] = 0


def psnr(sr: Tensor, hr: Tensor) -> float:
    return float(-10 * (sr - hr).square().mean().log10())


@torch.no_grad()
def test_srcnn_starts_by_passing_its_input_on() -> None:
    x = photograph()
    network = started("srcnn-9-1-5", "pass")
    assert psnr(network(x), x) > 20
    keep_the_path(network)
    assert torch.allclose(network(x), x, rtol=0, atol=1e-6)


@torch.no_grad()
def test_espcn_starts_as_the_nearest_neighbour_but_for_tanhs_curvature() -> None:
    x = photograph()
    nearest = x.repeat_interleave(3, -1).repeat_interleave(3, -2)
    network = started("espcn", "pass")
    assert psnr(network(x), nearest) > 15
    keep_the_path(network)
    bent = 4 * torch.tanh(torch.tanh(nearest / 2) / 2)
    assert torch.allclose(network(x), bent, rtol=0, atol=1e-6)
    # tanh t = t - t**3 / 3 + ...: what is lost of white is at most 4 * (1/24 + 1/192) = 3/16
    assert float((nearest - bent).max()) < 3 / 16
    assert torch.allclose(network(x / 10), nearest / 10, rtol=0, atol=2e-4)


@torch.no_grad()
def test_he_draws_for_relu() -> None:
    network = started("srcnn-9-5-5", "he")
    for layer, taps in zip(convolutions(network), (81, 64 * 25, 32 * 25), strict=True):
        count = layer.weight.numel()
        # the variance of n draws has a deviation of sqrt(2 / n) of itself
        assert float(layer.weight.var()) == pytest.approx(2 / taps, rel=5 * math.sqrt(2 / count))
        assert abs(float(layer.weight.mean())) < 5 * math.sqrt(2 / taps / count)
        assert layer.bias is not None
        assert not layer.bias.any()


@torch.no_grad()
def test_pass_draws_the_rest_as_he_and_little_of_it_reaches_sr() -> None:
    network = started("srcnn-9-5-5", "pass")
    *_, middle, last = convolutions(network)
    assert float(middle.weight[1:].var()) == pytest.approx(2 / (64 * 25), rel=0.05)
    assert float(last.weight[:, 1:].std()) == pytest.approx(0.05 * math.sqrt(2 / 800), rel=0.2)


@pytest.mark.parametrize("how", ["he", "pass"])
def test_first_weights_come_from_the_generator_alone(how: str) -> None:
    torch.manual_seed(1)
    one = started("srcnn-9-1-5", how).state_dict()
    torch.manual_seed(2)
    same, other = started("srcnn-9-1-5", how), started("srcnn-9-1-5", how, seed=1)
    for key, value in same.state_dict().items():
        assert torch.equal(value, one[key])
    assert not torch.equal(other.state_dict()["conv2.weight"], one["conv2.weight"])


def test_as_built_leaves_every_weight() -> None:
    network = started("espcn", "he")
    before = copy.deepcopy(network.state_dict())
    optimisation.initialise(network, "as built", torch.Generator())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_pass_is_for_luma() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))
    with pytest.raises(InputError, match="on luma; give he"):
        optimisation.initialise(network, "pass", torch.Generator())


# States


def moved(module: nn.Module, trainer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    trainer.step()


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_what_was_kept_of_an_optimizer_gives_the_same_next_steps(kind: Any) -> None:
    descent = replace(
        PLAIN, optimizer=kind, rates={"*.bias": 0.1, "conv2.*": 0.5}, weight_decay=0.1
    )
    module = Chain()
    trainer, _ = optimisation.optimizer(module, descent, 0.01)
    for seed in range(3):
        moved(module, trainer, seed)
    live = optimisation.flat(trainer, "optimizer.")
    kept = {key: value.clone() for key, value in live.items()} | {"other.0.step": torch.ones(())}
    entries = {"adam": ("step", "exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}[kind]
    assert live.keys() == {f"optimizer.{k}.{name}" for k in range(4) for name in entries}

    twin = copy.deepcopy(module)
    fresh, _ = optimisation.optimizer(twin, descent, 0.01)
    moved(twin, fresh, 9)  # restoring replaces what is there
    twin.load_state_dict(module.state_dict())
    optimisation.restore(fresh, kept, "optimizer.")
    for seed in (3, 4):
        moved(module, trainer, seed)
        moved(twin, fresh, seed)
    for (name, one), other in zip(module.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other), name
    after = optimisation.flat(trainer, "optimizer.")
    assert all(after[key] is live[key] for key in live)
    assert not all(torch.equal(kept[key], after[key]) for key in live)


def test_an_optimizer_that_was_not_restored_gives_other_steps() -> None:
    module = Chain()
    trainer, _ = optimisation.optimizer(module, PLAIN, 0.01)
    moved(module, trainer, 0)
    twin = copy.deepcopy(module)
    fresh, _ = optimisation.optimizer(twin, PLAIN, 0.01)
    moved(module, trainer, 1)
    moved(twin, fresh, 1)
    assert not np.array_equal(module.conv1.weight.detach(), twin.conv1.weight.detach())
