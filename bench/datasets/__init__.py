"""Data sets: a manifest for each published set, a folder of images, or a folder with a manifest.

A manifest is a CSV file in this folder, named after the set. The header lines are `# citation:` and
`# licence:`. Then each row is a file, with the role (`HR`, or a published LR set), the origin and
the SHA-256. A folder is known again as a set by `SET=DIR`, and by `FILE.csv=DIR` as what
`sisrbench pin` has written down.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.datasets import pinned
from bench.files import annotated_csv, fetch, whole
from bench.files.fetch import RemoteFile
from bench.progress import Progress
from zoo.errors import InputError, listed, plain, spelled, unknown

FOLDER = Path(__file__).parent
LR_MARK = " lr="
"""In the name of a dataset in Results, between the HR images and the LR files."""
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
    citation: str = ""
    licence: str = ""
    """As its manifest says; a folder without one has neither."""

    @property
    def sha256(self) -> str:
        """SHA-256 over all images' names and SHA-256, in order."""
        # As JSON, because a name may hold any character.
        listed_images = json.dumps([[image.name, image.sha256] for image in self.images])
        return hashlib.sha256(listed_images.encode()).hexdigest()


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
        InputError: no data set has this name, or its manifest has a row that is no file.
    """
    if name not in names():
        raise unknown("dataset", name, names())
    header, rows = annotated_csv.read(FOLDER / f"{name}.csv", COLUMNS)
    files = tuple((row["role"], row["image"], _file(name, row)) for row in rows)
    return Manifest(name, header.get("citation", ""), header.get("licence", ""), files)


def _file(name: str, row: Mapping[str, str]) -> RemoteFile:
    """The file of a manifest's row.

    Raises:
        InputError: the origin, path, size or hash is not valid.
    """
    size = row["bytes"]
    if not re.fullmatch("[1-9][0-9]{0,17}", size):
        raise InputError(
            f"{FOLDER / name}.csv, {row['path']}: bytes {size!r}; give the file's size, as 196730"
        )
    return RemoteFile(row["origin"], row["path"], row["sha256"], int(size))


def require(name: str) -> None:
    """Check that a name is a data set or a folder, before anything is downloaded.

    Raises:
        InputError: the name is neither a data set nor a folder, nor either with a manifest.
    """
    if not name:
        raise InputError("'' names no dataset; give a set or a folder of images")
    if pair := _pair(name):
        of, folder = pair
        if of not in names() and not Path(of).is_file():
            raise InputError(f"no manifest {of!r}; write it by `sisrbench pin DIR --out {of}`")
        if not Path(folder).is_dir():
            raise InputError(f"no folder {folder!r}; give {of}=DIR with the folder of its images")
    elif name not in names() and not Path(name).is_dir():
        given, _, folder = name.partition("=")
        if folder and Path(folder).is_dir():
            raise InputError(
                f"{given!r} is no dataset and no manifest; give FILE.csv={folder} with a file of "
                f"`sisrbench pin`, or one of: {', '.join(names())}"
            )
        if name.lower().endswith(".csv") and Path(name).is_file():
            raise InputError(f"{name} is a manifest; give {name}=DIR with the folder of its images")
        if "/" in name or name.startswith("."):
            raise InputError(
                f"no folder {name!r}; give a folder of images, or one of: {', '.join(names())}"
            )
        raise unknown("dataset", name, names())


def load(name: str, progress: Progress) -> Dataset:
    """The HR images of a data set or a folder; missing files of a data set are downloaded.

    Args:
        name: a data set, a folder, or `SET=DIR` or `FILE.csv=DIR`: a folder that has to hold what a
            manifest says.
        progress: shows a download, and what is left out of a folder.

    Raises:
        InputError: the name is none of these, the folder has no images or a broken link, or it
            differs from the manifest.
        FetchError: a file of the data set cannot be downloaded.
    """
    require(name)
    if pair := _pair(name):
        return _known_again(*pair, progress)
    if name not in names():
        return of_folder(Path(name), progress)
    known = manifest(name)
    files = known.role("HR")
    fetch.fetch_missing(name, files.values(), progress)
    return Dataset(
        name,
        tuple(
            ImageFile(image, fetch.local_path(file), file.sha256) for image, file in files.items()
        ),
        known.citation,
        known.licence,
    )


def _pair(given: str) -> tuple[str, str] | None:
    """The set or manifest and the folder of `SET=DIR` or `FILE.csv=DIR`; None for another text.

    A folder whose name has a `=` is a folder.
    """
    for sign in () if Path(given).is_dir() else re.finditer("=", given):
        of, folder = given[: sign.start()], given[sign.end() :]
        if of in names() or of.lower().endswith(".csv"):
            return of, folder
    return None


def _known_again(of: str, folder: str, progress: Progress) -> Dataset:
    """The images of a folder under the name of a set or manifest, which the folder has to hold.

    Files of a set lie in the folder as in the folder of its public origin.

    Raises:
        InputError: the manifest cannot be used, or the folder differs from it.
    """
    root = Path(folder)
    if of in names():
        known = manifest(of)
        name, citation, licence = of, known.citation, known.licence
        files = known.role("HR")
        base = os.path.commonpath([PurePosixPath(file.path).parent for file in files.values()])
        rows = [
            pinned.Row("HR", image, os.path.relpath(file.path, base), file.size or 0, file.sha256)
            for image, file in files.items()
        ]
    else:
        header, every = pinned.read(Path(of))
        name, citation, licence = (header.get(key, "") for key in pinned.HEADER)
        rows = [row for row in every if row.role == "HR"]
        if not rows:
            raise InputError(f"{of} has no HR images; give a manifest of `sisrbench pin`")
        refuse_name(name, of)
    others = [
        path
        for inner in sorted({root / PurePosixPath(row.path).parent for row in rows})
        if inner.is_dir()
        for path in _hr_paths(inner, progress)
    ]
    pinned.refuse_differences(root, name, rows, others)
    return Dataset(
        name,
        tuple(ImageFile(row.image, root / row.path, row.sha256) for row in rows),
        citation,
        licence,
    )


def refuse_name(name: str, manifest: str) -> None:
    """Check that a folder's manifest may give the folder this name.

    Args:
        name: the name, as Results will carry it.
        manifest: the manifest, for the message.

    Raises:
        InputError: the name is empty, not printable, that of a published set, or has a mark of LR
            files.
    """
    reason = ""
    if not name or plain(name) != name or name != name.strip():
        reason = f"calls its images {name!r}; give a name of printable characters"
    elif name in names():
        reason = f"takes the name of the dataset {name}; give another, or -d {name}=DIR"
    elif LR_MARK in name:
        reason = f"calls its images {name!r}, where {LR_MARK!r} stands for LR files; give another"
    if reason:
        raise InputError(f"{manifest} {reason}")


def _hr_paths(folder: Path, progress: Progress) -> list[Path]:
    """All HR images of a folder, sorted by file name; what is left out is printed.

    Raises:
        InputError: the folder has a broken link where an image should be.
    """
    entries = sorted(folder.iterdir())
    # A broken link is named below; a folder or a pipe is no image, whatever its name.
    images = [
        path
        for path in entries
        if path.suffix.lower() in SUFFIXES and (path.is_file() or not path.exists())
    ]
    seen = [path for path in images if not path.name.startswith(".")]
    broken = [path for path in seen if not path.exists()]
    if broken:
        links = listed([f"{path.name} -> {path.readlink()}" for path in broken])
        raise InputError(
            f"{folder} has broken links: {links}; restore the files or delete the links"
        )
    versions = _versions(seen)
    paths = sorted(set(seen) - set(versions))
    others = [
        f"{path.name}/" if path.is_dir() else path.name
        for path in sorted(set(entries) - set(seen))
        if not path.name.startswith(".")
    ]
    for reason, left_out in (
        ("hidden", [path.name for path in images if path.name.startswith(".")]),
        ("no image of a known type", others),
        ("LR or SR beside its HR image", [path.name for path in versions]),
    ):
        if left_out:
            progress.say(f"{folder}: left out, {reason}: {listed(left_out)}")
    return paths


def of_folder(folder: Path, progress: Progress) -> Dataset:
    """All HR images of a folder, sorted by file name; what is left out is printed.

    Raises:
        InputError: the folder has no images, or a broken link where an image should be.
    """
    paths = _hr_paths(folder, progress)
    if not paths:
        raise InputError(f"{folder} holds no images; put {', '.join(SUFFIXES)} files there")
    stems = [path.stem for path in paths]
    file_names = {path.name for path in paths}
    label = spelled(folder.resolve().name)
    if LR_MARK in label:
        raise InputError(
            f"{folder}: {LR_MARK!r} in a dataset's name stands for LR files; rename the folder"
        )
    # Results name the data set, so a folder must not pass for a published set of the same name.
    return Dataset(
        f"{label} (folder)" if label in names() else label,
        tuple(
            # The name in Results is the stem, or the file name if another file has the same stem.
            ImageFile(
                spelled(
                    path.stem
                    if stems.count(path.stem) == 1 and path.stem not in file_names
                    else path.name
                ),
                path,
                whole.sha256_of(path),
            )
            for path in paths
        ),
    )


SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_SCALED = re.compile(r"(?P<hr>.+?)[_. -]?x(?P<scale>[2-8])(?:[a-z]\d?|[_. -].+)?")
"""`0001x2` (DIV2K), `0001x4m` (its mild LR), `0001_x2_bicubic` (written by `upscale`)."""
_LR = re.compile(r"(?<![a-z0-9])lr(?:bi|bd|dn)?(?![a-z0-9])")
"""`LR` in `img_001_SRF_2_LR`, `LRBI` in `baby_LRBI_x2`, as a word of its own."""
_HR = ("hr", "gt")


def hr_names(name: str) -> Iterator[tuple[str, int]]:
    """Names that the HR image of an LR image may have, in lower case, each with the scale.

    Args:
        name: name of the LR image, without the file's ending.

    Yields:
        (name, scale); scale 0 if the name of the LR image does not say.

    >>> list(hr_names("0001x2")), list(hr_names("baby_LR"))
    ([('0001', 2)], [('baby_hr', 0), ('baby_gt', 0), ('baby', 0)])
    """
    name = name.lower()
    scaled = _SCALED.fullmatch(name)
    scale = int(scaled["scale"]) if scaled else 0
    for each in (name, scaled["hr"]) if scaled else (name,):
        if _LR.search(each):
            for word in (*_HR, ""):
                yield _LR.sub(word, each).strip("_. -"), scale
        elif each != name:
            yield each, scale


def _versions(paths: Sequence[Path]) -> list[Path]:
    """The files that are LR or SR of another file in the same folder, by their names.

    `P_LR` is LR of `P_HR` or `P`, `0001x2` is LR of `0001`. Beside `P_HR`, every `P_WORD` is a
    version of the same picture (`img_001_SRF_2_SRCNN`), unless WORD is a number.
    """
    stems = {path.stem.lower() for path in paths}
    found = []
    for path in paths:
        stem = path.stem.lower()
        names = {name for name, _ in hr_names(stem)}
        last = re.fullmatch(r"(.+[_. -])([^_. -]+)", stem)
        if last and last[2] not in _HR and not last[2].isdecimal():
            names |= {last[1] + word for word in _HR}
        if names & stems - {stem}:
            found.append(path)
    return found
