"""The base of modules that a runtime computes, not PyTorch: ONNX Runtime, OpenVINO and others.

A file of such a program states how it stores an image (`Port`): layout, type, and the levels of an
integer type. It may be made for a single size of image; images of other sizes are then padded, or
cut into tiles (`Fit`).
"""

from __future__ import annotations

import copy
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from bench.graph.field import field
from bench.graph.trace import trace
from zoo.errors import InputError

Layout: TypeAlias = Literal["NCHW", "NHWC"]
"""Order of an image's dimensions: channels before or after rows and columns."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input or an output of a file: how it stores an image.

    A floating-point type stores values as they are. An integer type stores whole levels: the value
    of level q is (q - zero) * step.
    """

    name: str
    channels: int
    layout: Layout
    dtype: torch.dtype
    step: float = 1.0
    zero: int = 0

    def stored(self, x: Tensor) -> Tensor:
        """An image (N, C, h, w) of any float type, in the file's layout and type."""
        if not self.dtype.is_floating_point:
            limits = torch.iinfo(self.dtype)
            x = x / self.step if self.step != 1 else x
            # Half up, as everywhere; torch.round would send every other half down.
            x = torch.floor(x + (self.zero + 0.5)).clamp(limits.min, limits.max)
        x = x.to(self.dtype)
        return x.permute(0, 2, 3, 1).contiguous() if self.layout == "NHWC" else x

    def read(self, stored: Tensor, dtype: torch.dtype) -> Tensor:
        """An image (N, C, h, w) of a float type, from the file's layout and type."""
        x = stored.permute(0, 3, 1, 2) if self.layout == "NHWC" else stored
        x = x.to(dtype)
        if not self.dtype.is_floating_point:
            x = x - self.zero if self.zero else x
            x = x * self.step if self.step != 1 else x
        return x


@dataclass(frozen=True)
class Fit:
    """How images of any size go through a file that is made for one size.

    A side that is too short is padded, at the right or at the bottom, by repeating the edge; what
    comes of it is cropped. A side that is too long is cut into tiles that overlap, so that every
    kept pixel has `margin` pixels of the image around it.
    """

    height: int
    width: int
    margin: int
    """Pixels of overlap on each side of the kept part, at most a quarter of the shorter side."""
    step: int
    """Tiles begin at multiples of this number of pixels."""
    exact: bool
    """Whether tiles give what the whole image would: the margin is the whole receptive field's."""

    @property
    def remark(self) -> str:
        """What happens to images of another size, as a short clause."""
        seams = "" if self.exact else ", where seams may differ from the whole image"
        return (
            f"made for {self.width}x{self.height} px: a smaller image is padded by its edge, a "
            f"larger one cut into tiles with a margin of {self.margin} px{seams}"
        )

    def __call__(self, run: Callable[[Tensor], Tensor], x: Tensor, factor: int) -> Tensor:
        """The output (1, C, factor * h, factor * w) for an image (1, C, h, w) of any size.

        Args:
            run: from (1, C, height, width) to `factor` times the rows and columns.
            x: the image.
            factor: ratio of the output's sides to the input's.
        """
        height, width = x.shape[-2:]
        rows, columns = self._padding(height, self.height), self._padding(width, self.width)
        if rows or columns:
            x = pad(x, (0, columns, 0, rows), mode="replicate")
        pieces = [
            list(_pieces(side, tile, self.margin, self.step))
            for side, tile in zip(x.shape[-2:], (self.height, self.width), strict=True)
        ]
        out = x.new_empty((*x.shape[:2], *(factor * side for side in x.shape[-2:])))
        for row, column in itertools.product(*pieces):
            part = run(
                x[
                    ...,
                    row.start : row.start + self.height,
                    column.start : column.start + self.width,
                ]
            )
            out[..., row.written(factor), column.written(factor)] = part[
                ..., row.kept(factor), column.kept(factor)
            ]
        return out[..., : factor * height, : factor * width]

    def _padding(self, side: int, tile: int) -> int:
        """Pixels to add to a side, so that it is a tile, or ends with one at a multiple of step."""
        return tile - side if side <= tile else (tile - side) % self.step


@dataclass(frozen=True)
class _Piece:
    """A tile along a side: it begins at `start`, and [first, last) of the side is kept."""

    start: int
    first: int
    last: int

    def kept(self, factor: int) -> slice:
        return slice(factor * (self.first - self.start), factor * (self.last - self.start))

    def written(self, factor: int) -> slice:
        return slice(factor * self.first, factor * self.last)


def _pieces(side: int, tile: int, margin: int, step: int) -> Iterator[_Piece]:
    """The fewest tiles of exactly `tile` pixels that cover a side, with a margin at each seam.

    Args:
        side: the image's side; at least `tile`, and `side - tile` is a multiple of the step.
        tile: pixels that a tile reads.
        margin: pixels of the image around what is kept of a tile.
        step: tiles begin at multiples of this number of pixels.

    >>> [(p.start, p.first, p.last) for p in _pieces(100, 60, 5, 1)]
    [(0, 0, 50), (40, 50, 100)]
    """
    most = max((tile - 2 * margin) // step, 1) * step
    gaps = math.ceil((side - tile) / most)
    starts = [index * (side - tile) // (max(gaps, 1) * step) * step for index in range(gaps + 1)]
    seams = [(before + tile + start) // 2 for before, start in itertools.pairwise(starts)]
    kept = itertools.pairwise([0, *seams, side])
    for start, (first, last) in zip(starts, kept, strict=True):
        yield _Piece(start, first, last)


def fit_for(module: nn.Module, channels: int, size: tuple[int, int], dtype: torch.dtype) -> Fit:
    """How images of any size go through a module that is made for one size.

    Args:
        module: runs on the meta device for shapes alone.
        channels: planes of the image.
        size: rows and columns that the module is made for.
        dtype: type of the image.

    Returns:
        A rule whose margin is the receptive field's, where that is known and small enough.
    """
    height, width = size
    most = min(size) // 4
    try:
        with torch.inference_mode(False):
            like = torch.empty(1, channels, height, width, dtype=dtype, device="meta")
            found = field(trace(module, like, proxies=True))
    except InputError:  # the graph cannot be read, or the whole image matters to a pixel
        return Fit(height, width, most, 1, exact=False)
    if found.margin <= most:
        return Fit(height, width, found.margin, found.step, exact=True)
    return Fit(height, width, most - most % found.step, found.step, exact=False)


class _Shared:
    """What the copies of a module share: the runtime's sessions by number of threads, the fit."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.sessions: dict[int, Any] = {}
        self.fit: Fit | None = None


class External(nn.Module):
    """A module that a runtime computes, not PyTorch.

    A subclass implements `open`, `run` and, where it can read the format's graph, `on_meta`. It
    registers the file's weights as parameters (`requires_grad=False`, any type), so that they are
    counted. Copies share the weights, the sessions and every other attribute.

    On the meta device the module does the same with torch operators, so that its graph can be
    traced. Else it calls the runtime, an image at a time, on as many threads as torch has in the
    calling thread.

    Args:
        program: name and version of the runtime, for example `ONNX Runtime 1.20.0`.
        file_bytes: size of the file, and of the files that belong to it.
        takes: the file's input.
        gives: the file's output.
        factor: ratio of the output's sides to the input's.
        size: height and width of the images that the file is made for; None for any size.
        notes: short clauses, without "; ", for the note of every average.
    """

    image_dtype = torch.float32
    """Type of the images that the module is given, whatever the type of its weights."""

    def __init__(
        self,
        *,
        program: str,
        file_bytes: int,
        takes: Port,
        gives: Port,
        factor: int,
        size: tuple[int, int] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.program, self.file_bytes = program, file_bytes
        self.takes, self.gives, self.factor, self.size = takes, gives, factor, size
        self.notes = notes
        self._shared = _Shared()

    def open(self, threads: int) -> Any:
        """A session of the runtime on so many threads, which several threads may use at once."""
        raise NotImplementedError

    def run(self, session: Any, image: NDArray[Any]) -> NDArray[Any]:
        """The output for an image, both as the file stores them.

        Args:
            session: of `open`.
            image: (1, C, h, w), or (1, h, w, C) if `takes` says so; contiguous.
        """
        raise NotImplementedError

    def on_meta(self, stored: Tensor) -> Tensor:  # noqa: ARG002
        """The same by torch operators, for shapes alone; images as the file stores them.

        Raises:
            InputError: the graph cannot be read.
        """
        raise InputError(f"not counted: {self.program} does not show the graph of its file")

    @property
    def remarks(self) -> tuple[str, ...]:
        """Short clauses for the note of every average, each without "; "."""
        return (*self.notes, *([self._fit(*self.size).remark] if self.size else []))

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, C, factor * h, factor * w) of x, (N, C, h, w), in x's type."""
        if x.is_meta:
            return self._on_shapes(x)
        return torch.cat([self._one(image[None]) for image in x])

    def _on_shapes(self, x: Tensor) -> Tensor:
        """The output for an image on the meta device.

        Raises:
            InputError: the graph cannot be read, or holds the sides of the images it is made for.
        """
        stored = self.takes.stored(x)
        if self.size is None or tuple(x.shape[-2:]) == self.size:
            return self.gives.read(self.on_meta(stored), x.dtype)
        try:
            out = self.gives.read(self.on_meta(stored), x.dtype)
        except RuntimeError:  # torch refuses the shapes
            out = x.new_empty(0)
        if tuple(out.shape) != (*x.shape[:2], *(self.factor * side for side in x.shape[-2:])):
            height, width = self.size
            raise InputError(f"not counted: the file is made for {width}x{height} px only")
        return out

    def _one(self, x: Tensor) -> Tensor:
        """SR of one image (1, C, h, w) of any size."""
        if self.size is None or tuple(x.shape[-2:]) == self.size:
            return self._computed(x)
        return self._fit(*self.size)(self._computed, x, self.factor)

    def _computed(self, x: Tensor) -> Tensor:
        """SR of one image (1, C, h, w) of a size that the file takes."""
        stored = np.ascontiguousarray(self.takes.stored(x.detach()).numpy())
        made = self.run(self._session(), stored)
        out = self.gives.read(torch.from_numpy(np.array(made)), x.dtype)
        expected = (*x.shape[:2], *(self.factor * side for side in x.shape[-2:]))
        if tuple(out.shape) != expected:
            raise InputError(
                f"{self.program} gave a tensor of shape {tuple(out.shape)}; expected {expected}: "
                "export the file for images of any size"
            )
        return out

    def _session(self) -> Any:
        """The session for as many threads as torch has in the calling thread, made on first use."""
        threads = torch.get_num_threads()
        with self._shared.lock:
            if threads not in self._shared.sessions:
                self._shared.sessions[threads] = self.open(threads)
            return self._shared.sessions[threads]

    def _fit(self, height: int, width: int) -> Fit:
        """How images of another size fit; its margin is the receptive field's, where known."""
        with self._shared.lock:
            if self._shared.fit is None:
                self._shared.fit = fit_for(
                    self, self.takes.channels, (height, width), self.image_dtype
                )
            return self._shared.fit

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy with hooks and submodules of its own, which shares everything else.

        A tensor that `memo` maps to another is replaced by that, as in every module.
        """
        made = self.__class__.__new__(self.__class__)
        memo[id(self)] = made
        for name, value in self.__dict__.items():
            made.__dict__[name] = copy.copy(value) if isinstance(value, dict | set) else value
        for place in ("_parameters", "_buffers"):
            tensors: Mapping[str, Any] = self.__dict__[place]
            made.__dict__[place] = {k: memo.get(id(t), t) for k, t in tensors.items()}
        made.__dict__["_modules"] = copy.deepcopy(self._modules, memo)
        return made
