"""Training curves: values against updates, a line per network, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from reports import drawing, svg
from reports.drawing import BOTTOM, LEFT, RIGHT, TOP
from reports.labels import Spot, shortened
from reports.plots import ticks
from reports.quantities import fixed, significant

DASHES = ("solid", "dashed", "dotted")
"""Line styles, as CSS and matplotlib both call them. Curves past the last hue differ by style."""

_STRETCHES = 80
"""A curve has at most this many points after `averaged`."""


@dataclass(frozen=True)
class Curve:
    """The values of a network at the updates where they were logged."""

    label: str
    number: int
    """The network's number on the page. The same number has the same look in every panel."""
    points: Sequence[tuple[float, float]]
    """(update, value) pairs. Updates rise and start at 1 or later."""


def look(number: int) -> tuple[int, str]:
    """The index of the hue and the line style for a curve's number.

    >>> look(0), look(7)
    ((0, 'solid'), (1, 'dashed'))
    """
    return number % len(svg.HUES), DASHES[number // len(svg.HUES) % len(DASHES)]


def averaged(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The curve with neighbouring points averaged.

    All averages cover the same length of a logarithmic axis of updates. Each average stands at the
    last update of its stretch.

    Args:
        points: (update, value) pairs, updates rising from 1 or later.

    >>> averaged([(1, 8.0), (1000, 3.0), (1001, 1.0)])
    [(1, 8.0), (1001, 2.0)]
    """
    if not points:
        return []
    first, last = points[0][0], points[-1][0]
    # A curve of one update has the logarithm 0, and 0 cannot divide.
    apart = math.log(last / first) / (_STRETCHES - 1) or 1.0
    stretches: dict[int, list[tuple[float, float]]] = {}
    for update, value in points:
        stretches.setdefault(round(math.log(update / first) / apart), []).append((update, value))
    return [
        (found[-1][0], math.fsum(value for _, value in found) / len(found))
        for found in stretches.values()
    ]


def curve_panel(
    curves: Sequence[Curve],
    *,
    name: str,
    title: str,
    y_label: str,
    logarithmic: bool = False,
    levels: Sequence[tuple[str, float]] = (),
) -> str:
    """Curves against updates (logarithmic) as inline SVG, with each name at the end of its curve.

    Colours are the page's CSS variables.

    Args:
        curves: at least one.
        name: prefix of the SVG's ids; no two panels of a page may share a name.
        title: the panel's heading.
        y_label: the quantity and its unit.
        logarithmic: use a logarithmic axis of values, if all values are above 0.
        levels: (name, value) pairs, each drawn as a horizontal line.

    Raises:
        ValueError: no curve was given, or a curve has no points, an update below 1 or a value that
            is not finite.
    """
    points = [point for curve in curves for point in curve.points]
    if not all(curve.points for curve in curves) or not points:
        raise ValueError(f"panel {name!r} needs curves that have points")
    if not all(update >= 1 and math.isfinite(value) for update, value in points):
        raise ValueError(f"panel {name!r} needs updates from 1 and finite values")
    with drawing.style():
        figure = drawing.figure(title)
        axes = figure.add_axes((LEFT, BOTTOM, RIGHT - LEFT, TOP - BOTTOM))
        drawing.rule(axes)
        _limit(axes, points, [value for _, value in levels], logarithmic)
        axes.set_xlabel("updates")
        axes.set_ylabel(shortened(y_label, 44))
        _draw(figure, axes, curves, levels)
        return svg.inline(figure, name=name, description=curves_in_words(curves, title, y_label))


def curves_in_words(curves: Sequence[Curve], title: str, y_label: str) -> str:
    """A panel's content as text, for readers who cannot see the curves."""
    listed = [
        f"{shortened(curve.label)} from {significant(curve.points[0][1], 4)} at "
        f"{fixed(curve.points[0][0], 0)} to {significant(curve.points[-1][1], 4)} at "
        f"{fixed(curve.points[-1][0], 0)}"
        for curve in curves
    ]
    return f"{title}: {y_label} against updates. {'; '.join(listed)}."


def _limit(
    axes: Axes, points: Sequence[tuple[float, float]], levels: Sequence[float], logarithmic: bool
) -> None:
    """Set the limits, with room around the curves, and a few ticks."""
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    axes.set_xscale("log")
    # The margin is a factor on a logarithmic axis. At least 1.1, or one point has an axis of
    # length 0.
    room = max((last / first) ** 0.04, 1.1)
    marks = ticks(first / room, last * room)
    axes.set_xlim(first / room, last * room)
    axes.set_xticks(marks, [significant(mark, 1) for mark in marks])
    axes.xaxis.set_minor_locator(NullLocator())
    values = [*(y for _, y in points), *levels]
    low, high = min(values), max(values)
    if not logarithmic or low <= 0:
        # 1e-9: a curve that is 0 everywhere needs an axis too.
        margin = max(0.08 * (high - low), 1e-3 * abs(high), 1e-9)
        axes.set_ylim(low - margin, high + margin)
        return
    axes.set_yscale("log")
    room = max((high / low) ** 0.08, 1.1)
    marks = ticks(low / room, high * room)
    axes.set_ylim(low / room, high * room)
    axes.set_yticks(marks, [significant(mark, 1) for mark in marks])
    axes.yaxis.set_minor_locator(NullLocator())


def _draw(
    figure: Figure, axes: Axes, curves: Sequence[Curve], levels: Sequence[tuple[str, float]]
) -> None:
    """Draw curves and levels with their names: curves at their end, levels at the left."""
    lines, colors = [], []
    for _, value in levels:
        axes.axhline(value, color=svg.FAINT, linewidth=1, linestyle="dotted")
        left, right = axes.get_xlim()
        lines.append([_spot(axes, left, value), _spot(axes, right, value)])
        colors.append(svg.INK)
    for curve in curves:
        hue, dashes = look(curve.number)
        x, y = zip(*curve.points, strict=True)
        axes.plot(x, y, color=svg.HUES[hue], linestyle=dashes, linewidth=1.5)
        lines.append([_spot(axes, *point) for point in curve.points])
        colors.append(svg.HUES[hue])
    # `lines` holds the levels first: their names start at the left, a curve's stands at its end.
    names = [*(label for label, _ in levels), *(curve.label for curve in curves)]
    spots = [line[0] for line in lines[: len(levels)]] + [line[-1] for line in lines[len(levels) :]]
    drawing.name(figure, names, spots, axes.bbox, lines, colors)


def _spot(axes: Axes, x: float, y: float) -> Spot:
    """The position on the panel, in points, of a point in data coordinates."""
    across, up = axes.transData.transform((x, y))
    return float(across), float(up)
