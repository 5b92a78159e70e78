"""Geometric self-ensemble: any method's name with a trailing `+`.

Lim et al.: Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017, section
3.4, after Timofte et al.: Seven Ways to Improve Example-Based Single Image Super Resolution, CVPR
2016.
"""

from __future__ import annotations

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
        total: Tensor | None = None
        for transposed in (False, True):
            for flipped in ((), (2,), (3,), (2, 3)):
                turned = torch.flip(x.transpose(2, 3) if transposed else x, flipped)
                out = torch.flip(self.network(turned.contiguous()), flipped)
                out = (out.transpose(2, 3) if transposed else out).to(torch.float64)
                total = out if total is None else total.add_(out)
        assert total is not None
        return (total * 0.125).to(x.dtype)


def self_ensemble(method: Method) -> Method:
    """The method `NAME+`: the same weights, eight times the cost."""
    multiplies = method.multiplies

    def eightfold(scale: int, settings: Settings) -> float:
        assert multiplies is not None
        return 8 * multiplies(scale, settings)

    return replace(
        method,
        name=f"{method.name}+",
        wrap=SelfEnsemble,
        multiplies=eightfold if multiplies else None,
    )
