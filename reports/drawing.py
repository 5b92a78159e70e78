"""The common parts of the page's panels: size, style, grid lines, strokes and placed names."""

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
"""Points. The page scales a panel to the width of its column."""

LEFT, BOTTOM, RIGHT, TOP = 0.14, 0.155, 0.985, 0.895
"""The edges of the axes, as fractions of the panel."""

_TEXT = 10.5
"""Font size in points."""

_STYLE: dict[Any, Any] = {
    # A fixed salt makes the ids in the SVG the same in every run.
    "svg.hashsalt": "sisrbench",
    # Text stays text, so the page can set its font and readers can select it.
    "svg.fonttype": "none",
    "font.size": _TEXT,
    # A method's name may hold a dollar sign.
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
    """Let matplotlib draw in the page's style; the user's own settings return on exit."""
    with mpl.rc_context(), warnings.catch_warnings():
        # Matplotlib's font may lack a script. The browser, which draws the text, does not.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def figure(title: str) -> Figure:
    """A new panel with a title and no axes."""
    # Matplotlib takes inches; at 72 dpi a pixel is a point.
    made = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
    made.text(LEFT, 0.94, shortened(title, 44), size=_TEXT + 1.5, weight="bold")
    return made


def rule(axes: Axes) -> None:
    """Give the axes faint horizontal grid lines and short ticks."""
    axes.grid(visible=True, axis="y", color=svg.FAINT, linewidth=0.5, alpha=0.35)
    axes.tick_params(length=3)


def stroke(figure: Figure, line: Sequence[Spot], color: str, width: float) -> None:
    """Draw a line through positions on the panel.

    Args:
        figure: the panel.
        line: positions in points.
        color: a colour of `reports.svg`.
        width: points.
    """
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
    """Write each name near its marker and clear of the lines.

    A thin line connects a name with its marker where the two are far apart.

    Args:
        figure: the panel.
        names: in the order of `spots`.
        spots: the markers' positions in points.
        axes: box of the leftmost axes; names stay to the right of the box's left edge.
        lines: curves that names keep clear of, as positions in points.
        colors: in the order of `names`; () for the colour of text.
    """
    texts = [
        figure.text(0, 0, shortened(each), size=_TEXT - 0.5, color=color)
        for each, color in zip(names, colors or [svg.INK] * len(names), strict=True)
    ]
    # The title stands above 0.925 of the height.
    inside = (axes.x0 + 2, axes.y0 + 1, WIDTH - 2, 0.925 * HEIGHT)
    boxes = placed(spots, [_size(text) for text in texts], inside, lines)
    for text, spot, box in zip(texts, spots, boxes, strict=True):
        text.set(x=box[0] / WIDTH, y=(box[1] + box[3]) / 2 / HEIGHT, va="center_baseline")
        corner = nearest(spot, box)
        if math.dist(corner, spot) > 2.5 * RADIUS:
            stroke(figure, [spot, corner], svg.FAINT, 0.6)


def _size(text: Text) -> Spot:
    """The width and height of a text, in points."""
    extent = text.get_window_extent()
    return float(extent.width), float(extent.height)
