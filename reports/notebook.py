"""Tables of results and verdicts for notebooks: DataFrames that show a summary of their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from bench.result import COLUMNS, VERDICT_COLUMNS, Quantity
from reports import layout, marks, quantities
from reports.marks import Mark
from reports.tables import Row, clean, latest, rows
from reports.template import fill

_ATTRIBUTE = "quantities"
"""Key of the quantities in a table's `attrs`."""

_AT_MOST = 40
"""Claims listed below the counts of verdicts; the rest are counted."""

_NOTHING = pd.DataFrame()


class Table(pd.DataFrame):
    """A DataFrame that a notebook shows as the page would.

    Results are shown as tables of averages and costs, verdicts as counts with the claims that were
    not reproduced. Any other table, such as a selection of columns, is shown as pandas shows it.
    """

    @property
    def _constructor(self) -> Callable[..., Table]:
        # Pandas makes the results of its operations with this: a filtered Table is a Table.
        return Table

    def _repr_html_(self) -> str | None:
        """HTML for a notebook; None if pandas' options turn HTML off."""
        shown: str | None = None
        if len(self) and pd.get_option("display.notebook_repr_html"):
            if _has(self, COLUMNS):
                shown = _results(self)
            elif _has(self, VERDICT_COLUMNS):
                shown = _verdicts(self)
        if shown is None:
            shown = super()._repr_html_()  # type: ignore[misc] # pandas' stubs do not list it
        return shown


def table_of(frame: pd.DataFrame, known: Mapping[str, Quantity]) -> Table:
    """A copy of a DataFrame of results or verdicts that notebooks show as a summary.

    Args:
        frame: columns `bench.result.COLUMNS` or `bench.result.VERDICT_COLUMNS`.
        known: quantities by name. They decide which values are best and which depend on the
            machine, and stay with the table in `attrs`.
    """
    table = Table(frame.copy())
    # Plain dictionaries, because pandas writes `attrs` as JSON into Parquet files.
    table.attrs[_ATTRIBUTE] = {name: asdict(quantity) for name, quantity in known.items()}
    return table


def _known(table: pd.DataFrame) -> dict[str, Quantity]:
    """The quantities that `table_of` stored; none if an operation of pandas lost them."""
    return {name: Quantity(**facts) for name, facts in table.attrs.get(_ATTRIBUTE, {}).items()}


def _has(table: pd.DataFrame, columns: tuple[str, ...]) -> bool:
    """Whether a table has exactly these columns, in any order."""
    # A summary would hide a column that the user added.
    return len(table.columns) == len(columns) and set(table.columns) == set(columns)


def _results(table: pd.DataFrame) -> str | None:
    """HTML of results: averages, costs and the number of rows of single images.

    None for rows of single images only, which have no summary.
    """
    stored = clean(table, _NOTHING, _NOTHING, _NOTHING, _known(table)).results
    results = latest(stored)
    # The table has no facts of machines, so runs stand for them. One run needs no name.
    if results.loc[results["machine"] != "", "machine"].nunique() == 1:
        results = results.assign(machine="")
    averages, costs = layout.average_tables(results), layout.cost_table(results)
    if not averages and costs is None:
        return None
    images = int((stored["image"] != "").sum())
    return fill(
        "notebook_results",
        averages=averages,
        remarks=layout.average_remarks(results),
        costs=costs,
        images=images,
    )


@dataclass(frozen=True)
class _Finding:
    """A claim that was not reproduced."""

    table: str
    label: str
    place: str
    printed: str
    measured: str
    mark: Mark
    reason: str


def _verdicts(table: pd.DataFrame) -> str:
    """HTML of verdicts: counts by paper table, and the claims that were not reproduced."""
    verdicts = clean(_NOTHING, table, _NOTHING, _NOTHING, {}).verdicts
    counted = [
        (str(name), marks.counts(found)) for name, found in verdicts.groupby("table", sort=False)
    ]
    shown = [marks.mark(verdict) for verdict in marks.counts(verdicts)]
    order = {mark.verdict: i for i, mark in enumerate(shown)}
    unlike = verdicts[verdicts["verdict"] != marks.REPRODUCED.verdict]
    # Deviations first: claims that were not measured may be many.
    found = sorted(rows(unlike), key=lambda row: order[row["verdict"]])
    return fill(
        "notebook_verdicts",
        marks=shown,
        counted=counted,
        several=len(counted) > 1,
        findings=[_finding(row) for row in found[:_AT_MOST]],
        more=max(0, len(found) - _AT_MOST),
    )


def _finding(row: Row) -> _Finding:
    key = row["quantity"]
    return _Finding(
        table=row["table"],
        label=marks.name(row),
        place=marks.setting(row),
        printed=row["printed"] or quantities.written(key, row["claimed"]),
        measured=quantities.like_printed(row["printed"], key, row["measured"]),
        mark=marks.mark(row["verdict"]),
        reason=row["reason"],
    )
