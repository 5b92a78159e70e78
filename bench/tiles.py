"""Images of any size: whole where memory allows, else in tiles that overlap.

A tile is read with a margin of real pixels around what is kept of it. Where the margin is as wide
as the network looks, every pixel kept sees what it sees in the whole image, so that the result is
the same to rounding, seams included. At the image's border a tile ends where the image does, and
the network pads there as it always does.
"""

from __future__ import annotations

import itertools
import math
import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from rich.filesize import decimal
from torch import Tensor, nn

from bench.graph.field import field
from bench.graph.trace import SIDE, bytes_per_pixel, trace
from bench.machine import give_back_memory, out_of_memory
from zoo.errors import InputError, one_line

SMALLEST = 16
"""Side of the smallest tile that is taken unasked, in input pixels."""
_SURELY = 5000
"""An image whose output fits so many times into what is free needs no look at the graph: MemNet,
which takes most, takes half of that."""
T = TypeVar("T")


@dataclass(frozen=True)
class Cut:
    """A tile along one side of an image, in input pixels: it reads [start, stop)."""

    start: int
    stop: int
    first: int
    """It keeps [first, last)."""
    last: int

    def kept(self, factor: int) -> slice:
        """Where in the tile's output lies what is kept."""
        return slice(factor * (self.first - self.start), factor * (self.last - self.start))

    def written(self, factor: int) -> slice:
        """Where in the image's output it belongs."""
        return slice(factor * self.first, factor * self.last)


def _stride(inside: int, tile: int, step: int) -> int:
    """Pixels from tile to tile, at least; a multiple of the step, and no more than the tile."""
    largest = max(tile - tile % step, step)
    return math.ceil(inside / math.ceil(inside / largest) / step) * step


def extent(length: int, tile: int, margin: int, step: int = 1) -> int:
    """Pixels that every tile reads along a side of an image: tile + 2 * margin, or somewhat less.

    Where tiles must begin at multiples of a step, they may read up to a step more.

    >>> extent(100, 48, 0), extent(100, 48, 6), extent(60, 48, 6)
    (34, 56, 60)
    """
    inside = length - 2 * margin
    if inside <= tile:
        return length
    return min(2 * margin + _stride(inside, tile, step) + inside % step, length)


def cuts(length: int, tile: int, margin: int, step: int = 1) -> list[Cut]:
    """As few tiles as cover a side of an image, all of which read equally many pixels.

    So a GPU or a compiled network sees one shape. `tile` is the most that a tile inside the
    image keeps; one at the border needs no margin there and keeps that much more. Tiles begin at
    multiples of the step, and end at such from the image's other end.

    >>> cuts(100, 48, 6)
    [Cut(start=0, stop=56, first=0, last=50), Cut(start=44, stop=100, first=50, last=100)]
    """
    read = extent(length, tile, margin, step)
    if read == length:
        return [Cut(0, length, 0, length)]
    steps = (length - read) // step
    gaps = math.ceil(steps * step / _stride(length - 2 * margin, tile, step))
    starts = [i * steps // gaps * step for i in range(gaps + 1)]
    seams = [(start + before + read) // 2 for before, start in itertools.pairwise(starts)]
    kept = itertools.pairwise([0, *seams, length])
    return [
        Cut(start, start + read, first, last)
        for start, (first, last) in zip(starts, kept, strict=True)
    ]


class _Needs:
    """What a network needs of an image, read off its graph once, when it is first asked for.

    All copies of a `Tiled` share it, since it depends on the network and not on its state.
    """

    def __init__(self, network: nn.Module, margin: int | None, per_pixel: float | None) -> None:
        self._network = network
        self._margin, self._per_pixel = margin, per_pixel
        self._lock = threading.Lock()
        self._fields: dict[tuple[int, torch.dtype], tuple[int, int] | str] = {}
        self._bytes: dict[tuple[int, torch.dtype], float | str] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def margin_and_step(self, x: Tensor) -> tuple[int, int]:
        """Pixels that a tile must hold around what is kept, and what it must begin at multiples of.

        Raises:
            InputError: the whole image matters, or the graph cannot be had.
        """

        def find() -> tuple[int, int]:
            if self._margin is not None:
                return self._margin, 1
            shape = (1, x.shape[1], SIDE, SIDE)
            like = torch.empty(shape, dtype=x.dtype, device="meta")
            found = field(trace(self._network, like, proxies=True))
            return found.margin, found.step

        return self._once(self._fields, x, find)

    def bytes_per_pixel(self, x: Tensor) -> float:
        """Bytes that a pixel of one image takes at the peak.

        Raises:
            InputError: the graph cannot be had.
        """

        def find() -> float:
            if self._per_pixel is not None:
                return self._per_pixel
            return bytes_per_pixel(self._network, x.shape[1], x.dtype)

        return self._once(self._bytes, x, find)

    def _once(
        self, known: dict[tuple[int, torch.dtype], T | str], x: Tensor, find: Callable[[], T]
    ) -> T:
        """What `find` gives for images like x; the second time, an error is told as it was."""
        key = (x.shape[1], x.dtype)
        with self._lock:
            if key not in known:
                try:
                    with torch.inference_mode(False):  # which would hide composite operators
                        known[key] = find()
                except InputError as error:
                    known[key] = str(error)
            found = known[key]
        if isinstance(found, str):
            raise InputError(found)
        return found


class Tiled(nn.Module):
    """A network that takes images of any size: whole where memory allows, else in tiles.

    Where memory runs out although it should not, tiles of half the side are tried, again and
    again; the side that worked holds for later images too.

    Args:
        run: what is run: the network, or something around it that keeps its contract,
            (N, C, h, w) to (N, C, factor * h, factor * w).
        network: the network itself, whose graph says how far it looks.
        factor: how much larger the output is than the input, per side.
        tile: side of the tiles in input pixels, margins not counted; None for whole images.
        bound: bytes that an image's feature maps may take; None for no bound.
        free: bytes that an image should take where `bound` is None; where it is not known what
            a network takes, or tiles cannot help, it is run whole all the same.
        batch: copies of each image that `run` computes at once.
        margin: pixels read around a tile; None for what the graph says.
        per_pixel: bytes that an input pixel takes; None for what the graph says.

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
        """A line for each image that memory, not the user, had cut into tiles."""
        self._needs = _Needs(network, margin, per_pixel)
        self._worked: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """What `run` makes of (N, C, h, w), to rounding: (N, C, factor * h, factor * w).

        Raises:
            InputError: the bound cannot be kept, memory runs out in the smallest tiles, or
                tiles are needed and each pixel of the output depends on the whole image.
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
            # Behind the handler: the error would keep the failed pass's feature maps alive.
            give_back_memory(x.device)
            side = self._smaller(x, side, reason)
        if side != asked:
            self._worked = side
            self.fallbacks.append(f"out of memory: {_size(x)} in tiles of {side} px")
        return out

    def _side(self, x: Tensor) -> int:
        """Side of the tiles to begin with; the image's longer side where it is run whole."""
        longest = max(x.shape[-2:])
        asked = min(longest, self.tile or longest, self._worked or longest)
        fitting = min(asked, self._fitting(x))
        if fitting < asked and self.bound is None:
            self.fallbacks.append(f"little memory is free: {_size(x)} in tiles of {fitting} px")
        return fitting

    def _fitting(self, x: Tensor) -> int:
        """Side of the largest tiles within the bound."""
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
                return longest
            raise InputError(
                f"{_size(x)} cannot be held to {decimal(most)}: {error}; leave the bound out"
            ) from error
        output = x.nbytes * self.factor**2

        def needed(tile: int) -> int:
            read = math.prod(extent(size, tile, margin, step) for size in sizes)
            return output + math.ceil(per_pixel * read)

        least = min(SMALLEST, longest, self.tile or longest)
        sides = range(least, longest)
        count = bisect_right(sides, most, key=needed)
        if count:
            return sides[count - 1]
        if self.bound is not None:
            raise InputError(
                f"{_size(x)} need {decimal(needed(least))} even in tiles of {least} px, "
                f"which read {margin} px around them; {decimal(most)} are allowed: allow more, or "
                "give a smaller image"
            )
        return least if any(extent(size, least, margin, step) < size for size in sizes) else longest

    def _smaller(self, x: Tensor, side: int, reason: str) -> int:
        """Side of the next tiles to try where those of this side ran out of memory.

        Raises:
            InputError: there are none that read less.
        """
        height, width = x.shape[-2:]
        whole = side >= max(height, width)
        failed = f"out of memory with {_size(x)}" + ("" if whole else f" in tiles of {side} px")
        mend = "give a smaller image, fewer threads, or a device with more memory"
        try:
            margin, step = self._needs.margin_and_step(x)
        except InputError as error:
            raise InputError(f"{failed}, and tiles are no help: {error}; {mend}") from error

        def area(tile: int) -> int:
            return extent(height, tile, margin, step) * extent(width, tile, margin, step)

        read = area(side)
        while side > SMALLEST:
            side = max(math.ceil(side / 2), SMALLEST)
            if area(side) < read:
                return side
        raise InputError(f"{failed}, and no tiles read less: {reason}; {mend}")

    def _in_tiles(self, x: Tensor, side: int) -> Tensor:
        height, width = x.shape[-2:]
        if side >= max(height, width):
            return self._whole(x)
        try:
            margin, step = self._needs.margin_and_step(x)
        except InputError as error:
            raise InputError(
                f"{_size(x)} cannot be cut into tiles of {side} px: {error}; run it whole"
            ) from error
        rows, columns = cuts(height, side, margin, step), cuts(width, side, margin, step)
        if len(rows) == len(columns) == 1:
            return self._whole(x)
        factor = self.factor
        out = x.new_empty((*x.shape[:2], factor * height, factor * width))
        for row, column in itertools.product(rows, columns):
            # A copy: a network may ask for a tensor without gaps, as the whole image is one.
            read = x[..., row.start : row.stop, column.start : column.stop].clone()
            part = self._whole(read)
            expected = (*x.shape[:2], factor * read.shape[-2], factor * read.shape[-1])
            if tuple(part.shape) != expected:
                raise InputError(
                    f"a tile of shape {tuple(read.shape)} gave {tuple(part.shape)}; expected "
                    f"{expected}: mend the method"
                )
            out[..., row.written(factor), column.written(factor)] = part[
                ..., row.kept(factor), column.kept(factor)
            ]
            del read, part  # not beside the next tile's feature maps
        return out

    def _whole(self, x: Tensor) -> Tensor:
        out: Tensor = self.run(x)
        return out


def _size(x: Tensor) -> str:
    """Width and height as people write them."""
    return f"{x.shape[-1]}x{x.shape[-2]} px"
