"""MATLAB's `imresize` on tensors. Super-resolution papers make LR images with it.

The rules come from MATLAB's `imresize.m`, checked against LR files that MATLAB wrote:

- output pixel *x* (from 1) is centred on `u = x / scale + (1 - 1 / scale) / 2` of the input;
- shrinking stretches the kernel by `1 / scale` (antialiasing), except for `nearest`;
- the weights of an output pixel are divided by their sum;
- the dimensions are resized in turn: the dimension with the smaller scale first, and rows before
  columns if the scales are equal;
- indices outside the image follow the edge rule `replicate` (clamp) or `mirror` (half-sample
  symmetric); published LR sets exist of both kinds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from zoo.errors import InputError, unknown

Edges: TypeAlias = Literal["replicate", "mirror"]
Rounding: TypeAlias = Literal["none", "each pass", "once"]


def _box(x: float) -> float:
    return float(-0.5 <= x < 0.5)


def _triangle(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _cubic(x: float) -> float:
    """Keys' cubic convolution kernel with a = -0.5 (Keys 1981, eq. 15)."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    if x <= 2:
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return 0.0


def _lanczos3(x: float) -> float:
    if x == 0:
        return 1.0
    if abs(x) >= 3:
        return 0.0
    return 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2


KERNELS: dict[str, tuple[Callable[[float], float], int]] = {
    "nearest": (_box, 1),
    "bilinear": (_triangle, 2),
    "bicubic": (_cubic, 4),
    "lanczos": (_lanczos3, 6),
}
"""Kernel function and support in input pixels, by the name used in methods and protocols."""


class _Phase(NamedTuple):
    """Weights shared by the output pixels `phase, phase + period, ...`."""

    offset: int
    """First input pixel of output pixel `phase`, from 0; negative before the image."""
    weights: tuple[float, ...]
    """Weights of consecutive input pixels, with sum 1."""


@lru_cache(maxsize=256)
def phases(kernel: str, scale: Fraction, antialias: bool) -> tuple[_Phase, ...]:
    """Weights of every phase, `scale.numerator` phases in all.

    Weights repeat with a period of `scale.numerator` output pixels. The taps of output pixel
    `phase + n * scale.numerator` start at input pixel `offset + n * scale.denominator` (counted
    from 0, before the edge rule).

    Args:
        kernel: a name in `KERNELS`.
        scale: output size over input size, exact.
        antialias: stretch the kernel by `1 / scale` if `scale` is below 1.

    Raises:
        InputError: an unknown kernel.
    """
    if kernel not in KERNELS:
        raise unknown("kernel", kernel, KERNELS)
    function, support = KERNELS[kernel]
    stretch = scale if antialias and scale < 1 and kernel != "nearest" else Fraction(1)
    width = support / stretch
    found = []
    for phase in range(scale.numerator):
        centre = (phase + 1) / scale + (1 - 1 / scale) / 2  # MATLAB's u, exact, from 1
        left = math.floor(centre - width / 2)
        taps = [
            (left + k, float(stretch) * function(float(stretch * (centre - left - k))))
            for k in range(math.ceil(width) + 2)
        ]
        # Zero weights at both ends are dropped, zeros in between stay: taps are consecutive.
        used = [k for k, (_, weight) in enumerate(taps) if weight != 0.0]
        taps = taps[used[0] : used[-1] + 1]
        total = math.fsum(weight for _, weight in taps)
        found.append(_Phase(taps[0][0] - 1, tuple(weight / total for _, weight in taps)))
    return tuple(found)


def _outside(first: int, last: int, length: int, edges: Edges) -> list[int]:
    """Indices inside the image that replace `first .. last - 1` under an edge rule."""
    if edges == "replicate":
        return [min(max(i, 0), length - 1) for i in range(first, last)]
    return [
        i % length if i % (2 * length) < length else length - 1 - i % length
        for i in range(first, last)
    ]


def _steps(x: Tensor, dim: int, start: int, count: int, stride: int) -> Tensor:
    """View of x (..., H, W) at `start`, `start + stride`, ..., `count` indices of dimension `dim`.

    The view has the shape of x except for `count` in dimension `dim`, -2 or -1.
    """
    along = slice(start, start + stride * (count - 1) + 1, stride)
    return x[..., along, :] if dim == -2 else x[..., along]


def _pad(x: Tensor, dim: int, before: int, after: int, edges: Edges) -> Tensor:
    """x of shape (..., H, W), with dimension `dim` padded at both ends by an edge rule.

    Negative `before` or `after` crop instead.
    """
    length = x.shape[dim]
    inside = x.narrow(dim, max(-before, 0), length + min(before, 0) + min(after, 0))
    pieces = [inside]
    if before > 0:
        index = torch.tensor(_outside(-before, 0, length, edges), device=x.device)
        pieces.insert(0, x.index_select(dim, index))
    if after > 0:
        index = torch.tensor(_outside(length, length + after, length, edges), device=x.device)
        pieces.append(x.index_select(dim, index))
    return torch.cat(pieces, dim=dim) if len(pieces) > 1 else inside


def _resize(
    x: Tensor, dim: int, scale: Fraction, length: int, kernel: str, antialias: bool, edges: Edges
) -> Tensor:
    """x of shape (..., H, W) resized to `length` in dimension `dim`, -2 or -1.

    Products are added tap by tap in a fixed order, so all devices give the same result.
    """
    table = phases(kernel, scale, antialias)
    period, stride = scale.numerator, scale.denominator
    shared = [
        (phase, tap, len(range(phase, length, period)))
        for phase, tap in enumerate(table)
        if phase < length
    ]
    first = min(tap.offset for _, tap, _ in shared)
    last = max(tap.offset + stride * (count - 1) + len(tap.weights) for _, tap, count in shared)
    padded = _pad(x, dim, -first, last - x.shape[dim], edges)
    shape = list(x.shape)
    shape[dim] = length
    out = x.new_empty(shape)
    for phase, tap, count in shared:
        into = _steps(out, dim, phase, count, period)
        views = [
            _steps(padded, dim, tap.offset - first + k, count, stride)
            for k in range(len(tap.weights))
        ]
        if tap.weights == (1.0,):
            into.copy_(views[0])
            continue
        torch.mul(views[0], tap.weights[0], out=into)
        for view, weight in zip(views[1:], tap.weights[1:], strict=True):
            into.add_(view, alpha=weight)
    return out


def round_half_up(x: Tensor) -> Tensor:
    """x of any shape, rounded with halves up and clipped to [0, 255] as by MATLAB's `uint8`.

    The dtype stays floating point.
    """
    return x.add(0.5).floor_().clamp_(0, 255)


def imresize(
    x: Tensor,
    scale: Fraction | int | None = None,
    *,
    size: tuple[int, int] | None = None,
    kernel: str = "bicubic",
    antialias: bool = True,
    edges: Edges = "replicate",
    rounding: Rounding = "none",
) -> Tensor:
    """The image resized as by MATLAB's `imresize(x, scale)` or `imresize(x, size)`.

    Args:
        x: (..., H, W), floating point; any range, [0, 255] where `rounding` is not `none`.
        scale: factor per side; the output size is `ceil(H * scale), ceil(W * scale)`.
        size: (height, width) of the output, instead of `scale`; each side's scale is `out / in`.
        kernel: a name in `KERNELS`.
        antialias: stretch the kernel when shrinking (MATLAB's default; `nearest` never does).
        edges: `replicate` or `mirror`.
        rounding: `none` is MATLAB on doubles; `each pass` is MATLAB on uint8, which rounds half
            up and clips after each of the two passes; `once` rounds only at the end.

    Returns:
        (..., H', W'), dtype and device of `x`. Unless rounded, bicubic and Lanczos output may
        exceed the range of `x`.

    Raises:
        InputError: neither or both of scale and size, an empty image or size, or an unknown
            kernel.

    >>> imresize(torch.arange(4.0, dtype=torch.float64).reshape(1, 4), size=(1, 2))
    tensor([[0.5195, 2.4805]], dtype=torch.float64)
    """
    height, width = x.shape[-2:]
    if height < 1 or width < 1:
        raise InputError(f"cannot resize an image of {width}x{height} pixels; give at least 1x1")
    if size is None and scale is not None:
        scales = (Fraction(scale), Fraction(scale))
        size = (math.ceil(height * scales[0]), math.ceil(width * scales[1]))
    elif size is not None and scale is None:
        scales = (Fraction(size[0], height), Fraction(size[1], width))
    else:
        raise InputError("imresize takes either a scale or a size; give exactly one")
    if min(scales) <= 0:
        raise InputError(f"cannot resize {width}x{height} pixels by {scales}; give sizes above 0")
    # MATLAB's order; with rounding after each pass the order changes the result
    dims = (-1, -2) if scales[1] < scales[0] else (-2, -1)
    for dim in dims:
        if scales[dim] == 1:
            continue
        x = _resize(x, dim, scales[dim], size[dim], kernel, antialias, edges)
        if rounding == "each pass":
            x = round_half_up(x)
    return round_half_up(x) if rounding == "once" else x
