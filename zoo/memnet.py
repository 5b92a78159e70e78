"""MemNet: memory blocks that combine the features of all earlier blocks, on interpolated luma.

Tai, Yang, Liu, Xu: MemNet: A Persistent Memory Network for Image Restoration, ICCV 2017, section
3. A memory block applies a residual unit of two convolutions `recursions` times. A gate, a
convolution, combines all states of the block and the memories of all earlier blocks into the
block's memory.

`memnet` is the paper's M6R6, 80 layers deep; the recursions of a block share weights.

`memnet-laljavid` is the network of Lal & Javid (Image Super-Resolution using Deep Neural Networks,
University of Toronto). Their text has 1x1 gates, but "more than 4.75M parameters" requires 3x3
gates and separate weights for each recursion. `blocks=3,recursions=3` and `blocks=4,recursions=4`
give their networks of 23 and 38 layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from zoo.method import Method, Recipe, Settings
from zoo.recipe import Descent

NAMES = ("memnet", "memnet-laljavid")

_TAI = "Tai et al., MemNet: A Persistent Memory Network for Image Restoration, ICCV 2017"
_LAL_JAVID = (
    "Lal & Javid, Image Super-Resolution using Deep Neural Networks, University of Toronto, "
    "after Tai et al., ICCV 2017"
)

_ICCV2017 = Descent(
    patch=31,
    stride=21,
    augment="flips and turns",
    scales=(2, 3, 4),
    loss="euclidean",
    optimizer="sgd",
    rate=0.1,
    momentum=0.9,
    weight_decay=1e-4,
    schedule="steps of 200000 by 0.1",
    clip="norm 0.01/rate",
    batch=64,
    updates=800_000,
    silent={"updates": "the authors' solver stops at 2e7, the rate has vanished at 8e5"},
)
_EPOCH = 1012
"""Updates per epoch of Lal & Javid: 129,518 patches in batches of 128."""
_LALJAVID2020 = replace(
    _ICCV2017,
    batch=128,
    schedule=f"steps of {10 * _EPOCH} by 0.1",
    updates=80 * _EPOCH,
    augment="none",
    silent={
        "scales": "drawn at random; from 2, 3 and 4, on which it is tested",
        "degradation": "of patches in the paper; of whole images here, which the edges alone see",
        "clip": "not stated; without it a rate of 0.1 diverges. MemNet's own",
        "data": "T91, BSDS200 and General100 give another number of patches than is stated",
    },
)
_RESAMPLING = replace(
    _LALJAVID2020,
    degradation="opencv:nearest | opencv:bilinear | opencv:bicubic | opencv:area | opencv:lanczos "
    "| pillow:bicubic | matlab-uint8:bicubic",
    updates=20 * _EPOCH,
    silent={
        **_LALJAVID2020.silent,
        "degradation": "'random resampling methods'; those of OpenCV, and antialiased bicubic",
    },
)
_SHORT = Descent(
    patch=31,
    draw="places",
    augment="flips and turns",
    scales=(2, 3, 4),
    loss="l2",
    rate=1e-3,
    schedule="cosine",
    warmup=30,
    clip="norm 0.1",
    batch=4,
    updates=400,
)


class MemNet(nn.Module):
    """Feature extraction, memory blocks, reconstruction, and the input added (section 3.1).

    Batch normalisation and ReLU precede every convolution. Weights have He initialisation for ReLU,
    biases start at 0.

    Recursions that share convolutions still have separate normalisations, because their inputs
    differ in scale. The outputs of the multi-supervised network share the reconstruction and have
    separate normalisations, too. The paper states neither; both follow the authors' Caffe files.

    In the multi-supervised network (section 3.3) every memory is reconstructed to SR, and the
    output is a weighted sum with learned weights. The weights start at 1/blocks, the plain mean.
    The paper does not state the start. The Caffe files use Caffe's default of 1, with which the sum
    is `blocks` times too bright.
    """

    def __init__(
        self, *, blocks: int, recursions: int, features: int, gate: int, shared: bool, multi: bool
    ) -> None:
        super().__init__()
        self.extract = _Unit(1, features, 3)
        self.blocks = nn.ModuleList(
            _MemoryBlock(recursions, features, longs=k, gate=gate, shared=shared)
            for k in range(1, blocks + 1)
        )
        outputs = blocks if multi else 1
        self.norms = nn.ModuleList(nn.BatchNorm2d(features) for _ in range(outputs))
        self.reconstruct = _he(nn.Conv2d(features, 1, 3, padding=1))
        self.weights = nn.Parameter(torch.full((blocks,), 1 / blocks)) if multi else None

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 1, H, W) of interpolated luma x, (N, 1, H, W) in [0, 1]."""
        return self.outputs(x)[0]

    def outputs(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(SR, SR of each memory), all (N, 1, H, W) as x is, for the loss of section 3.3.

        The second is () if the network is not multi-supervised.
        """
        memories = [self.extract(x)]  # B_0, B_1, ...: (N, features, H, W)
        for block in self.blocks:
            memories.append(block(memories))
        ends = memories[-len(self.norms) :]
        each = tuple(
            x + self.reconstruct(torch.relu_(norm(end)))
            for norm, end in zip(self.norms, ends, strict=True)
        )
        if self.weights is None:
            return each[0], ()
        return (torch.stack(each) * self.weights.view(-1, 1, 1, 1, 1)).sum(0), each


class _MemoryBlock(nn.Module):
    """Recursive unit and gate unit (section 3.2); `longs` is the number of earlier memories."""

    def __init__(
        self, recursions: int, features: int, *, longs: int, gate: int, shared: bool
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(features) for _ in range(2 * recursions))
        self.convs = nn.ModuleList(
            _he(nn.Conv2d(features, features, 3, padding=1))
            for _ in range(2 if shared else 2 * recursions)
        )
        self.gate = _Unit((recursions + longs) * features, features, gate)

    def forward(self, memories: list[Tensor]) -> Tensor:
        """Memory (N, features, H, W) of this block, from all earlier memories of the same shape."""
        state, shorts = memories[-1], []
        for k in range(0, len(self.norms), 2):
            residual = state
            for layer in (k, k + 1):
                conv = self.convs[layer % len(self.convs)]  # shared: the same two in turn
                residual = conv(torch.relu_(self.norms[layer](residual)))
            state = state + residual
            shorts.append(state)
        # (N, (recursions + longs) * features, H, W) -> (N, features, H, W)
        out: Tensor = self.gate(torch.cat([*shorts, *memories], dim=1))
        return out


class _Unit(nn.Module):
    """Normalisation, ReLU, convolution."""

    def __init__(self, before: int, after: int, side: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(before)
        self.conv = _he(nn.Conv2d(before, after, side, padding=side // 2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(torch.relu_(self.norm(x)))
        return out


def _he(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _build(scale: int, settings: Settings) -> nn.Module:
    return MemNet(
        blocks=settings["blocks"],
        recursions=settings["recursions"],
        features=settings["features"],
        gate=settings["gate"],
        shared=settings["sharing"] == "shared",
        multi=settings["supervision"] == "multi",
    )


def _multiplies(scale: int, settings: Settings) -> float:
    blocks, recursions, width = settings["blocks"], settings["recursions"], settings["features"]
    outputs = blocks if settings["supervision"] == "multi" else 1
    gated = sum(recursions + k for k in range(1, blocks + 1))  # states that enter all gates
    total = (1 + outputs) * 9 * width + blocks * recursions * 2 * 9 * width**2
    return float(scale**2 * (total + gated * settings["gate"] ** 2 * width**2))


def _recipes(name: str) -> Iterator[Recipe]:
    """Recipes of Tai et al. or of Lal & Javid, single- and multi-supervised, and `short`.

    `short` is small enough to train on a CPU.
    """
    original = name == "memnet"
    learn = _ICCV2017 if original else _LALJAVID2020
    single = Recipe(
        name="iccv2017" if original else "laljavid",
        citation=_TAI if original else _LAL_JAVID,
        data=("t91", "bsds200") if original else ("bsds200", "t91", "general100"),
        learn=learn,
    )
    yield single
    several = replace(learn, loss="multi-supervised")
    yield replace(single, name=f"{single.name}-multi", learn=several)
    if not original:
        yield replace(
            single,
            name="laljavid-resampling",
            learn=_RESAMPLING,
            starts_from=name,
            needs_start=True,
        )
    yield Recipe(name="short", citation="this project", data=("t91", "bsds200"), learn=_SHORT)


def method(name: str) -> Method:
    """The `Method` of MemNet, of Tai et al. or of Lal & Javid; without published weights."""
    original = name == "memnet"
    return Method(
        name=name,
        citation=_TAI if original else _LAL_JAVID,
        takes="interpolated",
        channels="luma",
        settings={
            "blocks": 6,
            "recursions": 6,
            "features": 64,
            "gate": 1 if original else 3,
            "sharing": "shared" if original else "unshared",
            "supervision": "single",
        },
        choices={
            "gate": (1, 3),
            "sharing": ("shared", "unshared"),
            "supervision": ("single", "multi"),
        },
        build=_build,
        multiplies=_multiplies,
        recipes=tuple(_recipes(name)),
    )
