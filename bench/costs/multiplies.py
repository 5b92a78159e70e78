"""Multiplications, counted by operator on the graph that really runs.

The convention: one multiply per multiply-accumulate of convolutions and matrix products;
`multiplies_*` holds these. Multiplications of single elements (normalisation, residual scaling,
PReLU's slope, an interpolation written as weighted sums) are counted apart as
`elementwise_multiplies_*`, and what the protocol's interpolation needs before a method that takes
interpolated LR as `interpolation_multiplies_*`. Additions, biases and activations count nothing,
as in the literature. An operator that is not in the table raises: nothing is taken to be free
that was not looked at.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.costs import OUTPUT_720P, Cost, Subject
from bench.evaluate import precision
from zoo.errors import InputError, one_line
from zoo.resample import imresize

TIMED = False
UNITS = {
    "multiplies_per_input_px": "M",
    "multiplies_per_output_px": "M",
    "multiplies_720p": "G",
    "elementwise_multiplies_per_input_px": "M",
    "interpolation_multiplies_per_input_px": "M",
}
SIDE = 48
"""Side of the LR image that is counted, in pixels; the count per pixel does not depend on it."""


class UnknownOperatorError(InputError):
    """An operator that the table does not know."""


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


def _convolution(args: tuple[Any, ...], out: Tensor) -> int:
    x, weight, transposed = args[0], args[1], bool(args[6])
    return convolution_multiplies(x.shape, weight.shape, out.shape, transposed)


def _matrix_product(left: int) -> Callable[[tuple[Any, ...], Tensor], int]:
    """Output elements times the length that is summed over, read off operand `left`."""
    return lambda args, out: int(out.numel() * args[left].shape[-1])


PRODUCTS: dict[str, Callable[[tuple[Any, ...], Tensor], int]] = {
    "convolution": _convolution,
    "mm": _matrix_product(0),
    "bmm": _matrix_product(0),
    "mv": _matrix_product(0),
    "dot": _matrix_product(0),
    "addmm": _matrix_product(1),
    "baddbmm": _matrix_product(1),
    "addmv": _matrix_product(1),
    "linear": _matrix_product(0),
}
"""Convolutions and matrix products: aten name to count from arguments and output."""

# fmt: off
ELEMENTWISE = frozenset((
    "mul", "mul_", "div", "div_", "square", "square_", "addcmul", "addcmul_",
    "prelu", "_prelu_kernel", "leaky_relu", "leaky_relu_",
    "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "native_layer_norm", "native_group_norm",
))
"""One multiply per output element."""

SCALED_ADDITIONS = frozenset(("add", "add_", "sub", "sub_"))
"""One multiply per output element where `alpha` is given and is not 1; else free."""

FREE = frozenset((
    "relu", "relu_", "tanh", "tanh_", "sigmoid", "sigmoid_", "clamp", "clamp_", "clamp_min",
    "clamp_max", "hardtanh", "hardtanh_", "neg", "abs", "maximum", "minimum", "round", "floor",
    "max_pool2d_with_indices", "sum", "mean", "amax", "amin",
    "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "unsqueeze",
    "squeeze", "select", "slice", "narrow", "split", "split_with_sizes", "chunk", "unbind",
    "alias", "detach", "detach_", "as_strided", "unfold",
    "clone", "copy_", "_to_copy", "contiguous", "cat", "stack", "flip", "rot90", "index_select",
    "constant_pad_nd", "replication_pad2d", "reflection_pad2d", "gather",
    "pixel_shuffle", "pixel_unshuffle", "upsample_nearest2d",
    "empty", "empty_like", "new_empty", "new_zeros", "zeros", "zeros_like", "ones", "ones_like",
    "full", "full_like", "fill_", "zero_", "scalar_tensor", "arange", "lift_fresh",
    "dropout", "native_dropout",
))
"""No multiplications: activations, additions, sums, views, copies and padding."""
# fmt: on


class MultiplyCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, adds up multiplies in `products` and `elementwise`, by aten name.

    Raises (from within the forward pass):
        UnknownOperatorError: an operator that is in none of the tables, by name.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: Counter[str] = Counter()
        self.elementwise: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        out = func(*args, **options)
        name = func.overloadpacket.__name__
        first = out[0] if isinstance(out, tuple | list) else out
        if name in PRODUCTS:
            self.products[name] += PRODUCTS[name](args, first)
        elif name in ELEMENTWISE or (name in SCALED_ADDITIONS and options.get("alpha", 1) != 1):
            self.elementwise[name] += first.numel()
        elif name not in FREE and name not in SCALED_ADDITIONS:
            raise UnknownOperatorError(
                f"operator {func} is unknown to the counter; add it to a table of "
                "bench/costs/multiplies.py"
            )
        return out


def measure(subject: Subject) -> dict[str, Cost]:
    """The quantities of UNITS; counted on shapes alone (the meta device), nothing is computed.

    Raises:
        InputError: the forward pass needs values, or leaves torch, so that it cannot be counted.
        UnknownOperatorError: it uses an operator that is in none of the tables.
    """
    scale, method = subject.scale, subject.method
    planes = 3 if method.channels == "RGB" else 1
    lr = torch.empty(planes, SIDE, SIDE, device="meta", dtype=torch.float64)
    x = lr
    with MultiplyCounter() as before:
        if method.takes == "interpolated":
            x = imresize(lr, scale, kernel=method.kernel)
    dtype = precision(subject.module)
    try:
        module = copy.deepcopy(subject.module).to("meta")
        with MultiplyCounter() as inside:
            module(x[None].to(dtype))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"multiplies of {method.name} cannot be counted: {one_line(error, 160)}; "
            "keep its forward pass in torch operators that do not read values"
        ) from error
    pixels = SIDE * SIDE
    per_input = inside.products.total() / pixels
    per_output = per_input / scale**2
    rows, columns = OUTPUT_720P
    return {
        "multiplies_per_input_px": Cost(per_input / 1e6),
        "multiplies_per_output_px": Cost(per_output / 1e6),
        "multiplies_720p": Cost(per_output * rows * columns / 1e9),
        "elementwise_multiplies_per_input_px": Cost(inside.elementwise.total() / pixels / 1e6),
        "interpolation_multiplies_per_input_px": Cost(before.elementwise.total() / pixels / 1e6),
    }
