"""The Results of a unit: their order, an average with an infinite value, and hints in notes."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

import bench.measure
import zoo
from bench import datasets, evaluate, images, machine
from bench.measure import measure
from bench.metrics import psnr
from bench.plan import AccuracyRequest, accuracy_units
from bench.progress import Progress
from bench.protocol import Protocol, load
from bench.result import Result
from zoo.errors import InputError

CPU = torch.device("cpu")
NETWORK = """
import torch
from torch import nn
from torch.nn import functional
from zoo.method import Method

NAMES = ("mine",)

class Enlarge(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        y = functional.interpolate(x, scale_factor=self.scale, mode="bicubic")
        return OUTPUT

def method(name):
    return Method(name=name, citation="me", takes="LR", channels="CHANNELS",
                  build=lambda scale, settings: Enlarge(scale))
"""


def photo(path: Path, seed: int) -> None:
    """A colourful smooth picture, which interpolation restores well."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(-1500, 1700, (56, 64, 3))
    pixels = np.clip(gaussian_filter(noise, (2.5, 2.5, 0)), 0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    return made


def results(
    folder: Path | str,
    spec: str = "bicubic",
    rules: Protocol | None = None,
    *names: str,
    scale: int = 2,
) -> list[Result]:
    method, tag = zoo.load(spec)
    dataset = datasets.load(str(folder), Progress(quiet=True))
    request = AccuracyRequest(method, tag, scale, dataset, rules or load("rcan2018"))
    (unit,) = accuracy_units([request], CPU, names or ("psnr",))
    return measure(unit, Progress(quiet=True))


def note(folder: Path, output: str, channels: str = "RGB") -> str:
    """The average's note of a network with this output, from `y`, the enlarged LR."""
    path = folder.parent / "mine.py"
    path.write_text(NETWORK.replace("OUTPUT", output).replace("CHANNELS", channels))
    return results(folder, str(path))[-1].note


# Averages and their order


def test_average_leaves_out_an_infinite_psnr_and_says_so(folder: Path) -> None:
    photo(folder / "ok.png", 0)
    Image.new("RGB", (40, 40), (90, 120, 30)).save(folder / "flat.png")
    flat, ok, average = results(folder)
    assert (flat.image, flat.value) == ("flat", math.inf)
    assert ok.value is not None
    assert math.isfinite(ok.value)
    assert average.value == ok.value
    assert average.note == "average of 1 of 2 images; left out, infinite value: flat"


def test_average_of_exact_images_alone_is_infinite(folder: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (40, 40), (90, 120, 30)).save(folder / f"{name}.png")
    average = results(folder)[-1]
    assert (average.value, average.note) == (math.inf, "average of 2 images")


def test_psnr_of_the_mean_mse_leaves_out_no_exact_image(folder: Path) -> None:
    photo(folder / "ok.png", 0)
    Image.new("RGB", (40, 40), (90, 120, 30)).save(folder / "flat.png")
    rules = replace(load("rcan2018"), name="pooled", pooling="PSNR of mean MSE")
    _, ok, average = results(folder, "bicubic", rules)
    assert ok.value is not None
    assert average.value == pytest.approx(ok.value + 10 * math.log10(2), abs=1e-9)
    assert average.note == "average of 2 images"


def test_images_come_in_the_order_of_their_numbers(folder: Path) -> None:
    for name in ("img_10", "img_2", "img_1", "a", "7"):
        photo(folder / f"{name}.png", 0)
    names = [result.image for result in results(folder)]
    assert names == ["7", "a", "img_1", "img_2", "img_10", ""]


def test_lr_beside_hr_changes_no_average(folder: Path) -> None:
    for number in range(2):
        photo(folder / f"img_00{number}_SRF_2_HR.png", number)
    alone = results(folder)
    for number in range(2):
        photo(folder / f"img_00{number}_SRF_2_LR.png", 7 + number)
    assert [(x.image, x.value) for x in results(folder)] == [(x.image, x.value) for x in alone]


# Remarks on weights


def test_a_remark_on_the_weights_ends_the_note_of_every_average(folder: Path) -> None:
    photo(folder / "ok.png", 0)
    Image.new("RGB", (40, 40), (90, 120, 30)).save(folder / "flat.png")
    method, tag = zoo.load("espcn")
    remarked = tuple(replace(w, remark="2 dB below the paper") for w in method.weights)
    dataset = datasets.load(str(folder), Progress(quiet=True))

    def notes(tag: str) -> list[str]:
        card = replace(method, weights=remarked)
        request = AccuracyRequest(card, tag, 2, dataset, load("rcan2018"))
        (unit,) = accuracy_units([request], CPU, ("psnr", "ssim"))
        return [result.note for result in measure(unit, Progress(quiet=True))]

    average = "average of 2 images; 2 dB below the paper"
    assert notes(tag) == ["", "", average, "", "", average]
    assert not any("paper" in note for note in notes("none"))  # another choice of weights


# Hints at a likely mistake


@pytest.fixture
def photos(folder: Path) -> Path:
    for seed in range(4):
        photo(folder / f"{seed}.png", seed)
    return folder


@pytest.mark.parametrize("channels", ["RGB", "luma"])
@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("255 * y", "in [0, 255] instead of [0, 1]"),
        ("2 * y - 1", "in [-1, 1] instead of [0, 1]"),
        ("torch.roll(y, 1, 2)", "shifted by 1 px down"),
        ("torch.roll(y, -1, 3)", "shifted by 1 px left"),
        ("torch.roll(y, (-1, 1), (2, 3))", "shifted by 1 px up and 1 px right"),
        ("torch.roll(255 * y, 1, 2)", "in [0, 255] instead of [0, 1] and shifted by 1 px down"),
        ("torch.roll(2 * y - 1, 1, 3)", "in [-1, 1] instead of [0, 1] and shifted by 1 px right"),
    ],
)
def test_output_in_another_range_or_place_is_hinted_at(
    photos: Path, output: str, said: str, channels: str
) -> None:
    found = note(photos, output, channels)
    start = f"average of 4 images; the output seems to be {said}: PSNR would be at least "
    assert found.startswith(start)
    assert found.endswith(" dB higher on 0, 1, 2")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("y.flip(1)", "in BGR order"),
        ("255 * y.flip(1)", "in [0, 255] instead of [0, 1] and in BGR order"),
        ("2 * y.flip(1) - 1", "in [-1, 1] instead of [0, 1] and in BGR order"),
        ("torch.roll(y.flip(1), 1, 2)", "shifted by 1 px down and in BGR order"),
    ],
)
def test_output_in_bgr_order_is_hinted_at(photos: Path, output: str, said: str) -> None:
    assert f"; the output seems to be {said}: PSNR would be " in note(photos, output)


@pytest.mark.parametrize(
    ("output", "differs"),
    [
        ("y", False),
        ("y + torch.randn_like(y) / 100", True),
        ("torch.nn.functional.dropout(y, 0.01)", True),
        ("setattr(self, 'scale_', getattr(self, 'scale_', 1) * 0.99) or y * self.scale_", True),
    ],
)
def test_output_that_changes_from_run_to_run_is_said(
    photos: Path, output: str, differs: bool
) -> None:
    said = note(photos, output)
    assert ("two runs on the same image differ" in said) is differs


def test_gray_images_do_not_hide_that_the_order_is_bgr(photos: Path) -> None:
    with Image.open(photos / "0.png") as image:
        image.convert("L").save(photos / "0.png")
    with Image.open(photos / "2.png") as image:
        image.convert("L").convert("RGB").save(photos / "2.png")
    assert note(photos, "y.flip(1)").endswith(" dB higher on 1, 3")
    found = note(photos, "255 * y.flip(1)")
    assert "in [0, 255] instead of [0, 1] and in BGR order" in found
    assert found.endswith(" dB higher on 1")


@pytest.mark.parametrize(
    ("output", "said", "scale"),
    [
        ("y.flip(1)", "in BGR order", 2),
        ("y.flip(1)", "in BGR order", 4),
        ("torch.roll(y, 1, 2)", "shifted by 1 px down", 2),
        ("y", "", 2),
        ("y", "", 4),
    ],
)
def test_hints_hold_on_photographs(tmp_path: Path, output: str, said: str, scale: int) -> None:
    path = tmp_path / "mine.py"
    path.write_text(NETWORK.replace("OUTPUT", output).replace("CHANNELS", "RGB"))
    average = results("demo", str(path), None, "psnr", scale=scale)[-1]
    assert f"the output seems to be {said}" in average.note if said else "seems" not in average.note


def test_hint_gives_the_gain_of_the_corrected_output(folder: Path) -> None:
    photo(folder / "0.png", 0)
    right, wrong = folder.parent / "right", folder.parent / "wrong"
    values = []
    for place, output in ((right, "y"), (wrong, "255 * y")):
        place.mkdir()
        path = place / "mine.py"
        path.write_text(NETWORK.replace("OUTPUT", output).replace("CHANNELS", "RGB"))
        values.append(results(folder, str(path), None, "ssim", "psnr"))
    gain = (values[0][-1].value or 0) - (values[1][-1].value or 0)
    assert gain > 10
    for average in (result for result in values[1] if not result.image):
        assert average.note.endswith(f": PSNR would be {gain:.2f} dB higher on 0")
    # What was asked for is measured all the same, and SSIM alone gives the hint too.
    assert values[1][0].value != values[0][0].value
    alone = results(folder, str(wrong / "mine.py"), None, "ssim")
    assert {result.quantity for result in alone} == {"ssim_y"}
    assert alone[-1].note == values[1][-1].note


@pytest.mark.parametrize(
    "output",
    [
        "y",
        "functional.interpolate(x, scale_factor=self.scale)",  # nearest, worse but right
        "functional.avg_pool2d(y, 5, 1, 2)",  # blurred
        "0.01 * y",  # as a fresh network's output
        "0.5 + 0 * y",
        "torch.roll(y, 7, 2)",
    ],
)
def test_output_that_no_correction_makes_good_gives_no_hint(photos: Path, output: str) -> None:
    assert note(photos, output) == "average of 4 images"


@pytest.mark.parametrize("rules", ["srcnn2014", "rcan2018", "laljavid"])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "espcn@none"])
def test_usual_methods_give_no_hint(photos: Path, method: str, rules: str) -> None:
    assert results(photos, method, load(rules))[-1].note == "average of 4 images"


def test_hint_passes_over_an_image_that_interpolation_restores_exactly(folder: Path) -> None:
    photo(folder / "b.png", 0)
    Image.new("RGB", (40, 40), (90, 120, 30)).save(folder / "a.png")
    assert "in [0, 255] instead of [0, 1]" in note(folder, "255 * y")
    assert "the output seems" not in note(folder, "y")


# Memory


def out_of_memory(*arguments: object) -> NoReturn:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.")


def test_image_that_does_not_fit_is_refused_before_it_is_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(folder / "a.png", 0)
    need = 8 * 56 * 64 * 12
    monkeypatch.setattr(machine, "free_memory", lambda device: need - 1)
    monkeypatch.setattr(images, "decode", out_of_memory)
    with pytest.raises(
        InputError,
        match=r"a\.png, 64x56 px, needs at least 0\.0 GiB under rcan2018, and 0\.0 GiB are free",
    ):
        results(folder)
    monkeypatch.undo()
    monkeypatch.setattr(machine, "free_memory", lambda device: need)
    assert results(folder)


@pytest.mark.parametrize(("fit", "expected"), [(1, 1), (2, 2), (9, 3)])
def test_fewer_threads_compute_images_that_do_not_fit_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fit: int, expected: int
) -> None:
    for seed in range(3):
        photo(folder / f"{seed}.png", seed)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(machine, "free_memory", lambda device: fit * 8 * 56 * 64 * 12)
    given: list[int] = []
    each = bench.measure._each
    monkeypatch.setattr(
        bench.measure,
        "_each",
        lambda measured, images, module, workers: (
            given.append(workers) or each(measured, images, module, workers)
        ),
    )
    assert results(folder)
    assert given == [expected]


def test_unreadable_image_is_refused_as_before(folder: Path) -> None:
    photo(folder / "a.png", 0)
    (folder / "b.png").write_text("no picture")
    with pytest.raises(InputError, match=r"b\.png is not an image"):
        results(folder)


def test_metric_without_memory_is_told_in_a_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(folder / "a.png", 0)
    monkeypatch.setattr(psnr, "measure", out_of_memory)
    with pytest.raises(InputError, match=r"a\.png, x2: memory ran out on 64x56 px; give smaller"):
        results(folder)


def test_interpolation_without_memory_is_no_fault_of_the_method(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(folder / "a.png", 0)
    monkeypatch.setattr(evaluate, "forward", out_of_memory)
    with pytest.raises(
        InputError, match=r"a\.png, x2: bicubic: memory ran out on 64x56 px; give smaller"
    ):
        results(folder)


def test_hint_without_memory_leaves_the_numbers_and_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(folder / "a.png", 0)
    monkeypatch.setattr(bench.measure, "hint", out_of_memory)
    average = results(folder)[-1]
    assert average.value is not None
    assert average.note.endswith("not looked for mistakes in the output: memory ran out")


FREE = """
import resource, torch
from bench import machine
limit = 50 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
import psutil
psutil.virtual_memory = lambda: type("", (), {"available": 1 << 50})
machine._granted = lambda root, own: []
print(limit - machine.free_memory(torch.device("cpu")))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_limit_of_the_address_space_counts() -> None:
    done = subprocess.run([sys.executable, "-c", FREE], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 40 << 30
