"""Degradations against direct calls of the libraries that they name, and sums by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from bench.training import degradations
from bench.training.degradations import Degradation, parse
from zoo.errors import InputError
from zoo.resample import imresize


def image(channels: int = 1, height: int = 24, width: int = 36, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (channels, height, width))
    return torch.from_numpy(levels.astype(np.float64))


def pixels(planes: Tensor) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3), as the libraries take them."""
    array = planes.numpy().astype(np.uint8)
    return array[0] if len(array) == 1 else np.stack(list(array), axis=2)


def planes(array: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.atleast_3d(array).transpose(2, 0, 1).astype(np.float64)


# MATLAB


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kernel", ["bicubic", "bilinear", "lanczos", "nearest"])
def test_matlab_is_imresize_with_mirrored_edges(scale: int, kernel: str) -> None:
    hr = image(3)
    double = Degradation(path="matlab", kernel=kernel)
    lr = imresize(hr, Fraction(1, scale), kernel=kernel, edges="mirror")
    assert torch.equal(double.degrade(hr, scale), lr)
    up = imresize(lr, scale, kernel="bicubic", edges="mirror")
    assert torch.equal(double.interpolate(lr, scale, "bicubic"), up)

    whole = replace(double, path="matlab-uint8")
    lr = imresize(hr, Fraction(1, scale), kernel=kernel, edges="mirror", rounding="each pass")
    assert torch.equal(whole.degrade(hr, scale), lr)
    up = imresize(lr, scale, kernel="bicubic", edges="mirror", rounding="each pass")
    assert torch.equal(whole.interpolate(lr, scale, "bicubic"), up)


def test_only_matlab_in_double_leaves_levels_that_are_not_whole() -> None:
    for path in degradations.PATHS:
        way = parse(f"blur 0.8 + {path}:bicubic")[0]
        lr = way.degrade(image(), 3)
        levels = torch.equal(lr, lr.round()) and 0 <= lr.min() <= lr.max() <= 255
        assert levels == way.eight_bit == (path != "matlab"), path


def test_what_is_blurred_on_eight_bits_is_rounded_before_it_is_shrunk() -> None:
    hr = image(3)
    blurred = np.floor(gaussian_filter(hr.numpy(), (0, 1.2, 1.2), mode="reflect") + 0.5)
    for path in ("matlab-uint8", "opencv", "pillow"):
        whole = parse(f"{path}:bicubic")[0].degrade(torch.from_numpy(blurred), 2)
        assert torch.equal(parse(f"blur 1.2 + {path}:bicubic")[0].degrade(hr, 2), whole), path


# OpenCV and Pillow


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kernel", "flag"),
    [
        ("nearest", cv2.INTER_NEAREST),
        ("bilinear", cv2.INTER_LINEAR),
        ("bicubic", cv2.INTER_CUBIC),
        ("area", cv2.INTER_AREA),
        ("lanczos", cv2.INTER_LANCZOS4),
    ],
)
def test_opencv_is_opencv(kernel: str, flag: int, channels: int) -> None:
    hr, way = image(channels), Degradation(path="opencv", kernel=kernel)
    small = cv2.resize(pixels(hr), (12, 8), interpolation=flag)
    lr = way.degrade(hr, 3)
    assert np.array_equal(lr.numpy(), planes(small))
    again = cv2.INTER_CUBIC if kernel == "area" else flag  # which enlarges by no kernel of ours
    large = cv2.resize(small, (36, 24), interpolation=again)
    assert np.array_equal(way.interpolate(lr, 3, "bicubic").numpy(), planes(large))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_pillow_is_pillow(kernel: str, channels: int) -> None:
    hr, way = image(channels), Degradation(path="pillow", kernel=kernel)
    filters = Image.Resampling
    small = Image.fromarray(pixels(hr)).resize((9, 6), filters[kernel.upper()])
    lr = way.degrade(hr, 4)
    assert np.array_equal(lr.numpy(), planes(np.asarray(small)))
    again = filters.BILINEAR if kernel in ("box", "hamming") else filters[kernel.upper()]
    large = np.asarray(small.resize((36, 24), again))
    assert np.array_equal(way.interpolate(lr, 4, "bilinear").numpy(), planes(large))


@pytest.mark.parametrize(("way", "first"), [("opencv:area", 25), ("pillow:box", 26)])
def test_area_is_the_mean_of_a_block(way: str, first: int) -> None:
    hr = torch.tensor([[[10, 20, 0, 0], [30, 41, 0, 7]]], dtype=torch.float64)
    # 101 / 4 = 25.25; Pillow rounds the rows' 15 and 35.5, and then their 25.5. 7 / 4 = 1.75
    assert parse(way)[0].degrade(hr, 2).tolist() == [[[first, 2]]]
    hr = image(3, 12, 18, seed=1) // 9 * 9  # a block's sum is a multiple of 9: no mean is rounded
    blocks = hr.numpy().reshape(3, 4, 3, 6, 3).mean((2, 4))
    assert np.array_equal(parse(way)[0].degrade(hr, 3).numpy(), blocks)


def test_nearest_takes_one_pixel_of_each_block() -> None:
    hr = image(3)
    assert torch.equal(parse("matlab:nearest")[0].degrade(hr, 3), hr[:, 1::3, 1::3])
    assert torch.equal(parse("opencv:nearest")[0].degrade(hr, 3), hr[:, ::3, ::3])


# Blur


def blurred(hr: Tensor, sigma: float) -> NDArray[np.float64]:
    """What the degradation blurs, by a shrinking that keeps every pixel."""
    return Degradation(path="matlab", blur=sigma).degrade(hr, 1).numpy()


@pytest.mark.parametrize("sigma", [0.05, 0.12, 0.13, 0.37, 0.38, 0.624, 1.0, 1.6, 2.625, 20.0])
@pytest.mark.parametrize("shape", [(24, 36), (5, 3), (1, 7)])
def test_a_blur_is_scipys_whose_radius_is_four_deviations(
    sigma: float, shape: tuple[int, int]
) -> None:
    hr = image(3, *shape)
    expected = gaussian_filter(hr.numpy(), (0, sigma, sigma), mode="reflect", truncate=4.0)
    assert np.abs(blurred(hr, sigma) - expected).max() < 1e-9


@pytest.mark.parametrize("sigma", [1e-200, 0.3, 1.6, 100.0])
def test_a_flat_image_stays_flat(sigma: float) -> None:
    flat = torch.full((1, 6, 9), 77.0, dtype=torch.float64)
    assert np.abs(blurred(flat, sigma) - 77).max() < 1e-9


def test_a_point_becomes_the_gaussian() -> None:
    hr = torch.zeros(1, 1, 31, dtype=torch.float64)
    hr[0, 0, 15] = 1000.0
    row = blurred(hr, 1.0)[0, 0]
    # exp(-k*k/2) is 1, 0.6065307, 0.1353353, 0.0111090 and 0.0003355: 2.5066208 on both sides
    tap = [1000 * np.exp(-k * k / 2) / 2.5066208 for k in range(5)]
    assert row[15:20] == pytest.approx(tap, rel=1e-6)
    assert row[10:15].tolist() == pytest.approx([0, *tap[:0:-1]], rel=1e-6)
    assert np.count_nonzero(row) == 9


# Texts


def text_of(way: Degradation) -> str:
    blur = f"blur {way.blur} + " if way.blur else ""
    return f"{blur}{way.path}:{way.kernel}"


def test_every_degradation_is_what_its_text_says() -> None:
    ways = [
        Degradation(path=path, kernel=kernel, blur=blur)  # type: ignore[arg-type]
        for path, kernels in degradations.PATHS.items()
        for kernel in kernels
        for blur in (0.0, 1.6)
    ]
    assert len(ways) == 2 * (4 + 4 + 5 + 6)
    assert parse(" | ".join(map(text_of, ways))) == tuple(ways)
    for way in ways:
        assert way.degrade(image(1, 8, 12), 2).shape == (1, 4, 6)


def test_a_text_may_be_spaced_as_one_likes() -> None:
    expected = (Degradation(blur=0.5), Degradation(path="pillow", kernel="box"))
    assert parse("  blur  .5+matlab:bicubic|pillow:box ") == expected
    assert parse(" pairs ") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "degradation ''; give PATH:KERNEL"),
        ("bicubic", "degradation 'bicubic'; give PATH:KERNEL"),
        ("matlab:bicubic |", "degradation ''; give PATH:KERNEL"),
        ("pairs | matlab:bicubic", "degradation 'pairs'; give PATH:KERNEL"),
        ("matlap:bicubic", "no degradation 'matlap'; did you mean 'matlab'"),
        ("matlab:area", "no kernel of matlab 'area'"),
        ("pillow:lancsoz", "no kernel of pillow 'lancsoz'; did you mean 'lanczos'?"),
        ("blur + matlab:bicubic", "give PATH:KERNEL"),
        ("blur x + matlab:bicubic", "blur x; give a sigma"),
        ("blur -1 + matlab:bicubic", "blur -1; give a sigma"),
        ("blur nan + matlab:bicubic", "blur nan; give a sigma"),
        ("blur 101 + matlab:bicubic", "blur 101; give a sigma in pixels, up to 100"),
        ("blur 1 + blur 2 + matlab:bicubic", "give PATH:KERNEL"),
        ("matlab:bicubic + blur 1", "give PATH:KERNEL"),
    ],
)
def test_a_bad_text_is_refused_in_a_line(text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
