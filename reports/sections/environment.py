"""What the results ran on, and the protocols that they were measured under."""

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
    """One run: how many results it gave and what is true of it."""

    name: str
    results: int
    facts: dict[str, str]


@dataclass(frozen=True)
class Use:
    """What was measured under one protocol."""

    protocol: str
    results: int
    datasets: str


def render(tables: Tables) -> str | None:
    """The protocols in use and the runs' provenance."""
    runs = runs_with_facts(tables)
    uses = protocols(tables.results)
    if not runs and not uses:
        return None
    keys = distinct(key for run in runs for key in run.facts)
    shared = {key: runs[0].facts[key] for key in keys if len({r.facts.get(key) for r in runs}) == 1}
    return fill(
        "environment",
        uses=uses,
        shared=shared,
        runs=runs,
        differing=[key for key in keys if key not in shared],
        repeated=repeated(tables.results),
    )


def runs_with_facts(tables: Tables) -> list[Run]:
    """The runs with their facts, in order of appearance."""
    counted = tables.results["run"].value_counts()
    return [
        Run(str(run), int(counted.get(run, 0)), dict(zip(rows["key"], rows["value"], strict=True)))
        for run, rows in tables.runs.groupby("run", sort=False)
    ]


def protocols(results: pd.DataFrame) -> list[Use]:
    """What each protocol was used for."""
    return [
        Use(
            str(name),
            len(found),
            ", ".join(d for d in distinct(found["dataset"]) if d) or UNMEASURED,
        )
        for name, found in results[results["protocol"] != ""].groupby("protocol", sort=False)
    ]


def repeated(results: pd.DataFrame) -> int:
    """How many cells more than one run measured."""
    runs = results[results["value"].notna()].groupby(NAMES_A_VALUE)["run"].nunique()
    return int((runs > 1).sum())
