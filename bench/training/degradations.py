"""Degradations: the ways in which LR is made of HR for training, as values.

A text names one: `PATH:KERNEL`, a Gaussian before it as `blur 1.0 + PATH:KERNEL`, and several with
`|` between them, of which each patch draws one. `pairs` takes LR from files instead.

| path | what |
|---|---|
| `matlab` | MATLAB's `imresize` in double: LR of a luma method is not rounded |
| `matlab-uint8` | the same on 8 bits, rounded after each pass, as image files hold it |
| `opencv` | `cv2.resize` on 8 bits, no antialiasing but of `area` |
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
"""Each path, and its kernels."""
PAIRS = "pairs"
"""Degradation whose LR images are given."""


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """One way to make LR of HR, and to bring it back to the HR size where a method takes that."""

    path: Literal["matlab", "matlab-uint8", "opencv", "pillow"] = "matlab"
    kernel: str = "bicubic"
    blur: float = 0.0
    """Standard deviation of a Gaussian before shrinking, in HR pixels; 0 for none."""

    @property
    def eight_bit(self) -> bool:
        """Whether LR holds whole levels."""
        return self.path != "matlab"

    def degrade(self, hr: Tensor, scale: int) -> Tensor:
        """LR of HR (C, H, W), float64 in [0, 255], sides multiples of the scale: (C, h, w)."""
        if self.blur:
            hr = _blurred(hr, self.blur)
        if self.eight_bit:
            hr = round_half_up(hr)
        if self.path in ("opencv", "pillow"):
            return self._resized(hr, (hr.shape[-2] // scale, hr.shape[-1] // scale), self.kernel)
        rounding: Literal["each pass", "none"] = "each pass" if self.eight_bit else "none"
        return imresize(
            hr, Fraction(1, scale), kernel=self.kernel, edges="mirror", rounding=rounding
        )

    def interpolate(self, lr: Tensor, scale: int, kernel: str) -> Tensor:
        """LR (C, h, w) at the HR size, by the same path: (C, scale*h, scale*w).

        The kernel is the method's, since that is what it will be given, except in OpenCV and
        Pillow, where it is this one's where both have it.
        """
        size = (lr.shape[-2] * scale, lr.shape[-1] * scale)
        if self.path in ("opencv", "pillow"):
            return self._resized(lr, size, self.kernel if self.kernel in KERNELS else kernel)
        rounding: Literal["each pass", "none"] = "each pass" if self.eight_bit else "none"
        return imresize(lr, size=size, kernel=kernel, edges="mirror", rounding=rounding)

    def _resized(self, image: Tensor, size: tuple[int, int], kernel: str) -> Tensor:
        pixels = images.to_pixels(image)
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
        InputError: it names none, or a path, kernel or blur that there is not.
    """
    if text.strip() == PAIRS:
        return ()
    return tuple(_one(part.strip()) for part in text.split("|"))


def _one(text: str) -> Degradation:
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
        blur = -1.0
    if not 0 <= blur <= 100:
        raise InputError(f"degradation {text!r}: blur {sigma}; give a sigma in pixels, up to 100")
    return Degradation(path=path, kernel=kernel, blur=blur)  # type: ignore[arg-type]


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian of this deviation, cut at 4 sigma, edges mirrored: the same shape, in double."""
    radius = int(4 * sigma + 0.5)
    at = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    taps = torch.exp(-((at / sigma) ** 2) / 2)
    taps /= taps.sum()
    for dim in (-2, -1):
        length = image.shape[dim]
        index = torch.arange(-radius, length + radius, device=image.device) % (2 * length)
        index = torch.where(index < length, index, 2 * length - 1 - index)
        image = image.index_select(dim, index).unfold(dim, 2 * radius + 1, 1) @ taps
    return image
