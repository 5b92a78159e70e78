"""Protocols: every rule by which LR is made and SR is judged, as frozen, hashed values.

Each named one says which published numbers it gives; tests/bench/test_reproduction.py and
test_evaluate.py re-measure those whose images can be had.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from zoo.errors import InputError, unknown

if TYPE_CHECKING:  # so that naming the protocols does not load torch
    from zoo.resample import Edges

SEED = 0
"""Of everything random, unless another is given: fresh weights, training."""
CHANNELS = ("y", "rgb")
"""What is compared: luma or RGB."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to go from HR to LR, and from SR and HR to a number."""

    name: str
    source: str
    """Where the rules come from, and which published numbers they give."""

    degrade: Literal["luma", "RGB"]
    """What a luma method's LR is made from: HR luma in double, or the 8-bit HR image.
    An RGB method's LR is always an 8-bit RGB image."""
    resize: Literal["float", "uint8", "opencv"]
    """MATLAB's imresize on doubles or on uint8 (rounds after each pass), or cv2.resize on uint8."""
    edges: Edges
    """MATLAB's edge rule: `replicate` clamps, `mirror` reflects."""
    kernel: str = "bicubic"
    """The kernel that makes LR."""
    antialias: bool = True
    """Whether MATLAB's kernel is stretched when shrinking."""
    round_lr_once_at: tuple[int, ...] = ()
    """Scales at which 8-bit LR is rounded only at the end: the shared benchmark files at x8."""
    clip_interpolated: tuple[float, float] | None = None
    """Range, in [0, 255], that interpolated luma is clipped to before a method sees it."""
    modcrop: bool = True
    """Cut HR to a multiple of the scale first; otherwise LR has floor(H / scale) rows and
    interpolates to H."""

    channel: Literal["y", "rgb"]
    """Compare luma or RGB."""
    round_luma: bool = True
    """Round luma to whole levels: of HR before degrading, and of SR before comparing."""
    convert_gray: bool = False
    """Put a grayscale file through the luma formula (as gray RGB) instead of taking it as luma."""
    round_sr: bool = True
    """Round SR to 8 bits, half up, and clip to [0, 255]."""
    border_per_scale: int = 1
    border_extra: int = 0
    pooling: Literal["mean of PSNR", "PSNR of mean MSE"] = "mean of PSNR"
    """A dataset's PSNR: the mean of its images' PSNR, or the PSNR of their mean MSE."""
    ssim: Literal["2-D", "3-D"] = "2-D"
    """A window per channel, averaged over channels; or MATLAB's 3-D window on H x W x 3."""
    alex_input: Literal["resize to 256, crop 224", "resize to 224", "as it is"] = (
        "resize to 256, crop 224"
    )
    """How an image becomes AlexNet's input for ALEX, whose paper does not say."""

    def border(self, scale: int) -> int:
        """Pixels cut on each side before comparing."""
        return self.border_per_scale * scale + self.border_extra

    @property
    def sha256(self) -> str:
        """Hash of every rule; name and source left out."""
        rules = {k: v for k, v in asdict(self).items() if k not in ("name", "source")}
        return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()

    @property
    def psnr(self) -> str:
        """The quantity that holds PSNR under this protocol."""
        return f"psnr_{self.channel}"


_NAMED = (
    Protocol(
        name="srcnn2014",
        source="Dong et al., ECCV 2014: LR and interpolated input stay in double; also the "
        "ANR and A+ papers",
        degrade="luma",
        resize="float",
        edges="replicate",
        channel="y",
    ),
    Protocol(
        name="vdsr2016",
        source="Kim et al., VDSR, CVPR 2016: interpolated luma is clipped to [16, 235]; also "
        "the bicubic rows of LapSRN, EDSR and RCAN",
        degrade="luma",
        resize="float",
        edges="mirror",
        clip_interpolated=(16.0, 235.0),
        channel="y",
    ),
    Protocol(
        name="selfexsr2015",
        source="Huang et al., SelfExSR, CVPR 2015: 8-bit RGB LR and SR, luma rounded",
        degrade="RGB",
        resize="uint8",
        edges="replicate",
        channel="y",
    ),
    Protocol(
        name="rcan2018",
        source="Zhang et al., RCAN, ECCV 2018: 8-bit RGB SR, luma in double and not rounded",
        degrade="RGB",
        resize="uint8",
        edges="mirror",
        round_lr_once_at=(8,),
        channel="y",
        round_luma=False,
    ),
    Protocol(
        name="edsr2017-div2k",
        source="Lim et al., EDSR, CVPRW 2017, Table 2 and the DIV2K rows of Table 3: RGB, border "
        "6 + scale, MATLAB's ssim on H x W x 3",
        degrade="RGB",
        resize="uint8",
        edges="mirror",
        round_lr_once_at=(8,),
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
        channel="rgb",
        convert_gray=True,
        border_per_scale=0,
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _NAMED}


def load(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def named(protocol: str | Protocol) -> Protocol:
    """The protocol of a name, or a protocol of one's own.

    Raises:
        InputError: there is no such name, or other rules go by the name of a known protocol.
    """
    if isinstance(protocol, str):
        return load(protocol)
    known = PROTOCOLS.get(protocol.name)
    if known is not None and known.sha256 != protocol.sha256:
        raise InputError(
            f"these rules are not those of {protocol.name}, a protocol that exists; give them "
            "another name"
        )
    return protocol
