"""How much work each operator of a traced graph does: multiplies, elementwise, unknown.

A table of operator names says how each one counts. An operator that is in no table is unknown, and
raises: nothing is taken to be free that was not looked at. `bench/costs/multiplies.py` states the
convention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from bench.graph.trace import Graph, Operator
from zoo.errors import InputError


class UnknownOperatorError(InputError):
    """An operator that a table does not know."""


def convolution_multiplies(
    x: Iterable[int], weight: Iterable[int], out: Iterable[int], transposed: bool
) -> int:
    """Multiplies of a convolution from the shapes of its input, weight and output.

    A weight is (C_out, C_in / groups, k...), or (C_in, C_out / groups, k...) where transposed, so
    that each output element, or each input element where transposed, meets `prod(weight[1:])`.

    >>> convolution_multiplies((1, 3, 8, 8), (64, 3, 9, 9), (1, 64, 8, 8), False)
    995328
    """
    _, *per_element = weight
    return math.prod(x if transposed else out) * math.prod(per_element)


class Operands(NamedTuple):
    """What a convolution, matrix product or weighted sum of rows calls its operands."""

    left: str
    right: str
    """The weight, where it has one."""
    bias: str = ""
    """What it adds; empty where it adds nothing."""


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
    "_embedding_bag_forward_only": Operands(_BAG, "weight"),
}
"""Convolutions, matrix products, weighted sums of rows: one multiply per multiply-accumulate."""


def _entries(operator: Operator, of_order: Callable[[int], int]) -> int:
    """Sum over an output's columns and over all systems, each of n equations: `of_order(n)`."""
    *systems, order, columns = operator.out.shape
    solves = operator.name == "cholesky_solve"
    return math.prod(systems) * of_order(order) * (columns if solves else 1)


SOLVES: dict[str, tuple[Callable[[int], int], Callable[[int], int]]] = {
    "linalg_cholesky_ex": (lambda n: (n**3 - n) // 6, lambda n: n * (n - 1) // 2),
    "cholesky_solve": (lambda n: n * (n - 1), lambda n: 2 * n),
}
"""Multiplies and divisions of n linear equations, or for each of their right-hand sides."""
# fmt: off
ELEMENTWISE = frozenset((
    "mul", "mul_", "div", "div_", "reciprocal", "square", "square_", "addcmul", "addcmul_",
    "prelu", "_prelu_kernel", "leaky_relu", "leaky_relu_",
    "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "native_layer_norm", "native_group_norm",
))
"""One multiply per output element."""
SQUARES = {"pow": "exponent", "linalg_vector_norm": "ord"}
"""One multiply per input element where this argument is 2; else unknown."""
SCALED_ADDITIONS = frozenset(("add", "add_", "sub", "sub_", "rsub"))
"""One multiply per output element where `alpha` is given and is not 1; else free."""
FREE = frozenset((
    "relu", "relu_", "tanh", "tanh_", "sigmoid", "sigmoid_", "clamp", "clamp_", "clamp_min",
    "gelu", "silu", "silu_", "elu", "exp", "_softmax", "sqrt",
    "clamp_max", "hardtanh", "hardtanh_", "neg", "abs", "abs_", "maximum", "minimum", "round",
    "floor", "max_pool2d_with_indices", "avg_pool2d", "sum", "mean", "amax", "amin",
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
    """Multiplies of what is in PRODUCTS or SOLVES; 0 for anything else."""
    if operator.name in SOLVES:
        return _entries(operator, SOLVES[operator.name][0])
    if operator.name not in PRODUCTS:
        return 0
    names = PRODUCTS[operator.name]
    left, right = operator.arguments[names.left], operator.arguments[names.right]
    if operator.name == "convolution":
        transposed = operator.arguments["transposed"]
        return convolution_multiplies(left.shape, right.shape, operator.out.shape, transposed)
    if names.left == _BAG:
        return left.size * int(right.shape[1]) if left else 0
    return operator.out.size * int(left.shape[-1])


def elementwise(operator: Operator) -> int:
    """Multiplies and divisions of single elements; 0 for anything else."""
    if operator.name in SOLVES:
        return _entries(operator, SOLVES[operator.name][1])
    if operator.name in SQUARES:
        return operator.tensors[0].size
    scales = operator.name in SCALED_ADDITIONS and operator.arguments["alpha"] != 1
    return operator.out.size if operator.name in ELEMENTWISE or scales else 0


def is_known(operator: Operator) -> bool:
    """Whether it is in one of the tables."""
    name = operator.name
    if name in SQUARES:
        return bool(operator.arguments[SQUARES[name]] == 2)
    tables = (PRODUCTS, SOLVES, ELEMENTWISE, SCALED_ADDITIONS, FREE)
    return any(name in table for table in tables) and "reduce" not in operator.arguments


def multadds(operator: Operator) -> int:
    """As `products`, a transposed convolution taken for one at the size of its output."""
    if operator.name != "convolution" or not operator.arguments["transposed"]:
        return products(operator)
    batch, _, *positions = operator.out.shape
    return batch * math.prod(positions) * int(operator.arguments["weight"].size)


def refuse_unknown(graph: Graph) -> None:
    """Refuse what cannot be counted.

    Raises:
        UnknownOperatorError: an operator that is in none of the tables, by name.
    """
    for operator in graph.operators:
        if not is_known(operator):
            raise UnknownOperatorError(
                f"operator {operator.overload} is unknown to the counter; add it to a table of "
                "bench/costs/multiplies.py"
            )


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A row of a network's table of layers: what multiplies, and how much of it."""

    path: str
    """Dotted path of the module, or of the parameter where none but the whole runs it."""
    kind: str
    """`convolution`, `transposed convolution`, `matrix product`, `weighted sum`, `linear solve`."""
    weight: tuple[int, ...]
    """Shape of the weight, or of one matrix product's second operand; empty for a solve."""
    output: tuple[int, ...]
    """Shape of one output: (N, C, H, W) of a convolution; else without what images make longer."""
    multiplies: int
    """Of all its calls, for the input that was traced."""
    elements: int
    """Of all its outputs."""
    calls: int = 1


def _layer(operator: Operator) -> Layer:
    """The row of one operator of PRODUCTS or SOLVES."""
    name, output, kind, path = operator.name, operator.out.shape, "linear solve", operator.layer
    weight: tuple[int, ...] = ()
    if name in PRODUCTS:
        kind = "weighted sum" if PRODUCTS[name].left == _BAG else "matrix product"
        right = operator.arguments[PRODUCTS[name].right]
        weight, path = right.shape, path or right.parameter
    if name == "convolution":
        kind = "transposed convolution" if operator.arguments["transposed"] else "convolution"
    elif name in ("bmm", "baddbmm", *SOLVES):
        weight, output = weight[-2:], output[-2:]
    else:
        output = output[-1:]
    return Layer(
        path=path,
        kind=kind,
        weight=weight,
        output=output,
        multiplies=products(operator),
        elements=operator.out.size,
    )


def per_layer(graph: Graph) -> list[Layer]:
    """What multiplies, in the order in which it first runs; their sum is all `products`.

    A layer that runs again, with an output of the same shape, adds to its row.
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
