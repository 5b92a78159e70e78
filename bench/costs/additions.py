"""Additions, counted by operator on the graph that really runs.

The convention, exact for each output element:

- a convolution or matrix product that sums K products takes K - 1 additions, and one more where
  it adds a bias. Padding counts as any other input, as it does for multiplies. A transposed
  convolution takes its multiplies, less one for each output position and channel that any product
  falls on, plus one for each output element where it adds a bias;
- a linear solve subtracts each product that it takes;
- an addition or subtraction of two tensors, or of a number, takes one;
- a sum, mean or norm of K elements takes K - 1; patches that are laid on each other take one for
  each element, less one for each place that any of them covers;
- a normalisation takes one, its shift, as it takes one multiply; means and variances that it
  computes itself count for neither.

Comparisons (ReLU, clipping, pooling by the largest) and the protocol's interpolation count nothing;
counts are for each pixel inside an image, as those of multiplies.
"""

from __future__ import annotations

import math

from bench.costs import Cost, Subject
from bench.graph.counting import PRODUCTS, SOLVES, UnknownOperatorError, is_known, products
from bench.graph.trace import Operator, per_pixel, trace_growing

TIMED = False
UNITS = {"additions_per_input_px": "M"}
# fmt: off
ONE_EACH = frozenset((
    "add", "add_", "sub", "sub_", "rsub", "addcmul", "addcmul_",
    "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "native_layer_norm", "native_group_norm",
))
"""One addition per output element."""
# fmt: on
SUMS = frozenset(("sum", "mean", "linalg_vector_norm"))
"""One addition per input element, less one per output element."""


def _reached(operator: Operator) -> int:
    """Output elements that any product of a transposed convolution, or any patch, falls on."""
    given, out = operator.arguments, operator.out
    sides = [given[name] for name in ("stride", "padding", "dilation")]
    if operator.name == "col2im":
        kernel = given["kernel_size"]
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
    """Additions of one operator.

    Raises:
        UnknownOperatorError: it is in no table, neither here nor among the multiplies.
    """
    if not is_known(operator):
        raise UnknownOperatorError(
            f"operator {operator.overload} is unknown to the counter of additions; add it to a "
            "table of bench/costs/additions.py, or of bench/costs/multiplies.py if it adds nothing"
        )
    name, out = operator.name, operator.out.size if operator.outputs else 0
    if name in PRODUCTS:
        transposed = name == "convolution" and operator.arguments["transposed"]
        bias = PRODUCTS[name].bias
        biased = bias != "" and operator.arguments[bias] is not None
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
    if name == "avg_pool2d":
        taps: list[int] = operator.arguments["kernel_size"]
        return out * (math.prod(taps) - 1)
    return 0


def measure(subject: Subject) -> dict[str, Cost]:
    """Additions for each pixel of LR inside an image.

    Raises:
        InputError: the forward pass cannot be traced.
        UnknownOperatorError: it uses an operator that is in none of the tables.
    """
    graphs = trace_growing(subject.method, subject.module, subject.scale)
    found = per_pixel(sum(map(additions, graph.operators)) for graph in graphs)
    return {"additions_per_input_px": Cost(found / 1e6)}
