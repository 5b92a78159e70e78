"""Verdicts counted by paper table, and a sentence that lists the measured methods and datasets."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from reports import marks
from reports.tables import Tables, distinct, scale_name
from reports.template import fill

TITLE = "Summary"
ORDER = 10


@dataclass(frozen=True)
class Counted:
    """The counted verdicts of a paper table."""

    name: str
    title: str
    counts: dict[str, int]
    """Verdict -> number of cells."""

    @property
    def headline(self) -> str:
        """The counts in words."""
        return marks.headline(self.counts)


def render(tables: Tables) -> str | None:
    """The counts and the sentence; a page without verdicts has the sentence only."""
    counted = [
        Counted(str(name), rows["title"].iloc[0] or str(name), marks.counts(rows))
        for name, rows in tables.verdicts.groupby("table", sort=False)
    ]
    return fill(
        "summary",
        counted=counted,
        total=marks.headline(marks.counts(tables.verdicts)),
        marks=marks.MARKS,
        statement=statement(tables.results),
    )


def statement(results: pd.DataFrame) -> str:
    """The measured methods, datasets, scales and protocols, in a sentence."""
    if results.empty:
        return "Nothing was measured."
    methods = distinct(results["method"])
    datasets = [d for d in distinct(results["dataset"]) if d]
    scales = [scale_name(s) for s in sorted(distinct(results["scale"])) if s]
    protocols = [p for p in distinct(results["protocol"]) if p]
    words = f"Measured: {_listed(methods, 'method')}"
    words += f" on {_listed(datasets, 'dataset')}" if datasets else ""
    words += f" at {_listed(scales, 'scale')}" if scales else ""
    words += f" under {_listed(protocols, 'protocol')}" if protocols else ""
    return f"{words}."


def _listed(names: list[str], noun: str) -> str:
    """A count, a noun and the names: "2 scales (x2, x3)"."""
    plural = noun if len(names) == 1 else f"{noun}s"
    return f"{len(names)} {plural} ({', '.join(names)})"
