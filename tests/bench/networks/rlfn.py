"""RLFN, the residual local feature network, with the layer names of the authors' files.

Kong et al., Residual Local Feature Network for Efficient Super-Resolution, CVPRW 2022, Fig. 2 and
Fig. 3: six blocks of three convolutions and enhanced spatial attention (ESA), then pixel shuffling.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, max_pool2d

from zoo.method import Method, Settings

NAMES = ("rlfn",)
_BLOCKS = 6
_FEATURES = 52
_ATTENTION = 16
_SLOPE = 0.05


def _conv(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


class _Attention(nn.Module):
    """ESA: a mask in [0, 1] from features seen through a stride and a wide pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(_FEATURES, _ATTENTION, 1)
        self.conv_f = _conv(_ATTENTION, _ATTENTION, 1)
        self.conv2 = nn.Conv2d(_ATTENTION, _ATTENTION, 3, stride=2)
        self.conv3 = _conv(_ATTENTION, _ATTENTION, 3)
        self.conv4 = _conv(_ATTENTION, _FEATURES, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 52, h, w), h and w at least 15
        narrow = self.conv1(x)
        wide = self.conv3(max_pool2d(self.conv2(narrow), 7, stride=3))
        wide = interpolate(wide, x.shape[-2:], mode="bilinear", align_corners=False)
        mask: Tensor = self.conv4(wide + self.conv_f(narrow)).sigmoid()
        return x * mask


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1_r = _conv(_FEATURES, _FEATURES, 3)
        self.c2_r = _conv(_FEATURES, _FEATURES, 3)
        self.c3_r = _conv(_FEATURES, _FEATURES, 3)
        self.c5 = _conv(_FEATURES, _FEATURES, 1)
        self.esa = _Attention()

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in (self.c1_r, self.c2_r, self.c3_r):
            y = leaky_relu(layer(y), _SLOPE)
        refined: Tensor = self.esa(self.c5(x + y))
        return refined


class RLFN(nn.Module):
    def __init__(self, scale: int) -> None:
        super().__init__()
        self.conv_1 = _conv(3, _FEATURES, 3)
        for index in range(1, _BLOCKS + 1):
            self.add_module(f"block_{index}", _Block())
        self.conv_2 = _conv(_FEATURES, _FEATURES, 3)
        self.upsampler = nn.Sequential(
            _conv(_FEATURES, 3 * scale * scale, 3), nn.PixelShuffle(scale)
        )

    def forward(self, x: Tensor) -> Tensor:  # RGB (N, 3, h, w) in [0, 1]
        first = y = self.conv_1(x * 255)  # the authors train on [0, 255]
        for index in range(1, _BLOCKS + 1):
            y = self.get_submodule(f"block_{index}")(y)
        sr: Tensor = self.upsampler(first + self.conv_2(y))
        return sr / 255


def build(scale: int, settings: Settings) -> nn.Module:
    return RLFN(scale)


def method(name: str) -> Method:
    return Method(
        name=name,
        citation="Kong et al., Residual Local Feature Network, CVPRW 2022",
        takes="LR",
        channels="RGB",
        build=build,
        smallest=15,
    )
