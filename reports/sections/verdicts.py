"""Each paper table as the paper lays it out, with the measured value under the printed one."""

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
"""A column of a paper table: the label that the paper prints, our method, its weights."""


Place: TypeAlias = tuple[str, int, str]
"""A line of a paper table: dataset, scale and image; no image where it is an average."""


@dataclass(frozen=True)
class JudgedCell:
    """A claim and what was measured beside it."""

    printed: str
    measured: str
    difference: str
    mark: Mark
    tooltip: str


@dataclass(frozen=True)
class Line:
    """One image, or the average, across all methods; a method may have several claims there."""

    name: str
    average: bool
    cells: list[list[JudgedCell]]


@dataclass(frozen=True)
class Group:
    """The lines of one dataset and scale; without a name where each line says both itself."""

    name: str
    lines: list[Line]


@dataclass(frozen=True)
class Heading:
    """A column's head."""

    label: str
    protocol: str
    """Empty unless the block's columns differ in it."""
    tooltip: str


@dataclass(frozen=True)
class Grid:
    """One quantity of a paper table: images down, methods across."""

    title: str
    note: str
    headings: list[Heading]
    groups: list[Group]


@dataclass(frozen=True)
class Entry:
    """A claim that belongs to no dataset."""

    label: str
    scale: str
    quantity: str
    cell: JudgedCell
    difference: str
    tolerance: str


@dataclass(frozen=True)
class PaperVerdicts:
    """A paper table with its verdicts."""

    name: str
    title: str
    source: str
    headline: str
    grids: list[Grid]
    entries: list[Entry]
    reasons: list[Reason]


def render(tables: Tables) -> str | None:
    """One table of verdicts per paper table."""
    if tables.verdicts.empty:
        return None
    papers = [paper_table(found) for _, found in tables.verdicts.groupby("table", sort=False)]
    return fill("verdicts", papers=papers, marks=marks.MARKS)


def paper_table(verdicts: pd.DataFrame) -> PaperVerdicts:
    """One paper table: a grid for each quantity with a dataset, a list for everything else."""
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
    """The claims on one quantity, laid out as the paper does."""
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
    """The column that a claim stands in."""
    return marks.name(row), marks.method(row), row["weights"]


def headings(verdicts: pd.DataFrame, columns: list[Column]) -> list[Heading]:
    """The columns' heads; they name protocols only where a table mixes them."""
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
    """The lines by dataset and scale, the average last in each.

    A table of averages alone has a line for each scale, grouped by dataset.
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
    """A claim as its cell shows it; a difference only where there is something to explain."""
    mark = marks.mark(row["verdict"])
    return JudgedCell(
        printed=row["printed"] or quantities.written(row["quantity"], row["claimed"]),
        measured=measured(row),
        difference="" if mark is marks.REPRODUCED else difference(row),
        mark=mark,
        tooltip=tooltip(row),
    )


def measured(row: Row) -> str:
    """The measured value with the paper's number of decimals; nothing where there is none."""
    if math.isnan(row["measured"]):
        return ""
    return quantities.like_printed(row["printed"], row["quantity"], row["measured"])


def difference(row: Row) -> str:
    """Measured minus claimed, one decimal finer than printed."""
    if math.isnan(row["difference"]):
        return ""
    return quantities.signed(row["difference"], quantities.decimals_of(row["printed"]) + 1)


def tooltip(row: Row) -> str:
    """Everything that is known about a claim, in a line."""
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
    """A claim as a line of a list."""
    return Entry(
        label=marks.name(row),
        scale=scale_name(row["scale"]),
        quantity=quantities.heading(row["quantity"], row["unit"]),
        cell=cell(row),
        difference=difference(row),
        tolerance=quantities.tolerance(row["tolerance"]),
    )


def tolerance_note(tolerances: Iterable[float], unit: str) -> str:
    """The tolerance, or the range of tolerances, that the cells were judged by.

    >>> tolerance_note([0.005, 0.005], "dB")
    'tolerance ±0.005 dB'
    """
    known = sorted({value for value in tolerances if not math.isnan(value)})
    if not known:
        return ""
    ends = distinct(quantities.tolerance(value) for value in (known[0], known[-1]))
    return f"tolerance {' to '.join(ends)} {unit}".rstrip()
