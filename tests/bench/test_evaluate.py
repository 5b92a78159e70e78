from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor, nn

import zoo
from bench import datasets, metrics
from bench.evaluate import (
    compare_images,
    evaluate,
    hr_and_lr,
    interpolate,
    score,
    super_resolve,
)
from bench.files import weights
from bench.measure import measure
from bench.plan import AccuracyRequest, accuracy_units
from bench.progress import Progress
from bench.protocol import PROTOCOLS, Protocol, load
from zoo.errors import InputError
from zoo.method import Method

CPU = torch.device("cpu")
PSNR = {"psnr": metrics.load("psnr")}
BOTH = {name: metrics.load(name) for name in ("psnr", "ssim")}
RECOMPUTED = (
    "srcnn2014",
    "vdsr2016",
    "idn2018",
    "selfexsr2015",
    "rcan2018",
    "rcan2018-gray-as-luma",
    "lapsrn2017",
    "lapsrn2017-gray-as-luma",
    "srmd2018",
    "laljavid",
)
Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]


def photo(height: int, width: int, gray: bool = False, seed: int = 0) -> Pixels:
    """Something with edges, gradients and full range, of odd sides if asked."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.uniform(-1500, 1700, (height, width, 3)), (2, 2, 0))
    pixels = np.clip(smooth, 0, 255).astype(np.uint8)
    return pixels[..., 0].copy() if gray else pixels


# The reference: MATLAB's imresize and rgb2ycbcr again, in NumPy, by protocol name.


def cubic(x: Array) -> Array:
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def resize_rows(image: Array, length: int, mirror: bool) -> Array:
    """One pass of imresize.m along the first dimension: its `contributions`, then the sums."""
    size = image.shape[0]
    scale = length / size
    stretch = min(scale, 1.0)
    u = np.arange(1, length + 1) / scale + 0.5 * (1 - 1 / scale)
    left = np.floor(u - 2 / stretch)
    indices = left[:, None] + np.arange(math.ceil(4 / stretch) + 2)
    table = stretch * cubic(stretch * (u[:, None] - indices))
    table /= table.sum(1, keepdims=True)
    inside = np.r_[0:size, size - 1 : -1 : -1] if mirror else np.arange(size)
    at = (indices - 1).astype(int)
    at = inside[at % len(inside)] if mirror else at.clip(0, size - 1)
    shape = (length, -1, *[1] * (image.ndim - 1))
    return np.asarray((table.reshape(shape) * image[at]).sum(1))


def half_up(x: Array) -> Array:
    return np.clip(np.floor(x + 0.5), 0, 255)


def imresize(image: Array, size: tuple[int, int], mirror: bool, uint8: bool) -> Array:
    after = half_up if uint8 else np.asarray
    rows = after(resize_rows(image, size[0], mirror))
    columns = resize_rows(rows.swapaxes(0, 1), size[1], mirror).swapaxes(0, 1)
    return np.asarray(after(columns))


YCBCR = np.array([[65481, 128553, 24966], [-37797, -74203, 112000], [112000, -93786, -18214]])
OFFSETS = np.array([16, 128, 128])
LUMA_FIRST = ("srcnn2014", "vdsr2016", "idn2018")
LR_IN_DOUBLE = ("lapsrn2017", "lapsrn2017-gray-as-luma", "srmd2018")
GRAY_THROUGH_THE_FORMULA = ("rcan2018", "lapsrn2017")
REPLICATE = ("srcnn2014", "selfexsr2015")


def to_ycbcr(image: Array, whole: bool) -> Array:
    """Of an image of whole levels: in integers, if the result is to have whole levels."""
    if whole:
        return ((image.astype(np.int64) @ YCBCR.T + 127500) // 255000 + OFFSETS).astype(float)
    return np.asarray(image @ (YCBCR.T / 255000) + OFFSETS)


def to_rgb(ycbcr: Array) -> Array:
    return np.asarray((ycbcr - OFFSETS) @ np.linalg.inv(YCBCR.T / 255000))


def to_y(image: Array, whole: bool = False) -> Array:
    return image if image.ndim == 2 else to_ycbcr(image, whole)[..., 0]


def cut(image: Array, border: int) -> Array:
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def prepared(pixels: Pixels, scale: int, name: str) -> Array:
    if pixels.ndim == 2 and name in GRAY_THROUGH_THE_FORMULA:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    height, width = (side - side % scale for side in pixels.shape[:2])
    return pixels[:height, :width].astype(float)


def low_resolution(hr: Array, scale: int, name: str) -> Array:
    low = (hr.shape[0] // scale, hr.shape[1] // scale)
    if name in LUMA_FIRST or name in LR_IN_DOUBLE:
        return imresize(hr, low, name not in REPLICATE, uint8=False)
    once = name.startswith("rcan2018") and scale == 8  # as in the shared benchmark LR files
    return half_up(imresize(hr, low, name not in REPLICATE, uint8=not once))


def compared(sr: Array, hr: Array, scale: int, name: str) -> tuple[Array, Array]:
    sr = sr if name == "srmd2018" else half_up(sr)
    whole = name in (*LUMA_FIRST, "selfexsr2015")
    return cut(to_y(sr, whole), scale), cut(to_y(hr, whole), scale)


def bicubic_reference(pixels: Pixels, scale: int, name: str) -> tuple[Array, Array]:
    """SR and HR as they are compared."""
    if name == "laljavid":
        height, width = pixels.shape[:2]
        size = (width // scale, height // scale)
        lr = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
        sr = cv2.resize(lr, (width, height), interpolation=cv2.INTER_CUBIC)
        return sr.astype(float), pixels.astype(float)
    hr = prepared(pixels, scale, name)
    if name in LUMA_FIRST:
        hr = to_y(hr, whole=True)
    lr = low_resolution(hr, scale, name)
    eight_bit = name not in (*LUMA_FIRST, *LR_IN_DOUBLE)
    sr = imresize(lr, hr.shape[:2], name not in REPLICATE, eight_bit)
    return compared(sr.clip(16, 235) if name == "vdsr2016" else sr, hr, scale, name)


def luma_method_reference(pixels: Pixels, scale: int, name: str) -> tuple[Array, Array]:
    """SR and HR of a method that stretches the contrast of interpolated luma."""
    hr, mirror = prepared(pixels, scale, name), name not in REPLICATE
    size = hr.shape[:2]
    if name in LUMA_FIRST:
        hr = to_y(hr, whole=True)
    lr = low_resolution(hr, scale, name)
    whole = name == "selfexsr2015"
    ycbcr = lr[..., None] if lr.ndim == 2 else to_ycbcr(lr, whole)
    y = imresize(ycbcr[..., 0], size, mirror, uint8=False)
    y = stretched((y.clip(16, 235) if name == "vdsr2016" else y) / 255) * 255
    if lr.ndim == 2:
        return compared(y, hr, scale, name)
    chroma = imresize(ycbcr[..., 1:], size, mirror, uint8=whole)
    sr = to_rgb(np.dstack([half_up(y) if whole else y, chroma]))
    return compared(sr, hr, scale, name)


def rgb_method_reference(pixels: Pixels, scale: int, name: str) -> tuple[Array, Array]:
    """SR and HR of a method that repeats the pixels of LR and stretches the contrast."""
    hr = prepared(pixels, scale, name)
    lr = low_resolution(hr, scale, name)
    large = lr.repeat(scale, 0).repeat(scale, 1)
    return compared(stretched(large / 255) * 255, hr, scale, name)


def stretched(image: Any) -> Any:
    """Beyond [0, 1] too, so that clipping shows."""
    return image * 1.1 - 0.05


def measured(
    pixels: Pixels, scale: int, protocol: Protocol, spec: str, used: dict[str, Any] = PSNR
) -> dict[str, float]:
    method, tag = zoo.load(spec)
    module = weights.build(method, weights.of_tag(method, tag, scale), scale, CPU)
    return evaluate(pixels, scale, protocol, method, module, used, CPU)


@pytest.mark.parametrize("gray", [False, True], ids=["RGB", "gray"])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("name", RECOMPUTED)
def test_bicubic_psnr_equals_an_independent_chain(name: str, scale: int, gray: bool) -> None:
    pixels = photo(61, 53, gray)
    found = measured(pixels, scale, load(name), "bicubic")
    sr, hr = bicubic_reference(pixels, scale, name)
    expected = 10 * math.log10(255**2 / ((sr - hr) ** 2).mean())
    assert list(found.values()) == pytest.approx([expected], rel=0, abs=1e-9)


@pytest.mark.parametrize("name", RECOMPUTED)
def test_bicubic_ssim_equals_an_independent_chain(name: str) -> None:
    pixels = photo(60, 55)
    found = measured(pixels, 3, load(name), "bicubic", BOTH)[f"ssim_{load(name).channel}"]
    sr, hr = bicubic_reference(pixels, 3, name)
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "data_range": 255}
    axis = -1 if sr.ndim == 3 else None
    expected = structural_similarity(
        hr, sr, channel_axis=axis, use_sample_covariance=False, **options
    )
    assert found == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("gray", [False, True], ids=["RGB-file", "gray-file"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", RECOMPUTED[:-1])
def test_luma_method_equals_an_independent_chain(name: str, scale: int, gray: bool) -> None:
    pixels = photo(61, 53, gray)
    module = Toy(stretched)
    found = evaluate(pixels, scale, load(name), toy(channels="luma"), module, BOTH, CPU)
    assert found == pytest.approx(
        psnr_and_ssim(luma_method_reference(pixels, scale, name)), abs=1e-9
    )


@pytest.mark.parametrize("gray", [False, True], ids=["RGB-file", "gray-file"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", [name for name in RECOMPUTED[:-1] if name not in LUMA_FIRST])
def test_rgb_method_equals_an_independent_chain(name: str, scale: int, gray: bool) -> None:
    pixels = photo(61, 53, gray)
    module = Toy(lambda x: stretched(enlarged(scale)(x)))
    found = evaluate(pixels, scale, load(name), toy("LR", "RGB"), module, BOTH, CPU)
    assert found == pytest.approx(
        psnr_and_ssim(rgb_method_reference(pixels, scale, name)), abs=1e-9
    )


def psnr_and_ssim(pair: tuple[Array, Array]) -> dict[str, float]:
    sr, hr = pair
    psnr = 10 * math.log10(255**2 / ((sr - hr) ** 2).mean())
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "data_range": 255}
    ssim = structural_similarity(hr, sr, use_sample_covariance=False, **options)
    return {"psnr_y": psnr, "ssim_y": float(ssim)}


# Methods of the test's own, to see what a method is given and what becomes of what it gives.


class Toy(nn.Module):
    """Whatever `function` makes of the input; keeps the last input."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.given = torch.empty(0)

    def forward(self, x: Tensor) -> Any:
        self.given = x
        return self.function(x)


def enlarged(scale: int) -> Any:
    return lambda x: x.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def toy(
    takes: Literal["LR", "interpolated"] = "interpolated",
    channels: Literal["luma", "RGB", "any"] = "any",
) -> Method:
    return Method(
        name="toy",
        citation="",
        takes=takes,
        channels=channels,
        build=lambda scale, settings: nn.Identity(),
    )


def identity(scale: int, takes: str) -> Toy:
    return Toy(enlarged(scale) if takes == "LR" else lambda x: x)


@pytest.mark.parametrize("gray", [False, True], ids=["RGB-file", "gray-file"])
@pytest.mark.parametrize("takes", ["LR", "interpolated"])
@pytest.mark.parametrize("channels", ["luma", "RGB"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_any_method_is_measured_under_any_protocol(
    name: str, channels: Any, takes: Any, gray: bool
) -> None:
    protocol, pixels = load(name), photo(52, 59, gray)
    module = identity(3, takes)
    found = evaluate(pixels, 3, protocol, toy(takes, channels), module, BOTH, CPU)
    assert list(found) == [f"{metric}_{protocol.channel}" for metric in BOTH]
    assert all(math.isfinite(value) for value in found.values())
    small, full = (17, 19), (51, 57) if protocol.modcrop else (52, 59)
    planes = 1 if channels == "luma" else 3
    assert module.given.shape == (1, planes, *(small if takes == "LR" else full))


@pytest.mark.parametrize("gray", [False, True], ids=["RGB-file", "gray-file"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_rgb_method_is_given_whole_levels_where_the_protocol_rounds_lr(
    name: str, gray: bool
) -> None:
    module = identity(2, "LR")
    evaluate(photo(40, 40, gray), 2, load(name), toy("LR", "RGB"), module, PSNR, CPU)
    levels = module.given.double() * 255
    rounded = float((levels - levels.round()).abs().max()) < 1e-9
    assert rounded is (name not in LR_IN_DOUBLE)
    assert levels.max() > 100


def test_luma_method_of_a_luma_protocol_is_given_fractions_of_levels() -> None:
    module = identity(2, "LR")
    evaluate(photo(40, 40), 2, load("srcnn2014"), toy("LR", "luma"), module, PSNR, CPU)
    levels = module.given * 255
    assert (levels - levels.round()).abs().max() > 0.4


def test_vdsr2016_clips_what_a_method_is_given_and_srcnn2014_does_not() -> None:
    pixels = photo(40, 40, gray=True)
    ranges = []
    for name in ("vdsr2016", "srcnn2014"):
        module = identity(2, "interpolated")
        evaluate(pixels, 2, load(name), toy(channels="luma"), module, PSNR, CPU)
        ranges.append((float(module.given.min() * 255), float(module.given.max() * 255)))
    assert ranges[0] == pytest.approx((16, 235))
    assert ranges[1][0] < 1
    assert ranges[1][1] > 254


def test_vdsr2016_clips_luma_only() -> None:
    module = identity(2, "interpolated")
    evaluate(photo(40, 40), 2, load("vdsr2016"), toy(channels="RGB"), module, PSNR, CPU)
    assert float(module.given.min()) < 15 / 255
    assert float(module.given.max()) > 236 / 255


@pytest.mark.parametrize("converts", [False, True])
@pytest.mark.parametrize("name", RECOMPUTED[:-1])
def test_gray_file_equals_its_rgb_copy_only_where_the_protocol_converts(
    name: str, converts: bool
) -> None:
    gray, protocol = photo(44, 44, gray=True), replace(load(name), convert_gray=converts)
    copy = np.repeat(gray[..., None], 3, axis=2)
    alone, copied = (measured(image, 2, protocol, "bicubic") for image in (gray, copy))
    assert (alone == pytest.approx(copied, abs=1e-12)) is converts


@pytest.mark.parametrize("name", sorted(set(PROTOCOLS) - {"srmd2018"}))
def test_sr_is_rounded_half_up_and_clipped_before_it_is_compared(name: str) -> None:
    hr = torch.full((3, 40, 40), 100.0).double()
    hr[:, ::2], hr[:, 1::4] = 255, 0
    off = torch.where(hr == 255, 20.0, torch.where(hr == 0, -20.0, -0.5))
    (same,) = compare_images(hr + off, hr, 2, load(name), PSNR).values()
    (differs,) = compare_images(hr + off - 0.01, hr, 2, load(name), PSNR).values()
    assert same == math.inf
    assert differs < 60


def test_a_gray_file_is_20_log_255_over_219_db_better_through_the_luma_formula() -> None:
    pixels = photo(44, 44, gray=True)
    through, as_it_is = (
        measured(pixels, 2, load(name), "bicubic")["psnr_y"]
        for name in ("rcan2018", "rcan2018-gray-as-luma")
    )
    assert through - as_it_is == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)


def test_gray_sr_and_rgb_hr_are_not_compared_unless_the_protocol_converts_gray() -> None:
    gray = torch.from_numpy(photo(44, 44, gray=True).astype(float))[None]
    rgb = gray.expand(3, -1, -1)
    for pair in ((gray, rgb), (rgb, gray)):
        with pytest.raises(InputError, match="does not convert gray to RGB: give both gray or"):
            score(*pair, 2, load("rcan2018-gray-as-luma"), PSNR)
        assert score(*pair, 2, load("rcan2018"), PSNR)["psnr_y"] == math.inf


def test_luma_method_on_rgb_keeps_the_chroma_that_bicubic_gives() -> None:
    lr = photo(20, 23).astype(float)
    planes = torch.from_numpy(lr).permute(2, 0, 1)
    module = identity(2, "interpolated")
    sr = super_resolve(planes, (40, 46), toy(channels="luma"), module, load("rcan2018"))
    expected = imresize(lr, (40, 46), mirror=True, uint8=False)  # as YCbCr is linear in RGB
    np.testing.assert_allclose(sr.permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-9)


def test_rgb_method_on_gray_is_given_three_planes_and_averaged() -> None:
    weights_of = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64).reshape(3, 1, 1)
    lr = torch.from_numpy(photo(9, 8, gray=True).astype(float))[None]
    sr = super_resolve(
        lr, (18, 16), toy("LR", "RGB"), Toy(lambda x: enlarged(2)(x * weights_of)), load("rcan2018")
    )
    torch.testing.assert_close(sr, enlarged(2)(lr) * 1.5)


def test_network_computes_in_its_own_precision_and_interpolation_in_double() -> None:
    network, nothing = Toy(lambda x: x), Toy(lambda x: x)
    network.layer = nn.Conv2d(1, 1, 1)
    for module in (network, nothing):
        evaluate(photo(30, 30), 2, load("srcnn2014"), toy(channels="luma"), module, PSNR, CPU)
    assert (network.given.dtype, nothing.given.dtype) == (torch.float32, torch.float64)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x / 0 * 0, "toy gave NaN or infinite pixels"),
        (lambda x: x + math.inf, "toy gave NaN or infinite pixels"),
        (lambda x: x[..., 1:], r"toy gave a tensor of shape \(1, 1, 30, 29\); expected \(1, 1, 30"),
        (lambda x: x[0], r"toy gave a tensor of shape \(1, 30, 30\); expected \(1, 1, 30, 30\)"),
        (lambda x: [x], "toy gave a list; expected a tensor"),
        (lambda x: None, "toy gave a NoneType; expected a tensor"),
    ],
    ids=["NaN", "infinity", "size", "dimensions", "list", "None"],
)
def test_what_a_method_gives_is_checked_and_blamed_by_name(function: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(photo(30, 30), 2, load("srcnn2014"), toy(), Toy(function), PSNR, CPU)


def test_method_that_does_not_enlarge_is_blamed_by_name() -> None:
    with pytest.raises(InputError, match=r"toy gave .*\(1, 3, 15, 15\); expected \(1, 3, 30, 30\)"):
        evaluate(photo(30, 30), 2, load("rcan2018"), toy("LR"), Toy(lambda x: x), PSNR, CPU)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_one_pixel_is_too_little(name: str) -> None:
    with pytest.raises(InputError, match="px leave nothing at x2; take a larger image"):
        measured(photo(1, 1), 2, load(name), "bicubic")


@pytest.mark.parametrize(("name", "side"), [("srcnn2014", 4), ("edsr2017-div2k", 16)])
def test_image_that_the_border_eats_is_too_little(name: str, side: int) -> None:
    with pytest.raises(InputError, match=f"{side}x{side} px leave nothing inside a border of"):
        measured(photo(side, side), 2, load(name), "bicubic")
    assert measured(photo(side + 2, side + 2), 2, load(name), "bicubic")


def test_method_that_takes_lr_is_measured_where_sides_are_below_the_square_of_the_scale() -> None:
    module = identity(4, "LR")
    assert evaluate(photo(7, 9), 4, load("laljavid"), toy("LR"), module, PSNR, CPU)


def test_opencv_lr_equals_cv2() -> None:
    pixels = photo(31, 38)
    _, lr = hr_and_lr(pixels, 3, load("laljavid"), toy().channels, CPU)
    expected = cv2.resize(pixels, (12, 10), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(lr.permute(1, 2, 0).numpy(), expected)


def test_half_precision_is_no_reason_to_call_a_large_image_infinite() -> None:
    module = Toy(lambda x: x)
    module.layer = nn.Conv2d(1, 1, 1).half()
    found = evaluate(photo(420, 420), 2, load("srcnn2014"), toy(), module, PSNR, CPU)
    assert found["psnr_y"] > 20


@pytest.mark.parametrize(
    ("kernel", "flag"),
    [
        ("nearest", cv2.INTER_NEAREST),
        ("bilinear", cv2.INTER_LINEAR),
        ("bicubic", cv2.INTER_CUBIC),
        ("lanczos", cv2.INTER_LANCZOS4),
    ],
)
def test_opencv_interpolation_equals_cv2(kernel: str, flag: int) -> None:
    pixels = photo(12, 10)
    planes = torch.from_numpy(pixels.astype(float)).permute(2, 0, 1)
    sr = interpolate(planes, (37, 31), kernel, load("laljavid")).permute(1, 2, 0)
    np.testing.assert_array_equal(sr.numpy(), cv2.resize(pixels, (31, 37), interpolation=flag))


def average(spec: str, dataset: str, scale: int, protocol: str) -> dict[str, float]:
    method, tag = zoo.load(spec)
    request = AccuracyRequest(
        method, tag, scale, datasets.load(dataset, Progress()), load(protocol)
    )
    (unit,) = accuracy_units([request], CPU, ("psnr", "ssim"))
    weights.download(method, unit.weights, Progress())
    return {
        result.quantity.partition("_")[0]: float(result.value or 0)
        for result in measure(unit, Progress())
        if not result.image
    }


@pytest.mark.parametrize(
    ("scale", "psnr", "ssim"),
    [(2, "33.66", "0.9299"), (3, "30.39", "0.8682"), (4, "28.42", "0.8104")],
)
def test_bicubic_on_set5_is_what_vdsr_printed(
    scale: int, psnr: str, ssim: str, mirror: Path
) -> None:
    found = average("bicubic", "set5", scale, "vdsr2016")
    assert (f"{found['psnr']:.2f}", f"{found['ssim']:.4f}") == (psnr, ssim)


@pytest.mark.parametrize(
    ("spec", "dataset", "scale", "protocol", "psnr"),
    [
        ("bicubic", "set5", 2, "rcan2018", "33.67"),
        ("nearest", "set5", 4, "laljavid", "23.46"),
        ("nearest", "set14", 4, "laljavid", "21.44"),
        ("bicubic", "set14", 2, "vdsr2016", "30.24"),
        ("bicubic", "set14", 3, "vdsr2016", "27.55"),
        ("bicubic", "set14", 4, "vdsr2016", "26.00"),
    ],
)
def test_average_is_what_was_published(
    spec: str, dataset: str, scale: int, protocol: str, psnr: str, mirror: Path
) -> None:
    assert f"{average(spec, dataset, scale, protocol)['psnr']:.2f}" == psnr


@pytest.mark.parametrize(
    ("spec", "dataset", "scale", "psnr", "ssim"),
    [
        ("bicubic", "set5", 2, "33.64", "0.9292"),
        ("bicubic", "set5", 3, "30.39", "0.8678"),
        ("bicubic", "set5", 4, "28.42", "0.8101"),
        ("bicubic", "set14", 2, "30.22", "0.8683"),
        ("bicubic", "set14", 3, "27.53", "0.7737"),
        ("bicubic", "set14", 4, "25.99", "0.7023"),
        ("srcnn-9-1-5", "set5", 2, "36.28", "0.9509"),
        ("srcnn-9-1-5", "set5", 3, "32.37", "0.9025"),
        ("srcnn-9-1-5", "set5", 4, "30.08", "0.8525"),
        ("srcnn-9-1-5", "b100", 2, "31.11", "0.8835"),
    ],
)
def test_average_is_what_the_authors_of_selfexsr_published(
    spec: str, dataset: str, scale: int, psnr: str, ssim: str, mirror: Path
) -> None:
    found = average(spec, dataset, scale, "selfexsr2015")
    assert (f"{found['psnr']:.2f}", f"{found['ssim']:.4f}") == (psnr, ssim)


BUTTERFLY = """
import torch, zoo
from bench import datasets, metrics, protocol
from bench.evaluate import evaluate
from bench.files import weights
from bench.measure import decoded
from bench.progress import Progress

(image,) = (one for one in datasets.load("set5", Progress()).images if one.name == "butterfly")
used = {"psnr": metrics.load("psnr")}
cpu = torch.device("cpu")
for spec in ("bicubic", "srcnn-9-1-5"):
    method, tag = zoo.load(spec)
    resolved = weights.of_tag(method, tag, 3)
    weights.download(method, resolved, Progress())
    module = weights.build(method, resolved, 3, cpu)
    for name in ("srcnn2014", "vdsr2016", "selfexsr2015", "rcan2018"):
        rules, pixels = protocol.load(name), decoded(image.path, image.sha256)
        with torch.no_grad():
            found = evaluate(pixels, 3, rules, method, module, used, cpu)
        print(spec, name, found["psnr_y"].hex())
"""


def test_psnr_has_the_same_bits_without_vector_instructions(mirror: Path) -> None:
    """Luma of butterfly is often exactly half a level, which must be rounded in one way."""
    found = []
    for change in ({}, {"ATEN_CPU_CAPABILITY": "default"}):
        command = [sys.executable, "-c", BUTTERFLY]
        environment = {**os.environ, **change}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(done.stdout.splitlines())
    assert len(found[0]) == 8
    assert found[0] == found[1]
