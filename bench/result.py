"""The schema: Result, VerdictRow and Quantity, and the columns of every table.

`bench` fills the tables and `reports` shows the tables, so both import the columns from here. This
file imports neither torch nor pandas, because `reports` works without torch.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
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
    tolerance: float = 0.0
    """How far a value may move before `sisrbench check` reports it, in the unit; 0 for a cost."""


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


def by_place(remarks: Iterable[tuple[str, str, str, str]]) -> list[str]:
    """Remarks in order, each once for a method, with all datasets and scales that have it.

    Args:
        remarks: method, dataset, scale and remark; the quantities of a method may repeat them.

    >>> by_place([("net", "set5", "x2", "odd"), ("net", "set5", "x3", "odd")])
    ['net, set5 x2 x3: odd']
    """
    found: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
    for method, dataset, scale, remark in remarks:
        found.setdefault((method, remark), {}).setdefault(dataset, {})[scale] = None
    return [
        f"{method}, {', '.join(' '.join([dataset, *places[dataset]]) for dataset in places)}: "
        f"{remark}"
        for (method, remark), places in found.items()
    ]


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


_FORMULA = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"
"""Beginnings of a formula in a spreadsheet, as ASCII and in full width."""
_PASSED_OVER = r"""[\s'"\x00-\x1f\x7f-\x9f\u200b\ufeff]"""
"""Characters that a spreadsheet may drop before it looks for a formula."""
_CELL = r"(?:\A|(?<=[;\t\r\n]))"
"""Where a cell may begin: spreadsheets of some countries split lines at `;`, and some at tabs."""
_RISK = rf"(?={_PASSED_OVER}*(?:[\t\r]|{_FORMULA}))"
_UNMARKED, _MARKED = re.compile(_CELL + _RISK), re.compile(f"{_CELL}'{_RISK}")


def as_cell(text: str) -> str:
    """A text of a table that no spreadsheet takes for a formula: an apostrophe stands before it.

    `from_cell` gives the text back. The apostrophe is among the characters that are passed over, so
    that marking never changes which places have to be marked.

    >>> as_cell("=1+1"), as_cell("-1"), as_cell("a=1")
    ("'=1+1", "'-1", 'a=1')
    """
    return _UNMARKED.sub("'", text)


def from_cell(text: str) -> str:
    """The text that `as_cell` was given.

    >>> from_cell("'=1+1"), from_cell("'tis")
    ('=1+1', "'tis")
    """
    return _MARKED.sub("", text)


def to_csv(results: Iterable[Result]) -> str:
    """CSV text with `COLUMNS`; values have all digits, and missing values are empty.

    A text that a spreadsheet would take for a formula gets an apostrophe, see `as_cell`.
    """
    rows = [[_written(value) for value in astuple(result)] for result in results]
    return "".join(map(_line, [COLUMNS, *rows]))


def _written(value: str | float | None) -> str:
    """A value of a Result as a cell; for a float, the shortest digits that give the float back."""
    if isinstance(value, str):
        return as_cell(value)
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def _line(cells: Sequence[str]) -> str:
    """A line of CSV text."""
    text = io.StringIO()
    # Only this ending makes `csv` quote a carriage return in a name.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def from_csv(path: Path, known: Mapping[str, Quantity]) -> list[Result]:
    """The measured results of a CSV file that `to_csv` wrote.

    Args:
        path: the file.
        known: name of every quantity that can be measured here to its unit and meaning. A row of
            another quantity is read with any unit.

    Raises:
        InputError: the file does not exist, has other columns or no rows, is cut off, has the same
            cell twice, or has a row that no run writes. The message names the line.
    """
    try:
        # utf-8-sig, because a spreadsheet program may have put a byte order mark first.
        with path.open(newline="", encoding="utf-8-sig") as file:
            text = file.read()
        return _from_text(text, known)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a results.csv") from error
    except ValueError as error:
        raise InputError(
            f"{path} is no results.csv: {error}; give a file as `sisrbench run` writes it, or "
            "write this one again"
        ) from error


def _from_text(text: str, known: Mapping[str, Quantity]) -> list[Result]:
    """The results of the text of a CSV file.

    Raises:
        ValueError: as `from_csv`; the message begins with the line, if a line is at fault.
    """
    lines = csv.reader(io.StringIO(text), strict=True)
    header: list[str] = []
    found: list[Result] = []
    line_of: dict[Cell, int] = {}
    line = 1
    try:
        for cells in lines:
            if not header:
                header = cells
                _refuse_columns(header)
            elif cells:  # an empty line has none
                result = _from_row(header, cells)
                quantity = known.get(result.quantity)
                _refuse_impossible(result, quantity)
                # The report of a store keeps the times of every run.
                if quantity is None or not quantity.of_machine:
                    first = line_of.setdefault(cell(result), line)
                    if first != line:
                        raise ValueError(f"the same cell as line {first}")
                found.append(result)
            line = lines.line_num + 1
    except (ValueError, csv.Error) as error:
        if not text.endswith("\n"):  # the likely reason, whatever is wrong with the rest
            raise ValueError("it is cut off in its last line") from error
        raise ValueError(f"line {line}: {error}") from error
    if not text.endswith("\n") and text:
        raise ValueError("it is cut off in its last line")
    if not found:
        raise ValueError("no rows")
    return found


def _refuse_columns(header: Sequence[str]) -> None:
    """Refuse other columns than `COLUMNS`, in any order.

    Raises:
        ValueError: a column is missing, unknown, or there twice.
    """
    for column in header:
        if column not in COLUMNS:
            raise ValueError(f"column {column!r} is unknown")
        if header.count(column) > 1:
            raise ValueError(f"column {column!r} stands twice")
    for column in COLUMNS:
        if column not in header and column != "inference":  # earlier versions did not write it
            raise ValueError(f"no column {column}")


def _from_row(header: Sequence[str], cells: Sequence[str]) -> Result:
    """The Result of a row of a CSV file.

    Raises:
        ValueError: the number of cells is wrong, or a number is no number.
    """
    if len(cells) != len(header):
        raise ValueError(f"it has {len(cells)} cells, {len(header)} are expected")
    row = dict(zip(header, cells, strict=True))
    texts = {column: from_cell(row.get(column, "")) for column in COLUMNS}
    value, spread, scale = (texts.pop(name) for name in ("value", "spread", "scale"))
    if not re.fullmatch("[1-9][0-9]*", scale):
        raise ValueError(f"scale {scale!r} is no whole number above 0")
    if value != "inf" and not _is_number(value):
        raise ValueError(f"value {value!r} is no number")
    if not _is_number(spread) or spread.startswith("-"):
        raise ValueError(f"spread {spread!r} is no number of at least 0")
    return Result(
        **texts,
        scale=int(scale),
        value=float(value) if value else None,
        spread=float(spread) if spread else None,
    )


def _is_number(text: str) -> bool:
    """Whether a text is empty or a finite number, in the digits that Python's `repr` writes."""
    wanted = r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?"
    return not text or (bool(re.fullmatch(wanted, text)) and math.isfinite(float(text)))


def _refuse_impossible(result: Result, quantity: Quantity | None) -> None:
    """Refuse a row that no run writes.

    Args:
        result: the row.
        quantity: unit and meaning of the row's quantity; None if nothing here measures it.

    Raises:
        ValueError: see the messages.
    """
    name = result.quantity
    for column in ("method", "quantity"):
        if not getattr(result, column):
            raise ValueError(f"it names no {column}")
    if result.source != "measured":
        raise ValueError(f"its source is {result.source!r}; 'measured' is expected")
    if quantity is not None and result.unit != quantity.unit:
        raise ValueError(f"{name} in {result.unit!r}; its unit is {quantity.unit!r}")
    if result.value is None:
        if quantity is not None and quantity.metric:
            raise ValueError(f"{name} has no value")
        if not result.note:
            raise ValueError(f"{name} has no value and no note that says why")
    elif math.isinf(result.value) and quantity is not None and not quantity.metric:
        raise ValueError(f"{name} is inf; a cost is finite")
