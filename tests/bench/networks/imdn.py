"""IMDN, the information multi-distillation network, with the layer names of the authors' files.

Hui et al., Lightweight Image Super-Resolution with Information Multi-distillation Network,
ACM MM 2019, Fig. 2 and Fig. 3: six blocks that keep 16 of 64 features at every step, contrast-aware
channel attention, then pixel shuffling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from zoo.method import Method, Settings

NAMES = ("imdn",)
_BLOCKS = 6
_FEATURES = 64
_KEPT = 16
_SLOPE = 0.05


def _conv(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


class _ContrastAttention(nn.Module):
    """Channels weighted by the sum of their mean and standard deviation over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            _conv(_FEATURES, _FEATURES // 16, 1),
            nn.ReLU(),
            _conv(_FEATURES // 16, _FEATURES, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((-2, -1), keepdim=True)
        deviation = (x - mean).square().mean((-2, -1), keepdim=True).sqrt()
        mask: Tensor = self.conv_du(deviation + mean)
        return x * mask


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rest = _FEATURES - _KEPT
        self.c1 = _conv(_FEATURES, _FEATURES, 3)
        self.c2 = _conv(rest, _FEATURES, 3)
        self.c3 = _conv(rest, _FEATURES, 3)
        self.c4 = _conv(rest, _KEPT, 3)
        self.cca = _ContrastAttention()
        self.c5 = _conv(4 * _KEPT, _FEATURES, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, y = [], x
        for layer in (self.c1, self.c2, self.c3):
            y = leaky_relu(layer(y), _SLOPE)
            kept.append(y[:, :_KEPT])
            y = y[:, _KEPT:]
        kept.append(self.c4(y))
        refined: Tensor = self.c5(self.cca(torch.cat(kept, 1)))
        return x + refined


class _Network(nn.Module):
    def __init__(self, scale: int) -> None:
        super().__init__()
        self.fea_conv = _conv(3, _FEATURES, 3)
        for index in range(1, _BLOCKS + 1):
            self.add_module(f"IMDB{index}", _Block())
        self.c = nn.Sequential(_conv(_BLOCKS * _FEATURES, _FEATURES, 1), nn.LeakyReLU(_SLOPE))
        self.LR_conv = _conv(_FEATURES, _FEATURES, 3)
        self.upsampler = nn.Sequential(
            _conv(_FEATURES, 3 * scale * scale, 3), nn.PixelShuffle(scale)
        )

    def forward(self, x: Tensor) -> Tensor:  # RGB (N, 3, h, w) in [0, 1]
        first = y = self.fea_conv(x)
        found = []
        for index in range(1, _BLOCKS + 1):
            y = self.get_submodule(f"IMDB{index}")(y)
            found.append(y)
        sr: Tensor = self.upsampler(first + self.LR_conv(self.c(torch.cat(found, 1))))
        return sr


class IMDN(nn.Module):
    """The network under the name `module`, as in the authors' files."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.module = _Network(scale)

    def forward(self, x: Tensor) -> Tensor:
        sr: Tensor = self.module(x)
        return sr


def build(scale: int, settings: Settings) -> nn.Module:
    return IMDN(scale)


def method(name: str) -> Method:
    return Method(
        name=name,
        citation="Hui et al., Information Multi-distillation Network, ACM MM 2019",
        takes="LR",
        channels="RGB",
        build=build,
    )
