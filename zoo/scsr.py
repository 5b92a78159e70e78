"""ScSR: sparse coding of patches of the interpolated image, then back-projection.

Yang, Wright, Huang, Ma: Image Super-Resolution via Sparse Representation, TIP 2010. This file
computes SR as the authors' program of 2010 (`Demo_SR.m`) does:

1. LR is interpolated to the HR size. Features are first and second differences of that image.
2. The features of a patch of 5x5 HR pixels are divided by their norm if the norm is above 1, for
   images in [0, 255].
3. They are coded over the LR dictionary by a lasso of penalty 0.2.
4. The same weights combine the HR atoms. The result is scaled to 1.2 times the contrast of the
   interpolated patch. The mean of the interpolated patch is added.
5. Patches lie at every HR pixel, and overlapping patches are averaged.
6. 20 back-projections: SR is shrunk, and the difference from LR is enlarged, blurred and added.

The program of 2009, `sc`, has other patches and ends without back-projection. The tables of 2013
and 2014 (Timofte et al., Dong et al.) print that program, at x3. Later tables print 35.78, 31.34
and 29.07 dB on Set5 at x2, x3 and x4. This file gives 35.91, 31.52 and 29.25 dB under
`selfexsr2015`, by another dictionary of the same size, trained for x2 and used at all scales. `sc`
gives 34.23, 31.45 and 29.12 dB.

Two roundings are left out: the program interpolates LR in 8 bits, and rounds SR to 8 bits before
back-projection. The second lowers PSNR on Set5 x2 by 0.018 dB, both together by 0.025 dB.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, fold, normalize, unfold

from zoo.errors import InputError
from zoo.method import Method, Settings, Weights
from zoo.nonnegative import MeanWork, solve
from zoo.patches import WINDOW, refuse_without_patch
from zoo.resample import imresize, phases
from zoo.sparse_coding import differences, pictures

NAMES = ("scsr",)

PATCH = 5
"""Side of a patch, in HR pixels."""
PENALTY = 0.2
"""Penalty of the lasso on the sum of absolute weights, for features of images in [0, 255]."""
CONTRAST = 1.2
"""Contrast of an HR patch, as a multiple of the interpolated patch's contrast."""
ITERATIONS = 20
"""Number of back-projections in the authors' program."""
MEAN_WORK = MeanWork(steps=11, slots=7)
"""Work of `solve` per patch, measured on Set5's baby x2 with the published dictionary: 11.5 and
6.8. All of Set5: 10.7 and 6.5."""
_CHUNK = 2048
"""Patches coded at once."""
_BLUR = 2
"""Reach of the filter of back-projection, in HR pixels."""
_TIP = "Yang et al., Image Super-Resolution via Sparse Representation, TIP 2010"
_ABOVE = {2: (0.13, 35.78), 3: (0.18, 31.34), 4: (0.18, 29.07)}
"""Set5 by scale: dB above the literature under `selfexsr2015`, and the literature's PSNR."""


def back_project(sr: Tensor, lr: Tensor, iterations: int) -> Tensor:
    """SR (N, 1, H, W) after some back-projections, which make it agree with LR when shrunk.

    Each one shrinks SR to LR's size, enlarges the difference from LR bicubically, blurs it and adds
    it. The blur is the square of a Gaussian with standard deviation 1, 5x5 pixels, of sum 1.

    Args:
        sr: SR before, (N, 1, H, W).
        lr: LR, (N, 1, h, w), in the range of `sr`.
        iterations: number of back-projections.

    Source: `backprojection.m` of the authors' program of 2010.
    """
    places = torch.arange(-_BLUR, _BLUR + 1, dtype=sr.dtype, device=sr.device)
    line = torch.exp(-places.square())  # the square of exp(-x^2 / 2)
    blur = line[:, None] * line
    blur = (blur / blur.sum())[None, None]
    small, large = (lr.shape[-2], lr.shape[-1]), (sr.shape[-2], sr.shape[-1])
    for _ in range(iterations):
        missing = imresize(lr - imresize(sr, size=small), size=large)
        sr = sr + conv2d(missing, blur, padding=_BLUR)
    return sr


class ScSR(nn.Module):
    """SR by coding features over K coupled atoms, then back-projection.

    State: `low` (K, 4, 5, 5), features of unit length; `high` (K, 1, 5, 5), HR patches without
    their mean, of any length.
    """

    def __init__(self, scale: int, atoms: int, iterations: int) -> None:
        super().__init__()
        self.scale, self.iterations = scale, iterations
        low, high = torch.randn(atoms, 4 * PATCH**2), torch.randn(atoms, PATCH**2)
        self.low = nn.Parameter(normalize(low).reshape(atoms, 4, PATCH, PATCH))
        self.high = nn.Parameter(normalize(high).reshape(atoms, 1, PATCH, PATCH))

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 1, s*h, s*w) of LR luma x, (N, 1, h, w) in [0, 1].

        Raises:
            InputError: the image holds no patch.
        """
        refuse_without_patch(x.shape[2], x.shape[3])
        out = imresize(x, self.scale)  # (N, 1, H, W)
        height, width = out.shape[2:]
        # No patch touches the first two rows and columns, or the last three.
        inner = out[..., 2 : height - 3, 2 : width - 3].clone()
        seen = differences(out)[..., : height - 5, : width - 5]
        # (N * patches, 100) and (N * patches, 25), in levels of [0, 255]
        features, plain = (
            255 * unfold(image, PATCH).transpose(1, 2).flatten(0, 1) for image in (seen, inner)
        )
        mean = plain.mean(1, keepdim=True)
        norm = (plain - mean).square().sum(1, keepdim=True).sqrt()
        parts = zip(torch.split(features, _CHUNK), torch.split(norm, _CHUNK), strict=True)
        made = torch.cat([self._patches(some, contrast) for some, contrast in parts]) + mean
        made = made.reshape(len(x), -1, PATCH**2).transpose(1, 2) / 255  # (N, 25, patches)
        shares = torch.ones_like(avg_pool2d(inner[:1], PATCH, stride=1))
        # the authors' program adds the last row and column of patches twice
        shares[..., -1, :] *= 2
        shares[..., :, -1] *= 2
        weights = shares.flatten(2).expand(-1, PATCH**2, -1)
        size = (height - 5, width - 5)
        total = fold(made * shares.flatten(2), size, PATCH)
        out[..., 2 : height - 3, 2 : width - 3] = total / fold(weights, size, PATCH)
        return back_project(out, x, self.iterations)

    def receptive_field_proxy(self) -> nn.Module:
        """A convolutional network (N, 1, h, w) -> (N, 1, s*h, s*w) with this receptive field.

        The receptive field of `forward` itself cannot be traced, because `forward` makes a list of
        patches.
        """
        reach = field_reach(self.scale, self.iterations)
        return nn.Sequential(
            nn.Conv2d(1, 1, 2 * reach + 1, padding=reach), nn.Upsample(scale_factor=self.scale)
        )

    def _patches(self, seen: Tensor, contrast: Tensor) -> Tensor:
        """HR patches (n, 25) without their means, for features (n, 100) and contrasts (n, 1)."""
        low, high = self.low.flatten(1), self.high.flatten(1)
        length = seen.square().sum(1, keepdim=True).sqrt().clamp(min=1)
        linear = (seen / length) @ low.T  # (n, K)
        # A signed weight is the difference of two nonnegative ones, of an atom and its negative.
        both = torch.cat([linear, -linear], 1)
        weights = solve(self._gram(low), both, PENALTY, mean_work=MEAN_WORK)
        positive, negative = weights.chunk(2, 1)
        made = (positive - negative) @ high
        size = made.square().sum(1, keepdim=True).sqrt()
        # A patch without weights stays zero.
        return made * torch.where(size > 0, CONTRAST * contrast / size, 0)

    @staticmethod
    def _gram(low: Tensor) -> Tensor:
        """Gram matrix (2K, 2K) of the LR atoms (K, 100) and their negatives.

        The matrix depends on the dictionary only, so it is no cost per pixel. On the meta device,
        where costs are counted, it is therefore allocated without a multiply.
        """
        if low.is_meta:
            return low.new_empty(2 * len(low), 2 * len(low))
        signed = torch.cat([low, -low])
        return signed @ signed.T


def field_reach(scale: int, iterations: int) -> int:
    """LR pixels on each side of an LR pixel that its HR pixels depend on, at the most.

    Computed by following an interval of pixels back through every step.

    Args:
        scale: enlargement per side.
        iterations: number of back-projections.
    """
    down, up = phases("bicubic", Fraction(1, scale), True), phases("bicubic", Fraction(scale), True)

    def interpolated(first: int, last: int) -> tuple[int, int]:
        """The LR pixels that a range of HR pixels is interpolated from."""
        ends = []
        for pixel in (first, last):
            tap = up[pixel % scale]
            ends.append((tap.offset + pixel // scale, len(tap.weights)))
        return ends[0][0], ends[1][0] + ends[1][1] - 1

    reach = 0
    for phase in range(scale):
        first = last = phase
        lr = []
        for _ in range(iterations):
            before = interpolated(first - _BLUR, last + _BLUR)
            lr.append(before)
            first = min(first, before[0] * scale + down[0].offset)
            last = max(last, before[1] * scale + down[0].offset + len(down[0].weights) - 1)
        # A patch's pixels, then the differences' neighbours
        lr.append(interpolated(first - PATCH + 1 - 2, last + PATCH - 1 + 2))
        reach = max(reach, *(max(-a, b) for a, b in lr))
    return reach


def from_mat(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dict of a `ScSR` from the layout of the authors' program.

    Args:
        arrays: `Dh` (25, K), HR atoms, and `Dl` (100, K), features with the four kinds one after
            the other; or the same as `D_h` and `D_l`. Patches are stored column by column.

    Returns:
        `low` (K, 4, 5, 5), scaled to unit length as the program does, and `high` (K, 1, 5, 5),
        float32.

    Raises:
        InputError: a name is missing or surplus, or an array has another shape.
    """
    given = {name.replace("_", ""): np.asarray(array) for name, array in arrays.items()}
    shapes = {name: array.shape for name, array in given.items()}
    atoms = shapes.get("Dh", ())[1:]
    if shapes != {"Dh": (PATCH**2, *atoms), "Dl": (4 * PATCH**2, *atoms)} or len(atoms) != 1:
        raise InputError(
            f"not a dictionary of the authors' program: shapes {shapes}; expected Dh "
            f"({PATCH**2}, K) and Dl ({4 * PATCH**2}, K)"
        )
    low = given["Dl"] / np.linalg.norm(given["Dl"], axis=0)
    return {"low": pictures(low, 4), "high": pictures(given["Dh"], 1)}


def _multiplies(scale: int, settings: Settings) -> float:
    atoms = settings["atoms"]
    path = MEAN_WORK.steps * MEAN_WORK.slots * (2 * atoms + MEAN_WORK.slots)
    patch = atoms * 5 * PATCH**2 + path
    return float(scale**2 * (patch + settings["iterations"] * (2 * _BLUR + 1) ** 2))


def _build(scale: int, settings: Settings) -> nn.Module:
    return ScSR(scale, settings["atoms"], settings["iterations"])


def method(name: str) -> Method:
    """ScSR as a `Method`.

    The dictionary is one that R. Xu trained with the authors' programs in 2016, for x2. The
    authors' own dictionary is not in any place that this project knows.
    """
    return Method(
        name=name,
        citation=_TIP,
        takes="LR",
        channels="luma",
        settings={"atoms": 1024, "iterations": ITERATIONS},
        build=_build,
        multiplies=_multiplies,
        scales=(2, 3, 4),
        smallest=WINDOW,
        varies=True,
        convert=from_mat,
        default_weights="xu",
        weights=tuple(
            Weights(
                tag="xu",
                scale=scale,
                origin="github:ruomengxu/Image_Resolution@8a7fcc5dff43b15b7bfdc3a1213e53fb0ce17026",
                path="Dictionary/D_1024_0.15_5.mat",
                sha256="839423ddc66435d125f3703225bba84dbd3e76194d247a32e411b28b1d28b709",
                licence="not stated",
                citation=f"R. Xu, ruomengxu/Image_Resolution, 2016, by the programs of {_TIP}",
                remark=f"the dictionary is not the authors', {above} dB above the literature's "
                f"{printed} dB on Set5 x{scale}",
            )
            for scale, (above, printed) in _ABOVE.items()
        ),
    )
