"""FSRCNN(d, s, m): shrink, map and expand at LR size, then one transposed convolution.

Dong, Loy, Tang: Accelerating the Super-Resolution Convolutional Neural Network, ECCV 2016,
section 3.2; FSRCNN(56, 12, 4) is the paper's choice.
"""

from __future__ import annotations

from torch import Tensor, nn

from zoo.errors import InputError
from zoo.method import Method, Recipe, Settings
from zoo.recipe import Descent

NAMES = ("fsrcnn",)

_LARGEST = 9  # at larger scales the 9x9 filters of the last layer would not reach every HR pixel
_SHORT = Descent(
    patch=19,
    draw="places",
    augment="flips and turns",
    loss="l2",
    rate=2e-3,
    schedule="cosine",
    warmup=100,
    batch=16,
    updates=5_000,
)
_SLOPE = 0.25  # where a PReLU starts: He et al., Delving Deep into Rectifiers, ICCV 2015


class FSRCNN(nn.Module):
    """Conv(5, d), Conv(1, s), m times Conv(3, s), Conv(1, d), DeConv(9, 1) (section 3.2).

    A PReLU with a slope for each channel follows each convolution, but not the last layer.
    Convolutions have He initialisation for PReLU. The last layer is drawn from a normal
    distribution of standard deviation 0.001, as in SRCNN (section 4.1).

    The paper does not state the offset between a 9x9 filter and the scale x scale HR pixels of an
    LR pixel. Here both have the same centre, up to half a pixel at even scales.

    Raises:
        InputError: a scale above 9.
    """

    def __init__(self, scale: int, d: int, s: int, m: int) -> None:
        super().__init__()
        if scale > _LARGEST:
            raise InputError(
                f"FSRCNN has no x{scale}: its last filters are 9x9; choose a scale up to 9"
            )
        widths = [(1, d, 5), (d, s, 1), *[(s, s, 3)] * m, (s, d, 1)]
        self.convs = nn.ModuleList(_conv(*width) for width in widths)
        self.slopes = nn.ModuleList(nn.PReLU(after, _SLOPE) for _, after, _ in widths)
        padding = 4 - (scale - 1) // 2  # centres each 9x9 filter on its scale x scale HR pixels
        self.deconv = nn.ConvTranspose2d(
            d, 1, 9, stride=scale, padding=padding, output_padding=scale + 2 * padding - 9
        )
        nn.init.normal_(self.deconv.weight, std=1e-3)
        if self.deconv.bias is not None:
            nn.init.zeros_(self.deconv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 1, scale*h, scale*w) of LR luma x, (N, 1, h, w) in [0, 1]."""
        for conv, slope in zip(self.convs, self.slopes, strict=True):
            x = slope(conv(x))  # (N, d or s, h, w)
        out: Tensor = self.deconv(x)  # (N, 1, scale*h, scale*w)
        return out


def _conv(before: int, after: int, side: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, side, padding=side // 2)
    nn.init.kaiming_normal_(conv.weight, a=_SLOPE)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _build(scale: int, settings: Settings) -> nn.Module:
    return FSRCNN(scale, settings["d"], settings["s"], settings["m"])


def _multiplies(scale: int, settings: Settings) -> float:
    d, s, m = settings["d"], settings["s"], settings["m"]
    return float(25 * d + 2 * d * s + m * 9 * s**2 + 81 * d)  # last: per LR pixel


def method(name: str) -> Method:
    """The `Method` of FSRCNN; this project knows of no published weights."""
    return Method(
        name=name,
        citation="Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, "
        "ECCV 2016",
        takes="LR",
        channels="luma",
        scales=tuple(range(2, _LARGEST + 1)),
        settings={"d": 56, "s": 12, "m": 4},
        build=_build,
        multiplies=_multiplies,
        recipes=(Recipe(name="short", citation="this project", data=("t91",), learn=_SHORT),),
    )
