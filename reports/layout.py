"""Rows, columns and cells of the tables of averages and costs, for pages and for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from bench.result import by_place, doubts, remarks_on_average
from reports import quantities, scores
from reports.scores import Gap, Place, Score
from reports.tables import Method, Row, distinct, methods, rows, scale_name


@dataclass(frozen=True)
class Span:
    """A dataset with its scales: neighbouring columns."""

    dataset: str
    scales: list[str]


@dataclass(frozen=True)
class AverageTable:
    """Averages of a quantity, or of PSNR and SSIM, under a protocol."""

    protocol: str
    title: str
    spans: list[Span]
    lines: list[tuple[Method, list[list[Score]]]]
    """A line per method, a cell per dataset and scale, one or two scores per cell."""
    gaps: list[Gap]


CostColumn: TypeAlias = tuple[str, str, str, str]
"""A column of costs: quantity, protocol, machine and inference."""


@dataclass(frozen=True)
class Heading:
    """The head of a column of costs."""

    name: str
    condition: str
    """Protocol, machine and inference, as far as the column has them.

    A protocol is named only if the quantity has several.
    """


@dataclass(frozen=True)
class Block:
    """The lines of a method, by scale."""

    method: Method
    lines: list[tuple[str, list[Score]]]


@dataclass(frozen=True)
class CostTable:
    """Costs: methods and scales down, quantities across."""

    headings: list[Heading]
    blocks: list[Block]
    gaps: list[Gap]
    doubts: list[str]
    """Why times are approximate, each with its method and scale."""


def average_tables(results: pd.DataFrame) -> list[AverageTable]:
    """The tables of averages by protocol and quantity; PSNR and SSIM share a table.

    Args:
        results: from `reports.tables.latest`; rows that are no averages are ignored.
    """
    averages = results[(results["dataset"] != "") & (results["image"] == "")]
    return [
        _average_table(of_protocol[of_protocol["quantity"].isin(pair)], pair)
        for _, of_protocol in averages.groupby(["protocol", "machine"], sort=False)
        for pair in scores.pairs(of_protocol["quantity"])
    ]


def average_remarks(results: pd.DataFrame) -> list[str]:
    """Remarks on averages, each with its method, and the datasets and scales that have it.

    Args:
        results: from `reports.tables.latest`; rows that are no averages are ignored.
    """
    averages = results[(results["dataset"] != "") & (results["image"] == "")]
    return by_place(
        (_method_name(row), row["dataset"], scale_name(row["scale"]), remark)
        for row in rows(averages)
        for remark in remarks_on_average(row["note"])
    )


def _method_name(row: Row) -> str:
    """A method with weights and inference: "espcn none bf16"."""
    return " ".join(filter(None, (row["method"], row["weights"], row["inference"])))


def _average_table(results: pd.DataFrame, pair: tuple[str, ...]) -> AverageTable:
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
    return AverageTable(
        protocol=results["protocol"].iloc[0],
        title=f"{title}, on {machine}" if machine else title,
        spans=[Span(d, [scale_name(s) for e, s in columns if e == d]) for d in datasets],
        lines=[(method, [column[i] for column in by_column]) for i, method in enumerate(lines)],
        gaps=scores.gaps(results),
    )


def _column(
    index: dict[Place, Row], pair: tuple[str, ...], lines: list[Method], dataset: str, scale: int
) -> list[list[Score]]:
    """A column's cells in the order of `lines`, ranked against each other."""
    ranked = [
        scores.ranked(key, [index.get((*method, scale, dataset, "", key)) for method in lines])
        for key in pair
    ]
    return scores.cells(ranked)


def cost_table(results: pd.DataFrame) -> CostTable | None:
    """The table of costs; None if there are no costs.

    Args:
        results: from `reports.tables.latest`; rows that are no costs are ignored.
    """
    # A cost depends on no images.
    costs = results[(results["dataset"] == "") & (results["image"] == "")]
    if costs.empty:
        return None
    columns = sorted(
        distinct(_cost_column(row) for row in rows(costs)),
        key=lambda column: quantities.cost_position(column[0]),
    )
    return CostTable(
        headings=_headings(scores.units(costs), columns),
        # Ways to run a network are columns here, so a method has one block for all of them.
        blocks=[_block(costs, method, columns) for method in methods(costs.assign(inference=""))],
        gaps=scores.gaps(costs),
        doubts=distinct(
            f"{_method_name(row)} {scale_name(row['scale'])}: {doubt}"
            for row in rows(costs[costs["value"].notna()])
            for doubt in doubts(row["note"])
        ),
    )


def _cost_column(row: Row) -> CostColumn:
    return row["quantity"], row["protocol"], row["machine"], row["inference"]


def _headings(units: dict[str, str], columns: list[CostColumn]) -> list[Heading]:
    protocols: dict[str, set[str]] = {}
    for key, protocol, _, _ in columns:
        protocols.setdefault(key, set()).add(protocol)
    made = []
    for key, protocol, machine, inference in columns:
        named = protocol if len(protocols[key]) > 1 else ""
        condition = ", ".join(filter(None, (named, machine, inference)))
        made.append(Heading(quantities.heading(key, units[key]), condition))
    return made


def _block(results: pd.DataFrame, method: Method, columns: list[CostColumn]) -> Block:
    own = list(rows(results[(results["method"] == method[0]) & (results["weights"] == method[1])]))
    found = {(row["scale"], *_cost_column(row)): row for row in own}
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
