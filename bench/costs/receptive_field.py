"""Receptive field: how far from an output pixel the input still matters, found on the graph.

Each tensor says, for both axes of the image, which input rows an index of it is made from: the
span from the first to the last. Spans repeat with a period: where a network enlarges by 2, even
and odd output rows see different ones, and each phase has its own. All of it is whole numbers, so
nothing is rounded. All channels of a tensor are taken to see what any of them sees: where pixels
become channels and then pixels again with nothing between that mixes channels, the field is a
little larger than it need be.

A span also holds the rows that its index stands for, and those of every index that is read on the
way, whatever is found there: a tile must have them all, or it would find its own edge instead.

What networks hardly do to an image is refused, not guessed at: cropping it, cutting and joining it,
regrouping its pixels, changing it through a view.
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

from bench.costs import Cost, Subject
from bench.costs.multiplies import PRODUCTS
from bench.graph import Graph, Operator, trace_method
from zoo.errors import InputError

TIMED = False
UNITS = {"receptive_field": "px"}


@dataclass(frozen=True)
class Field:
    """How far a network looks, in pixels of its own input."""

    rows: int
    """Most input rows from the first to the last that one output pixel is made from."""
    columns: int
    margin: int
    """What a tile must hold around a part of the image, on each side where the image goes on, so
    that the output of that part is the whole image's."""
    step: int
    """Tiles must begin at multiples of this from the image's top left corner, and end at multiples
    from its bottom right one; 1 unless the network reduces its input."""


_Span: TypeAlias = tuple[int, int]
"""First and last of the input rows that must lie within a tile."""


def _hull(spans: Iterable[_Span]) -> _Span:
    firsts, lasts = zip(*spans, strict=True)
    return min(firsts), max(lasts)


@dataclass(frozen=True)
class _Axis:
    """One axis of the image in a tensor: `length` indices made from `image` rows.

    Index phase + n * period has the span `spans[phase]` moved by n * jump rows; jump is negative
    where the tensor is flipped.
    """

    dim: int
    """Which dimension runs along it, counted from the last, which is -1."""
    length: int
    image: int
    jump: int = 1
    spans: tuple[_Span, ...] = ((0, 0),)
    least: int = 0
    """Rows that a tile on the image's edge must hold for padding with the image's own pixels."""

    @property
    def period(self) -> int:
        return len(self.spans)

    @property
    def step(self) -> int:
        """Tiles that begin at multiples of so many rows begin with a whole index."""
        return abs(self.jump) // math.gcd(self.jump, self.period)

    def at(self, index: int) -> _Span:
        times, phase = divmod(index, self.period)
        first, last = self.spans[phase]
        return first + times * self.jump, last + times * self.jump

    def place(self, index: int) -> _Span:
        """Rows that a tile must begin before and end behind for the tensor to have that index.

        The first is counted from the image's one edge, the last from the other. An index that
        stands for several rows is there with any of them, since a tile has none or all.
        """
        before, after = index, self.length - 1 - index
        if self.jump < 0:
            before, after = after, before
        each = self.period * self.step // abs(self.jump)
        spare = self.step - 1
        first = before // each * self.step + spare
        return first, self.image - 1 - (after // each * self.step + spare)

    def read(
        self, length: int, period: int, advance: int, sources: Callable[[int], Iterable[int]]
    ) -> _Axis:
        """The axis of a tensor of that length whose index i is made from `sources(i)` of this one.

        `sources(i + period)` are `sources(i)` moved by `advance`.
        """
        repeats = self.period // math.gcd(self.period, advance)
        jump = self.jump * advance * repeats // self.period
        made = replace(self, length=length, jump=jump, spans=((0, 0),) * (period * repeats))
        spans = (_hull([made.place(i), *map(self.at, sources(i))]) for i in range(made.period))
        return replace(made, spans=tuple(spans))

    def inward(self, before: int, after: int) -> int:
        """How far from the image's edges lies what so many more indices than the outermost see."""
        start = [self.at(i) for i in range(before + 1)]
        end = [self.at(self.length - 1 - i) for i in range(after + 1)]
        near, far = (start, end) if self.jump > 0 else (end, start)
        return max(_hull(near)[1], self.image - 1 - _hull(far)[0])

    def size(self) -> int:
        """Most rows that one index is made from, from the first to the last."""
        return max(0, *(last - first + 1 for first, last in self.spans))

    def reach(self) -> int:
        """Most rows that a tile must hold on one side of the place that an index stands for."""
        most = self.least
        for index, (first, last) in enumerate(self.spans):
            place = self.place(index)
            most = max(most, place[0] - first, last - place[1])
        return most


_Axes: TypeAlias = tuple[_Axis, ...]
"""Rows and columns of the image in a tensor that depends on it."""


def _named(operator: Operator) -> str:
    return f"{operator.overload} in {operator.layer}" if operator.layer else operator.overload


def _whole(operator: Operator) -> InputError:
    return InputError(
        f"{_named(operator)} lets the whole image matter to an output pixel: there is no "
        "receptive field, and no tile is enough; run it on the whole image"
    )


def _lost(operator: Operator, what: str) -> InputError:
    return InputError(
        f"{_named(operator)} {what}: the receptive field cannot be followed there, and no tile "
        "is known to be enough; run it on the whole image"
    )


def _joined(operator: Operator, one: _Axis, other: _Axis) -> _Axis:
    """The axis of what depends on both, index by index."""
    if one.dim != other.dim or one.jump * other.period != other.jump * one.period:
        raise _whole(operator)  # the distance between the two grows across the image
    period = math.lcm(one.period, other.period)
    spans = tuple(_hull([one.at(i), other.at(i)]) for i in range(period))
    jump, least = one.jump * period // one.period, max(one.least, other.least)
    return replace(one, jump=jump, spans=spans, least=least)


def _together(operator: Operator, known: Mapping[int, _Axes], shape: tuple[int, ...]) -> _Axes:
    """All operands, broadcast to a shape, place by place."""
    found = [known[value.number] for value in operator.tensors if value.number in known]
    for axes in found:
        if any(axis.length != shape[axis.dim] for axis in axes):
            raise _whole(operator)
    axes = tuple(reduce(partial(_joined, operator), each) for each in zip(*found, strict=True))
    for value in operator.tensors:
        sizes = (value.shape[axis.dim] for axis in axes if -axis.dim <= len(value.shape))
        if value.number not in known and any(size != 1 for size in sizes):
            raise _lost(operator, "uses a constant that differs from place to place")
    return axes


def _stacked(operator: Operator, known: Mapping[int, _Axes]) -> _Axes:
    shape = operator.tensors[0].shape
    dim = operator.arguments["dim"] % (len(shape) + 1)
    axes = _together(operator, known, shape)
    return tuple(replace(a, dim=a.dim - (a.dim + len(shape) < dim)) for a in axes)


def _windows(operator: Operator, axes: _Axes) -> _Axes:
    """Convolution, plain or transposed, and pooling."""
    given = operator.arguments
    taps = given["weight"].shape[2:] if "weight" in given else given["kernel_size"]
    settings = taps, given["stride"] or taps, given["padding"], given.get("dilation", [1])

    def change(axis: _Axis) -> _Axis:
        k = axis.dim + len(operator.out.shape) - 2
        if k < 0 or len(operator.out.shape) != 4:
            raise _whole(operator)
        count, stride, padding, dilation = (setting[k % len(setting)] for setting in settings)

        def transposed(i: int) -> list[int]:
            reached = (i + padding - tap * dilation for tap in range(count))
            return [place // stride for place in reached if place % stride == 0]

        def plain(i: int) -> range:
            start = i * stride - padding
            return range(start, start + count * dilation, dilation)

        length = operator.out.shape[axis.dim]
        if given.get("transposed"):
            return axis.read(length, period=stride, advance=1, sources=transposed)
        return axis.read(length, period=1, advance=stride, sources=plain)

    return tuple(map(change, axes))


def _padding(operator: Operator, axes: _Axes) -> _Axes:
    is_constant = operator.name == "constant_pad_nd"
    widths = operator.arguments["pad" if is_constant else "padding"]

    def change(axis: _Axis) -> _Axis:
        k = 2 * (-1 - axis.dim)
        before, after = widths[k : k + 2] or (0, 0)
        if min(before, after) < 0:
            raise _lost(operator, "crops the image")
        least = axis.least if is_constant else max(axis.least, axis.inward(before, after))
        length = axis.length + before + after
        return replace(axis.read(length, 1, 1, lambda i: [i - before]), least=least)

    return tuple(map(change, axes))


def _scaling(operator: Operator, axes: _Axes) -> _Axes:
    """Pixels to channels and back, and the nearest pixel, by whole numbers."""

    def change(axis: _Axis) -> _Axis:
        if axis.dim < -2:
            raise _whole(operator)
        length = operator.out.shape[axis.dim]
        factor, count = length // axis.length, axis.length // length
        given = operator.arguments.get("scales_h" if axis.dim == -2 else "scales_w")
        if given not in (None, length / axis.length) or length * count != axis.length * (factor or 1):
            raise _lost(operator, "does not scale by a whole number")
        if factor:
            return axis.read(length, factor, 1, lambda i: [i // factor])
        return axis.read(length, 1, count, lambda i: range(i * count, (i + 1) * count))

    return tuple(map(change, axes))
