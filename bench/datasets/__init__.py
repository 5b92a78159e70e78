"""Data sets: a manifest for each published set, or a folder of the user's own images.

A manifest is a CSV file in this folder, named after the set. The header lines are `# citation:` and
`# licence:`. Then each row is a file, with the role (`HR`, or a published LR set), the origin and
the SHA-256.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bench.files import annotated_csv, fetch, whole
from bench.files.fetch import RemoteFile
from bench.progress import Progress
from zoo.errors import InputError, unknown

FOLDER = Path(__file__).parent
COLUMNS = ("role", "image", "origin", "path", "bytes", "sha256")


@dataclass(frozen=True)
class ImageFile:
    """An image on this machine."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A named set of HR images."""

    name: str
    images: tuple[ImageFile, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 over all images' names and SHA-256, in order."""
        lines = "\n".join(f"{image.name} {image.sha256}" for image in self.images)
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """The files of a data set, whether or not they are on this machine."""

    name: str
    citation: str
    licence: str
    files: tuple[tuple[str, str, RemoteFile], ...]
    """Role, image name and file."""

    def role(self, role: str) -> dict[str, RemoteFile]:
        """Files with this role, by image name."""
        return {image: file for r, image, file in self.files if r == role}


def names() -> list[str]:
    """Names of all data sets that have a manifest, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def manifest(name: str) -> Manifest:
    """The manifest of a data set.

    Raises:
        InputError: no data set has this name.
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
    """Check that a name is a data set or a folder, before anything is downloaded.

    Raises:
        InputError: the name is neither a data set nor a folder.
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
    """The HR images of a data set or a folder; missing files of a data set are downloaded.

    Raises:
        InputError: the name is neither a data set nor a folder, or the folder has no images.
        FetchError: a file of the data set cannot be downloaded.
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
    """All images of a folder, sorted by file name.

    Raises:
        InputError: the folder has no images.
    """
    paths = sorted(
        path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in SUFFIXES
    )
    if not paths:
        raise InputError(f"{folder} holds no images; put {', '.join(SUFFIXES)} files there")
    stems = [path.stem for path in paths]
    file_names = {path.name for path in paths}
    label = folder.resolve().name
    # Results name the data set, so a folder must not pass for a published set of the same name.
    return Dataset(
        f"{label} (folder)" if label in names() else label,
        tuple(
            # The name in Results is the stem, or the file name if another file has the same stem.
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
