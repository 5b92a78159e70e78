"""Bicubic over Set5, Set14 and B100 at three scales, PSNR and SSIM: 357 image-scales.

    pytest tests/speed

The peer does the same work with Pillow, NumPy and scikit-image, one image after the other; both
run in the same process, and the ratio of their best rounds is what counts on a noisy machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import zoo
from bench import datasets, measure, metrics, plan, protocol
from bench.cli.main import keep_freed_memory
from bench.progress import Progress

SETS = ("set5", "set14", "b100")
SCALES = (2, 3, 4)
Gray = NDArray[np.float64]
best: dict[str, float] = {}
averages: dict[str, list[float]] = {}


def _weights(length: int, out: int, scale: float) -> tuple[Gray, NDArray[np.intp]]:
    stretch = min(scale, 1.0)
    width = 4 / stretch
    centres = (np.arange(out) + 1) / scale + (1 - 1 / scale) / 2
    taps = np.floor(centres - width / 2)[:, None] + np.arange(int(np.ceil(width)) + 2)
    x = np.abs(stretch * (centres[:, None] - taps))
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
    weights /= weights.sum(1, keepdims=True)
    used = weights.any(0)
    return weights[:, used], np.clip(taps[:, used] - 1, 0, length - 1).astype(int)


def _numpy_imresize(image: Gray, scale: float) -> Gray:
    weights, taps = _weights(image.shape[0], round(image.shape[0] * scale), scale)
    image = (image[taps] * weights[:, :, None]).sum(1)
    weights, taps = _weights(image.shape[1], round(image.shape[1] * scale), scale)
    return np.asarray((image[:, taps] * weights).sum(2))


def _peer_values(path: Path, scale: int) -> tuple[float, float]:
    with Image.open(path) as file:
        pixels = np.asarray(file).astype(np.float64)
    if pixels.ndim == 3:
        pixels = np.floor(16.5 + pixels @ np.array([65.481, 128.553, 24.966]) / 255)
    height, width = pixels.shape
    hr = pixels[: height - height % scale, : width - width % scale]
    sr = np.clip(np.floor(_numpy_imresize(_numpy_imresize(hr, 1 / scale), scale) + 0.5), 0, 255)
    sr, hr = sr[scale:-scale, scale:-scale], hr[scale:-scale, scale:-scale]
    return (
        float(peak_signal_noise_ratio(hr, sr, data_range=255)),
        float(
            structural_similarity(
                hr,
                sr,
                data_range=255,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        ),
    )


def _peer(sets: list[datasets.Dataset]) -> list[float]:
    found = []
    for dataset in sets:
        for scale in SCALES:
            values = [_peer_values(image.path, scale) for image in dataset.images]
            found += np.mean(values, axis=0).tolist()
    return found


def _ours(sets: list[datasets.Dataset]) -> list[float]:
    measure.decoded.cache_clear()
    method, tag = zoo.load("bicubic")
    wishes = [
        plan.AccuracyRequest(method, tag, scale, dataset, protocol.load("srcnn2014"))
        for dataset in sets
        for scale in SCALES
    ]
    units = plan.accuracy_units(wishes, torch.device("cpu"), metrics.default_names())
    order = {dataset.name: number for number, dataset in enumerate(sets)}
    units.sort(key=lambda unit: order[unit.dataset.name if unit.dataset else ""])
    results = [result for unit in units for result in measure.measure(unit, Progress())]
    return [float(result.value or 0.0) for result in results if not result.image]


@pytest.fixture(scope="module")
def sets() -> list[datasets.Dataset]:
    keep_freed_memory()
    return [datasets.load(name, Progress()) for name in SETS]


@pytest.mark.parametrize("who", ["peer", "ours"])
def test_image_scales_per_second(
    who: str, sets: list[datasets.Dataset], benchmark: BenchmarkFixture
) -> None:
    work: Any = {"peer": _peer, "ours": _ours}[who]
    count = len(SCALES) * sum(len(dataset.images) for dataset in sets)
    averages[who] = benchmark.pedantic(work, (sets,), rounds=5, warmup_rounds=1)
    assert benchmark.stats is not None
    best[who] = benchmark.stats.stats.min
    benchmark.extra_info["image-scales per second"] = count / best[who]


def test_the_ratio_is_told_and_the_numbers_agree() -> None:
    np.testing.assert_allclose(averages["ours"], averages["peer"], rtol=0, atol=1e-6)
    print(f"\n357 image-scales: ours {357 / best['ours']:.0f}/s, peer {357 / best['peer']:.0f}/s, "
          f"ratio {best['peer'] / best['ours']:.1f}")  # fmt: skip
