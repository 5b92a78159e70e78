"""Paper tables in the paper's layout, with the measured value below each printed value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from reports import marks, quantities
from reports.marks import Mark, Reason
from reports.scores import where
from reports.tables import Row, Tables, distinct, rows, scale_name
from reports.template import fill

TITLE = "Verdicts"
ORDER = 20

Column: TypeAlias = tuple[str, str, str]
"""A column of a paper table: the printed label, the method and the weights."""

Place: TypeAlias = tuple[str, int, str]
"""A line of a paper table: dataset, scale and image; image '' for an average."""


@dataclass(frozen=True)
class JudgedCell:
    """A claim with measured value and verdict."""

    printed: str
    measured: str
    """'' if nothing was measured."""
    difference: str
    """'' if nothing was measured or the claim was reproduced."""
    mark: Mark
    tooltip: str


@dataclass(frozen=True)
class Line:
    """An image, or the average, with a cell per method."""

    name: str
    average: bool
    cells: list[list[JudgedCell]]
    """Usually one claim per cell; several if the paper makes several claims on the same value."""


@dataclass(frozen=True)
class Group:
    """The lines of a dataset and scale."""

    name: str
    """'' if the lines name dataset and scale themselves."""
    lines: list[Line]


@dataclass(frozen=True)
class Heading:
    """The head of a column."""

    label: str
    protocol: str
    """'' unless the table mixes protocols."""
    tooltip: str


@dataclass(frozen=True)
class Grid:
    """The claims of a paper table on a quantity: images down, methods across."""

    title: str
    note: str
    """The tolerance."""
    headings: list[Heading]
    groups: list[Group]


@dataclass(frozen=True)
class Entry:
    """A claim without a dataset, as a line of a list."""

    label: str
    scale: str
    quantity: str
    cell: JudgedCell
    difference: str
    tolerance: str


@dataclass(frozen=True)
class PaperVerdicts:
    """A paper table with verdicts."""

    name: str
    title: str
    source: str
    headline: str
    grids: list[Grid]
    entries: list[Entry]
    reasons: list[Reason]


def render(tables: Tables) -> str | None:
    """The paper tables with their verdicts; None without verdicts."""
    if tables.verdicts.empty:
        return None
    papers = [paper_table(found) for _, found in tables.verdicts.groupby("table", sort=False)]
    return fill("verdicts", papers=papers, marks=marks.MARKS)


def paper_table(verdicts: pd.DataFrame) -> PaperVerdicts:
    """A paper table as a grid per quantity and a list of the claims without a dataset."""
    first = verdicts.iloc[0]
    on_images = verdicts[verdicts["dataset"] != ""]
    return PaperVerdicts(
        name=first["table"],
        title=first["title"] or first["table"],
        source=first["source"],
        headline=marks.headline(marks.counts(verdicts)),
        grids=[grid(found) for _, found in on_images.groupby("quantity", sort=False)],
        entries=[entry(row) for row in rows(verdicts[verdicts["dataset"] == ""])],
        reasons=marks.reasons(verdicts),
    )


def grid(verdicts: pd.DataFrame) -> Grid:
    """The claims on a quantity, in the paper's layout."""
    found: dict[Place, dict[Column, list[Row]]] = {}
    for row in rows(verdicts):
        place = (row["dataset"], row["scale"], row["image"])
        found.setdefault(place, {}).setdefault(column(row), []).append(row)
    columns = distinct(column(row) for row in rows(verdicts))
    key, unit = verdicts["quantity"].iloc[0], verdicts["unit"].iloc[0]
    return Grid(
        title=quantities.heading(key, unit),
        note=tolerance_note(verdicts["tolerance"], unit),
        headings=headings(verdicts, columns),
        groups=groups(found, columns),
    )


def column(row: Row) -> Column:
    """The column of a claim."""
    return marks.name(row), marks.method(row), row["weights"]


def headings(verdicts: pd.DataFrame, columns: list[Column]) -> list[Heading]:
    """The heads of the columns, with protocols if the table mixes several."""
    protocols: dict[Column, list[str]] = {}
    for row in rows(verdicts):
        protocols.setdefault(column(row), []).append(row["protocol"])
    mixed = verdicts["protocol"].nunique() > 1
    made = []
    for label, method, weights in columns:
        used = ", ".join(distinct(protocols[label, method, weights]))
        facts = (f"method {method}", weights and f"weights {weights}", used and f"protocol {used}")
        made.append(Heading(label, used if mixed else "", "; ".join(filter(None, facts))))
    return made


def groups(found: dict[Place, dict[Column, list[Row]]], columns: list[Column]) -> list[Group]:
    """The lines by dataset and scale, with the average last in each group.

    A table without images has a line per dataset and scale, and no group has a name.

    Args:
        found: the claims of each line, by column.
        columns: all columns, in order.
    """
    only_averages = not any(image for _, _, image in found)
    by_name: dict[str, list[Place]] = {}
    for dataset, scale, image in found:
        name = dataset if only_averages else where(dataset, scale)
        by_name.setdefault(name, []).append((dataset, scale, image))
    made = []
    for name, places in by_name.items():
        lines = [
            Line(
                where(dataset, scale) if only_averages else image or "average",
                not image and not only_averages,
                [[cell(row) for row in found[dataset, scale, image].get(c, [])] for c in columns],
            )
            for dataset, scale, image in sorted(places, key=_average_last)
        ]
        made.append(Group("" if only_averages else name, lines))
    return made


def _average_last(place: Place) -> bool:
    return not place[2]


def cell(row: Row) -> JudgedCell:
    """A claim as a cell shows it. The difference is shown unless the claim was reproduced."""
    mark = marks.mark(row["verdict"])
    return JudgedCell(
        printed=row["printed"] or quantities.written(row["quantity"], row["claimed"]),
        measured=measured(row),
        difference="" if mark is marks.REPRODUCED else difference(row),
        mark=mark,
        tooltip=tooltip(row),
    )


def measured(row: Row) -> str:
    """The measured value with the paper's number of decimals; '' if nothing was measured."""
    if math.isnan(row["measured"]):
        return ""
    return quantities.like_printed(row["printed"], row["quantity"], row["measured"])


def difference(row: Row) -> str:
    """Measured minus claimed; '' if nothing was measured."""
    if math.isnan(row["difference"]):
        return ""
    # One decimal more than printed: a tolerance is often half a unit of the last printed digit.
    return quantities.signed(row["difference"], quantities.decimals_of(row["printed"]) + 1)


def tooltip(row: Row) -> str:
    """All facts of a claim in a line."""
    unit = row["unit"]
    facts = [
        marks.claim_place(row),
        f"printed {row['printed']} {unit}".rstrip(),
        f"measured {quantities.exact(row['quantity'], row['measured'], unit)}"
        if not math.isnan(row["measured"])
        else "",
        f"difference {difference(row)} {unit}".rstrip() if difference(row) else "",
        f"protocol {row['protocol']}" if row["protocol"] else "",
        f"{row['verdict']}: {row['reason']}" if row["reason"] else row["verdict"],
    ]
    return "; ".join(filter(None, facts))


def entry(row: Row) -> Entry:
    """A claim without a dataset, as a line of a list."""
    return Entry(
        label=marks.name(row),
        scale=scale_name(row["scale"]),
        quantity=quantities.heading(row["quantity"], row["unit"]),
        cell=cell(row),
        difference=difference(row),
        tolerance=quantities.tolerance(row["tolerance"]),
    )


def tolerance_note(tolerances: Iterable[float], unit: str) -> str:
    """The tolerance of a grid's claims, or the range of their tolerances; '' if none has one.

    >>> tolerance_note([0.005, 0.005], "dB")
    'tolerance ±0.005 dB'
    """
    known = sorted({value for value in tolerances if not math.isnan(value)})
    if not known:
        return ""
    ends = distinct(quantities.tolerance(value) for value in (known[0], known[-1]))
    return f"tolerance {' to '.join(ends)} {unit}".rstrip()
