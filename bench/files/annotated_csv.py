"""CSV files that open with `# key: value` lines: manifests of datasets and tables of papers."""

from __future__ import annotations

import csv
from pathlib import Path

from zoo.errors import InputError


def read(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()
) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The header's keys and the rows, each a dict of these columns.

    The `optional` columns may follow the others, all or none of them.

    Raises:
        InputError: other columns, a row of another length, or no rows.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    header: dict[str, str] = {}
    while lines and lines[0].startswith("#"):
        key, _, value = lines.pop(0).lstrip("# ").partition(":")
        header[key.strip()] = value.strip()
    reader = csv.reader(lines)
    given = tuple(next(reader, ()))
    if given not in (columns, columns + optional):
        raise InputError(
            f"{path} has columns {','.join(given)}; expected {','.join(columns)}: mend its header"
        )
    rows = []
    for number, cells in enumerate(reader, start=1):
        if len(cells) != len(given):
            raise InputError(
                f"{path}, row {number}: {len(cells)} cells; expected {len(given)}: mend the row"
            )
        rows.append(dict(zip(given, cells, strict=True)))
    if not rows:
        raise InputError(f"{path} has no rows; add at least one")
    return header, rows
