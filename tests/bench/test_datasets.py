from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from bench import datasets, images
from bench.files import whole
from bench.progress import Progress
from zoo.errors import InputError

COUNTS = {
    "set5": 5,
    "set14": 14,
    "b100": 100,
    "urban100": 100,
    "t91": 91,
    "general100": 100,
    "bsds200": 200,
    "bsds500-test": 200,
    "demo": 5,
}


def picture(path: Path, shade: int = 0) -> None:
    Image.fromarray(np.full((4, 5), shade, np.uint8)).save(path)


def test_every_counted_set_is_there() -> None:
    assert set(COUNTS) <= set(datasets.names())


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_set_has_as_many_images_as_the_literature_says(name: str, count: int) -> None:
    assert len(datasets.manifest(name).role("HR")) == count


@pytest.mark.parametrize("name", datasets.names())
def test_manifest_says_who_and_on_what_terms(name: str) -> None:
    manifest = datasets.manifest(name)
    assert manifest.citation
    assert manifest.licence


@pytest.mark.parametrize("name", datasets.names())
def test_every_file_is_pinned_by_commit_and_hash(name: str) -> None:
    files = [file for _, _, file in datasets.manifest(name).files]
    assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) for file in files)
    assert all(
        re.fullmatch(r"github:[\w.-]+/[\w.-]+@[0-9a-f]{40}|package:\w+", file.origin)
        for file in files
    )


@pytest.mark.parametrize("name", datasets.names())
def test_no_image_is_listed_twice_in_a_role(name: str) -> None:
    manifest = datasets.manifest(name)
    assert sum(len(manifest.role(role)) for role in {r for r, _, _ in manifest.files}) == len(
        manifest.files
    )


@pytest.mark.parametrize("training", ["bsds200", "bsds500-test"])
def test_b100_is_disjoint_from_training_images(training: str) -> None:
    b100, other = datasets.manifest("b100").role("HR"), datasets.manifest(training).role("HR")
    assert b100.keys().isdisjoint(other.keys())
    assert {f.sha256 for f in b100.values()}.isdisjoint(f.sha256 for f in other.values())


def test_unknown_set_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no dataset 'sett5'; did you mean 'set5'.*\? choose"):
        datasets.load("sett5", Progress())
    with pytest.raises(InputError, match=r"no dataset 'b10'; did you mean 'b100'"):
        datasets.manifest("b10")


@pytest.mark.parametrize("name", ["./photos", "/nowhere/photos"])
def test_missing_folder_is_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"no folder '{name}'; give a folder of images, or one"):
        datasets.load(name, Progress())


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "deeper.png").mkdir()
    with pytest.raises(InputError, match=r"holds no images; put \.bmp, \.png, .* files there"):
        datasets.load(str(tmp_path), Progress())


def test_folder_of_images_is_a_set_in_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.PNG", "a.bmp", "c.jpg"):
        picture(folder / name)
    (folder / "notes.txt").write_text("text")
    found = datasets.load(str(folder), Progress())
    assert found.name == "photos"
    assert [(image.name, image.path.name) for image in found.images] == [
        ("a", "a.bmp"),
        ("b", "b.PNG"),
        ("c", "c.jpg"),
    ]
    assert found.images[0].sha256 == whole.sha256_of(folder / "a.bmp")


def test_two_images_of_one_stem_are_told_apart_by_their_file_names(tmp_path: Path) -> None:
    for name in ("a.bmp", "a.png", "b.png"):
        picture(tmp_path / name)
    found = datasets.load(str(tmp_path), Progress())
    assert [image.name for image in found.images] == ["a.bmp", "a.png", "b"]


def test_names_in_a_folder_are_never_twice(tmp_path: Path) -> None:
    for name in ("a.bmp", "a.png", "a.png.png"):
        picture(tmp_path / name)
    found = datasets.load(str(tmp_path), Progress())
    assert len({image.name for image in found.images}) == 3


def names_of(folder: Path) -> list[str]:
    return [image.name for image in datasets.load(str(folder), Progress()).images]


@pytest.mark.parametrize("name", ["c.png", "c.PNG"])
def test_broken_link_to_an_image_is_refused_by_name(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / name).symlink_to(tmp_path / "gone.png")
    with pytest.raises(InputError, match=rf"broken links: {name} -> .*gone\.png; restore the .*"):
        datasets.load(str(tmp_path), Progress())


def test_files_of_other_types_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.jpg"):
        picture(tmp_path / name)
    for name in ("c.gif", "d.jfif", "e.npy", "notes"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "more").mkdir()
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "old.txt").symlink_to(tmp_path / "gone.txt")
    assert names_of(tmp_path) == ["a", "b"]
    assert capsys.readouterr().err == (
        f"{tmp_path}: left out, no image of a known type: c.gif, d.jfif, e.npy, folder.png/, "
        "more/, notes, old.txt, pipe.png\n"
    )


def test_many_files_of_other_types_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "a.png")
    for number in range(30):
        (tmp_path / f"{number:02}.npy").write_bytes(b"x")
    names_of(tmp_path)
    named = ", ".join(f"{number:02}.npy" for number in range(8))
    assert f"known type: {named} and 22 more\n" in capsys.readouterr().err


def test_hidden_files_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "x.png")
    (tmp_path / "._x.png").write_bytes(b"a resource fork, no image")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / ".gone.png").symlink_to(tmp_path / "gone.png")
    assert names_of(tmp_path) == ["x"]
    assert capsys.readouterr().err == f"{tmp_path}: left out, hidden: ._x.png, .gone.png\n"


@pytest.mark.parametrize(
    ("hr", "others"),
    [
        ("img_001_SRF_2_HR", ["img_001_SRF_2_LR"]),
        ("img_001_SRF_2_HR", ["img_001_SRF_2_LR", "img_001_SRF_2_A+", "img_001_SRF_2_bicubic"]),
        ("baby_GT", ["baby_LR"]),
        ("baby", ["baby_LR"]),
        ("baby", ["baby-lr"]),
        ("HR_001", ["LR_001"]),
        ("0001", ["0001x2", "0001x3", "0001x4m", "0001x4w1"]),
    ],
)
def test_lr_files_beside_their_hr_files_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hr: str, others: list[str]
) -> None:
    for name in (hr, *others, "z"):
        picture(tmp_path / f"{name}.png")
    assert names_of(tmp_path) == sorted([hr, "z"])
    files = ", ".join(f"{name}.png" for name in sorted(others))
    assert capsys.readouterr().err == (
        f"{tmp_path}: left out, LR or SR beside its HR image: {files}\n"
    )


@pytest.mark.parametrize(
    "names",
    [
        ["img_001_HR", "img_002_HR"],
        ["a_LR", "b_LR"],
        ["0001x2", "0002x2"],
        ["box", "boxx"],
        ["img_HR", "img_1", "img_2"],
        ["t1", "t1_1"],
    ],
)
def test_names_that_only_resemble_lr_are_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    for name in names:
        picture(tmp_path / f"{name}.png")
    assert names_of(tmp_path) == sorted(names)
    assert not capsys.readouterr().err


def test_folder_named_as_a_set_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "set5").mkdir()
    picture(tmp_path / "set5" / "a.png")
    assert datasets.load(str(tmp_path / "set5"), Progress()).name == "set5 (folder)"


def test_hash_of_a_set_changes_with_an_images_bytes_and_name(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    hashes = [datasets.load(str(tmp_path), Progress()).sha256]
    assert datasets.load(str(tmp_path), Progress()).sha256 == hashes[0]
    picture(tmp_path / "a.png", shade=1)
    hashes.append(datasets.load(str(tmp_path), Progress()).sha256)
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    hashes.append(datasets.load(str(tmp_path), Progress()).sha256)
    assert len(set(hashes)) == 3


def test_demo_loads_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> NoReturn:
        raise AssertionError("the demo asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path / "empty"))
    demo = datasets.load("demo", Progress())
    assert all(images.decode(image.path).shape[0] >= 300 for image in demo.images)
    assert [image.name for image in demo.images if images.decode(image.path).ndim == 2] == [
        "camera"
    ]


def test_set5_is_what_its_manifest_says(mirror: Path) -> None:
    found = datasets.load("set5", Progress())
    assert [image.name for image in found.images] == ["baby", "bird", "butterfly", "head", "woman"]
    assert images.decode(found.images[0].path).shape == (512, 512, 3)
    assert all(whole.sha256_of(image.path) == image.sha256 for image in found.images)


def test_bridge_is_the_gray_file_of_set14(mirror: Path) -> None:
    found = datasets.load("set14", Progress())
    gray = [image.name for image in found.images if images.decode(image.path).ndim == 2]
    assert gray == ["bridge"]
