"""Tables of aten operators: how many multiplies each operator of a traced graph takes.

- `PRODUCTS`: convolutions, matrix products, weighted sums of rows.
- `SOLVES`: the steps of a linear solve.
- `ELEMENTWISE`, `SQUARES`, `INTERPOLATIONS`, `SCALED_ADDITIONS`: multiplies and divisions of single
  elements.
- `FREE`: no multiply.

An operator in no table raises `UnknownOperatorError`. So no operator counts as free by default.
`bench/costs/multiplies.py` states which count belongs to which quantity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from bench.graph.trace import Graph, Operator
from zoo.errors import InputError


class UnknownOperatorError(InputError):
    """An operator that no table counts."""


def convolution_multiplies(
    x: Iterable[int], weight: Iterable[int], out: Iterable[int], transposed: bool
) -> int:
    """Multiplies of a convolution, from the shapes of input, weight and output.

    Each output element takes `prod(weight[1:])` multiplies. In a transposed convolution, each
    input element does.

    Args:
        x: shape of the input, (N, C_in, H, W) or with another number of sides.
        weight: (C_out, C_in / groups, *kernel); transposed: (C_in, C_out / groups, *kernel).
        out: shape of the output, (N, C_out, H', W').
        transposed: whether the convolution is transposed.

    >>> convolution_multiplies((1, 3, 8, 8), (64, 3, 9, 9), (1, 64, 8, 8), False)
    995328
    """
    _, *per_element = weight
    return math.prod(x if transposed else out) * math.prod(per_element)


class Operands(NamedTuple):
    """Names of the two factors among an operator's arguments, and of the added bias."""

    left: str
    right: str
    """The weight, if the operator has a weight."""
    bias: str = ""
    """Empty if the operator adds nothing."""


# The weights by which an embedding bag sums rows of a table; None for a plain sum of rows.
_BAG = "per_sample_weights"
PRODUCTS = {
    "convolution": Operands("input", "weight", "bias"),
    "linear": Operands("input", "weight", "bias"),
    "mm": Operands("self", "mat2"),
    "bmm": Operands("self", "mat2"),
    "mv": Operands("self", "vec"),
    "dot": Operands("self", "tensor"),
    "addmm": Operands("mat1", "mat2", "self"),
    "baddbmm": Operands("batch1", "batch2", "self"),
    "addmv": Operands("mat", "vec", "self"),
    "_embedding_bag": Operands(_BAG, "weight"),
    # torch runs this variant if the table needs no gradient.
    "_embedding_bag_forward_only": Operands(_BAG, "weight"),
}
"""Convolutions, matrix products, weighted sums of rows: 1 multiply per multiply-accumulate."""


def _entries(operator: Operator, of_order: Callable[[int], int]) -> int:
    """Work of a batch of linear systems, `of_order(n)` each, with an output (*systems, n, columns).

    A factorisation is done once for each system, a solve once for each system and column.
    """
    *systems, order, columns = operator.out.shape
    solves = operator.name == "cholesky_solve"
    return math.prod(systems) * of_order(order) * (columns if solves else 1)


SOLVES: dict[str, tuple[Callable[[int], int], Callable[[int], int]]] = {
    # Row j, counted from 0, has n - j entries that take j multiplies each: (n^3 - n) / 6 in all.
    # Each of the n (n - 1) / 2 entries below the diagonal takes a division.
    "linalg_cholesky_ex": (lambda n: (n**3 - n) // 6, lambda n: n * (n - 1) // 2),
    # Two triangular solves, each with n (n - 1) / 2 multiplies and n divisions.
    "cholesky_solve": (lambda n: n * (n - 1), lambda n: 2 * n),
}
"""Multiplies, and divisions, as functions of the number n of linear equations.

The Cholesky factor takes them once, `cholesky_solve` once for each right-hand side.
"""
# fmt: off
ELEMENTWISE = frozenset((
    "mul", "mul_", "div", "div_", "reciprocal", "square", "square_", "addcmul", "addcmul_",
    "prelu", "_prelu_kernel", "leaky_relu", "leaky_relu_",
    "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "native_layer_norm", "native_group_norm",
))
"""1 multiply or division per output element."""
SQUARES = {"pow": "exponent", "linalg_vector_norm": "ord"}
"""1 multiply per input element if the named argument is 2; with any other value, unknown."""
INTERPOLATIONS = {"upsample_bilinear2d": 4, "upsample_bicubic2d": 16}
"""Each output element is a weighted sum of so many input elements: 1 multiply for each of them."""
SCALED_ADDITIONS = frozenset(("add", "add_", "sub", "sub_", "rsub"))
"""1 multiply per output element if the argument `alpha` is not 1; else free."""
FREE = frozenset((
    "relu", "relu_", "tanh", "tanh_", "sigmoid", "sigmoid_", "clamp", "clamp_", "clamp_min",
    "gelu", "silu", "silu_", "elu", "exp", "_softmax", "_log_softmax", "_safe_softmax", "sqrt",
    "erf", "log", "sin", "cos", "softplus", "mish", "hardsigmoid", "hardswish",
    "clamp_max", "hardtanh", "hardtanh_", "neg", "abs", "abs_", "maximum", "minimum", "round",
    "floor", "ceil", "sign", "logical_not",
    "max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d",
    "sum", "mean", "amax", "amin",
    "max", "min", "argmax", "argmin", "topk", "sort",
    "eq", "ne", "gt", "ge", "lt", "le", "where", "bitwise_or_",
    "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "unsqueeze",
    "squeeze", "select", "slice", "narrow", "split", "split_with_sizes", "chunk", "unbind",
    "alias", "detach", "detach_", "as_strided", "unfold", "diagonal", "diag_embed",
    "im2col", "col2im", "index", "scatter", "scatter_",
    "clone", "copy_", "_to_copy", "contiguous", "cat", "stack", "repeat", "flip", "rot90",
    "index_select", "index_copy_", "roll",
    "constant_pad_nd", "replication_pad2d", "reflection_pad2d", "gather",
    "pixel_shuffle", "pixel_unshuffle", "upsample_nearest2d",
    "empty", "empty_like", "new_empty", "new_zeros", "zeros", "zeros_like", "ones", "ones_like",
    "full", "full_like", "fill_", "zero_", "scalar_tensor", "arange", "linspace", "lift_fresh",
    "dropout", "native_dropout",
))
"""No multiplications: activations, comparisons, additions, sums, views, copies and padding."""


# fmt: on
def products(operator: Operator) -> int:
    """Multiplies of an operator in PRODUCTS or SOLVES; 0 for any other operator."""
    if operator.name in SOLVES:
        return _entries(operator, SOLVES[operator.name][0])
    if operator.name not in PRODUCTS:
        return 0
    names = PRODUCTS[operator.name]
    left, right = operator.arguments[names.left], operator.arguments[names.right]
    if operator.name == "convolution":
        transposed = operator.arguments["transposed"]
        return convolution_multiplies(left.shape, right.shape, operator.out.shape, transposed)
    if names.left == _BAG:  # each weight scales a row of the table
        return left.size * int(right.shape[1]) if left else 0
    return operator.out.size * int(left.shape[-1])  # an output element sums over a row of `left`


def elementwise(operator: Operator) -> int:
    """Multiplies and divisions of single elements; 0 for an operator that has none."""
    if operator.name in SOLVES:
        return _entries(operator, SOLVES[operator.name][1])
    if operator.name in SQUARES:
        return operator.tensors[0].size
    if operator.name in INTERPOLATIONS:
        return operator.out.size * INTERPOLATIONS[operator.name]
    scales = operator.name in SCALED_ADDITIONS and operator.arguments["alpha"] != 1
    return operator.out.size if operator.name in ELEMENTWISE or scales else 0


def is_known(operator: Operator) -> bool:
    """Whether a table says how to count the operator."""
    name = operator.name
    if name in SQUARES:
        return bool(operator.arguments[SQUARES[name]] == 2)
    tables = (PRODUCTS, SOLVES, ELEMENTWISE, INTERPOLATIONS, SCALED_ADDITIONS, FREE)
    # The overloads of scatter with `reduce` may multiply, so the name alone does not make it free.
    return any(name in table for table in tables) and "reduce" not in operator.arguments


def multadds(operator: Operator) -> int:
    """Multiply-additions of an operator as the literature prints them.

    A transposed convolution counts as a convolution with the same weight at the output's size. For
    every other operator the result is `products`.
    """
    if operator.name != "convolution" or not operator.arguments["transposed"]:
        return products(operator)
    batch, _, *positions = operator.out.shape
    return batch * math.prod(positions) * int(operator.arguments["weight"].size)


def refuse_unknown(graph: Graph) -> None:
    """Refuse a graph with an operator that cannot be counted.

    Raises:
        UnknownOperatorError: an operator is in no table; the message names the operator.
    """
    for operator in graph.operators:
        if not is_known(operator):
            raise UnknownOperatorError(
                f"operator {operator.overload} is unknown to the counter; add it to a table of "
                "bench/graph/counting.py"
            )


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A row of a network's layer table: a layer with products or solves, and their multiplies."""

    path: str
    """Dotted path of the module; of the parameter if the network itself runs the product."""
    kind: str
    """`convolution`, `transposed convolution`, `matrix product`, `weighted sum`, `linear solve`."""
    weight: tuple[int, ...]
    """Shape of the weight, or of a matrix product's second factor; empty for a solve."""
    output: tuple[int, ...]
    """Shape of an output, without the dimensions that grow with the image.

    (N, C, H, W) of a convolution; the last two dimensions of a batched matrix product or a solve;
    the last dimension of any other product.
    """
    multiplies: int
    """Of all calls together, for the input that was traced."""
    elements: int
    """Output elements of all calls together."""
    calls: int = 1


def _layer(operator: Operator) -> Layer:
    """The row of a single operator in PRODUCTS or SOLVES."""
    name, output, kind, path = operator.name, operator.out.shape, "linear solve", operator.layer
    weight: tuple[int, ...] = ()
    if name in PRODUCTS:
        kind = "weighted sum" if PRODUCTS[name].left == _BAG else "matrix product"
        right = operator.arguments[PRODUCTS[name].right]
        weight, path = right.shape, path or right.parameter
    if name == "convolution":
        kind = "transposed convolution" if operator.arguments["transposed"] else "convolution"
    elif name in ("bmm", "baddbmm", *SOLVES):
        weight, output = weight[-2:], output[-2:]  # the batch may grow with the image
    else:
        output = output[-1:]  # the rows may grow with the image
    return Layer(
        path=path,
        kind=kind,
        weight=weight,
        output=output,
        multiplies=products(operator),
        elements=operator.out.size,
    )


def per_layer(graph: Graph) -> list[Layer]:
    """The layer table: all layers with products or solves, in the order of their first run.

    A layer that runs again with an output of the same shape adds to the same row. The multiplies
    of all rows sum to `products` over the graph.
    """
    found: dict[tuple[object, ...], Layer] = {}
    for operator in graph.operators:
        if operator.name in PRODUCTS or operator.name in SOLVES:
            layer = _layer(operator)
            row = (layer.path, layer.kind, layer.weight, layer.output)
            if row in found:
                before = found[row]
                layer = replace(
                    layer,
                    multiplies=before.multiplies + layer.multiplies,
                    elements=before.elements + layer.elements,
                    calls=before.calls + 1,
                )
            found[row] = layer
    return list(found.values())


def total(count: Callable[[Operator], int]) -> Callable[[Graph], int]:
    """A function that sums a count over all operators of a graph."""
    return lambda graph: sum(map(count, graph.operators))
