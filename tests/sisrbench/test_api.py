"""The Python API: numbers as the command gives them, arrays in and out, one line for a fault."""

from __future__ import annotations

import ast
import csv
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn

import sisrbench
from bench import images
from bench.cli import main
from bench.protocol import PROTOCOLS
from bench.result import COLUMNS, VERDICT_COLUMNS
from sisrbench import InputError

RGB = np.random.default_rng(0).integers(0, 256, (36, 48, 3), dtype=np.uint8)
GRAY = RGB[..., 0]
QUIET = {"repeat": 1, "progress": False}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.sort(RGB, axis=0)).save(tmp_path / "photos" / "sorted.png")
    return tmp_path / "photos"


def test_the_api_is_a_facade() -> None:
    tree = ast.parse(Path(sisrbench.__file__).read_text(encoding="utf-8"))
    names = [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name[0] != "_"]
    assert sorted([*names, "Card", "Inference", "InputError", "Protocol"]) == sorted(
        sisrbench.__all__
    )


def test_measure_gives_what_the_command_stores(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "command"
    command = ["run", "-m", "bicubic", "-d", str(photos), "-s", "2", "--repeat", "1"]
    assert main.status([*command, "--out", str(out)]) == 0
    table = sisrbench.measure("bicubic", photos, scales=2, **QUIET)
    assert tuple(table.columns) == COLUMNS
    with (out / "results.csv").open() as file:
        stored = {(r["image"], r["quantity"]): r["value"] for r in csv.DictReader(file)}
    timed = ("seconds", "seconds_p10", "seconds_p90")
    for row in table[~table["quantity"].isin(timed)].itertuples():
        assert repr(row.value) == stored[row.image, row.quantity]


def test_a_folder_keeps_results_and_the_call_that_made_them(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = sisrbench.measure("bicubic", photos, scales=2, metrics="psnr", out=out, **QUIET)
    again = sisrbench.measure("bicubic", photos, scales=2, metrics="psnr", out=out, **QUIET)
    assert first.equals(again)  # times included: they were stored
    assert set(sisrbench.results(out)["quantity"]) == set(first["quantity"])
    with sqlite3.connect(out / "results.sqlite") as database:
        ((command,),) = database.execute("SELECT command FROM runs")
    database.close()
    assert command.startswith("sisrbench.measure(methods='bicubic', datasets=PosixPath(")


def test_the_command_stored_with_a_run_is_what_was_called(photos: Path, tmp_path: Path) -> None:
    arguments = ["run", "-m", "bicubic", "-d", str(photos), "-s", "2", "--metric", "psnr",
                 "--repeat", "1", "--out", str(tmp_path / "out")]  # fmt: skip
    assert main.status(arguments) == 0
    with sqlite3.connect(tmp_path / "out" / "results.sqlite") as database:
        ((command,),) = database.execute("SELECT command FROM runs")
    database.close()
    assert command == "sisrbench " + " ".join(arguments)


def test_without_a_folder_nothing_is_left(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    sisrbench.measure("nearest", ".", scales=2, metrics="psnr", **QUIET)
    assert [path.name for path in photos.iterdir()] == ["sorted.png"]


def test_threads_are_put_back(photos: Path) -> None:
    import torch

    before = torch.get_num_threads()
    sisrbench.measure("nearest", photos, scales=2, metrics="psnr", threads=1, **QUIET)
    assert torch.get_num_threads() == before


def test_compare_judges_results_without_measuring() -> None:
    costs = sisrbench.cost(["srresnet-3x3", "edsr-baseline"], scales=4, time=False, progress=False)
    found = sisrbench.compare(costs, "edsr2017_table1")
    assert tuple(found.columns) == VERDICT_COLUMNS
    reproduced = found[found["verdict"] == "reproduced"]
    assert set(reproduced["method"]) == {"srresnet-3x3", "edsr-baseline"}
    assert set(found["verdict"]) == {"reproduced", "not measured"}


def test_psnr_and_ssim_match_skimage_inside_the_border() -> None:
    sr = np.clip(GRAY.astype(int) + 7, 0, 255).astype(np.uint8)
    inside = np.s_[2:-2, 2:-2]
    psnr = sisrbench.psnr(sr, GRAY, scale=2, protocol="srcnn2014")
    assert psnr == pytest.approx(
        peak_signal_noise_ratio(GRAY[inside], sr[inside], data_range=255), abs=1e-9
    )
    ssim = sisrbench.ssim(sr, GRAY, scale=2, protocol="srcnn2014")
    assert ssim == pytest.approx(
        structural_similarity(
            GRAY[inside].astype(float), sr[inside].astype(float), data_range=255,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False, win_size=11,
        ),
        abs=1e-9,
    )  # fmt: skip


def test_psnr_of_what_measure_makes_is_what_measure_says(photos: Path) -> None:
    table = sisrbench.measure("bicubic", photos, scales=3, protocol="rcan2018", metrics="psnr",
                              **QUIET)  # fmt: skip
    (said,) = table[(table["image"] == "sorted") & (table["quantity"] == "psnr_y")]["value"]
    lr = sisrbench.degrade(photos / "sorted.png", 3, protocol="rcan2018")
    sr = sisrbench.load("bicubic", scale=3)(lr)
    psnr = sisrbench.psnr(sr, photos / "sorted.png", scale=3, protocol="rcan2018")
    assert psnr == pytest.approx(said, abs=1e-9)


def test_hr_is_cropped_as_the_protocol_does_it_and_sr_is_not() -> None:
    hr = RGB[:35, :47]
    whole = sisrbench.psnr(hr[:34, :46], hr, scale=2, protocol="rcan2018")
    assert whole == float("inf")
    with pytest.raises(InputError, match=r"SR has 47x35 px; HR of 47x35 px at x2 .* needs 46x34"):
        sisrbench.psnr(hr, hr, scale=2, protocol="rcan2018")


def test_luma_of_a_luma_protocol_is_not_rounded() -> None:
    lr = sisrbench.degrade(RGB, 2, protocol="srcnn2014", channels="luma")
    assert lr.shape == (18, 24)
    assert lr.dtype == np.float64
    assert (lr != lr.round()).any()
    whole = sisrbench.degrade(RGB, 2, protocol="srcnn2014", channels="RGB")
    assert (whole.shape, whole.dtype) == ((18, 24, 3), np.uint8)


def test_a_protocol_of_ones_own_is_a_value_with_its_own_name() -> None:
    wide = replace(PROTOCOLS["srcnn2014"], name="wide border", border_per_scale=4)
    sr = GRAY.copy()
    sr[:8], sr[-8:], sr[:, :8], sr[:, -8:] = 0, 0, 0, 0
    assert sisrbench.psnr(sr, GRAY, scale=2, protocol=wide) == float("inf")
    table = sisrbench.measure("nearest", "demo", scales=4, metrics="psnr", protocol=wide, **QUIET)
    (name,) = {*table["protocol"]} - {"", "srcnn2014"}
    assert name.startswith("wide border#")


def test_two_rules_of_one_name_are_two_protocols_in_a_store(photos: Path, tmp_path: Path) -> None:
    one = replace(PROTOCOLS["srcnn2014"], name="mine", border_per_scale=2)
    other = replace(one, border_per_scale=5)
    for rules in (one, other):
        sisrbench.measure("nearest", photos, scales=2, metrics="psnr", protocol=rules,
                          out=tmp_path / "out", **QUIET)  # fmt: skip
    table = sisrbench.results(tmp_path / "out")
    averages = table[(table["quantity"] == "psnr_y") & (table["image"] == "")]
    assert averages["protocol"].nunique() == averages["value"].nunique() == 2


@pytest.mark.parametrize(
    "change",
    [{"degrade": "rgb"}, {"resize": "matlab"}, {"edges": "reflect"}, {"ssim": "3D"},
     {"pooling": "mean MSE"}, {"modcrop": "no"}, {"border_extra": -2}, {"channel": "Y"},
     {"clip_interpolated": (235, 16)}, {"border_per_scale": 0.5}, {"name": ""}],
)  # fmt: skip
def test_a_rule_that_there_is_not_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="protocol"):
        replace(PROTOCOLS["srcnn2014"], **change)


def test_lr_in_double_is_so_whatever_its_values() -> None:
    step = np.repeat(np.array([0, 0, 0, 64, 255, 255, 0, 0], np.uint8)[None], 8, axis=0)
    lr = sisrbench.degrade(step, 2, protocol="srcnn2014")
    assert lr.dtype == np.float64
    assert lr.min() < 0  # an overshoot, which whole levels would wrap
    flat = sisrbench.degrade(np.full((8, 8), 7, np.uint8), 2, protocol="srcnn2014")
    assert flat.dtype == np.float64
    assert sisrbench.load("bicubic", 2, protocol="srcnn2014")(lr).shape == (8, 8)


@pytest.mark.parametrize("protocol", ["srcnn2014", "vdsr2016", "rcan2018", "edsr2017-div2k"])
def test_what_is_enlarged_under_a_protocol_measures_as_the_harness_does(
    protocol: str, photos: Path
) -> None:
    table = sisrbench.measure("bicubic", photos, scales=3, protocol=protocol, **QUIET)
    rows = table[(table["image"] == "sorted") & table["quantity"].str.startswith("psnr")]
    image = photos / "sorted.png"
    if PROTOCOLS[protocol].degrade == "luma":
        lr = sisrbench.degrade(image, 3, protocol=protocol, channels="luma")
        with Image.open(image) as picture:
            hr = images.to_pixels(images.as_luma(images.from_array(np.array(picture))))
    else:
        lr, hr = sisrbench.degrade(image, 3, protocol=protocol), image
    sr = sisrbench.load("bicubic", 3, protocol=protocol)(lr)
    found = sisrbench.psnr(sr, hr, scale=3, protocol=protocol)
    assert found == pytest.approx(rows["value"].iloc[0], abs=1e-9)


def test_results_that_pandas_has_read_are_compared(tmp_path: Path) -> None:
    costs = sisrbench.cost("edsr-baseline", scales=4, time=False, progress=False)
    costs.to_csv(tmp_path / "costs.csv", index=False)
    read = pd.read_csv(tmp_path / "costs.csv")
    verdicts = sisrbench.compare(read, "edsr2017_table1")["verdict"]
    assert list(verdicts) == list(sisrbench.compare(costs, "edsr2017_table1")["verdict"])
    assert "reproduced" in set(verdicts)
    for wrong in (None, "out", costs.drop(columns="note"), costs.assign(scale="two")):
        with pytest.raises(InputError, match=r"give a (DataFrame|table of results)"):
            sisrbench.compare(wrong, "edsr2017_table1")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [">f8", "<f4", "f2", "longdouble"])
def test_every_kind_of_float_is_read(dtype: str) -> None:
    image = np.full((16, 16), 100).astype(dtype)
    assert sisrbench.psnr(image, image, scale=2, protocol="srcnn2014") == float("inf")


def test_any_integer_is_a_scale() -> None:
    scale = np.int64(2)
    assert sisrbench.degrade(RGB, scale, protocol="rcan2018").shape == (18, 24, 3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RGB / 255, r"floats in \[0, 1\]; expected \[0, 255\]: multiply by 255"),
        (RGB.astype(int), "an image of int64; give uint8, or floats"),
        (RGB[None], r"an image of shape \(1, 36, 48, 3\); give \(H, W\) or \(H, W, 3\)"),
        (RGB - 300.0, r"values from -300 to -45; give \[0, 255\]"),
        (np.full((36, 48), np.nan), "values from nan to nan"),
        ("nowhere.png", "no image 'nowhere.png'; give the path of a file, or an array"),
        (np.zeros((0, 4), np.uint8), r"an image of shape \(0, 4\)"),
        (Image.fromarray(RGB), "an image of Image; give a NumPy array or the path"),
        ("x" * 5000, "no image 'xxx"),
    ],
)
def test_an_image_that_cannot_be_used_is_one_line(image: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sisrbench.psnr(image, RGB, scale=2, protocol="rcan2018")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sisrbench.measure([], "demo"), "no method is named; give one or more"),
        (lambda: sisrbench.measure(None, "demo"), "None names no method; give a name, a file or"),
        (lambda: sisrbench.measure(nn.Flatten(), "demo"), "a Flatten in memory cannot be measured"),
        (lambda: sisrbench.cost(nn.Flatten), 'class_="FILE.py:Flatten", weights="FILE.pth"'),
        (lambda: sisrbench.measure("bicubic", "demo", repeat=0), "repeat 0; give an integer"),
        (lambda: sisrbench.measure("bicubic", "demo", threads=1.5), "threads 1.5; give an integer"),
        (lambda: sisrbench.measure("bicubic", "demo", inference="fp16"), "'fp16'; give an Infer"),
        (lambda: sisrbench.Inference(precision="fp99"), "precision 'fp99'; choose from: fp32"),
        (lambda: sisrbench.Inference(tile=0), "tile 0; give an integer of at least 1"),
        (lambda: sisrbench.reproduce("edsr2017_table1", protocol=""), "no protocol ''"),
        (lambda: sisrbench.degrade(RGB, 2, protocol="rcan2018", channels="rgb"), "channels 'rgb'"),
        (lambda: sisrbench.degrade(RGB, 2, protocol=None), "None is no protocol; give a name"),
        (lambda: sisrbench.measure("bicubik", "demo"), "no method 'bicubik'; did you mean"),
        (lambda: sisrbench.measure("bicubic", "set6"), "no dataset 'set6'; did you mean 'set5'"),
        (lambda: sisrbench.measure("bicubic", "demo", scales=1), "scale 1; give an integer of at"),
        (lambda: sisrbench.measure("bicubic", "demo", metrics="psn"), "did you mean 'psnr'"),
        (lambda: sisrbench.measure("bicubic", "demo", protocol="x"), "no protocol 'x'"),
        (lambda: sisrbench.cost("edsr", scales=5), "edsr has no x5"),
        (lambda: sisrbench.cost("edsr", device="gpu"), "no device 'gpu'"),
        (lambda: sisrbench.reproduce("edsr2017"), "no table or experiment 'edsr2017'"),
        (lambda: sisrbench.results("nowhere"), "no store nowhere"),
        (lambda: sisrbench.load("fsrcnn"), "fsrcnn has no published weights"),
        (lambda: sisrbench.degrade(RGB, 2.5, protocol="rcan2018"), "scale 2.5; give an integer"),
        (lambda: sisrbench.degrade(RGB / 2, 2, protocol="rcan2018"), "an HR image with fractions"),
        (
            lambda: sisrbench.psnr(GRAY[:8], GRAY[:8], scale=4, protocol="rcan2018"),
            "px leave nothing",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def test_gray_is_not_compared_with_rgb_unless_the_protocol_converts_it() -> None:
    rgb = np.repeat(GRAY[..., None], 3, 2)
    with pytest.raises(InputError, match=r"SR has 3 channels and HR 1; .*: give both gray or both"):
        sisrbench.psnr(rgb, GRAY, scale=2, protocol="srcnn2014")
    assert sisrbench.psnr(rgb, GRAY, scale=2, protocol="rcan2018") == float("inf")
