"""Johnson's super-resolution networks for perceptual losses, x4 and x8.

Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer and Super-Resolution, ECCV
2016, section 3.1 and the supplement's table of layers. The residual block is by Gross & Wilber,
Training and Investigating Residual Nets, 2016. deepsense.ai (Using Deep Learning for Single Image
Super-Resolution, 2017) tried three ways to double the size and found the last best:

- `transposed3`: transposed convolution 3x3 of stride 2, the paper's;
- `transposed4`: transposed convolution 4x4 of stride 2, whose filters overlap evenly;
- `nearest3`: nearest neighbour, then convolution 3x3.

The paper does not state the padding, the initialisation, and the map from tanh to the range of an
image. Zero padding, PyTorch's default and (tanh + 1) / 2 are used.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.method import Method, Recipe, Settings
from zoo.recipe import Descent

NAMES = ("perceptual",)

UPSAMPLERS = ("transposed3", "transposed4", "nearest3")
"""Ways to double the size; the first is the paper's."""
_STAGES = {4: 2, 8: 3}  # doublings by scale
_CITATION = (
    "Johnson et al., Perceptual Losses for Real-Time Style Transfer and Super-Resolution, ECCV 2016"
)
_DEEPSENSE = "deepsense.ai, Using deep learning for Single Image Super Resolution, 2017"
_DATA = ("bsds200", "bsds500-test")
"""Substitute for MS-COCO: 400 available images that are large enough for a patch of 288 pixels."""
_ECCV2016 = Descent(
    patch=72,
    degradation="blur 1.0 + matlab:bicubic",
    loss="vgg16:relu2_2",
    rate=1e-3,
    batch=4,
    updates=200_000,
    silent={
        "data": "10 thousand images of MS-COCO; here those that can be had",
        "patch": "288x288 HR pixels at x4; at x8 give 36",
    },
)
_DEEPSENSE2017 = replace(
    _ECCV2016,
    degradation="matlab:bicubic",
    loss="vgg16:conv2_2",
    silent={
        "data": "nearly 10 thousand images of MS-COCO; here those that can be had",
        "batch": "not stated; Johnson's",
        "updates": "not stated; Johnson's",
        "degradation": "not stated",
    },
)
_SHORT = Descent(
    patch=24,
    draw="places",
    augment="flips and turns",
    loss="l1",
    rate=1e-3,
    schedule="cosine",
    warmup=50,
    batch=4,
    updates=1_000,
)


class Perceptual(nn.Module):
    """9x9 convolution, residual blocks, doublings, 9x9 convolution, scaled tanh.

    Batch normalisation and ReLU follow every convolution, except the last of a block and the last
    of the network. Nothing follows the addition at the end of a block (ECCV 2016, section 3.1).

    Raises:
        InputError: a scale other than 4 and 8, or an unknown upsampler.
    """

    def __init__(self, scale: int, *, blocks: int, features: int, upsampler: str) -> None:
        super().__init__()
        if scale not in _STAGES:
            raise InputError(f"the perceptual-loss network has no x{scale}; choose from: x4, x8")
        self.head = _normalised(nn.Conv2d(3, features, 9, padding=4))
        self.blocks = nn.Sequential(*(_Block(features) for _ in range(blocks)))
        self.doublings = nn.Sequential(
            *(_doubling(features, upsampler) for _ in range(_STAGES[scale]))
        )
        self.tail = nn.Conv2d(features, 3, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 3, scale*h, scale*w) in (0, 1) of RGB x, (N, 3, h, w) in [0, 1]."""
        x = self.doublings(self.blocks(self.head(x)))  # (N, features, scale*h, scale*w)
        return 0.5 * (torch.tanh(self.tail(x)) + 1)


class _Block(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _normalised(nn.Conv2d(features, features, 3, padding=1)),
            nn.Conv2d(features, features, 3, padding=1),
            nn.BatchNorm2d(features),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def _normalised(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True))


def _doubling(features: int, upsampler: str) -> nn.Sequential:
    if upsampler == "transposed3":
        return _normalised(
            nn.ConvTranspose2d(features, features, 3, stride=2, padding=1, output_padding=1)
        )
    if upsampler == "transposed4":
        return _normalised(nn.ConvTranspose2d(features, features, 4, stride=2, padding=1))
    if upsampler == "nearest3":
        # the convolution runs at the doubled size, at four times the cost of transposed3
        return nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            _normalised(nn.Conv2d(features, features, 3, padding=1)),
        )
    raise InputError(f"no upsampler {upsampler!r}; choose from: {', '.join(UPSAMPLERS)}")


def _build(scale: int, settings: Settings) -> nn.Module:
    return Perceptual(
        scale,
        blocks=settings["blocks"],
        features=settings["features"],
        upsampler=settings["upsampler"],
    )


def _multiplies(scale: int, settings: Settings) -> float:
    width = settings["features"]
    doubling = {"transposed3": 9, "transposed4": 16, "nearest3": 4 * 9}[settings["upsampler"]]
    total = 81 * 3 * width * (1 + scale**2) + settings["blocks"] * 2 * 9 * width**2
    for k in range(_STAGES[scale]):
        total += doubling * width**2 * 4**k  # doubling k has 4**k input pixels per LR pixel
    return float(total)


def method(name: str) -> Method:
    """The `Method` of Johnson's network; the authors published no weights for SR."""
    return Method(
        name=name,
        citation=_CITATION,
        takes="LR",
        channels="RGB",
        scales=tuple(_STAGES),
        settings={"blocks": 4, "features": 64, "upsampler": UPSAMPLERS[0]},
        choices={"upsampler": UPSAMPLERS},
        build=_build,
        multiplies=_multiplies,
        recipes=(
            Recipe(name="eccv2016", citation=_CITATION, data=_DATA, learn=_ECCV2016),
            Recipe(name="deepsense2017", citation=_DEEPSENSE, data=_DATA, learn=_DEEPSENSE2017),
            Recipe(name="short", citation="this project", data=("bsds200",), learn=_SHORT),
        ),
    )
