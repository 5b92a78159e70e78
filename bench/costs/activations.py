"""Activations: how many numbers the convolutions put out.

Radosavovic et al.: Designing Network Design Spaces, CVPR 2020, section 3.2: the size of the output
tensors of all convolutions, which time on an accelerator follows more closely than multiplies.
"""

from __future__ import annotations

from bench.costs import OUTPUT_720P, Cost, Subject
from bench.graph import SIDE, trace_method

TIMED = False
UNITS = {"activations_720p": "M"}


def measure(subject: Subject) -> dict[str, Cost]:
    """Elements of all convolutions' outputs, for an output of 1280x720.

    Raises:
        InputError: the forward pass cannot be traced.
    """
    graph = trace_method(subject.method, subject.module, subject.scale)
    elements = sum(operator.out.size for operator in graph.operators
                   if operator.name == "convolution")  # fmt: skip
    rows, columns = OUTPUT_720P
    share = rows * columns / (SIDE * subject.scale) ** 2
    return {"activations_720p": Cost(elements * share / 1e6)}
