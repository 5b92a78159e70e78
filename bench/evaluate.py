"""Metrics of SR for an HR image: degrade, super-resolve and compare, all by a protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench import images
from bench.graph.trace import computing_dtype
from bench.machine import out_of_memory
from bench.metrics import FOLDER, Metric
from bench.protocol import Protocol
from zoo.errors import MORE_MEMORY, InputError, one_line
from zoo.method import Channels, Method
from zoo.resample import Rounding, imresize, round_half_up

_OPENCV = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


def _opencv_resize(image: Tensor, size: tuple[int, int], kernel: str) -> Tensor:
    """The result of `cv2.resize` on 8-bit pixels (C, H, W): (C, *size), float64 in [0, 255]."""
    # OpenCV takes (width, height), so the size is reversed.
    pixels = cv2.resize(images.to_pixels(image), size[::-1], interpolation=_OPENCV[kernel])
    return images.to_tensor(np.asarray(pixels, dtype=np.uint8), image.device)


def degrade(hr: Tensor, scale: int, protocol: Protocol, *, eight_bit: bool) -> Tensor:
    """LR of an HR image: (C, H // scale, W // scale), float64 in [0, 255].

    Args:
        hr: (C, H, W) in [0, 255]; no side is smaller than the scale.
        scale: how many times smaller LR is, per side.
        protocol: the rules.
        eight_bit: whether LR has whole levels, as an image file does. Otherwise LR is not rounded.
    """
    height, width = hr.shape[-2:]
    size = (height // scale, width // scale)
    if protocol.resize == "opencv":
        return _opencv_resize(hr, size, protocol.kernel)
    rounding: Rounding = "none"
    if eight_bit:
        rounding = "once" if scale in protocol.round_lr_once_at else "each pass"
    # MATLAB's imresize takes a scale or an output size, and the two differ where the sides are no
    # multiples of the scale.
    exact = (height % scale, width % scale) == (0, 0)
    return imresize(
        hr,
        Fraction(1, scale) if exact else None,
        size=None if exact else size,
        kernel=protocol.kernel,
        antialias=protocol.antialias,
        edges=protocol.edges,
        rounding=rounding,
    )


def interpolate(
    lr: Tensor, size: tuple[int, int], kernel: str, protocol: Protocol, *, eight_bit: bool = True
) -> Tensor:
    """LR interpolated to the HR size by the protocol's rules: (C, *size), float64.

    Args:
        lr: (C, h, w) in [0, 255].
        size: height and width of the result, in pixels.
        kernel: name of the interpolation kernel.
        protocol: the rules.
        eight_bit: resize as the protocol resizes an 8-bit image; LR then has whole levels.
            Otherwise LR is resized in float64 under every protocol.
    """
    if protocol.resize == "opencv" and eight_bit:
        return _opencv_resize(lr, size, kernel)
    rounding: Rounding = "each pass" if protocol.resize == "uint8" and eight_bit else "none"
    x = imresize(lr, size=size, kernel=kernel, edges=protocol.edges, rounding=rounding)
    if protocol.clip_interpolated is not None and x.shape[0] == 1:  # the range is that of luma
        x = x.clamp_(*protocol.clip_interpolated)
    return x


def forward(
    lr: Tensor,
    size: tuple[int, int],
    method: Method,
    module: nn.Module,
    protocol: Protocol,
) -> Tensor:
    """The method's output for the planes that the method takes: (1, C, H, W), in its own range.

    A luma method's input is interpolated in double, as its authors' programs do, whether LR has
    whole levels or not. Only OpenCV, which the protocol may name, interpolates 8 bits.

    Args:
        lr: (C, h, w) in [0, 255]; C is 1 for luma, 3 for RGB.
        size: height H and width W of SR, in pixels.
        method: says whether the module takes LR or interpolated LR.
        module: the network with its weights.
        protocol: the rules of the interpolation.
    """
    x = lr
    if method.takes == "interpolated":
        eight_bit = method.channels != "luma" or protocol.resize == "opencv"
        x = interpolate(lr, size, method.kernel, protocol, eight_bit=eight_bit)
    out: Tensor = module(_in_own_range(x[None], method).to(computing_dtype(module)))
    return out


_BLACK, _STEPS = 16, 219
"""Black of studio luma, and the levels from black to white, of 255."""


def _in_own_range(x: Tensor, method: Method) -> Tensor:
    """Planes (N, C, H, W) in [0, 255], luma in studio range, as the method takes them."""
    if method.channels == "luma" and method.luma == "full":
        x = (x - _BLACK) * (255 / _STEPS)
    return x if method.range == 255 else x / 255


def _in_levels(out: Tensor, method: Method) -> Tensor:
    """A method's output (C, H, W) in [0, 255], float64, luma in studio range."""
    out = out.to(torch.float64)
    out = out if method.range == 255 else out * 255
    if method.channels == "luma" and method.luma == "full":
        out = out * (_STEPS / 255) + _BLACK
    return out


def _apply(
    lr: Tensor, size: tuple[int, int], method: Method, module: nn.Module, protocol: Protocol
) -> Tensor:
    """The checked output of `forward`: (C, H, W), float64, nominally in [0, 255], not clipped.

    The arguments are those of `forward`.

    Raises:
        InputError: the method raised an exception, or gave no tensor, another shape, or values
            that are not finite.
    """
    try:
        out = forward(lr, size, method, module, protocol)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a user's file may raise anything, or call exit()
        if isinstance(error, Exception) and out_of_memory(error):
            raise InputError(
                f"{method.name}: memory ran out on {size[1]}x{size[0]} px; {MORE_MEMORY}"
            ) from error
        height, width = lr.shape[-2:]
        raise InputError(
            f"{method.name}: forward raised {one_line(error, 160)} with LR of {width}x{height} px; "
            "fix the method, which has to take images of any size; if it takes multiples of a "
            "number only, give multiple = NUMBER"
        ) from error
    if not isinstance(out, Tensor):
        raise InputError(f"{method.name} gave a {type(out).__name__}; expected a tensor")
    if not out.is_floating_point():
        raise InputError(f"{method.name} gave {out.dtype}; expected floats")
    expected = (1, lr.shape[0], *size)
    if tuple(out.shape) != expected:
        raise InputError(
            f"{method.name} gave a tensor of shape {tuple(out.shape)}; expected {expected}: "
            "fix the method"
        )
    # The sum is finite only if every pixel is, and needs no mask of the image's size.
    if not bool(out.sum(dtype=torch.float64).isfinite()):
        raise InputError(
            f"{method.name} gave NaN or infinite pixels; fix the method or the weights"
        )
    return _in_levels(out[0], method)


def super_resolve(
    lr: Tensor, size: tuple[int, int], method: Method, module: nn.Module, protocol: Protocol
) -> Tensor:
    """SR of an LR image: (1 or 3, H, W), float64, neither rounded nor clipped.

    A luma method gets the luma of an RGB image, and the chroma is interpolated bicubically. If the
    protocol's `ycbcr` is `8-bit`, LR's luma and chroma, the interpolated chroma and the method's
    luma all have whole levels. An RGB method gets a grayscale image in three channels, and the
    three output channels are averaged.

    Args:
        lr: (1 or 3, h, w) in [0, 255].
        size: (H, W) of SR: scale * (h, w), or the HR size for a method that takes interpolated LR.
        method: says which channels the module takes.
        module: the network with its weights.
        protocol: the rules.

    Raises:
        InputError: the method raised an exception or gave no usable image.
    """
    if method.channels == "luma" and lr.shape[0] == 3:
        whole = protocol.ycbcr == "8-bit"
        ycbcr = images.rgb_to_ycbcr(lr, rounded=whole)
        y = _apply(ycbcr[:1], size, method, module, protocol)
        if whole:
            y = round_half_up(y)
        chroma = interpolate(ycbcr[1:], size, "bicubic", protocol, eight_bit=whole)
        return images.ycbcr_to_rgb(torch.cat([y, chroma]))
    if method.channels == "RGB" and lr.shape[0] == 1:
        planes = lr.expand(3, -1, -1)
        return _apply(planes, size, method, module, protocol).mean(0, keepdim=True)
    return _apply(lr, size, method, module, protocol)


def least_memory(shape: tuple[int, int, int], protocol: Protocol, channels: Channels) -> int:
    """Bytes that evaluating an image takes at least, for every method: four float64 images.

    Measured with bicubic on 25 and 144 megapixels: 4.3 to 5.6 images, of luma or of RGB as the
    protocol says, and two planes more if luma is taken of an RGB file.

    Args:
        shape: channels, height and width of the HR file.
        protocol: the rules.
        channels: planes that the method takes.
    """
    in_file, height, width = shape
    planes = 3 if protocol.convert_gray else in_file
    if protocol.degrade == "luma" and channels != "RGB":
        planes = 1
    return 8 * height * width * (4 * planes + 2 * (in_file > planes))


def takes_luma_of_hr(protocol: Protocol, channels: Channels) -> bool:
    """Whether LR for a method of such channels is made of the luma of HR."""
    return protocol.degrade == "luma" and channels != "RGB"


def hr_and_lr(
    pixels: NDArray[np.uint8],
    scale: int,
    protocol: Protocol,
    channels: Channels,
    device: torch.device,
    given: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """HR prepared by the protocol, and the LR image for a method.

    A given LR image is taken instead of the one that the protocol makes. Where the protocol makes
    LR of luma, its luma is taken, in whole levels if the protocol rounds luma.

    Args:
        pixels: the HR image, (H, W) or (H, W, 3), uint8.
        scale: the enlargement, per side.
        protocol: the rules.
        channels: planes that the method takes.
        device: device of the returned tensors.
        given: LR from a file, as `same_channels` gives it, (1 or 3, H // scale, W // scale).

    Returns:
        HR (C, H, W) and LR (C, h, w), float64 in [0, 255]. C = 1 if the protocol degrades luma and
        the method takes luma, or if the file is grayscale and the protocol does not convert gray.

    Raises:
        InputError: a side of the image is smaller than the scale.
    """
    hr = images.to_tensor(pixels, device)
    height, width = hr.shape[-2:]
    if min(height, width) < scale:
        raise InputError(f"{width}x{height} px leave nothing at x{scale}; take a larger image")
    if protocol.modcrop:
        hr = images.modcrop(hr, scale)
    if hr.shape[0] == 1 and protocol.convert_gray:
        hr = hr.expand(3, -1, -1)
    if given is not None and given.shape[0] < hr.shape[0]:
        given = given.expand(3, -1, -1)
    if takes_luma_of_hr(protocol, channels):
        hr = images.as_luma(hr, rounded=protocol.round_luma)
        if given is not None:
            return hr, images.as_luma(given, rounded=protocol.round_luma)
        return hr, degrade(hr, scale, protocol, eight_bit=False)
    if given is not None:
        return hr, given
    return hr, degrade(hr, scale, protocol, eight_bit=protocol.round_lr)


def size_of_sr(hr: Tensor, lr: Tensor, scale: int, method: Method) -> tuple[int, int]:
    """Height and width of SR, in pixels, for HR and LR as `hr_and_lr` gives them."""
    if method.takes == "LR":  # without modcrop, a network's output is smaller than HR
        return lr.shape[-2] * scale, lr.shape[-1] * scale
    return hr.shape[-2], hr.shape[-1]


def compare_images(
    sr: Tensor, hr: Tensor, scale: int, protocol: Protocol, metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """Every metric of an SR image: name of the quantity (`psnr_y`, ...) to value.

    Args:
        sr: (C, H, W) in [0, 255], not rounded.
        hr: (C, H', W') in [0, 255], at least as large as SR; cropped to the size of SR.
        scale: the enlargement, which sets the border.
        protocol: the rules.
        metrics: name to metric.

    Raises:
        InputError: no pixel is left inside the border.
    """
    if protocol.round_sr:
        sr = round_half_up(sr)
    hr = hr[..., : sr.shape[-2], : sr.shape[-1]]
    if protocol.channel == "y":
        sr, hr = (images.as_luma(image, rounded=protocol.round_luma) for image in (sr, hr))
    border = protocol.border(scale)
    height, width = hr.shape[-2:]
    if min(height, width) <= 2 * border:
        raise InputError(
            f"{width}x{height} px leave nothing inside a border of {border}; take a larger image"
        )
    sr, hr = images.crop_border(sr, border), images.crop_border(hr, border)
    return {
        f"{name}_{protocol.channel}": _value(name, metric, sr, hr, protocol)
        for name, metric in metrics.items()
    }


def _value(name: str, metric: Metric, sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
    """The metric of two images, as `Metric.measure` returns it.

    Args:
        name: the metric's name, for the message.
        metric: the metric.
        sr, hr: (C, H, W), float64 in [0, 255], borders already cut.
        protocol: the rules.

    Raises:
        InputError: the metric raised an exception, or gave no number.
    """
    try:
        found = metric.measure(sr, hr, protocol)
    except (InputError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # a file that anybody may add can raise anything
        if isinstance(error, Exception) and out_of_memory(error):
            raise
        raise InputError(
            f"metric {name} raised {one_line(error, 160)}; fix {FOLDER / name}.py"
        ) from error
    if not isinstance(found, int | float):
        raise InputError(
            f"metric {name} gave a {type(found).__name__}; expected a float: fix {FOLDER / name}.py"
        )
    return float(found)


def evaluate(
    pixels: NDArray[np.uint8],
    scale: int,
    protocol: Protocol,
    method: Method,
    module: nn.Module,
    metrics: Mapping[str, Metric],
    device: torch.device,
    given: Tensor | None = None,
) -> dict[str, float]:
    """Every metric of a method on one HR image: name of the quantity to value.

    Args:
        pixels: the HR image, (H, W) or (H, W, 3), uint8.
        scale: the enlargement, per side.
        protocol: the rules.
        method: says which LR image the module takes.
        module: the network with its weights.
        metrics: name to metric.
        device: where the images are computed.
        given: LR to take instead of the protocol's, see `hr_and_lr`.

    Raises:
        InputError: the image is too small, or the method gave no usable image.
    """
    hr, lr = hr_and_lr(pixels, scale, protocol, method.channels, device, given)
    size = size_of_sr(hr, lr, scale, method)
    sr = super_resolve(lr, size, method, module, protocol)
    return compare_images(sr, hr, scale, protocol, metrics)


def score(
    sr: Tensor, hr: Tensor, scale: int, protocol: Protocol, metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """Every metric of an SR image from another program: name of the quantity to value.

    HR is cropped as the protocol says.

    Args:
        sr: (1 or 3, H, W), in [0, 255].
        hr: the whole HR image, (1 or 3, H', W'), in [0, 255].
        scale: the enlargement, per side.
        protocol: the rules.
        metrics: name to metric.

    Raises:
        InputError: SR has neither the size of HR nor the size of an enlarged LR image, SR and HR
            differ in channels, or too few pixels are left inside the border.
    """
    if protocol.convert_gray:
        sr, hr = (x.expand(3, -1, -1) if x.shape[0] == 1 else x for x in (sr, hr))
    whole = images.modcrop(hr, scale)
    allowed = {tuple(whole.shape[-2:])} | (set() if protocol.modcrop else {tuple(hr.shape[-2:])})
    given = tuple(sr.shape[-2:])
    if given not in allowed:
        sizes = " or ".join(f"{width}x{height}" for height, width in sorted(allowed))
        raise InputError(
            f"SR has {given[1]}x{given[0]} px; HR of {hr.shape[-1]}x{hr.shape[-2]} px at x{scale} "
            f"under {protocol.name} needs {sizes}"
        )
    if sr.shape[0] != hr.shape[0]:  # gray as luma has another range than the luma of RGB
        raise InputError(
            f"SR has {sr.shape[0]} channels and HR {hr.shape[0]}; {protocol.name} does not convert "
            "gray to RGB: give both gray or both RGB"
        )
    return compare_images(sr, hr, scale, protocol, metrics)


def same_channels(image: Tensor, hr: Tensor, role: str, protocol: Protocol) -> tuple[Tensor, str]:
    """An image from a file with as many channels as HR, and what was done for it ('' if nothing).

    RGB with three equal channels is the same picture as gray, and is taken as HR has it. If the
    protocol converts gray to RGB, an RGB image fits a grayscale HR file whatever its channels.

    Args:
        image: SR or LR, (1 or 3, h, w), in [0, 255].
        hr: the HR image as in its file, (1 or 3, H, W), in [0, 255].
        role: `SR` or `LR`, for messages.
        protocol: the rules.

    Raises:
        InputError: one is gray and the other is not.
    """
    if image.shape[0] == hr.shape[0] or (hr.shape[0] == 1 and protocol.convert_gray):
        return image, ""
    rgb = image if image.shape[0] == 3 else hr
    if bool((rgb == rgb[:1]).all()):
        if image.shape[0] == 3:
            return image[:1], f"{role} is RGB with equal channels and HR gray: one channel taken"
        return image.expand(3, -1, -1), f"{role} is gray and HR RGB with equal channels: repeated"
    if image.shape[0] == 1:
        raise InputError(f"{role} is gray, and HR is RGB; give {role} as an RGB file")
    raise InputError(
        f"{role} is RGB with channels that differ, and HR is gray, whose gray is the luma under "
        f"{protocol.name}; give {role} as a grayscale file"
    )


def pooled(values: list[float], quantity: str, protocol: Protocol) -> float:
    """A dataset's value from the values of the images, by the protocol's pooling.

    Args:
        values: one value for each image.
        quantity: name of the quantity; only PSNR is pooled in more than one way.
        protocol: says how PSNR is pooled.

    >>> from dataclasses import replace
    >>> from bench.protocol import load
    >>> usual = load("srcnn2014")
    >>> pooled([20.0, 40.0], "psnr_y", usual)
    30.0
    >>> pooled([20.0, 40.0], "psnr_y", replace(usual, pooling="PSNR of mean MSE"))
    22.967086218813385
    """
    if quantity == protocol.psnr and protocol.pooling == "PSNR of mean MSE":
        # MSE relative to the squared peak; the peak cancels out.
        mean = math.fsum(10 ** (-value / 10) for value in values) / len(values)
        return -10 * math.log10(mean) if mean else math.inf
    return math.fsum(values) / len(values) if math.inf not in values else math.inf
