"""Receptive field of a traced graph: rules by which the image's rows and columns are followed.

Each tensor has a span for every index along an axis: the first and the last input row that the
index is computed from. (Columns work as rows do.) Spans repeat with a period. For example, if a
network enlarges by 2, even and odd output rows have different spans: each phase has a span.

A span also contains the input rows that the index itself stands for, and the spans of all indices
read on the way, whatever the values there are. The reason is tiling: a tile without such a row ends
in the wrong place, and the network pads there.

A span holds for all channels of a tensor. If pixels become channels and then pixels again, with
nothing in between that mixes channels, the receptive field found is larger than necessary.

Operations that networks hardly ever apply to an image raise an InputError instead of a guess:
cropping, cutting and joining, another order of the pixels, a change through a view. Lists of
patches cannot be followed either. A method that makes such lists gives its module a method
`receptive_field_proxy`, which returns a network with the same receptive field.

`_RULES` holds the rules by operator name.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import attrgetter
from typing import TypeAlias

import torch
from torch.utils._pytree import tree_map_only

from bench.graph.counting import PRODUCTS
from bench.graph.trace import Graph, Operator, Value
from zoo.errors import InputError


@dataclass(frozen=True)
class Field:
    """The receptive field of a network, in pixels of the network's own input."""

    rows: int
    """Most rows, from the first to the last, that an output pixel is computed from."""
    columns: int
    """Most columns, likewise."""
    margin: int
    """Pixels that a tile must hold around the part to keep, on each side where the image goes on.

    Then the output of this part is the same as in the whole image.
    """
    step: int
    """Tiles must begin at multiples of `step`, counted from the image's top left corner.

    They must end at multiples counted from the bottom right corner. 1 unless the network reduces
    the input.
    """


_Span: TypeAlias = tuple[int, int]
"""First and last input row, both included."""


def _hull(spans: Iterable[_Span]) -> _Span:
    """The smallest span that contains all given spans."""
    firsts, lasts = zip(*spans, strict=True)
    return min(firsts), max(lasts)


@dataclass(frozen=True)
class _Axis:
    """An axis of the image in a tensor: `length` indices computed from `image` input rows.

    Index phase + n * period is computed from `spans[phase]` moved by n * jump rows. In a flipped
    tensor, jump is negative.
    """

    dim: int
    """Dimension of the tensor along the axis, counted from the last dimension, -1."""
    length: int
    image: int
    jump: int = 1
    spans: tuple[_Span, ...] = ((0, 0),)
    least: int = 0
    """Rows that a tile at the image's edge must hold for padding with the image's own pixels."""

    @property
    def period(self) -> int:
        return len(self.spans)

    @property
    def step(self) -> int:
        """Rows to a multiple of which a tile must be aligned, so that no index is cut."""
        return abs(self.jump) // math.gcd(self.jump, self.period)

    def at(self, index: int) -> _Span:
        """The span of an index of the tensor, in input rows; the index may be outside."""
        times, phase = divmod(index, self.period)
        first, last = self.spans[phase]
        return first + times * self.jump, last + times * self.jump

    def place(self, index: int) -> _Span:
        """The input rows that an index stands for: a tile with both rows contains the index.

        The first row is counted from the image's near edge, the last row from the far edge. A tile
        holds all or none of `step` rows, so the innermost row of these is returned.
        """
        before, after = index, self.length - 1 - index
        if self.jump < 0:
            before, after = after, before
        each = self.period // math.gcd(self.jump, self.period)
        first, last = ((k // each + 1) * self.step - 1 for k in (before, after))
        return first, self.image - 1 - last

    def read(
        self, length: int, period: int, advance: int, sources: Callable[[int], Iterable[int]]
    ) -> _Axis:
        """The axis of a new tensor, computed from a tensor with this axis.

        Args:
            length: number of indices of the new tensor.
            period: indices after which `sources` repeats.
            advance: distance by which `sources(i + period)` is moved from `sources(i)`.
            sources: the indices along this axis from which index i of the new tensor is computed.
        """
        repeats = self.period // math.gcd(self.period, advance)
        jump = self.jump * advance * repeats // self.period
        # The spans are placeholders: `place` reads only their number.
        made = replace(self, length=length, jump=jump, spans=((0, 0),) * (period * repeats))
        spans = (_hull([made.place(i), *map(self.at, sources(i))]) for i in range(made.period))
        return replace(made, spans=tuple(spans))

    def inward(self, before: int, after: int) -> int:
        """Distance from the image's edge, in rows, to the furthest row that padding reads.

        Args:
            before: depth in indices of the padding at the start of the axis.
            after: depth in indices of the padding at the end.
        """
        start = [self.at(i) for i in range(before + 1)]
        end = [self.at(self.length - 1 - i) for i in range(after + 1)]
        near, far = (start, end) if self.jump > 0 else (end, start)
        return max(_hull(near)[1], self.image - 1 - _hull(far)[0])

    def margin(self) -> int:
        """Most rows that a tile must hold on a side, beyond the rows that an index stands for."""
        most = self.least
        for index, (first, last) in enumerate(self.spans):
            start, stop = self.place(index)
            most = max(most, start - first, last - stop)
        return most


_Axes: TypeAlias = tuple[_Axis, ...]
"""Axes of the image's rows and columns in a tensor that depends on the image."""
_WHOLE = "lets the whole image matter to an output pixel"


def _refusal(operator: Operator, what: str = _WHOLE) -> InputError:
    """The error for an operator that no rule can follow, which names the module that ran it."""
    name = operator.overload + (f" in {operator.layer}" if operator.layer else "")
    return InputError(
        f"{name} {what}, so the receptive field is unknown and tiles cannot be used; run the "
        "network on the whole image"
    )


def _joined(operator: Operator, one: _Axis, other: _Axis) -> _Axis:
    """The axis of a tensor whose every index is computed from the same index of two tensors."""
    if one.dim != other.dim or one.jump * other.period != other.jump * one.period:
        raise _refusal(operator)  # the distance between the two grows across the image
    period = math.lcm(one.period, other.period)
    spans = tuple(_hull([one.at(i), other.at(i)]) for i in range(period))
    jump, least = one.jump * period // one.period, max(one.least, other.least)
    return replace(one, jump=jump, spans=spans, least=least)


def _together(operator: Operator, known: Mapping[int, _Axes]) -> _Axes:
    """The axes of an output whose every place is computed from the same place of all operands."""
    shape = (operator.tensors[0] if operator.name == "stack" else operator.out).shape
    found = [known[value.number] for value in operator.tensors if value.number in known]
    if any(axis.length != shape[axis.dim] for axes in found for axis in axes):
        raise _refusal(operator)
    axes = tuple(reduce(partial(_joined, operator), each) for each in zip(*found, strict=True))
    for value in operator.tensors:
        # A constant that varies along the image would have to be cut into tiles too.
        sizes = {value.shape[axis.dim] for axis in axes if -axis.dim <= len(value.shape)}
        if value.number not in known and sizes - {1}:
            raise _refusal(operator, "uses a constant that differs from place to place")
    return axes


def _stacked(operator: Operator, axis: _Axis) -> _Axis:
    """The axis after `stack` has inserted a dimension."""
    rank = len(operator.out.shape)
    return replace(axis, dim=axis.dim - (axis.dim <= operator.arguments["dim"] % rank - rank))


def _windows(operator: Operator, axis: _Axis) -> _Axis:
    """The axis after a convolution, a transposed convolution or a pooling."""
    given, k = operator.arguments, axis.dim + 2
    if k < 0 or len(operator.out.shape) != 4:
        raise _refusal(operator, "does not slide along the image's rows and columns")
    taps = given["weight"].shape[2:] if "weight" in given else given["kernel_size"]
    # Pooling without a stride moves by the window's size; a list of length 1 is for both sides.
    settings = taps, given["stride"] or taps, given["padding"], given.get("dilation", [1])
    count, stride, padding, dilation = (setting[k % len(setting)] for setting in settings)
    offsets = [tap * dilation - padding for tap in range(count)]
    length = operator.out.shape[axis.dim]
    if not given.get("transposed"):
        return axis.read(length, 1, stride, lambda i: (i * stride + offset for offset in offsets))

    def sources(i: int) -> list[int]:
        return [(i - offset) // stride for offset in offsets if (i - offset) % stride == 0]

    return axis.read(length, stride, 1, sources)


def _padded(operator: Operator, axis: _Axis) -> _Axis:
    """The axis after padding with a constant, with the edge pixels or by reflection."""
    k = 2 * (-1 - axis.dim)  # torch lists padding widths from the last dimension on
    is_constant = operator.name == "constant_pad_nd"
    widths = operator.arguments["pad" if is_constant else "padding"]
    before, after = widths[k : k + 2] or (0, 0)  # less than 0 where it crops
    made = axis.read(axis.length + before + after, 1, 1, lambda i: [i - before])
    if is_constant:
        return made
    depths = (before, after) if operator.name.startswith("reflection") else (0, 0)
    return replace(made, least=max(axis.least, axis.inward(*depths)))


def _scaled(operator: Operator, axis: _Axis) -> _Axis:
    """The axis after pixel shuffle or unshuffle, or after each pixel is repeated."""
    given, length = operator.arguments, operator.out.shape[axis.dim]
    if axis.dim >= -2 and operator.name == "pixel_unshuffle":
        count = given["downscale_factor"]
        return axis.read(length, 1, count, lambda i: range(i * count, (i + 1) * count))
    factor, rest = divmod(length, axis.length)
    # torch samples by the given scale, even if the ratio of the sizes is another number.
    scale = given.get("scales_h" if axis.dim == -2 else "scales_w") or factor
    if axis.dim < -2 or rest or scale != factor:
        raise _refusal(operator, "does not enlarge rows and columns by a whole number")
    return axis.read(length, factor, 1, lambda i: [i // factor])


def _normalised(operator: Operator, axis: _Axis) -> _Axis:
    """The same axis: batch normalisation with stored statistics changes no place."""
    if operator.arguments["training"] or axis.dim + len(operator.out.shape) < 2:
        raise _refusal(operator)  # statistics over the image, or a different number for each row
    return axis


def _chosen(operator: Operator, axis: _Axis) -> _Axis:
    """The axis after part of the channels is taken, or after channels are reduced to a number."""
    old, new = operator.tensors[0].shape, operator.out.shape
    given = operator.arguments.get("dim")
    dims = [given] if isinstance(given, int) else given or range(len(old))
    dims = {dim % len(old) - len(old) for dim in dims}
    if axis.dim in dims and operator.name in _FOLDS:
        raise _refusal(operator)
    if axis.dim in dims and new != old:
        if operator.name != "slice" or operator.arguments["step"] != 1:
            raise _refusal(operator, "takes a part of the image")
        start = _start_of(operator)
        return axis.read(new[axis.dim], 1, 1, lambda i: [i + start])
    # `select` and reductions without keepdim remove dimensions.
    gone = dims if len(new) < len(old) else set()
    return replace(axis, dim=axis.dim + sum(dim > axis.dim for dim in gone))


def _start_of(operator: Operator) -> int:
    """The first index that a slice takes, counted from 0."""
    length = int(operator.tensors[0].shape[operator.arguments["dim"]])
    start = int(operator.arguments["start"] or 0)
    return max(start + length, 0) if start < 0 else min(start, length)


def _reshaped(operator: Operator, axis: _Axis) -> _Axis:
    """The axis after other dimensions are merged or split; the last dimension runs fastest."""
    old, new = operator.tensors[0].shape, operator.out.shape
    inner = math.prod(old[len(old) + axis.dim + 1 :])
    for dim in range(-1, -1 - len(new), -1):
        if new[dim] == axis.length and math.prod(new[len(new) + dim + 1 :]) == inner:
            return replace(axis, dim=dim)
    raise _refusal(operator, "lays the image's pixels out in another order")


def _permuted(operator: Operator, axis: _Axis) -> _Axis:
    """The axis after dimensions are permuted."""
    rank = len(operator.out.shape)
    if operator.name == "permute":
        order = [dim % rank for dim in operator.arguments["dims"]]
        return replace(axis, dim=order.index(axis.dim % rank) - rank)
    one, other = (operator.arguments[name] % rank - rank for name in ("dim0", "dim1"))
    return replace(axis, dim={one: other, other: one}.get(axis.dim, axis.dim))


def _flipped(operator: Operator, axis: _Axis) -> _Axis:
    """The axis after dimensions are flipped."""
    rank = len(operator.out.shape)
    if axis.dim not in {dim % rank - rank for dim in operator.arguments["dims"]}:
        return axis
    return axis.read(axis.length, 1, -1, lambda i: [axis.length - 1 - i])


# fmt: off
_TOGETHER = frozenset(("cat", "stack", "copy_", "expand", "repeat", "_prelu_kernel"))
"""Operators to follow as pointwise, although torch does not tag them so."""
_FOLDS = frozenset(("sum", "mean", "amax", "amin"))
_RULES: dict[str, Callable[[Operator, _Axis], _Axis]] = {
    "stack": _stacked,
    **dict.fromkeys(("convolution", "max_pool2d_with_indices", "avg_pool2d"), _windows),
    **dict.fromkeys(("constant_pad_nd", "replication_pad2d", "reflection_pad2d"), _padded),
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle", "upsample_nearest2d"), _scaled),
    "native_batch_norm": _normalised,
    **dict.fromkeys((*_FOLDS, "select", "unbind", "slice", "split", "split_with_sizes"), _chosen),
    **dict.fromkeys(("view", "_unsafe_view", "squeeze", "unsqueeze", "alias", "detach"), _reshaped),
    **dict.fromkeys(("_to_copy", "zeros_like", "ones_like", "full_like"), _reshaped),
    **dict.fromkeys(("permute", "transpose"), _permuted),
    "flip": _flipped,
}
"""Operator to rule: from the first operand's axis, or all operands' joint axis, to the output's."""


# fmt: on
def _follow(operator: Operator, known: Mapping[int, _Axes]) -> _Axes | None:
    """The axes of an operator's outputs; None if the outputs do not depend on the image.

    Raises:
        InputError: the operator has no rule, or the rule cannot follow this call.
    """
    found = [value for value in operator.tensors if value.number in known]
    if not found or operator.name.startswith("new_"):  # new_* read a tensor's dtype, not its values
        return None
    rule = _RULES.get(operator.name)
    is_pointwise = torch.Tag.pointwise in attrgetter(operator.overload)(torch.ops).tags
    if is_pointwise or operator.name in _TOGETHER:
        axes = _together(operator, known)
        return tuple(rule(operator, axis) for axis in axes) if rule else axes
    if rule and found == operator.tensors[:1]:  # no other operand depends on the image
        return tuple(rule(operator, axis) for axis in known[found[0].number])
    if rule or operator.name in PRODUCTS:
        raise _refusal(operator)
    raise InputError(
        f"operator {operator.overload} is unknown to the receptive field; add a rule to "
        "bench/graph/field.py"
    )


def field(graph: Graph) -> Field:
    """The receptive field of the traced network; the traced image's size does not matter.

    Raises:
        InputError: the whole image matters to an output pixel, an operator has no rule, or no
            output depends on the image.
    """
    shape = graph.input.shape
    if len(shape) != 4:
        raise InputError(
            f"no receptive field for an input of shape {shape}; trace an image of shape "
            "(N, C, H, W)"
        )
    known = {graph.input.number: tuple(_Axis(dim, shape[dim], shape[dim]) for dim in (-2, -1))}
    in_memory = defaultdict(set)
    for operator in graph.operators:
        axes = _follow(operator, known)
        for value in (*operator.tensors, *operator.outputs):
            in_memory[value.storage].add(value.number)
        for output in operator.outputs:
            # After a change in place, other views of the memory would have outdated axes.
            is_changed = output in operator.tensors and axes != known.get(output.number)
            if is_changed and len(in_memory[output.storage]) > 1:
                raise _refusal(operator, "changes what other tensors are views of")
            if axes:
                known[output.number] = axes
    found = [known[output.number] for output in graph.outputs if output.number in known]
    if not found:
        raise InputError("no output depends on the image; fix the network's forward pass")
    rows, columns = (max(b - a + 1 for axes in found for a, b in axes[k].spans) for k in (0, 1))
    return Field(
        rows=rows,
        columns=columns,
        margin=max(axis.margin() for axes in found for axis in axes),
        # In every tensor on the way, a tile has to begin with a whole index.
        step=math.lcm(*(axis.step for axes in known.values() for axis in axes)),
    )


# What has to be the same of a whole image and of a tile


_SIZES = frozenset(("size", "output_size"))
"""Arguments that grow with the image; all others say what an operator does."""


def signature(graph: Graph) -> tuple[str, ...]:
    """What a network does, whatever the size of the image.

    Two images of one signature go through the same operators in the same connection, with the same
    weights, numbers, padding and cropping. A network that pads to a multiple of a window, branches
    on the size, or computes with a number that it takes from the size, has others.

    Raises:
        InputError: the network makes a constant whose numbers no trace shows.
    """
    made = {graph.input.number}
    for operator in graph.operators:
        for value in operator.tensors:
            # The module's own tensors have the first numbers of memory, before the input's.
            is_own = value.storage < graph.input.storage
            if not (is_own or value.constant) and value.number not in made:
                raise _refusal(
                    operator,
                    "computes with a tensor whose numbers no trace shows (register it as a buffer)",
                )
        made |= {value.number for value in operator.outputs}
    outputs = repr([_identity(value) for value in graph.outputs])
    return (*(f"{x.overload} {x.layer} {_settings(x)}" for x in graph.operators), outputs)


def _identity(value: Value) -> tuple[int, int, int]:
    """A tensor among those of its graph, which counts alike wherever the operators are alike."""
    return value.number, value.storage, value.constant


def _settings(operator: Operator) -> dict[str, object]:
    given = {name: each for name, each in operator.arguments.items() if name not in _SIZES}
    if operator.name == "slice":  # by what it leaves out on either side
        start = _start_of(operator)
        length = operator.tensors[0].shape[given["dim"]]
        given |= {"start": start, "end": length - start - operator.out.shape[given["dim"]]}
    return {name: tree_map_only(Value, _identity, each) for name, each in given.items()}
