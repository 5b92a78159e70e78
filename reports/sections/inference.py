"""Time and accuracy for each way to run a network, if there are several ways."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from reports import quantities, scores
from reports.scores import Score
from reports.tables import Method, Row, Tables, distinct, latest, rows, scale_name
from reports.template import fill

TITLE = "Ways to run a network"
ORDER = 47
DEFAULT = "fp32"
"""Name of the default way on the page; results name the default way ''."""

_SPREADS = ("seconds_p10", "seconds_p90")
"""Left out here: the interquartile range beside the seconds shows the spread."""


@dataclass(frozen=True)
class Line:
    """A method with its weights at a scale, run in a particular way."""

    method: Method
    scale: str
    cells: list[Score]


@dataclass(frozen=True)
class Comparison:
    """All ways to run networks on a machine."""

    machine: str
    headings: list[str]
    lines: list[Line]


def render(tables: Tables) -> str | None:
    """A table per machine; None if all networks were run the default way."""
    results = latest(tables.results)
    if not (results["inference"] != "").any():
        return None
    seconds = results[results["quantity"] == "seconds"]
    made = [comparison(results, found) for _, found in seconds.groupby("machine", sort=False)]
    made = [each for each in made if each.lines]
    return fill("inference", comparisons=made) if made else None


def comparison(results: pd.DataFrame, seconds: pd.DataFrame) -> Comparison:
    """Costs on a machine beside average PSNR, a line per method, scale and way to run.

    Args:
        results: all results.
        seconds: the times of the machine.
    """
    machine = seconds["machine"].iloc[0]
    averages = results[
        (results["dataset"] != "")
        & (results["image"] == "")
        & results["quantity"].str.startswith("psnr")
    ]
    times = _machine_costs(results)
    places = distinct(
        zip(averages["dataset"], averages["protocol"], averages["quantity"], strict=True)
    )
    units = scores.units(results)
    headings = [quantities.heading(key, units[key]) for key in times]
    headings += [
        f"{quantities.heading(key, units[key])}, {dataset}, {protocol}"
        for dataset, protocol, key in places
    ]
    # A method that was run one way only has nothing to compare.
    several = seconds.groupby(["method", "scale"])["inference"].transform("nunique") > 1
    lines = []
    for row in rows(seconds[several].sort_values(["method", "scale"], kind="stable")):
        own = [found for found in rows(results) if _same_run(found, row)]
        # A time holds for all weights of a method, but each weights has an accuracy of its own.
        for weights in distinct(found["weights"] for found in own if found["dataset"]) or [""]:
            of_weights = [found for found in own if found["weights"] in (weights, "")]
            cells = [_cell(of_weights, key, "", "", machine) for key in times]
            cells += [_cell(of_weights, key, data, rules, "") for data, rules, key in places]
            method = (row["method"], weights, row["inference"] or DEFAULT)
            lines.append(Line(method, scale_name(row["scale"]), cells))
    return Comparison(machine, headings, lines)


def _machine_costs(results: pd.DataFrame) -> list[str]:
    """The costs that depend on the machine, in the order of a table's columns."""
    costs = results[(results["machine"] != "") & (results["dataset"] == "")]
    found = [key for key in distinct(costs["quantity"]) if key not in _SPREADS]
    return sorted(found, key=quantities.cost_position)


def _same_run(found: Row, row: Row) -> bool:
    """Whether two results are of the same method and scale, run the same way."""
    return all(found[key] == row[key] for key in ("method", "scale", "inference"))


def _cell(own: list[Row], key: str, dataset: str, protocol: str, machine: str) -> Score:
    """The average of a quantity, or a cost if `dataset` is ''; '' accepts any protocol."""
    for row in own:
        here = (row["quantity"], row["dataset"], row["image"]) == (key, dataset, "")
        if here and protocol in ("", row["protocol"]) and row["machine"] in (machine, ""):
            return scores.score(key, row)
    return scores.score(key, None)
