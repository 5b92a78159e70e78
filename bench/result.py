"""The schema: what a result, a verdict and a quantity are, and the columns of every table.

`bench` fills these tables and `reports` shows them, so both read the columns here. This file
imports neither torch nor pandas.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

from zoo.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What is known of a quantity besides its values."""

    name: str
    """As results name it: `psnr_y`, `seconds`."""
    unit: str
    higher_is_better: bool | None
    """None where neither way is better."""
    of_machine: bool = False
    """Whether a value belongs to the machine that it was measured on."""
    metric: str = ""
    """The metric whose file measures it; empty for a cost."""


def metric_and_channel(quantity: str) -> tuple[str, str]:
    """The metric's name, and the channel that it compares.

    >>> metric_and_channel("psnr_y"), metric_and_channel("colour_error_rgb")
    (('psnr', 'y'), ('colour_error', 'rgb'))
    """
    metric, _, channel = quantity.rpartition("_")
    return metric, channel


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


class Cell(NamedTuple):
    """The place of a value in a table of results: what was measured, not what came out."""

    method: str
    weights: str
    scale: int
    dataset: str
    image: str
    protocol: str
    inference: str
    quantity: str


def cell(result: Result) -> Cell:
    """The place of a result."""
    return Cell(*(getattr(result, column) for column in Cell._fields))


Verdict: TypeAlias = Literal["reproduced", "deviates", "not measured", "claim inconsistent"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, kw_only=True)
class VerdictRow:
    """A published claim, the value measured beside it, and the verdict."""

    table: str
    """The paper table's name, or the experiment's."""
    title: str
    source: str
    label: str
    """The method as the paper prints it."""
    method: str
    operation: str = ""
    """`-` or `/` where the claim is a difference or ratio of two methods; else empty."""
    other: str = ""
    """The second method of a difference or ratio."""
    weights: str
    scale: int
    dataset: str
    image: str
    protocol: str
    quantity: str
    unit: str
    printed: str
    """The digits in the paper."""
    claimed: float | None
    measured: float
    """NaN where nothing was measured."""
    difference: float
    """Measured less claimed; NaN where nothing was measured."""
    tolerance: float | None
    verdict: Verdict
    reason: str


WeightsName: TypeAlias = tuple[str, str, str, int]
"""SHA-256 of weights, and the method, weights' label and scale under which results name them."""

COLUMNS = tuple(field.name for field in fields(Result))
VERDICT_COLUMNS = tuple(field.name for field in fields(VerdictRow))
RUN_COLUMNS = ("run", "key", "value")
"""Long form: a row for each fact of a run."""
TRAINING_COLUMNS = ("sha256", "method", "weights", "scale", "key", "value")
"""Long form: a row for each fact of a training."""


def to_csv(results: Iterable[Result]) -> str:
    """CSV text with `COLUMNS`, every value with all its digits, missing values empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        writer.writerow("" if value is None else _digits(value) for value in astuple(result))
    return text.getvalue()


def _digits(value: str | float) -> str:
    """A value as text; of a float, the shortest digits that give the same float back."""
    return repr(float(value)) if isinstance(value, float) else str(value)


def from_csv(path: Path) -> list[Result]:
    """The results in a CSV file that `to_csv` wrote.

    Raises:
        InputError: the file does not exist, has other columns, or holds a value that is no number.
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
