"""Receptive field: the side of the input area that an output pixel is computed from.

`bench/graph/field.py` finds the receptive field on the traced graph and explains the rules.
"""

from __future__ import annotations

from bench.costs import Cost, Subject
from bench.graph.field import field
from bench.graph.trace import trace_method

TIMED = False
UNITS = {"receptive_field": "px"}


def measure(subject: Subject) -> dict[str, Cost]:
    """The longer side of the receptive field, in pixels of the module's own input.

    The input is LR, or interpolated LR for a method that takes interpolated LR.

    Raises:
        InputError: the forward pass cannot be traced, an operator has no rule, or the whole image
            matters to an output pixel.
    """
    found = field(trace_method(subject.method, subject.module, subject.scale, proxies=True))
    return {"receptive_field": Cost(float(max(found.rows, found.columns)))}
