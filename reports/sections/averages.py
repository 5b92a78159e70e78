"""Measured averages: methods down, scales and datasets across, a table per protocol."""

from __future__ import annotations

from reports import layout
from reports.tables import Tables, latest
from reports.template import fill

TITLE = "Averages"
ORDER = 40


def render(tables: Tables) -> str | None:
    """The tables of averages, and remarks on single averages; None if nothing was averaged."""
    results = latest(tables.results)
    made = layout.average_tables(results)
    return fill("averages", tables=made, remarks=layout.average_remarks(results)) if made else None
