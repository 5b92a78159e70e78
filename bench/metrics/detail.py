"""How much fine texture SR has beside HR."""

from __future__ import annotations

import math

from torch import Tensor

from bench.protocol import Protocol
from zoo.errors import InputError

UNIT = ""
HIGHER_IS_BETTER = None
ASKED = True


def measure(sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
    """Mean absolute Laplacian of SR over that of HR: 1 for HR itself, less where SR is blurred.

    More is sharper and not more alike: noise and ringing raise it too, above 1 even. The Laplacian
    is that of four neighbours, at the pixels that have them all, of each channel by itself. Where
    HR has none, the ratio is 1 if SR has none either, and inf if it has.

    Args:
        sr, hr: (C, H, W), float64 in [0, 255].
        protocol: not used; every metric takes it.

    Raises:
        InputError: fewer than 3 pixels are left each way.

    >>> import torch
    >>> from bench.protocol import load
    >>> hr = torch.zeros(1, 5, 5).double()
    >>> hr[0, 2, 2] = 100.0
    >>> measure(hr / 4, hr, load("srcnn2014"))
    0.25
    """
    height, width = hr.shape[-2:]
    if min(height, width) < 3:
        raise InputError(f"{width}x{height} px are left to compare; detail needs 3x3")
    ours, theirs = _detail(sr), _detail(hr)
    if theirs:
        return ours / theirs
    return math.inf if ours else 1.0


def _detail(image: Tensor) -> float:
    """Mean absolute Laplacian of (C, H, W), in levels."""
    inner = image[:, 1:-1, 1:-1]
    upright = image[:, :-2, 1:-1] + image[:, 2:, 1:-1] - 2 * inner
    level = image[:, 1:-1, :-2] + image[:, 1:-1, 2:] - 2 * inner
    return float((upright + level).abs().mean())
