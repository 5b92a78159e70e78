"""What the page's panels share: size, style, rules, strokes, and names beside spots."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import BboxBase

from reports import svg
from reports.labels import RADIUS, Spot, nearest, placed, shortened

WIDTH, HEIGHT = 352.0, 292.0
"""Points; the page scales a panel to its column."""

LEFT, BOTTOM, RIGHT, TOP = 0.14, 0.155, 0.985, 0.895
"""The axes on the panel, as fractions of it."""

_TEXT = 10.5

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "sisrbench",
    "svg.fonttype": "none",
    "font.size": _TEXT,
    "text.parse_math": False,
    "text.color": svg.INK,
    "axes.edgecolor": svg.FAINT,
    "axes.labelcolor": svg.INK,
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "xtick.color": svg.FAINT,
    "ytick.color": svg.FAINT,
    "xtick.labelcolor": svg.INK,
    "ytick.labelcolor": svg.INK,
    "xtick.labelsize": _TEXT - 0.5,
    "ytick.labelsize": _TEXT - 0.5,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """While open, matplotlib draws in the page's style, whatever the reader's own is."""
    with mpl.rc_context(), warnings.catch_warnings():
        # A name in a script that matplotlib's font lacks is still right in the reader's browser.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def figure(title: str) -> Figure:
    """A panel with its title, and no axes yet."""
    made = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
    made.text(LEFT, 0.94, shortened(title, 44), size=_TEXT + 1.5, weight="bold")
    return made


def rule(axes: Axes) -> None:
    """Faint lines across, and short ticks."""
    axes.grid(visible=True, axis="y", color=svg.FAINT, linewidth=0.5, alpha=0.35)
    axes.tick_params(length=3)


def stroke(figure: Figure, line: Sequence[Spot], color: str, width: float) -> None:
    """A line through spots, drawn over the whole panel."""
    across, up = zip(*line, strict=True)
    figure.add_artist(
        Line2D([x / WIDTH for x in across], [y / HEIGHT for y in up], color=color, linewidth=width)
    )


def name(
    figure: Figure,
    names: Sequence[str],
    spots: Sequence[Spot],
    axes: BboxBase,
    lines: Sequence[Sequence[Spot]],
    colors: Sequence[str] = (),
) -> None:
    """Write each name near its spot, clear of the lines, tied to it where it stands away.

    `axes` is the box of the leftmost axes, which names keep to the right of. Names are in ink
    where no colours are given.
    """
    texts = [
        figure.text(0, 0, shortened(each), size=_TEXT - 0.5, color=color)
        for each, color in zip(names, colors or [svg.INK] * len(names), strict=True)
    ]
    inside = (axes.x0 + 2, axes.y0 + 1, WIDTH - 2, 0.925 * HEIGHT)
    boxes = placed(spots, [_size(text) for text in texts], inside, lines)
    for text, spot, box in zip(texts, spots, boxes, strict=True):
        text.set(x=box[0] / WIDTH, y=(box[1] + box[3]) / 2 / HEIGHT, va="center_baseline")
        corner = nearest(spot, box)
        if math.dist(corner, spot) > 2.5 * RADIUS:
            stroke(figure, [spot, corner], svg.FAINT, 0.6)


def _size(text: Text) -> Spot:
    extent = text.get_window_extent()
    return float(extent.width), float(extent.height)
