"""PSNR against what it costs: one figure per dataset and protocol, one panel per scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from reports import plots, quantities
from reports.plots import Point
from reports.scores import where
from reports.tables import Method, Row, Tables, distinct, latest, methods, rows
from reports.template import fill

TITLE = "Accuracy against cost"
ORDER = 30

_COUNTED = "multiplies_per_input_px"
_ADDED = ("interpolation_multiplies_per_input_px", "elementwise_multiplies_per_input_px")

Costs: TypeAlias = dict[tuple[str, int, str, str], dict[tuple[str, str], float]]
"""Costs of a method, scale, quantity and inference, by weights and protocol."""

Cost: TypeAlias = Callable[[Row], float]
"""What the method of an average's row costs there; NaN where that is not known."""


@dataclass(frozen=True)
class Axis:
    """A cost to draw against."""

    name: str
    """Short: a part of the panels' ids."""

    label: str
    cost: Cost


@dataclass(frozen=True)
class Strip:
    """The panels of one cost, side by side: one per scale."""

    panels: list[str]
    left_out: str
    """Which methods have no such cost; empty where all have one."""


@dataclass(frozen=True)
class Figure:
    """One dataset under one protocol."""

    caption: str
    strips: list[Strip]


def render(tables: Tables) -> str | None:
    """The figures."""
    results = latest(tables.results)
    axes = [Axis("multiplies", "multiplies per input px, M", counted(results)), *timed(results)]
    averages = results[
        (results["dataset"] != "") & (results["image"] == "") & results["value"].notna()
    ]
    made = [
        figure(found, axes, f"figure-{i}")
        for i, (_, found) in enumerate(averages.groupby(["dataset", "protocol"], sort=False))
    ]
    figures = [each for each in made if each.strips]
    return fill("accuracy_against_cost", figures=figures) if figures else None


def counted(results: pd.DataFrame) -> Cost:
    """The cost in multiplies per input pixel, interpolation and elementwise ones included."""
    costs = _costs(results)

    def cost(row: Row) -> float:
        parts = [_under(costs, row, key, "") for key in (_COUNTED, *_ADDED)]
        # A method that takes LR has no row for interpolation: that costs it nothing.
        return math.nan if parts[0] is None else math.fsum(p for p in parts if p is not None)

    return cost


def timed(results: pd.DataFrame) -> list[Axis]:
    """One axis of seconds for each machine: times of different machines do not compare."""
    seconds = results[(results["quantity"] == "seconds") & (results["dataset"] == "")]
    axes = []
    for i, (machine, found) in enumerate(seconds.groupby("machine", sort=False)):
        axes.append(Axis(f"seconds-{i}", f"seconds on {machine}", _seconds(found)))
    return axes


def _seconds(results: pd.DataFrame) -> Cost:
    costs = _costs(results)

    def cost(row: Row) -> float:
        found = _under(costs, row, "seconds", row["inference"])
        return math.nan if found is None else found

    return cost


def _costs(results: pd.DataFrame) -> Costs:
    costs: Costs = {}
    for row in rows(results[results["dataset"] == ""]):
        place = (row["method"], row["scale"], row["quantity"], row["inference"])
        costs.setdefault(place, {})[row["weights"], row["protocol"]] = row["value"]
    return costs


def _under(costs: Costs, row: Row, key: str, inference: str) -> float | None:
    """A cost for the row's weights and protocol, or one that names none, of that inference.

    A time belongs to the protocol that fed the method; another's stands in for it, since all
    interpolate alike as far as time goes.
    """
    found = costs.get((row["method"], row["scale"], key, inference), {})
    of_weights = {place: cost for place, cost in found.items() if place[0] in (row["weights"], "")}
    for place in ((weights, protocol) for protocol in (row["protocol"], "")
                  for weights in (row["weights"], "")):  # fmt: skip
        if place in of_weights:
            return of_weights[place]
    return next(iter(of_weights.values()), None)


def figure(averages: pd.DataFrame, axes: list[Axis], name: str) -> Figure:
    """One dataset under one protocol, against every cost that is known."""
    present = [q for q in distinct(averages["quantity"]) if q.startswith("psnr")]
    if not present:
        return Figure("", [])
    key = "psnr_y" if "psnr_y" in present else present[0]
    psnr = averages[averages["quantity"] == key]
    dataset, protocol = psnr["dataset"].iloc[0], psnr["protocol"].iloc[0]
    caption = f"{dataset}: average {quantities.quantity(key).name}"
    caption += f" under protocol {protocol}" if protocol else ""
    label = quantities.heading(key, psnr["unit"].iloc[0])
    made = [strip(psnr, axis, f"average {label}", f"{name}-{axis.name}") for axis in axes]
    return Figure(caption, beside([each for each in made if each.panels]))


def beside(strips: list[Strip]) -> list[Strip]:
    """Strips of one panel each as one strip: a lone scale's costs stand side by side."""
    if any(len(strip.panels) > 1 for strip in strips):
        return strips
    panels = [strip.panels[0] for strip in strips]
    left_out = "; ".join(strip.left_out for strip in strips if strip.left_out)
    return [Strip(panels, left_out)] if panels else []


def strip(averages: pd.DataFrame, axis: Axis, y_label: str, name: str) -> Strip:
    """One panel for each scale at which some method's cost is known."""
    panels, left_out = [], []
    names = plot_names(methods(averages))
    for scale, found in averages.groupby("scale"):
        points = [
            Point(name, axis.cost(row), row["value"])
            for row in rows(found)
            for name in [names[row["method"], row["weights"], row["inference"]]]
        ]
        known = [p for p in points if math.isfinite(p.cost) and math.isfinite(p.quality)]
        left_out += [p.label for p in points if p not in known]
        if known:
            title = where(found["dataset"].iloc[0], found["scale"].iloc[0])
            panels.append(
                plots.trade_off_panel(
                    known,
                    name=f"{name}-{scale}",
                    title=title,
                    x_label=axis.label,
                    y_label=y_label,
                )
            )
    missing = ", ".join(distinct(left_out))
    return Strip(panels, f"{axis.label} not known: {missing}" if missing else "")


def plot_names(found: list[Method]) -> dict[Method, str]:
    """What to write beside the markers: weights and inference where a method has several."""
    counts = pd.Series([name for name, _, _ in found]).value_counts()
    names = {}
    for method in found:
        name, *how = method
        said = ", ".join(filter(None, how))
        names[method] = f"{name} ({said})" if said and counts[name] > 1 else name
    return names
