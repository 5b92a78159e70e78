"""Manifests of folders: written whole, known again wherever the folder lies, or refused by name."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sisrbench
from bench import datasets
from bench.cli import main as cli
from bench.datasets import pinned
from bench.files import annotated_csv, fetch
from bench.progress import Progress
from zoo.errors import InputError

QUIET = Progress(quiet=True)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("ape.png", "bee.bmp", "cat, 2.png")):
        pixels = np.arange(24 * 30 * 3).reshape(24, 30, 3) * (number + 3) % 251
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def pin(*more: object) -> int:
    return cli.status(["pin", *map(str, more)])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error")]
    assert len(lines) == 1
    return lines[0]


def test_a_folder_is_known_again_elsewhere_under_its_name(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terms = ["--licence", "CC0", "--citation", "Doe, Photos: three, 2026"]
    assert pin(photos, "--name", "doe-photos", *terms) == 0
    assert "-d doe-photos.csv=" in capsys.readouterr().out
    header, rows = annotated_csv.read(tmp_path / "doe-photos.csv", pinned.COLUMNS)
    assert header == {
        "dataset": "doe-photos",
        "citation": "Doe, Photos: three, 2026",
        "licence": "CC0",
    }
    assert [(row["role"], row["image"], row["path"]) for row in rows] == [
        ("HR", "ape", "ape.png"),
        ("HR", "bee", "bee.bmp"),
        ("HR", "cat, 2", "cat, 2.png"),
    ]
    for row in rows:
        content = (photos / row["path"]).read_bytes()
        assert (int(row["bytes"]), row["sha256"]) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
    as_folder = datasets.load(str(photos), QUIET)
    photos.rename(tmp_path / "x=y")
    again = datasets.load("doe-photos.csv=x=y", QUIET)
    assert (again.name, again.licence) == ("doe-photos", "CC0")
    assert again.sha256 == as_folder.sha256
    table = sisrbench.measure(
        "bicubic", "doe-photos.csv=x=y", scales=2, metrics="psnr", progress=False
    )
    assert set(table["dataset"]) == {"", "doe-photos"}
    arguments = ["lr", "-d", "doe-photos.csv=x=y", "-s", "2", "--protocol", "rcan2018"]
    assert cli.status([*arguments, "--out", "lr"]) == 0
    header, _ = annotated_csv.read(tmp_path / "lr/x2.csv", pinned.COLUMNS, ("hr_sha256",))
    assert (header["dataset"], header["licence"]) == ("doe-photos", "CC0")


def _missing(folder: Path) -> None:
    (folder / "ape.png").unlink()


def _extra(folder: Path) -> None:
    Image.new("RGB", (24, 24)).save(folder / "dog.png")


def _renamed(folder: Path) -> None:
    (folder / "ape.png").rename(folder / "monkey.png")


def _swapped(folder: Path) -> None:
    (folder / "ape.png").rename(folder / "spare")
    (folder / "cat, 2.png").rename(folder / "ape.png")
    (folder / "spare").rename(folder / "cat, 2.png")


def _changed(folder: Path) -> None:
    Image.new("RGB", (24, 24)).save(folder / "bee.bmp")


def _all(folder: Path) -> None:
    _renamed(folder)
    _changed(folder)
    _extra(folder)
    (folder / "cat, 2.png").unlink()


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (_missing, "missing ape.png;"),
        (_extra, "extra dog.png;"),
        (_renamed, "renamed monkey.png (ape.png in the manifest);"),
        (
            _swapped,
            "renamed ape.png (cat, 2.png in the manifest), cat, 2.png (ape.png in the manifest);",
        ),
        (_changed, "changed bee.bmp;"),
        (_all, "missing cat, 2.png, renamed monkey.png (ape.png in the manifest), changed bee.bmp"),
    ],
)
def test_a_folder_that_differs_is_refused_by_name(
    spoil: Callable[[Path], None], fault: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pin(photos) == 0
    spoil(photos)
    capsys.readouterr()
    assert cli.status(["run", "-m", "bicubic", "-d", "photos.csv=photos", "--out", "out"]) == 2
    line = said(capsys)
    assert f"photos is not photos: {fault}" in line
    assert "; restore the files, or take the folder as it is by -d DIR" in line


def test_a_manifest_that_differs_is_not_overwritten(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pin(photos) == 0
    assert pin(photos) == 0
    assert "3 images, written before" in capsys.readouterr().err
    before = (tmp_path / "photos.csv").read_bytes()
    assert pin(photos, "--licence", "CC0") == 2
    assert "photos.csv exists and has other contents" in said(capsys)
    assert (tmp_path / "photos.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (["nowhere"], "no folder 'nowhere'"),
        (["photos", "--name", "set5"], "takes the name of the dataset set5; give another, or -d"),
        (["photos", "--name", ""], "calls its images ''"),
        (["photos", "--name", "a\nb"], "calls its images 'a\\nb'"),
        (["photos", "--name", "set5 lr=benchmark"], "' lr=' stands for LR files"),
        (["photos", "--name", "a/b"], "the name 'a/b' is no file's name; give --out"),
        (["photos", "--out", "photos.txt"], "give a file whose name ends with .csv"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_what_cannot_be_pinned_is_one_line(
    more: list[str], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pin(*more) == 2
    assert fault in said(capsys)
    assert list(tmp_path.glob("*.csv")) == []


def test_a_folder_with_a_file_that_is_no_image_is_not_pinned(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "dog.png").write_text("no image")
    assert pin(photos) == 2
    assert "dog.png is not an image" in said(capsys)
    (photos / "dog.png").unlink()
    Image.new("RGB", (24, 24)).save(photos / "two\nlines.png")
    assert pin(photos) == 2
    assert "two\\nlines.png: a manifest holds printable names only" in said(capsys)
    assert list(tmp_path.glob("*.csv")) == []


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("none.csv=photos", "no manifest 'none.csv'"),
        ("photos.csv=none", "no folder 'none'; give photos.csv=DIR"),
        ("photos.csv", "photos.csv is a manifest; give photos.csv=DIR"),
        ("set55=photos", "'set55' is no dataset and no manifest"),
    ],
)
def test_a_pair_that_is_not_there_is_one_line(
    given: str, fault: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pin(photos) == 0
    capsys.readouterr()
    assert cli.status(["run", "-m", "bicubic", "-d", given]) == 2
    assert fault in said(capsys)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("ape.png", "../ape.png", "path '../ape.png'; give a path in the folder"),
        ("ape.png", "/ape.png", "path '/ape.png'; give a path in the folder"),
        ("HR,ape", "LR_x2,ape", "is not photos: extra ape.png"),
        ("HR,ape", "HR,bee", "twice"),
        ("HR,ape", "HR,", "image ''; give a name"),
        ("ape.png,", "ape.png,x", "bytes"),
        ("# dataset: photos", "# dataset: set5", "takes the name of the dataset set5"),
        ("# dataset: photos", "# by: photos", "calls its images ''"),
        ("sha256", "sha1", "has columns"),
        ("HR,", "LR_x2,", "has no HR images"),
    ],
)
def test_a_manifest_that_was_edited_is_one_line(
    old: str, new: str, fault: str, photos: Path, tmp_path: Path
) -> None:
    assert pin(photos) == 0
    path = tmp_path / "photos.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match="photos") as caught:
        datasets.load("photos.csv=photos", QUIET)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("mirror")
def test_claims_on_a_published_set_apply_to_a_folder_that_holds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = datasets.load("set5", QUIET)
    (tmp_path / "mine").mkdir()
    for file in datasets.manifest("set5").role("HR").values():
        shutil.copy(fetch.local_path(file), tmp_path / "mine")
    given = f"set5={tmp_path / 'mine'}"
    assert datasets.load(given, QUIET).sha256 == published.sha256
    out = tmp_path / "out"
    arguments = ["-m", "bicubic", "-d", given, "-s", "3", "--metric", "psnr", "--out", str(out)]
    assert cli.status(["run", *arguments]) == 0
    with (out / "results.csv").open() as file:
        assert {row["dataset"] for row in csv.DictReader(file)} == {"", "set5"}
    verdicts = sisrbench.compare(sisrbench.results(out), "srcnn2014_set5")
    judged = verdicts[(verdicts["method"] == "bicubic") & (verdicts["scale"] == 3)]
    assert len(judged) == 6
    assert set(judged["verdict"]) == {"reproduced"}
    (tmp_path / "mine/baby_GT.bmp").rename(tmp_path / "mine/baby.bmp")
    capsys.readouterr()
    assert cli.status(["run", *arguments]) == 2
    assert "is not set5: renamed baby.bmp (baby_GT.bmp in the manifest)" in said(capsys)
