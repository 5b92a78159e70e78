"""Nearest, bilinear, bicubic and Lanczos-3 interpolation.

Interpolating is the protocol's work, since papers differ in its edge rule, its rounding and its
clipping. These methods are therefore nothing but their kernel: they return what the protocol
has interpolated.
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
    return 0.0


def method(name: str) -> Method:
    """The card of one kernel."""
    return Method(
        name=name,
        citation=_CITATIONS[name],
        takes="interpolated",
        channels="any",
        kernel=name,
        build=_identity,
        multiplies=_no_multiplies,
    )
