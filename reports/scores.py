"""Cells of measured values: PSNR and SSIM side by side, the best and second marked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from bench.result import metric_and_channel
from reports import quantities
from reports.tables import Row, distinct, rows, scale_name


@dataclass(frozen=True)
class Score:
    """One value in a cell."""

    text: str
    exact: str
    """All its digits and its unit, or why there is no value: the tooltip."""
    spread: str = ""
    rank: str = ""
    """`best`, `second` or nothing."""


Place: TypeAlias = tuple[str, str, str, int, str, str, str]
"""Method, weights, inference, scale, dataset, image, quantity."""


def index(results: pd.DataFrame) -> dict[Place, Row]:
    """Rows of results by their place; of one protocol and machine, so no two share a place."""
    return {result_place(row): row for row in rows(results)}


def result_place(row: Row) -> Place:
    """Where a result stands within one protocol."""
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
    """Quantities that share a cell: PSNR and SSIM of one channel; others stand alone.

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
    """`best`, `second` or '' for each value, as a reader of the printed digits would rank them.

    Nothing is marked unless there are two different values to compare.

    Args:
        key: the quantity.
        values: NaN where there is none.
        better: `higher`, `lower`, or '' where neither is better.

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
    """What a cell shows of a result; a cell nobody measured says so."""
    if row is None:
        return Score(quantities.UNMEASURED, "not measured")
    if math.isnan(row["value"]):
        return Score(quantities.UNMEASURED, f"not measured: {row['note'] or 'no reason given'}")
    text = quantities.written(key, row["value"])
    spread = "" if math.isnan(row["spread"]) else quantities.spread(text, row["spread"])
    return Score(text, quantities.exact(key, row["value"], row["unit"]), spread, rank)


def ranked(key: str, found: Sequence[Row | None]) -> list[Score]:
    """Scores that compete with each other: one quantity, one dataset, several methods."""
    values = [math.nan if row is None else row["value"] for row in found]
    better = next((row["better"] for row in found if row is not None), "")
    marked = zip(found, ranks(key, values, better), strict=True)
    return [score(key, row, rank) for row, rank in marked]


def cells(columns: Iterable[Sequence[Score]]) -> list[list[Score]]:
    """Scores of several quantities side by side; one dash where none of them was measured."""
    made = []
    for cell in zip(*columns, strict=True):
        measured = any(score.text != quantities.UNMEASURED for score in cell)
        made.append(list(cell) if measured else [cell[0]])
    return made


def title(keys: Iterable[str], units: dict[str, str]) -> str:
    """What a table's cells hold: "PSNR (Y), dB / SSIM (Y)"."""
    return " / ".join(quantities.heading(key, units.get(key, "")) for key in keys)


def units(results: pd.DataFrame) -> dict[str, str]:
    """The unit of each quantity."""
    return dict(zip(results["quantity"], results["unit"], strict=True))


@dataclass(frozen=True)
class Gap:
    """Why values are missing."""

    reason: str
    count: int
    methods: str


def gaps(results: pd.DataFrame) -> list[Gap]:
    """The distinct reasons for values that could not be measured, most frequent first."""
    grouped: dict[str, list[Row]] = {}
    for row in rows(results[results["value"].isna()]):
        grouped.setdefault(row["note"] or "no reason given", []).append(row)
    found = [
        Gap(reason, len(cells), ", ".join(distinct(row["method"] for row in cells)))
        for reason, cells in grouped.items()
    ]
    return sorted(found, key=lambda gap: -gap.count)


def where(dataset: str, scale: int) -> str:
    """A dataset and a scale as a heading: "Set5 x3"."""
    return f"{dataset} {scale_name(scale)}".strip()
