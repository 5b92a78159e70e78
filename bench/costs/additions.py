"""Additions, counted operator by operator on the traced graph.

The convention, exact for each output element:

- A convolution or matrix product that sums K products takes K - 1 additions, and 1 more if a bias
  is added. Padding counts as any other input, as for multiplies.
- A transposed convolution takes as many additions as multiplies, less 1 for each output position
  and channel that any product falls on, plus 1 for each output element if a bias is added.
- A linear solve takes a subtraction for each product.
- An addition or subtraction of two tensors, or of a tensor and a number, takes 1.
- A sum, mean or norm of K elements takes K - 1; so does an interpolated element of K neighbours.
- Overlapping patches that are added up take 1 for each element, less 1 for each covered place.
- A normalisation takes 1 addition, the shift, just as it takes 1 multiply. Means and variances
  computed in the forward pass count neither as additions nor as multiplies.

Comparisons (ReLU, clipping, max pooling) and the protocol's interpolation count 0. As for
multiplies, counts are for each pixel inside an image.
"""

from __future__ import annotations

import math

from bench.costs import Cost, Subject, per_pixel
from bench.graph import growth
from bench.graph.counting import (
    INTERPOLATIONS,
    PRODUCTS,
    SOLVES,
    UnknownOperatorError,
    is_known,
    products,
    total,
)
from bench.graph.trace import Operator

TIMED = False
UNITS = {"additions_per_input_px": "M"}
# fmt: off
ONE_EACH = frozenset((
    "add", "add_", "sub", "sub_", "rsub", "addcmul", "addcmul_",
    "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "native_layer_norm", "native_group_norm",
))
"""1 addition per output element."""
# fmt: on
SUMS = frozenset(("sum", "mean", "linalg_vector_norm"))
"""1 addition per input element, less 1 per output element."""


_BAGS = ("_embedding_bag", "_embedding_bag_forward_only")
_LARGEST = 2
"""Mode of an embedding bag that takes the largest of its rows; the other modes add them up."""


def _pooled(operator: Operator) -> int:
    """Input elements that an average pooling to a given size reads, overlaps counted twice."""
    old, new = operator.tensors[0].shape, operator.out.shape
    # torch's windows along a side: from floor(i * old / new) to ceil((i + 1) * old / new).
    sides = [
        sum(-(-(i + 1) * length // parts) - i * length // parts for i in range(parts))
        for length, parts in zip(old[-2:], new[-2:], strict=True)
    ]
    return math.prod(old[:-2]) * math.prod(sides)


def _reached(operator: Operator) -> int:
    """Output elements that any product of a transposed convolution, or any patch, falls on."""
    given, out = operator.arguments, operator.out
    sides = [given[name] for name in ("stride", "padding", "dilation")]
    if operator.name == "col2im":
        kernel = given["kernel_size"]
        # col2im is given no input side: this is torch's formula for the patches along a side.
        lengths = [
            (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
            for size, taps, stride, padding, dilation in zip(
                out.shape[2:], kernel, *sides, strict=True
            )
        ]
    else:
        kernel, lengths = given["weight"].shape[2:], given["input"].shape[2:]
    found = math.prod(out.shape[:2])
    for length, taps, size, stride, padding, dilation in zip(
        lengths, kernel, out.shape[2:], *sides, strict=True
    ):
        hit = {i * stride + k * dilation - padding for i in range(length) for k in range(taps)}
        found *= len(hit & set(range(size)))
    return found


def additions(operator: Operator) -> int:
    """Additions of a single operator.

    Raises:
        UnknownOperatorError: the operator is in no table here and in `bench/graph/counting.py`.
    """
    if not is_known(operator):
        raise UnknownOperatorError(
            f"operator {operator.overload} is unknown to the counter of additions; add it to a "
            "table of bench/costs/additions.py, or of bench/graph/counting.py if it adds nothing"
        )
    name, out = operator.name, operator.out.size if operator.outputs else 0
    if name in _BAGS and operator.arguments["per_sample_weights"] is None:
        rows, (bags, width) = operator.arguments["indices"].size, operator.out.shape
        is_sum = operator.arguments["mode"] != _LARGEST
        return max(rows - bags, 0) * width if is_sum else 0
    if name in PRODUCTS:
        transposed = name == "convolution" and operator.arguments["transposed"]
        bias = PRODUCTS[name].bias
        biased = bias != "" and operator.arguments[bias] is not None
        # The first product that falls on an output element needs no addition.
        firsts = _reached(operator) if transposed else out
        return products(operator) - firsts + (out if biased else 0)
    if name in SOLVES:
        return products(operator)
    if name in ONE_EACH:
        return out
    given = operator.tensors[0].size if operator.tensors else 0
    if name in SUMS:
        return given - out
    if name == "col2im":
        return given - _reached(operator)
    if name in INTERPOLATIONS:
        return out * (INTERPOLATIONS[name] - 1)
    if name == "_adaptive_avg_pool2d":
        return _pooled(operator) - out
    if name == "avg_pool2d":
        taps: list[int] = operator.arguments["kernel_size"]
        return out * (math.prod(taps) - 1)
    return 0


def measure(subject: Subject) -> dict[str, Cost]:
    """Additions for each LR pixel inside an image, in millions; none if they depend on its size.

    Raises:
        InputError: the forward pass cannot be traced.
        UnknownOperatorError: the forward pass uses an operator that is in no table.
    """
    grown = growth.of_method(subject.method, subject.module, subject.scale, subject.lr_720p)
    return {"additions_per_input_px": per_pixel(grown, total(additions), 1e6)}
