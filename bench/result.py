"""Result: one value of one quantity, measured or published; tables of them as CSV and DataFrame."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from zoo.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Result:
    """One value of one quantity for one method, scale, dataset, image and protocol."""

    method: str
    weights: str = ""
    scale: int
    dataset: str = ""
    """Empty for a cost that depends on no images."""
    image: str = ""
    """Empty for an average over the dataset."""
    protocol: str = ""
    inference: str = ""
    """How the network was run (`bf16 channels-last`); empty for the default."""
    quantity: str
    value: float | None
    """None where it could not be measured; `note` says why."""
    unit: str = ""
    spread: float | None = None
    """Of a time: interquartile range over repetitions. Of a published value: half a unit of its
    last printed digit. Of an average: None."""
    source: str = "measured"
    """`measured`, or the paper."""
    run: str = ""
    note: str = ""


COLUMNS = (
    "method",
    "weights",
    "scale",
    "dataset",
    "image",
    "protocol",
    "inference",
    "quantity",
    "value",
    "unit",
    "spread",
    "source",
    "run",
    "note",
)
CELL = ("method", "weights", "scale", "dataset", "image", "protocol", "inference", "quantity")
"""The columns that say what was measured; the others say what came out."""


def table(results: Iterable[Result]) -> pd.DataFrame:
    """Results as a DataFrame of `COLUMNS`; a missing value or spread is NaN."""
    frame = pd.DataFrame([asdict(result) for result in results], columns=list(COLUMNS))
    return frame.astype({"scale": int, "value": float, "spread": float})


def to_csv(results: Iterable[Result]) -> str:
    """Results as CSV text of `COLUMNS`, every value with all its digits, missing ones empty."""
    return table(results).to_csv(index=False, lineterminator="\n", float_format=_digits)  # type: ignore[arg-type]


def from_csv(path: Path) -> list[Result]:
    """The Results of a CSV file that `to_csv` wrote.

    Raises:
        InputError: no such file, other columns, or a value that is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            raise ValueError("it has no rows")
        return [_from_row(row) for row in rows]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a results.csv") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} is no results.csv ({type(error).__name__}: {error}); its columns are "
            f"{','.join(COLUMNS)}"
        ) from error


def _from_row(row: Mapping[str, str]) -> Result:
    texts = {column: row[column] for column in COLUMNS if column != "inference"}
    texts["inference"] = row.get("inference", "")  # a table of an earlier version has none
    numbers = {
        "scale": int(texts.pop("scale")),
        **{
            name: float(text) if (text := texts.pop(name)) else None for name in ("value", "spread")
        },
    }
    if any(number != number for number in numbers.values()):
        raise ValueError("nan is no value")
    return Result(**texts, **numbers)  # type: ignore[arg-type]


def _digits(value: float) -> str:
    """The shortest digits that give the same float back."""
    return repr(float(value))


def write_whole(contents: Mapping[Path, str | bytes]) -> None:
    """Write files whole, all or none: what was there stays until every new one is complete.

    Raises:
        InputError: a folder cannot be written, or the disk is full.
    """
    complete: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            complete[path] = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            complete[path].chmod(0o644)
        for path, temporary in complete.items():
            temporary.replace(path)
    except OSError as error:
        names = ", ".join(map(str, contents))
        raise InputError(
            f"cannot write {names}: {error.strerror or error}; free the disk or give another --out"
        ) from error
    finally:
        for temporary in complete.values():
            temporary.unlink(missing_ok=True)
