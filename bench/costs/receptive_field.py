"""Receptive field: the side of the input area that an output pixel is computed from.

`bench/graph/field.py` finds the receptive field on the traced graph and explains the rules.
"""

from __future__ import annotations

from bench.costs import Cost, Subject
from bench.graph.field import Field, field
from bench.graph.growth import HELD_TO, described
from bench.graph.trace import SIDE, trace_method
from zoo.errors import InputError

TIMED = False
UNITS = {"receptive_field": "px"}


def measure(subject: Subject) -> dict[str, Cost]:
    """The longer side of the receptive field, in pixels of the module's own input.

    The input is LR, or interpolated LR for a method that takes interpolated LR. A network that
    branches on the image's size, or has more levels for a larger image, has several receptive
    fields: then the value is that of LR for a 1280x720 output, and the note says so.

    Raises:
        InputError: the forward pass cannot be traced, an operator has no rule, or the whole image
            matters to an output pixel.
    """

    def of_size(size: tuple[int, int]) -> Field:
        return field(
            trace_method(subject.method, subject.module, subject.scale, size, proxies=True)
        )

    stated = subject.lr_720p
    found = {}
    for size in ((SIDE, SIDE), HELD_TO[0]):
        try:
            found[size] = of_size(size)
        except InputError:  # a network may refuse sizes for which no cost is stated
            continue
    found[stated] = of_size(stated)
    sides = {size: max(each.rows, each.columns) for size, each in found.items()}
    note = ""
    if len(set(sides.values())) > 1:
        each = "; ".join(f"{side} at {described(size)}" for size, side in sides.items())
        note = f"depends on the size: {each}"
    return {"receptive_field": Cost(float(sides[stated]), note=note)}
