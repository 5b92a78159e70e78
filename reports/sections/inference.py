"""Time beside accuracy for each way that networks were run, where there are several."""

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
"""What the default way is called here."""
_TIMES = ("seconds", "roofline_fraction", "device_memory")


@dataclass(frozen=True)
class Line:
    """One method with its weights at one scale, run one way."""

    method: Method
    scale: str
    cells: list[Score]


@dataclass(frozen=True)
class Comparison:
    """All ways on one machine."""

    machine: str
    headings: list[str]
    lines: list[Line]


def render(tables: Tables) -> str | None:
    """A table a machine; nothing where everything was run the default way."""
    results = latest(tables.results)
    if not (results["inference"] != "").any():
        return None
    seconds = results[results["quantity"] == "seconds"]
    made = [comparison(results, found) for _, found in seconds.groupby("machine", sort=False)]
    made = [each for each in made if each.lines]
    return fill("inference", comparisons=made) if made else None


def comparison(results: pd.DataFrame, seconds: pd.DataFrame) -> Comparison:
    """Times of one machine, and the average PSNR of the same setting on every dataset."""
    machine = seconds["machine"].iloc[0]
    averages = results[
        (results["dataset"] != "")
        & (results["image"] == "")
        & results["quantity"].str.startswith("psnr")
    ]
    times = [q for q in _TIMES if (results["quantity"] == q).any()]
    places = distinct(
        zip(averages["dataset"], averages["protocol"], averages["quantity"], strict=True)
    )
    units = scores.units(results)
    headings = [quantities.heading(key, units[key]) for key in times]
    headings += [
        f"{quantities.heading(key, units[key])}, {dataset}, {protocol}"
        for dataset, protocol, key in places
    ]
    several = seconds.groupby(["method", "scale"])["inference"].transform("nunique") > 1
    lines = []
    for row in rows(seconds[several].sort_values(["method", "scale"], kind="stable")):
        own = [found for found in rows(results) if _same_run(found, row)]
        for weights in distinct(found["weights"] for found in own if found["dataset"]) or [""]:
            of_weights = [found for found in own if found["weights"] in (weights, "")]
            cells = [_cell(of_weights, key, "", "", machine) for key in times]
            cells += [_cell(of_weights, key, data, rules, "") for data, rules, key in places]
            method = (row["method"], weights, row["inference"] or DEFAULT)
            lines.append(Line(method, scale_name(row["scale"]), cells))
    return Comparison(machine, headings, lines)


def _same_run(found: Row, row: Row) -> bool:
    return all(found[key] == row[key] for key in ("method", "scale", "inference"))


def _cell(own: list[Row], key: str, dataset: str, protocol: str, machine: str) -> Score:
    for row in own:
        here = (row["quantity"], row["dataset"], row["image"]) == (key, dataset, "")
        if here and protocol in ("", row["protocol"]) and row["machine"] in (machine, ""):
            return scores.score(key, row)
    return scores.score(key, None)
