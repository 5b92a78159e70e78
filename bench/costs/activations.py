"""Activations: the number of elements in the outputs of convolutions and matrix products.

Radosavovic et al.: Designing Network Design Spaces, CVPR 2020, section 3.2: the size of the output
tensors of all convolutions. The time on an accelerator follows this number more closely than the
multiplies. A matrix product counts too, because the product is a 1x1 convolution of rows.
"""

from __future__ import annotations

from bench.costs import OUTPUT_720P, Cost, Subject
from bench.graph.counting import PRODUCTS
from bench.graph.trace import per_pixel, trace_growing

TIMED = False
UNITS = {"activations_720p": "M"}


def measure(subject: Subject) -> dict[str, Cost]:
    """Elements of all these outputs, for an output image of 1280x720, as if without borders.

    Raises:
        InputError: the forward pass cannot be traced.
    """
    elements = per_pixel(
        sum(operator.out.size for operator in graph.operators if operator.name in PRODUCTS)
        for graph in trace_growing(subject.method, subject.module, subject.scale)
    )
    rows, columns = OUTPUT_720P
    return {"activations_720p": Cost(elements * rows * columns / subject.scale**2 / 1e6)}
