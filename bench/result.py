"""The schema: Result, VerdictRow and Quantity, and the columns of every table.

`bench` fills the tables and `reports` shows the tables, so both import the columns from here. This
file imports neither torch nor pandas, because `reports` works without torch.
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
    """The unit and the meaning of a quantity, without values."""

    name: str
    """The name in results, for example `psnr_y` or `seconds`."""
    unit: str
    higher_is_better: bool | None
    """None if neither direction is better."""
    of_machine: bool = False
    """Whether a value depends on the machine, as a time does."""
    metric: str = ""
    """The metric whose file measures the quantity; empty for a cost."""


def metric_and_channel(quantity: str) -> tuple[str, str]:
    """The name of the metric, and the channel that the metric compares.

    >>> metric_and_channel("psnr_y"), metric_and_channel("colour_error_rgb")
    (('psnr', 'y'), ('colour_error', 'rgb'))
    """
    metric, _, channel = quantity.rpartition("_")  # the last `_`: a metric's name may have others
    return metric, channel


@dataclass(frozen=True, kw_only=True)
class Result:
    """A single value of a quantity, for a method, scale, dataset, image and protocol."""

    method: str
    weights: str = ""
    scale: int
    dataset: str = ""
    """Empty for a cost that depends on no images."""
    image: str = ""
    """Empty for an average over the dataset."""
    protocol: str = ""
    inference: str = ""
    """The setting in which the network ran, as `bf16 channels-last`; empty for the default."""
    quantity: str
    value: float | None
    """None if the value could not be measured; `note` says why."""
    unit: str = ""
    spread: float | None = None
    """For a time: the interquartile range over timed runs. For a published value: half a unit of
    the last printed digit. For an average: None."""
    source: str = "measured"
    """`measured`, or the paper that printed the value."""
    run: str = ""
    note: str = ""


class Failure(NamedTuple):
    """Something that was asked for and could not be measured."""

    subject: str
    """The method or the unit."""
    reason: str


class Cell(NamedTuple):
    """The place of a value in a table of results: every column that says what was measured."""

    method: str
    weights: str
    scale: int
    dataset: str
    image: str
    protocol: str
    inference: str
    quantity: str


def cell(result: Result) -> Cell:
    """The cell of a result: the result without value, unit, spread, source, run and note."""
    return Cell(*(getattr(result, column) for column in Cell._fields))


UNSTEADY = "unsteady: "
"""How the remark begins that a time may be too long, because the machine was busy."""
SCALED = "scaled from "
"""How the remark begins that a time was computed from the time of a smaller output."""


def doubts(note: str) -> list[str]:
    """The remarks of a note that say why a time is approximate; empty for all other values.

    >>> doubts("1280x720 output; a single run; unsteady: other processes used 2 of 4 cores")
    ['unsteady: other processes used 2 of 4 cores']
    """
    return [remark for remark in note.split("; ") if remark.startswith((UNSTEADY, SCALED))]


def remarks_on_average(note: str) -> list[str]:
    """What the note of an average says besides the number of images: one text a remark.

    >>> remarks_on_average("average of 1 of 2 images; left out, infinite value: flat")
    ['left out, infinite value: flat']
    """
    return note.split("; ")[1:]


Verdict: TypeAlias = Literal["reproduced", "deviates", "not measured", "claim inconsistent"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, kw_only=True)
class VerdictRow:
    """A published claim, the measured value, and the verdict."""

    table: str
    """Name of the paper table or of the experiment."""
    title: str
    source: str
    label: str
    """The method as the paper prints it."""
    method: str
    operation: str = ""
    """`-` or `/` if the claim is a difference or ratio of two methods; else empty."""
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
    """NaN if nothing was measured. A value of another protocol or setting stands here too; then the
    verdict is `not measured`, and the reason says so."""
    difference: float
    """Measured minus claimed; NaN if `measured` is NaN."""
    tolerance: float | None
    verdict: Verdict
    reason: str


WeightsName: TypeAlias = tuple[str, str, str, int]
"""SHA-256 of weights; then the method, the label of the weights and the scale, as in results."""

COLUMNS = tuple(field.name for field in fields(Result))
VERDICT_COLUMNS = tuple(field.name for field in fields(VerdictRow))
RUN_COLUMNS = ("run", "key", "value")
"""Columns of the table of runs, in long form: a row for each fact of a run."""
TRAINING_COLUMNS = ("sha256", "method", "weights", "scale", "key", "value")
"""Columns of the table of trainings, in long form: a row for each fact of a training."""


def to_csv(results: Iterable[Result]) -> str:
    """CSV text with `COLUMNS`; values have all digits, and missing values are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        writer.writerow("" if value is None else _digits(value) for value in astuple(result))
    return text.getvalue()


def _digits(value: str | float) -> str:
    """A value as text; for a float, the shortest digits that give the same float back."""
    return repr(float(value)) if isinstance(value, float) else str(value)


def from_csv(path: Path) -> list[Result]:
    """The results of a CSV file that `to_csv` wrote.

    Raises:
        InputError: the file does not exist, has other columns, has no rows, or holds a value that
            is no number.
    """
    try:
        # utf-8-sig, because a spreadsheet program may have put a byte order mark first.
        with path.open(newline="", encoding="utf-8-sig") as file:
            text = file.read()
        rows = list(csv.DictReader(io.StringIO(text)))
        if not rows:
            raise ValueError("no rows")
        if not text.endswith("\n"):
            raise ValueError("it is cut off in its last line")
        return [_from_row(row) for row in rows]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a results.csv") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} is no results.csv ({type(error).__name__}: {error}); give a file with the "
            f"columns {','.join(COLUMNS)}"
        ) from error


def _from_row(row: Mapping[str, str | None]) -> Result:
    """The Result of a row of a CSV file.

    Raises:
        KeyError, TypeError, ValueError: a column is missing, or a number is no number.
    """
    lacking = [column for column, text in row.items() if text is None]
    if lacking:
        raise ValueError(f"a row has no {lacking[0]}")
    texts = {column: row[column] or "" for column in COLUMNS if column != "inference"}
    # Earlier versions did not write this column.
    texts["inference"] = row.get("inference") or ""
    numbers = {
        "scale": int(texts.pop("scale")),
        **{
            name: float(text) if (text := texts.pop(name)) else None for name in ("value", "spread")
        },
    }
    if any(number != number for number in numbers.values()):  # only NaN differs from itself
        raise ValueError("nan is no value")
    return Result(**texts, **numbers)  # type: ignore[arg-type]
