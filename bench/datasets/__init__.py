"""Datasets: one manifest a set, or a folder of the user's own images.

A manifest is a CSV file here, named as the set: header lines `# citation:` and `# licence:`, then
a row a file with its role (`HR`, or an LR set that others made), origin and SHA-256.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bench import images as images
from bench.files import annotated_csv, fetch, whole
from bench.files.fetch import RemoteFile
from bench.progress import Progress
from zoo.errors import InputError, unknown
from zoo.resample import round_half_up as round_half_up

FOLDER = Path(__file__).parent
COLUMNS = ("role", "image", "origin", "path", "bytes", "sha256")


@dataclass(frozen=True)
class ImageFile:
    """One image on this machine."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """HR images under one name."""

    name: str
    images: tuple[ImageFile, ...]

    @property
    def sha256(self) -> str:
        """Hash of every image's name and bytes, in order."""
        lines = "\n".join(f"{image.name} {image.sha256}" for image in self.images)
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """What a set consists of, whether or not it is on this machine."""

    name: str
    citation: str
    licence: str
    files: tuple[tuple[str, str, RemoteFile], ...]
    """Role, image, file."""

    def role(self, role: str) -> dict[str, RemoteFile]:
        """Files of one role by image."""
        return {image: file for r, image, file in self.files if r == role}


def names() -> list[str]:
    """Names of all sets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def manifest(name: str) -> Manifest:
    """The manifest of a set.

    Raises:
        InputError: there is no such set.
    """
    if name not in names():
        raise unknown("dataset", name, names())
    header, rows = annotated_csv.read(FOLDER / f"{name}.csv", COLUMNS)
    files = tuple(
        (row["role"], row["image"], RemoteFile(row["origin"], row["path"], row["sha256"]))
        for row in rows
    )
    return Manifest(name, header.get("citation", ""), header.get("licence", ""), files)


def require(name: str) -> None:
    """Accept the name of a set or a folder, before anything is downloaded.

    Raises:
        InputError: it is neither.
    """
    if not name:
        raise InputError("'' names no dataset; give a set or a folder of images")
    if name not in names() and not Path(name).is_dir():
        if "/" in name or name.startswith("."):
            raise InputError(
                f"no folder {name!r}; give a folder of images, or one of: {', '.join(names())}"
            )
        raise unknown("dataset", name, names())


def load(name: str, progress: Progress) -> Dataset:
    """The HR images of a set, downloaded where they are missing, or of a folder.

    Raises:
        InputError: no such set or folder, or a folder without images.
        FetchError: a file of the set cannot be had.
    """
    require(name)
    if name not in names():
        return _folder(Path(name))
    files = manifest(name).role("HR")
    fetch.fetch_missing(name, files.values(), progress)
    return Dataset(
        name,
        tuple(
            ImageFile(image, fetch.local_path(file), file.sha256) for image, file in files.items()
        ),
    )


def _folder(folder: Path) -> Dataset:
    paths = sorted(
        path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in SUFFIXES
    )
    if not paths:
        raise InputError(f"{folder} holds no images; put {', '.join(SUFFIXES)} files there")
    stems = [path.stem for path in paths]
    file_names = {path.name for path in paths}
    label = folder.resolve().name
    return Dataset(
        f"{label} (folder)" if label in names() else label,
        tuple(
            ImageFile(
                path.stem
                if stems.count(path.stem) == 1 and path.stem not in file_names
                else path.name,
                path,
                whole.sha256_of(path),
            )
            for path in paths
        ),
    )


SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
