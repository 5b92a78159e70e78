"""Nearest, bilinear, bicubic and Lanczos-3 interpolation.

Papers differ in edge rule, rounding and clipping, so the protocol does the interpolation. These
methods only name the kernel and return the interpolated image (N, C, H, W) unchanged.
"""

from __future__ import annotations

from torch import nn

from zoo.method import Method, Settings

NAMES = ("nearest", "bilinear", "bicubic", "lanczos")

_CITATIONS = {
    "nearest": "nearest neighbour, as MATLAB's imresize",
    "bilinear": "triangle kernel, as MATLAB's imresize",
    "bicubic": "Keys, Cubic convolution interpolation for digital image processing, 1981",
    "lanczos": "Lanczos-3, as MATLAB's imresize",
}


def _identity(scale: int, settings: Settings) -> nn.Module:
    return nn.Identity()


def _no_multiplies(scale: int, settings: Settings) -> float:
    return 0.0  # the protocol's interpolation is no cost of the method


def method(name: str) -> Method:
    """The `Method` of an interpolation kernel."""
    return Method(
        name=name,
        citation=_CITATIONS[name],
        takes="interpolated",
        channels="any",
        kernel=name,
        build=_identity,
        multiplies=_no_multiplies,
    )
