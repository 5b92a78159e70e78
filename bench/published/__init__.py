"""Paper tables: one CSV file each, a file of Results whose source is a paper.

Header lines `# title:`, `# source:` and `# labels: method=As printed; ...`, then a row a claim.
Values stand as printed, since the digits say how exact they are. A claim that contradicts its own
paper has a note that begins with `inconsistent:`. Scale 0 is a claim that names no scale. A method
`a - b` or `a / b` is the difference or ratio of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from bench import annotated_csv
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


@dataclass(frozen=True)
class Claim:
    """A published Result, and the digits that were printed."""

    result: Result
    printed: str


@dataclass(frozen=True)
class PaperTable:
    """One table of one paper."""

    name: str
    title: str
    source: str
    labels: dict[str, str]
    """Method to its name as the paper prints it."""
    claims: tuple[Claim, ...]


def half_digit(printed: str) -> float:
    """Half a unit of the last printed digit: how far the value meant can be from the one printed.

    >>> half_digit("33.66"), half_digit("30")
    (0.005, 0.5)

    Raises:
        InputError: it is no number.
    """
    try:
        exponent = Decimal(printed).as_tuple().exponent
    except InvalidOperation:
        raise InputError(f"a claim's value is {printed!r}; give a number as printed") from None
    return float(Decimal(5).scaleb(int(exponent) - 1))


def names() -> list[str]:
    """Names of all paper tables, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def load(name: str) -> PaperTable:
    """The paper table of that name.

    Raises:
        InputError: there is none, or a row is not a claim.
    """
    if name not in names():
        raise unknown("table", name, names())
    path = FOLDER / f"{name}.csv"
    header, rows = annotated_csv.read(path, COLUMNS)
    labels = {}
    for pair in filter(None, header.get("labels", "").split(";")):
        method, _, label = pair.strip().partition("=")
        labels[method] = label
    claims = []
    for number, row in enumerate(rows, start=1):
        try:
            claims.append(_claim(row, header.get("source", "")))
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}; mend the row") from error
    return PaperTable(
        name, header.get("title", name), header.get("source", ""), labels, tuple(claims)
    )


def _claim(row: dict[str, str], source: str) -> Claim:
    return Claim(
        Result(
            method=row["method"],
            weights=row["weights"],
            scale=int(row["scale"]),
            dataset=row["dataset"],
            image=row["image"],
            protocol=row["protocol"],
            quantity=row["quantity"],
            value=float(row["value"]),
            unit=row["unit"],
            spread=half_digit(row["value"]),
            source=source,
            note=row["note"],
        ),
        row["value"],
    )
