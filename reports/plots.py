"""Accuracy against cost: the Pareto front, and a plot of methods as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from reports import drawing, svg
from reports.drawing import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from reports.labels import RADIUS, Spot, shortened
from reports.quantities import APPROXIMATE, significant

_STRIP = 0.125
"""Width of the strip for methods of cost 0, as a fraction of the panel."""


@dataclass(frozen=True)
class Point:
    """A method in a plot of accuracy against cost."""

    label: str
    cost: float
    quality: float
    approximate: bool = False
    """Whether the cost is a time that is scaled, or was measured on a busy machine."""

    @property
    def name(self) -> str:
        """The label, with the mark of an approximate cost."""
        return f"{APPROXIMATE} {self.label}" if self.approximate else self.label


def pareto(cost: Sequence[float], quality: Sequence[float]) -> list[bool]:
    """Whether each method is on the Pareto front.

    Lower cost and higher quality are better. A method is on the front if no other method is at
    least as good in both and better in one. Methods of equal cost and quality do not dominate each
    other.

    Args:
        cost: a value per method. A method whose value is NaN is never on the front.
        quality: a value per method, NaN as for `cost`.

    >>> pareto([1, 2, 3], [30.0, 29.0, 31.0])
    [True, False, True]
    """
    pairs = list(zip(cost, quality, strict=True))
    return [
        not (math.isnan(c) or math.isnan(q))
        and not any(oc <= c and oq >= q and (oc < c or oq > q) for oc, oq in pairs)
        for c, q in pairs
    ]


def trade_off_panel(
    points: Sequence[Point], *, name: str, title: str, x_label: str, y_label: str
) -> str:
    """Quality (up) against cost (right, logarithmic) as inline SVG.

    A line and filled markers show the Pareto front; dominated methods are hollow. Methods of cost
    0 stand in a separate strip left of the axis. Colours are the page's CSS variables.

    Args:
        points: at least one, all finite.
        name: prefix of the SVG's ids; no two panels of a page may share a name.
        title: the panel's heading.
        x_label: the cost and its unit.
        y_label: the quality and its unit.

    Raises:
        ValueError: no point was given, or a point has a cost or quality that is not finite.
    """
    if not points or not all(math.isfinite(p.cost) and math.isfinite(p.quality) for p in points):
        raise ValueError(f"panel {name!r} needs points of finite cost and quality: {points}")
    with drawing.style():
        figure = _drawn(points, title, x_label, y_label)
        return svg.inline(
            figure, name=name, description=trade_off_in_words(points, title, x_label, y_label)
        )


def trade_off_in_words(points: Sequence[Point], title: str, x_label: str, y_label: str) -> str:
    """A panel's content as text, for readers who cannot see the plot."""
    listed = [
        f"{shortened(p.name)} at {significant(p.cost, 4)}, {significant(p.quality, 4)}"
        f"{' (on the Pareto front)' if on_front else ''}"
        for p, on_front in zip(points, _front(points), strict=True)
    ]
    return f"{title}: {y_label} against {x_label}. {'; '.join(listed)}."


_LABEL_SHARE = 0.17
"""Width of a tick's label, as a fraction of the axis."""


def ticks(low: float, high: float) -> list[float]:
    """At most six round numbers from low to high, for a logarithmic axis.

    Powers of ten; if fewer than three fit, also their multiples by 2 and 5, then by all digits.
    Ticks whose labels would touch are left out.

    Args:
        low: above 0.
        high: above `low`.

    >>> ticks(0.02, 30)
    [0.1, 1.0, 10.0]
    >>> ticks(1.5, 30)
    [2.0, 5.0, 10.0, 20.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside: list[float] = []
    for steps in ((1,), (1, 2, 5), tuple(range(1, 10))):
        found = [float(f"{step}e{decade}") for decade in decades for step in steps]
        inside = [tick for tick in found if low <= tick <= high]
        if len(inside) > 2:
            break
    apart = _LABEL_SHARE * math.log(high / low)
    kept: list[float] = []
    for tick in inside:
        if not kept or math.log(tick / kept[-1]) >= apart:
            kept.append(tick)
    return kept


def _front(points: Sequence[Point]) -> list[bool]:
    return pareto([p.cost for p in points], [p.quality for p in points])


def _drawn(points: Sequence[Point], title: str, x_label: str, y_label: str) -> Figure:
    figure = drawing.figure(title)
    free = any(p.cost <= 0 for p in points)
    left = LEFT + _STRIP * free
    axes = figure.add_axes((left, BOTTOM, RIGHT - left, TOP - BOTTOM))
    zero = _zero(figure, axes) if free else axes
    for each in {axes, zero}:
        drawing.rule(each)
    if free:
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelleft=False)
    _limit(axes, points)
    axes.set_xlabel(shortened(x_label, 56))
    zero.set_ylabel(shortened(y_label, 44))
    spots = [_spot(zero if p.cost <= 0 else axes, max(p.cost, 0.0), p.quality) for p in points]
    line = _line(figure, points, spots)
    _mark(figure, points, spots)
    drawing.name(figure, [p.name for p in points], spots, zero.bbox, [line])
    return figure


def _zero(figure: Figure, axes: Axes) -> Axes:
    """The axes of the strip for cost 0."""
    # A logarithmic axis has no 0. The strip shares the axis of quality with the plot.
    zero = figure.add_axes((LEFT, BOTTOM, _STRIP - 0.02, TOP - BOTTOM), sharey=axes)
    zero.set(xlim=(-1, 1), xticks=[0], xticklabels=["0"])
    return zero


def _limit(axes: Axes, points: Sequence[Point]) -> None:
    """Set the limits, with room around the outermost points."""
    axes.set_xscale("log")
    # Where every method costs 0 the axis stays empty, but it needs limits.
    paid = [p.cost for p in points if p.cost > 0] or [1.0]
    # The margins are factors. At least 1.6, so that labels fit beside a single cost.
    room = max((max(paid) / min(paid)) ** 0.1, 1.6)
    low, high = min(paid) / room, max(paid) * room
    # 5 % of the axis stay without a tick, or the first label would touch the strip's 0.
    marks = ticks(low * (high / low) ** 0.05, high) if any(p.cost > 0 for p in points) else []
    axes.set_xlim(low, high)
    axes.set_xticks(marks, [significant(mark, 1) for mark in marks])
    axes.xaxis.set_minor_locator(NullLocator())
    worst, best = min(p.quality for p in points), max(p.quality for p in points)
    # Methods of equal quality still get an axis, 0.1 high.
    margin = max(0.12 * (best - worst), 0.05)
    axes.set_ylim(worst - margin, best + margin)


def _spot(axes: Axes, x: float, y: float) -> Spot:
    """The position on the panel, in points, of a point in data coordinates."""
    across, up = axes.transData.transform((x, y))
    return float(across), float(up)


def _line(figure: Figure, points: Sequence[Point], spots: Sequence[Spot]) -> list[Spot]:
    """Draw the Pareto front through the methods with a cost above 0.

    Returns:
        The front's corners in points.
    """
    line = sorted(
        spot
        for point, spot, on_front in zip(points, spots, _front(points), strict=True)
        if on_front and point.cost > 0
    )
    if len(line) > 1:
        drawing.stroke(figure, line, svg.ACCENT, 1.2)
    return line


def _mark(figure: Figure, points: Sequence[Point], spots: Sequence[Spot]) -> None:
    """Draw a marker for each method: filled on the front, else hollow."""
    for (x, y), on_front in zip(spots, _front(points), strict=True):
        figure.add_artist(
            Line2D(
                [x / WIDTH],
                [y / HEIGHT],
                linestyle="none",
                marker="o",
                markersize=2 * RADIUS - 1,
                markerfacecolor=svg.ACCENT if on_front else svg.PAPER,
                markeredgecolor=svg.ACCENT if on_front else svg.INK,
                markeredgewidth=1,
                zorder=3,
            )
        )
