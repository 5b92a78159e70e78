"""Receptive field: how far from an output pixel the input still matters, found on the graph.

Each tensor says, for both axes of the image, which input rows an index of it depends on. Rows
repeat with a period: where a network enlarges by 2, even and odd output rows see different ones,
and each phase has its own. All of it is whole numbers, so nothing is rounded. All channels of a
tensor are taken to see what any of them sees: where pixels become channels and then pixels again
with nothing between that mixes channels, the field is a little larger than it need be.

A tile needs more than the rows that an output depends on. A network that shifts its input off the
edge and back depends on one pixel only, but loses those that a tile's edge cuts off. So beside the
rows that matter, the rows that must lie within the tile are followed: those of every place that is
read on the way, whatever is found there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from bench.costs import Cost, Subject
from bench.costs.multiplies import PRODUCTS
from bench.graph import Graph, Operator, Value, trace_method
from zoo.errors import InputError

TIMED = False
UNITS = {"receptive_field": "px"}


@dataclass(frozen=True)
class Field:
    """How far a network looks, in pixels of its own input."""

    rows: int
    """Most input rows from the first to the last that one output pixel depends on."""
    columns: int
    margin: int
    """What a tile must hold around a part of the image, on each side where the image goes on, so
    that the output of that part is the whole image's."""
    step: int
    """Tiles must begin at multiples of this from the image's top left corner, and end at multiples
    from its bottom right one; 1 unless the network reduces its input."""


class _Span(NamedTuple):
    """Input rows of one index: [low, high] matter, [first, last] must lie within the tile."""

    low: float
    high: float
    first: float
    last: float

    def moved(self, rows: int) -> _Span:
        return _Span(*(end + rows for end in self))

    def hull(self, other: _Span) -> _Span:
        return _Span(
            min(self.low, other.low),
            max(self.high, other.high),
            min(self.first, other.first),
            max(self.last, other.last),
        )


_NOTHING = _Span(math.inf, -math.inf, math.inf, -math.inf)


@dataclass(frozen=True)
class _Axis:
    """One axis of the image in a tensor of which dimension `dim` runs along it.

    Index phase + n * period depends on `spans[phase]` moved by n * jump rows; jump is negative
    where the tensor is flipped. The tensor has `length` indices, the image `image` rows.
    """

    dim: int
    length: int
    image: int
    jump: int = 1
    spans: tuple[_Span, ...] = (_Span(0, 0, 0, 0),)

    @property
    def period(self) -> int:
        return len(self.spans)

    def at(self, index: int) -> _Span:
        times, phase = divmod(index, self.period)
        return self.spans[phase].moved(times * self.jump)

    def place(self, index: int) -> tuple[int, int]:
        """Input rows that a tile must reach from and to for the tensor to have that index in it.

        The first is counted from the image's one edge, the second from the other.
        """
        before, after = index, self.length - 1 - index
        if self.jump < 0:
            before, after = after, before
        rate = abs(self.jump)
        return before * rate // self.period, self.image - 1 - after * rate // self.period

    def read(
        self, length: int, period: int, advance: int, sources: Callable[[int], Iterable[int]]
    ) -> _Axis:
        """The axis of a tensor of that length whose index i is made from `sources(i)` of this one.

        `sources(i + period)` are `sources(i)` moved by `advance`.
        """
        repeats = self.period // math.gcd(self.period, advance)
        spans = []
        for index in range(period * repeats):
            span = _NOTHING
            for source in sources(index):
                first, last = self.place(source)
                span = span.hull(self.at(source)).hull(_Span(math.inf, -math.inf, first, last))
            spans.append(span)
        jump = self.jump * advance * repeats // self.period
        return replace(self, length=length, jump=jump, spans=tuple(spans))

    def with_period(self, period: int) -> _Axis:
        """The same, written with a multiple of its period."""
        spans = tuple(map(self.at, range(period)))
        return replace(self, jump=self.jump * (period // self.period), spans=spans)

    def inward(self, index: int, is_start: bool) -> int:
        """How far from the image's edge a tile on it must reach for an index near that edge.

        The index is counted from the tensor's start, or from its end.
        """
        span = self.at(index if is_start else self.length - 1 - index)
        at_top = is_start == (self.jump > 0)
        return int(max(0, span.last if at_top else self.image - 1 - span.first))

    def size(self) -> int:
        """Most rows that one index depends on, from the first to the last."""
        return int(max(0, *(span.high - span.low + 1 for span in self.spans)))

    def reach(self) -> int:
        """Most rows that a tile must hold on one side of the place that an index stands for."""
        most = 0.0
        for index, span in enumerate(self.spans):
            first, last = self.place(index)
            most = max(most, first - span.first, span.last - last)
        return int(most)


_Axes: TypeAlias = tuple[_Axis, _Axis]
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
    if one.dim != other.dim or one.jump * other.period != other.jump * one.period:
        raise _whole(operator)  # the distance between the two grows across the image
    period = math.lcm(one.period, other.period)
    one, other = one.with_period(period), other.with_period(period)
    spans = tuple(a.hull(b) for a, b in zip(one.spans, other.spans, strict=True))
    return replace(one, spans=spans)


def _hull(operator: Operator, found: Sequence[_Axes]) -> _Axes:
    """The axes of what depends on all of them."""
    rows, columns = found[0]
    for other in found[1:]:
        rows = _joined(operator, rows, other[0])
        columns = _joined(operator, columns, other[1])
    return rows, columns


class _Walk:
    """Follows the image's axes through a graph, operator by operator."""

    def __init__(self, image: Value) -> None:
        self.axes: dict[int, _Axes] = {}
        """Of each tensor that depends on the image, by its number."""
        self.edges = 0
        """Rows that padding with the image's own pixels needs at a tile on the image's edge."""
        self.step = 1
        self._uniform: set[int] = set()
        """Other tensors that hold the same everywhere."""
        self._views: dict[int, tuple[Operator, Value]] = {}
        """What made a view, and its base."""
        rows, columns = (_Axis(dim, image.shape[dim], image.shape[dim]) for dim in (2, 3))
        self.axes[image.number] = rows, columns

    def run(self, operator: Operator) -> None:
        """Follow one operator.

        Raises:
            InputError: it has no rule, or no tile would be enough.
        """
        given = {value.number for value in operator.tensors}
        for output, axes in zip(operator.outputs, self._outputs(operator), strict=True):
            self._set(output, axes)
            if output.number in given:
                self._write_through(operator, output)
                continue
            for base in operator.tensors:
                if base.storage == output.storage and operator.name in _VIEWS:
                    self._views[output.number] = operator, base

    def _set(self, value: Value, axes: _Axes | None) -> None:
        self.axes.pop(value.number, None)
        if axes is not None:
            self.axes[value.number] = axes
            rates = (abs(axis.jump) // math.gcd(axis.jump, axis.period) for axis in axes)
            self.step = math.lcm(self.step, *rates)

    def _outputs(self, operator: Operator) -> list[_Axes | None]:
        """The axes of each output; None for one that does not depend on the image."""
        name, outputs = operator.name, operator.outputs
        read = list(_read(operator))
        numbers = {output.number for output in outputs}
        self._uniform -= numbers
        if name in _UNIFORM or not any(value.number in self.axes for value in read):
            keeps = name in _POINTWISE or name in _VIEWS
            same = keeps and all(value.number in self._uniform for value in read)
            if name in _UNIFORM or same:
                self._uniform |= numbers
            return [None] * len(outputs)
        if name in _POINTWISE:
            return [self._pointwise(operator, read)]
        if name in _RULES:
            return _RULES[name](self, operator)
        if name in PRODUCTS:
            raise _whole(operator)
        raise InputError(
            f"operator {operator.overload} is unknown to the receptive field; add a rule to "
            "bench/costs/receptive_field.py"
        )

    def _pointwise(self, operator: Operator, read: Sequence[Value]) -> _Axes:
        """Elements of all operands, broadcast, one by one."""
        rank = len(operator.out.shape)
        found = []
        for value in read:
            if value.number not in self.axes:
                continue
            lead = rank - len(value.shape)
            if any(value.shape[axis.dim] != operator.out.shape[axis.dim + lead]
                   for axis in self.axes[value.number]):  # fmt: skip
                raise _whole(operator)
            rows, columns = self.axes[value.number]
            found.append(
                (replace(rows, dim=rows.dim + lead), replace(columns, dim=columns.dim + lead))
            )
        axes = _hull(operator, found)
        self.refuse_places(operator, read, axes, rank)
        return axes

    def refuse_places(
        self, operator: Operator, read: Iterable[Value], axes: _Axes, rank: int
    ) -> None:
        """Refuse a constant that differs from place to place: a tile would have other places.

        Raises:
            InputError: there is one.
        """
        for value in read:
            if value.number in self.axes or value.number in self._uniform:
                continue
            dims = (axis.dim - rank + len(value.shape) for axis in axes)
            if any(dim >= 0 and value.shape[dim] != 1 for dim in dims):
                raise _lost(operator, "uses a constant that differs from place to place")

    def _write_through(self, operator: Operator, value: Value) -> None:
        """Where a tensor is changed in place, its base changes, and all views of the base."""
        storage, axes = value.storage, self.axes.get(value.number)
        while value.number in self._views:
            made, base = self._views[value.number]
            if base.number not in self.axes and base.number not in self._uniform:
                raise _lost(operator, "writes into a constant")
            if axes is None:
                self._uniform.discard(base.number)
            else:
                axes = _spread(made, operator, base, axes)
                if base.number in self.axes:
                    axes = _hull(operator, [self.axes[base.number], axes])
                self._set(base, axes)
            value = base
        for number, (made, _) in self._views.items():
            if made.out.storage == storage:
                numbers = [output.number for output in made.outputs]
                place = numbers.index(number)
                self._set(made.outputs[place], self._outputs(made)[place])


def _read(operator: Operator) -> Iterator[Value]:
    """The tensors whose values an operator uses."""
    for name, argument in operator.arguments.items():
        if name == "out" or (operator.name, name) == ("copy_", "self"):
            continue
        for value in argument if isinstance(argument, list | tuple) else [argument]:
            if isinstance(value, Value):
                yield value


def _spread(made: Operator, operator: Operator, base: Value, axes: _Axes) -> _Axes:
    """What a base holds where a view of it has those axes."""
    if made.name in _SAME:
        return axes
    if made.name == "slice":
        return _each(axes, lambda axis: _unsliced(made, axis, base.shape[axis.dim]))
    if made.name in _ORDERED:
        order = _order(made)
        return _each(axes, lambda axis: replace(axis, dim=order[axis.dim]))
    if made.name == "view":
        return _reshaped(operator, axes, made.out.shape, base.shape)
    raise _lost(operator, f"writes into what {made.overload} gave")


def _each(axes: _Axes, change: Callable[[_Axis], _Axis]) -> _Axes:
    return change(axes[0]), change(axes[1])


def _listed(value: int | Sequence[int], count: int) -> list[int]:
    """A setting for each axis, where one number may stand for all."""
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


def _sliding(
    axis: _Axis, length: int, taps: int, stride: int, padding: int, dilation: int
) -> _Axis:
    """A window that slides along an axis."""
    return axis.read(
        length,
        period=1,
        advance=stride,
        sources=lambda i: (i * stride - padding + k * dilation for k in range(taps)),
    )


def _repeated(axis: _Axis, times: int) -> _Axis:
    """Each index `times` times in a row."""
    return axis.read(axis.length * times, period=times, advance=1, sources=lambda i: [i // times])


def _gathered(axis: _Axis, count: int) -> _Axis:
    """`count` indices in a row made one."""
    length = axis.length // count
    return axis.read(
        length, period=1, advance=count, sources=lambda i: range(i * count, (i + 1) * count)
    )


def _convolution(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    x, weight, bias = (operator.arguments[name] for name in ("input", "weight", "bias"))
    if any(value is not None and value.number in walk.axes for value in (weight, bias)):
        raise _whole(operator)
    count = len(weight.shape) - 2
    lead = len(x.shape) - count
    settings = ("stride", "padding", "dilation")
    stride, padding, dilation = (_listed(operator.arguments[name], count) for name in settings)

    def change(axis: _Axis) -> _Axis:
        k = axis.dim - lead
        if k == -1:
            raise _whole(operator)
        if k < -1:
            return axis
        length, taps = operator.out.shape[axis.dim], weight.shape[2 + k]
        if not operator.arguments["transposed"]:
            return _sliding(axis, length, taps, stride[k], padding[k], dilation[k])

        def sources(i: int) -> list[int]:
            reached = (i + padding[k] - tap * dilation[k] for tap in range(taps))
            return [place // stride[k] for place in reached if place % stride[k] == 0]

        return axis.read(length, period=stride[k], advance=1, sources=sources)

    return [_each(walk.axes[x.number], change)]


def _pooling(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    arguments, count = operator.arguments, 2
    taps = _listed(arguments["kernel_size"], count)
    stride = _listed(arguments["stride"], count) or taps
    padding = _listed(arguments["padding"], count)
    dilation = _listed(arguments.get("dilation", 1), count)
    lead = len(operator.out.shape) - count

    def change(axis: _Axis) -> _Axis:
        k = axis.dim - lead
        if k < 0:
            return axis
        length = operator.out.shape[axis.dim]
        return _sliding(axis, length, taps[k], stride[k], padding[k], dilation[k])

    return [_each(walk.axes[arguments["self"].number], change)] * len(operator.outputs)


def _padding(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    x = operator.arguments["self"]
    widths = operator.arguments["pad" if operator.name == "constant_pad_nd" else "padding"]

    def change(axis: _Axis) -> _Axis:
        k = 2 * (len(x.shape) - 1 - axis.dim)
        before, after = widths[k : k + 2] or (0, 0)
        if operator.name != "constant_pad_nd":
            mirrors = operator.name.startswith("reflection")
            for width, is_start in ((before, True), (after, False)):
                read = range(width + 1 if mirrors else 1) if width > 0 else range(0)
                needed = (axis.inward(index, is_start) for index in read)
                walk.edges = max(walk.edges, *needed, 0)
        length = operator.out.shape[axis.dim]
        return axis.read(length, period=1, advance=1, sources=lambda i: [i - before])

    return [_each(walk.axes[x.number], change)]


def _shuffle(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    x, first = operator.arguments["self"], len(operator.out.shape) - 2
    if any(axis.dim < first for axis in walk.axes[x.number]):
        raise _whole(operator)
    if operator.name == "pixel_shuffle":
        factor = operator.arguments["upscale_factor"]
        return [_each(walk.axes[x.number], lambda axis: _repeated(axis, factor))]
    factor = operator.arguments["downscale_factor"]
    return [_each(walk.axes[x.number], lambda axis: _gathered(axis, factor))]


def _upsampling(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    def change(axis: _Axis) -> _Axis:
        factor, rest = divmod(operator.out.shape[axis.dim], axis.length)
        if rest:
            raise _lost(operator, "does not enlarge by a whole number")
        return _repeated(axis, factor)

    return [_each(walk.axes[operator.arguments["self"].number], change)]


def _normalisation(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    x = operator.arguments["input"]
    axes = walk.axes[x.number]
    over = len(x.shape) - len(operator.arguments.get("normalized_shape", ()))
    own = operator.arguments.get("training", False) or operator.name == "native_group_norm"
    if own or any(axis.dim >= over for axis in axes):
        raise _whole(operator)
    return [axes, *[None] * (len(operator.outputs) - 1)]


def _channelwise(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    return [walk.axes[operator.arguments["self"].number]] * len(operator.outputs)


def _reduction(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    rank = len(operator.arguments["self"].shape)
    given = operator.arguments.get("dim")
    dims = _listed(given, 1) if given is not None else []
    gone = {dim % rank for dim in dims or range(rank)}
    if any(axis.dim in gone for axis in walk.axes[operator.arguments["self"].number]):
        raise _whole(operator)
    if operator.arguments.get("keepdim"):
        return _channelwise(walk, operator)
    return _ordered(walk, operator, [dim for dim in range(rank) if dim not in gone])


def _ordered(walk: _Walk, operator: Operator, order: Sequence[int]) -> list[_Axes | None]:
    """Outputs whose dimension k is dimension `order[k]` of what was given, -1 for a new one."""

    def change(axis: _Axis) -> _Axis:
        if axis.dim not in order:
            raise _lost(operator, "takes single rows or columns")
        return replace(axis, dim=order.index(axis.dim))

    axes = walk.axes[operator.arguments["self"].number]
    return [_each(axes, change)] * len(operator.outputs)


def _order(operator: Operator) -> list[int]:
    """Which dimension of what was given each dimension of the output is, -1 for a new one."""
    arguments = operator.arguments
    shape = arguments["self"].shape
    order = list(range(len(shape)))
    match operator.name:
        case "permute":
            order = [dim % len(shape) for dim in arguments["dims"]]
        case "transpose":
            a, b = arguments["dim0"] % len(shape), arguments["dim1"] % len(shape)
            order[a], order[b] = order[b], order[a]
        case "t":
            order.reverse()
        case "select" | "unbind":
            del order[arguments["dim"] % len(shape)]
        case "unsqueeze":
            order.insert(arguments["dim"] % (len(shape) + 1), -1)
        case "squeeze":
            given = arguments.get("dim", order)
            dims = {dim % len(shape) for dim in _listed(given, 1)}
            order = [dim for dim in order if dim not in dims or shape[dim] != 1]
    return order


def _reordering(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    return _ordered(walk, operator, _order(operator))


def _repetition(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    """`expand` and `repeat`, which may put dimensions in front."""
    x = operator.arguments["self"]
    lead = len(operator.out.shape) - len(x.shape)
    for axis in walk.axes[x.number]:
        if operator.out.shape[axis.dim + lead] != axis.length:
            raise _whole(operator)
    return _ordered(walk, operator, [-1] * lead + list(range(len(x.shape))))


def _slicing(operator: Operator) -> tuple[int, int, int]:
    """Dimension, start and step of a slice."""
    shape = operator.arguments["self"].shape
    dim = operator.arguments["dim"] % len(shape)
    ends = (operator.arguments[name] for name in ("start", "end", "step"))
    start, _, step = slice(*ends).indices(shape[dim])
    return dim, start, step


def _slice(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    dim, start, step = _slicing(operator)

    def change(axis: _Axis) -> _Axis:
        if axis.dim != dim:
            return axis
        length = operator.out.shape[dim]
        _refuse_parts(operator, length * step, axis.length)
        return axis.read(length, 1, step, lambda i: [start + i * step])

    return [_each(walk.axes[operator.arguments["self"].number], change)]


def _unsliced(operator: Operator, axis: _Axis, length: int) -> _Axis:
    """The axis of a tensor of that length, a slice of which has the axis."""
    dim, start, step = _slicing(operator)
    if axis.dim != dim:
        return axis
    _refuse_parts(operator, axis.length * step, length)

    def sources(i: int) -> list[int]:
        return [] if (i - start) % step else [(i - start) // step]

    return axis.read(length, period=step, advance=1, sources=sources)


def _refuse_parts(operator: Operator, kept: int, length: int) -> None:
    """Refuse a slice that is no mere crop: whether it stays or moves as images grow, who knows.

    Raises:
        InputError: no more than half is kept.
    """
    if 2 * kept <= length:
        raise _lost(operator, "takes a part of the image")


def _splitting(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    x = operator.arguments["self"]
    if any(axis.dim == operator.arguments["dim"] % len(x.shape) for axis in walk.axes[x.number]):
        raise _lost(operator, "takes the image apart")
    return _channelwise(walk, operator)


def _joining(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    tensors, rank = operator.arguments["tensors"], len(operator.out.shape)
    dim = operator.arguments["dim"] % rank
    found = [walk.axes[value.number] for value in tensors if value.number in walk.axes]
    axes = _hull(operator, found)
    walk.refuse_places(operator, tensors, axes, len(tensors[0].shape))
    if operator.name == "stack":
        axes = _each(axes, lambda axis: replace(axis, dim=axis.dim + (axis.dim >= dim)))
    elif any(axis.dim == dim for axis in axes):
        raise _lost(operator, "joins parts of an image")
    return [axes]


def _flipping(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    return [_flipped(walk.axes[operator.arguments["self"].number], operator.arguments["dims"])]


def _flipped(axes: _Axes, dims: Iterable[int]) -> _Axes:
    def change(axis: _Axis) -> _Axis:
        if axis.dim not in dims:
            return axis
        return axis.read(axis.length, 1, -1, lambda i: [axis.length - 1 - i])

    return _each(axes, change)


def _rotation(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    a, b = operator.arguments["dims"]
    turns = operator.arguments["k"] % 4
    flipped = ((), (b,), (a, b), (a,))[turns]
    swapped = {a: b, b: a} if turns % 2 else {}
    axes = _flipped(walk.axes[operator.arguments["self"].number], flipped)
    return [_each(axes, lambda axis: replace(axis, dim=swapped.get(axis.dim, axis.dim)))]


def _window(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    """`Tensor.unfold`: windows along one dimension, their elements in a new last one."""
    x, size, step = (operator.arguments[name] for name in ("self", "size", "step"))
    dim = operator.arguments["dimension"] % len(x.shape)

    def change(axis: _Axis) -> _Axis:
        length = operator.out.shape[axis.dim]
        return _sliding(axis, length, size, step, 0, 1) if axis.dim == dim else axis

    return [_each(walk.axes[x.number], change)]


def _reshaping(walk: _Walk, operator: Operator) -> list[_Axes | None]:
    x = operator.arguments["self"]
    return [_reshaped(operator, walk.axes[x.number], x.shape, operator.out.shape)]


def _reshaped(operator: Operator, axes: _Axes, old: Sequence[int], new: Sequence[int]) -> _Axes:
    """Dimensions merged and split, the last one running fastest."""

    def change(axis: _Axis) -> _Axis:
        before, after = _group(old, new, axis.dim)
        if not before or before[0] != axis.dim or not after:
            raise _lost(operator, "lays the image's pixels out anew")
        merged = math.prod(old[dim] for dim in before[1:])
        apart = math.prod(new[dim] for dim in after[1:])
        if merged > 1:
            axis = _repeated(axis, merged)
        if apart > 1:
            axis = _gathered(axis, apart)
        return replace(axis, dim=after[0])

    return _each(axes, change)


def _group(old: Sequence[int], new: Sequence[int], dim: int) -> tuple[list[int], list[int]]:
    """The fewest dimensions, with `dim` of the old among them, that hold as many elements.

    Dimensions of size 1 are left out.

    >>> _group((2, 3, 4, 5), (6, 20), 2)
    ([2, 3], [1])
    """
    left = [k for k, size in enumerate(old) if size != 1]
    right = [k for k, size in enumerate(new) if size != 1]
    while left and right:
        count, other = 1, 1
        while (a := math.prod(old[k] for k in left[:count])) != (
            b := math.prod(new[k] for k in right[:other])
        ):
            count, other = (count + 1, other) if a < b else (count, other + 1)
        if dim in left[:count]:
            return left[:count], right[:other]
        left, right = left[count:], right[other:]
    return [], []


# fmt: off
_POINTWISE = frozenset((
    "mul", "mul_", "div", "div_", "square", "square_", "addcmul", "addcmul_",
    "add", "add_", "sub", "sub_", "rsub", "_prelu_kernel", "leaky_relu", "leaky_relu_",
    "relu", "relu_", "tanh", "tanh_", "sigmoid", "sigmoid_", "clamp", "clamp_", "clamp_min",
    "clamp_max", "hardtanh", "hardtanh_", "neg", "abs", "maximum", "minimum", "round", "floor",
    "clone", "copy_", "_to_copy", "contiguous", "dropout",
))
"""Each output element depends on the operands' elements at its place."""

_UNIFORM = frozenset((
    "empty", "empty_like", "new_empty", "new_zeros", "zeros", "zeros_like", "ones", "ones_like",
    "full", "full_like", "fill_", "zero_", "scalar_tensor",
))
"""Tensors that hold the same everywhere, whatever they are given."""

_SAME = frozenset(("prelu", "alias", "detach", "detach_", "lift_fresh"))
"""The output is laid out as what was given."""

_ORDERED = frozenset(("permute", "transpose", "t", "select", "unbind", "unsqueeze", "squeeze"))
"""Dimensions are put in another order, left out, or put in with size 1."""

_SPLIT = frozenset(("split", "split_with_sizes", "chunk"))

_VIEWS = frozenset((*_SAME, *_ORDERED, *_SPLIT, "view", "slice", "expand", "unfold"))
"""What may give a view of what was given."""
# fmt: on

_RULES: dict[str, Callable[[_Walk, Operator], list[_Axes | None]]] = {
    "convolution": _convolution,
    **dict.fromkeys(("max_pool2d_with_indices", "avg_pool2d"), _pooling),
    **dict.fromkeys(
        (
            "constant_pad_nd",
            *(f"{kind}_pad{n}d" for kind in ("replication", "reflection") for n in (1, 2, 3)),
        ),
        _padding,
    ),
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle"), _shuffle),
    "upsample_nearest2d": _upsampling,
    **dict.fromkeys(
        (
            "native_batch_norm",
            "_native_batch_norm_legit_no_training",
            "cudnn_batch_norm",
            "native_layer_norm",
            "native_group_norm",
        ),
        _normalisation,
    ),
    **dict.fromkeys(_SAME, _channelwise),
    **dict.fromkeys(("sum", "mean", "amax", "amin"), _reduction),
    **dict.fromkeys(_ORDERED, _reordering),
    **dict.fromkeys(("expand", "repeat"), _repetition),
    "slice": _slice,
    **dict.fromkeys(_SPLIT, _splitting),
    **dict.fromkeys(("cat", "stack"), _joining),
    "flip": _flipping,
    "rot90": _rotation,
    "unfold": _window,
    **dict.fromkeys(("view", "_unsafe_view", "reshape"), _reshaping),
}
"""How the axes of an operator's outputs follow from those of its arguments."""


def field(graph: Graph) -> Field:
    """How far the network looks that ran, whatever the size of the image that it ran on.

    Raises:
        InputError: the whole image matters, an operator has no rule, or the output does not
            depend on the image.
    """
    shape = graph.input.shape
    if len(shape) != 4:
        raise InputError(f"a receptive field of {shape}: trace an image of shape (N, C, H, W)")
    walk = _Walk(graph.input)
    for operator in graph.operators:
        walk.run(operator)
    found = [walk.axes[output.number] for output in graph.outputs if output.number in walk.axes]
    if not found:
        raise InputError("no output depends on the image; a receptive field needs one that does")
    rows, columns = zip(*found, strict=True)
    return Field(
        rows=max(axis.size() for axis in rows),
        columns=max(axis.size() for axis in columns),
        margin=max(walk.edges, *(axis.reach() for axis in (*rows, *columns))),
        step=walk.step,
    )


def measure(subject: Subject) -> dict[str, Cost]:
    """Rows or columns, whichever are more, of the module's own input: LR, or interpolated LR.

    Raises:
        InputError: the forward pass cannot be traced, or the whole image matters.
    """
    found = field(trace_method(subject.method, subject.module, subject.scale))
    return {"receptive_field": Cost(float(max(found.rows, found.columns)))}
