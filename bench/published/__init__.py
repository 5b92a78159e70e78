"""Registry of paper tables: each CSV file in this folder has the Results that a paper printed.

The header lines are `# title:`, `# source:` and `# labels: method=As printed; ...`. A row for each
claim follows. Values are written as printed, because the number of digits says how exact a value
is. K, M or G may follow a count. If a claim contradicts the same paper, the note begins with
`inconsistent:`. Scale 0 means that the claim names no scale.

Two more columns, `operation` (`-` or `/`) and `other`, make a claim the difference or ratio of two
methods. In `labels`, the name of this claim is `method - other`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from bench.files import annotated_csv
from bench.result import Result
from zoo.errors import InputError, unknown

FOLDER = Path(__file__).parent
COLUMNS = (
    "method",
    "weights",
    "scale",
    "dataset",
    "image",
    "protocol",
    "quantity",
    "value",
    "unit",
    "note",
)


OPTIONAL_COLUMNS = ("operation", "other")


@dataclass(frozen=True)
class Claim:
    """A published Result, and the digits as printed."""

    result: Result
    printed: str
    operation: str = ""
    """`-` or `/` if the claim is the difference or ratio of two methods; else empty."""
    other: str = ""
    """The second method of a difference or ratio; the first is the method of `result`."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods to measure: a single method, or both methods of a difference or ratio."""
        return (self.result.method, self.other) if self.other else (self.result.method,)

    @property
    def text(self) -> str:
        """The name of the claim in a table's `labels`: the method, or `method - other`."""
        return " ".join(filter(None, (self.result.method, self.operation, self.other)))


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper."""

    name: str
    title: str
    source: str
    labels: dict[str, str]
    """Method to the name that the paper prints."""
    claims: tuple[Claim, ...]


_SUFFIXES = {"K": 3, "M": 6, "G": 9}


def number(printed: str) -> Decimal:
    """The printed number with every printed digit; K, M and G mean 1e3, 1e6 and 1e9.

    >>> number("33.660"), number("665K")
    (Decimal('33.660'), Decimal('6.65E+5'))

    Raises:
        InputError: the text is no finite number.
    """
    digits = printed[:-1] if printed[-1:] in _SUFFIXES else printed
    try:
        # Decimal, because a float forgets trailing zeros, which say how exact the value is.
        found = Decimal(digits).scaleb(_SUFFIXES.get(printed[-1:], 0))
    except InvalidOperation:
        found = Decimal("nan")
    if not found.is_finite():
        raise InputError(f"a claim's value is {printed!r}; give a number as printed")
    return found


def half_digit(printed: str) -> float:
    """Half a unit of the last printed digit: how far rounding can move a printed value.

    >>> half_digit("33.66"), half_digit("30"), half_digit("1.5M")
    (0.005, 0.5, 50000.0)

    Raises:
        InputError: the text is no number.
    """
    return float(Decimal(5).scaleb(int(number(printed).as_tuple().exponent) - 1))


def names() -> list[str]:
    """Names of all paper tables, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def load(name: str) -> PaperTable:
    """The paper table called `name`.

    Raises:
        InputError: no paper table has this name, or a row is not a valid claim.
    """
    if name not in names():
        raise unknown("table", name, names())
    path = FOLDER / f"{name}.csv"
    header, rows = annotated_csv.read(path, COLUMNS, OPTIONAL_COLUMNS)
    labels = {}
    for pair in filter(None, header.get("labels", "").split(";")):
        method, _, label = pair.strip().partition("=")
        labels[method] = label
    claims = []
    for number, row in enumerate(rows, start=1):
        try:
            claims.append(_claim(row, header.get("source", "")))
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}; fix the row") from error
    return PaperTable(
        name, header.get("title", name), header.get("source", ""), labels, tuple(claims)
    )


def _claim(row: dict[str, str], source: str) -> Claim:
    """The claim in a row.

    Raises:
        ValueError: a number is no number, or only one of `operation` and `other` is given.
    """
    operation, other = row.get("operation", ""), row.get("other", "")
    if operation not in ("", "-", "/") or bool(operation) != bool(other):
        raise InputError(
            f"operation {operation!r} with other {other!r}: give - or / and the second method, "
            "or neither"
        )
    return Claim(
        Result(
            method=row["method"],
            weights=row["weights"],
            scale=int(row["scale"]),
            dataset=row["dataset"],
            image=row["image"],
            protocol=row["protocol"],
            quantity=row["quantity"],
            value=float(number(row["value"])),
            unit=row["unit"],
            spread=half_digit(row["value"]),
            source=source,
            note=row["note"],
        ),
        row["value"],
        operation,
        other,
    )
