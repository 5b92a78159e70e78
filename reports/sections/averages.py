"""Measured averages: methods down, scales and datasets across, a table per protocol."""

from __future__ import annotations

import pandas as pd

from bench.result import remarks_on_average
from reports import layout
from reports.scores import where
from reports.tables import Row, Tables, distinct, latest, rows
from reports.template import fill

TITLE = "Averages"
ORDER = 40


def render(tables: Tables) -> str | None:
    """The tables of averages, and remarks on single averages; None if nothing was averaged."""
    results = latest(tables.results)
    made = layout.average_tables(results)
    return fill("averages", tables=made, remarks=remarks(results)) if made else None


def remarks(results: pd.DataFrame) -> list[str]:
    """Remarks on averages, each with its method, dataset and scale."""
    averages = results[(results["dataset"] != "") & (results["image"] == "")]
    return distinct(
        f"{_name(row)}, {where(row['dataset'], row['scale'])}: {remark}"
        for row in rows(averages)
        for remark in remarks_on_average(row["note"])
    )


def _name(row: Row) -> str:
    """A method with weights and inference: "espcn none bf16"."""
    return " ".join(filter(None, (row["method"], row["weights"], row["inference"])))
