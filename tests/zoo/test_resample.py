"""imresize against MATLAB's files, another implementation and numbers worked by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench import datasets, images
from bench.files import fetch
from bench.progress import Progress
from zoo.errors import InputError
from zoo.resample import KERNELS, Edges, imresize, phases, round_half_up

LR_FILES = [
    *((f"LR_x{scale}_matlab_uint8", scale, "set5", "replicate") for scale in (2, 3, 4)),
    *((f"LR_x{scale}_matlab_uint8", scale, "set14", "replicate") for scale in (2, 3, 4)),
    *((f"LR_x{scale}_benchmark", scale, "set5", "mirror") for scale in (2, 3, 4, 8)),
]


@pytest.mark.parametrize(("role", "scale", "name", "edges"), LR_FILES)
def test_every_pixel_equals_the_lr_file_that_matlab_wrote(
    role: str, scale: int, name: str, edges: Edges, mirror: Path
) -> None:
    files = datasets.manifest(name)
    fetch.fetch_missing(name, [file for _, _, file in files.files], Progress())
    rounding: Any = "once" if scale == 8 else "each pass"
    differing = 0
    for image, file in files.role(role).items():
        hr = images.to_tensor(
            images.decode(fetch.local_path(files.role("HR")[image])), torch.device("cpu")
        )
        lr = imresize(images.modcrop(hr, scale), Fraction(1, scale), edges=edges, rounding=rounding)
        published = images.to_tensor(images.decode(fetch.local_path(file)), torch.device("cpu"))
        differing += int((lr != published).sum())
    assert files.role(role)
    assert differing == 0


def _matrix(length: int, out: int, scale: float, kernel: str, mirror: bool) -> NDArray[Any]:
    """Weights of one pass as a dense matrix, straight from the definition."""
    function, support = KERNELS[kernel]
    stretch = min(scale, 1.0) if kernel != "nearest" else 1.0
    matrix = np.zeros((out, length))
    for row in range(out):
        centre = (row + 1) / scale + (1 - 1 / scale) / 2
        left = math.floor(centre - support / stretch / 2)
        for tap in range(left, left + math.ceil(support / stretch) + 2):
            weight = function(stretch * (centre - tap))
            index = tap - 1
            if mirror:
                index %= 2 * length
                index = min(index, 2 * length - 1 - index)
            matrix[row, min(max(index, 0), length - 1)] += weight
    return matrix / matrix.sum(1, keepdims=True)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    new_height=st.integers(1, 40),
    new_width=st.integers(1, 40),
    kernel=st.sampled_from(["bilinear", "bicubic", "lanczos"]),
    mirror=st.booleans(),
)
def test_any_size_equals_a_dense_matrix_product(
    height: int, width: int, new_height: int, new_width: int, kernel: str, mirror: bool
) -> None:
    image = np.random.default_rng(height * 97 + width).uniform(0, 255, (height, width))
    rows = _matrix(height, new_height, new_height / height, kernel, mirror)
    columns = _matrix(width, new_width, new_width / width, kernel, mirror)
    ours = imresize(
        torch.from_numpy(image),
        size=(new_height, new_width),
        kernel=kernel,
        edges="mirror" if mirror else "replicate",
    )
    np.testing.assert_allclose(ours.numpy(), rows @ image @ columns.T, atol=1e-10)


def test_bicubic_halving_uses_the_weights_worked_by_hand() -> None:
    # h(d / 2) / 2 at distances 0.5, 1.5, 2.5, 3.5 of Keys' kernel: 111, 29, -9, -3 parts of 256.
    (phase,) = phases("bicubic", Fraction(1, 2), True)
    assert [256 * weight for weight in phase.weights] == [-3, -9, 29, 111, 111, 29, -9, -3]
    assert phase.offset == -3


def test_doubling_uses_the_two_phases_worked_by_hand() -> None:
    first, second = phases("bicubic", Fraction(2), True)
    assert [128 * weight for weight in first.weights] == [-3, 29, 111, -9]
    assert [128 * weight for weight in second.weights] == [-9, 111, 29, -3]


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("scale", [Fraction(1, 3), Fraction(1, 2), Fraction(2), Fraction(5, 3)])
def test_a_flat_image_stays_flat(kernel: str, scale: Fraction) -> None:
    flat = torch.full((3, 7, 9), 77.0, dtype=torch.float64)
    torch.testing.assert_close(
        imresize(flat, scale, kernel=kernel), torch.full_like(imresize(flat, scale), 77.0)
    )


def test_nearest_doubling_repeats_pixels() -> None:
    image = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
    expected = image.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(imresize(image, 2, kernel="nearest"), expected)


def test_halves_are_rounded_up_and_clipped() -> None:
    values = torch.tensor([-3.0, 0.49, 0.5, 1.5, 2.5, 254.5, 300.0])
    assert round_half_up(values).tolist() == [0, 0, 1, 2, 3, 255, 255]


def test_rounding_after_each_pass_differs_from_rounding_once() -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 40, 40)).astype(float))
    each = imresize(image, Fraction(1, 2), rounding="each pass")
    once = imresize(image, Fraction(1, 2), rounding="once")
    assert torch.equal(once, round_half_up(imresize(image, Fraction(1, 2))))
    assert not torch.equal(each, once)


def test_a_third_of_an_odd_size_is_rounded_up() -> None:
    assert imresize(torch.zeros(1, 10, 11), Fraction(1, 3)).shape == (1, 4, 4)


def test_it_keeps_the_dtype() -> None:
    assert imresize(torch.zeros(1, 4, 4, dtype=torch.float32), 2).dtype == torch.float32


def test_weights_are_computed_once() -> None:
    phases.cache_clear()
    for _ in range(3):
        imresize(torch.zeros(1, 8, 8), Fraction(1, 2))
    assert phases.cache_info().misses == 1


def test_scale_and_size_together_are_refused() -> None:
    with pytest.raises(InputError, match="either a scale or a size"):
        imresize(torch.zeros(1, 4, 4), 2, size=(8, 8))


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(InputError, match="4x0 pixels"):
        imresize(torch.zeros(1, 0, 4), 2)


def test_an_unknown_kernel_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(InputError, match="did you mean 'bicubic'"):
        imresize(torch.zeros(1, 4, 4), 2, kernel="bicubik")


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_it_works_where_the_image_is(device: str) -> None:
    image = torch.rand(3, 33, 47, dtype=torch.float64) * 255
    ours = imresize(image.to(device), 3)
    assert ours.device.type == device
    torch.testing.assert_close(ours.cpu(), imresize(image, 3))


@pytest.mark.parametrize(
    ("size", "first"),
    [
        ((30, 15), (45, 15)),  # columns shrink by more: they come first
        ((15, 30), (15, 45)),
        ((15, 15), (15, 45)),  # equal factors: rows first
        ((90, 60), (45, 60)),  # columns grow by less
    ],
)
def test_passes_run_in_the_order_of_matlab_which_rounding_shows(
    size: tuple[int, int], first: tuple[int, int]
) -> None:
    """MATLAB sorts the dimensions by their factor, the smallest first."""
    pixels = np.random.default_rng(3).integers(0, 256, (1, 45, 45))
    x = torch.from_numpy(pixels).to(torch.float64)
    other = (size[0], 45) if first[0] == 45 else (45, size[1])

    def by_way_of(between: tuple[int, int]) -> torch.Tensor:
        once = imresize(x, size=between, rounding="each pass")
        return imresize(once, size=size, rounding="each pass")

    found = imresize(x, size=size, rounding="each pass")
    assert torch.equal(found, by_way_of(first))
    assert not torch.equal(found, by_way_of(other))
