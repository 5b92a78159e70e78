"""Structural similarity: Gaussian 11x11 window, sigma 1.5, K = (0.01, 0.03), L = 255.

Wang et al., Image quality assessment: from error visibility to structural similarity, 2004. Two
readings are in use:

- The authors' `ssim_index.m`: a 2-D window in the valid region of each channel, averaged over the
  channels.
- MATLAB's `ssim` of an H x W x 3 array: a 3-D window over a replicate-padded volume. EDSR's DIV2K
  numbers are of this kind.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from bench.protocol import Protocol
from zoo.errors import InputError

UNIT = ""
HIGHER_IS_BETTER = True
TOLERANCE = 0.00001
"""A tenth of the last printed digit: papers print four decimals."""

RADIUS = 5
"""Pixels from the window's centre to the edge: 2 * 5 + 1 = 11 weights."""
SIGMA = 1.5
"""Standard deviation of the window, in pixels."""
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2
"""C1 and C2 are (K L)^2 of the paper's formula."""
BAND = 1 << 24
"""Values of SR in a band of rows. The bands' maps take up to 2.2 GB, whatever the image's size."""

_BELL = [math.exp(-(k * k) / (2 * SIGMA**2)) for k in range(-RADIUS, RADIUS + 1)]
WINDOW = [weight / sum(_BELL) for weight in _BELL]


def _blur(x: Tensor, dim: int) -> Tensor:
    """x convolved with the window along `dim`, valid region only.

    The shape stays, but the size n of `dim` becomes n - 10.
    """
    length = x.shape[dim] - 2 * RADIUS
    out = x.narrow(dim, 0, length) * WINDOW[0]
    for k in range(1, len(WINDOW)):
        out.add_(x.narrow(dim, k, length), alpha=WINDOW[k])
    return out


def _mean_ssim(mean_x: Tensor, mean_y: Tensor, mean_squares: Tensor, mean_xy: Tensor) -> float:
    """Mean SSIM from local means of x, y, x^2 + y^2 and x y, all (C, H, W).

    The formula is exact. The arguments are overwritten, which saves memory.
    """
    product = mean_x * mean_y
    squares = mean_x.square_().add_(mean_y.square_())
    covariance = mean_xy.sub_(product).mul_(2).add_(C2)
    variances = mean_squares.sub_(squares).add_(C2)
    numerator = product.mul_(2).add_(C1).mul_(covariance)
    return float(numerator.div_(squares.add_(C1).mul_(variances)).mean())


def measure(sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
    """SSIM, at most 1, averaged over pixels and channels, or over MATLAB's 3-D map.

    Args:
        sr, hr: (C, H, W), float64 in [0, 255].
        protocol: `protocol.ssim` says which window.

    Raises:
        InputError: a side is shorter than the window's 11 pixels.
    """
    height, width = hr.shape[-2:]
    if min(height, width) < len(WINDOW):
        raise InputError(
            f"{width}x{height} px are left to compare; SSIM needs 11x11: take a larger image"
        )
    # MATLAB pads, so that the SSIM map is as large as the image.
    padding = RADIUS if protocol.ssim == "3-D" else 0
    rows = height + 2 * (padding - RADIUS)  # of the SSIM map
    in_band = max(BAND // (hr.shape[0] * width), 1)
    return math.fsum(
        _band(sr, hr, range(first, min(first + in_band, rows)), padding)
        * (min(in_band, rows - first) / rows)
        for first in range(0, rows, in_band)
    )


def _band(sr: Tensor, hr: Tensor, rows: range, padding: int) -> float:
    """Mean SSIM over a band of rows of the SSIM map.

    Args:
        sr, hr: (C, H, W), float64 in [0, 255].
        rows: the rows of the map.
        padding: pixels by which the image is extended on each side; 0 for a 2-D window.
    """
    top, bottom = rows.start - padding, rows.stop - padding + 2 * RADIUS
    inside = slice(max(top, 0), min(bottom, hr.shape[-2]))
    sr, hr = sr[:, inside], hr[:, inside]
    # SR, HR, SR^2 + HR^2 and SR * HR in a single tensor, so that each blur serves all four.
    maps = sr.new_empty((4, *sr.shape))
    maps[0], maps[1] = sr, hr
    torch.mul(sr, sr, out=maps[2]).addcmul_(hr, hr)
    torch.mul(sr, hr, out=maps[3])
    if padding:
        outside = (inside.start - top, bottom - inside.stop)
        maps = pad(maps, (padding, padding, *outside), mode="replicate")
        maps = torch.einsum("dc,mchw->mdhw", _across_channels(hr), maps)
    blurred = _blur(_blur(maps, -2), -1)
    return _mean_ssim(blurred[0], blurred[1], blurred[2], blurred[3])


def _across_channels(hr: Tensor) -> Tensor:
    """Weights (C, C) of the window's third dimension over replicate-padded channels.

    Args:
        hr: (C, H, W), for the number of channels, the dtype and the device.
    """
    channels = hr.shape[0]
    weights = torch.zeros(channels, channels, dtype=hr.dtype)
    for channel in range(channels):
        for k, weight in enumerate(WINDOW):  # weights beyond an end fall on the end's channel
            weights[channel, min(max(channel + k - RADIUS, 0), channels - 1)] += weight
    return weights.to(hr.device)
