"""VDSR: twenty convolutions that predict HR minus interpolated luma.

Kim, Lee, Lee: Accurate Image Super-Resolution Using Very Deep Convolutional Networks, CVPR 2016,
section 3.1. Every layer pads with zeros, so the output has the size of the input. The same network
serves all scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.method import Method, Recipe, Settings, Weights
from zoo.recipe import Descent

NAMES = ("vdsr",)

_CITATION = (
    "Kim et al., Accurate Image Super-Resolution Using Very Deep Convolutional Networks, CVPR 2016"
)
_ORIGIN = "github:huangzehao/caffe-vdsr@5a839232d179c10736ed94e7142068b168b61cf6"
_CVPR2016 = Descent(
    patch=41,
    stride=41,
    augment="flips and turns",
    scales=(2, 3, 4),
    loss="euclidean",
    optimizer="sgd",
    rate=0.1,
    momentum=0.9,
    weight_decay=1e-4,
    schedule="steps of 129000 by 0.1",
    clip="norm 0.01/rate",
    batch=64,
    updates=516_000,
    silent={
        "updates": "80 epochs of the 291 images' patches, eight positions and three scales of each",
        "clip": "the bound that is divided by the rate is not stated; MemNet's authors take 0.01",
        "loss": "summed over pixels and halved, as in Caffe, for which 0.1 is the rate",
    },
)
_OURS = Descent(
    patch=41,
    draw="places",
    augment="flips and turns",
    scales=(2, 3, 4),
    loss="l2",
    optimizer="adam",
    rate=1e-3,
    schedule="cosine",
    warmup=50,
    clip="norm 0.1",
    batch=4,
    updates=800,
)
_SHA256 = "f613166660840af1a2ca47e31b0337b951e7c4e094364f6135a16d81a55c323c"


class VDSR(nn.Module):
    """`depth` convolutions of 3x3 with ReLU in between, added to the input (section 3.1).

    Weights have He initialisation for ReLU (section 5.2), biases start at 0.

    Raises:
        InputError: fewer than two layers.
    """

    def __init__(self, depth: int, features: int) -> None:
        super().__init__()
        if depth < 2:
            raise InputError(f"vdsr:depth={depth}: the first and the last layer make at least 2")
        widths = [1, *[features] * (depth - 1), 1]
        self.layers = nn.ModuleList(_conv(before, after) for before, after in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 1, H, W) of interpolated luma x, (N, 1, H, W) in [0, 1]."""
        residual = self.layers[0](x)  # (N, features, H, W)
        for layer in self.layers[1:]:
            residual = layer(torch.relu_(residual))
        out: Tensor = x + residual  # (N, 1, H, W)
        return out


def _conv(before: int, after: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def from_mat(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dict of a `VDSR` from the authors' `.mat` layout.

    Args:
        arrays: struct `model` with two fields, a cell per layer each. A cell of `weight` has shape
            (rows, columns, in, out); the last layer's has no `out` dimension. A cell of `bias` has
            shape (out, 1).

    Returns:
        Weights (out, in, rows, columns) and biases (out,) of `layers.0`, `layers.1`, ..., float32.

    Raises:
        InputError: another name, another field, or cells that do not form a chain of layers.
    """
    if set(arrays) != {"model"}:
        raise InputError(f"not the authors' VDSR layout: it holds {sorted(arrays)}, not ['model']")
    model = np.asarray(arrays["model"])
    if model.size != 1 or set(model.dtype.names or ()) != {"weight", "bias"}:
        raise InputError(
            f"not the authors' VDSR layout: model has the fields {model.dtype.names or 'none'}; "
            "expected one struct of weight and bias"
        )
    struct = model.reshape(-1)[0]
    cells = {
        name: np.asarray(struct[name], dtype=object).reshape(-1) for name in ("weight", "bias")
    }
    if len(cells["weight"]) != len(cells["bias"]):
        raise InputError(
            f"not the authors' VDSR layout: {len(cells['weight'])} cells of weights, "
            f"{len(cells['bias'])} of biases; expected as many"
        )
    state: dict[str, Tensor] = {}
    planes = 1  # input channels of the layer: luma for the first
    for k, (weight, bias) in enumerate(zip(cells["weight"], cells["bias"], strict=True)):
        bank, offsets = np.asarray(weight, np.float32), np.asarray(bias, np.float32).reshape(-1)
        bank = bank[..., None] if bank.ndim == 3 else bank  # MATLAB drops a last dimension of 1
        if bank.ndim != 4 or bank.shape[2] != planes or bank.shape[3] != len(offsets):
            raise InputError(
                f"not the authors' VDSR layout: layer {k + 1} has weights of shape {bank.shape} "
                f"and {len(offsets)} biases; expected (rows, columns, {planes}, {len(offsets)})"
            )
        state[f"layers.{k}.weight"] = torch.from_numpy(bank.transpose(3, 2, 0, 1).copy())
        state[f"layers.{k}.bias"] = torch.from_numpy(offsets.copy())
        planes = len(offsets)
    return state


def _build(scale: int, settings: Settings) -> nn.Module:
    return VDSR(settings["depth"], settings["features"])


def _multiplies(scale: int, settings: Settings) -> float:
    depth, features = settings["depth"], settings["features"]
    return float(scale**2 * 9 * (2 * features + (depth - 2) * features**2))


def method(name: str) -> Method:
    """The `Method` of VDSR; a single file of weights serves x2, x3 and x4."""
    return Method(
        name=name,
        citation=_CITATION,
        takes="interpolated",
        channels="luma",
        settings={"depth": 20, "features": 64},
        build=_build,
        multiplies=_multiplies,
        recipes=(
            Recipe(name="cvpr2016", citation=_CITATION, data=("t91", "bsds200"), learn=_CVPR2016),
            Recipe(name="short", citation="this project", data=("t91", "bsds200"), learn=_OURS),
        ),
        convert=from_mat,
        default_weights="official",
        weights=tuple(
            Weights(
                tag="official",
                scale=scale,
                origin=_ORIGIN,
                path="Test/VDSR_Official.mat",
                sha256=_SHA256,
                licence="none stated for the authors' published model; the repository is MIT",
                citation=_CITATION,
            )
            for scale in (2, 3, 4)
        ),
    )
