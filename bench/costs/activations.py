"""Activations: the number of elements in the outputs of convolutions and matrix products.

Radosavovic et al.: Designing Network Design Spaces, CVPR 2020, section 3.2: the size of the output
tensors of all convolutions. The time on an accelerator follows this number more closely than the
multiplies. A matrix product counts too, because the product is a 1x1 convolution of rows.
"""

from __future__ import annotations

from bench.costs import Cost, Subject, at_720p
from bench.graph import growth
from bench.graph.counting import PRODUCTS, total
from bench.graph.trace import Operator

TIMED = False
UNITS = {"activations_720p": "M"}


def _activations(operator: Operator) -> int:
    return operator.out.size if operator.name in PRODUCTS else 0


def measure(subject: Subject) -> dict[str, Cost]:
    """Elements of all these outputs, for an output image of 1280x720, as if without borders.

    Where the number depends on the image's size, it is counted at that size.

    Raises:
        InputError: the forward pass cannot be traced.
    """
    grown = growth.of_method(subject.method, subject.module, subject.scale, subject.lr_720p)
    return {"activations_720p": at_720p(grown, total(_activations), subject.scale, 1e6)}
