"""Images of any size through a network: whole where memory allows, else in tiles that overlap.

A tile is read with a margin of real pixels around the part to keep. With a margin of the receptive
field, which is computed from the traced graph, every kept pixel is computed from the same input as
in the whole image. The result is then the same up to rounding, also at the seams. At the image's
border the tile ends too, and the network pads there as in the whole image.
"""

from __future__ import annotations

import itertools
import math
import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeAlias, TypeVar

import torch
from rich.filesize import decimal
from torch import Tensor, nn

from bench.graph.field import field, signature
from bench.graph.trace import SIDE, Graph, bytes_per_pixel, trace
from bench.machine import give_back_memory, out_of_memory
from zoo.errors import InputError, one_line

LONGEST_PERIOD = 256
"""Of a network that pads to a multiple of a window: the largest window that tiles can follow."""
SMALLEST = 16
"""Side of the smallest tile, in input pixels, unless the user asks for smaller tiles."""
_SURELY = 5000
"""Skip tracing if free memory is at least 5000 times the output's size.

MemNet, the method that takes most memory, needs about 2500 times.
"""
T = TypeVar("T")


@dataclass(frozen=True)
class Cut:
    """A tile along a side of an image, in input pixels: [start, stop) is read."""

    start: int
    stop: int
    first: int
    """[first, last) is kept; the rest is margin."""
    last: int

    def kept(self, factor: int) -> slice:
        """Where the kept part lies in the tile's output, in output pixels."""
        return slice(factor * (self.first - self.start), factor * (self.last - self.start))

    def written(self, factor: int) -> slice:
        """Where the kept part lies in the image's output, in output pixels."""
        return slice(factor * self.first, factor * self.last)


def _stride(inside: int, tile: int, step: int) -> int:
    """Greatest distance from the start of a tile to the start of the next, in pixels.

    The distance is a multiple of the step. It is at most `tile`, unless `step` is larger.
    """
    largest = max(tile - tile % step, step)
    return math.ceil(inside / math.ceil(inside / largest) / step) * step


def extent(length: int, tile: int, margin: int, step: int = 1) -> int:
    """Pixels that every tile reads along a side of an image: tile + 2 * margin, or somewhat less.

    If tiles must begin at multiples of a step, a tile may read up to a step more.

    Args:
        length: the image's side, in input pixels.
        tile: most pixels that a tile inside the image keeps.
        margin: pixels read around the kept part.
        step: tiles begin at multiples of this number of pixels.

    >>> extent(100, 48, 0), extent(100, 48, 6), extent(60, 48, 6)
    (34, 56, 60)
    """
    inside = length - 2 * margin
    if inside <= tile:
        return length
    return min(2 * margin + _stride(inside, tile, step) + inside % step, length)


def cuts(length: int, tile: int, margin: int, step: int = 1) -> list[Cut]:
    """The fewest tiles that cover a side of an image; every tile reads the same number of pixels.

    With tiles of the same shape, a compiled network is compiled once. A tile at the image's border
    needs no margin there, and keeps that many pixels more than `tile`. Tiles begin at multiples of
    the step from the image's start, and end at multiples of the step from the image's end.

    Args:
        length: the image's side, in input pixels.
        tile: most pixels that a tile inside the image keeps.
        margin: pixels read around the kept part.
        step: tiles begin at multiples of this number of pixels.

    >>> cuts(100, 48, 6)
    [Cut(start=0, stop=56, first=0, last=50), Cut(start=44, stop=100, first=50, last=100)]
    """
    read = extent(length, tile, margin, step)
    if read == length:
        return [Cut(0, length, 0, length)]
    steps = (length - read) // step
    gaps = math.ceil(steps * step / _stride(length - 2 * margin, tile, step))
    starts = [i * steps // gaps * step for i in range(gaps + 1)]
    # Each seam is in the middle of the overlap, so that both tiles have a margin there.
    seams = [(start + before + read) // 2 for before, start in itertools.pairwise(starts)]
    kept = itertools.pairwise([0, *seams, length])
    return [
        Cut(start, start + read, first, last)
        for start, (first, last) in zip(starts, kept, strict=True)
    ]


_Key: TypeAlias = tuple[int, int, int, torch.dtype]
"""Planes, rows, columns and dtype of an image."""


def _key(x: Tensor, height: int, width: int) -> _Key:
    return x.shape[1], height, width, x.dtype


class _Needs:
    """Margin, step and memory of a network, computed from the traced graph on first use.

    All copies of a `Tiled` share the answers, which depend on the network but not on state that a
    forward pass changes.
    """

    def __init__(self, network: nn.Module, margin: int | None, per_pixel: float | None) -> None:
        self._network = network
        self._margin, self._per_pixel = margin, per_pixel
        self._lock = threading.RLock()  # threads with copies of a `Tiled` ask at the same time
        self._places: dict[_Key, tuple[int, int] | str] = {}
        self._signatures: dict[_Key, int | str] = {}
        self._bytes: dict[_Key, float | str] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def margin_and_step(self, x: Tensor) -> tuple[int, int]:
        """Margin and step of a tile, in pixels, for an image `x` of shape (N, C, h, w).

        A tile must hold a margin around the kept part, and must begin at a multiple of the step and
        end at one counted from the other side. Both come from the receptive field at the image's
        own size.

        Raises:
            InputError: each output pixel depends on the whole image, or the network cannot be
                traced.
        """
        if self._margin is not None:
            return self._margin, 1  # a margin alone: tiles may begin anywhere

        def find() -> tuple[int, int]:
            height, width = x.shape[-2:]
            try:
                graph = self._traced(x, height, width)
            except InputError:
                # Some methods cannot run on a small image, and say so better than a trace does.
                graph = self._traced(x, max(height, SIDE), max(width, SIDE))
            found = field(graph)
            return found.margin, found.step

        return self._once(self._places, _key(x, *x.shape[-2:]), find)

    def step_along(self, x: Tensor, towards: tuple[int, int]) -> int:
        """The step along rows (-1, 0) or columns (0, -1), for an image (N, C, h, w).

        It is a multiple of the network's period: the number of rows or columns after which an image
        is padded and cropped in the same way again. Tiles that begin and end at multiples of it are
        windowed as the whole image is.

        Raises:
            InputError: there is no period up to `LONGEST_PERIOD` pixels.
        """
        _, step = self.margin_and_step(x)
        return step if self._margin is not None else math.lcm(step, self._period(x, towards))

    def refuse_other(self, x: Tensor, height: int, width: int) -> None:
        """Refuse tiles of a size on which the network does something else than on the whole image.

        Args:
            x: the image, (N, C, h, w).
            height: rows that a tile reads.
            width: columns that a tile reads.

        Raises:
            InputError: it branches on the size, pads or crops in another way, computes with another
                number, or cannot be traced.
        """
        if self._margin is not None:
            return
        if self._signature(x, height, width) != self._signature_of_whole(x):
            raise InputError(
                f"the network does something else on {width}x{height} px than on {_size(x)}"
            )

    def _period(self, x: Tensor, towards: tuple[int, int]) -> int:
        """Rows (-1, 0) or columns (0, -1) after which the network does the same again."""
        _, _, height, width = x.shape
        whole = self._signature_of_whole(x)
        for period in range(1, LONGEST_PERIOD + 1):
            size = (height + period * towards[0], width + period * towards[1])
            if min(size) < 1:
                break
            if self._signature(x, *size) == whole:
                return period
        raise InputError(
            f"the network does something else on every size near {_size(x)}, so that no tile gives "
            "the whole image's output"
        )

    def _signature_of_whole(self, x: Tensor) -> int:
        """A hash of what the network does on the whole image.

        Raises:
            InputError: the network does not run on the image, or makes constants whose numbers no
                trace shows; tiles of another size could run.
        """
        height, width = x.shape[-2:]
        found = self._signature(x, height, width)
        if isinstance(found, str):
            with torch.inference_mode(False):
                self._traced(x, height, width, proxies=False)  # the network's own words, if any
            raise InputError(found)
        return found

    def _signature(self, x: Tensor, height: int, width: int) -> int | str:
        """A hash of what the network does on images of a size; why it cannot run on them."""
        try:
            return self._once(
                self._signatures,
                _key(x, height, width),
                lambda: hash(signature(self._traced(x, height, width))),
            )
        except InputError as error:
            return str(error)

    def _traced(self, x: Tensor, height: int, width: int, *, proxies: bool = True) -> Graph:
        like = torch.empty(1, x.shape[1], height, width, dtype=x.dtype, device="meta")
        return trace(self._network, like, proxies=proxies)

    def bytes_per_pixel(self, x: Tensor) -> float:
        """Bytes at the peak for each pixel of an image; `x` has shape (N, C, h, w).

        Raises:
            InputError: the network cannot be traced.
        """

        def find() -> float:
            if self._per_pixel is not None:
                return self._per_pixel
            return bytes_per_pixel(self._network, x.shape[1], x.dtype)

        return self._once(self._bytes, _key(x, 0, 0), find)

    def _once(self, known: dict[_Key, T | str], key: _Key, find: Callable[[], T]) -> T:
        """The result of `find` for a key, computed once.

        An InputError of `find` is kept as well, and raised again with the same message.

        Raises:
            InputError: `find` raises, or raised, an InputError.
        """
        with self._lock:
            if key not in known:
                try:
                    with torch.inference_mode(False):  # that mode would hide composite operators
                        known[key] = find()
                except InputError as error:
                    known[key] = str(error)
            found = known[key]
        if isinstance(found, str):
            raise InputError(found)
        return found


class Tiled(nn.Module):
    """A network for images of any size: whole where memory allows, else in tiles.

    If memory runs out nevertheless, the side of the tiles is halved until an image fits. The side
    that worked is kept for later images.

    Args:
        run: the module to run, from (N, C, h, w) to (N, C, factor * h, factor * w): the network, or
            a module around the network.
        network: the network itself; the receptive field comes from the traced graph.
        factor: how many times larger the output is than the input, per side.
        tile: side of the tiles in input pixels, without margins; None for whole images.
        bound: most bytes that an image's feature maps may take; None for no bound.
        free: bytes that an image should take if `bound` is None. An image is run whole all the
            same if the network's need is unknown, or if tiles cannot reduce the need.
        batch: copies of each image that `run` computes at once.
        margin: pixels read around a tile; None to compute the margin from the graph.
        per_pixel: bytes for each input pixel; None to compute the bytes from the graph.

    Raises:
        InputError: the tile's side is less than 1.
    """

    def __init__(
        self,
        run: nn.Module,
        network: nn.Module,
        factor: int,
        tile: int | None = None,
        bound: int | None = None,
        *,
        free: int | None = None,
        batch: int = 1,
        margin: int | None = None,
        per_pixel: float | None = None,
    ) -> None:
        super().__init__()
        if tile is not None and tile < 1:
            raise InputError(f"tiles of {tile} px hold nothing; give a side of at least 1")
        self.run = run
        self.factor, self.tile, self.batch = factor, tile, batch
        self.bound, self.free = bound, free
        self.fallbacks: list[str] = []
        """A line for each image that was cut into tiles for lack of memory, not by request."""
        self._needs = _Needs(network, margin, per_pixel)
        self._worked: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The output of `run` up to rounding: (N, C, h, w) to (N, C, factor * h, factor * w).

        Raises:
            InputError: the bound cannot be kept; memory runs out with the smallest tiles; or
                tiles are needed, but each output pixel depends on the whole image.
        """
        asked = side = self._side(x)
        while True:
            try:
                out = self._in_tiles(x, side)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                reason = one_line(error, 160)
            # After the handler, because the error keeps the failed pass's feature maps alive.
            give_back_memory(x.device)
            side = self._smaller(x, side, reason)
        if side != asked:
            self._worked = side
            self.fallbacks.append(f"out of memory: {_size(x)} in tiles of {side} px")
        return out

    def _side(self, x: Tensor) -> int:
        """Side of the first tiles to try for (N, C, h, w), in pixels.

        The image's longer side stands for the whole image.
        """
        longest = max(x.shape[-2:])
        asked = min(longest, self.tile or longest, self._worked or longest)
        fitting = min(asked, self._fitting(x))
        if fitting < asked and self.bound is None:
            self.fallbacks.append(f"little memory is free: {_size(x)} in tiles of {fitting} px")
        return fitting

    def _fitting(self, x: Tensor) -> int:
        """Side of the largest tiles for (N, C, h, w) within the bound, in pixels.

        Without a bound, the free memory is the limit. The image's longer side stands for the whole
        image.

        Raises:
            InputError: there is a bound, and even the smallest tiles exceed the bound, or the
                network cannot be traced.
        """
        sizes = x.shape[-2:]
        longest = max(sizes)
        most = self.free if self.bound is None else self.bound
        if most is None or (self.bound is None and _SURELY * x.nbytes * self.factor**2 <= most):
            return longest
        try:
            per_pixel = self._needs.bytes_per_pixel(x) * len(x) * self.batch
            if per_pixel * math.prod(sizes) <= most:
                return longest
            margin, step = self._needs.margin_and_step(x)
        except InputError as error:
            if self.bound is None:
                return longest  # free memory is an estimate, so the whole image is worth a try
            raise InputError(
                f"{_size(x)} cannot be held to {decimal(most)}: {error}; leave out the bound"
            ) from error
        output = x.nbytes * self.factor**2

        def needed(tile: int) -> int:
            """Bytes for the whole output and the feature maps of a tile."""
            read = math.prod(extent(size, tile, margin, step) for size in sizes)
            return output + math.ceil(per_pixel * read)

        least = min(SMALLEST, longest, self.tile or longest)
        sides = range(least, longest)
        count = bisect_right(sides, most, key=needed)
        if count:
            return sides[count - 1]
        if self.bound is not None:
            raise InputError(
                f"{_size(x)} need {decimal(needed(least))} even in tiles of {least} px with a "
                f"margin of {margin} px; {decimal(most)} are allowed: allow more, or give a "
                "smaller image"
            )
        return least if any(extent(size, least, margin, step) < size for size in sizes) else longest

    def _smaller(self, x: Tensor, side: int, reason: str) -> int:
        """Side of the next tiles to try for (N, C, h, w), in pixels, after tiles of `side` failed.

        Raises:
            InputError: no smaller tiles read fewer pixels.
        """
        height, width = x.shape[-2:]
        whole = side >= max(height, width)
        failed = f"out of memory with {_size(x)}" + ("" if whole else f" in tiles of {side} px")
        fix = "give a smaller image, fewer threads, or a device with more memory"
        try:
            margin, step = self._needs.margin_and_step(x)
        except InputError as error:
            raise InputError(f"{failed}, and tiles are no help: {error}; {fix}") from error

        def area(tile: int) -> int:
            """Pixels that a tile reads, margins included."""
            return extent(height, tile, margin, step) * extent(width, tile, margin, step)

        read = area(side)
        while side > SMALLEST:
            side = max(math.ceil(side / 2), SMALLEST)
            if area(side) < read:
                return side
        raise InputError(f"{failed}, and no tiles read less: {reason}; {fix}")

    def _in_tiles(self, x: Tensor, side: int) -> Tensor:
        """Output (N, C, factor * h, factor * w) of (N, C, h, w), in tiles of `side` pixels.

        Raises:
            InputError: the image cannot be cut into tiles, or a tile gave another shape.
        """
        height, width = x.shape[-2:]
        if side >= max(height, width):
            return self._whole(x)
        try:
            rows, columns = (
                self._cuts(x, height, side, (-1, 0)),
                self._cuts(x, width, side, (0, -1)),
            )
            if len(rows) == len(columns) == 1:
                return self._whole(x)
            row, column = rows[0], columns[0]  # all tiles read equally many pixels
            self._needs.refuse_other(x, row.stop - row.start, column.stop - column.start)
        except InputError as error:
            raise InputError(
                f"{_size(x)} cannot be cut into tiles of {side} px: {error}; run the image whole"
            ) from error
        factor = self.factor
        out = x.new_empty((*x.shape[:2], factor * height, factor * width))
        for row, column in itertools.product(rows, columns):
            # A copy: like the whole image, a network may require a contiguous tensor.
            read = x[..., row.start : row.stop, column.start : column.stop].clone()
            part = self._whole(read)
            expected = (*x.shape[:2], factor * read.shape[-2], factor * read.shape[-1])
            if tuple(part.shape) != expected:
                raise InputError(
                    f"a tile of shape {tuple(read.shape)} gave {tuple(part.shape)}; expected "
                    f"{expected}: fix the method"
                )
            out[..., row.written(factor), column.written(factor)] = part[
                ..., row.kept(factor), column.kept(factor)
            ]
            del read, part  # freed before the next tile's feature maps are allocated
        return out

    def _cuts(self, x: Tensor, length: int, side: int, towards: tuple[int, int]) -> list[Cut]:
        """The tiles of (N, C, h, w) along rows (-1, 0) or columns (0, -1), of `length` pixels.

        Raises:
            InputError: the network does something else on every other size.
        """
        margin, step = self._needs.margin_and_step(x)
        if extent(length, side, margin, step) == length:
            return [Cut(0, length, 0, length)]
        return cuts(length, side, margin, self._needs.step_along(x, towards))

    def _whole(self, x: Tensor) -> Tensor:
        out: Tensor = self.run(x)
        return out


def _size(x: Tensor) -> str:
    """Width and height of (N, C, h, w) as people write sizes, for example `640x480 px`."""
    return f"{x.shape[-1]}x{x.shape[-2]} px"
