"""SRResNet and SRGAN: a residual network at LR size, and a discriminator to train against.

Ledig et al.: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network, CVPR 2017, section 2.1 and figure 4. `srgan` is the generator, which is SRResNet trained
with another loss. `srresnet-3x3` has a 3x3 head and tail, as in the reproduction by the authors of
EDSR (Lim et al., CVPRW 2017, section 4.4, and their Torch code). Their code uses ReLU by default;
here the activation stays the paper's PReLU.

Differences and gaps:

- The paper scales HR to [-1, 1] in training. Here input and output are in [0, 1], as for every
  method, and the output is linear. A training loss may map SR to [-1, 1].
- The paper says `ParametricReLU`, but not whether a slope belongs to a layer or to a channel. Here
  each layer has a slope, as in most ports, and the slope starts at 0.25.
- The paper does not state the initialisation. PyTorch's default is used.
- The paper's scale is x4. At x2, x3 and x8 only the upsampling stages differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.method import Method, Recipe, Settings
from zoo.recipe import Descent

NAMES = ("srresnet", "srresnet-3x3", "srgan")

_CITATION = (
    "Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial "
    "Network, CVPR 2017"
)
_REPRODUCTION = (
    "Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017, "
    "reproducing Ledig et al., CVPR 2017"
)
_DEEPSENSE = "deepsense.ai, Using deep learning for Single Image Super Resolution, 2017"
_LAL_JAVID = "Lal & Javid, Image Super-Resolution using Deep Neural Networks"
_DATA = ("bsds200", "bsds500-test", "general100")
"""Substitute for ImageNet or COCO: 500 available images that are large enough for a patch at x4."""
_LARGE = ("bsds200", "bsds500-test")
"""Substitute for DIV2K: available images that are large enough for a patch of 192 HR pixels."""
_CVPR2017 = Descent(
    patch=24,
    loss="l2",
    rate=1e-4,
    batch=16,
    updates=1_000_000,
    silent={
        "data": "350 thousand images of ImageNet; here those that can be had",
        "augment": "none is stated",
        "loss": "the paper's HR is in [-1, 1], which is a factor of 4 that Adam does not see",
    },
)
_DEEPSENSE2017 = replace(
    _CVPR2017,
    silent={"data": "crops of MS-COCO", "batch": "not stated; 16", "updates": "two days"},
)
_LADDER = Descent(  # EDSR's Table 2: SRResNet reproduced with EDSR's training
    patch=48,
    augment="flips and turns",
    loss="l1",
    rate=1e-4,
    schedule="steps of 200000 by 0.5",
    batch=16,
    updates=300_000,
    silent={"data": "800 images of DIV2K; here those that can be had"},
)
_SHORT = Descent(
    patch=24,
    draw="places",
    augment="flips and turns",
    loss="l1",
    rate=5e-4,
    schedule="cosine",
    warmup=50,
    batch=4,
    updates=1_000,
)
_SRGAN = Descent(
    patch=24,
    loss="0.006 vgg19:relu5_4 + 0.001 adversarial",
    adversary={"loss": "log"},
    rate=1e-4,
    schedule="at 100000 by 0.1",
    batch=16,
    updates=200_000,
    silent={
        "data": "350 thousand images of ImageNet; here those that can be had",
        "loss": "features over 12.75 are a factor of 0.006; VGG takes images in [0, 1] here",
    },
)
_DROPOUT = Descent(
    patch=24,
    loss="l2 + 0.006 vgg19:relu5_4 + 0.001 adversarial",
    adversary={"loss": "linear", "dropout": 0.5, "place": "dense"},
    rate=1e-4,
    batch=16,
    updates=200_000,
    silent={
        "adversary": "neither rate nor place of the dropout is stated; 0.5 before the last layer",
        "loss": "the weight of the adversarial term is not stated; SRGAN's",
        "rate": "not stated; SRGAN's",
        "batch": "not stated; SRGAN's",
        "updates": "not stated; SRGAN's",
        "data": "not stated",
    },
)
_STAGES = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}  # sub-pixel factors by scale
PLACES = ("none", "convolutions", "dense", "both")
"""Places of dropout in a discriminator."""


class SRResNet(nn.Module):
    """SRResNet, and the generator of SRGAN (figure 4).

    In order: a convolution of `kernel` x `kernel` with PReLU; residual blocks and a convolution,
    with a skip connection around both; sub-pixel stages of x2 or x3; a convolution of `kernel` x
    `kernel`.

    Raises:
        InputError: a scale that the stages cannot reach.
    """

    def __init__(
        self, scale: int, *, blocks: int, features: int, kernel: int, batch_norm: bool
    ) -> None:
        super().__init__()
        if scale not in _STAGES:
            raise InputError(f"SRResNet has no x{scale}; choose from: x2, x3, x4, x8")
        self.head = nn.Sequential(_conv(3, features, kernel), nn.PReLU())
        self.blocks = nn.Sequential(*(_Block(features, batch_norm) for _ in range(blocks)))
        self.merge = nn.Sequential(_conv(features, features, 3), _norm(features, batch_norm))
        self.upsample = nn.Sequential(
            *(
                nn.Sequential(
                    _conv(features, features * stage**2, 3), nn.PixelShuffle(stage), nn.PReLU()
                )
                for stage in _STAGES[scale]
            )
        )
        self.tail = _conv(features, 3, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 3, scale*h, scale*w) of RGB x, (N, 3, h, w) in [0, 1]."""
        shallow = self.head(x)  # (N, features, h, w)
        deep = shallow + self.merge(self.blocks(shallow))
        out: Tensor = self.tail(self.upsample(deep))  # (N, 3, scale*h, scale*w)
        return out


class _Block(nn.Module):
    """Two normalised convolutions with PReLU in between, added to the input."""

    def __init__(self, features: int, batch_norm: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(features, features, 3),
            _norm(features, batch_norm),
            nn.PReLU(),
            _conv(features, features, 3),
            _norm(features, batch_norm),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class Discriminator(nn.Module):
    """SRGAN's discriminator (figure 4), with optional dropout after Lal & Javid.

    Eight 3x3 convolutions with 64 to 512 channels, every second of stride 2. Batch normalisation
    (not after the first) and LeakyReLU(0.2) follow each convolution. Then two dense layers of 1024
    outputs and a single output. The paper does not state the initialisation; PyTorch's default is
    used.

    Lal & Javid (Image Super-Resolution using Deep Neural Networks, section 4) add "dropout
    layers" and state neither rate nor place. Both are parameters here. "convolutions" drops whole
    channels after the activation of each convolution. "dense" drops inputs of the last dense layer.
    "both" combines the two.

    Args:
        patch: side of the HR patch in pixels, at least 16.
        dropout: probability in [0, 1) to drop a channel or an input; 0 if the place is "none".
        place: a word in PLACES.

    Raises:
        InputError: an argument outside its range, or a dropout rate without a place.
    """

    def __init__(self, patch: int, dropout: float, place: str) -> None:
        super().__init__()
        if patch < 16:
            raise InputError(f"discriminator: patch {patch}; give a side of at least 16 pixels")
        if place not in PLACES:
            raise InputError(f"discriminator: place {place!r}; choose from: {', '.join(PLACES)}")
        if not 0 <= dropout < 1:
            raise InputError(f"discriminator: dropout {dropout}; give a rate in [0, 1)")
        if place == "none" and dropout > 0:
            raise InputError(
                f"discriminator: dropout {dropout} at place 'none' drops nothing; "
                f"choose from: {', '.join(PLACES[1:])}"
            )
        self.patch = patch
        layers: list[nn.Module] = []
        before, side = 3, patch
        for width in (64, 128, 256, 512):
            for stride in (1, 2):
                layers.append(nn.Conv2d(before, width, 3, stride=stride, padding=1))
                if before != 3:  # the first convolution, on RGB, has no normalisation (figure 4)
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.LeakyReLU(0.2, inplace=True))
                if place in ("convolutions", "both"):
                    layers.append(nn.Dropout2d(dropout))
                # side after a 3x3 convolution of this stride with padding 1
                before, side = width, (side - 1) // stride + 1
        self.features = nn.Sequential(*layers)
        last = [nn.Dropout(dropout)] if place in ("dense", "both") else []
        self.judge = nn.Sequential(
            nn.Linear(before * side**2, 1024),
            nn.LeakyReLU(0.2, inplace=True),
            *last,
            nn.Linear(1024, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Probability (N, 1), in (0, 1), that each patch is HR and not SR.

        Args:
            x: RGB patches, (N, 3, patch, patch) in [0, 1]; the paper's are in [-1, 1].

        Raises:
            InputError: patches of another shape.
        """
        if x.shape[1:] != (3, self.patch, self.patch):
            raise InputError(
                f"discriminator: patches of shape {tuple(x.shape[1:])}; expected "
                f"{(3, self.patch, self.patch)}: crop the patches, or build a Discriminator of "
                "their side"
            )
        return torch.sigmoid(self.judge(self.features(x).flatten(1)))


def _conv(before: int, after: int, side: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, side, padding=side // 2)


def _norm(features: int, batch_norm: bool) -> nn.Module:
    return nn.BatchNorm2d(features) if batch_norm else nn.Identity()


def _recipes(name: str) -> Iterator[Recipe]:
    """Recipes of each source for a method of this file.

    SRGAN's recipes differ in the loss: VGG features of layer 5_4, of layer 2_2, or pixels (MSE).
    Lal & Javid's differ in the patch. `short` is small enough to train on a CPU.
    """
    if name == "srgan":
        by_layer = {
            "cvpr2017": _SRGAN,
            "cvpr2017-vgg22": replace(
                _SRGAN, loss="0.006 vgg19:relu2_2 + 0.001 adversarial + 2e-8 tv"
            ),
            "cvpr2017-mse": replace(_SRGAN, loss="l2 + 0.001 adversarial"),
        }
        for recipe, learn in by_layer.items():
            yield Recipe(
                name=recipe,
                citation=_CITATION,
                data=_DATA,
                learn=learn,
                starts_from="srresnet",
                needs_start=True,
            )
        for recipe, patch in (("laljavid", 24), ("laljavid-64", 16)):
            yield Recipe(
                name=recipe, citation=_LAL_JAVID, data=_DATA, learn=replace(_DROPOUT, patch=patch)
            )
        return
    if name == "srresnet":
        yield Recipe(name="cvpr2017", citation=_CITATION, data=_DATA, learn=_CVPR2017)
        yield Recipe(name="deepsense2017", citation=_DEEPSENSE, data=_DATA, learn=_DEEPSENSE2017)
    else:
        yield Recipe(name="cvprw2017-l1", citation=_REPRODUCTION, data=_LARGE, learn=_LADDER)
        yield Recipe(
            name="cvprw2017-l2",
            citation=_REPRODUCTION,
            data=_LARGE,
            learn=replace(_LADDER, loss="l2"),
        )
    yield Recipe(name="short", citation="this project", data=("bsds200",), learn=_SHORT)


def method(name: str) -> Method:
    """The `Method` of SRResNet, `srresnet-3x3` or SRGAN's generator; without published weights."""
    kernel = 3 if name == "srresnet-3x3" else 9

    def build(scale: int, settings: Settings) -> nn.Module:
        return SRResNet(
            scale,
            blocks=settings["blocks"],
            features=settings["features"],
            kernel=kernel,
            batch_norm=settings["norm"] == "batch",
        )

    def multiplies(scale: int, settings: Settings) -> float:
        width = settings["features"]
        total, pixels = (2 * settings["blocks"] + 1) * 9 * width**2, 1
        for stage in _STAGES[scale]:
            total += 9 * width**2 * stage**2 * pixels
            pixels *= stage**2
        return float(total + kernel**2 * 3 * width * (1 + pixels))

    return Method(
        name=name,
        recipes=tuple(_recipes(name)),
        citation=_REPRODUCTION if name == "srresnet-3x3" else _CITATION,
        takes="LR",
        channels="RGB",
        scales=tuple(_STAGES),
        settings={"blocks": 16, "features": 64, "norm": "batch"},
        choices={"norm": ("batch", "none")},
        build=build,
        multiplies=multiplies,
    )
