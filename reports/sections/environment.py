"""The runs with their machines and versions, and the protocols of the results."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from reports.quantities import UNMEASURED
from reports.tables import NAMES_A_VALUE, Tables, distinct
from reports.template import fill

TITLE = "Environment"
ORDER = 60


@dataclass(frozen=True)
class Run:
    """A run with its facts."""

    name: str
    results: int
    """The number of results on the page that this run measured."""
    facts: dict[str, str]


@dataclass(frozen=True)
class Use:
    """The use of a protocol on this page."""

    protocol: str
    results: int
    """The number of results."""
    datasets: str
    """Names, separated by commas."""


def render(tables: Tables) -> str | None:
    """The protocols in use and the facts of the runs; None if there are neither."""
    runs = runs_with_facts(tables)
    uses = protocols(tables.results)
    if not runs and not uses:
        return None
    keys = distinct(key for run in runs for key in run.facts)
    # A fact with the same value in every run is shown once, above the table of differences.
    shared = {key: runs[0].facts[key] for key in keys if len({r.facts.get(key) for r in runs}) == 1}
    return fill(
        "environment",
        uses=uses,
        shared=shared,
        runs=runs,
        differing=[key for key in keys if key not in shared],
        repeated=repeated(tables.results),
        elsewhere=tables.elsewhere,
    )


def runs_with_facts(tables: Tables) -> list[Run]:
    """The runs with their facts, in order of appearance."""
    counted = tables.results["run"].value_counts()
    return [
        Run(str(run), int(counted.get(run, 0)), dict(zip(rows["key"], rows["value"], strict=True)))
        for run, rows in tables.runs.groupby("run", sort=False)
    ]


def protocols(results: pd.DataFrame) -> list[Use]:
    """The protocols in use, each with the number of results and the datasets."""
    return [
        Use(
            str(name),
            len(found),
            ", ".join(d for d in distinct(found["dataset"]) if d) or UNMEASURED,
        )
        for name, found in results[results["protocol"] != ""].groupby("protocol", sort=False)
    ]


def repeated(results: pd.DataFrame) -> int:
    """The number of cells that more than one run measured."""
    runs = results[results["value"].notna()].groupby(NAMES_A_VALUE)["run"].nunique()
    return int((runs > 1).sum())
