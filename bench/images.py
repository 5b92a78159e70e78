"""Images as tensors: decoding, cropping, luma.

Inside the harness an image has shape (C, H, W), float64 in [0, 255]: C = 1 is gray or luma, C = 3
is RGB.
"""

from __future__ import annotations

import io
import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from zoo.errors import InputError

# ITU-R BT.601, studio range, as in MATLAB's rgb2ycbcr: rows Y, Cb, Cr; columns R, G, B in [0, 255].
# The weights are integers, in units of 1 / 255000 level; the offsets are in levels.
_YCBCR = (
    (65481, 128553, 24966),
    (-37797, -74203, 112000),
    (112000, -93786, -18214),
)
_PER_LEVEL = 255_000
_OFFSETS = (16, 128, 128)
_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may take a file for, whatever its name. For PostScript it would run Ghostscript."""

MAX_PIXELS = "SISRBENCH_MAX_PIXELS"
"""Environment variable: pixels that an image file may have, if not `_MAX_PIXELS`."""
_MAX_PIXELS = 178_956_970
"""The limit above which Pillow refuses an image as a likely decompression bomb."""
_OPENING = threading.Lock()
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # tags of TIFF


def decode(path: Path) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8: (H, W) for a grayscale file, (H, W, 3) for RGB.

    8-bit gray and 8-bit RGB are taken as stored. Orientation tags are ignored, as MATLAB's `imread`
    does. A palette is looked up. An alpha channel that is opaque everywhere is dropped. Every other
    file is refused, because any conversion would be a guess.

    Raises:
        InputError: the file is no image, truncated, animated, partly transparent, neither gray nor
            RGB, has other than 8 bits per channel, or more pixels than the limit.
    """
    Image.init()  # knows all formats by name only from here on
    try:
        with _opened(path) as image:
            _refuse_too_large(image, path)
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise InputError(f"{path} holds {frames} frames; give a single image")
            _refuse_other_depths(image, path)  # before load(), which clears image.tile
            image.load()
            return _pixels(image, path)
    except UnidentifiedImageError:
        raise InputError(f"{path} is not an image, whatever its name says; remove it") from None
    except InputError:
        raise
    except Exception as error:  # for a damaged file, Pillow may raise almost any exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} cannot be read: {reason}; fetch or export it again") from error


def shape_of(path: Path) -> tuple[int, int, int]:
    """Channels, height and width that the header of an image file states.

    (0, 0, 0) for a file that `decode` refuses because it cannot be read.
    """
    try:
        with _opened(path) as image:
            channels = 1 if image.mode in ("L", "LA") else 3
            return channels, image.height, image.width
    except Exception:  # for a damaged file, Pillow may raise almost any exception
        return 0, 0, 0


def _opened(path: Path) -> Image.Image:
    """An image file, opened without Pillow's own limit, which the user could not raise."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _refuse_too_large(image: Image.Image, path: Path) -> None:
    """Refuse an image with too many pixels by its header, before a pixel is decoded.

    Raises:
        InputError: the image has more pixels than `SISRBENCH_MAX_PIXELS` or the default allow, or
            the variable is no number.
    """
    given = os.environ.get(MAX_PIXELS, "")
    if given and not re.fullmatch("[0-9]{1,18}", given):
        raise InputError(f"{MAX_PIXELS} is {given!r}; give a number of pixels, as 400000000")
    limit = int(given or _MAX_PIXELS)
    # A TIFF file may have tiles, which are decoded whole, larger than the image.
    tags = getattr(image, "tag_v2", {})
    for width, height in (image.size, (tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0))):
        if width * height > limit:
            raise InputError(
                f"{path} has {width}x{height} pixels, more than {limit}; to allow it, set "
                f"{MAX_PIXELS}={width * height}"
            )


def _refuse_other_depths(image: Image.Image, path: Path) -> None:
    """Refuse samples of other than 8 bits, because Pillow would scale them to 8 bits silently.

    Pillow's raw mode names the file's depth: `RGB;16B` is 16 bits, `L;4` is 4 bits. For a PPM file,
    Pillow gives the largest value instead, which is 255 for 8 bits.

    Raises:
        InputError: the file has other than 8 bits per sample.
    """
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        return
    for tile in getattr(image, "tile", ()):
        raw = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        other = any(isinstance(part, str) and re.search(r";\d", part) for part in raw)
        if other or (tile.codec_name.startswith("ppm") and raw[-1] != 255):
            raise InputError(
                f"{path} has samples of {raw[0]} (mode {image.mode}), not 8 bits; convert the file"
            )


def _pixels(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """Pixels of a loaded image, uint8: (H, W) for gray, (H, W, 3) for RGB.

    Raises:
        InputError: the image is partly transparent, or neither gray nor RGB.
    """
    mode = image.mode
    if mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif mode in ("L", "RGB") and "transparency" in image.info:
        raise InputError(f"{path} has a transparent colour; flatten the image onto a background")
    if image.mode in ("RGBA", "LA"):
        if np.asarray(image.getchannel("A")).min() < 255:
            raise InputError(f"{path} is partly transparent; flatten the image onto a background")
        image = image.convert("RGB" if image.mode == "RGBA" else "L")
    if image.mode not in ("L", "RGB"):
        raise InputError(
            f"{path} has pixels of mode {mode}; expected 8-bit gray or RGB: convert the file"
        )
    return np.array(image, dtype=np.uint8)


def to_tensor(pixels: NDArray[Any], device: torch.device) -> Tensor:
    """Tensor (1 or 3, H, W) of pixels (H, W) or (H, W, 3), float64; values stay in [0, 255]."""
    tensor = torch.from_numpy(pixels).to(device)
    planes = tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)
    return planes.to(torch.float64).contiguous()


def from_array(image: NDArray[Any] | Path | str, *, bounded: bool = True) -> Tensor:
    """An image of one's own as a tensor: (1 or 3, H, W), float64 in [0, 255].

    Args:
        image: the path of a file, or an array (H, W) or (H, W, 3): uint8, or floats in [0, 255].
        bounded: False for LR images in double, which overshoot [0, 255] at edges.

    Raises:
        InputError: another shape or dtype, values outside [0, 255] or not finite, floats in [0, 1],
            or a file that cannot be read.
    """
    if isinstance(image, Path | str):
        try:
            is_file = Path(image).is_file()
        except (OSError, ValueError):  # a name that no file can have
            is_file = False
        if not is_file:
            raise InputError(f"no image {str(image)[:80]!r}; give the path of a file, or an array")
        return to_tensor(decode(Path(image)), torch.device("cpu"))
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"an image of {type(image).__name__}; give a NumPy array or the path of a file"
        )
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or not image.size:
        raise InputError(f"an image of shape {image.shape}; give (H, W) or (H, W, 3)")
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise InputError(f"an image of {image.dtype}; give uint8, or floats in [0, 255]")
    array = np.array(image, dtype=np.float64)  # torch takes no other byte order and no long double
    low, high = array.min(), array.max()
    if not np.isfinite(low + high) or (bounded and (low < 0 or high > 255)):
        raise InputError(f"an image with values from {low:g} to {high:g}; give [0, 255]")
    if image.dtype != np.uint8 and 0 < high <= 1 and low >= 0:
        raise InputError("an image of floats in [0, 1]; expected [0, 255]: multiply by 255")
    return to_tensor(array, torch.device("cpu"))


def to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """Pixels (H, W) or (H, W, 3), uint8, of an image (1 or 3, H, W) of whole levels in [0, 255]."""
    planes = image.to(torch.uint8).cpu()
    pixels = planes[0] if planes.shape[0] == 1 else planes.permute(1, 2, 0)
    return np.ascontiguousarray(pixels.numpy())


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file with these pixels: (H, W) or (H, W, 3), uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def modcrop(image: Tensor, scale: int) -> Tensor:
    """The top left part of an image (C, H, W) with sides that are multiples of the scale s.

    Returns:
        (C, H - H % s, W - W % s), a view.
    """
    height, width = image.shape[-2:]
    return image[..., : height - height % scale, : width - width % scale]


def crop_border(image: Tensor, border: int) -> Tensor:
    """An image (C, H, W) without `border` pixels on each side: (C, H - 2 border, W - 2 border)."""
    height, width = image.shape[-2:]
    return image[..., border : height - border, border : width - border]


def _weighted(image: Tensor, which: int, *, rounded: bool) -> Tensor:
    """Y, Cb or Cr of RGB (3, H, W) in [0, 255]: (H, W).

    RGB of whole levels gives the same bits on every machine. The sum then holds integers below
    2^53, which float64 adds exactly in any order. So a luma of exactly half a level is always
    rounded up.

    Args:
        image: (3, H, W), float64 in [0, 255].
        which: 0 for Y, 1 for Cb, 2 for Cr.
        rounded: round to whole levels, half up, and clip to [0, 255].
    """
    red, green, blue = _YCBCR[which]
    # Added in place, so that only one plane is allocated.
    total = (image[0] * red).add_(image[1], alpha=green).add_(image[2], alpha=blue)
    if not rounded:
        return total.div_(_PER_LEVEL).add_(_OFFSETS[which])
    whole = total.add_(_PER_LEVEL // 2).div_(_PER_LEVEL).floor_()
    return whole.add_(_OFFSETS[which]).clamp_(0, 255)


def luma(rgb: Tensor, *, rounded: bool = False) -> Tensor:
    """BT.601 luma of (3, H, W) RGB in [0, 255]: (1, H, W) in [16, 235].

    Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255, as MATLAB's `rgb2ycbcr`.

    Args:
        rgb: (3, H, W), float64 in [0, 255].
        rounded: round to whole levels, half up. For RGB of whole levels, this is exactly
            `(65481 R + 128553 G + 24966 B + 127500) // 255000 + 16`.
    """
    return _weighted(rgb, 0, rounded=rounded)[None]


def as_luma(image: Tensor, *, rounded: bool = True) -> Tensor:
    """Luma of an image (1 or 3, H, W) in [0, 255]: (1, H, W), in whole levels where `rounded`.

    A grayscale image is returned unchanged: its gray values are taken as luma.
    """
    return image if image.shape[0] == 1 else luma(image, rounded=rounded)


def rgb_to_ycbcr(rgb: Tensor, *, rounded: bool = False) -> Tensor:
    """Y, Cb, Cr (3, H, W) in BT.601 studio range of RGB (3, H, W) in [0, 255].

    Args:
        rgb: (3, H, W), float64 in [0, 255].
        rounded: round to whole levels, as MATLAB's `rgb2ycbcr` of a uint8 image.
    """
    return torch.stack([_weighted(rgb, which, rounded=rounded) for which in range(len(_YCBCR))])


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """RGB (3, H, W) of Y, Cb, Cr (3, H, W): the inverse of `rgb_to_ycbcr`.

    The result is neither rounded nor clipped, and may leave [0, 255].
    """
    matrix = torch.tensor(_YCBCR, dtype=torch.float64) / _PER_LEVEL
    inverse = torch.linalg.inv(matrix).to(ycbcr)  # in float64, then in the image's dtype
    offsets = torch.tensor(_OFFSETS, dtype=ycbcr.dtype, device=ycbcr.device)
    return torch.einsum("ij,jhw->ihw", inverse, ycbcr - offsets[:, None, None])
