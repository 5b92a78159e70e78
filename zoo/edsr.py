"""EDSR and MDSR: residual networks without normalisation, for one scale and for three.

Lim, Son, Kim, Nah, Lee: Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW
2017, section 3 and table 1. Layers are named as in the authors' PyTorch checkpoints, which load
strictly. Inside the networks, RGB is in [0, 255] minus the mean of DIV2K, as the authors' weights
expect.

The paper does not state the initialisation. PyTorch's default is used: U(-1, 1)/sqrt(fan in) for
weights and biases alike. Torch7, in which the paper's networks were trained, has the same default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.method import Method, Recipe, Settings, Weights
from zoo.recipe import Descent

NAMES = ("edsr-baseline", "edsr", "mdsr-baseline", "mdsr")

_CITATION = (
    "Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017"
)
_DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # R, G, B in [0, 1], as in the authors' code
_STAGES = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}  # sub-pixel factors by scale
_MULTI = (2, 3, 4)  # scales of MDSR, in the order of `pre_process` and `upsample`
_SIZES = {  # blocks and features (table 1)
    "edsr-baseline": (16, 64),
    "edsr": (32, 256),
    "mdsr-baseline": (16, 64),
    "mdsr": (80, 64),
}
_DATA = ("bsds200", "bsds500-test")
"""Substitute for DIV2K: 400 available images that are large enough for a patch at x4."""
_CVPRW2017 = Descent(
    patch=48,
    augment="flips and turns",
    degradation="matlab-uint8:bicubic",
    loss="255 l1",
    optimizer="adam",
    rate=1e-4,
    schedule="steps of 200000 by 0.5",
    skip=3.0,
    batch=16,
    updates=1_000_000,
    silent={
        "data": "800 images of DIV2K; here those that can be had",
        "loss": "colours are 0 to 255 in the paper's network, which Adam's epsilon sees",
        "skip": "from the authors' training script; the paper does not speak of it",
    },
)
_UNKNOWN = replace(
    _CVPRW2017,
    degradation="blur 1.6 + matlab-uint8:bicubic",
    silent={
        **_CVPRW2017.silent,
        "degradation": "the challenge keeps its kernels secret; a Gaussian stands for them",
    },
)
_SHORT = replace(
    _CVPRW2017,
    patch=24,
    rate=5e-4,
    schedule="cosine",
    warmup=50,
    skip=0.0,
    batch=4,
    updates=1_500,
    silent={},
)
_RESIDUAL_SCALES = {"edsr-baseline": 1.0, "edsr": 0.1}
_FILES = {
    "edsr-baseline": {
        2: "edsr_baseline_x2-1bc95232.pt",
        3: "edsr_baseline_x3-abf2a44e.pt",
        4: "edsr_baseline_x4-6b446fab.pt",
    },
    "edsr": {2: "edsr_x2-0edfb8a3.pt", 3: "edsr_x3-ea3ef2c6.pt", 4: "edsr_x4-4f62e9ef.pt"},
    "mdsr-baseline": dict.fromkeys(_MULTI, "mdsr_baseline-a00cab12.pt"),
    "mdsr": dict.fromkeys(_MULTI, "mdsr-4a78bedf.pt"),
}


class MeanShift(nn.Module):
    """Subtracts the mean of DIV2K from RGB if `sign` is -1, adds the mean if `sign` is 1.

    The authors' checkpoints store a 1x1 convolution whose weight is the identity. The state dict
    here has the same entries. They are buffers, not parameters, and `forward` only adds the bias,
    so no multiply is spent on the identity.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(3).view(3, 3, 1, 1))
        self.register_buffer("bias", sign * 255 * torch.tensor(_DIV2K_MEAN))
        self.register_load_state_dict_pre_hook(  # type: ignore[no-untyped-call]
            _refuse_other_shifts
        )

    def forward(self, x: Tensor) -> Tensor:
        """RGB (N, 3, h, w) plus the shift, in units of 1/255, as x is."""
        return x + self.bias.view(1, 3, 1, 1)


def _refuse_other_shifts(
    module: nn.Module,
    state: Mapping[str, Any],
    prefix: str,
    metadata: Mapping[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    weight, bias = state.get(f"{prefix}weight"), state.get(f"{prefix}bias")
    # other shapes are reported by load_state_dict itself
    if weight is not None and weight.shape == (3, 3, 1, 1):
        identity = torch.eye(3, dtype=weight.dtype, device=weight.device).view(3, 3, 1, 1)
        if not torch.equal(weight, identity):
            errors.append(
                f"{prefix}weight mixes or scales colours; expected the identity: give a "
                "checkpoint whose mean shift only shifts"
            )
    # 255 times the mean is above 100; a bias of at most 1 means that RGB was in [0, 1]
    if bias is not None and 0 < bias.abs().max() <= 1:
        errors.append(
            f"{prefix}bias is at most 1, so its colours are 0 to 1; expected 0 to 255: give a "
            "checkpoint that was trained on 0 to 255"
        )


class ResBlock(nn.Module):
    """Convolution, ReLU, convolution, scaled and added to the input (figure 2c).

    No activation follows the addition.
    """

    def __init__(self, features: int, kernel: int, residual_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(features, features, kernel),
            nn.ReLU(inplace=True),
            _conv(features, features, kernel),
        )
        self.residual_scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, features, h, w) from features x of the same shape."""
        return torch.add(x, self.body(x), alpha=self.residual_scale)


class EDSR(nn.Module):
    """The single-scale network (section 3.2, figure 3), without activations outside the blocks.

    Raises:
        InputError: a scale that sub-pixel stages of x2 or x3 cannot reach.
    """

    def __init__(self, scale: int, *, blocks: int, features: int, residual_scale: float) -> None:
        super().__init__()
        if scale not in _STAGES:
            raise InputError(f"EDSR has no x{scale}; choose from: x2, x3, x4, x8")
        self.sub_mean = MeanShift(-1)
        self.head = nn.Sequential(_conv(3, features, 3))
        self.body = _body(blocks, features, residual_scale)
        self.tail = nn.Sequential(_upsampler(scale, features), _conv(features, 3, 3))
        self.add_mean = MeanShift(1)

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 3, scale*h, scale*w) of RGB x, (N, 3, h, w) in [0, 1]."""
        shallow = self.head(self.sub_mean(x * 255))  # (N, features, h, w)
        deep = shallow + self.body(shallow)
        out: Tensor = self.add_mean(self.tail(deep)) / 255  # (N, 3, scale*h, scale*w)
        return out


class MDSR(nn.Module):
    """The multi-scale network for x2, x3 and x4 (section 3.3).

    Each scale has its own pre-processing and upsampler; all other layers are shared. `forward` runs
    the layers of the current scale only. The layers of the other scales are then neither run nor
    trained, as in section 4.2. `select` changes the current scale.

    Raises:
        InputError: a scale other than 2, 3 and 4.
    """

    def __init__(self, scale: int, *, blocks: int, features: int) -> None:
        super().__init__()
        self.select(scale)
        self.sub_mean = MeanShift(-1)
        self.head = nn.Sequential(_conv(3, features, 3))
        self.pre_process = nn.ModuleList(
            nn.Sequential(ResBlock(features, 5, 1.0), ResBlock(features, 5, 1.0)) for _ in _MULTI
        )
        self.body = _body(blocks, features, 1.0)
        self.upsample = nn.ModuleList(_upsampler(path, features) for path in _MULTI)
        self.tail = nn.Sequential(_conv(features, 3, 3))
        self.add_mean = MeanShift(1)

    def select(self, scale: int) -> None:
        """Make `scale` the current scale of `forward`.

        Raises:
            InputError: a scale other than 2, 3 and 4.
        """
        if scale not in _MULTI:
            raise InputError(f"MDSR has no x{scale}; choose from: x2, x3, x4")
        self._path = _MULTI.index(scale)

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 3, scale*h, scale*w) of RGB x, (N, 3, h, w) in [0, 1]; see `select`."""
        shallow = self.pre_process[self._path](self.head(self.sub_mean(x * 255)))
        deep = shallow + self.body(shallow)  # (N, features, h, w)
        large = self.upsample[self._path](deep)  # (N, features, scale*h, scale*w)
        out: Tensor = self.add_mean(self.tail(large)) / 255
        return out


def from_x2(state: Mapping[str, Tensor], network: EDSR) -> dict[str, Tensor]:
    """Initial state dict of an EDSR at another scale, from a trained x2 network (section 3.2).

    All layers come from the x2 network, except the upsampler `tail.0`, which keeps the
    initialisation of `network`. The paper does not say how the upsampler starts. The authors' Torch
    code, in which the paper's networks were trained, draws a new upsampler. Their PyTorch port at
    x4 keeps the x2 weights that fit.

    Args:
        state: state dict of an EDSR at x2 with the same blocks and features.
        network: fresh network of the scale to train; not changed.

    Returns:
        Every key of `network`, with the shapes of `network`.

    Raises:
        InputError: a key is missing or surplus, or a shape differs from an x2 network's.
    """
    own = network.state_dict()
    features = own["head.0.weight"].shape[0]
    wanted = {key: value.shape for key, value in own.items() if not key.startswith("tail.0.")}
    # the upsampler tells x2 from other scales, though its values are not used
    wanted["tail.0.0.weight"] = torch.Size((4 * features, features, 3, 3))
    wanted["tail.0.0.bias"] = torch.Size((4 * features,))
    faults = [
        *(f"missing {key}" for key in wanted if key not in state),
        *(f"surplus {key}" for key in state if key not in wanted),
        *(
            f"{key} is {tuple(state[key].shape)}, expected {tuple(shape)}"
            for key, shape in wanted.items()
            if key in state and state[key].shape != shape
        ),
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            f"not an x2 network of the same size: {'; '.join(faults[:3])}{more}; give the state "
            "dict of an EDSR at x2 with as many blocks and features"
        )
    return {key: own[key] if key.startswith("tail.0.") else state[key] for key in own}


def _conv(before: int, after: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2)


def _body(blocks: int, features: int, residual_scale: float) -> nn.Sequential:
    return nn.Sequential(
        *(ResBlock(features, 3, residual_scale) for _ in range(blocks)),
        _conv(features, features, 3),
    )


def _upsampler(scale: int, features: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for stage in _STAGES[scale]:
        layers += [_conv(features, features * stage**2, 3), nn.PixelShuffle(stage)]
    return nn.Sequential(*layers)


def _multiplies_between(scale: int, blocks: int, width: int) -> int:
    """Multiplies per LR pixel of first and last convolution, body and upsampler."""
    total, pixels = (2 * blocks + 1) * 9 * width**2, 1
    for stage in _STAGES[scale]:
        total += 9 * width**2 * stage**2 * pixels
        pixels *= stage**2
    return total + 9 * 3 * width * (1 + pixels)


def _start(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    if not isinstance(module, EDSR):
        raise InputError("only EDSR starts from x2 weights; MDSR learns all scales together")
    return from_x2(state, module)


def _recipes(name: str) -> Iterator[Recipe]:
    """Recipes: the paper's, its shorter ablation (table 2), NTIRE 2017's unknown track, `short`.

    `short` is small enough to train on a CPU.
    """
    by_name = {
        "cvprw2017": _CVPRW2017,
        "cvprw2017-table2": replace(_CVPRW2017, updates=300_000),
        "ntire2017-unknown": _UNKNOWN,
        "short": _SHORT,
    }
    for recipe, learn in by_name.items():
        own = recipe == "short"
        data = ("bsds200",) if own else _DATA
        citation = "this project" if own else _CITATION
        if name.startswith("mdsr"):
            several = replace(learn, scales=_MULTI, mixing="updates")
            yield Recipe(name=recipe, citation=citation, data=data, learn=several)
            continue
        yield Recipe(name=recipe, citation=citation, data=data, learn=learn)
        yield Recipe(
            name=f"{recipe}-from-x2",
            citation=citation,
            data=data,
            learn=learn,
            starts_from=name,
            needs_start=True,
            starts_at=2,
            adapt=_start,
        )


def method(name: str) -> Method:
    """The `Method` of EDSR or MDSR, in the full or the baseline size (table 1)."""
    multi = name.startswith("mdsr")
    blocks, features = _SIZES[name]

    def build(scale: int, settings: Settings) -> nn.Module:
        size = {"blocks": settings["blocks"], "features": settings["features"]}
        if multi:
            return MDSR(scale, **size)
        return EDSR(scale, **size, residual_scale=_RESIDUAL_SCALES[name])

    def multiplies(scale: int, settings: Settings) -> float:
        width = settings["features"]
        heads = 4 * 25 * width**2 if multi else 0  # two blocks of two 5x5 convolutions
        return float(heads + _multiplies_between(scale, settings["blocks"], width))

    return Method(
        name=name,
        citation=_CITATION,
        takes="LR",
        channels="RGB",
        scales=_MULTI if multi else tuple(_STAGES),
        settings={"blocks": blocks, "features": features},
        build=build,
        multiplies=multiplies,
        recipes=tuple(_recipes(name)),
        default_weights="official",
        weights=tuple(
            Weights(
                tag="official",
                scale=scale,
                origin="https://cv.snu.ac.kr/research/EDSR/models",
                path=file,
                sha256=file.removesuffix(".pt").rpartition("-")[2],
                licence="none stated for the files; the authors' code that loads them is MIT",
                citation=_CITATION,
            )
            for scale, file in _FILES[name].items()
        ),
    )
