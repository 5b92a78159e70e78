"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

from torch import Tensor

from bench.protocol import Protocol

UNIT = "dB"
HIGHER_IS_BETTER = True
TOLERANCE = 0.001
"""A tenth of the last printed digit: papers print two decimals."""


def measure(sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
    """PSNR in dB, 10 log10(255^2 / MSE), the MSE over all pixels and channels; inf if equal.

    Args:
        sr, hr: (C, H, W), float64 in [0, 255].
        protocol: not used; every metric takes a protocol.

    >>> import torch
    >>> from bench.protocol import load
    >>> zero, ten = torch.zeros(1, 2, 2), torch.full((1, 2, 2), 10.0)
    >>> round(measure(ten, zero, load("srcnn2014")), 4)
    28.1308
    """
    error = float((sr - hr).square_().mean())
    return 10 * math.log10(255**2 / error) if error else math.inf
