"""How a count grows with the LR image: the same for every pixel, or depending on the size.

Most networks do the same work for each pixel, plus or minus something at the borders. Then a count
on h x w pixels is a*h*w + b*h + c*w + d, and a is the count per pixel. Other networks pad to a
multiple of a window, attend to all pixels, or choose a branch by the image's size; then no count
per pixel exists. So a count is fitted on small sizes and has to give larger ones exactly. Only
such a count has a value per pixel.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from torch import nn

from bench.graph.trace import Graph, trace_method
from zoo.errors import InputError
from zoo.method import Method

Size: TypeAlias = tuple[int, int]
"""Rows and columns of an LR image."""

FITTED: tuple[Size, ...] = ((16, 16), (24, 24), (32, 32), (16, 32))
"""Sizes that determine a, b, c and d."""
HELD_TO: tuple[Size, ...] = ((37, 53), (37, 54), (38, 53), (264, 272))
"""Sizes that the fit has to give exactly, beside the stated size: odd sides, and sides beyond
windows of 256."""
SMALL_PART = 0.01
"""Part of a count up to which what no pixel adds is left out, as if an image had no borders.

Padding by 24 px on each side takes that part of a 640x360 image in its corners. What is more is
work that the image's size does not change, as of a branch on a thumbnail.
"""


_KEPT = 3
"""Networks whose graphs are kept: the costs of a network are measured one after the other."""
_known: OrderedDict[tuple[str, bytes, int, Size], Growth] = OrderedDict()


@dataclass(frozen=True)
class Growth:
    """The graphs of a network for several sizes of LR, from which counts are read."""

    graphs: Mapping[Size, Graph]
    """By size: `FITTED`, those of `HELD_TO` that the network accepts, and the stated size."""
    stated: Size
    """The LR image of the output for which costs are stated."""
    refused: Mapping[Size, str]
    """Sizes that the network does not accept, and why."""

    @property
    def stated_in_words(self) -> str:
        """The stated size for people."""
        return described(self.stated)

    def graph(self, size: Size) -> Graph:
        """The graph for an LR image of a traced size.

        Raises:
            InputError: the network does not accept the size.
        """
        if size in self.refused:
            raise InputError(f"at {described(size)}: {self.refused[size]}")
        return self.graphs[size]

    def per_pixel(self, count: Callable[[Graph], int]) -> float | None:
        """A count for each LR pixel inside an image; None if it depends on the image's size."""
        return per_pixel({size: count(graph) for size, graph in self.graphs.items()})

    def fixed(self, count: Callable[[Graph], int]) -> int:
        """What a count has in an image of any size; 0 if that is less than `SMALL_PART` of it.

        Only for a count that has a value per pixel.
        """
        fit = _fit([count(self.graphs[size]) for size in FITTED])
        return int(fit.constant) if fit.constant > SMALL_PART * fit(self.stated) else 0

    def on_the_size(self, count: Callable[[Graph], int]) -> str:
        """What to say of a count that depends on the size: its values, and sizes not accepted."""
        sizes = [size for size in (*HELD_TO, self.stated) if size in self.graphs]
        shown = (f"{count(self.graphs[size]):,} at {described(size)}" for size in sizes)
        refused = (f"{described(size)} is not accepted" for size in self.refused)
        return f"depends on the size: {'; '.join([*shown, *refused])}"


def described(size: Size) -> str:
    """An LR image's size for people: width first.

    >>> described((360, 640))
    '640x360 px of LR'
    """
    return f"{size[1]}x{size[0]} px of LR"


def per_pixel(counts: Mapping[Size, int]) -> float | None:
    """A count for each LR pixel inside an image; None if it depends on the image's size.

    Work that is left out or added at the borders does not change it. A count that is known for no
    other size than those of the fit depends on the size, as far as is known. So does a count that
    falls with every pixel.

    Args:
        counts: by size; all of `FITTED`, and others that the fit is held to.

    >>> per_pixel({(h, w): 7 * (h - 4) * (w - 4) for h, w in (*FITTED, *HELD_TO)})
    7.0
    """
    fit = _fit([counts[size] for size in FITTED])
    others = [size for size in counts if size not in FITTED]
    if not others or fit.area < 0 or any(fit(size) != counts[size] for size in others):
        return None
    return float(fit.area)


def of_method(method: Method, module: nn.Module, scale: int, stated: Size) -> Growth:
    """The graphs of a method's module for the sizes that a count is fitted on and held to.

    Graphs of methods that come from a file are kept for the next cost.

    Args:
        method: the method.
        module: its module at the scale.
        scale: the enlargement.
        stated: the LR image of the output for which costs are stated.

    Raises:
        InputError: the module cannot be traced for a size of `FITTED`, or its output has another
            size than the method's contract says.
    """
    key = _key(method, scale, stated)
    if key in _known:
        _known.move_to_end(key)
        return _known[key]
    graphs = {size: _held_to_contract(method, module, scale, size) for size in FITTED}
    refused = {}
    # A window that hides in the small sizes shows at the stated one, unless that is small too.
    held_to = HELD_TO if max(stated) < max(HELD_TO[-1]) else HELD_TO[:-1]
    for size in (*held_to, stated):
        try:
            graphs[size] = _held_to_contract(method, module, scale, size)
        except InputError as error:
            refused[size] = str(error)
    found = Growth(graphs, stated, refused)
    if method.source.is_file():
        _known[key] = found
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return found


def graph_at(method: Method, module: nn.Module, scale: int, stated: Size) -> Graph:
    """The graph at the stated size alone: of `of_method`, if that is kept, else a new trace.

    Raises:
        InputError: the module cannot be traced at this size.
    """
    kept = _known.get(_key(method, scale, stated))
    return kept.graph(stated) if kept else trace_method(method, module, scale, stated)


def _key(method: Method, scale: int, stated: Size) -> tuple[str, bytes, int, Size]:
    # By the file's bytes, because a notebook may edit the file and measure again.
    code = method.source.read_bytes() if method.source.is_file() else b""
    return method.name, code, scale, stated


def _held_to_contract(method: Method, module: nn.Module, scale: int, size: Size) -> Graph:
    graph = trace_method(method, module, scale, size)
    given = [value.shape[2:] for value in graph.outputs]
    expected = (scale * size[0], scale * size[1])
    if given != [expected]:
        raise InputError(
            f"{method.name} gave {given or 'no tensor'} for LR of {size[1]}x{size[0]} px; expected "
            f"{expected[1]}x{expected[0]}: fix the method"
        )
    return graph


@dataclass(frozen=True)
class _Fit:
    """A count as area * h * w + rows * h + columns * w + constant."""

    area: Fraction
    rows: Fraction
    columns: Fraction
    constant: Fraction

    def __call__(self, size: Size) -> Fraction:
        height, width = size
        return (
            self.area * height * width + self.rows * height + self.columns * width + self.constant
        )


def _fit(counts: list[int]) -> _Fit:
    """The coefficients that give the counts on `FITTED`, in order.

    `FITTED` are squares of n, n + d and n + 2d, and a rectangle of n x (n + 2d).
    """
    first, second, third, wide = map(Fraction, counts)
    (n, _), (m, _), (last, _), _ = FITTED
    step = m - n
    area = (first - 2 * second + third) / (2 * step**2)
    both = (second - first - area * (m**2 - n**2)) / step
    constant = first - area * n**2 - both * n
    # On n x last, rows * n + columns * last is what is left; on a square it is both * n.
    columns = (wide - area * n * last - constant - both * n) / (last - n)
    return _Fit(area, both - columns, columns, constant)
