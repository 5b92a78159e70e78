"""Costs of each method: multiplies, parameters and time, at each scale."""

from __future__ import annotations

from reports import layout
from reports.tables import Tables, latest
from reports.template import fill

TITLE = "Costs"
ORDER = 45


def render(tables: Tables) -> str | None:
    """The table of costs; None if there are none."""
    results = latest(tables.results)
    table = layout.cost_table(results)
    if table is None:
        return None
    # The page explains seconds only where some are shown.
    timed = bool(((results["dataset"] == "") & (results["unit"] == "s")).any())
    return fill("costs", table=table, timed=timed)
