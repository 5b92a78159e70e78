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
    """The mean of what a network makes of the 8 flips and rotations of its input, turned back."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """SR of (N, C, h, w): (N, C, H, W), turned and flipped exactly as x is.

        The eight are added up in float64, where the order cannot matter: a sum of eight float32
        values of like size is exact there.
        """
        nothing = torch.zeros((), dtype=torch.float64, device=x.device)
        total = sum((out.to(torch.float64) for out in self.turned_back(x)), start=nothing)
        return (total / 8).to(x.dtype)

    def turned_back(self, x: Tensor) -> Iterator[Tensor]:
        """SR of each of the eight, as x lies: eight times (N, C, H, W)."""
        for transposed in (False, True):
            for flipped in ((), (2,), (3,), (2, 3)):
                turned = torch.flip(x.transpose(2, 3) if transposed else x, flipped)
                out = torch.flip(self.network(turned.contiguous()), flipped)
                yield out.transpose(2, 3) if transposed else out


def self_ensemble(method: Method) -> Method:
    """The method `NAME+`: the same weights, eight times the cost."""
    once, inner = method.multiplies, method.wrap

    def wrapped(network: nn.Module) -> nn.Module:
        return SelfEnsemble(inner(network) if inner else network)

    def eightfold(scale: int, settings: Settings) -> float:
        return 8 * once(scale, settings) if once else 0.0

    return replace(
        method,
        name=f"{method.name}+",
        wrap=wrapped,
        multiplies=eightfold if once else None,
    )
