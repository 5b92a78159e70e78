"""Additions, counted by operator on the graph that really runs.

The convention, exact for each output element:

- a convolution or matrix product that sums K products takes K - 1 additions, and one more where
  it adds a bias. Padding counts as any other input, as it does for multiplies. A transposed
  convolution takes its multiplies, less one for each output position and channel that any product
  falls on, plus one for each output element where it adds a bias;
- an addition or subtraction of two tensors, or of a number, takes one;
- a sum or mean of K elements takes K - 1;
- a normalisation takes one, its shift, as it takes one multiply; means and variances that it
  computes itself count for neither.

Comparisons (ReLU, clipping, pooling) and the protocol's interpolation count nothing.
"""

from __future__ import annotations

import math

from bench.costs import Cost, Subject
from bench.costs.multiplies import PRODUCTS, UnknownOperatorError, is_known, products
from bench.graph import SIDE, Operator, trace_method

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

SUMS = frozenset(("sum", "mean"))
"""One addition per input element, less one per output element."""


def _reached(operator: Operator) -> int:
    """Output elements of a transposed convolution that any product falls on."""
    x, weight, out = operator.arguments["input"], operator.arguments["weight"], operator.out
    found = math.prod(out.shape[:2])
    axes = zip(
        x.shape[2:],
        weight.shape[2:],
        out.shape[2:],
        *(operator.arguments[name] for name in ("stride", "padding", "dilation")),
        strict=True,
    )
    for length, taps, size, stride, padding, dilation in axes:
        hit = {i * stride + k * dilation - padding for i in range(length) for k in range(taps)}
        found *= len(hit & set(range(size)))
    return found


def additions(operator: Operator) -> int:
    """Additions of one operator.

    Raises:
        UnknownOperatorError: it is in no table, neither here nor among the multiplies.
    """
    name, out = operator.name, operator.out.size if operator.outputs else 0
    if name in PRODUCTS:
        transposed = name == "convolution" and operator.arguments["transposed"]
        bias = PRODUCTS[name].bias
        biased = bias != "" and operator.arguments[bias] is not None
        firsts = _reached(operator) if transposed else out
        return products(operator) - firsts + (out if biased else 0)
    if name in ONE_EACH:
        return out
    if name in SUMS:
        given: int = operator.arguments["self"].size
        return given - out
    if not is_known(operator):
        raise UnknownOperatorError(
            f"operator {operator.overload} is unknown to the counter of additions; add it to a "
            "table of bench/costs/additions.py, or of bench/costs/multiplies.py if it adds nothing"
        )
    return 0


def measure(subject: Subject) -> dict[str, Cost]:
    """Additions per pixel of LR, counted on LR of 48x48 pixels.

    Raises:
        InputError: the forward pass cannot be traced.
        UnknownOperatorError: it uses an operator that is in none of the tables.
    """
    graph = trace_method(subject.method, subject.module, subject.scale)
    return {
        "additions_per_input_px": Cost(sum(map(additions, graph.operators)) / SIDE**2 / 1e6),
    }
