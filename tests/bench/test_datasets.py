from __future__ import annotations

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
