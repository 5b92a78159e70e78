"""Manifests of folders: the files by name, size and hash, wherever the folder lies.

A manifest is a CSV file with the header lines `# KEY: VALUE`, then a row for each file. `path` is
below the folder that the manifest describes. `sisrbench pin` writes manifests of HR images, and
`sisrbench lr` of LR files.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path, PurePosixPath

from bench.files import annotated_csv
from bench.files.whole import sha256_of
from zoo.errors import InputError, listed, plain, spelled


@dataclass(frozen=True)
class Row:
    """A file of a manifest."""

    role: str
    """`HR`, or the name of an LR set."""
    image: str
    path: str
    bytes: int
    sha256: str


COLUMNS = tuple(field.name for field in fields(Row))
HEADER = ("dataset", "citation", "licence")
"""Keys of the header."""
_OF_HR = ("hr_sha256",)


def text(header: Mapping[str, str], rows: Iterable[Row], of_hr: Iterable[str] = ()) -> str:
    """The manifest as text.

    Args:
        header: values by key, written in this order; empty ones are left out.
        rows: the files.
        of_hr: for LR files, the SHA-256 of each one's HR file, as a last column `hr_sha256`.
    """
    buffer = io.StringIO()
    for key, value in header.items():
        if value:
            buffer.write(f"# {key}: {plain(value)}\n")
    written = csv.writer(buffer, lineterminator="\n")
    hashes = list(of_hr)
    written.writerow([*COLUMNS, *(_OF_HR if hashes else ())])
    for number, row in enumerate(rows):
        written.writerow([*astuple(row), *hashes[number : number + 1]])
    return buffer.getvalue()


def read(path: Path) -> tuple[dict[str, str], list[Row]]:
    """The header of a manifest, and its rows.

    Raises:
        InputError: the file cannot be read, is no manifest, or has a row that is no file of a
            folder.
    """
    try:
        header, cells = annotated_csv.read(path, COLUMNS, _OF_HR)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a manifest") from error
    rows: list[Row] = []
    for each in cells:
        place = PurePosixPath(each["path"])
        for column, fits, expected in (
            ("role", bool(each["role"]), "HR"),
            ("image", bool(each["image"]), "a name"),
            ("path", place.parts and not {"/", ".."} & {*place.parts}, "a path in the folder"),
            ("bytes", re.fullmatch("[1-9][0-9]{0,17}", each["bytes"]), "the file's size"),
            ("sha256", re.fullmatch("[0-9a-f]{64}", each["sha256"]), "64 hex digits"),
        ):
            if not fits:
                raise InputError(
                    f"{path}, {each['path'] or each['image']}: {column} {each[column]!r}; give "
                    f"{expected}, or pin the folder again"
                )
        row = Row(each["role"], each["image"], str(place), int(each["bytes"]), each["sha256"])
        for other in rows:
            if other.path == row.path or (other.role, other.image) == (row.role, row.image):
                raise InputError(
                    f"{path} has {row.path} or image {row.image!r} twice; pin the folder again"
                )
        rows.append(row)
    return header, rows


def refuse_differences(
    folder: Path, name: str, rows: Sequence[Row], others: Iterable[Path]
) -> None:
    """Check that a folder holds the files of a manifest, and no others.

    Args:
        folder: the folder.
        name: what the manifest calls it, for the message.
        rows: the files that it should hold.
        others: images in the folder that may not be among them.

    Raises:
        InputError: files are missing, renamed, changed or too many, or cannot be read.
    """
    expected = {row.path: row.sha256 for row in rows}
    names = {row.sha256: row.path for row in rows}
    found = {path: folder / path for path in expected if (folder / path).is_file()}
    found |= {path.relative_to(folder).as_posix(): path for path in others}
    try:
        hashes = {path: sha256_of(place) for path, place in found.items()}
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}; restore it") from error
    wrong = {path: sha256 for path, sha256 in hashes.items() if expected.get(path) != sha256}
    renamed = {path: names[sha256] for path, sha256 in wrong.items() if sha256 in names}
    wanted = [path for path in expected if path not in found and path not in renamed.values()]
    rest = [path for path in wrong if path not in renamed]
    faults = {
        "missing": wanted,
        "renamed": [f"{path} ({of} in the manifest)" for path, of in renamed.items()],
        "changed": [path for path in rest if path in expected],
        "extra": [path for path in rest if path not in expected],
    }
    said = [f"{fault} {listed(paths)}" for fault, paths in faults.items() if paths]
    if said:
        raise InputError(
            spelled(
                f"{folder} is not {name}: {', '.join(said)}; restore the files, or take the folder "
                "as it is by -d DIR"
            )
        )
