"""Receptive field: how far from an output pixel the input still matters, found on the graph.

Each tensor says, for both axes of the image, which input rows an index of it is made from: the
span from the first to the last, in whole numbers. Spans repeat with a period: where a network
enlarges by 2, even and odd output rows see different ones, and each phase has its own. A span also
holds the rows that its index stands for, and so those of every index that is read on the way,
whatever is found there: a tile that lacks one finds its own edge instead.

All channels of a tensor are taken to see what any of them sees: where pixels become channels and
then pixels again with nothing between that mixes channels, the field is larger than it need be.
What networks hardly do to an image is refused, never guessed at: to crop it, to cut and join it, to
lay its pixels out anew, to change it through a view. A method that works on lists of patches, which
cannot be followed either, names a network that looks as far: the `receptive_field_proxy` of its module.
"""

from __future__ import annotations

from bench.costs import Cost, Subject
from bench.graph.field import field
from bench.graph.trace import trace_method

TIMED = False
UNITS = {"receptive_field": "px"}


def measure(subject: Subject) -> dict[str, Cost]:
    """Rows or columns, whichever are more, of the module's own input: LR, or interpolated LR.

    Raises:
        InputError: the forward pass cannot be traced, or the whole image matters.
    """
    found = field(trace_method(subject.method, subject.module, subject.scale, proxies=True))
    return {"receptive_field": Cost(float(max(found.rows, found.columns)))}
