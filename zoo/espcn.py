"""ESPCN 5-3-3: convolutions at LR size, then sub-pixel shuffling.

Shi et al.: Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network, CVPR 2016, section 3 (f1, n1 = 5, 64; f2, n2 = 3, 32; f3 = 3; tanh).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.method import Method, Recipe, Settings, learned_here
from zoo.recipe import Descent

NAMES = ("espcn",)

_CITATION = "Shi et al., Real-Time Single Image and Video Super-Resolution, CVPR 2016"
_LEARNED = {
    2: "1c13d13843571959f60bb2be840aa1e99c48ad28bc3ec3dc1de3ebb5c4865db3",
    3: "1ad2ae506f2930435e1c41202ad4db832946b02d0086cd3fbe0c1c6d37ce28a1",
    4: "1c03c0522a8ca5ed17940d4e19191a081bdfd2fdaee9908f455549fee8a96faf",
}
"""SHA-256 of the weights in `weights/`, which this project trained, by scale."""
_CVPR2016 = Descent(
    patch=17,
    stride=13,
    degradation="blur 1.0 + matlab:bicubic",
    loss="l2",
    optimizer="sgd",
    rate=1e-2,
    rates={"conv3.*": 0.1},
    schedule="steps of 200000 by 0.1",
    batch=128,
    updates=600_000,
    silent={
        "degradation": "a Gaussian is stated, not its deviation; 1.0 HR pixel",
        "stride": "17 - (f - 1) summed over the layers, as the paper's formula gives it",
        "schedule": "0.01 to 0.0001 by how the loss improves, which no number states; three steps",
        "optimizer": "not stated; SGD with a momentum of 0.9",
        "batch": "not stated",
        "updates": "until 100 epochs bring nothing; about seven days on a K2 on ImageNet's images",
    },
)
_OURS = Descent(
    patch=17,
    draw="places",
    augment="flips and turns",
    loss="l2",
    initialise="pass",
    optimizer="adam",
    rate=2e-3,
    schedule="cosine",
    warmup=500,
    batch=32,
    updates=40_000,
)


class ESPCN(nn.Module):
    """Two tanh layers, then a layer with scale*scale channels per LR pixel (CVPR 2016, eq. 3-4)."""

    def __init__(self, scale: int, n1: int, n2: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, n1, 5, padding=2)
        self.conv2 = nn.Conv2d(n1, n2, 3, padding=1)
        self.conv3 = nn.Conv2d(n2, scale * scale, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 1, scale*h, scale*w) of LR luma x, (N, 1, h, w) in [0, 1]."""
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
    """The `Method` of ESPCN. The authors published no weights; this project ships its own."""
    return Method(
        name=name,
        citation=_CITATION,
        takes="LR",
        channels="luma",
        settings={"n1": 64, "n2": 32},
        build=_build,
        multiplies=_multiplies,
        default_weights="sisrbench",
        weights=tuple(
            learned_here("sisrbench", scale, name, sha256, f"the network of {_CITATION}")
            for scale, sha256 in _LEARNED.items()
        ),
        recipes=(
            Recipe(name="sisrbench", citation="this project", data=("t91",), learn=_OURS),
            Recipe(name="cvpr2016", citation=_CITATION, data=("t91",), learn=_CVPR2016),
        ),
    )
