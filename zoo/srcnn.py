"""SRCNN: three convolutions on interpolated luma.

Dong, Loy, He, Tang: Learning a Deep Convolutional Network for Image Super-Resolution, ECCV 2014
(9-1-5), and Image Super-Resolution Using Deep Convolutional Networks, TPAMI 2016 (9-3-5, 9-5-5).
The authors' demo code pads the input of each layer by replication, so the output has the size of
the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.method import Method, Recipe, Settings, Weights, learned_here
from zoo.recipe import Descent

NAMES = ("srcnn-9-1-5", "srcnn-9-3-5", "srcnn-9-5-5")

_ECCV = "Dong et al., Learning a Deep Convolutional Network for Image Super-Resolution, ECCV 2014"
_TPAMI = "Dong et al., Image Super-Resolution Using Deep Convolutional Networks, TPAMI 2016"
_DEEPSENSE = "deepsense.ai, Using deep learning for Single Image Super Resolution, 2017"
_PUBLISHED = {
    ("srcnn-9-1-5", "91", 2): "51b748297e8669832a4ad27cc4b7eebc6d65d37a77bcb19bef23c1b5f972ea12",
    ("srcnn-9-1-5", "91", 3): "ef05325a96221ab9399db844bc833f687796a1078bfa6aacc6930bde60ca5b10",
    ("srcnn-9-1-5", "91", 4): "717c2c6f5196a95959f98953f84a359e56fc415eba190b5db016b25896e74862",
    ("srcnn-9-1-5", "imagenet", 3): (
        "63906335110253189230f1190a577b431aaab6c3b677c97f2720da4eab7e6efe"
    ),
    ("srcnn-9-3-5", "imagenet", 3): (
        "d798df50cf1e1b265ae63204da726fd6bf8b0e42c6dd2f18d5fe618576eec553"
    ),
    ("srcnn-9-5-5", "imagenet", 2): (
        "dc06d52ab0ecfb75a4222a33c06c2c23287cf67abbd75b869a178f6305f8cdc1"
    ),
    ("srcnn-9-5-5", "imagenet", 3): (
        "fa2ee366d328b942b971c80c24f48dc2b015d5ed4b5790070f720ccfb6ab1578"
    ),
    ("srcnn-9-5-5", "imagenet", 4): (
        "3f94150d24e5b60dab2b74f4eaf358aefdc72cbe724d86990435bf877ed452ed"
    ),
}
_ECCV2014 = Descent(
    patch=33,
    stride=14,
    border=6,
    loss="l2",
    optimizer="sgd",
    rate=1e-4,
    rates={"*.bias": 0.1, "conv3.*": 0.1},
    momentum=0.9,
    batch=128,
    updates=6_250_000,
    silent={
        "updates": "8e8 backpropagations are 6.25 million batches of 128; three days on a GTX 770",
        "border": "the authors compare the 21x21 pixels that no padding reaches",
        "degradation": "a Gaussian, says the paper; the authors' generate_train.m has none",
    },
)
_DEEPSENSE2017 = Descent(
    patch=32,
    stride=18,
    border=6,
    loss="l2",
    optimizer="adam",
    rate=1e-5,
    batch=128,
    updates=100_000,
    silent={
        "stride": "18 gives 13,584 patches at x4, the nearest to the 14 thousand that are stated",
        "batch": "not stated; SRCNN's",
        "updates": "not stated",
        "border": "not stated; SRCNN's",
    },
)
_OURS = Descent(
    patch=75,
    border=6,
    draw="places",
    augment="flips and turns",
    loss="l2",
    initialise="pass",
    optimizer="adam",
    rate=1e-3,
    schedule="cosine",
    warmup=500,
    batch=12,
    updates=15_000,
)
_LEARNED = {
    2: "8a7d8c32bc656c8f7c657b3725a725382e48e4eba2c8ae113605259e2744c8d4",
    3: "04873c7eaf97e6b52656c8c70752d7c168ef9d78c7435a402e55285c405c1113",
    4: "1afd17159818914a5a908038f919a653ff5167ea2f10135939ff6973656cc746",
}
"""SHA-256 of the weights of 9-1-5 in `weights/`, which this project trained, by scale."""
_FOLDERS = {"91": "91 images", "imagenet": "ImageNet"}


class SRCNN(nn.Module):
    """Patch extraction, non-linear mapping, reconstruction (ECCV 2014, section 3.1).

    Layers have filters of f1, f2 and f3 pixels per side and n1, n2 and 1 channels.
    """

    def __init__(self, f1: int, f2: int, f3: int, n1: int, n2: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, n1, f1, padding=f1 // 2, padding_mode="replicate")
        self.conv2 = nn.Conv2d(n1, n2, f2, padding=f2 // 2, padding_mode="replicate")
        self.conv3 = nn.Conv2d(n2, 1, f3, padding=f3 // 2, padding_mode="replicate")
        for layer in (self.conv1, self.conv2, self.conv3):
            nn.init.normal_(layer.weight, std=1e-3)  # ECCV 2014, section 3.2
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 1, H, W) of interpolated luma x, (N, 1, H, W) in [0, 1]."""
        x = torch.relu(self.conv1(x))  # (N, n1, H, W)
        x = torch.relu(self.conv2(x))  # (N, n2, H, W)
        out: Tensor = self.conv3(x)  # (N, 1, H, W)
        return out


def from_mat(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dict of an `SRCNN` from the authors' `.mat` layout.

    Args:
        arrays: `weights_conv1` with shape (f1*f1, n1), `weights_conv2` (n1, f2*f2, n2),
            `weights_conv3` (n2, f3*f3), and `biases_conv1` to `biases_conv3`. Filters are stored
            column by column.

    Returns:
        Weights (out, in, f, f) and biases (out,) of `conv1` to `conv3`, float32.

    Raises:
        InputError: a name is missing or surplus, or an array has another number of dimensions.
    """
    expected = {f"{kind}_conv{k}" for kind in ("weights", "biases") for k in (1, 2, 3)}
    given = set(arrays)
    if given != expected:
        missing, surplus = sorted(expected - given), sorted(given - expected)
        raise InputError(
            f"not the authors' SRCNN layout: missing {missing or 'nothing'}, surplus "
            f"{surplus or 'nothing'}"
        )
    first, second, third = (np.asarray(arrays[f"weights_conv{k}"], np.float32) for k in (1, 2, 3))
    if (first.ndim, second.ndim, third.ndim) != (2, 3, 2):
        raise InputError(
            f"not the authors' SRCNN layout: weights of shapes {first.shape}, {second.shape}, "
            f"{third.shape}; expected (f1*f1, n1), (n1, f2*f2, n2), (n2, f3*f3)"
        )
    return {
        "conv1.weight": _filters(first.T[:, None, :]),
        "conv2.weight": _filters(second.transpose(2, 0, 1)),
        "conv3.weight": _filters(third[None, :, :]),
        **{
            f"conv{k}.bias": torch.from_numpy(
                np.asarray(arrays[f"biases_conv{k}"], np.float32).reshape(-1).copy()
            )
            for k in (1, 2, 3)
        },
    }


def _filters(columns: np.ndarray[Any, np.dtype[np.float32]]) -> Tensor:
    """Filters of shape (out, in, f, f) from (out, in, f*f), stored column by column."""
    side = round(columns.shape[2] ** 0.5)
    if side * side != columns.shape[2]:
        raise InputError(
            f"not the authors' SRCNN layout: a filter has {columns.shape[2]} taps; expected a "
            "square number"
        )
    square = columns.reshape(*columns.shape[:2], side, side)
    return torch.from_numpy(square.swapaxes(-1, -2).copy())


def method(name: str) -> Method:
    """The `Method` of SRCNN f1-f2-f3; the name gives the filter sizes."""
    f1, f2, f3 = (int(part) for part in name.split("-")[1:])

    def build(scale: int, settings: Settings) -> nn.Module:
        return SRCNN(f1, f2, f3, settings["n1"], settings["n2"])

    def multiplies(scale: int, settings: Settings) -> float:
        n1, n2 = settings["n1"], settings["n2"]
        return float(scale**2 * (f1**2 * n1 + f2**2 * n1 * n2 + f3**2 * n2))

    return Method(
        name=name,
        citation=_ECCV if name == "srcnn-9-1-5" else _TPAMI,
        takes="interpolated",
        channels="luma",
        settings={"n1": 64, "n2": 32},
        build=build,
        multiplies=multiplies,
        recipes=(
            Recipe(
                name="sisrbench",
                citation="this project",
                data=("t91",),
                learn=_OURS,
                starts_from=name,  # of any scale: the network is the same
            ),
            Recipe(name="eccv2014", citation=_ECCV, data=("t91",), learn=_ECCV2014),
            Recipe(name="deepsense2017", citation=_DEEPSENSE, data=("t91",), learn=_DEEPSENSE2017),
        ),
        convert=from_mat,
        default_weights="91" if name == "srcnn-9-1-5" else "imagenet",
        weights=tuple(_weights(name)),
    )


def _weights(name: str) -> Iterator[Weights]:
    """The authors' weights, then the weights that this project trained by its own recipe."""
    f1, f2, f3 = name.split("-")[1:]
    for (owner, tag, scale), sha256 in _PUBLISHED.items():
        if owner == name:
            yield Weights(
                tag=tag,
                scale=scale,
                origin="github:WangDequan/SRCNN@85679e2ef74e058a1f1e79fe6ba349e93f1ee8ea",
                path=f"model/{f1}-{f2}-{f3}({_FOLDERS[tag]})/x{scale}.mat",
                sha256=sha256,
                licence="academic use only, by the authors' readme",
                citation=_ECCV if tag == "91" else _TPAMI,
            )
    for scale, sha256 in _LEARNED.items():
        if name == "srcnn-9-1-5":
            yield learned_here("sisrbench", scale, name, sha256, f"the network of {_ECCV}")
