"""Degradations: the ways in which training makes LR from HR, as values.

The text `PATH:KERNEL` names a degradation. `blur 1.0 + PATH:KERNEL` puts a Gaussian with a standard
deviation of 1.0 HR pixels before the resizing. Several degradations are joined by `|`; each patch
uses a single degradation of these. `pairs` takes LR from files instead.

| path | resizing |
|---|---|
| `matlab` | MATLAB's `imresize` in double; LR of a luma method is not rounded |
| `matlab-uint8` | MATLAB's `imresize` on 8 bits, rounded after each pass, as in image files |
| `opencv` | `cv2.resize` on 8 bits, without antialiasing except for `area` |
| `pillow` | `PIL.Image.resize` on 8 bits, with antialiasing |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench import images
from zoo.errors import InputError, unknown
from zoo.resample import KERNELS, imresize, round_half_up

OPENCV = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}
PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
PATHS: Mapping[str, Mapping[str, object]] = {
    "matlab": KERNELS,
    "matlab-uint8": KERNELS,
    "opencv": OPENCV,
    "pillow": PILLOW,
}
"""Each path and the path's kernels."""
PAIRS = "pairs"
"""Name of the degradation that reads LR images from files."""


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """A way to make LR from HR, and to interpolate LR to the HR size if a method takes this."""

    path: Literal["matlab", "matlab-uint8", "opencv", "pillow"] = "matlab"
    kernel: str = "bicubic"
    blur: float = 0.0
    """Standard deviation of a Gaussian before shrinking, in HR pixels; 0 for none."""

    @property
    def eight_bit(self) -> bool:
        """Whether LR has whole levels of 255."""
        return self.path != "matlab"

    def degrade(self, hr: Tensor, scale: int) -> Tensor:
        """The LR image of an HR image.

        Args:
            hr: (C, H, W), float64 in [0, 255]; H and W are multiples of the scale.
            scale: factor by which each side shrinks.

        Returns:
            (C, H / scale, W / scale), float64; whole levels of [0, 255] if `eight_bit`.
        """
        if self.blur:
            hr = _blurred(hr, self.blur)
        if self.eight_bit:
            hr = round_half_up(hr)  # a blur leaves fractions, but the resizing reads 8 bits
        if self.path in ("opencv", "pillow"):
            return self._resized(hr, (hr.shape[-2] // scale, hr.shape[-1] // scale), self.kernel)
        rounding: Literal["each pass", "none"] = "each pass" if self.eight_bit else "none"
        return imresize(
            hr, Fraction(1, scale), kernel=self.kernel, edges="mirror", rounding=rounding
        )

    def interpolate(self, lr: Tensor, scale: int, kernel: str) -> Tensor:
        """LR (C, h, w), interpolated to the HR size by the same path: (C, scale*h, scale*w).

        Args:
            lr: (C, h, w), float64 in [0, 255].
            scale: factor by which each side grows.
            kernel: the method's kernel, by which the method's input is interpolated in use. OpenCV
                and Pillow take the degradation's kernel instead, if it is also in `KERNELS`.
        """
        size = (lr.shape[-2] * scale, lr.shape[-1] * scale)
        if self.path in ("opencv", "pillow"):
            return self._resized(lr, size, self.kernel if self.kernel in KERNELS else kernel)
        rounding: Literal["each pass", "none"] = "each pass" if self.eight_bit else "none"
        return imresize(lr, size=size, kernel=kernel, edges="mirror", rounding=rounding)

    def _resized(self, image: Tensor, size: tuple[int, int], kernel: str) -> Tensor:
        """An image (C, H, W) of whole levels, resized by OpenCV or Pillow on 8 bits: (C, *size)."""
        pixels = images.to_pixels(image)
        # OpenCV and Pillow take sizes as (width, height).
        if self.path == "opencv":
            found = cv2.resize(pixels, size[::-1], interpolation=OPENCV[kernel])
        else:
            found = np.asarray(Image.fromarray(pixels).resize(size[::-1], PILLOW[kernel]))
        return images.to_tensor(np.array(found, dtype=np.uint8), image.device)


def parse(text: str) -> tuple[Degradation, ...]:
    """The degradations that a text names; () for `pairs`.

    >>> parse("matlab:bicubic | blur 1.6 + pillow:lanczos")[1]
    Degradation(path='pillow', kernel='lanczos', blur=1.6)

    Raises:
        InputError: the text names no degradation, or an unknown path, kernel or blur.
    """
    if text.strip() == PAIRS:
        return ()
    return tuple(_one(part.strip()) for part in text.split("|"))


def _one(text: str) -> Degradation:
    """The single degradation that a text without `|` names.

    Raises:
        InputError: the text has another form, or names an unknown path, kernel or blur.
    """
    match = re.fullmatch(r"(?:blur\s+(\S+)\s*\+\s*)?([\w-]+):([\w-]+)", text)
    if not match:
        raise InputError(
            f"degradation {text!r}; give PATH:KERNEL, such as matlab:bicubic, or blur SIGMA + "
            f"PATH:KERNEL; paths: {', '.join(PATHS)}"
        )
    sigma, path, kernel = match.groups()
    if path not in PATHS:
        raise unknown("degradation", path, PATHS)
    if kernel not in PATHS[path]:
        raise unknown(f"kernel of {path}", kernel, PATHS[path])
    try:
        blur = float(sigma or 0)
    except ValueError:
        blur = -1.0  # refused below
    if not 0 <= blur <= 100:
        raise InputError(f"degradation {text!r}: blur {sigma}; give a sigma in pixels, up to 100")
    return Degradation(path=path, kernel=kernel, blur=blur)  # type: ignore[arg-type]


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """The image (C, H, W) blurred by a Gaussian, edges mirrored: the same shape and dtype.

    The Gaussian is cut at 4 sigma; sigma is in pixels.
    """
    radius = int(4 * sigma + 0.5)
    at = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    taps = torch.exp(-((at / sigma) ** 2) / 2)
    taps /= taps.sum()
    for dim in (-2, -1):
        length = image.shape[dim]
        # Mirrored with the edge repeated, and as often as a radius beyond the image needs.
        index = torch.arange(-radius, length + radius, device=image.device) % (2 * length)
        index = torch.where(index < length, index, 2 * length - 1 - index)
        image = image.index_select(dim, index).unfold(dim, 2 * radius + 1, 1) @ taps
    return image
