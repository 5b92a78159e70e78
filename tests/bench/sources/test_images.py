"""SR files of another program: found by strict names, scored as every method, or refused whole."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.cli import main as cli
from bench.datasets import matching

SIZE = 32, 40
Command = Callable[..., int]


def picture(phase: float, *, gray: bool = False) -> NDArray[np.uint8]:
    """A smooth picture, (32, 40, 3) or (32, 40), uint8."""
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    planes = [
        127 + 60 * np.sin(rows / 5 + phase) + 50 * np.cos(columns / (6 + plane))
        for plane in range(3)
    ]
    image = np.stack(planes, -1).astype(np.uint8)
    return image[..., 0] if gray else image


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(("ape", "bee")):
        save(tmp_path / "photos" / f"{name}.png", picture(number))
    return tmp_path / "photos"


def blurred(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture moved by two levels, so that PSNR is known: 10 log10(255^2 / d^2)."""
    return (pixels.astype(int) + 2).clip(0, 255).astype(np.uint8)


def sr_of(photos: Path, folder: Path, form: str = "{}.png") -> Path:
    """A folder with an SR file for each photo, named by the form."""
    for path in photos.iterdir():
        save(folder / form.format(path.stem), blurred(np.asarray(Image.open(path))))
    return folder


def averages(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["dataset"] and not row["image"]]


@pytest.fixture
def score(photos: Path, tmp_path: Path) -> Command:
    def run(folder: Path, *more: str, scale: int = 4, protocol: str = "edsr2017-div2k") -> int:
        arguments = ["-d", str(photos), "-s", str(scale), "--protocol", protocol]
        own = ["--metric", "psnr", "--out", str(tmp_path / "out")]
        return cli.status(["score", str(folder), *arguments, *own, *more])

    return run


LEVELS = 20 * np.log10(255 / 2)
"""PSNR of an image that is two levels brighter, in dB."""


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("{}.png", ""),
        ("{}_SR.png", "NAME_SR"),
        ("{}x4.png", "NAMEx4"),
        ("{}_x4.png", "NAMEx4"),
        ("{}_x4_espcn.png", "NAME_x4_METHOD"),
        ("{}x4_x4_espcn.png", "NAME_x4_METHOD"),
        ("{}_SRF_4_SRCNN.png", "NAME_SRF_4_METHOD"),
        ("{}_SwinIR.png", "NAME_METHOD"),
        ("{}X4.PNG", "NAMEx4"),
    ],
)
def test_files_are_found_by_a_rule_that_is_said_once(
    form: str,
    said: str,
    photos: Path,
    tmp_path: Path,
    score: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert score(sr_of(photos, tmp_path / "sr", form), "--name", "Ours") == 0
    (row,) = averages(tmp_path / "out")
    assert row["method"] == "Ours"
    assert float(row["value"]) == pytest.approx(LEVELS, abs=1e-9)
    remark = f"SR files found as {said}"
    assert (remark in row["note"]) is bool(said)
    assert capsys.readouterr().err.count(remark) == bool(said)


def test_an_hr_file_of_a_pair_is_also_known_without_its_ending() -> None:
    known = matching._Known(["img_001_SRF_4_HR", "baby_GT"])
    rules = matching._rules("SR", 4)
    files = [Path("img_001_SRF_4_SRCNN.png"), Path("baby_x4.png"), Path("img_001_SRF_4.png")]
    owners, _ = matching._owners(files, known, rules)
    assert owners == {files[1]: ["baby_GT"], files[2]: ["img_001_SRF_4_HR"]}


def _without_bee(folder: Path) -> None:
    (folder / "bee.png").unlink()


def _doubled(folder: Path) -> None:
    shutil.copy(folder / "bee.png", folder / "bee_x4.png")


def _of_another_size(folder: Path) -> None:
    save(folder / "bee.png", picture(1)[:-4])


def _gray(folder: Path) -> None:
    save(folder / "bee.png", picture(1, gray=True))


def _sixteen_bit(folder: Path) -> None:
    save(folder / "bee.png", picture(1, gray=True).astype(np.uint16) * 256)


def _no_image(folder: Path) -> None:
    (folder / "bee.png").write_text("SR")


def _of_others(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.rename(folder / f"zoo-{path.name}")


def _of_another_scale(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.rename(folder / f"{path.stem}_x2.png")


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (_without_bee, "has no SR file of x4 for bee of photos; add it as NAME.png"),
        (_doubled, "2 SR files for bee of photos: bee.png, bee_x4.png; keep one"),
        (_of_another_size, "bee.png: SR has 40x28 px; HR of 40x32 px at x4"),
        (_gray, "SR is gray, and HR is RGB; give SR as an RGB file"),
        (_sixteen_bit, "16"),
        (_no_image, "bee.png is not an image"),
        (_of_others, "no file has the name of an image of photos at x4"),
        (_of_another_scale, "no file has the name of an image of photos at x4"),
    ],
)
def test_what_cannot_be_scored_is_one_line_and_no_average(
    spoil: Callable[[Path], None],
    line: str,
    photos: Path,
    tmp_path: Path,
    score: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = sr_of(photos, tmp_path / "sr")
    spoil(folder)
    assert score(folder) == 2
    errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("Error")]
    assert len(errors) == 1
    assert line in errors[0]
    assert not (tmp_path / "out" / "results.csv").exists()


def test_files_left_over_are_said(
    photos: Path, tmp_path: Path, score: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sr_of(photos, tmp_path / "sr")
    save(folder / "cat.png", picture(2))
    (folder / "log.txt").write_text("done")
    assert score(folder) == 0
    assert "SR files left over: cat.png, log.txt" in capsys.readouterr().err
    assert "left over: cat.png, log.txt" in averages(tmp_path / "out")[0]["note"]


def test_an_edited_file_is_measured_again(photos: Path, tmp_path: Path, score: Command) -> None:
    folder = sr_of(photos, tmp_path / "sr")
    assert score(folder) == 0
    save(folder / "bee.png", blurred(blurred(np.asarray(Image.open(photos / "bee.png")))))
    assert score(folder) == 0
    (row,) = averages(tmp_path / "out")
    assert float(row["value"]) == pytest.approx(LEVELS - 10 * np.log10(2), abs=1e-9)


@pytest.mark.parametrize("protocol", ["rcan2018", "selfexsr2015"])
@pytest.mark.parametrize(
    ("hr", "sr", "remark"),
    [
        ("gray", "equal", "SR is RGB with equal channels and HR gray"),
        ("equal", "gray", "SR is gray and HR RGB with equal channels"),
    ],
)
def test_gray_and_rgb_of_equal_channels_are_one_picture(
    protocol: str, hr: str, sr: str, remark: str, photos: Path, tmp_path: Path, score: Command
) -> None:
    gray = picture(1, gray=True)
    forms: Mapping[str, NDArray[np.uint8]] = {"gray": gray, "equal": np.stack([gray] * 3, -1)}
    save(photos / "bee.png", forms[hr])
    folder = sr_of(photos, tmp_path / "same")
    assert score(folder, protocol=protocol, scale=2) == 0
    same = averages(tmp_path / "out")[0]["value"]
    save(folder / "bee.png", blurred(forms[sr]))
    assert score(folder, protocol=protocol, scale=2) == 0
    row = averages(tmp_path / "out")[0]
    assert row["value"] == same
    # Under a protocol that makes gray RGB, SR of an RGB method may have any channels.
    converted = hr == "gray" and protocol == "rcan2018"
    assert (f"bee: {remark}" in row["note"]) is not converted


def test_sr_of_a_gray_file_may_have_three_channels_where_gray_is_converted(
    photos: Path, tmp_path: Path, score: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    save(photos / "bee.png", picture(1, gray=True))
    folder = sr_of(photos, tmp_path / "sr")
    save(folder / "bee.png", picture(1))
    assert score(folder, protocol="rcan2018") == 0
    assert score(folder, protocol="selfexsr2015") == 2
    assert "channels that differ, and HR is gray" in capsys.readouterr().err


def test_a_folder_and_a_card_stand_for_a_method(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for scale in (2, 4):
        sr_of(photos, tmp_path / "mine" / f"x{scale}")
    card = tmp_path / "card.toml"
    card.write_text('name = "Ours"\nimages = "mine/x{scale}"\n')
    common = ["-d", str(photos), "--metric", "psnr", "--protocol", "edsr2017-div2k"]
    found = {}
    for spec in (str(card), str(tmp_path / "mine" / "x{scale}")):
        out = tmp_path / Path(spec).stem
        assert cli.status(["run", "-m", spec, *common, "--out", str(out)]) == 0
        found[spec] = [(row["method"], row["scale"]) for row in averages(out)]
    assert list(found.values()) == [[("Ours", "2"), ("Ours", "4")], [("mine", "2"), ("mine", "4")]]
    assert cli.status(["cost", str(card), "--out", str(tmp_path / "cost")]) == 2
    assert "do not tell what it costs" in capsys.readouterr().err
    assert cli.status(["upscale", str(card), str(photos / "bee.png")]) == 2
    assert "holds no network" in capsys.readouterr().err
    assert cli.status(["run", "-m", f"{card}+", *common, "--out", str(tmp_path / "plus")]) == 2
    assert "no self-ensemble" in capsys.readouterr().err
    card.write_text('name = "Ours"\nimages = "mine/x{scale}"\nrange = 255\n')
    assert cli.status(["run", "-m", str(card), *common]) == 2
    assert "range belongs to a network" in capsys.readouterr().err


def test_the_name_of_a_folder_says_its_scale(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sr_of(photos, tmp_path / "mine" / "x4")
    common = [str(folder), "-d", str(photos), "--protocol", "rcan2018", "--metric", "psnr"]
    assert cli.status(["score", *common, "--out", str(tmp_path / "out")]) == 0
    assert [row["scale"] for row in averages(tmp_path / "out")] == ["4"]
    assert cli.status(["score", *common, "-s", "2"]) == 2
    assert "mine has no x2; choose from: x4" in capsys.readouterr().err


def test_files_of_upscale_have_the_digits_of_run(tmp_path: Path, photos: Path) -> None:
    out, sr = tmp_path / "out", tmp_path / "sr"
    common = ["-d", str(photos), "-s", "2", "--protocol", "rcan2018", "--out", str(out)]
    lr = tmp_path / "lr"
    assert cli.status(["lr", *common[:-1], str(lr)]) == 0
    files = [str(path) for path in sorted((lr / "x2").glob("*.png"))]
    assert cli.status(["upscale", "espcn", *files, "-s", "2", "--out", str(sr)]) == 0
    assert cli.status(["run", "-m", "espcn", "-m", str(sr), *common]) == 0
    values: dict[str, list[str]] = {}
    for row in averages(out):
        values.setdefault(row["quantity"], []).append(row["value"])
    assert values.keys() == {"psnr_y", "ssim_y"}
    assert all(one == other for one, other in values.values())
