"""Accuracy against cost as pictures: the Pareto front, and one panel of it as inline SVG."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.etree import ElementTree as ET  # noqa: S405 (it reads only what matplotlib wrote)

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import NullLocator

from reports.quantities import significant

_WIDTH, _HEIGHT = 380.0, 310.0
"""Points; the page scales a panel to its column."""

_TEXT = 10.5
_RADIUS = 3.6
_LONGEST = 26
"""Letters of a label; the whole name is in the panel's description."""

# matplotlib knows no style sheets. These stand for the page's colours and are replaced by them.
_INK, _FAINT, _ACCENT, _PAPER = "#010203", "#010204", "#010205", "#010206"
_VARIABLES = {_INK: "--ink", _FAINT: "--faint", _ACCENT: "--accent", _PAPER: "--paper"}

_STYLE = {
    "svg.hashsalt": "sisrbench",
    "svg.fonttype": "none",
    "font.size": _TEXT,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
}

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top, in points."""

Spot: TypeAlias = tuple[float, float]
"""A position on the panel, in points."""


@dataclass(frozen=True)
class Point:
    """A method where accuracy is drawn against cost."""

    label: str
    cost: float
    quality: float


def pareto(cost: Sequence[float], quality: Sequence[float]) -> list[bool]:
    """Whether each method is on the Pareto front: none is at least as good and cheap, and better.

    Lower cost and higher quality are better. Methods with equal cost and quality do not dominate
    each other. One whose cost or quality is NaN is never on the front.

    >>> pareto([1, 2, 3], [30.0, 29.0, 31.0])
    [True, False, True]
    """
    pairs = list(zip(cost, quality, strict=True))
    return [
        not (math.isnan(c) or math.isnan(q))
        and not any(oc <= c and oq >= q and (oc < c or oq > q) for oc, oq in pairs)
        for c, q in pairs
    ]


def panel(
    points: Sequence[Point], *, name: str, title: str, x_label: str, y_label: str
) -> str:
    """Quality (up) against cost (right, logarithmic) as inline SVG.

    The front is a line with filled markers, dominated methods are hollow. Methods that cost
    nothing stand in a strip of their own, left of the axis, at 0. `name` keeps the ids of several
    panels on one page apart. Colours are the page's CSS variables.

    Raises:
        ValueError: there is no point, or one is not a finite number.
    """
    if not points or not all(math.isfinite(p.cost) and math.isfinite(p.quality) for p in points):
        raise ValueError(f"panel {name!r} needs points of finite cost and quality: {points}")
    with mpl.rc_context(), warnings.catch_warnings():
        # A name in a script that matplotlib's font lacks is still right in the reader's browser.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        svg = _svg(_drawn(points, title, x_label, y_label))
    return _embedded(svg, name, described(points, title, x_label, y_label))


def described(points: Sequence[Point], title: str, x_label: str, y_label: str) -> str:
    """What a panel shows, in words: for those who cannot see it."""
    front = pareto([p.cost for p in points], [p.quality for p in points])
    listed = [
        f"{p.label} {significant(p.cost, 4)}, {significant(p.quality, 4)}"
        f"{' (on the Pareto front)' if on_front else ''}"
        for p, on_front in zip(points, front, strict=True)
    ]
    return f"{title}. {y_label} against {x_label}. Cost, accuracy: {'; '.join(listed)}."


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high on a logarithmic axis: decades, or 1, 2, 5 where few fit.

    >>> ticks(0.02, 30)
    [0.1, 1.0, 10.0]
    >>> ticks(1.5, 30)
    [2.0, 5.0, 10.0, 20.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), tuple(range(1, 10))):
        found = [float(f"{step}e{d}") for d in decades for step in steps]
        inside = [tick for tick in found if low <= tick <= high]
        if len(inside) > 2:
            break
    every = math.ceil(len(inside) / 6)
    return inside[::every]


def _drawn(points: Sequence[Point], title: str, x_label: str, y_label: str) -> Figure:
    figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72), dpi=72)
    figure.patch.set_visible(False)
    paid = [p.cost for p in points if p.cost > 0]
    free = len(paid) < len(points)
    left, bottom, right, top = 0.135, 0.15, 0.985, 0.9
    strip = 0.13 if free else 0.0
    axes = figure.add_axes((left + strip, bottom, right - left - strip, top - bottom))
    margin = _limit(axes, points, paid)
    where = {False: axes}
    if free:
        where[True] = figure.add_axes((left, bottom, strip - 0.015, top - bottom), sharey=axes)
        where[True].set(xlim=(-1, 1), xticks=[0], xticklabels=["0"])
    leftmost = where.get(True, axes)
    for each in where.values():
        _style(each, labelled=each is leftmost)
    leftmost.set_ylabel(y_label)
    axes.set_xlabel(x_label)
    figure.text(left, 0.94, title, color=_INK, size=_TEXT + 1.5, weight="bold", parse_math=False)
    _mark(points, where)
    _label(figure, points, where, margin)
    return figure


def _limit(axes: Axes, points: Sequence[Point], paid: Sequence[float]) -> float:
    """Set the limits, with room around the outermost points; gives the vertical room, in dB."""
    axes.set_xscale("log")
    low, high = (min(paid), max(paid)) if paid else (1.0, 1.0)
    room = max(10 ** (0.1 * math.log10(high / low)), 1.6)
    axes.set_xlim(low / room, high * room)
    marks = ticks(low / room, high * room)
    axes.set_xticks(marks, [significant(mark, 1) for mark in marks])
    axes.xaxis.set_minor_locator(NullLocator())
    if not paid:
        axes.set_xticks([])
    worst, best = min(p.quality for p in points), max(p.quality for p in points)
    margin = max(0.12 * (best - worst), 0.05)
    axes.set_ylim(worst - margin, best + margin)
    return margin


def _style(axes: Axes, *, labelled: bool) -> None:
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="y", color=_FAINT, linewidth=0.5, alpha=0.35)
    axes.set_axisbelow(True)
    axes.tick_params(length=3, labelsize=_TEXT - 0.5)
    if not labelled:
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelleft=False)


def _mark(points: Sequence[Point], where: dict[bool, Axes]) -> None:
    front = pareto([p.cost for p in points], [p.quality for p in points])
    best = sorted((p.cost, p.quality) for p, on in zip(points, front, strict=True) if on)
    line = [spot for spot in best if spot[0] > 0]
    where[False].plot(*zip(*line, strict=True), color=_ACCENT, linewidth=1.2, zorder=2) if line else None
    for point, on_front in zip(points, front, strict=True):
        where[point.cost <= 0].plot(
            max(point.cost, 0),
            point.quality,
            "o",
            markersize=2 * _RADIUS - 1,
            markerfacecolor=_ACCENT if on_front else _PAPER,
            markeredgecolor=_ACCENT if on_front else _INK,
            markeredgewidth=1,
            clip_on=False,
            zorder=3,
        )


def _label(
    figure: Figure, points: Sequence[Point], where: dict[bool, Axes], margin: float
) -> None:
    renderer = FigureCanvasAgg(figure).get_renderer()
    font = FontProperties(size=_TEXT - 0.5)
    spots: list[Spot] = []
    sizes: list[Spot] = []
    names = [shortened(point.label) for point in points]
    for point, name in zip(points, names, strict=True):
        x, y = where[point.cost <= 0].transData.transform((max(point.cost, 0), point.quality))
        spots.append((float(x), float(y)))
        width, height, _ = renderer.get_text_width_height_descent(name, font, ismath=False)
        sizes.append((float(width), float(height)))
    bounds = where.get(True, where[False]).get_window_extent()
    inside = (bounds.x0 + 2, bounds.y0 + 1, _WIDTH - 2, _HEIGHT * 0.93)
    for name, spot, box in zip(names, spots, placed(spots, sizes, inside), strict=True):
        _write(figure, name, spot, box)


def _write(figure: Figure, name: str, spot: Spot, box: Box) -> None:
    """A label in its box, tied to its marker by a thin line where it stands away from it."""
    left, bottom, right, top = box
    figure.text(
        left / _WIDTH,
        (bottom + top) / 2 / _HEIGHT,
        name,
        size=_TEXT - 0.5,
        color=_INK,
        va="center_baseline",
        parse_math=False,
    )
    near = (min(max(spot[0], left), right), min(max(spot[1], bottom), top))
    if math.dist(near, spot) > 3 * _RADIUS:
        figure.add_artist(
            mpl.lines.Line2D(
                [spot[0] / _WIDTH, near[0] / _WIDTH],
                [spot[1] / _HEIGHT, near[1] / _HEIGHT],
                color=_FAINT,
                linewidth=0.6,
            )
        )


def shortened(name: str) -> str:
    """A name that fits beside a marker; characters that no SVG can hold are left out."""
    printable = "".join(letter for letter in name if letter.isprintable())
    return printable if len(printable) <= _LONGEST else printable[: _LONGEST - 1].rstrip() + "…"


def placed(spots: Sequence[Spot], sizes: Sequence[Spot], inside: Box) -> list[Box]:
    """A box for each label, near its marker and clear of all markers and other labels.

    Greedy, the most crowded first; where there is no clear place left, the least bad one.
    """
    markers = [(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in spots]
    crowd = [sum(math.dist(a, b) < 60 for b in spots) for a in spots]
    found: dict[int, Box] = {}
    for i in sorted(range(len(spots)), key=lambda i: (-crowd[i], spots[i])):
        taken = markers + list(found.values())
        found[i] = min(
            _around(spots[i], sizes[i]),
            key=lambda box: sum(_overlap(box, other) for other in taken) + _outside(box, inside),
        )
    return [found[i] for i in range(len(spots))]


def _around(spot: Spot, size: Spot) -> Iterator[Box]:
    """Places for a label, the preferred first: right, left, above, below, then further away."""
    (x, y), (width, height) = spot, size
    for gap in (_RADIUS + 2, 10, 16, 24, 34, 46, 60, 76):
        for across, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            away = gap if not (across and up) else gap * 0.75
            left = x + across * away - width * (1 - across) / 2
            bottom = y + up * away - height * (1 - up) / 2
            yield left, bottom, left + width, bottom + height


def _overlap(a: Box, b: Box) -> float:
    """The area that two boxes share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Box, inside: Box) -> float:
    """The area of a box that lies outside another, doubled: a cut label is worse than a touch."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return 2 * (area - _overlap(box, inside))


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


def _embedded(svg: bytes, name: str, description: str) -> str:
    """matplotlib's SVG made part of a page: its fonts, its colours, ids that are unique there."""
    root = ET.fromstring(svg)  # noqa: S314 (matplotlib wrote it a moment ago)
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    used = {value[1:] for e in root.iter() for key, value in e.items() if key.endswith("href")}
    used |= {e.get("clip-path", "")[5:-1] for e in root.iter()}
    for element in root.iter():
        _adapt(element, name, used)
    box = root.get("viewBox", "")
    inner = "".join(ET.tostring(child, encoding="unicode") for child in root)
    escaped = ET.Element("svg", {"viewBox": box, "role": "img", "aria-label": description})
    opening = ET.tostring(escaped, encoding="unicode").removesuffix("/>").rstrip()
    return f"{opening}>{inner}</svg>"


def _adapt(element: ET.Element, name: str, used: set[str]) -> None:
    element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    attributes = dict(element.attrib)
    element.attrib.clear()
    for key, value in attributes.items():
        if key == "id":
            if value in used:
                element.set("id", f"{name}-{value}")
        elif key.removeprefix(f"{{{_XLINK}}}") == "href":
            element.set("href", f"#{name}-{value[1:]}")
        elif key == "clip-path":
            element.set(key, f"url(#{name}-{value[5:-1]})")
        elif key == "style":
            element.set(key, _styled(value))
        else:
            element.set(key, value)
    if element.tag == "text" and "fill:" not in element.get("style", ""):
        element.set("style", f"{element.get('style', '')}; fill: var(--ink)")


def _styled(style: str) -> str:
    """A style attribute in the page's font and colours."""
    for placeholder, variable in _VARIABLES.items():
        style = style.replace(placeholder, f"var({variable})")
    return style.replace("'DejaVu Sans', 'Bitstream Vera Sans'", "var(--sans), 'DejaVu Sans'")
