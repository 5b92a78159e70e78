"""PAN, the pixel attention network, with the layer names of the authors' files.

Zhao et al., Efficient Image Super-Resolution Using Pixel Attention, ECCVW 2020, Fig. 2 and Fig. 3:
16 self-calibrated blocks, then nearest-neighbour enlargement with pixel attention, on top of the
bilinearly enlarged image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from zoo.method import Method, Settings

NAMES = ("pan",)
_BLOCKS = 16
_FEATURES = 40
_ENLARGED = 24
_SLOPE = 0.2


def _conv(inputs: int, outputs: int, side: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=bias)


class _Calibrated(nn.Module):
    """A branch of a block: features times their pixel attention."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.k2 = _conv(features, features, 1)
        self.k3 = _conv(features, features, 3, bias=False)
        self.k4 = _conv(features, features, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        refined: Tensor = self.k4(self.k3(x) * self.k2(x).sigmoid())
        return refined


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        half = _FEATURES // 2
        self.conv1_a = _conv(_FEATURES, half, 1, bias=False)
        self.conv1_b = _conv(_FEATURES, half, 1, bias=False)
        self.k1 = nn.Sequential(_conv(half, half, 3, bias=False))
        self.PAConv = _Calibrated(half)
        self.conv3 = _conv(_FEATURES, _FEATURES, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        plain = leaky_relu(self.k1(leaky_relu(self.conv1_a(x), _SLOPE)), _SLOPE)
        attended = leaky_relu(self.PAConv(leaky_relu(self.conv1_b(x), _SLOPE)), _SLOPE)
        joined: Tensor = self.conv3(torch.cat([plain, attended], 1))
        return x + joined


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = _conv(_ENLARGED, _ENLARGED, 1)

    def forward(self, x: Tensor) -> Tensor:
        mask: Tensor = self.conv(x).sigmoid()
        return x * mask


class PAN(nn.Module):
    def __init__(self, scale: int) -> None:
        super().__init__()
        self.factors = (2, 2) if scale == 4 else (scale,)
        self.conv_first = _conv(3, _FEATURES, 3)
        self.SCPA_trunk = nn.Sequential(*(_Block() for _ in range(_BLOCKS)))
        self.trunk_conv = _conv(_FEATURES, _FEATURES, 3)
        for index in range(1, len(self.factors) + 1):
            inputs = _FEATURES if index == 1 else _ENLARGED
            self.add_module(f"upconv{index}", _conv(inputs, _ENLARGED, 3))
            self.add_module(f"att{index}", _Attention())
            self.add_module(f"HRconv{index}", _conv(_ENLARGED, _ENLARGED, 3))
        self.conv_last = _conv(_ENLARGED, 3, 3)

    def forward(self, x: Tensor) -> Tensor:  # RGB (N, 3, h, w) in [0, 1]
        first = self.conv_first(x)
        y = first + self.trunk_conv(self.SCPA_trunk(first))
        size = list(x.shape[-2:])
        for index, factor in enumerate(self.factors, start=1):
            size = [factor * side for side in size]
            y = self.get_submodule(f"upconv{index}")(interpolate(y, size, mode="nearest"))
            y = leaky_relu(self.get_submodule(f"att{index}")(y), _SLOPE)
            y = leaky_relu(self.get_submodule(f"HRconv{index}")(y), _SLOPE)
        plain = interpolate(x, size, mode="bilinear", align_corners=False)
        sr: Tensor = self.conv_last(y) + plain
        return sr


def build(scale: int, settings: Settings) -> nn.Module:
    return PAN(scale)


def method(name: str) -> Method:
    return Method(
        name=name,
        citation="Zhao et al., Efficient Image Super-Resolution Using Pixel Attention, ECCVW 2020",
        takes="LR",
        channels="RGB",
        build=build,
        scales=(2, 3, 4),
    )
