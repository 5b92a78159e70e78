"""ESPCN 5-3-3: convolutions at LR size, then sub-pixel shuffling.

Shi et al.: Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network, CVPR 2016, section 3 (f1, n1 = 5, 64; f2, n2 = 3, 32; f3 = 3; tanh).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.method import Method, Settings

NAMES = ("espcn",)


class ESPCN(nn.Module):
    """Two tanh layers and one that gives scale*scale channels per LR pixel (CVPR 2016, eq. 3-4)."""

    def __init__(self, scale: int, n1: int, n2: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, n1, 5, padding=2)
        self.conv2 = nn.Conv2d(n1, n2, 3, padding=1)
        self.conv3 = nn.Conv2d(n2, scale * scale, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        """SR of luma, (N, 1, h, w) in [0, 1]: (N, 1, scale*h, scale*w)."""
        x = torch.tanh(self.conv1(x))  # (N, n1, h, w)
        x = torch.tanh(self.conv2(x))  # (N, n2, h, w)
        out: Tensor = self.shuffle(self.conv3(x))  # (N, 1, scale*h, scale*w)
        return out


def _build(scale: int, settings: Settings) -> nn.Module:
    return ESPCN(scale, settings["n1"], settings["n2"])


def _multiplies(scale: int, settings: Settings) -> float:
    n1, n2 = settings["n1"], settings["n2"]
    return float(25 * n1 + 9 * n1 * n2 + 9 * n2 * scale**2)


def method(name: str) -> Method:
    """The card of ESPCN; its authors published no weights."""
    return Method(
        name=name,
        citation="Shi et al., Real-Time Single Image and Video Super-Resolution, CVPR 2016",
        takes="LR",
        channels="luma",
        settings={"n1": 64, "n2": 32},
        build=_build,
        multiplies=_multiplies,
    )
