from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import zoo
from bench import costs
from bench.costs import Subject, multiplies, parameters, seconds
from bench.costs.multiplies import MultiplyCounter, UnknownOperatorError
from bench.protocol import load
from zoo.errors import InputError
from zoo.method import Method

CPU = torch.device("cpu")


def subject(spec: str, scale: int, repetitions: int = 3) -> Subject:
    method, _ = zoo.load(spec)
    return of(method, method.build(scale, method.settings), scale, repetitions)


def of(method: Method, module: nn.Module, scale: int, repetitions: int = 3) -> Subject:
    return Subject(
        method=method,
        module=module.eval().requires_grad_(False),
        scale=scale,
        protocol=load("srcnn2014"),
        device=CPU,
        repetitions=repetitions,
    )


def counted(spec: str, scale: int) -> dict[str, float]:
    return {name: cost.value for name, cost in multiplies.measure(subject(spec, scale)).items()}


def closed_form(name: str, scale: int) -> float:
    """Multiplies per LR pixel, in millions, as the method's own file states them."""
    method, _ = zoo.load(name)
    assert method.multiplies is not None, f"{name} states no closed form"
    return method.multiplies(scale, method.settings) / 1e6


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", zoo.names())
def test_count_equals_the_closed_form(name: str, scale: int) -> None:
    method, _ = zoo.load(name)
    if method.scales and scale not in method.scales:
        pytest.skip(f"{name} has no x{scale}")
    found = counted(name, scale)
    assert found["multiplies_per_input_px"] == closed_form(name, scale)
    assert found["multiplies_per_output_px"] == pytest.approx(closed_form(name, scale) / scale**2)
    by_720p = found["multiplies_per_output_px"] * 1280 * 720 / 1e3
    assert found["multiplies_720p"] == pytest.approx(by_720p)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("srcnn-9-1-5", 0.032128), ("srcnn-9-5-5", 0.228736), ("espcn", 0.021184)],
)
def test_count_at_x2_is_what_the_literature_states(name: str, expected: float) -> None:
    assert counted(name, 2)["multiplies_per_input_px"] == expected


def test_srcnn_9_5_5_takes_52_7_billion_at_720p_whatever_the_scale() -> None:
    found = [counted("srcnn-9-5-5", scale)["multiplies_720p"] for scale in (2, 3, 4)]
    assert found == pytest.approx([52.7007744] * 3, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"), [("srcnn-9-1-5", 8129), ("srcnn-9-5-5", 57281), ("espcn", 21284)]
)
def test_parameters_at_x2_are_what_the_literature_states(name: str, expected: int) -> None:
    assert parameters.measure(subject(name, 2))["parameters"].value == expected


def test_shared_parameters_are_counted_once() -> None:
    layer = nn.Linear(3, 4)
    twice = of(zoo.load("bicubic")[0], nn.Sequential(layer, nn.ReLU(), layer), 2)
    assert parameters.measure(twice)["parameters"].value == 3 * 4 + 4


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("bicubic", 2, 24),  # 4 taps for 2 rows, then 4 taps for 4 pixels
        ("bicubic", 3, 32),  # the middle one of three is a copy: 8 for rows, 3 * 8 for columns
        ("bilinear", 2, 12),
        ("nearest", 2, 0),
        ("srcnn-9-1-5", 2, 24),
        ("espcn", 2, 0),
    ],
)
def test_interpolation_multiplies_by_hand(name: str, scale: int, expected: int) -> None:
    found = counted(name, scale)["interpolation_multiplies_per_input_px"]
    assert found == pytest.approx(expected / 1e6, rel=1e-12)


def products(function: Callable[[], object]) -> int:
    with torch.no_grad(), MultiplyCounter() as counter:
        function()
    assert not counter.elementwise
    return counter.products.total()


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 10, 12), 8 * 10 * 12 * 3 * 9),
        (nn.Conv2d(3, 8, 3), (1, 3, 10, 12), 8 * 8 * 10 * 3 * 9),
        (nn.Conv2d(3, 8, 3, padding=1), (5, 3, 10, 12), 5 * 8 * 10 * 12 * 3 * 9),
        (nn.Conv2d(8, 4, (1, 5), padding=(0, 2)), (1, 8, 10, 12), 4 * 10 * 12 * 8 * 5),
        (nn.Conv2d(8, 16, 3, padding=1, groups=4), (1, 8, 6, 6), 16 * 36 * 2 * 9),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (1, 8, 6, 6), 8 * 36 * 9),
        (nn.Conv2d(2, 4, 3, stride=2, padding=1), (1, 2, 8, 8), 4 * 16 * 2 * 9),
        (nn.Conv2d(2, 4, 3, dilation=2), (1, 2, 9, 9), 4 * 25 * 2 * 9),
        (nn.ConvTranspose2d(2, 4, 9, stride=3, padding=4), (1, 2, 5, 5), 25 * 2 * 4 * 81),
        (nn.ConvTranspose2d(4, 8, 2, stride=2, groups=2), (1, 4, 5, 5), 25 * 4 * 4 * 4),
        (nn.Conv1d(2, 3, 5), (1, 2, 20), 3 * 16 * 2 * 5),
        (nn.Conv3d(1, 2, 3), (1, 1, 5, 5, 5), 2 * 27 * 27),
        (nn.Linear(7, 5), (6, 7), 6 * 5 * 7),
        (nn.Linear(7, 5, bias=False), (2, 3, 7), 6 * 5 * 7),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Module) else "",
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_layer_counts_by_hand(
    layer: nn.Module, shape: tuple[int, ...], expected: int, device: str
) -> None:
    x, moved = torch.zeros(shape, device=device), layer.to_empty(device=device)
    assert products(lambda: moved(x)) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda: torch.zeros(3, 4) @ torch.zeros(4, 5), 60),
        (lambda: torch.zeros(3, 4) @ torch.zeros(4), 12),
        (lambda: torch.zeros(4) @ torch.zeros(4), 4),
        (lambda: torch.zeros(2, 6, 3, 4) @ torch.zeros(2, 6, 4, 5), 12 * 60),
        (lambda: torch.zeros(2, 3, 4) @ torch.zeros(4, 5), 2 * 60),
        (lambda: torch.bmm(torch.zeros(2, 3, 4), torch.zeros(2, 4, 5)), 2 * 60),
        (lambda: torch.addmm(torch.zeros(5), torch.zeros(3, 4), torch.zeros(4, 5)), 60),
        (lambda: torch.einsum("ij,jhw->ihw", torch.zeros(3, 4), torch.zeros(4, 5, 6)), 360),
    ],
    ids=["matrices", "vector", "dot", "batched", "broadcast", "bmm", "addmm", "einsum"],
)
def test_matrix_product_counts_by_hand(function: Callable[[], Tensor], expected: int) -> None:
    assert products(function) == expected


def elementwise(function: Callable[[Tensor], object]) -> int:
    """Multiplies of single elements on an input of 24."""
    x = torch.zeros(1, 2, 3, 4)
    with torch.no_grad(), MultiplyCounter() as counter:
        function(x)
    assert not counter.products
    return counter.elementwise.total()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x + x, 0),
        (lambda x: torch.add(x, x, alpha=0.1), 24),
        (lambda x: x.add_(x, alpha=0.1), 24),
        (lambda x: torch.sub(x, x, alpha=3), 24),
        (lambda x: torch.add(x, x, alpha=1), 0),
        (lambda x: x * 0.1, 24),
        (lambda x: x / 255, 24),
        (lambda x: x - 1, 0),
        (lambda x: functional.prelu(x, torch.zeros(1)), 24),
        (lambda x: functional.leaky_relu(x, 0.2), 24),
        (lambda x: functional.batch_norm(x, torch.zeros(2), torch.ones(2)), 24),
        (torch.relu, 0),
        (torch.tanh, 0),
        (lambda x: functional.pixel_shuffle(x.reshape(1, 4, 2, 3), 2), 0),
        (lambda x: functional.pad(x, (1, 1, 1, 1), mode="replicate"), 0),
    ],
)
def test_single_elements_count_by_hand(function: Callable[[Tensor], object], expected: int) -> None:
    assert elementwise(function) == expected


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (torch.fft.fft2, "_fft"),
        (torch.linalg.svd, "_linalg_svd"),
        (lambda x: functional.interpolate(x, scale_factor=2, mode="bicubic"), "bicubic2d"),
        (lambda x: functional.scaled_dot_product_attention(x, x, x), "aten"),
        (lambda x: x.cumsum(0), "cumsum"),
    ],
    ids=["fft", "svd", "interpolate", "attention", "cumsum"],
)
def test_operator_that_is_in_no_table_is_named(function: Any, operator: str) -> None:
    x = torch.ones(1, 2, 3, 4)
    with (
        pytest.raises(
            UnknownOperatorError, match=rf"operator .*{operator}.* is unknown to the counter; add"
        ),
        MultiplyCounter(),
    ):
        function(x)


class Toy(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def toy(function: Callable[[Tensor], Any], channels: Literal["luma", "RGB"] = "luma") -> Subject:
    method = Method(
        name="toy",
        citation="",
        takes="interpolated",
        channels=channels,
        build=lambda scale, settings: nn.Identity(),
    )
    return of(method, Toy(function), 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x.sum().item(),
        lambda x: x if float(x.sum()) > 0 else -x,
        lambda x: torch.from_numpy(x.numpy()),
        lambda x: x.no_such_attribute,
    ],
    ids=["item", "branch", "numpy", "bug"],
)
def test_method_that_reads_values_cannot_be_counted_and_says_so(
    function: Callable[[Tensor], Any],
) -> None:
    with pytest.raises(InputError, match=r"multiplies of toy cannot be counted: \w+: .*; keep its"):
        multiplies.measure(toy(function))


def test_unknown_operator_of_a_method_is_named() -> None:
    with pytest.raises(UnknownOperatorError, match="fft"):
        multiplies.measure(toy(lambda x: torch.fft.fft2(x).real))


def test_elementwise_multiplies_are_kept_apart() -> None:
    found = multiplies.measure(toy(lambda x: x * 0.5))
    assert found["multiplies_per_input_px"].value == 0
    assert found["elementwise_multiplies_per_input_px"].value == pytest.approx(4 / 1e6)


def test_rgb_method_interpolates_three_planes() -> None:
    found = multiplies.measure(toy(lambda x: x, "RGB"))
    assert found["interpolation_multiplies_per_input_px"].value == pytest.approx(3 * 24 / 1e6)


def test_counting_leaves_the_module_where_it_was() -> None:
    given = subject("espcn", 2)
    multiplies.measure(given)
    assert {parameter.device.type for parameter in given.module.parameters()} == {"cpu"}


@pytest.mark.parametrize("name", costs.names())
def test_cost_gives_exactly_the_quantities_that_it_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seconds, "OUTPUT_720P", (24, 32))
    file = costs.load(name)
    assert file.measure(subject("espcn", 2)).keys() == file.UNITS.keys()


@pytest.mark.parametrize(
    ("times", "expected"),
    [([7.0], 0.0), ([1.0, 3.0], 1.0), ([4.0, 1.0, 3.0, 2.0], 1.5), ([5.0, 1, 2, 3, 4], 2.0)],
)
def test_interquartile_range_by_hand(times: list[float], expected: float) -> None:
    assert seconds.interquartile_range(times) == pytest.approx(expected)


class Clock:
    """A clock that only work moves: by 100 s the first time, then by 1, 2, 3, ... s."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = iter([100.0, *range(1, 100)])

    def work(self) -> None:
        self.now += next(self.steps)


def test_repeat_keeps_every_repetition_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    assert seconds.repeat(clock.work, CPU, 4) == [1.0, 2.0, 3.0, 4.0]


def test_seconds_are_the_median_with_its_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(), []
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(seconds, "forward", lambda lr, *_: (calls.append(lr.shape), clock.work()))
    cost = seconds.measure(subject("srcnn-9-1-5", 3, repetitions=5))["seconds"]
    assert (cost.value, cost.spread) == (3.0, 2.0)
    assert cost.note.startswith("1281x720 output, median of 5")
    assert calls == [(1, 240, math.ceil(1280 / 3))] * 6


def test_unknown_cost_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no cost 'second'; did you mean 'seconds'\?"):
        costs.load("second")
