"""Paper tables: one CSV file each, a file of Results whose source is a paper.

Header lines `# title:`, `# source:` and `# labels: method=As printed; ...`, then a row a claim.
Values stand as printed, since the digits say how exact they are; K, M and G may follow a count. A
claim that contradicts its own paper has a note that begins with `inconsistent:`. Scale 0 is a claim
that names no scale. Two more columns, `operation` (`-` or `/`) and `other`, may make a claim the
difference or ratio of two methods; `labels` calls it `method - other`.
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
    """A published Result, and the digits that were printed."""

    result: Result
    printed: str
    operation: str = ""
    """`-` or `/` where the claim is the difference or ratio of two methods; else empty."""
    other: str = ""
    """The second method; the first is the Result's."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that have to be measured: one, or two."""
        return (self.result.method, self.other) if self.other else (self.result.method,)

    @property
    def text(self) -> str:
        """The method, or `method - other`, as a table's `labels` call it."""
        return " ".join(filter(None, (self.result.method, self.operation, self.other)))


@dataclass(frozen=True)
class PaperTable:
    """One table of one paper."""

    name: str
    title: str
    source: str
    labels: dict[str, str]
    """Method to its name as the paper prints it."""
    claims: tuple[Claim, ...]


_SUFFIXES = {"K": 3, "M": 6, "G": 9}


def number(printed: str) -> Decimal:
    """The number that was printed, its last digit's place kept; K, M and G are 1e3, 1e6 and 1e9.

    >>> number("33.660"), number("665K")
    (Decimal('33.660'), Decimal('6.65E+5'))

    Raises:
        InputError: it is no finite number.
    """
    digits = printed[:-1] if printed[-1:] in _SUFFIXES else printed
    try:
        found = Decimal(digits).scaleb(_SUFFIXES.get(printed[-1:], 0))
    except InvalidOperation:
        found = Decimal("nan")
    if not found.is_finite():
        raise InputError(f"a claim's value is {printed!r}; give a number as printed")
    return found


def half_digit(printed: str) -> float:
    """Half a unit of the last printed digit: how far the value meant can be from the one printed.

    >>> half_digit("33.66"), half_digit("30"), half_digit("1.5M")
    (0.005, 0.5, 50000.0)

    Raises:
        InputError: it is no number.
    """
    return float(Decimal(5).scaleb(int(number(printed).as_tuple().exponent) - 1))


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
            raise InputError(f"{path}, row {number}: {error}; mend the row") from error
    return PaperTable(
        name, header.get("title", name), header.get("source", ""), labels, tuple(claims)
    )


def _claim(row: dict[str, str], source: str) -> Claim:
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
