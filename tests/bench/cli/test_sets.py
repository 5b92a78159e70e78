"""The LR files that a protocol makes, as files, and manifests of folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import datasets, images
from bench.cli import main as cli
from bench.files import annotated_csv, fetch
from bench.progress import Progress


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("protocol", "role"), [("selfexsr2015", "matlab_uint8"), ("rcan2018", "benchmark")]
)
@pytest.mark.usefixtures("mirror")
def test_lr_of_set5_equals_the_published_files_in_every_pixel(
    protocol: str, role: str, scale: int, tmp_path: Path
) -> None:
    out = tmp_path / "lr_x{scale}"
    common = ["-d", "set5", "-s", str(scale), "--protocol", protocol]
    assert cli.status(["lr", *common, "--out", str(out)]) == 0
    published = datasets.manifest("set5").role(f"LR_x{scale}_{role}")
    fetch.fetch_missing("set5", published.values(), Progress(quiet=True))
    assert len(published) == 5
    for name, file in published.items():
        made = images.decode(tmp_path / f"lr_x{scale}" / f"{name}x{scale}.png")
        assert np.array_equal(made, images.decode(fetch.local_path(file)))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.arange(31 * 42 * 3, dtype=np.uint32).reshape(31, 42, 3) * 7 % 251
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "ape.png")
    Image.fromarray(pixels[..., 0].astype(np.uint8)).save(folder / "bee.png")
    return folder


def test_lr_files_have_a_manifest_beside_their_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "lr"
    arguments = ["lr", "-d", str(photos), "-s", "2", "-s", "4", "--protocol", "selfexsr2015"]
    assert cli.status([*arguments, "--out", str(out)]) == 0
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        "x2.csv", "x2/apex2.png", "x2/beex2.png", "x4.csv", "x4/apex4.png", "x4/beex4.png",
    ]  # fmt: skip
    header, rows = annotated_csv.read(
        out / "x4.csv", ("role", "image", "path", "bytes", "sha256"), ("hr_sha256",)
    )
    assert (header["dataset"], header["scale"], header["protocol"]) == (
        "photos",
        "4",
        "selfexsr2015",
    )
    for row in rows:
        content = (out / "x4" / row["path"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert int(row["bytes"]) == len(content)
        hr = (photos / f"{row['image']}.png").read_bytes()
        assert row["hr_sha256"] == hashlib.sha256(hr).hexdigest()
    assert images.shape_of(out / "x4" / "apex4.png") == (3, 7, 10)
    assert images.shape_of(out / "x4" / "beex4.png") == (1, 7, 10)


@pytest.mark.parametrize("protocol", ["lapsrn2017", "srmd2018"])
def test_lr_without_whole_levels_is_refused(
    protocol: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lr"
    assert cli.status(["lr", "-d", str(photos), "--protocol", protocol, "--out", str(out)]) == 2
    assert "leaves LR unrounded" in capsys.readouterr().err
    assert not out.exists()


def test_a_protocol_of_luma_says_whose_lr_is_written(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["lr", "-d", str(photos), "-s", "2", "--out", str(tmp_path / "lr")]
    assert cli.status([*arguments, "--protocol", "srcnn2014"]) == 0
    assert "these files are the LR of an RGB method" in capsys.readouterr().err
    assert images.shape_of(tmp_path / "lr" / "x2" / "apex2.png") == (3, 15, 21)


def test_a_file_that_differs_is_not_overwritten(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["lr", "-d", str(photos), "-s", "2", "--out", str(tmp_path / "lr")]
    assert cli.status([*arguments, "--protocol", "rcan2018"]) == 0
    assert cli.status([*arguments, "--protocol", "rcan2018"]) == 0
    assert "0 files written, 3 were there" in capsys.readouterr().err
    before = {path: path.read_bytes() for path in (tmp_path / "lr").rglob("*.*")}
    assert cli.status([*arguments, "--protocol", "laljavid"]) == 2
    assert "exists and has other contents" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "lr").rglob("*.*")} == before


def test_an_image_smaller_than_the_scale_leaves_nothing_behind(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (3, 3)).save(photos / "cat.png")
    arguments = ["lr", "-d", str(photos), "-s", "4", "--protocol", "rcan2018"]
    assert cli.status([*arguments, "--out", str(tmp_path / "lr")]) == 2
    assert "cat.png, x4: 3x3 px leave nothing at x4" in capsys.readouterr().err
    assert not (tmp_path / "lr").exists()
