"""What papers since 2018 print on Set14, whose grayscale file goes through the luma formula."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

import zoo
from bench import datasets, protocol
from bench.measure import measure
from bench.plan import AccuracyRequest, accuracy_units
from bench.progress import Progress

NETWORKS = Path(__file__).parents[1] / "networks"
FILES = {
    ("imdn", 4): "Zheng222/IMDN/8f158e6a5ac9db6e5857d9159fd4a6c4214da574/checkpoints/IMDN_x4.pth",
    ("pan", 4): "zhaohengyuan1/PAN/4d045d18592c5771cd3990da88f292812774e538/experiments/"
    "pretrained_models/PANx4_DF2K.pth",
    ("rlfn", 4): "bytedance/RLFN/bccfde91bf8b2de80789ec033a029e6f2a932330/model_zoo/rlfn_x4.pth",
}
"""The authors' files, by network and scale, under `github/` in the mirror."""


@cache
def set14(name: str, scale: int, rules: str, mirror: Path) -> dict[tuple[str, str], float]:
    """Value by image ('' for the average) and quantity."""
    weights = mirror / "github" / FILES[name, scale]
    if not weights.is_file():
        pytest.skip(f"the mirror does not hold {weights.name}")
    method, tag = zoo.load(f"{NETWORKS / name}.py@{weights}")
    dataset = datasets.load("set14", Progress())
    request = AccuracyRequest(method, tag, scale, dataset, protocol.load(rules))
    (unit,) = accuracy_units([request], torch.device("cpu"), ("psnr", "ssim"))
    results = measure(unit, Progress())
    return {(result.image, result.quantity): float(result.value or 0) for result in results}


@pytest.mark.parametrize(
    ("name", "scale", "psnr", "ssim"),
    [
        ("imdn", 4, "28.58", "0.7811"),
        ("pan", 4, "28.61", "0.7822"),
    ],
)
def test_set14_under_rcan2018_is_what_the_authors_printed(
    name: str, scale: int, psnr: str, ssim: str, mirror: Path
) -> None:
    found = set14(name, scale, "rcan2018", mirror)
    assert (f"{found['', 'psnr_y']:.2f}", f"{found['', 'ssim_y']:.4f}") == (psnr, ssim)


def test_rlfn_on_set14_tells_the_gray_rules_apart(mirror: Path) -> None:
    through = set14("rlfn", 4, "rcan2018", mirror)
    as_it_is = set14("rlfn", 4, "rcan2018-gray-as-luma", mirror)
    assert f"{through['', 'psnr_y']:.2f}" == "28.62"
    assert through["", "psnr_y"] == pytest.approx(28.6205, abs=5e-5)
    assert as_it_is["", "psnr_y"] == pytest.approx(28.5260, abs=5e-5)
    differs = {
        image
        for image, quantity in through
        if image and abs(through[image, quantity] - as_it_is[image, quantity]) > 1e-9
    }
    assert differs == {"bridge"}


def test_bridge_is_what_the_log_of_pan_says(mirror: Path) -> None:
    found = set14("pan", 4, "rcan2018", mirror)
    assert found["bridge", "psnr_y"] == pytest.approx(25.474039, abs=2e-5)
