"""Geometric self-ensemble: any method's name with a trailing `+`.

Lim et al.: Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017, section
4.3, after Timofte et al.: Seven Ways to Improve Example-Based Single Image Super Resolution, CVPR
2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from zoo.method import Method, Settings


class SelfEnsemble(nn.Module):
    """Average of a network's SR over the 8 flips and rotations of the input.

    Each SR image is flipped and rotated back before averaging. Shapes are the network's.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, C, H, W) of an image (N, C, h, w), in the input's dtype.

        A flipped or transposed input gives exactly the flipped or transposed output. The eight SR
        images are summed in float64 for this reason: a sum of eight float32 values of similar size
        is exact there, so their order does not matter.
        """
        nothing = torch.zeros((), dtype=torch.float64, device=x.device)
        total = sum((out.to(torch.float64) for out in self.turned_back(x)), start=nothing)
        return (total / 8).to(x.dtype)

    def turned_back(self, x: Tensor) -> Iterator[Tensor]:
        """Eight SR images (N, C, H, W) of x (N, C, h, w), each back in the orientation of x."""
        for transposed in (False, True):
            for flipped in ((), (2,), (3,), (2, 3)):
                turned = torch.flip(x.transpose(2, 3) if transposed else x, flipped)
                out = torch.flip(self.network(turned.contiguous()), flipped)
                yield out.transpose(2, 3) if transposed else out


def self_ensemble(method: Method) -> Method:
    """The method `NAME+` of a method `NAME`: the same weights, eight times the multiplies."""
    once, inner = method.multiplies, method.wrap

    def wrapped(network: nn.Module) -> nn.Module:
        # A plug-in may set `wrap` itself; the ensemble goes around the result.
        return SelfEnsemble(inner(network) if inner else network)

    def eightfold(scale: int, settings: Settings) -> float:
        return 8 * once(scale, settings) if once else 0.0

    return replace(
        method,
        name=f"{method.name}+",
        wrap=wrapped,
        multiplies=eightfold if once else None,
    )
