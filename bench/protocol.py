"""Protocols: the rules that make LR from HR and compare SR with HR, as frozen, hashed values.

The `source` of each named protocol says which published numbers the protocol gives.
tests/bench/claims/test_reproduction.py and tests/bench/test_evaluate.py re-measure the numbers
whose images are available.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

from zoo.errors import InputError, unknown

if TYPE_CHECKING:  # zoo.resample imports torch, and naming a protocol must not load torch
    from zoo.resample import Edges

SEED = 0
"""Default seed of everything random: fresh weights, training."""
CHANNELS = ("y", "rgb")
"""The channels that a protocol may compare: luma or RGB."""


_BOOLEANS = (False, True)
_CHOICES: dict[str, tuple[object, ...]] = {
    "degrade": ("luma", "RGB"),
    "resize": ("float", "uint8", "opencv"),
    "edges": ("replicate", "mirror"),
    "channel": CHANNELS,
    "pooling": ("mean of PSNR", "PSNR of mean MSE"),
    "ssim": ("2-D", "3-D"),
    "ycbcr": ("double", "8-bit"),
    **dict.fromkeys(
        ("round_lr", "antialias", "modcrop", "round_luma", "convert_gray", "round_sr"), _BOOLEANS
    ),
}
"""What rules may be. A kernel and an input of ALEX are refused where they are used."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules from HR to LR, and from SR and HR to a number."""

    name: str
    source: str
    """The paper that the rules come from, and the published numbers that the rules give."""

    degrade: Literal["luma", "RGB"]
    """The source of a luma method's LR: HR luma in float64, or the HR image. An RGB method's LR is
    always made from the HR image."""
    round_lr: bool = True
    """Round LR that is made from the HR image to 8 bits, as in an image file. LR made from luma is
    never rounded."""
    resize: Literal["float", "uint8", "opencv"]
    """MATLAB's imresize on float64 or on uint8 (rounds after each pass), or cv2.resize on uint8."""
    edges: Edges
    """MATLAB's edge rule: `replicate` clamps, `mirror` reflects."""
    kernel: str = "bicubic"
    """Name of the kernel that makes LR."""
    antialias: bool = True
    """Whether MATLAB's kernel is stretched when shrinking."""
    round_lr_once_at: tuple[int, ...] = ()
    """Scales at which 8-bit LR is rounded only after the last pass. The shared benchmark files are
    made so at x8."""
    clip_interpolated: tuple[float, float] | None = None
    """Range in [0, 255] to which interpolated luma is clipped for the method; None: no clipping."""
    ycbcr: Literal["double", "8-bit"] = "double"
    """Rounding in a luma method on RGB LR. `double`: none. `8-bit`: LR's Y, Cb and Cr, and the
    method's Y, are rounded, as by MATLAB on uint8; Cb and Cr are resized by `resize`. In both
    cases, Y is interpolated in float64, except by `opencv`."""
    modcrop: bool = True
    """Crop HR to a multiple of the scale first. Otherwise LR has floor(H / scale) rows and is
    interpolated to H rows."""

    channel: Literal["y", "rgb"]
    """Compare luma or RGB."""
    round_luma: bool = True
    """Round luma to whole levels: HR luma before degrading, SR and HR luma before comparing."""
    convert_gray: bool = False
    """Convert a grayscale file to RGB with three equal channels, to which the luma formula is
    applied. PSNR of its luma is then 20 log10(255 / 219) = 1.32 dB higher. Otherwise its gray is
    the luma."""
    round_sr: bool = True
    """Round SR to 8 bits, half up, and clip to [0, 255]."""
    border_per_scale: int = 1
    """Pixels of border for each unit of the scale."""
    border_extra: int = 0
    """Pixels of border at every scale, added to `border_per_scale * scale`."""
    pooling: Literal["mean of PSNR", "PSNR of mean MSE"] = "mean of PSNR"
    """A dataset's PSNR: the mean of the images' PSNR, or the PSNR of the images' mean MSE."""
    ssim: Literal["2-D", "3-D"] = "2-D"
    """`2-D`: a window per channel, averaged over channels. `3-D`: MATLAB's window on H x W x 3."""
    alex_input: Literal["resize to 256, crop 224", "resize to 224", "as it is"] = (
        "resize to 256, crop 224"
    )
    """How an image becomes AlexNet's input for the metric ALEX. The paper of ALEX does not say."""

    def __post_init__(self) -> None:
        """Refuse rules that there are not, and what OpenCV cannot do.

        Raises:
            InputError: a value that a field cannot have, or OpenCV would resize values that are not
                8-bit.
        """
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"protocol {self.name!r}: {name} is {getattr(self, name)!r}; choose from: "
                    f"{', '.join(map(str, choices))}"
                )
        counts = (self.border_per_scale, self.border_extra, *self.round_lr_once_at)
        if not all(type(count) is int and count >= 0 for count in counts):
            raise InputError(
                f"protocol {self.name!r}: borders and scales are integers of at least 0"
            )
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"a protocol is called {self.name!r}; give a text")
        low, high = self.clip_interpolated or (0, 1)
        if not low < high:
            raise InputError(
                f"protocol {self.name!r}: clip_interpolated is {self.clip_interpolated}; give the "
                "lower bound first"
            )
        eight_bit = self.round_lr and self.ycbcr == "8-bit"
        if self.resize == "opencv" and not (
            eight_bit and (self.degrade == "RGB" or self.round_luma)
        ):
            raise InputError(
                f"protocol {self.name}: opencv resizes 8 bits only; set round_lr=True, "
                'ycbcr="8-bit", and degrade="RGB" or round_luma=True'
            )

    def border(self, scale: int) -> int:
        """Pixels cut from each side of SR and HR before comparing."""
        return self.border_per_scale * scale + self.border_extra

    @property
    def sha256(self) -> str:
        """SHA-256 of every rule, in hex; the name and the source are not hashed."""
        # A protocol renamed, or with a better `source`, still gives the same numbers.
        rules = {k: v for k, v in asdict(self).items() if k not in ("name", "source")}
        return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()

    @property
    def psnr(self) -> str:
        """Name of the PSNR quantity under this protocol: `psnr_y` or `psnr_rgb`."""
        return f"psnr_{self.channel}"


_SRCNN2014 = Protocol(
    name="srcnn2014",
    source="Dong et al., ECCV 2014: LR and interpolated input stay in double; also the ANR and A+ "
    "papers. SRCNN 9-1-5 on Set5: 36.34, 32.39, 30.09 dB, every image to the printed digit",
    degrade="luma",
    resize="float",
    edges="replicate",
    channel="y",
)
_IDN2018 = replace(
    _SRCNN2014,
    name="idn2018",
    source="Hui et al., IDN, CVPR 2018: luma rounded first, LR from luma and not rounded, mirror "
    "edges; the authors' later rows, trained on DIV2K, follow rcan2018",
    edges="mirror",
)
_VDSR2016 = replace(
    _IDN2018,
    name="vdsr2016",
    source="Kim et al., VDSR, CVPR 2016: interpolated luma is clipped to [16, 235]; also the "
    "bicubic, SRCNN and VDSR rows of the LapSRN, EDSR and RCAN tables. Bicubic on Set14: 30.24, "
    "27.55, 26.00 dB",
    clip_interpolated=(16.0, 235.0),
)
_SELFEXSR2015 = Protocol(
    name="selfexsr2015",
    source="Huang et al., SelfExSR, CVPR 2015: 8-bit RGB LR and SR, luma rounded; a luma method's "
    "Y, Cb and Cr rounded too. SRCNN 9-1-5 on Set5: 36.28, 32.37, 30.08 dB; the bicubic rows of "
    "SRMD's table quote this protocol",
    degrade="RGB",
    resize="uint8",
    edges="replicate",
    ycbcr="8-bit",
    channel="y",
)
_RCAN2018 = Protocol(
    name="rcan2018",
    source="Zhang et al., RCAN, ECCV 2018: 8-bit RGB LR and SR, luma in double and not rounded, "
    "grayscale files through the luma formula; also the authors' own rows of RDN, IMDN, PAN, RLFN, "
    "BSRN, SAFMN, SPAN, SwinIR. IMDN on Set14: 33.63, 30.32, 28.58 dB",
    degrade="RGB",
    resize="uint8",
    edges="mirror",
    round_lr_once_at=(8,),
    channel="y",
    round_luma=False,
    convert_gray=True,
)
_LAPSRN2017 = replace(
    _RCAN2018,
    name="lapsrn2017",
    source="Lai et al., LapSRN, CVPR 2017: LR from RGB in double and not rounded, 8-bit RGB SR, "
    "luma in double, grayscale files through the luma formula: 33.08, 29.87, 28.19 dB on Set14",
    round_lr=False,
    resize="float",
    round_lr_once_at=(),
)
_NAMED = (
    _SRCNN2014,
    _VDSR2016,
    _IDN2018,
    _SELFEXSR2015,
    _RCAN2018,
    replace(
        _RCAN2018,
        name="rcan2018-gray-as-luma",
        source="as rcan2018, but a grayscale file's values are its luma: Set14's mean is 0.094 dB "
        "lower",
        convert_gray=False,
    ),
    _LAPSRN2017,
    replace(
        _LAPSRN2017,
        name="lapsrn2017-gray-as-luma",
        source="as lapsrn2017, but a grayscale file's values are its luma: the rows of LapSRN with "
        "32.99, 29.79, 28.09 dB on Set14",
        convert_gray=False,
    ),
    replace(
        _LAPSRN2017,
        name="srmd2018",
        source="Zhang et al., SRMD, CVPR 2018: LR from RGB in double and not rounded, SR neither "
        "rounded nor clipped, luma in double, a grayscale file's values are its luma",
        convert_gray=False,
        round_sr=False,
    ),
    Protocol(
        name="edsr2017-div2k",
        source="Lim et al., EDSR, CVPRW 2017, Table 2 and the DIV2K rows of Table 3: RGB, border "
        "6 + scale, MATLAB's ssim on H x W x 3",
        degrade="RGB",
        resize="uint8",
        edges="mirror",
        round_lr_once_at=(8,),
        ycbcr="8-bit",
        channel="rgb",
        convert_gray=True,
        border_extra=6,
        ssim="3-D",
    ),
    Protocol(
        name="laljavid",
        source="Lal and Javid, Image Super-Resolution using Deep Neural Networks, Table 1: "
        "cv2.resize without antialiasing, floor sizes, RGB, no border",
        degrade="RGB",
        resize="opencv",
        edges="replicate",
        antialias=False,
        modcrop=False,
        ycbcr="8-bit",
        channel="rgb",
        convert_gray=True,
        border_per_scale=0,
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _NAMED}


def load(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        InputError: no protocol has this name.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def named(protocol: str | Protocol) -> Protocol:
    """The protocol of a name, or a protocol of one's own.

    Results call a protocol of one's own NAME#HASH, by the first digits of its rules' hash, so that
    those of two rules are never taken for each other.

    Raises:
        InputError: there is no such name, or it is no protocol.
    """
    if isinstance(protocol, str):
        return load(protocol)
    if not isinstance(protocol, Protocol):
        raise InputError(f"{protocol!r} is no protocol; give a name or a Protocol")
    if PROTOCOLS.get(protocol.name) == protocol:
        return protocol
    plain = protocol.name.partition("#")[0]
    return replace(protocol, name=f"{plain}#{protocol.sha256[:8]}")
