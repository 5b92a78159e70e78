"""PSNR against cost: a figure per dataset and protocol, a panel per scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import pandas as pd

from bench.result import doubts
from reports import plots, quantities
from reports.plots import Point
from reports.scores import where
from reports.tables import Method, Row, Tables, distinct, latest, methods, rows, scale_name
from reports.template import fill

TITLE = "Accuracy against cost"
ORDER = 30

# The axis of multiplies is the sum of the first and of the added.
_COUNTED = "multiplies_per_input_px"
_COUNTED_720P = "multiplies_720p"
_ELEMENTWISE = "elementwise_multiplies_per_input_px"
_ADDED = ("interpolation_multiplies_per_input_px", _ELEMENTWISE)
_WIDTH, _HEIGHT = 1280, 720

Costs: TypeAlias = dict[tuple[str, int, str, str], dict[tuple[str, str], Row]]
"""(method, scale, quantity, inference) -> (weights, protocol) -> row of the cost."""


class Paid(NamedTuple):
    """The cost of a method at a scale."""

    value: float
    """NaN if unknown."""
    doubts: tuple[str, ...] = ()
    """Why the cost is approximate."""


Cost: TypeAlias = Callable[[Row], Paid]
"""Function: row of an average -> cost of the row's method at the row's scale."""


@dataclass(frozen=True)
class Axis:
    """A cost on the horizontal axis."""

    name: str
    """Part of the panels' ids."""

    label: str
    """With the unit."""
    cost: Cost


@dataclass(frozen=True)
class Strip:
    """The panels of a cost, side by side, by scale."""

    panels: list[str]
    left_out: str
    """The methods whose cost is unknown, in words; '' if there are none."""
    doubts: list[str]
    """Why costs are approximate, each with its method and scale."""


@dataclass(frozen=True)
class Figure:
    """All panels of a dataset and protocol."""

    caption: str
    strips: list[Strip]


def render(tables: Tables) -> str | None:
    """The figures; None if no method has both an average PSNR and a cost."""
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
    """The cost in multiplies per input pixel, with interpolation and elementwise multiplies.

    Where a count per pixel depends on the size of the image, that for a 1280x720 output counts.
    """
    costs = _costs(results)

    def value(row: Row, key: str) -> float:
        found = _under(costs, row, key, "")
        return math.nan if found is None else float(found["value"])

    def cost(row: Row) -> Paid:
        # A method that works on LR has no row for interpolation, because it does not interpolate.
        added = math.fsum(part for key in _ADDED if not math.isnan(part := value(row, key)))
        per_px = value(row, _COUNTED)
        if not math.isnan(per_px):
            return Paid(per_px + added)
        of_720p = value(row, _COUNTED_720P)
        if math.isnan(of_720p):
            return Paid(math.nan)
        side = row["scale"]
        pixels = -(-_WIDTH // side) * -(-_HEIGHT // side)
        said = "multiplies at a 1280x720 output, since the count depends on the size"
        if math.isnan(value(row, _ELEMENTWISE)):
            said += ", without elementwise ones"
        # G for an image, M for a pixel.
        return Paid(of_720p * 1e3 / pixels + added, (said,))

    return cost


def timed(results: pd.DataFrame) -> list[Axis]:
    """One axis of seconds per machine."""
    # Times of different machines do not compare.
    seconds = results[(results["quantity"] == "seconds") & (results["dataset"] == "")]
    axes = []
    for i, (machine, found) in enumerate(seconds.groupby("machine", sort=False)):
        axes.append(Axis(f"seconds-{i}", f"seconds on {machine}", _seconds(found)))
    return axes


def _seconds(results: pd.DataFrame) -> Cost:
    costs = _costs(results)

    def cost(row: Row) -> Paid:
        found = _under(costs, row, "seconds", row["inference"])
        return (
            Paid(math.nan) if found is None else Paid(found["value"], tuple(doubts(found["note"])))
        )

    return cost


def _costs(results: pd.DataFrame) -> Costs:
    costs: Costs = {}
    for row in rows(results[results["dataset"] == ""]):
        place = (row["method"], row["scale"], row["quantity"], row["inference"])
        costs.setdefault(place, {})[row["weights"], row["protocol"]] = row
    return costs


def _under(costs: Costs, row: Row, key: str, inference: str) -> Row | None:
    """The row of a cost of the row's method and scale; None if unknown.

    Costs of the row's own weights and protocol come first, then costs that name no weights or no
    protocol, then costs under any protocol.

    Args:
        costs: all costs of a machine.
        row: an average.
        key: the quantity of the cost.
        inference: how the network was run.
    """
    found = costs.get((row["method"], row["scale"], key, inference), {})
    # Any protocol will do: all of them interpolate in about the same time.
    of_weights = {place: cost for place, cost in found.items() if place[0] in (row["weights"], "")}
    for place in ((weights, protocol) for protocol in (row["protocol"], "")
                  for weights in (row["weights"], "")):  # fmt: skip
        if place in of_weights:
            return of_weights[place]
    return next(iter(of_weights.values()), None)


def figure(averages: pd.DataFrame, axes: list[Axis], name: str) -> Figure:
    """The figure of a dataset and protocol, with a strip for every known cost.

    Args:
        averages: averages of this dataset and protocol only.
        axes: the costs.
        name: prefix of the panels' ids.
    """
    present = [q for q in distinct(averages["quantity"]) if q.startswith("psnr")]
    if not present:
        return Figure("", [])
    # A figure needs one accuracy; papers compare luma.
    key = "psnr_y" if "psnr_y" in present else present[0]
    psnr = averages[averages["quantity"] == key]
    dataset, protocol = psnr["dataset"].iloc[0], psnr["protocol"].iloc[0]
    caption = f"{dataset}: average {quantities.quantity(key).name}"
    caption += f" under protocol {protocol}" if protocol else ""
    label = quantities.heading(key, psnr["unit"].iloc[0])
    made = [strip(psnr, axis, f"average {label}", f"{name}-{axis.name}") for axis in axes]
    return Figure(caption, beside([each for each in made if each.panels]))


def beside(strips: list[Strip]) -> list[Strip]:
    """All strips as one strip if each has a single panel; else the strips as they are."""
    # With one scale, strips of one panel would leave most of the page's width empty.
    if any(len(strip.panels) > 1 for strip in strips):
        return strips
    panels = [strip.panels[0] for strip in strips]
    left_out = "; ".join(strip.left_out for strip in strips if strip.left_out)
    approximate = [doubt for strip in strips for doubt in strip.doubts]
    return [Strip(panels, left_out, approximate)] if panels else []


def strip(averages: pd.DataFrame, axis: Axis, y_label: str, name: str) -> Strip:
    """The panels of a cost, for each scale at which the cost of at least one method is known.

    Args:
        averages: all of the same quantity, dataset and protocol.
        axis: the cost.
        y_label: the quantity and its unit.
        name: prefix of the panels' ids.
    """
    panels, left_out = [], []
    approximate: dict[tuple[str, str], list[str]] = {}
    names = plot_names(methods(averages))
    for scale, found in averages.groupby("scale"):
        points = []
        for row in rows(found):
            name_of_method = names[row["method"], row["weights"], row["inference"]]
            cost, why = axis.cost(row)
            points.append(Point(name_of_method, cost, row["value"], approximate=bool(why)))
            for each in why:
                approximate.setdefault((name_of_method, each), []).append(scale_name(row["scale"]))
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
    return Strip(
        panels,
        f"{axis.label} not known: {missing}" if missing else "",
        [f"{name} {' '.join(at)}: {each}" for (name, each), at in approximate.items()],
    )


def plot_names(found: list[Method]) -> dict[Method, str]:
    """The names beside the markers, with weights and inference if a method occurs several times."""
    counts = pd.Series([name for name, _, _ in found]).value_counts()
    names = {}
    for method in found:
        name, *how = method
        said = ", ".join(filter(None, how))
        names[method] = f"{name} ({said})" if said and counts[name] > 1 else name
    return names
