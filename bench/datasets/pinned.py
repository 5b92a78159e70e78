"""Manifests of folders: the files by name, size and hash, wherever the folder lies.

A manifest is a CSV file with the header lines `# KEY: VALUE`, then a row for each file. `path` is
below the folder that the manifest describes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields

from zoo.errors import plain


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
    written.writerow([*COLUMNS, *(["hr_sha256"] if hashes else [])])
    for number, row in enumerate(rows):
        written.writerow([*astuple(row), *hashes[number : number + 1]])
    return buffer.getvalue()
