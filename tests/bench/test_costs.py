from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import zoo
from bench import costs
from bench.costs import (
    Subject,
    activations,
    additions,
    memory,
    multiplies,
    parameters,
    receptive_field,
    seconds,
)
from bench.graph import counting
from bench.graph.counting import SOLVES, UnknownOperatorError, per_layer
from bench.graph.field import Field, field
from bench.graph.trace import Graph, bytes_per_pixel, trace, trace_method
from bench.inference import Inference
from bench.protocol import load
from bench.timing import clock
from bench.timing.clock import Timing
from bench.timing.roofline import Ceilings
from zoo import anchored, scsr, sparse_coding
from zoo.anchored import OrthogonalMatchingPursuit, Regression
from zoo.ensemble import SelfEnsemble
from zoo.errors import InputError
from zoo.method import Method

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # waking threads takes longer than these small images
    yield
    torch.set_num_threads(threads)


def subject(spec: str, scale: int, budget: float = 1e4) -> Subject:
    method, _ = zoo.load(spec)
    return of(method, method.build(scale, method.settings), scale, budget)


def of(method: Method, module: nn.Module, scale: int, budget: float = 1e4) -> Subject:
    return Subject(
        method=method,
        module=module.eval().requires_grad_(False),
        scale=scale,
        protocol=load("srcnn2014"),
        device=CPU,
        timing=Timing(budget=budget),
    )


def counted(spec: str, scale: int) -> dict[str, float]:
    """Counts held to a smaller size than LR of 1280x720: lists of patches take long to trace.

    All patches are one chunk, because each chunk is traced again;
    `test_a_count_does_not_depend_on_the_chunks_of_patches` holds counts to many chunks.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subject, "lr_720p", (40, 280))
        in_one_chunk(patch)
        found = multiplies.measure(subject(spec, scale))
    return {name: cost.value for name, cost in found.items()}


def in_one_chunk(patch: pytest.MonkeyPatch) -> None:
    """Have methods that make lists of patches take all patches at once."""
    for file in (anchored, scsr, sparse_coding):
        patch.setattr(file, "_CHUNK", 10**9)


def closed_form(name: str, scale: int) -> float:
    """Multiplies per LR pixel, in millions, as the method's own file states them."""
    method, _ = zoo.load(name)
    assert method.multiplies is not None, f"{name} states no closed form"
    return method.multiplies(scale, method.settings) / 1e6


EVERY_SCALE = [
    (name, scale) for name in zoo.names() for scale in zoo.load(name)[0].scales or (2, 3, 4)
]


@pytest.mark.parametrize(("name", "scale"), EVERY_SCALE)
def test_count_equals_the_closed_form(name: str, scale: int) -> None:
    found = counted(name, scale)
    assert found["multiplies_per_input_px"] == closed_form(name, scale)
    assert found["multiplies_per_output_px"] == pytest.approx(closed_form(name, scale) / scale**2)
    by_720p = found["multiplies_per_output_px"] * 1280 * 720 / 1e3
    assert found["multiplies_720p"] == pytest.approx(by_720p)


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("gr", 3, 30 * 225 + 30 * 81),
        ("a-plus", 3, 30 * 225 + 30 * 1024 + 30 * 81),
        ("k-svd", 2, 28 * 100 + 3 * 28 * 1024 + 3 * 36),
        ("ne-lle", 3, 30 * 225 + 30 * 1024 + 24 * 24 * 30 + 2300 + 24 * 23 + 24 * 81),
    ],
)
def test_methods_of_patches_multiply_by_hand(name: str, scale: int, expected: int) -> None:
    assert counted(name, scale)["multiplies_per_input_px"] == expected / 1e6


@pytest.mark.parametrize("name", ["k-svd", "a-plus", "ne-lle"])
def test_what_a_pixel_takes_is_what_a_patch_takes(name: str) -> None:
    given = subject(name, 2)
    graph = trace_method(given.method, given.module, 2, (60, 70))
    taken = sum(map(counting.products, graph.operators))
    assert taken / (56 * 66) == given.method.multiplies(2, given.method.settings)  # type: ignore[misc]


@pytest.mark.parametrize(
    "name", ["gr", "anr", "a-plus", "k-svd", "ne-lle", "ne-nnls", "sc", "scsr"]
)
def test_a_count_does_not_depend_on_the_chunks_of_patches(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, found = subject(name, 2), []
    some = {anchored: 100, scsr: 500, sparse_coding: 100}  # ne-nnls codes four times as many
    for chunks in (some, dict.fromkeys(some, 10**9)):
        for file, chunk in chunks.items():
            monkeypatch.setattr(file, "_CHUNK", chunk)
        graph = trace_method(given.method, given.module, 2, (22, 31))
        counts = (counting.products, counting.elementwise, additions.additions)
        found.append([sum(map(count, graph.operators)) for count in counts])
    assert found[0] == found[1]
    assert found[0][0] > 0


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("srcnn-9-5-5", 3, 52.7),
        ("vdsr", 4, 612.6),
        ("memnet", 2, 2662.3),
        ("edsr-baseline", 2, 316.2),
        ("edsr", 2, 9384.7),
    ],
)
def test_multiply_adds_at_720p_by_the_closed_forms_of_the_literature(
    name: str, scale: int, expected: float
) -> None:
    assert counted(name, scale)["multadds_720p"] == pytest.approx(expected, abs=0.05)


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
    layer = nn.Linear(96, 96)
    twice = of(zoo.load("bicubic")[0], nn.Sequential(layer, nn.ReLU(), layer), 2)
    assert parameters.measure(twice)["parameters"].value == 96 * 96 + 96


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


class Toy(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def graph_of(function: Callable[[Tensor], Any], *shape: int) -> Graph:
    return trace(Toy(function), torch.empty(shape or (1, 2, 3, 4)))


def products(graph: Graph) -> int:
    counting.refuse_unknown(graph)
    assert not sum(map(counting.elementwise, graph.operators))
    return sum(map(counting.products, graph.operators))


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
def test_layer_counts_by_hand(layer: nn.Module, shape: tuple[int, ...], expected: int) -> None:
    assert products(trace(layer, torch.empty(shape))) == expected


def rows_summed(weights: Tensor | None) -> Tensor:
    """Three of ten rows of 7 numbers, six times."""
    chosen = torch.zeros(6, 3, dtype=torch.long)
    return functional.embedding_bag(
        chosen, torch.zeros(10, 7), mode="sum", per_sample_weights=weights
    )


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
        (lambda: rows_summed(torch.ones(6, 3)), 6 * 3 * 7),
        (lambda: rows_summed(None), 0),
    ],
    ids=[
        "matrices",
        "vector",
        "dot",
        "batched",
        "broadcast",
        "bmm",
        "addmm",
        "einsum",
        "weighted rows",
        "rows",
    ],
)
def test_matrix_product_counts_by_hand(function: Callable[[], Tensor], expected: int) -> None:
    assert products(graph_of(lambda x: function())) == expected


@pytest.mark.parametrize("order", [1, 2, 5, 24])
def test_a_linear_solve_counts_what_its_loops_do(order: int) -> None:
    generator = torch.Generator().manual_seed(order)
    root = torch.rand(order, order, generator=generator, dtype=torch.float64)
    matrix = root @ root.T + torch.eye(order)
    right = torch.rand(order, generator=generator, dtype=torch.float64)
    factor, x = torch.zeros_like(matrix), right.clone()
    multiplied = divided = solve_multiplied = solve_divided = 0
    for j in range(order):
        for i in range(j, order):
            rest = matrix[i, j]
            for k in range(j):
                rest = rest - factor[i, k] * factor[j, k]
                multiplied += 1
            factor[i, j] = rest.sqrt() if i == j else rest / factor[j, j]
            divided += i != j
    for triangle, order_of_rows in ((factor, range(order)), (factor.T, range(order)[::-1])):
        for i in order_of_rows:
            for k in range(i) if triangle is factor else range(i + 1, order):
                x[i] -= triangle[i, k] * x[k]
                solve_multiplied += 1
            x[i] /= triangle[i, i]
            solve_divided += 1
    torch.testing.assert_close(x, torch.linalg.solve(matrix, right))
    graph = graph_of(
        lambda x: torch.cholesky_solve(x[:, :, :3], torch.linalg.cholesky_ex(x)[0]), 7, order, order
    )
    counting.refuse_unknown(graph)
    columns = min(order, 3)
    assert [f(order) for f in SOLVES["linalg_cholesky_ex"]] == [multiplied, divided]
    taken = 7 * (multiplied + columns * solve_multiplied)
    assert sum(map(counting.products, graph.operators)) == taken
    assert added(graph) == taken
    single = 7 * (divided + columns * solve_divided)
    assert sum(map(counting.elementwise, graph.operators)) == single


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
        (lambda x: 1 - x, 0),
        (lambda x: functional.prelu(x, torch.zeros(1, device=x.device)), 24),
        (lambda x: functional.leaky_relu(x, 0.2), 24),
        (nn.BatchNorm2d(2).eval(), 24),
        (torch.square, 24),
        (lambda x: x.norm(dim=3), 24),
        (torch.reciprocal, 24),
        (torch.sqrt, 0),
        (lambda x: x.abs_().topk(2).values, 0),
        (lambda x: x.scatter_(2, x.argmax(2, keepdim=True), -1), 0),
        (lambda x: torch.where(x > 0, x, x.amax(3, keepdim=True)), 0),
        (lambda x: x[:, x.new_zeros(5, dtype=torch.long)], 0),
        (lambda x: functional.fold(functional.unfold(x, 2), (3, 4), 2), 0),
        (lambda x: functional.avg_pool2d(x, 2), 0),
        (torch.relu, 0),
        (torch.tanh, 0),
        (lambda x: functional.pixel_shuffle(x.reshape(1, 4, 2, 3), 2), 0),
        (lambda x: functional.pad(x, (1, 1, 1, 1), mode="replicate"), 0),
    ],
)
def test_single_elements_count_by_hand(function: Callable[[Tensor], object], expected: int) -> None:
    graph = graph_of(function)  # 24 elements
    counting.refuse_unknown(graph)
    assert sum(map(counting.elementwise, graph.operators)) == expected
    assert not sum(map(counting.products, graph.operators))


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (torch.fft.fft2, "_fft"),
        (torch.linalg.svd, "_linalg_svd"),
        (torch.special.i0, "aten.i0"),
        (lambda x: x.cumsum(0), "cumsum"),
        (lambda x: x**3, "pow"),
        (lambda x: x.norm(1, dim=3), "vector_norm"),
        (lambda x: x.scatter_(2, x.argmax(2, True), -1, reduce="multiply"), "scatter_"),
    ],
    ids=["fft", "svd", "bessel", "cumsum", "cube", "sum of sizes", "scatter"],
)
def test_operator_that_is_in_no_table_is_named(function: Any, operator: str) -> None:
    graph = graph_of(function)
    with pytest.raises(
        UnknownOperatorError, match=rf"operator .*{operator}.* is unknown to the counter; add"
    ):
        counting.refuse_unknown(graph)
    with pytest.raises(
        UnknownOperatorError, match=rf"{operator}.* is unknown to the counter of additions; add"
    ):
        sum(map(additions.additions, graph.operators))


def toy(function: Callable[[Tensor], Any], channels: Literal["luma", "RGB"] = "luma") -> Subject:
    method = Method(
        name="toy",
        citation="",
        takes="interpolated",
        channels=channels,
        build=lambda scale, settings: nn.Identity(),
    )
    return of(method, Toy(function), 2)


def test_parameters_are_counted_even_where_nothing_else_can_be() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 1, 3)

        def forward(self, x: Tensor) -> Tensor:
            return x * float(x.mean())

    card = Method(name="reads", citation="", takes="LR", channels="luma",
                  build=lambda scale, settings: Reads())  # fmt: skip
    found = parameters.measure(of(card, Reads(), 2))
    assert {name: cost.value for name, cost in found.items()} == {"parameters": 10}


def test_an_output_of_another_size_than_promised_is_not_counted() -> None:
    with pytest.raises(InputError, match=r"toy gave .*expected 32x32: fix the method"):
        multiplies.measure(toy(lambda x: x[:, :, ::2]))


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


# The literature's convention


def fsrcnn(scale: int) -> nn.Module:
    """FSRCNN(56, 12, 4) without its activations, which multiply nothing that counts."""
    padding = 4 - (scale - 1) // 2
    return nn.Sequential(
        nn.Conv2d(1, 56, 5, padding=2),
        nn.Conv2d(56, 12, 1),
        *(nn.Conv2d(12, 12, 3, padding=1) for _ in range(4)),
        nn.Conv2d(12, 56, 1),
        nn.ConvTranspose2d(56, 1, 9, scale, padding, scale + 2 * padding - 9),
    )


def on_lr(module: nn.Module, scale: int, channels: Literal["luma", "RGB"] = "luma") -> Subject:
    method = Method(
        name="toy",
        citation="",
        takes="LR",
        channels=channels,
        build=lambda scale, settings: nn.Identity(),
    )
    return of(method, module, scale)


@pytest.mark.parametrize(
    ("scale", "published", "lr_pixels"), [(2, "6.0", 230400), (3, "5.0", 102400), (4, "4.6", 57600)]
)
def test_literature_counts_a_transposed_convolution_at_its_output(
    scale: int, published: str, lr_pixels: int
) -> None:
    found = multiplies.measure(on_lr(fsrcnn(scale), scale))
    assert f"{found['multadds_720p'].value:.1f}" == published
    by_hand = 7928 * lr_pixels + 81 * 56 * 1280 * 720
    assert found["multadds_720p"].value == pytest.approx(by_hand / 1e9, rel=1e-12)
    true = (7928 + 81 * 56) * lr_pixels
    assert found["multiplies_720p"].value == pytest.approx(true / 1e9, rel=1e-12)


def test_grouped_transposed_convolution_by_the_literatures_count() -> None:
    net = nn.ConvTranspose2d(4, 8, 2, stride=2, groups=2)
    (operator,) = trace(net, torch.empty(1, 4, 5, 5)).operators
    assert counting.multadds(operator) == 100 * 4 * 4 * 4


@pytest.mark.parametrize("name", ["srcnn-9-5-5", "espcn"])
def test_without_transposed_convolutions_the_two_counts_agree(name: str) -> None:
    found = counted(name, 2)
    assert found["multadds_720p"] == pytest.approx(found["multiplies_720p"], rel=1e-12)


# Layers


class Recursive(nn.Module):
    """A convolution run three times, an upsampling, a linear layer, and one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, 4, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.PReLU(4))
        self.up = nn.ConvTranspose2d(4, 1, 2, stride=2)
        self.mix = nn.Linear(1, 3, bias=False)
        self.unused = nn.Conv2d(4, 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        for _ in range(3):
            x = self.body(x)
        out: Tensor = self.mix(self.up(x).permute(0, 2, 3, 1))
        return out


def test_layers_by_hand() -> None:
    found = per_layer(trace(Recursive().eval(), torch.empty(1, 1, 10, 12)))
    rows = [
        (row.path, row.kind, row.weight, row.output, row.multiplies, row.calls) for row in found
    ]
    assert rows[:3] == [
        ("head", "convolution", (4, 1, 3, 3), (1, 4, 10, 12), 120 * 4 * 9, 1),
        ("body.0", "convolution", (4, 4, 3, 3), (1, 4, 10, 12), 3 * 120 * 16 * 9, 3),
        ("up", "transposed convolution", (4, 1, 2, 2), (1, 1, 20, 24), 120 * 4 * 4, 1),
    ]
    assert (rows[3][0], rows[3][1], rows[3][4]) == ("mix", "matrix product", 480 * 3)
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "a-plus",
            [
                ("features", "convolution", (30, 1, 15, 15), 30 * 225, 30, 1),
                ("anchors", "matrix product", (30, 1024), 30 * 1024, 1024, 1),
                ("regressors", "matrix product", (30, 81), 30 * 81, 81, 1),
            ],
        ),
        (
            "k-svd",
            [
                ("features", "convolution", (30, 1, 15, 15), 30 * 225, 30, 1),
                ("low", "matrix product", (30, 1024), 3 * 30 * 1024, 3 * 1024, 3),
                ("high", "weighted sum", (1024, 81), 3 * 81, 81, 1),
            ],
        ),
        (
            "ne-lle",
            [
                ("features", "convolution", (30, 1, 15, 15), 30 * 225, 30, 1),
                ("low", "matrix product", (30, 1024), 30 * 1024, 1024, 1),
                ("", "matrix product", (30, 24), 24 * 24 * 30, 24 * 24, 1),
                ("", "linear solve", (), 2300, 24 * 24, 1),
                ("", "linear solve", (), 24 * 23, 24, 1),
                ("high", "weighted sum", (1024, 81), 24 * 81, 81, 1),
            ],
        ),
    ],
)
def test_layers_of_methods_of_patches_by_hand(name: str, expected: list[object]) -> None:
    given = subject(name, 3)
    found = per_layer(trace_method(given.method, given.module, 3, (14, 24)))
    patches = 10 * 20
    rows = [
        (r.path, r.kind, r.weight, r.multiplies / patches, r.elements / patches, r.calls)
        for r in found
    ]
    assert rows == expected


@pytest.mark.parametrize("name", ["srcnn-9-1-5", "espcn"])
def test_layers_add_up_to_the_count(name: str) -> None:
    given = subject(name, 2)
    graph = trace(given.module, torch.empty(1, 1, 20, 30))
    assert sum(row.multiplies for row in per_layer(graph)) == products(graph)
    assert [row.path for row in per_layer(graph)] == ["conv1", "conv2", "conv3"]


# Parameters


def parameters_of(module: nn.Module, scale: int = 2) -> tuple[float, ...]:
    found = parameters.measure(on_lr(module, scale))
    return tuple(found[name].value for name in ("parameters", "conv_parameters", "conv_weights"))


def test_parameters_of_convolutions_that_run() -> None:
    weights = 36 + 144 + 16  # head, body (shared), up
    biases = 4 + 4 + 1
    others = 3 * 4 + 3 + (400 + 4)  # normalisation and PReLU; mix; the one that never runs
    expected = (weights + biases + others, weights + biases, weights)
    assert parameters_of(Recursive()) == expected


def test_only_the_path_of_the_scale_counts() -> None:
    class Paths(nn.Module):
        def __init__(self, scale: int) -> None:
            super().__init__()
            self.paths = nn.ModuleDict({str(k): nn.Conv2d(1, k * k, 3, 1, 1) for k in (2, 3, 4)})
            self.scale = scale

        def forward(self, x: Tensor) -> Tensor:
            return functional.pixel_shuffle(self.paths[str(self.scale)](x), self.scale)

    for scale in (2, 3, 4):
        assert parameters_of(Paths(scale), scale) == (290, 10 * scale**2, 9 * scale**2)


class Unfolded(nn.Conv2d):
    """A 3x3 convolution written as a matrix product, whose bias is added afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        columns = functional.unfold(x, 3, padding=1)
        out = (self.weight.flatten(1) @ columns).unflatten(2, x.shape[2:])
        return out if self.bias is None else out + self.bias[:, None, None]


class Functional(nn.Module):
    """A convolution and a linear layer of parameters; each adds its bias by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Parameter(torch.zeros(5, 1, 3, 3))
        self.bias = nn.Parameter(torch.zeros(5))
        self.linear = nn.Parameter(torch.zeros(7, 5))
        self.shift = nn.Parameter(torch.zeros(7))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv2d(x, self.filters).add_(self.bias[:, None, None])
        return x.permute(0, 2, 3, 1) @ self.linear.T + self.shift


def over_rows(layer: nn.Module) -> nn.Module:
    """The layer on the rows of the image, each a signal of one channel."""
    return nn.Sequential(Toy(lambda x: x.flatten(0, 2)[:, None]), layer)


def over_volume(layer: nn.Module) -> nn.Module:
    """The layer on the image as a volume of one slice."""
    return nn.Sequential(Toy(lambda x: x[:, :, None]), layer)


def last(layer: nn.Module) -> nn.Module:
    """The layer on the channels of each pixel."""
    return nn.Sequential(Toy(lambda x: x.permute(0, 2, 3, 1)), layer)


@pytest.mark.parametrize(
    ("module", "everything", "weights", "biases"),
    [
        (lambda: over_rows(nn.Conv1d(1, 5, 3)), 20, 15, 5),
        (lambda: over_rows(nn.ConvTranspose1d(1, 5, 3)), 20, 15, 5),
        (lambda: nn.Conv2d(1, 5, 3, bias=False), 45, 45, 0),
        (lambda: nn.ConvTranspose2d(1, 5, 3), 50, 45, 5),
        (lambda: over_volume(nn.Conv3d(1, 5, (1, 3, 3))), 50, 45, 5),
        (lambda: over_volume(nn.ConvTranspose3d(1, 5, (1, 3, 3))), 50, 45, 5),
        (lambda: Unfolded(1, 5, 3), 50, 45, 5),
        (lambda: weight_norm(Unfolded(1, 5, 3)), 55, 50, 5),
        (lambda: spectral_norm(nn.Conv2d(1, 5, 3)), 50, 45, 5),
        (lambda: last(nn.Linear(1, 5)), 10, 0, 0),
        (lambda: last(nn.Linear(1, 5, bias=False)), 5, 0, 0),
        (lambda: last(weight_norm(nn.Linear(1, 5))), 15, 0, 0),
        (lambda: nn.Sequential(conv(1, 5, 3), last(nn.Linear(5, 7))), 92, 45, 5),
        (Functional, 45 + 5 + 35 + 7, 45, 5),
    ],
)
def test_parameters_of_convolutions_are_those_of_no_other_layer(
    module: Callable[[], nn.Module], everything: int, weights: int, biases: int
) -> None:
    assert parameters_of(module()) == (everything, weights + biases, weights)


def test_a_linear_layer_that_adds_its_bias_by_itself_has_no_convolution() -> None:
    assert parameters_of(Toy(lambda x: x)) == (0, 0, 0)

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(1, 5)
            self.shift = nn.Parameter(torch.zeros(5))

        def forward(self, x: Tensor) -> Tensor:
            x = x.expand(-1, 1, -1, -1).permute(0, 2, 3, 1)[:, ::2]  # no longer contiguous
            out: Tensor = self.linear(x) * self.shift
            return out

    assert parameters_of(Last()) == (15, 0, 0)


def test_a_fixed_filter_is_no_parameter_and_a_normalised_one_is_all_it_is_made_of() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("filter", torch.ones(1, 1, 3, 3))
            self.conv = weight_norm(nn.Conv2d(1, 2, 3))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.conv(functional.conv2d(x, self.filter))
            return out

    assert parameters_of(Fixed()) == (18 + 2 + 2, 18 + 2 + 2, 18 + 2)


@pytest.mark.parametrize(
    ("name", "scale", "features", "others"),
    [
        ("gr", 2, 28 * 100, 28 * 36),
        ("a-plus", 3, 30 * 225, 1024 * 30 + 1024 * 30 * 81),
        ("anr", 4, 30 * 400, 1024 * 30 + 1024 * 30 * 144),
        ("k-svd", 3, 30 * 225, 1024 * (30 + 81)),
        ("ne-lle", 2, 28 * 100, 1024 * (28 + 36)),
        ("sc", 2, 0, 1024 * (144 + 36)),
        ("scsr", 2, 0, 1024 * (100 + 25)),
    ],
)
def test_dictionaries_and_regressors_are_parameters_and_features_a_convolution(
    name: str, scale: int, features: int, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_one_chunk(monkeypatch)
    found = {key: cost.value for key, cost in parameters.measure(subject(name, scale)).items()}
    assert found == {
        "parameters": features + others,
        "conv_parameters": features,
        "conv_weights": features,
    }


# Additions


def added(graph: Graph) -> int:
    return sum(map(additions.additions, graph.operators))


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 10, 12), 8 * 120 * (26 + 1)),
        (nn.Conv2d(3, 8, 3, padding=1, bias=False), (1, 3, 10, 12), 8 * 120 * 26),
        (nn.Conv2d(8, 16, 3, groups=4, bias=False), (2, 8, 6, 6), 2 * 16 * 16 * 17),
        (nn.Conv2d(1, 1, 1), (1, 1, 5, 5), 25),
        (nn.Linear(7, 5), (6, 7), 6 * 5 * 7),
        (nn.Linear(7, 5, bias=False), (6, 7), 6 * 5 * 6),
        (nn.BatchNorm2d(3).eval(), (1, 3, 4, 5), 60),
        (nn.PReLU(3), (1, 3, 4, 5), 0),
        (nn.PixelShuffle(2), (1, 4, 4, 5), 0),
    ],
    ids=str,
)
def test_additions_by_hand(layer: nn.Module, shape: tuple[int, ...], expected: int) -> None:
    assert added(trace(layer, torch.empty(shape))) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x + x, 24),
        (lambda x: x - 1, 24),
        (lambda x: 1 - x, 24),
        (lambda x: x.add_(x, alpha=0.1), 24),
        (lambda x: x * x, 0),
        (lambda x: x.sum(), 23),
        (lambda x: x.mean((2, 3)), 2 * 11),
        (lambda x: torch.addcmul(x, x, x), 24),
        (lambda x: x.norm(dim=3), 2 * 3 * 3),
        (lambda x: functional.avg_pool2d(x, 2), 2 * 2 * 3),
        (lambda x: functional.fold(functional.unfold(x, 2), (3, 4), 2), 2 * (4 * 6 - 12)),
        (lambda x: functional.fold(functional.unfold(x, 1, stride=2), (3, 4), 1, stride=2), 0),
        (lambda x: rows_summed(torch.ones(6, 3, device=x.device)), 6 * 2 * 7),
        (torch.relu, 0),
    ],
)
def test_additions_of_single_elements_by_hand(
    function: Callable[[Tensor], object], expected: int
) -> None:
    assert added(graph_of(function)) == expected


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("taps", "stride", "dilation", "groups"),
    [
        (9, 3, 1, 1),
        (2, 2, 1, 1),
        (3, 2, 1, 2),
        (2, 3, 1, 1),
        (2, 2, 2, 1),
        (1, 2, 1, 2),
        (3, 3, 2, 1),
    ],
)
def test_additions_of_a_transposed_convolution_are_those_of_its_products(
    taps: int, stride: int, dilation: int, groups: int, bias: bool
) -> None:
    layer = nn.ConvTranspose2d(
        4, 6, taps, stride, dilation=dilation, groups=groups, bias=False, output_padding=stride - 1
    )
    ones = layer.weight.data.fill_(1)
    with torch.no_grad():
        products_each = layer(torch.ones(1, 4, 5, 7))  # how many fall on each output element
    expected = (products_each - 1).clamp(min=0).sum() + bias * products_each.numel()
    layer.bias = nn.Parameter(torch.zeros(6)) if bias else None
    assert added(trace(layer, torch.empty(1, 4, 5, 7))) == expected
    assert ones.sum() == ones.numel()


def test_additions_of_espcn_equal_its_multiplies_since_each_layer_has_a_bias() -> None:
    found = additions.measure(subject("espcn", 2))
    assert found["additions_per_input_px"].value == counted("espcn", 2)["multiplies_per_input_px"]


# Activations


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("srcnn-9-1-5", 2, (64 + 32 + 1) * 1280 * 720),
        ("srcnn-9-1-5", 3, (64 + 32 + 1) * 1280 * 720),
        ("espcn", 2, (64 + 32 + 4) * 640 * 360),
        ("espcn", 4, (64 + 32 + 16) * 320 * 180),
        ("bicubic", 2, 0),
        ("a-plus", 4, (30 + 1024 + 144) * 320 * 180),
        ("k-svd", 2, (28 + 3 * 1024 + 36) * 640 * 360),
    ],
)
def test_activations_by_hand(
    name: str, scale: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_one_chunk(monkeypatch)
    found = activations.measure(subject(name, scale))["activations_720p"].value
    assert found == pytest.approx(expected / 1e6, rel=1e-12)


# Memory


def test_peak_memory_by_hand() -> None:
    # LR, the first convolution's 64 planes, and tanh of them; the weights.
    expected = (1 + 64 + 64) * 640 * 360 * 4 + 21284 * 4
    found = memory.measure(subject("espcn", 2))["peak_memory"]
    assert found.value == expected / 2**20
    assert found.note.startswith("1280x720 output")


def test_peak_memory_is_that_of_the_modules_dtype_and_counts_buffers() -> None:
    single = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.PixelShuffle(2))
    once = memory.parameter_bytes(single)
    assert once == 4 * (72 + 8 + 4 * 8) + 8  # batches seen are counted in an int64
    assert memory.parameter_bytes(single.double()) == 2 * (once - 8) + 8
    tied = nn.ModuleList([single, single])
    assert memory.parameter_bytes(tied) == memory.parameter_bytes(single)


def test_bytes_per_pixel_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 3, 3, padding=1))
    assert bytes_per_pixel(net, 3, torch.float32) == (3 + 64 + 64) * 4
    assert bytes_per_pixel(net.double(), 3, torch.float64) == (3 + 64 + 64) * 8
    up = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2), nn.Upsample(scale_factor=2)
    )
    assert bytes_per_pixel(up, 1, torch.float32) == (1 + 4 + 16) * 4


# Receptive field


def conv(before: int, after: int, taps: int, padding_mode: str = "zeros") -> nn.Conv2d:
    return nn.Conv2d(before, after, taps, padding=taps // 2, padding_mode=padding_mode)


class Skip(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + super().forward(x)
        return out


def lopsided(padding: type[nn.ReflectionPad2d | nn.ReplicationPad2d]) -> list[nn.Module]:
    """Looks 3 pixels down and right, then, with a padding of the image's own, 4 up and left."""
    first, second = nn.Conv2d(1, 1, 4), nn.Conv2d(1, 1, 5)
    return [nn.ZeroPad2d((0, 3, 0, 3)), first, padding((4, 0, 4, 0)), second]


def channels(x: Tensor) -> Tensor:
    """Four channels taken apart, put last, merged with the images, and put together again."""
    first, second, third, fourth = x.unbind(1)  # (N, H, W)
    last = torch.cat([torch.stack([first, second], 1).permute(0, 2, 3, 1), third[..., None]], -1)
    three = torch.stack([last.split(2, -1)[0].sum(-1), last[..., 2:].squeeze(-1), fourth], -1)
    merged = three.flatten(0, 1).unflatten(0, (len(x), -1)).detach().mean(-1, keepdim=True)
    return merged[..., 0][:, None].repeat(1, 2, 1, 1).expand(-1, -1, -1, -1).chunk(2, 1)[0]


class Residual(nn.Module):
    """Shared, scaled, in place, with statistics and slopes a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(4, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.slope = nn.PReLU(4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        dense = torch.cat([self.slope(self.norm(self.conv(x)))[:, :2], x[:, 2:]], 1)
        return x + 0.1 * self.relu(self.conv(dense))


FIELDS: dict[str, Callable[[], list[nn.Module]]] = {
    "3x3": lambda: [conv(1, 1, 3)],
    "5x2": lambda: [nn.ZeroPad2d((1, 0, 2, 2)), nn.Conv2d(1, 1, (5, 2))],
    "dilated": lambda: [nn.Conv2d(1, 2, 3, padding=3, dilation=3), nn.ReLU(True), conv(2, 1, 3)],
    "valid": lambda: [nn.Conv2d(1, 2, 5), nn.Conv2d(2, 1, 3)],
    "cropped": lambda: [conv(1, 2, 5), nn.ZeroPad2d(-2), conv(2, 1, 3), nn.ReplicationPad2d(2)],
    "padded first": lambda: [nn.ReplicationPad2d(3), nn.Conv2d(1, 2, 5), nn.Conv2d(2, 1, 3)],
    "lopsided": lambda: [nn.ZeroPad2d((4, 0, 1, 3)), nn.Conv2d(1, 1, 5)],
    "replicate": lambda: [conv(1, 2, 5, "replicate"), conv(2, 1, 3, "replicate")],
    "reflect": lambda: [conv(1, 2, 5, "reflect"), conv(2, 1, 3, "reflect")],
    "replicate, lopsided": lambda: lopsided(nn.ReplicationPad2d),
    "reflect, lopsided": lambda: [Skip(*lopsided(nn.ReflectionPad2d))],
    "reflect, lopsided, flipped": lambda: [
        Toy(lambda x: x.flip(2, 3)), *lopsided(nn.ReflectionPad2d), Toy(lambda x: x.flip(2, 3)),
    ],
    "transposed 9x9 x3": lambda: [conv(1, 2, 3), nn.ConvTranspose2d(2, 1, 9, 3, 3)],
    "transposed 3x3 x2": lambda: [nn.ConvTranspose2d(1, 2, 3, 2, 1, 1), conv(2, 1, 3)],
    "transposed 4x4 x2": lambda: [nn.ConvTranspose2d(1, 2, 4, 2, 1), conv(2, 1, 5)],
    "transposed with holes": lambda: [nn.ConvTranspose2d(1, 2, 1, 2, 0, 1), conv(2, 1, 3)],
    "transposed, dilated": lambda: [nn.ConvTranspose2d(1, 1, 3, 2, 2, 1, dilation=2)],
    "shuffle x3": lambda: [conv(1, 9, 5), nn.PixelShuffle(3)],
    "shuffle x2 twice": lambda: [
        conv(1, 4, 3), nn.PixelShuffle(2), conv(1, 4, 3), nn.PixelShuffle(2), conv(1, 1, 5),
    ],
    "unshuffle, shuffle": lambda: [
        nn.PixelUnshuffle(2), conv(4, 4, 3), nn.PixelShuffle(2), conv(1, 1, 3),
    ],
    "strided": lambda: [nn.Conv2d(1, 2, 3, 2, 1), nn.ConvTranspose2d(2, 1, 4, 2, 1)],
    "strided by 4": lambda: [nn.Conv2d(1, 2, 5, 4, 2), conv(2, 16, 3), nn.PixelShuffle(4)],
    "pooled": lambda: [nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.Upsample(scale_factor=4)],
    "nearest": lambda: [conv(1, 2, 3), nn.Upsample(scale_factor=2), conv(2, 1, 3)],
    "flipped": lambda: [
        Toy(lambda x: x.flip(-1)), nn.ZeroPad2d((4, 0, 1, 3)), nn.Conv2d(1, 1, 5),
        nn.ConvTranspose2d(1, 1, 3, 2, 1, 1), Toy(lambda x: x.flip(3)),
    ],
    "turned": lambda: [
        Toy(lambda x: x.mT.contiguous()), nn.Conv2d(1, 1, (1, 3), padding=(0, 1)),
        Toy(lambda x: x.transpose(2, 3)),
    ],
    "channels": lambda: [conv(1, 4, 3), Toy(channels), conv(1, 1, 3)],
    "blocks": lambda: [conv(1, 4, 3), Residual(), Residual(), conv(4, 1, 3)],
    "ensemble": lambda: [SelfEnsemble(nn.Sequential(conv(1, 4, 3), nn.PixelShuffle(2)))],
    "patches": lambda: [OrthogonalMatchingPursuit(2, 20, 3)],
    "patches, ensemble": lambda: [SelfEnsemble(Regression(2)), conv(1, 1, 3)],
    "ensemble, lopsided": lambda: [SelfEnsemble(nn.ConvTranspose2d(1, 1, (5, 3), 2, (2, 1), 1))],
}  # fmt: skip
fields = pytest.mark.parametrize("name", list(FIELDS))


def network(name: str) -> nn.Module:
    """In double, with random weights."""
    net = nn.Sequential(*FIELDS[name]()).double().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for weights in net.parameters():
        weights.copy_(torch.rand(weights.shape, generator=generator) + 0.1)
    return net


def picture(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def found_field(net: nn.Module, *size: int) -> Field:
    x = torch.empty(1, 1, *(size or (36, 36)), dtype=torch.float64)
    return field(trace(net, x, proxies=True))


def reached(net: nn.Module, dim: int, size: int) -> int:
    """Most input rows that one output row depends on: NaN is put in one after the other.

    Output rows that depend on the first or last input row are left out: the image may end there.
    """
    rows = []
    for row in range(size):
        x = picture(1, 1, size, size)
        x.select(dim, row).fill_(math.nan)
        rows.append(net(x).isnan().amax((0, 1, 5 - dim)))
    depends = torch.stack(rows, 1)  # (output, input)
    inside = depends[~(depends[:, 0] | depends[:, -1])]
    assert len(inside) >= 4
    spans = [row.nonzero().flatten() for row in inside if row.any()]
    return max(int(span[-1] - span[0]) + 1 for span in spans)


@fields
def test_field_is_what_a_changed_row_or_column_reaches(name: str) -> None:
    net = network(name)
    found = found_field(net)
    assert (found.rows, found.columns) == (reached(net, 2, 40), reached(net, 3, 40))


def differences(net: nn.Module, margin: int, step: int) -> list[float]:
    """How far tiles that keep 7 rows or columns, or the first or last of 60, are from the whole."""
    x = picture(1, 1, 60, 60)
    whole = net(x)
    factor = whole.shape[-1] // 60
    found = []
    kept_rows = itertools.pairwise([0, *range(1, 60, 7), 59, 60])
    for dim, (first, last) in itertools.product((2, 3), kept_rows):
        start = max(first - margin, 0) // step * step
        stop = 60 - max(60 - last - margin, 0) // step * step
        tile = net(x.narrow(dim, start, stop - start).clone())
        kept = tile.narrow(dim, factor * (first - start), factor * (last - first))
        expected = whole.narrow(dim, factor * first, factor * (last - first))
        found.append(float((kept - expected).abs().max()))
    return found


SAME_SIZE = [name for name in FIELDS if name not in ("valid", "patches", "patches, ensemble")]
"""Patches, of which the first of these tiles holds none, are put to the test in test_tiles.py."""


@pytest.mark.parametrize("name", SAME_SIZE)
def test_tiles_with_the_margin_give_the_whole_images_output(name: str) -> None:
    net = network(name)
    found = found_field(net)
    assert max(differences(net, found.margin, found.step)) < 1e-12


@pytest.mark.parametrize("name", SAME_SIZE)
def test_tiles_with_less_than_the_margin_do_not(name: str) -> None:
    net = network(name)
    found = found_field(net)
    less = found.margin - found.step
    assert less < 0 or max(differences(net, less, found.step)) > 1e-6  # none can hold less than 0


@fields
def test_field_does_not_depend_on_the_image_that_is_traced(name: str) -> None:
    net = network(name)
    assert found_field(net) == found_field(net, 120, 84)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("3x3", Field(3, 3, 1, 1)),
        ("dilated", Field(9, 9, 4, 1)),
        ("lopsided", Field(5, 5, 4, 1)),
        ("strided", Field(5, 5, 3, 2)),
        ("shuffle x3", Field(5, 5, 2, 1)),
        ("replicate, lopsided", Field(8, 8, 4, 1)),
        ("reflect, lopsided", Field(8, 8, 7, 1)),  # the first pixel mirrors the fifth, which sees 3
        ("reflect, lopsided, flipped", Field(8, 8, 7, 1)),
        ("flipped", Field(6, 6, 4, 1)),
        ("patches", Field(14, 14, 7, 2)),  # 3 LR pixels, and the rest of that of the pixel kept
    ],
)
def test_field_by_hand(name: str, expected: Field) -> None:
    assert found_field(network(name)) == expected


def test_a_tile_must_hold_what_is_read_on_the_way_though_nothing_is_found_there() -> None:
    cropping, framing = nn.ConvTranspose2d(1, 1, 1, padding=3), nn.ZeroPad2d(3)
    net = nn.Sequential(nn.Upsample(scale_factor=8), cropping, framing).double()
    net.requires_grad_(False)
    assert found_field(net).margin == 1
    assert max(differences(net, 1, 1)) < 1e-12
    assert max(differences(net, 0, 1)) > 1e-6


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("srcnn-9-1-5", 2, 13),
        ("srcnn-9-5-5", 3, 17),
        ("espcn", 3, 9),
        ("espcn+", 3, 9),
        ("bicubic", 2, 1),
        ("vdsr", 2, 41),
        ("a-plus", 3, 21),
        ("k-svd", 4, 28),
        ("ne-lle+", 2, 14),
    ],
)
def test_receptive_field_of_a_method(name: str, scale: int, expected: int) -> None:
    given = subject(name, scale)
    wrap = given.method.wrap
    module = wrap(given.module) if wrap else given.module
    found = receptive_field.measure(of(given.method, module, scale))
    assert found["receptive_field"].value == expected


def test_input_of_several_channels_and_images() -> None:
    graph = trace(nn.Conv2d(3, 2, 3, padding=1), torch.empty(5, 3, 9, 9))
    assert field(graph) == Field(3, 3, 1, 1)


def through_a_view(x: Tensor) -> Tensor:
    out = x.relu()
    out[:, :].add_(functional.max_pool2d(x, 3, 1, 1))
    return out


WHOLE = "lets the whole image matter"
PART = "takes a part of the image"
PLACES = "uses a constant that differs from place to place"
ANEW = "lays the image's pixels out in another order"
NO_WHOLE_NUMBER = "does not enlarge rows and columns by a whole number"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x * x.mean((2, 3), keepdim=True), WHOLE),
        (lambda x: x * x.sum(), WHOLE),
        (lambda x: x - x.amax(3, keepdim=True), WHOLE),
        (lambda x: functional.adaptive_avg_pool2d(x, 1) + x, WHOLE),
        (functional.instance_norm, WHOLE),
        (lambda x: functional.batch_norm(x, None, None, training=True), WHOLE),
        (lambda x: functional.batch_norm(x.mT[0], *torch.ones(2, 36, device=x.device)), WHOLE),
        (lambda x: x[0, 0] @ x[0, 0], WHOLE),
        (lambda x: x + x.flip(3), WHOLE),
        (lambda x: x + x.mT, WHOLE),
        (lambda x: functional.conv2d(x, x), WHOLE),
        (lambda x: torch.cat([x, x], 3), WHOLE),
        (lambda x: x.repeat(1, 1, 2, 1), WHOLE),
        (lambda x: functional.conv1d(x[0], x.new_ones(1, 36, 3)), "does not slide along"),
        (lambda x: x.flatten(2).softmax(-1), ANEW),
        (lambda x: x.unflatten(2, (-1, 2)).amax(3), ANEW),
        (lambda x: x[..., ::2], PART),
        (lambda x: x + x[..., 5].unsqueeze(-1), PART),
        (lambda x: functional.pad(x, (3, 3, 3, 3), mode="circular"), PLACES),
        (lambda x: x.chunk(2, 2)[0], PART),
        (lambda x: x + torch.arange(36, device=x.device), PLACES),
        (lambda x: torch.cat([x, torch.ones(1, 1, 36, 36, device=x.device).cumsum(3)], 1), PLACES),
        (lambda x: functional.interpolate(x, (50, 50)), NO_WHOLE_NUMBER),
        (lambda x: functional.interpolate(x, scale_factor=2.01), NO_WHOLE_NUMBER),
        (through_a_view, "changes what other tensors are views of"),
        (
            lambda x: x.cumsum(3),
            r"operator aten\.cumsum\.default is unknown to the receptive field; add",
        ),
        (lambda x: x.unfold(3, 5, 1), r"operator aten\.unfold\.default.*bench/graph/field\.py"),
        (lambda x: torch.zeros(3, device=x.device), "no output depends on the image"),
    ],
)
def test_where_no_tile_is_enough_an_error_says_so(
    function: Callable[[Tensor], Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        field(graph_of(function, 1, 1, 36, 36))


def test_an_error_of_the_receptive_field_names_the_layer() -> None:
    net = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    with pytest.raises(InputError, match=r"^aten\.mean\.dim in 1 lets the whole image matter"):
        field(trace(net, torch.empty(1, 1, 9, 9)))


def test_a_constant_that_is_the_same_everywhere_is_no_obstacle() -> None:
    def function(x: Tensor) -> Tensor:
        return torch.cat([x, torch.ones_like(x) * x.new_tensor(2)], 1).add_(x.new_zeros(2, 1, 1))

    assert field(graph_of(function, 1, 1, 9, 9)) == Field(1, 1, 0, 1)


def test_a_receptive_field_is_of_an_image() -> None:
    with pytest.raises(InputError, match=r"trace an image of shape \(N, C, H, W\)"):
        field(graph_of(lambda x: x, 3, 9))


# Time


@pytest.mark.parametrize("name", costs.names())
def test_cost_gives_the_quantities_that_it_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "OUTPUT_720P", (24, 32))
    file = costs.load(name)
    left_out = {"device_memory"} if file.TIMED else {"file_size"}  # a GPU's, and of a file
    assert file.measure(subject("espcn", 2)).keys() == file.UNITS.keys() - left_out


class Clock:
    """A clock that only work moves: by 100 s the first time, then by 1, 2, 3, ... s."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = iter([100.0, *range(1, 100)])

    def work(self) -> None:
        self.now += next(self.steps)


class Pixels:
    """A clock that a run of the network moves: by a microsecond for each pixel of LR."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.sizes: list[tuple[int, ...]] = []
        patch.setattr(time, "perf_counter", lambda: self.now)
        patch.setattr(seconds, "forward", self.forward)
        patch.setattr(seconds, "ceilings", lambda *_: Ceilings(1.0, 1.0))
        patch.setattr(clock, "_busy_seconds", lambda: None)

    def forward(self, lr: torch.Tensor, *_: object) -> None:
        self.sizes.append(tuple(lr.shape[-2:]))
        self.now += 1e-6 * lr.shape[-2] * lr.shape[-1]


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> Pixels:
    return Pixels(monkeypatch)


WHOLE = (240, math.ceil(1280 / 3))
SECONDS = 1e-6 * math.prod(WHOLE)


def test_seconds_are_the_median_with_its_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, calls = Clock(), []
    monkeypatch.setattr(time, "perf_counter", lambda: ticks.now)
    monkeypatch.setattr(clock, "_busy_seconds", lambda: None)
    monkeypatch.setattr(clock, "ROUNDS", 1)
    monkeypatch.setattr(seconds, "_part", lambda *_: 1)
    monkeypatch.setattr(seconds, "forward", lambda lr, *_: (calls.append(lr.shape), ticks.work()))
    monkeypatch.setattr(seconds, "ceilings", lambda *_: Ceilings(1.0, 1.0))
    cost = seconds.measure(subject("srcnn-9-1-5", 3))["seconds"]
    assert (cost.value, cost.spread) == (3.0, 2.0)
    assert cost.note.startswith("1281x720 output; median of 5, spread is the interquartile range")
    assert cost.note.endswith("; unsteady: the spread is 67% of the median")
    assert calls == [(1, *WHOLE)] * 6


def test_seconds_are_of_one_image_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: ticks.now)
    monkeypatch.setattr(clock, "_busy_seconds", lambda: None)
    monkeypatch.setattr(clock, "ROUNDS", 1)
    monkeypatch.setattr(seconds, "_part", lambda *_: 1)
    monkeypatch.setattr(seconds, "forward", lambda *_: ticks.work())
    monkeypatch.setattr(seconds, "ceilings", lambda *_: Ceilings(1.0, 1.0))
    four = replace(subject("srcnn-9-1-5", 3), inference=Inference(batch=4))
    found = seconds.measure(four)
    assert (found["seconds"].value, found["seconds"].spread) == (0.75, 0.5)
    assert (found["seconds_p10"].value, found["seconds_p90"].value) == (0.35, 1.15)


def test_the_budget_first_takes_runs_away(pixels: Pixels) -> None:
    found = seconds.measure(subject("srcnn-9-1-5", 3, budget=3.5 * SECONDS))["seconds"]
    assert pixels.sizes[2:] == [WHOLE] * 3  # two runs of the smallest output come first
    assert found.value == pytest.approx(SECONDS)
    assert found.note.startswith("1281x720 output; median of 2, ")
    assert "scaled" not in found.note


def test_the_budget_then_makes_the_output_smaller_and_scales_its_time(pixels: Pixels) -> None:
    found = seconds.measure(subject("srcnn-9-1-5", 3, budget=1.9 * SECONDS))
    half = (WHOLE[0] // 2, math.ceil(WHOLE[1] / 2))
    assert set(pixels.sizes[2:]) == {half}
    assert found["seconds"].value == pytest.approx(SECONDS)
    ratio = math.prod(WHOLE) / math.prod(half)
    said = f"scaled from 642x360, times {ratio:.4g}: a larger output exceeds the budget of"
    for name in ("seconds", "seconds_p10", "seconds_p90", "processor_seconds", "roofline_fraction"):
        assert said in found[name].note


def test_a_share_of_the_roofline_does_not_depend_on_the_budget(pixels: Pixels) -> None:
    shares = [
        seconds.measure(subject("srcnn-9-1-5", 3, budget))["roofline_fraction"].value
        for budget in (100 * SECONDS, SECONDS)
    ]
    assert shares[1] == pytest.approx(shares[0], rel=2e-3)


class Global(nn.Module):
    """Attention over all pixels, whose multiplies grow with the square of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2)
        mixed = (flat @ (flat.transpose(1, 2) @ flat)).unflatten(2, x.shape[2:])
        out: torch.Tensor = self.shuffle(mixed.repeat_interleave(4, 1))
        return out


def test_a_time_that_does_not_grow_with_the_pixels_is_not_scaled(pixels: Pixels) -> None:
    method = Method(name="global", citation="", takes="LR", channels="luma",
                    build=lambda scale, settings: Global())  # fmt: skip
    with pytest.raises(InputError, match=r"depend on the size; give --budget \d+"):
        seconds.measure(of(method, Global(), 2, budget=SECONDS))


def test_unknown_cost_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no cost 'second'; did you mean 'seconds'\?"):
        costs.load("second")
