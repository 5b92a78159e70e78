"""Measured averages: methods down, scales and datasets across, a table per protocol."""

from __future__ import annotations

from reports import layout
from reports.tables import Tables, latest
from reports.template import fill

TITLE = "Averages"
ORDER = 40


def render(tables: Tables) -> str | None:
    """The tables of averages; None if nothing was averaged."""
    made = layout.average_tables(latest(tables.results))
    return fill("averages", tables=made) if made else None
