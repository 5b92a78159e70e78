"""Cells of measured values: PSNR and SSIM together, the best and second-best marked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from bench.result import doubts, metric_and_channel
from reports import quantities
from reports.tables import Row, distinct, rows, scale_name


@dataclass(frozen=True)
class Score:
    """One value in a cell."""

    text: str
    exact: str
    """The tooltip: more digits, the unit and why a time is approximate, or the reason why no value
    was measured."""
    spread: str = ""
    rank: str = ""
    """`best`, `second` or ''."""


Place: TypeAlias = tuple[str, str, str, int, str, str, str]
"""Method, weights, inference, scale, dataset, image, quantity."""


def index(results: pd.DataFrame) -> dict[Place, Row]:
    """Rows of results by place. All rows must have the same protocol and machine."""
    return {result_place(row): row for row in rows(results)}


def result_place(row: Row) -> Place:
    """The place of a result within one protocol and machine."""
    return (
        row["method"],
        row["weights"],
        row["inference"],
        row["scale"],
        row["dataset"],
        row["image"],
        row["quantity"],
    )


def pairs(keys: Iterable[str]) -> list[tuple[str, ...]]:
    """Quantities grouped by cell: PSNR and SSIM of the same channel share one cell.

    >>> pairs(["ssim_y", "psnr_y", "psnr_rgb", "blur"])
    [('psnr_y', 'ssim_y'), ('psnr_rgb',), ('blur',)]
    """
    present = distinct(keys)
    grouped = []
    for key in present:
        family, channel = metric_and_channel(key)
        psnr, ssim = f"psnr_{channel}", f"ssim_{channel}"
        together = family in ("psnr", "ssim") and psnr in present and ssim in present
        grouped.append((psnr, ssim) if together else (key,))
    return distinct(grouped)


def ranks(key: str, values: Sequence[float], better: str) -> list[str]:
    """`best`, `second` or '' for each value, ranked by the printed digits.

    Values that print the same digits share a rank. With fewer than two different values nothing is
    marked.

    Args:
        key: the quantity.
        values: NaN for a value that was not measured.
        better: `higher` or `lower`; '' marks nothing.

    >>> ranks("psnr_y", [33.66, 36.341, 36.344, 35.78], "higher")
    ['', 'best', 'best', 'second']
    """
    printed = [quantities.written(key, value) for value in values]
    measured = {
        text: value for text, value in zip(printed, values, strict=True) if not math.isnan(value)
    }
    ordered = sorted(measured, key=lambda text: measured[text], reverse=better == "higher")
    if not better or len(ordered) < 2:
        return [""] * len(values)
    names = dict(zip(ordered[:2], ("best", "second"), strict=True))
    return [names.get(text, "") for text in printed]


def score(key: str, row: Row | None, rank: str = "") -> Score:
    """A result as a cell shows it.

    Args:
        key: the quantity.
        row: None if the value was never asked for; a row without a value has the reason as note.
        rank: `best`, `second` or ''.
    """
    if row is None:
        return Score(quantities.UNMEASURED, "not measured")
    if math.isnan(row["value"]):
        return Score(quantities.UNMEASURED, f"not measured: {why_unmeasured(row['note'])}")
    text = quantities.written(key, row["value"])
    spread = "" if math.isnan(row["spread"]) else quantities.spread(text, row["spread"])
    exact = "; ".join([quantities.exact(key, row["value"], row["unit"]), *doubts(row["note"])])
    mark = quantities.APPROXIMATE if doubts(row["note"]) else ""
    return Score(mark + text, exact, spread, rank)


def ranked(key: str, found: Sequence[Row | None]) -> list[Score]:
    """Scores of several methods, ranked against each other.

    Args:
        key: the quantity.
        found: a row per method, all of the same dataset, scale and protocol; None where a method
            was not measured.
    """
    values = [math.nan if row is None else row["value"] for row in found]
    # All rows are of one quantity, so any of them says which way is better.
    better = next((row["better"] for row in found if row is not None), "")
    marked = zip(found, ranks(key, values, better), strict=True)
    return [score(key, row, rank) for row, rank in marked]


def cells(columns: Iterable[Sequence[Score]]) -> list[list[Score]]:
    """Scores of several quantities side by side, a cell per method.

    A cell in which nothing was measured shows one dash instead of several.

    Args:
        columns: for each quantity, a score per method.
    """
    made = []
    for cell in zip(*columns, strict=True):
        measured = any(score.text != quantities.UNMEASURED for score in cell)
        made.append(list(cell) if measured else [cell[0]])
    return made


def title(keys: Iterable[str], units: dict[str, str]) -> str:
    """The title of a table by the content of its cells: "PSNR (Y), dB / SSIM (Y)"."""
    return " / ".join(quantities.heading(key, units.get(key, "")) for key in keys)


def units(results: pd.DataFrame) -> dict[str, str]:
    """The unit of each quantity."""
    return dict(zip(results["quantity"], results["unit"], strict=True))


@dataclass(frozen=True)
class Gap:
    """A reason for missing values."""

    reason: str
    count: int
    """The number of missing values."""
    methods: str
    """The methods concerned, separated by commas."""


def why_unmeasured(note: str) -> str:
    """The reason in the note of a result without a value, without the words `not measured`.

    >>> why_unmeasured("not measured: operator x is unknown"), why_unmeasured("")
    ('operator x is unknown', 'no reason given')
    """
    return note.removeprefix("not measured: ") or "no reason given"


def gaps(results: pd.DataFrame) -> list[Gap]:
    """The reasons for values that could not be measured, most frequent first."""
    grouped: dict[str, list[Row]] = {}
    for row in rows(results[results["value"].isna()]):
        grouped.setdefault(why_unmeasured(row["note"]), []).append(row)
    found = [
        Gap(reason, len(cells), ", ".join(distinct(row["method"] for row in cells)))
        for reason, cells in grouped.items()
    ]
    return sorted(found, key=lambda gap: -gap.count)


def where(dataset: str, scale: int) -> str:
    """A dataset and a scale as a heading: "Set5 x3"."""
    return f"{dataset} {scale_name(scale)}".strip()
