"""OpenVINO's graph by torch operators, on the meta device: shapes alone, so that it can be traced.

Quantisation counts as a division of each element, and a multiplication back, where the step between
levels is not 1.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import _disable_current_modes

from zoo.errors import InputError

_DTYPES = {
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "f32": torch.float32,
    "f64": torch.float64,
    "i8": torch.int8,
    "u8": torch.uint8,
    "i16": torch.int16,
    "i32": torch.int32,
    "i64": torch.int64,
    "boolean": torch.bool,
}
"""OpenVINO's names of types."""


@dataclass(frozen=True, slots=True)
class Node:
    """An operator of a graph."""

    kind: str
    """OpenVINO's name: `Convolution`."""
    inputs: tuple[tuple[int, int], ...]
    """Place of the operator that makes each input, and which of its outputs."""
    outputs: int
    attributes: Mapping[str, Any]
    constant: Tensor | None = None
    """A constant's values, in any shape; None if it is a weight."""
    weight: str = ""
    """Name of the parameter that a constant is."""


@dataclass(frozen=True, slots=True)
class Described:
    """A graph without its weights, in an order in which it can be computed."""

    nodes: tuple[Node, ...]
    weights: Mapping[str, Tensor]
    """Weights by name, each in its own shape: constants of float or 8-bit types."""


def dtype_of(name: str) -> torch.dtype:
    """The torch type of OpenVINO's type.

    Raises:
        InputError: torch has no such type.
    """
    if name not in _DTYPES:
        raise InputError(f"type {name} is not supported; expected one of: {', '.join(_DTYPES)}")
    return _DTYPES[name]


_STORED = ("Convert", "Subtract", "Multiply")
"""Operators on constants alone by which a file stores weights in fewer bits."""
_NOTHING = torch.empty(0)


def describe(model: Any) -> Described:
    """The graph of a model.

    Args:
        model: an `openvino.Model`, with constants folded.
    """
    operators = model.get_ordered_ops()
    places = {each.get_name(): place for place, each in enumerate(operators)}
    nodes: list[Node] = []
    weights: dict[str, Tensor] = {}
    for each in operators:
        sources = [port.get_source_output() for port in each.inputs()]
        inputs = tuple((places[s.get_node().get_name()], s.get_index()) for s in sources)
        kind, constant, name = each.get_type_name(), None, ""
        if kind == "Constant":
            constant, name = _constant(each, len(weights))
            if name and constant is not None:
                weights[name], constant = constant, None
        made_of = [nodes[place] for place, _ in inputs]
        if kind in _STORED and all(node.kind == "Constant" for node in made_of):
            whole = max(made_of, key=lambda node: weights.get(node.weight, _NOTHING).numel())
            if whole.weight:
                weights[whole.weight] = weights[whole.weight].to(torch.float32)
                nodes.append(whole)
                continue
        attributes = {} if kind == "Constant" else dict(each.get_attributes())
        nodes.append(Node(kind, inputs, len(each.outputs()), attributes, constant, name))
    nodes = _reached(_with_shuffles(_with_biases(nodes, weights)))
    used = {node.weight for node in nodes}
    return Described(tuple(nodes), {name: weights[name] for name in weights if name in used})


_SETTINGS = {"FakeQuantize", "Interpolate"}
"""Operators whose constants say how they work, and are not learned."""


def _constant(each: Any, number: int) -> tuple[Tensor, str]:
    """A constant's values, in any shape, and its name if it is a weight, else ''."""
    values = torch.from_numpy(np.array(each.data))
    users = {port.get_node().get_type_name() for port in each.output(0).get_target_inputs()}
    is_small = (values.numel() == 1 and "PRelu" not in users) or users <= _SETTINGS
    whole = values.dtype in (torch.int64, torch.int32, torch.int16, torch.bool)
    if is_small or whole:
        return values, ""
    return values, f"{number}/{each.get_friendly_name()}".replace(".", "/")


def _reached(nodes: Sequence[Node]) -> list[Node]:
    """The nodes, with `Unused` in place of what the result does not depend on."""
    wanted = {place for place, node in enumerate(nodes) if node.kind in ("Result", "Parameter")}
    for place in reversed(range(len(nodes))):
        if place in wanted:
            wanted |= {source for source, _ in nodes[place].inputs}
    unused = Node("Unused", (), 0, {})
    return [node if place in wanted else unused for place, node in enumerate(nodes)]


def _with_shuffles(nodes: list[Node]) -> list[Node]:
    """The nodes with each reshape, transposition and reshape, one after another, as one node.

    So OpenVINO stores the pixel shuffle of PyTorch.
    """
    uses = [place for node in nodes for place, _ in node.inputs]
    made = list(nodes)
    for place, last in enumerate(nodes):
        if last.kind != "Reshape":
            continue
        order = last.inputs[0][0]
        first = nodes[order].inputs[0][0] if nodes[order].kind == "Transpose" else place
        if nodes[first].kind != "Reshape" or first == place:
            continue
        if uses.count(order) == uses.count(first) == 1:
            inputs = (*nodes[first].inputs, nodes[order].inputs[1], last.inputs[1])
            zeros = [nodes[each].attributes["special_zero"] for each in (first, place)]
            made[place] = Node("Rearranged", inputs, 1, {"special_zero": zeros})
    return made


def _with_biases(nodes: Sequence[Node], weights: dict[str, Tensor]) -> list[Node]:
    """The nodes with each addition of a weight per channel put into the convolution before it.

    Such a weight, (1, C, 1, 1), becomes (C,), as a convolution of torch takes it.
    """
    uses = [place for node in nodes for place, _ in node.inputs]
    made = list(nodes)
    for place, node in enumerate(nodes):
        if node.kind != "Add":
            continue
        for (first, _), (second, port) in itertools.permutations(node.inputs, 2):
            if (
                nodes[first].kind in _CONVOLUTIONS
                and uses.count(first) == 1
                and nodes[second].weight
            ):
                attributes = {**nodes[first].attributes, "bias": True}
                inputs = (*nodes[first].inputs, (second, port))
                made[place] = Node(nodes[first].kind, inputs, 1, attributes)
                if uses.count(second) == 1:
                    weights[nodes[second].weight] = weights[nodes[second].weight].reshape(-1)
    return made


class _Values:
    """Values that operators made, kept until the last use."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.made: dict[tuple[int, int], Any] = {}
        self.last: dict[tuple[int, int], int] = {}
        for place, node in enumerate(nodes):
            for source in node.inputs:
                self.last[source] = place

    def release(self, node: Node, place: int) -> None:
        """Forget the inputs that no later operator uses."""
        for source in set(node.inputs):
            if self.last[source] == place:
                self.made.pop(source, None)


def run(nodes: Sequence[Node], weights: Mapping[str, Tensor], stored: Tensor) -> Tensor:
    """The graph's output for an image, both as the file stores them, on the meta device.

    Args:
        nodes: of `describe`.
        weights: by name, on the meta device.
        stored: the image.

    Raises:
        InputError: an operator that is not known.
    """
    values = _Values(nodes)
    for place, node in enumerate(nodes):
        if node.kind == "Result":
            result: Tensor = values.made[node.inputs[0]]
            return result
        if node.kind == "Unused":
            continue
        if node.kind == "Parameter":
            values.made[place, 0] = stored
        elif node.weight:
            values.made[place, 0] = weights[node.weight]
        elif node.kind == "Constant":
            values.made[place, 0] = node.constant
        else:
            given = [values.made[source] for source in node.inputs]
            values.release(node, place)
            made = _called(node, given)
            del given
            outs = made if isinstance(made, tuple) else (made,)
            values.made.update({(place, port): out for port, out in enumerate(outs)})
            del made, outs
    raise InputError("not counted: the OpenVINO graph has no result")


def _called(node: Node, given: list[Tensor]) -> Any:
    """The outputs of an operator, tensors of any shape.

    Raises:
        InputError: an operator that is not known.
    """
    function = _OPERATORS.get(node.kind)
    if function is None:
        raise InputError(f"not counted: OpenVINO operator {node.kind}")
    if node.kind == "ShapeOf" or not any(value.is_meta for value in given):
        with _disable_current_modes():  # sizes, which a network does not compute in its own time
            return function(node.attributes, *given)
    return function(node.attributes, *given)


def _numbers(tensor: Tensor) -> list[int]:
    """The whole numbers of a constant of any shape."""
    if tensor.is_meta:
        raise InputError("not counted: the OpenVINO graph computes sizes from pixels")
    with _disable_current_modes():
        return [int(number) for number in tensor.reshape(-1).tolist()]


def _plain(tensor: Tensor) -> Any:
    """A constant of one element as a number; other tensors as they are, of any shape."""
    if tensor.is_meta or tensor.numel() != 1:
        return tensor
    with _disable_current_modes():
        return tensor.item()


def _vector(weight: Tensor) -> Tensor:
    """A weight with one value a channel, in any shape, as (C,)."""
    return weight if weight.ndim == 1 else weight.reshape(-1)


# Convolutions and products
def _pads(attributes: Mapping[str, Any], total: Sequence[int]) -> tuple[list[int], list[int]]:
    """Padding before and after each axis, where `total` is the padding that keeps the size."""
    kind = attributes["auto_pad"]
    if kind == "valid":
        return [0] * len(total), [0] * len(total)
    if kind == "explicit":
        return list(attributes["pads_begin"]), list(attributes["pads_end"])
    small, large = [each // 2 for each in total], [each - each // 2 for each in total]
    return (small, large) if kind == "same_upper" else (large, small)


def _convolution(
    attributes: Mapping[str, Any], x: Tensor, weight: Tensor, *bias: Tensor, groups: int = 1
) -> Tensor:
    strides, dilations = attributes["strides"], attributes["dilations"]
    total = [
        max((math.ceil(size / stride) - 1) * stride + dilation * (side - 1) + 1 - size, 0)
        for size, stride, dilation, side in zip(
            x.shape[2:], strides, dilations, weight.shape[2:], strict=True
        )
    ]
    before, after = _pads(attributes, total)
    if before != after:
        pads = [each for pair in zip(before, after, strict=True) for each in pair]
        x = functional.pad(x, [p for pair in _pairs(pads)[::-1] for p in pair])
        before = [0] * len(before)
    add = _vector(bias[0]) if bias else None
    convolve = functional.conv2d if x.ndim == 4 else functional.conv1d
    return convolve(x, weight, add, strides, before, dilations, groups)


def _pairs(items: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(items[::2], items[1::2], strict=True))


def _group_convolution(
    attributes: Mapping[str, Any], x: Tensor, weight: Tensor, *bias: Tensor
) -> Tensor:
    groups = weight.shape[0]
    return _convolution(attributes, x, weight.flatten(0, 1), *bias, groups=groups)


def _transposed(
    attributes: Mapping[str, Any], x: Tensor, weight: Tensor, *more: Tensor, groups: int = 1
) -> Tensor:
    bias = _vector(more[-1]) if attributes.get("bias") else None
    strides, dilations = attributes["strides"], attributes["dilations"]
    shapes = more[:-1] if attributes.get("bias") else more
    full = [
        (size - 1) * stride + dilation * (side - 1) + 1
        for size, stride, dilation, side in zip(
            x.shape[2:], strides, dilations, weight.shape[2:], strict=True
        )
    ]
    extra = list(attributes.get("output_padding") or [0] * len(full))
    if shapes:
        wanted = _numbers(shapes[0])
        surplus = [most - side for most, side in zip(full, wanted, strict=True)]
        padding = [max(math.ceil(each / 2), 0) for each in surplus]
        extra = [2 * pad - each for pad, each in zip(padding, surplus, strict=True)]
    else:
        before, after = _pads(attributes, [0] * len(full))
        padding = [max(pair) for pair in zip(before, after, strict=True)]
        extra = [
            more_ + 2 * pad - first - last
            for more_, pad, first, last in zip(extra, padding, before, after, strict=True)
        ]
    return functional.conv_transpose2d(x, weight, bias, strides, padding, extra, groups, dilations)


def _group_transposed(
    attributes: Mapping[str, Any], x: Tensor, weight: Tensor, *more: Tensor
) -> Tensor:
    return _transposed(attributes, x, weight.flatten(0, 1), *more, groups=weight.shape[0])


def _matmul(attributes: Mapping[str, Any], a: Tensor, b: Tensor) -> Tensor:
    a = a.transpose(-1, -2) if attributes["transpose_a"] and a.ndim > 1 else a
    b = b.transpose(-1, -2) if attributes["transpose_b"] and b.ndim > 1 else b
    return a @ b


# Elements
def _binary(function: Callable[[Any, Any], Any]) -> Callable[..., Tensor]:
    def call(attributes: Mapping[str, Any], a: Tensor, b: Tensor) -> Tensor:
        if a.is_meta or b.is_meta:  # a constant beside an image
            a, b = _plain(a), _plain(b)
        made: Tensor = function(a, b)
        return made

    return call


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda _, x: function(x)


def _limit(function: Callable[..., Tensor], least: bool) -> Callable[..., Tensor]:
    def call(attributes: Mapping[str, Any], a: Tensor, b: Tensor) -> Tensor:
        for x, other in ((a, b), (b, a)):
            if x.is_meta and not other.is_meta and other.numel() == 1:
                bound = _plain(other)
                return x.clamp(min=bound) if least else x.clamp(max=bound)
        return function(a, b)

    return call


def _divide(a: Any, b: Any) -> Any:
    whole = isinstance(a, Tensor) and not a.is_floating_point()
    return torch.div(a, b, rounding_mode="floor" if whole else None)


def _power(a: Any, b: Any) -> Any:
    return a.sqrt() if b == 0.5 else a**b


def _prelu(attributes: Mapping[str, Any], x: Tensor, slope: Tensor) -> Tensor:
    return torch.prelu(x, _vector(slope))


def _reduced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def call(attributes: Mapping[str, Any], x: Tensor, axes: Tensor) -> Tensor:
        return function(x, dim=_numbers(axes), keepdim=attributes["keep_dims"])

    return call


def _product(attributes: Mapping[str, Any], x: Tensor, axes: Tensor) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in _numbers(axes)), reverse=True):
        x = x.prod(axis, keepdim=attributes["keep_dims"])
    return x


def _batch_norm(attributes: Mapping[str, Any], x: Tensor, *given: Tensor) -> Tensor:
    gamma, beta, mean, variance = given
    return functional.batch_norm(
        x, mean, variance, gamma, beta, training=False, eps=attributes["epsilon"]
    )


def _mvn(attributes: Mapping[str, Any], x: Tensor, axes: Tensor) -> Tensor:
    found = sorted(axis % x.ndim for axis in _numbers(axes))
    if found != list(range(x.ndim - len(found), x.ndim)):
        raise InputError("not counted: OpenVINO operator MVN over axes that are not the last")
    return functional.layer_norm(x, x.shape[found[0] :], eps=attributes["eps"])


def _pooled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def call(attributes: Mapping[str, Any], x: Tensor) -> Tensor:
        kernel, strides = attributes["kernel"], attributes["strides"]
        total = [
            max((math.ceil(size / stride) - 1) * stride + side - size, 0)
            for size, stride, side in zip(x.shape[2:], strides, kernel, strict=True)
        ]
        before, after = _pads(attributes, total)
        pads = [each for pair in zip(before, after, strict=True) for each in pair]
        if any(pads):
            x = functional.pad(x, [p for pair in _pairs(pads)[::-1] for p in pair])
        return function(x, kernel, strides, ceil_mode=attributes["rounding_type"] == "ceil")

    return call


# Shapes
def _reshape(attributes: Mapping[str, Any], x: Tensor, shape: Tensor) -> Tensor:
    sizes = _numbers(shape)
    if attributes["special_zero"]:
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _rearranged(
    attributes: Mapping[str, Any], x: Tensor, first: Tensor, order: Tensor, last: Tensor
) -> Tensor:
    """A reshape, a transposition and a reshape; as a pixel shuffle if it is one."""
    zeros = attributes["special_zero"]
    found = _SHUFFLES.get(tuple(_numbers(order)))
    if x.ndim == 4 and found is not None:
        shuffle, axis = found
        with _disable_current_modes():
            like = torch.empty(x.shape, device="meta")
            split = _reshape({"special_zero": zeros[0]}, like, first)
            moved = _reshape({"special_zero": zeros[1]}, _transpose({}, split, order), last)
            factor = split.shape[axis]
            is_shuffle = shuffle(like, factor).shape == moved.shape
        if is_shuffle:
            return shuffle(x, factor)
    x = _transpose({}, _reshape({"special_zero": zeros[0]}, x, first), order)
    return _reshape({"special_zero": zeros[1]}, x, last)


_SHUFFLES: dict[tuple[int, ...], tuple[Callable[..., Tensor], int]] = {
    (0, 1, 4, 2, 5, 3): (functional.pixel_shuffle, 2),
    (0, 1, 3, 5, 2, 4): (functional.pixel_unshuffle, 3),
}
"""Shuffles by the order of six axes, with the axis that is as long as the shuffle's factor."""


def _transpose(attributes: Mapping[str, Any], x: Tensor, order: Tensor) -> Tensor:
    return x.permute(_numbers(order) or list(range(x.ndim))[::-1])


def _squeeze(attributes: Mapping[str, Any], x: Tensor, *axes: Tensor) -> Tensor:
    return x.squeeze(tuple(_numbers(axes[0]))) if axes else x.squeeze()


def _unsqueeze(attributes: Mapping[str, Any], x: Tensor, axes: Tensor) -> Tensor:
    numbers = _numbers(axes)
    ndim = x.ndim + len(numbers)
    return functools.reduce(Tensor.unsqueeze, sorted(axis % ndim for axis in numbers), x)


def _concat(attributes: Mapping[str, Any], *parts: Tensor) -> Tensor:
    if any(part.is_meta for part in parts):
        parts = tuple(part.to("meta") for part in parts)
    return torch.cat(parts, attributes["axis"])


def _split(attributes: Mapping[str, Any], x: Tensor, axis: Tensor) -> tuple[Tensor, ...]:
    (along,) = _numbers(axis)
    return torch.split(x, x.shape[along] // attributes["num_splits"], along)


def _variadic_split(
    attributes: Mapping[str, Any], x: Tensor, axis: Tensor, lengths: Tensor
) -> tuple[Tensor, ...]:
    (along,), sizes = _numbers(axis), _numbers(lengths)
    rest = x.shape[along] - sum(size for size in sizes if size >= 0)
    return torch.split(x, [rest if size < 0 else size for size in sizes], along)


def _slice(
    attributes: Mapping[str, Any],
    x: Tensor,
    start: Tensor,
    stop: Tensor,
    step: Tensor,
    *axes: Tensor,
) -> Tensor:
    begins, ends, steps = _numbers(start), _numbers(stop), _numbers(step)
    along = _numbers(axes[0]) if axes else list(range(len(begins)))
    for axis, begin, end, by in zip(along, begins, ends, steps, strict=True):
        x = _sliced(x, axis, slice(begin, end, by))
    return x


def _sliced(x: Tensor, axis: int, part: slice) -> Tensor:
    if part.step is not None and part.step < 0:  # torch has no negative steps
        chosen = range(*part.indices(x.shape[axis]))
        return x.flip(axis).narrow(axis, 0, len(chosen))
    return x[(slice(None),) * (axis % x.ndim) + (part,)]


def _strided_slice(
    attributes: Mapping[str, Any], x: Tensor, begin: Tensor, end: Tensor, *strides: Tensor
) -> Tensor:
    begins, ends = _numbers(begin), _numbers(end)
    steps = _numbers(strides[0]) if strides else [1] * len(begins)

    def masks(name: str) -> list[int]:
        given = list(attributes.get(name) or [])
        return given + [0] * (len(begins) - len(given))

    from_start, to_end = masks("begin_mask"), masks("end_mask")
    new, dropped, ellipsis = (
        masks(f"{name}_mask") for name in ("new_axis", "shrink_axis", "ellipsis")
    )
    axis = 0
    for place, step in enumerate(steps):
        if ellipsis[place]:
            axis += x.ndim - axis - sum(not each for each in new[place + 1 :])
        elif new[place]:
            x, axis = x.unsqueeze(axis), axis + 1
        elif dropped[place]:
            x = x.select(axis, begins[place])
        else:
            part = slice(
                None if from_start[place] else begins[place],
                None if to_end[place] else ends[place],
                step,
            )
            x, axis = _sliced(x, axis, part), axis + 1
    return x


def _gather(attributes: Mapping[str, Any], x: Tensor, chosen: Tensor, axis: Tensor) -> Tensor:
    (along,) = _numbers(axis)
    if not chosen.is_meta and chosen.ndim == 0:
        return x.select(along, _numbers(chosen)[0])
    with _disable_current_modes():
        flat = chosen.reshape(-1).to(x.device)
        flat = flat if flat.is_meta else flat % x.shape[along]
    along %= x.ndim
    shape = (*x.shape[:along], *chosen.shape, *x.shape[along + 1 :])
    return x.index_select(along, flat).reshape(shape)


def _pad(
    attributes: Mapping[str, Any], x: Tensor, begin: Tensor, end: Tensor, *value: Tensor
) -> Tensor:
    pads = [(first, last) for first, last in zip(_numbers(begin), _numbers(end), strict=True)]
    while pads and pads[0] == (0, 0):
        pads = pads[1:]
    modes = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}
    mode = modes.get(attributes["pad_mode"])
    if mode is None:
        raise InputError(f"not counted: OpenVINO operator Pad, {attributes['pad_mode']}")
    if not pads:
        return x
    return functional.pad(x, [each for pair in pads[::-1] for each in pair], mode)


def _broadcast(attributes: Mapping[str, Any], x: Tensor, shape: Tensor, *more: Tensor) -> Tensor:
    sizes = _numbers(shape)
    if attributes.get("mode") == "bidirectional":
        sizes = list(np.broadcast_shapes(tuple(x.shape), tuple(sizes)))
    return x.expand(sizes)


def _interpolate(attributes: Mapping[str, Any], x: Tensor, sizes: Tensor, *more: Tensor) -> Tensor:
    # Version 11 has (x, sizes or scales, axes), version 4 (x, sizes, scales, axes).
    axes = _numbers(more[-1]) if more else list(attributes.get("axes", range(x.ndim)))
    wanted = list(x.shape)
    if attributes.get("shape_calculation_mode", "sizes") == "scales":
        factors = (more[0] if len(more) == 2 else sizes).reshape(-1).tolist()
        for axis, factor in zip(axes, factors, strict=True):
            wanted[axis] = math.floor(wanted[axis] * factor + 1e-4)
    else:
        for axis, size in zip(axes, _numbers(sizes), strict=True):
            wanted[axis] = size
    if wanted[:2] != list(x.shape[:2]):
        moved = _interpolate_last(attributes, x.permute(0, 3, 1, 2), [wanted[1], wanted[2]])
        return moved.permute(0, 2, 3, 1)
    return _interpolate_last(attributes, x, wanted[2:])


def _interpolate_last(attributes: Mapping[str, Any], x: Tensor, sides: list[int]) -> Tensor:
    modes = {
        "nearest": "nearest",
        "linear": "bilinear",
        "linear_onnx": "bilinear",
        "bilinear_pillow": "bilinear",
        "cubic": "bicubic",
        "bicubic_pillow": "bicubic",
    }
    mode = modes.get(attributes["mode"])
    if mode is None:
        raise InputError(f"not counted: OpenVINO operator Interpolate, {attributes['mode']}")
    aligned = None if mode == "nearest" else False
    return functional.interpolate(x, size=sides, mode=mode, align_corners=aligned)


def _clamped(attributes: Mapping[str, Any], x: Tensor) -> Tensor:
    return x.clamp(attributes["min"], attributes["max"])


def _fake_quantize(attributes: Mapping[str, Any], x: Tensor, *limits: Tensor) -> Tensor:
    low, high, least, most = limits
    steps = attributes["levels"] - 1
    with _disable_current_modes():
        scales, rescales = (
            bool(torch.any((last - first).abs() != steps))
            for first, last in ((low, high), (least, most))
        )
    x = x / 2 if scales else x  # the numbers change no shape
    x = x.round().clamp(0, steps)
    return x * 2 if rescales else x


def _converted(attributes: Mapping[str, Any], x: Tensor) -> Tensor:
    return x.to(dtype_of(attributes["destination_type"]))


_CONVOLUTIONS: dict[str, Callable[..., Any]] = {
    "Convolution": _convolution,
    "GroupConvolution": _group_convolution,
    "ConvolutionBackpropData": _transposed,
    "GroupConvolutionBackpropData": _group_transposed,
}
_OPERATORS: dict[str, Callable[..., Any]] = {
    **_CONVOLUTIONS,
    "MatMul": _matmul,
    "Add": _binary(lambda a, b: a + b),
    "Subtract": _binary(lambda a, b: a - b),
    "Multiply": _binary(lambda a, b: a * b),
    "Divide": _binary(_divide),
    "Mod": _binary(lambda a, b: a % b),
    "FloorMod": _binary(lambda a, b: a % b),
    "Power": _binary(_power),
    "SquaredDifference": _binary(lambda a, b: (a - b).square()),
    "Equal": _binary(lambda a, b: a == b),
    "Greater": _binary(lambda a, b: a > b),
    "Less": _binary(lambda a, b: a < b),
    "Maximum": _limit(torch.maximum, least=True),
    "Minimum": _limit(torch.minimum, least=False),
    "Select": lambda _, chosen, a, b: torch.where(chosen, _plain(a), _plain(b)),
    "Relu": _unary(torch.relu),
    "PRelu": _prelu,
    "Sigmoid": _unary(torch.sigmoid),
    "Tanh": _unary(torch.tanh),
    "Gelu": _unary(functional.gelu),
    "Swish": lambda _, x, *_beta: functional.silu(x),
    "Elu": lambda attributes, x: functional.elu(x, attributes["alpha"]),
    "Exp": _unary(torch.exp),
    "Sqrt": _unary(torch.sqrt),
    "Abs": _unary(torch.abs),
    "Negative": _unary(torch.neg),
    "Floor": _unary(torch.floor),
    "Ceiling": _unary(torch.ceil),
    "Round": lambda _, x: x.round(),
    "Clamp": _clamped,
    "FakeQuantize": _fake_quantize,
    "Convert": _converted,
    "ConvertLike": lambda _, x, like: x.to(like.dtype),
    "Softmax": lambda attributes, x: x.softmax(attributes["axis"]),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMin": _reduced(torch.amin),
    "ReduceProd": _product,
    "BatchNormInference": _batch_norm,
    "MVN": _mvn,
    "MaxPool": _pooled(functional.max_pool2d),
    "AvgPool": _pooled(functional.avg_pool2d),
    "Reshape": _reshape,
    "Rearranged": _rearranged,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "VariadicSplit": _variadic_split,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "Gather": _gather,
    "Pad": _pad,
    "Tile": lambda _, x, times: x.repeat(_numbers(times)),
    "Broadcast": _broadcast,
    "Roll": lambda _, x, by, axes: x.roll(_numbers(by), _numbers(axes)),
    "ShapeOf": lambda _, x: torch.tensor(x.shape),
    "Range": lambda _, a, b, step: torch.arange(a.item(), b.item(), step.item()),
    "DepthToSpace": lambda attributes, x: functional.pixel_shuffle(x, attributes["block_size"]),
    "SpaceToDepth": lambda attributes, x: functional.pixel_unshuffle(x, attributes["block_size"]),
    "Interpolate": _interpolate,
}
"""Functions (attributes, inputs) -> output, or several, by OpenVINO's name."""
