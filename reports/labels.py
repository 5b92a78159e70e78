"""Placing names in a plot: near their markers, clear of markers, lines and other names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top, in points."""

Spot: TypeAlias = tuple[float, float]
"""A position on the panel, or a width and a height; in points."""

RADIUS = 3.6
"""Radius of a marker with the free space around it, in points."""

# All in points: free space around a label, the distance within which markers count as neighbours,
# and the distance between the boxes that stand for a line.
_AIR = 2.5
_CROWD = 60.0
_STEP = 4.0


def shortened(name: str, longest: int = 26) -> str:
    """A name cut to fit beside a marker, without the characters that SVG cannot hold.

    >>> shortened("srcnn-9-5-5 (imagenet, 2014 release)")
    'srcnn-9-5-5 (imagenet, 20…'
    """
    printable = "".join(letter for letter in name if letter.isprintable())
    if len(printable) <= longest:
        return printable
    return printable[: longest - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def placed(
    spots: Sequence[Spot],
    sizes: Sequence[Spot],
    inside: Box,
    lines: Sequence[Sequence[Spot]] = (),
) -> list[Box]:
    """A box for each label: near its marker, clear of markers, other labels and the lines.

    The method is greedy: the label with the most neighbours is placed first. Where no place is
    clear, the label takes the place with the least overlap.

    Args:
        spots: the markers' positions.
        sizes: the labels' widths and heights, in the order of `spots`.
        inside: the box that labels should stay in.
        lines: curves to keep clear of, as positions.

    Returns:
        Boxes in the order of `spots`.
    """
    around = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in spots]
    taken = around + [box for line in lines for box in _along(line)]
    crowd = [sum(math.dist(a, b) < _CROWD for b in spots) for a in spots]
    found: dict[int, Box] = {}
    for i in sorted(range(len(spots)), key=lambda i: (-crowd[i], spots[i])):
        found[i] = _clearest(list(_candidates(spots[i], sizes[i])), taken, inside)
        left, bottom, right, top = found[i]
        taken.append((left - _AIR, bottom - _AIR, right + _AIR, top + _AIR))
    return [found[i] for i in range(len(spots))]


def _clearest(candidates: list[Box], taken: Sequence[Box], inside: Box) -> Box:
    """The candidate with the least overlap; the first of several."""
    return min(
        candidates,
        key=lambda box: sum(overlap(box, other) for other in taken) + _outside(box, inside),
    )


def nearest(spot: Spot, box: Box) -> Spot:
    """The point of a box that is nearest to a position."""
    return min(max(spot[0], box[0]), box[2]), min(max(spot[1], box[1]), box[3])


def overlap(a: Box, b: Box) -> float:
    """The area that two boxes have in common.

    >>> overlap((0, 0, 2, 2), (1, 1, 3, 3)), overlap((0, 0, 1, 1), (1, 0, 2, 1))
    (1, 0.0)
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Box, inside: Box) -> float:
    """Ten times the area of a box that lies outside another box."""
    # Tenfold, because a label that is cut off is worse than two labels that overlap.
    area = (box[2] - box[0]) * (box[3] - box[1])
    return 10 * (area - overlap(box, inside))


def _candidates(spot: Spot, size: Spot) -> Iterator[Box]:
    """Boxes for a label, preferred first: right, left, above, below, diagonal, then further out."""
    (x, y), (width, height) = spot, size
    # Points between marker and label. The first clear box wins, so near ones come first.
    for gap in (RADIUS + 2, 9, 13, 18, 24, 34, 46, 60, 76, 94, 114):
        for across, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            # A diagonal step is longer than its components; 0.75 keeps the distance similar.
            away = gap if not (across and up) else gap * 0.75
            left = x + across * away - width * (1 - across) / 2
            bottom = y + up * away - height * (1 - up) / 2
            yield left, bottom, left + width, bottom + height


def _along(line: Sequence[Spot]) -> list[Box]:
    """Small boxes along a line, so that labels can avoid the line as they avoid boxes."""
    boxes = []
    for (x0, y0), (x1, y1) in pairwise(line):
        steps = max(1, round(math.dist((x0, y0), (x1, y1)) / _STEP))
        for step in range(steps + 1):
            x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
            boxes.append((x - 1, y - 1, x + 1, y + 1))
    return boxes
