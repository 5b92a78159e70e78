"""Multiplications, counted by operator on the graph that really runs.

The convention: one multiply per multiply-accumulate of convolutions and matrix products;
`multiplies_*` holds these. Multiplications of single elements (normalisation, residual scaling,
PReLU's slope, an interpolation written as weighted sums) are counted apart as
`elementwise_multiplies_*`, and what the protocol's interpolation needs before a method that takes
interpolated LR as `interpolation_multiplies_*`. Additions, biases and activations count nothing,
as in the literature. An operator that is not in the table raises: nothing is taken to be free
that was not looked at.

`multadds_720p` is the literature's figure for an output of 1280x720. It differs from
`multiplies_720p` only where a convolution is transposed: the tables that print it take one for a
convolution at its output's size, k * k * C_in * C_out for each output pixel, although each input
pixel meets each weight once; that is stride^2 times what it costs. FSRCNN's 6.0, 5.0 and 4.6 G at
x2, x3 and x4, as Ahn et al. tabulate them (Fast, Accurate, and Lightweight Super-Resolution with
Cascading Residual Network, ECCV 2018), are counted so; it truly takes 2.9, 1.3 and 0.7 G.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.costs import OUTPUT_720P, Cost, Subject
from bench.graph import SIDE, Graph, Operator, trace, trace_method
from zoo.errors import InputError
from zoo.resample import imresize

TIMED = False
UNITS = {
    "multiplies_per_input_px": "M",
    "multiplies_per_output_px": "M",
    "multiplies_720p": "G",
    "multadds_720p": "G",
    "elementwise_multiplies_per_input_px": "M",
    "interpolation_multiplies_per_input_px": "M",
}


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
    """What a convolution or matrix product calls its operands."""

    left: str
    right: str
    """The weight, where it has one."""
    bias: str = ""
    """What it adds; empty where it adds nothing."""


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
}
"""Convolutions and matrix products: one multiply per multiply-accumulate."""

# fmt: off
ELEMENTWISE = frozenset((
    "mul", "mul_", "div", "div_", "square", "square_", "addcmul", "addcmul_",
    "prelu", "_prelu_kernel", "leaky_relu", "leaky_relu_",
    "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "native_layer_norm", "native_group_norm",
))
"""One multiply per output element."""

SCALED_ADDITIONS = frozenset(("add", "add_", "sub", "sub_", "rsub"))
"""One multiply per output element where `alpha` is given and is not 1; else free."""

FREE = frozenset((
    "relu", "relu_", "tanh", "tanh_", "sigmoid", "sigmoid_", "clamp", "clamp_", "clamp_min",
    "gelu", "silu", "silu_", "elu", "exp", "_softmax",
    "clamp_max", "hardtanh", "hardtanh_", "neg", "abs", "maximum", "minimum", "round", "floor",
    "max_pool2d_with_indices", "sum", "mean", "amax", "amin",
    "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "unsqueeze",
    "squeeze", "select", "slice", "narrow", "split", "split_with_sizes", "chunk", "unbind",
    "alias", "detach", "detach_", "as_strided", "unfold",
    "clone", "copy_", "_to_copy", "contiguous", "cat", "stack", "repeat", "flip", "rot90",
    "index_select", "roll",
    "constant_pad_nd", "replication_pad2d", "reflection_pad2d", "gather",
    "pixel_shuffle", "pixel_unshuffle", "upsample_nearest2d",
    "empty", "empty_like", "new_empty", "new_zeros", "zeros", "zeros_like", "ones", "ones_like",
    "full", "full_like", "fill_", "zero_", "scalar_tensor", "arange", "linspace", "lift_fresh",
    "dropout", "native_dropout",
))
"""No multiplications: activations, additions, sums, views, copies and padding."""
# fmt: on


def products(operator: Operator) -> int:
    """Multiplies of a convolution or matrix product; 0 for anything else."""
    if operator.name not in PRODUCTS:
        return 0
    names = PRODUCTS[operator.name]
    left, right = operator.arguments[names.left], operator.arguments[names.right]
    if operator.name == "convolution":
        transposed = operator.arguments["transposed"]
        return convolution_multiplies(left.shape, right.shape, operator.out.shape, transposed)
    return operator.out.size * int(left.shape[-1])


def elementwise(operator: Operator) -> int:
    """Multiplies of single elements; 0 for anything else."""
    scales = operator.name in SCALED_ADDITIONS and operator.arguments["alpha"] != 1
    return operator.out.size if operator.name in ELEMENTWISE or scales else 0


def is_known(operator: Operator) -> bool:
    """Whether it is in one of the tables."""
    name = operator.name
    return name in PRODUCTS or name in ELEMENTWISE or name in SCALED_ADDITIONS or name in FREE


def multadds(operator: Operator) -> int:
    """As `products`, a transposed convolution taken for one at the size of its output."""
    if operator.name != "convolution" or not operator.arguments["transposed"]:
        return products(operator)
    batch, _, *positions = operator.out.shape
    return batch * math.prod(positions) * int(operator.arguments["weight"].size)


def check(graph: Graph) -> None:
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
    """Dotted path of the module; empty at the top."""
    kind: str
    """`convolution`, `transposed convolution`, or `matrix product`."""
    weight: tuple[int, ...]
    """Shape of the weight, or of a matrix product's second operand."""
    output: tuple[int, ...]
    multiplies: int
    """Of all its calls, for the input that was traced."""
    calls: int = 1


def per_layer(graph: Graph) -> list[Layer]:
    """What multiplies, in the order in which it first runs; their sum is all `products`.

    A layer that runs again, with an output of the same shape, adds to its row.
    """
    found: dict[tuple[object, ...], Layer] = {}
    for operator in graph.operators:
        if operator.name not in PRODUCTS:
            continue
        kind = "matrix product"
        weight = operator.arguments[PRODUCTS[operator.name].right].shape
        if operator.name == "convolution":
            kind = "transposed convolution" if operator.arguments["transposed"] else "convolution"
        row = (operator.layer, kind, weight, operator.out.shape)
        before = found.get(row)
        found[row] = Layer(
            path=operator.layer,
            kind=kind,
            weight=weight,
            output=operator.out.shape,
            multiplies=products(operator) + (before.multiplies if before else 0),
            calls=1 + (before.calls if before else 0),
        )
    return list(found.values())


class _Interpolation(nn.Module):
    """The protocol's interpolation of LR, (N, C, h, w) to (N, C, scale*h, scale*w)."""

    def __init__(self, scale: int, kernel: str) -> None:
        super().__init__()
        self.scale, self.kernel = scale, kernel

    def forward(self, x: Tensor) -> Tensor:
        return imresize(x, self.scale, kernel=self.kernel)


def measure(subject: Subject) -> dict[str, Cost]:
    """The quantities of UNITS; counted on shapes alone, on LR of 48x48 pixels.

    Raises:
        InputError: the forward pass needs values, or leaves torch, so that it cannot be counted;
            or its output has another size than the method's contract says.
        UnknownOperatorError: it uses an operator that is in none of the tables.
    """
    scale, method = subject.scale, subject.method
    graph = trace_method(method, subject.module, scale)
    check(graph)
    given = [value.shape[2:] for value in graph.outputs]
    if given != [(scale * SIDE, scale * SIDE)]:
        raise InputError(
            f"{method.name} gave {given or 'no tensor'} for LR of {SIDE}x{SIDE} px; expected "
            f"{scale * SIDE}x{scale * SIDE}: mend the method"
        )
    interpolation = 0
    if method.takes == "interpolated":
        lr = torch.empty(1, graph.input.shape[1], SIDE, SIDE, device="meta")
        before = trace(_Interpolation(scale, method.kernel), lr)
        interpolation = sum(map(elementwise, before.operators))
    pixels = SIDE * SIDE
    per_input = sum(map(products, graph.operators)) / pixels
    per_output = per_input / scale**2
    rows, columns = OUTPUT_720P
    literature = sum(map(multadds, graph.operators)) / pixels / scale**2 * rows * columns
    single = sum(map(elementwise, graph.operators)) / pixels
    return {
        "multiplies_per_input_px": Cost(per_input / 1e6),
        "multiplies_per_output_px": Cost(per_output / 1e6),
        "multiplies_720p": Cost(per_output * rows * columns / 1e9),
        "multadds_720p": Cost(literature / 1e9),
        "elementwise_multiplies_per_input_px": Cost(single / 1e6),
        "interpolation_multiplies_per_input_px": Cost(interpolation / pixels / 1e6),
    }
