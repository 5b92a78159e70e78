"""Measured averages: methods down, scales and datasets across, one table per protocol."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from reports import scores
from reports.scores import Gap, Place, Score
from reports.tables import Method, Row, Tables, distinct, latest, methods, scale_name
from reports.template import fill

TITLE = "Averages"
ORDER = 40


@dataclass(frozen=True)
class Span:
    """A dataset and its scales: neighbouring columns."""

    dataset: str
    scales: list[str]


@dataclass(frozen=True)
class Averages:
    """One table: each line is a method and its cells, a cell one or two scores."""

    protocol: str
    title: str
    spans: list[Span]
    lines: list[tuple[Method, list[list[Score]]]]
    gaps: list[Gap]


def render(tables: Tables) -> str | None:
    """The tables of averages."""
    results = latest(tables.results)
    found = results[(results["dataset"] != "") & (results["image"] == "")]
    made = [
        averages(of_pair, pair)
        for _, of_protocol in found.groupby(["protocol", "machine"], sort=False)
        for pair in scores.pairs(of_protocol["quantity"])
        for of_pair in [of_protocol[of_protocol["quantity"].isin(pair)]]
    ]
    return fill("averages", tables=made) if made else None


def averages(results: pd.DataFrame, pair: tuple[str, ...]) -> Averages:
    """One protocol's averages of one quantity, or of PSNR and SSIM."""
    datasets = distinct(results["dataset"])
    columns = [
        (dataset, scale)
        for dataset in datasets
        for scale in sorted(distinct(results.loc[results["dataset"] == dataset, "scale"]))
    ]
    index = scores.index(results)
    lines = methods(results)
    by_column = [_column(index, pair, lines, dataset, scale) for dataset, scale in columns]
    machine = results["machine"].iloc[0]
    title = scores.title(pair, scores.units(results))
    return Averages(
        protocol=results["protocol"].iloc[0],
        title=f"{title}, on {machine}" if machine else title,
        spans=[Span(d, [scale_name(s) for e, s in columns if e == d]) for d in datasets],
        lines=[(method, [column[i] for column in by_column]) for i, method in enumerate(lines)],
        gaps=scores.gaps(results),
    )


def _column(
    index: dict[Place, Row], pair: tuple[str, ...], lines: list[Method], dataset: str, scale: int
) -> list[list[Score]]:
    """Each method's cell in one column, ranked against the others."""
    ranked = [
        scores.ranked(key, [index.get((*method, scale, dataset, "", key)) for method in lines])
        for key in pair
    ]
    return scores.cells(ranked)
