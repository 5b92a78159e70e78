"""CSV files with `# key: value` lines first: manifests of datasets, and paper tables."""

from __future__ import annotations

import csv
from pathlib import Path

from zoo.errors import InputError


def read(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()
) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The header as key to value, and each row as a dict of column to text.

    Args:
        path: the file.
        columns: the columns that the file must have, in this order.
        optional: columns that may follow; the file has all of these columns or none.

    Raises:
        InputError: the file is not UTF-8, has other columns, a row of another length, or no rows.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text (byte {error.start}); save the file as UTF-8"
        ) from error
    header: dict[str, str] = {}
    while lines and lines[0].startswith("#"):
        # The first colon ends the key; a value may be an address, with more colons.
        key, _, value = lines.pop(0).lstrip("# ").partition(":")
        header[key.strip()] = value.strip()
    reader = csv.reader(lines)
    given = tuple(next(reader, ()))
    if given not in (columns, columns + optional):
        raise InputError(
            f"{path} has columns {','.join(given)}; expected {','.join(columns)}: fix the header"
        )
    rows = []
    for number, cells in enumerate(reader, start=1):
        if len(cells) != len(given):
            raise InputError(
                f"{path}, row {number}: {len(cells)} cells; expected {len(given)}: fix the row"
            )
        rows.append(dict(zip(given, cells, strict=True)))
    if not rows:
        raise InputError(f"{path} has no rows; add at least one")
    return header, rows
