"""What each method costs: multiplies, parameters and time, at each scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from reports import quantities, scores
from reports.scores import Score
from reports.tables import Method, Row, Tables, distinct, latest, methods, rows, scale_name
from reports.template import fill

TITLE = "Costs"
ORDER = 45

Column: TypeAlias = tuple[str, str, str, str]
"""A quantity, and the protocol, machine and inference that it was measured under."""

_FIRST = tuple(quantities.COSTS)
"""The order of the columns; other quantities follow in order of appearance."""


@dataclass(frozen=True)
class Heading:
    """A column's head."""

    name: str
    condition: str
    """Protocol, machine and inference; empty where the quantity has but one column of them."""


@dataclass(frozen=True)
class Block:
    """One method: a line for each scale."""

    method: Method
    lines: list[tuple[str, list[Score]]]


def render(tables: Tables) -> str | None:
    """The table of costs."""
    results = latest(tables.results)
    found = results[(results["dataset"] == "") & (results["image"] == "")]
    if found.empty:
        return None
    columns = sorted(distinct(column(row) for row in rows(found)), key=_position)
    return fill(
        "costs",
        headings=headings(found, columns),
        blocks=[block(found, method, columns) for method in methods(found.assign(inference=""))],
        gaps_found=scores.gaps(found),
        timed=bool((found["unit"] == "s").any()),
    )


def column(row: Row) -> Column:
    """The column that a cost stands in."""
    return row["quantity"], row["protocol"], row["machine"], row["inference"]


def _position(key: Column) -> int:
    return _FIRST.index(key[0]) if key[0] in _FIRST else len(_FIRST)


def headings(results: pd.DataFrame, columns: list[Column]) -> list[Heading]:
    """The columns' heads; a protocol is named where one quantity has several."""
    units = scores.units(results)
    protocols: dict[str, set[str]] = {}
    for key, protocol, _, _ in columns:
        protocols.setdefault(key, set()).add(protocol)
    made = []
    for key, protocol, machine, inference in columns:
        named = protocol if len(protocols[key]) > 1 else ""
        condition = ", ".join(filter(None, (named, machine, inference)))
        made.append(Heading(quantities.heading(key, units[key]), condition))
    return made


def block(results: pd.DataFrame, method: Method, columns: list[Column]) -> Block:
    """One method's costs at each scale."""
    own = list(rows(results[(results["method"] == method[0]) & (results["weights"] == method[1])]))
    found = {(row["scale"], *column(row)): row for row in own}
    scales = sorted({row["scale"] for row in own})
    return Block(
        method,
        [
            (
                scale_name(scale),
                [scores.score(key[0], found.get((scale, *key))) for key in columns],
            )
            for scale in scales
        ],
    )
