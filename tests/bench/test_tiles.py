from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, leaky_relu, pad

import zoo
from bench import machine, tiles
from bench.files.weights import fresh
from bench.graph.trace import trace
from bench.inference import Inference, parse_bytes
from bench.machine import memory_for_an_image, out_of_memory
from bench.network import prepare
from bench.tiles import Tiled, cuts, extent
from zoo.ensemble import SelfEnsemble
from zoo.errors import InputError
from zoo.srcnn import SRCNN

CPU = torch.device("cpu")
SAID_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
        "memory: you tried to allocate 64000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to"),
    RuntimeError("could not create a primitive"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("FIND was unable to find an engine to execute this computation"),
]


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # waking threads for every tile takes longer than computing it
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


def conv(before: int, after: int, kernel: int, padding_mode: str = "zeros") -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, padding_mode=padding_mode)


def block(width: int, kernel: int) -> nn.Module:
    return Residual(conv(width, width, kernel), nn.ReLU(), conv(width, width, kernel))


def shuffled(width: int, out: int, factor: int) -> list[nn.Module]:
    return [conv(width, out * factor**2, 3), nn.PixelShuffle(factor)]


NETWORKS: dict[str, tuple[Callable[[], list[nn.Module]], int, int]] = {
    "zeros": (lambda: [conv(1, 4, 9), nn.ReLU(), conv(4, 3, 1), conv(3, 1, 5)], 1, 6),
    "replicate (SRCNN)": (lambda: [SRCNN(9, 1, 5, 4, 3)], 1, 6),
    "reflect": (lambda: [conv(1, 3, 5, "reflect"), nn.ReLU(), conv(3, 1, 3, "reflect")], 1, 3),
    "shuffle x2": (lambda: [conv(1, 4, 5), nn.ReLU(), conv(4, 4, 3), *shuffled(4, 1, 2)], 2, 4),
    "shuffle x3": (lambda: [conv(1, 4, 5), nn.ReLU(), conv(4, 4, 3), *shuffled(4, 1, 3)], 3, 4),
    # The last two layers see a quarter and a half of an LR pixel beside their own: 1 + 1 + 1.
    "shuffle x2 twice": (
        lambda: [conv(1, 3, 3), *shuffled(3, 3, 2), *shuffled(3, 3, 2), conv(3, 1, 3)], 4, 3,
    ),
    "transposed 4x4": (lambda: [conv(1, 3, 3), nn.ConvTranspose2d(3, 1, 4, 2, 1)], 2, 2),
    # Looks at a pixel's right and lower neighbours only.
    "transposed 3x3": (lambda: [nn.ConvTranspose2d(1, 1, 3, 2, 1, output_padding=1)], 2, 1),
    "transposed 9x9": (lambda: [conv(1, 3, 3), nn.ConvTranspose2d(3, 1, 9, 3, 3)], 3, 2),
    "nearest": (lambda: [conv(1, 3, 3), nn.Upsample(scale_factor=2), conv(3, 1, 3)], 2, 2),
    # Head 1, two blocks of 5x5 for a scale 8, body 2, upsampling 1, and 1 for the last layer.
    "MDSR's shape x3": (
        lambda: [
            conv(1, 2, 3), block(2, 5), block(2, 5), Residual(block(2, 3)),
            *shuffled(2, 2, 3), conv(2, 1, 3),
        ], 3, 13,
    ),
    "self-ensemble": (
        lambda: [SelfEnsemble(nn.Sequential(conv(1, 3, 3), nn.ReLU(), *shuffled(3, 1, 2)))], 2, 2,
    ),
    "self-ensemble, lopsided": (
        lambda: [SelfEnsemble(nn.ConvTranspose2d(1, 1, 3, 2, 1, output_padding=1))], 2, 1,
    ),
}  # fmt: skip
"""Layers, factor, and how far they see in input pixels, worked by hand."""
named = pytest.mark.parametrize("name", list(NETWORKS))


def network(name: str, *, exact: bool) -> tuple[nn.Module, int, int]:
    """A network in double; where exact, its weights are 1 or -1, so that sums are not rounded."""
    layers, factor, margin = NETWORKS[name]
    made = nn.Sequential(*layers()).double()
    redraw(made, exact=exact)
    return made, factor, margin


def redraw(made: nn.Module, *, exact: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    for weights in made.parameters():
        size = weights.shape
        if exact:
            weights.copy_(torch.randint(0, 2, size, generator=generator) * 2 - 1)
        else:
            spread = (weights[0].numel() or 1) ** -0.5
            weights.copy_(torch.randn(size, generator=generator, dtype=torch.float64) * spread)


def picture(*size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Whole numbers from -3 to 3."""
    return torch.randint(-3, 4, size, generator=torch.Generator().manual_seed(2)).to(dtype)


class Spy(nn.Module):
    """Notes the sizes that it is given; runs out of memory above so many pixels."""

    def __init__(
        self, inner: nn.Module, most: float = float("inf"), error: Exception | None = None
    ) -> None:
        super().__init__()
        self.inner, self.most = inner, most
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.")
        self.seen: list[tuple[int, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((x.shape[-2], x.shape[-1]))
        if x.shape[-2] * x.shape[-1] > self.most:
            raise self.error
        out: Tensor = self.inner(x)
        return out


# Equal to the whole image


@named
@pytest.mark.parametrize(("height", "width"), [(43, 64), (70, 41)])
def test_tiles_equal_the_whole_image_without_rounding(name: str, height: int, width: int) -> None:
    run, factor, margin = network(name, exact=True)
    x = picture(1, 1, height, width)
    whole = run(x)
    assert whole.abs().max() < 2**52
    assert torch.equal(Tiled(run, run, factor, 8, margin=margin)(x), whole)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "reflect"])
@pytest.mark.parametrize("length", [1, 2, 61])
def test_strips(name: str, length: int) -> None:  # torch reflects no single row
    run, factor, margin = network(name, exact=True)
    for size in ((1, length), (length, 1)):
        x = picture(1, 1, *size)
        assert torch.equal(Tiled(run, run, factor, 5, margin=margin)(x), run(x))


@named
def test_a_margin_one_pixel_short_shows(name: str) -> None:
    run, factor, margin = network(name, exact=True)
    side = 2 * (margin - 1) + 3 * 8  # three tiles that overlap no more than they must
    x = picture(1, 1, side, side)
    short = Spy(run)
    found = Tiled(short, run, factor, 8, margin=margin - 1)(x)
    assert short.seen == [(8 + 2 * (margin - 1),) * 2] * 9
    assert not torch.equal(found, run(x))


@named
def test_tiles_equal_the_whole_image_to_rounding(name: str) -> None:
    run, factor, margin = network(name, exact=False)
    x = torch.rand(1, 1, 67, 45, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    whole = run(x)
    assert (Tiled(run, run, factor, 9, margin=margin)(x) - whole).abs().max() <= 1e-12


@given(
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    tile=st.integers(1, 60),
    spare=st.integers(0, 20),
)
@settings(max_examples=60, deadline=None)
def test_any_size_tile_and_margin(size: tuple[int, int], tile: int, spare: int) -> None:
    with torch.no_grad():
        run, factor, margin = network("self-ensemble", exact=True)
        x = picture(1, 1, *size)
        assert torch.equal(Tiled(run, run, factor, tile, margin=margin + spare)(x), run(x))


@given(
    length=st.integers(1, 400),
    tile=st.integers(1, 100),
    margin=st.integers(0, 40),
    step=st.integers(1, 9),
)
@settings(max_examples=400, deadline=None)
def test_cuts_cover_the_side_once_and_read_alike(
    length: int, tile: int, margin: int, step: int
) -> None:
    found = cuts(length, tile, margin, step)
    assert [pixel for cut in found for pixel in range(cut.first, cut.last)] == list(range(length))
    assert {cut.stop - cut.start for cut in found} == {extent(length, tile, margin, step)}
    assert extent(length, tile, margin, step) <= max(tile, step) + 2 * margin + step - 1
    for cut in found:
        assert 0 <= cut.start <= cut.first < cut.last <= cut.stop <= length
        assert cut.start % step == (length - cut.stop) % step == 0
        assert cut.start == 0 or cut.first - cut.start >= margin
        assert cut.stop == length or cut.stop - cut.last >= margin


def test_a_batch_of_rgb_images() -> None:
    run = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)).double()
    x = torch.rand(2, 3, 20, 33, dtype=torch.float64)
    torch.testing.assert_close(Tiled(run, run, 2, 7, margin=1)(x), run(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    run = nn.Conv2d(1, 1, 3, padding=1, bias=False).to(dtype)
    run.weight.fill_(1)
    x = picture(1, 1, 30, 21, dtype=dtype)
    found = Tiled(run, run, 1, 6, margin=1)(x)
    assert found.dtype == dtype
    assert torch.equal(found, run(x))  # sums of nine whole numbers up to 3


def test_a_4k_frame() -> None:
    run = nn.Sequential(*shuffled(1, 1, 2))
    for weights in run.parameters():
        weights.fill_(1)
    x = picture(1, 1, 2160, 3840, dtype=torch.float32)
    spy = Spy(run)
    found = Tiled(spy, run, 2, 512, margin=1)(x)
    assert found.shape == (1, 1, 4320, 7680)
    assert torch.equal(found, run(x))
    assert spy.seen == [(434, 482)] * 5 * 8  # (2160 - 2) / 5 and (3840 - 2) / 8, and margins


def test_channels_last_stays() -> None:
    formats = []

    class Format(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            formats.append(x.is_contiguous(memory_format=torch.channels_last))
            return x

    x = torch.rand(1, 3, 20, 20).to(memory_format=torch.channels_last)
    assert torch.equal(Tiled(Format(), nn.Identity(), 1, 8, margin=0)(x), x)
    assert formats == [True] * 9


def test_gradients_flow_where_they_are_on() -> None:
    run, factor, margin = network("shuffle x2", exact=True)
    with torch.enable_grad():
        x = picture(1, 1, 30, 30).requires_grad_()
        (whole,) = torch.autograd.grad(run(x).sum(), x)
        (tiled,) = torch.autograd.grad(Tiled(run, run, factor, 8, margin=margin)(x).sum(), x)
    assert torch.equal(tiled, whole)
    assert not Tiled(run, run, factor, 8, margin=margin)(x).requires_grad
    with torch.inference_mode():
        found = Tiled(run, run, factor, 8)(x)
    assert found.is_inference()
    assert torch.equal(found, run(x))


def test_a_tile_of_another_shape_is_refused() -> None:
    run = nn.Identity()
    with pytest.raises(InputError, match=r"gave \(1, 1, 8, 8\); expected \(1, 1, 16, 16\)"):
        Tiled(run, run, 2, 8, margin=0)(torch.rand(1, 1, 16, 16))


def test_a_side_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        Tiled(nn.Identity(), nn.Identity(), 1, 0)


# What the graph says


@named
def test_the_margin_is_found_on_the_graph(name: str) -> None:
    run, factor, margin = network(name, exact=True)
    x = picture(1, 1, 2 * (margin - 1) + 24, 40)
    spy = Spy(run)
    assert torch.equal(Tiled(spy, run, factor, 8)(x), run(x))
    assert set(spy.seen) == {tuple(extent(size, 8, margin) for size in x.shape[-2:])}


def test_tiles_begin_where_a_network_that_reduces_its_input_does() -> None:
    run = nn.Sequential(nn.PixelUnshuffle(3), conv(9, 4, 3), *shuffled(4, 1, 6)).double()
    for weights in run.parameters():
        weights.copy_(picture(*weights.shape).sign() + 0.5)
    x = picture(1, 1, 93, 60)
    spy = Spy(run)
    assert torch.equal(Tiled(spy, run, 2, 20)(x), run(x))
    assert len(spy.seen) > 4


SMALL = {"blocks": "2", "features": "8", "recursions": "2", "depth": "4", "n1": "8", "n2": "6"}
SMALL |= {"iterations": "1", "atoms": "64"}  # 20 iterations reach beyond the image


@pytest.mark.parametrize("name", [*zoo.names(), "espcn+", "mdsr-baseline+"])
def test_every_method_gives_the_whole_image(name: str) -> None:
    method = zoo.load(name)[0]
    small = {key: value for key, value in SMALL.items() if key in method.settings}
    method = method.with_settings(small)
    for scale in method.scales or (2, 3):
        torch.manual_seed(scale)
        run = method.build(scale, method.settings).double().eval()
        redraw(run, exact=False)
        x = torch.rand(1, 3 if method.channels == "RGB" else 1, 24, 48, dtype=torch.float64)
        whole = run(x)
        spy = Spy(run)
        found = Tiled(spy, run, scale if method.takes == "LR" else 1, 6)(x)
        assert len(spy.seen) > 1
        assert (found - whole).abs().max() <= 1e-12 * whole.abs().max()


@pytest.mark.parametrize("tile", [16, 32])
@pytest.mark.parametrize("name", ["a-plus", "k-svd", "ne-lle", "gr+"])
def test_methods_of_patches_give_the_whole_image(name: str, tile: int) -> None:
    method, _ = zoo.load(name)
    for scale in (2, 3):
        run = fresh(method, scale)
        run = method.wrap(run) if method.wrap else run
        x = torch.rand(1, 1, 60 * scale, 52 * scale, generator=torch.Generator().manual_seed(scale))
        whole = run(x)
        found = prepare(run, Inference(tile=tile), 1, CPU)(x)
        # Sums of patches are rounded as their places in the tensor have it: by units in the last.
        assert (found - whole).abs().max() <= 8 * torch.finfo(torch.float32).eps
        assert (whole - x).abs().max() > 0.1


@pytest.mark.parametrize("name", ["a-plus", "k-svd", "ne-lle"])
def test_an_lr_pixel_less_of_margin_shows_where_patches_are_averaged(name: str) -> None:
    method, _ = zoo.load(name)
    run = fresh(method, 3)
    x = torch.rand(1, 1, 60, 48, generator=torch.Generator().manual_seed(1))
    whole = run(x)
    margin, differences = 3 * 3, []
    for less in (0, 3):  # the first kept row begins an LR pixel
        start = 30 - margin + less
        found = run(x[..., start:, :].clone())[..., 30 - start :, :]
        differences.append((found - whole[..., 30:, :]).abs().max())
    assert differences[0] <= 8 * torch.finfo(torch.float32).eps
    assert differences[1] > 1e-3


def test_patches_that_do_not_fit_are_refused_in_tiles_too() -> None:
    run = fresh(zoo.load("gr")[0], 3)
    with pytest.raises(InputError, match="holds no patch"):
        prepare(run, Inference(tile=16), 1, CPU)(torch.rand(1, 1, 12, 300))


def test_no_tiles_where_the_whole_image_matters() -> None:
    class Centred(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean((2, 3), keepdim=True)

    run, x = Centred(), torch.rand(1, 1, 40, 40)
    assert torch.equal(Tiled(run, run, 1, 40)(x), run(x))
    with pytest.raises(InputError, match=r"40x40 px cannot be cut into tiles of 39 px.*mean"):
        Tiled(run, run, 1, 39)(x)
    expected = r"out of memory with 40x40 px, and tiles are no help.*whole image.*smaller image"
    with pytest.raises(InputError, match=expected):
        Tiled(Spy(run, 30 * 30), run, 1)(x)
    with pytest.raises(InputError, match=r"40x40 px cannot be held to 1\.0 kB.*whole image"):
        Tiled(run, run, 1, bound=1000)(x)
    assert torch.equal(Tiled(run, run, 1, free=1000)(x), run(x))


def test_a_network_that_cannot_be_traced_runs_whole_unless_a_bound_is_asked_for() -> None:
    class Numpy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(x.numpy() * 2)

    run, x = Numpy(), torch.rand(1, 1, 40, 40)
    assert torch.equal(Tiled(run, run, 1, free=1)(x), x * 2)
    with pytest.raises(InputError, match=r"cannot be held to 1\.0 MB: Numpy cannot be traced"):
        Tiled(run, run, 1, bound=1_000_000)(x)


def test_what_the_graph_says_is_found_once_for_all_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = []
    monkeypatch.setattr(
        tiles, "trace", lambda *given, **how: traced.append(1) or trace(*given, **how)
    )
    run = nn.Conv2d(1, 1, 3, padding=1)
    first = Tiled(run, run, 1, 8)
    first(torch.rand(1, 1, 20, 20))
    count = len(traced)
    for one in (first, copy.deepcopy(first)):
        one(torch.rand(1, 1, 20, 20))
    assert len(traced) == count


# A memory bound


def bounded(bound: int, run: nn.Module | None = None) -> Tiled:
    return Tiled(run or nn.Identity(), nn.Identity(), 1, bound=bound, margin=0, per_pixel=100)


@pytest.mark.parametrize(
    ("bound", "sizes"),
    [
        (100 * 100 * 100, [(100, 100)]),
        (100 * 100 * 100 - 1, [(50, 50)] * 4),
        (80_000 + 100 * 34 * 34, [(34, 34)] * 9),  # 80,000 bytes for the result itself
        (80_000 + 100 * 34 * 34 - 1, [(25, 25)] * 16),
    ],
)
def test_the_largest_tiles_within_the_bound(bound: int, sizes: list[tuple[int, int]]) -> None:
    spy, x = Spy(nn.Identity()), torch.rand(1, 1, 100, 100, dtype=torch.float64)
    run = bounded(bound, spy)
    assert torch.equal(run(x), x)
    assert spy.seen == sizes
    assert not run.fallbacks


def test_batches_count() -> None:
    spy = Spy(nn.Identity())
    run = Tiled(spy, nn.Identity(), 1, bound=80_000 * 6, batch=3, margin=0, per_pixel=1, free=None)
    run(torch.rand(2, 1, 100, 100, dtype=torch.float64))  # 6 * 10,000, and no room for a copy
    assert spy.seen == [(100, 100)]


def test_margins_count() -> None:
    spy = Spy(nn.Identity())
    x = torch.rand(1, 1, 100, 100)
    Tiled(spy, spy, 1, bound=40_000 + 100 * 60 * 60, margin=10, per_pixel=100)(x)
    assert spy.seen == [(60, 60)] * 4


def test_a_bound_below_the_smallest_tile_is_refused() -> None:
    x = torch.rand(1, 1, 100, 60, dtype=torch.float64)
    needed = 48_000 + 100 * 15 * 15  # 100 px in 7 tiles, 60 px in 4
    assert bounded(needed)(x).shape == x.shape
    expected = r"60x100 px need 70\.5 kB even in tiles of 16 px.*70\.5 kB are allowed: allow more"
    with pytest.raises(InputError, match=expected):
        bounded(needed - 1)(x)


def test_free_memory_is_a_wish_that_is_told() -> None:
    spy, x = Spy(nn.Identity()), torch.rand(1, 1, 100, 100)
    run = Tiled(spy, spy, 1, free=1, margin=0, per_pixel=100)
    assert torch.equal(run(x), x)
    assert spy.seen == [(15, 15)] * 49
    assert run.fallbacks == ["little memory is free: 100x100 px in tiles of 16 px"]


def test_no_tiles_are_told_of_where_the_margins_take_the_whole_image() -> None:
    spy = Spy(nn.Identity())
    run = Tiled(spy, spy, 1, free=1, margin=20, per_pixel=100)
    run(torch.rand(1, 1, 50, 50))
    assert spy.seen == [(50, 50)]
    assert not run.fallbacks


def test_the_smaller_of_the_side_asked_for_and_the_one_that_fits() -> None:
    x = torch.rand(1, 1, 100, 100, dtype=torch.float64)
    for tile, sizes in ((8, [(8, 8)] * 169), (60, [(34, 34)] * 9)):
        spy = Spy(nn.Identity())
        Tiled(spy, spy, 1, tile, 80_000 + 100 * 34 * 34, margin=0, per_pixel=100)(x)
        assert spy.seen == sizes


# Out of memory


@pytest.mark.parametrize("error", SAID_OF_MEMORY, ids=lambda error: str(error)[:30] or "empty")
def test_out_of_memory_halves_the_tiles_and_says_so(error: Exception) -> None:
    inner, factor, margin = network("shuffle x2", exact=True)
    spy, x = Spy(inner, 40 * 40, error), picture(1, 1, 90, 120)
    run = Tiled(spy, inner, factor, margin=margin)
    assert torch.equal(run(x), inner(x))
    assert run.fallbacks == ["out of memory: 120x90 px in tiles of 30 px"]
    assert spy.seen[:3] == [(90, 120), (49, 64), (36, 36)]


def test_the_side_that_worked_is_kept_for_later_images() -> None:
    spy = Spy(nn.Identity(), 40 * 40)
    run = Tiled(spy, spy, 1, margin=0)
    for _ in range(2):
        run(torch.rand(1, 1, 64, 64))
    assert spy.seen == [(64, 64)] + [(32, 32)] * 8
    assert run.fallbacks == ["out of memory: 64x64 px in tiles of 32 px"]


def test_tiles_that_were_asked_for_shrink_too() -> None:
    spy = Spy(nn.Identity(), 40 * 40)
    run = Tiled(spy, spy, 1, 64, margin=0)
    run(torch.rand(1, 1, 128, 128))
    assert spy.seen == [(64, 64)] + [(32, 32)] * 16


def test_nothing_fits() -> None:
    run = Tiled(Spy(nn.Identity(), 15 * 15), nn.Identity(), 1, margin=0)
    expected = r"out of memory with 100x64 px in tiles of 16 px.*CUDA out of memory.*smaller image"
    with pytest.raises(InputError, match=expected):
        run(torch.rand(1, 1, 64, 100))
    assert not run.fallbacks


def test_a_margin_wider_than_the_image_leaves_nothing_to_try() -> None:
    spy = Spy(nn.Identity(), 10)
    with pytest.raises(InputError, match=r"out of memory with 64x64 px, and no tiles read less"):
        Tiled(spy, spy, 1, margin=40)(torch.rand(1, 1, 64, 64))
    assert spy.seen == [(64, 64)]


@pytest.mark.parametrize("error", [RuntimeError("illegal memory access"), ValueError("memory")])
def test_other_errors_pass(error: Exception) -> None:
    assert not out_of_memory(error)
    with pytest.raises(type(error), match="memory"):
        Tiled(Spy(nn.Identity(), 1, error), nn.Identity(), 1, margin=0)(torch.rand(1, 1, 64, 64))


def test_a_failed_pass_leaves_nothing_in_memory() -> None:
    alive = []

    class Greedy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            alive.append(Held.count)
            held = Held()
            if x.shape[-1] > 20:
                raise torch.OutOfMemoryError
            del held
            return x

    class Held:
        count = 0

        def __init__(self) -> None:
            Held.count += 1

        def __del__(self) -> None:
            Held.count -= 1

    Tiled(Greedy(), nn.Identity(), 1, margin=0)(torch.rand(1, 1, 64, 64))
    assert set(alive) == {0}


REAL = """
import resource, sys
from pathlib import Path
import torch
from torch import nn
from bench.tiles import Tiled, out_of_memory

torch.set_num_threads(1)
torch.set_grad_enabled(False)
torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1))
network = network.double()
x = torch.rand(1, 1, 1000, 1000, dtype=torch.float64)
whole = network(x)
taken = 1024 * int(Path("/proc/self/status").read_text().split("VmSize:")[1].split()[0])
most = taken + 100 * 2**20  # one of its feature maps is of 128 MB
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    network(x)
    sys.exit("the whole image fitted")
except RuntimeError as error:
    assert out_of_memory(error), error
run = Tiled(network, network, 1, margin=2)
difference = (run(x) - whole).abs().max().item()
assert difference <= 1e-12, difference
print(*run.fallbacks, sep="; ")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on address space")
def test_memory_that_really_runs_out() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REAL], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("out of memory: 1000x1000 px in tiles of ")


# Copies


def test_copies_are_independent() -> None:
    run = Tiled(Spy(nn.Identity(), 40 * 40), nn.Identity(), 1, margin=0)
    other = copy.deepcopy(run)
    run(torch.rand(1, 1, 64, 64))
    assert len(run.fallbacks) == 1
    assert not other.fallbacks
    x = torch.rand(1, 1, 50, 50)
    assert torch.equal(other(x), x)
    assert isinstance(run.run, Spy)
    assert isinstance(other.run, Spy)
    assert len(run.run.seen) == 5
    assert other.run.seen == [(50, 50)] + [(25, 25)] * 4


# What memory there is


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("512 B", 512),
        ("800MB", 800_000_000),
        ("800 mb", 800_000_000),
        ("1.5GiB", 3 * 2**29),
        (".5TiB", 2**39),
        ("2e9", 2_000_000_000),
        ("2kB", 2000),
        ("2KiB", 2048),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "much", "2G", "-1GB", "0", "0.1", "nan", "inf", "1 2GB", "GB", "1e400", "2PB", "٣"]
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(InputError, match="is no size of memory; give a number"):
        parse_bytes(text)


def group(folder: Path, most: str, taken: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{taken}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\nactive_file 7\n")


def test_an_image_may_take_its_share_of_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own")
    assert memory_for_an_image(CPU, 1) == 6000
    assert memory_for_an_image(CPU, 4) == 1500
    (tmp_path / "own").write_text("1:cpu:/elsewhere\n0::/job/step\n")
    group(tmp_path / "job" / "step", "max", 500, 0)
    assert memory_for_an_image(CPU, 1) == 6000
    group(tmp_path / "job", "5000", 3000, 1000)
    assert memory_for_an_image(CPU, 1) == 1800
    group(tmp_path, "4000", 3000, 0)  # as a container sees its own
    assert memory_for_an_image(CPU, 2) == 300
    group(tmp_path, "4000", 4000, 0)
    assert memory_for_an_image(CPU, 2) == 1


def test_a_gpu_is_asked_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000 * device.index, 9999))
    assert memory_for_an_image(torch.device("cuda:1"), 1) == 600
    assert emptied == [True]


FREED = """
import psutil, torch
from bench import machine
from bench.cli.main import keep_freed_memory

def resident():
    return psutil.Process().memory_info().rss / 2**20

keep_freed_memory()
before = resident()
maps = [torch.ones(2**20) for _ in range(200)]
del maps
kept = resident()
machine.memory_for_an_image(torch.device("cpu"), 1)
print(kept - before, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries keep nothing")
def test_memory_that_was_freed_is_free() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FREED], capture_output=True, text=True, timeout=120, check=True
    )
    kept, left = map(float, done.stdout.split())
    assert kept > 700  # of 800 MiB
    assert left < 100


# Networks that do something else on another size


class PadsTo(nn.Module):
    """Pads at the end to a multiple of a window, convolves with zeros around it, and crops."""

    def __init__(self, window: int, factor: int = 2) -> None:
        super().__init__()
        self.window, self.factor = window, factor
        self.conv = nn.Conv2d(3, 3, 7, padding=3, groups=3)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, factor * h, factor * w)
        h, w = x.shape[-2:]
        x = pad(x, (0, -w % self.window, 0, -h % self.window), mode="replicate")
        x = interpolate(self.conv(x), scale_factor=self.factor, mode="nearest")
        return x[..., : h * self.factor, : w * self.factor]


class PadsBothSides(PadsTo):
    """Pads on both sides, so that the image moves inside the windows."""

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, factor * h, factor * w)
        (h, w), f = x.shape[-2:], self.factor
        rows, columns = -h % self.window, -w % self.window
        top, left = rows // 2, columns // 2
        x = pad(x, (left, columns - left, top, rows - top), mode="replicate")
        x = interpolate(self.conv(x), scale_factor=f, mode="nearest")
        return x[..., top * f : (top + h) * f, left * f : (left + w) * f]


class Cropping(nn.Module):
    """Crops what a transposed convolution has too much, as FSRCNN and LapSRN do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 3, 9, 3)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 3h, 3w)
        h, w = x.shape[-2:]
        return self.up(self.conv(x))[..., 3 : 3 + 3 * h, 3 : 3 + 3 * w]


class Branching(nn.Module):
    """One convolution more for images of more than 60 rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to the same shape
        return self.conv(self.conv(x)) if x.shape[-2] > 60 else self.conv(x)


@pytest.mark.parametrize(("size", "tile"), [((100, 90), 24), ((96, 131), 40)])
@pytest.mark.parametrize("window", [7, 10, 16])
@pytest.mark.parametrize("kind", [PadsTo, PadsBothSides])
def test_tiles_of_a_network_that_pads_give_the_whole_image(
    kind: type[PadsTo], window: int, size: tuple[int, int], tile: int
) -> None:
    net = kind(window).double()
    x = torch.rand(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(Tiled(net, net, 2, tile)(x), net(x), rtol=0, atol=1e-12)


def test_no_tiles_where_no_period_can_be_seen() -> None:
    net = PadsTo(128)
    with pytest.raises(InputError, match="something else on every size near 90x100 px"):
        Tiled(net, net, 2, 24)(torch.rand(1, 3, 100, 90))


def test_tiles_of_a_network_that_crops_give_the_whole_image() -> None:
    net, x = Cropping().double(), torch.rand(1, 3, 50, 61, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(Tiled(net, net, 3, 16)(x), net(x), rtol=0, atol=1e-12)


def test_a_branch_on_the_size_is_refused_in_tiles() -> None:
    net, x = Branching(), torch.rand(1, 3, 100, 100)
    with pytest.raises(InputError, match=r"100x100 px cannot be cut .* something else on 36x36 px"):
        Tiled(net, net, 1, 32)(x)


def test_memory_that_runs_out_never_falls_back_to_another_network() -> None:
    net, x = Branching(), torch.rand(1, 3, 100, 100)
    with pytest.raises(InputError, match="something else on"):
        Tiled(Spy(net, 70 * 70), net, 1)(x)


class Sized(nn.Module):
    """Computes with something that it takes from the image's size, by way of a function."""

    def __init__(self, compute: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.compute = compute
        self.conv, self.other = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.register_buffer("blur", torch.full((3, 1, 3, 3), 1 / 9))
        self.register_buffer("sharpen", torch.full((3, 1, 3, 3), -1 / 9))

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to the same shape
        return self.compute(self, x)


def of_two(net: nn.Module, x: Tensor) -> Tensor:
    """Both convolutions run; the size says which one matters."""
    one, other = net.conv(x), net.other(x)
    return one if x.shape[-2] > 60 else other  # type: ignore[no-any-return]


def of_two_kernels(net: nn.Module, x: Tensor) -> Tensor:
    return conv2d(x, net.blur if x.shape[-2] > 60 else net.sharpen, padding=1, groups=3)  # type: ignore[arg-type]


SIZED: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "factor": lambda _, x: x * (x.shape[-1] / 90),
    "clipping": lambda _, x: x.clamp(max=x.shape[-2] / 200),
    "slope": lambda _, x: leaky_relu(x - 0.5, x.shape[-2] / 200),
    "filled": lambda _, x: x + x.new_zeros(1).fill_(x.shape[-2]),
    "mean of a row": lambda _, x: x * torch.arange(x.shape[-1], device=x.device).float().mean(),
    "number in a tensor": lambda _, x: x * torch.tensor(x.shape[-1] / 90),
    "number on the device": lambda _, x: x * torch.tensor(x.shape[-1] / 90, device=x.device),
    "numbers like the image": lambda _, x: x * x.new_tensor([x.shape[-1] / 90]),
    "numbers by keyword": lambda _, x: x * torch.tensor(data=x.shape[-1] / 90, device=x.device),
    "one of two branches": of_two,
    "one of two kernels": of_two_kernels,
}
"""All of them run the same operators, of the same settings, at every size."""


@pytest.mark.parametrize("name", SIZED)
def test_what_comes_from_the_size_is_refused_in_tiles(name: str) -> None:
    net, x = Sized(SIZED[name]), torch.rand(1, 3, 100, 90)
    with pytest.raises(InputError, match="90x100 px cannot be cut into tiles of 24 px: "):
        Tiled(net, net, 1, 24)(x)


CONSTANT: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "a tensor": lambda net, x: net.conv(x - torch.tensor([0.4, 0.5, 0.6])[:, None, None].to(x)),  # type: ignore[no-any-return]
    "on the device": lambda net, x: net.conv(x - torch.tensor((0.5,), device=x.device)),  # type: ignore[no-any-return]
    "like the image": lambda net, x: net.conv(x * x.new_tensor(0.5)),  # type: ignore[no-any-return]
    "a kernel": lambda _, x: conv2d(x, torch.ones(3, 1, 3, 3).to(x) / 9, padding=1, groups=3),
    "a buffer": lambda net, x: conv2d(x, net.blur, padding=1, groups=3),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CONSTANT)
def test_constants_that_are_the_same_at_every_size_are_tiled(name: str) -> None:
    net = Sized(CONSTANT[name]).double()
    x = torch.rand(1, 3, 100, 90, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(Tiled(net, net, 1, 24)(x), net(x), rtol=0, atol=1e-12)


class WiderBelow(nn.Module):
    """A dilated convolution on images below 47 rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to the same shape
        wide = 6 if x.shape[-2] < 47 else 1
        return conv2d(x, self.conv.weight, padding=wide, dilation=wide)


def test_the_margin_of_a_small_image_is_that_of_its_own_graph() -> None:
    net, x = WiderBelow().double(), torch.rand(1, 3, 45, 43, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(Tiled(net, net, 1, 16)(x), net(x), rtol=0, atol=1e-12)


class OfEight(nn.Module):
    """Takes sides that are multiples of 8 alone."""

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to the same shape
        if x.shape[-1] % 8 or x.shape[-2] % 8:
            raise ValueError("give multiples of 8")
        return x


def test_an_image_that_is_refused_whole_is_refused_in_tiles() -> None:
    with pytest.raises(InputError, match=r"36x36 px cannot be cut .* give multiples of 8"):
        Tiled(OfEight(), OfEight(), 1, 24)(torch.rand(1, 3, 36, 36))
