from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from bench import metrics
from bench.metrics import psnr, ssim
from bench.protocol import Protocol, load
from zoo.errors import InputError

Image = NDArray[np.float64]

PLANAR = load("srcnn2014")
VOLUME = load("edsr2017-div2k")
exact = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def pair(height: int, width: int, channels: int, seed: int, smooth: bool) -> tuple[Image, Image]:
    """HR and a noisy SR of it, (H, W, C) in [0, 255]."""
    rng = np.random.default_rng(seed)
    hr = rng.uniform(0, 255, (height, width, channels))
    if smooth:
        hr = gaussian_filter(hr, (3, 3, 0))
    return hr, np.clip(hr + rng.normal(0, 8, hr.shape), 0, 255)


def planes(image: Image) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


pairs = st.builds(
    pair,
    height=st.integers(11, 45),
    width=st.integers(11, 45),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 10**6),
    smooth=st.booleans(),
)


@exact
@given(pairs)
def test_psnr_matches_skimage(images: tuple[Image, Image]) -> None:
    hr, sr = images
    theirs = peak_signal_noise_ratio(hr, sr, data_range=255)
    assert psnr.measure(planes(sr), planes(hr), PLANAR) == pytest.approx(theirs, rel=0, abs=1e-9)


def test_psnr_by_hand() -> None:
    sr = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    hr = torch.tensor([[[1.0, 2.0], [3.0, 8.0]]])  # MSE 16 / 4
    assert psnr.measure(sr, hr, PLANAR) == pytest.approx(20 * math.log10(255 / 2), abs=1e-12)


def test_psnr_averages_the_error_over_channels_before_the_logarithm() -> None:
    hr = torch.zeros(3, 4, 4)
    sr = hr.clone()
    sr[0] = 6  # MSE 36 in one of three channels
    assert psnr.measure(sr, hr, PLANAR) == pytest.approx(10 * math.log10(255**2 / 12), abs=1e-12)


def planar_reference(sr: Image, hr: Image) -> float:
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "data_range": 255}
    return float(
        structural_similarity(hr, sr, channel_axis=-1, use_sample_covariance=False, **options)
    )


def volume_reference(sr: Image, hr: Image) -> float:
    """MATLAB's ssim of two H x W x 3 arrays, window by window of three dimensions."""

    def mean(x: Image) -> Image:
        return gaussian_filter(x, sigma=1.5, truncate=3.5, mode="nearest")

    mean_x, mean_y = mean(sr), mean(hr)
    variance_x, variance_y = mean(sr**2) - mean_x**2, mean(hr**2) - mean_y**2
    covariance = mean(sr * hr) - mean_x * mean_y
    c1, c2 = 6.5025, 58.5225
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float((luminance * (2 * covariance + c2) / (variance_x + variance_y + c2)).mean())


@exact
@given(pairs)
def test_planar_ssim_matches_skimage(images: tuple[Image, Image]) -> None:
    hr, sr = images
    ours = ssim.measure(planes(sr), planes(hr), PLANAR)
    assert ours == pytest.approx(planar_reference(sr, hr), rel=0, abs=1e-9)


@exact
@given(pairs)
def test_volume_ssim_matches_scipys_gaussian_over_the_volume(images: tuple[Image, Image]) -> None:
    hr, sr = images
    ours = ssim.measure(planes(sr), planes(hr), VOLUME)
    assert ours == pytest.approx(volume_reference(sr, hr), rel=0, abs=1e-9)


def test_planar_ssim_of_rgb_is_the_mean_over_channels() -> None:
    hr, sr = (planes(image) for image in pair(20, 31, 3, 1, smooth=True))
    single = [ssim.measure(sr[c : c + 1], hr[c : c + 1], PLANAR) for c in range(3)]
    assert ssim.measure(sr, hr, PLANAR) == pytest.approx(sum(single) / 3, abs=1e-12)


def test_volume_ssim_differs_from_planar() -> None:
    hr, sr = (planes(image) for image in pair(30, 30, 3, 2, smooth=True))
    assert abs(ssim.measure(sr, hr, VOLUME) - ssim.measure(sr, hr, PLANAR)) > 1e-3


def test_ssim_of_constant_images_by_hand() -> None:
    sr, hr = torch.full((1, 12, 13), 100.0).double(), torch.full((1, 12, 13), 120.0).double()
    expected = (2 * 100 * 120 + 6.5025) / (100**2 + 120**2 + 6.5025)
    assert ssim.measure(sr, hr, PLANAR) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("protocol", [PLANAR, VOLUME], ids=["2-D", "3-D"])
@pytest.mark.parametrize("name", metrics.names())
def test_metric_is_symmetric(name: str, protocol: Protocol) -> None:
    hr, sr = (planes(image) for image in pair(17, 23, 3, 3, smooth=False))
    there = metrics.load(name).measure(sr, hr, protocol)
    assert metrics.load(name).measure(hr, sr, protocol) == pytest.approx(there, abs=1e-12)


@pytest.mark.parametrize("protocol", [PLANAR, VOLUME], ids=["2-D", "3-D"])
@pytest.mark.parametrize(("name", "best"), [("psnr", math.inf), ("ssim", 1.0)])
def test_identical_images_give_the_best_value(name: str, best: float, protocol: Protocol) -> None:
    hr = planes(pair(17, 23, 3, 4, smooth=False)[0])
    assert metrics.load(name).measure(hr.clone(), hr, protocol) == best


@pytest.mark.parametrize("name", metrics.names())
def test_metric_leaves_its_images_as_they_were(name: str) -> None:
    hr, sr = (planes(image) for image in pair(17, 23, 3, 5, smooth=False))
    before = hr.clone(), sr.clone()
    metrics.load(name).measure(sr, hr, PLANAR)
    assert torch.equal(hr, before[0])
    assert torch.equal(sr, before[1])


@pytest.mark.parametrize("protocol", [PLANAR, VOLUME], ids=["2-D", "3-D"])
def test_ssim_needs_eleven_pixels_each_way(protocol: Protocol) -> None:
    eleven, ten = torch.zeros(1, 11, 11).double(), torch.zeros(1, 10, 30).double()
    assert ssim.measure(eleven, eleven, protocol) == 1.0
    with pytest.raises(InputError, match="30x10 px are left to compare; SSIM needs 11x11"):
        ssim.measure(ten, ten, protocol)


def test_only_the_ssim_rule_chooses_the_window() -> None:
    hr, sr = (planes(image) for image in pair(20, 20, 3, 6, smooth=True))
    turned = replace(PLANAR, ssim="3-D")
    assert ssim.measure(sr, hr, turned) == ssim.measure(sr, hr, VOLUME)


def test_unknown_metric_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no metric 'psnrr'; did you mean 'psnr'\?"):
        metrics.load("psnrr")


def test_quantities_are_every_metric_of_every_channel() -> None:
    assert {"psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb"} <= metrics.quantities()
