"""Detail: how much fine texture SR has, compared with HR."""

from __future__ import annotations

import math

from torch import Tensor

from bench.protocol import Protocol
from zoo.errors import InputError

UNIT = ""
HIGHER_IS_BETTER = None
TOLERANCE = 0.001
ASKED = True


def measure(sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
    """Mean absolute Laplacian of SR divided by HR's: 1 for HR itself, less for a blurred SR.

    More is sharper, but not more similar to HR: noise and ringing raise the ratio too, even above
    1. The Laplacian has four neighbours. It is taken of each channel separately, at pixels that
    have all four. If HR's Laplacian is 0 everywhere, the ratio is 1 if SR's is 0 too, else inf.

    Args:
        sr, hr: (C, H, W), float64 in [0, 255].
        protocol: not used; every metric takes a protocol.

    Raises:
        InputError: a side is shorter than 3 pixels.

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
    """Mean absolute Laplacian of an image (C, H, W), in levels of 255."""
    inner = image[:, 1:-1, 1:-1]
    upright = image[:, :-2, 1:-1] + image[:, 2:, 1:-1] - 2 * inner
    level = image[:, 1:-1, :-2] + image[:, 1:-1, 2:] - 2 * inner
    return float((upright + level).abs().mean())
