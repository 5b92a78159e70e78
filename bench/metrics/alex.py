"""ALEX: cosine similarity of AlexNet's features of SR and of HR.

Lal and Javid, Image Super-Resolution using Deep Neural Networks, section 5 and Table 1: "the cosine
similarity between the 9216 dimension feature vector obtained from AlexNet". The vector is the 256
maps of 6x6 before the classifier of Krizhevsky et al., ImageNet Classification with Deep
Convolutional Neural Networks, NIPS 2012. The network here is the single-column form of Krizhevsky,
One Weird Trick for Parallelizing Convolutional Neural Networks, 2014, with the weights that
torchvision publishes.

The paper does not say how an image becomes AlexNet's input. The protocol's `alex_input` does:

- `resize to 256, crop 224`, the default: the shorter side becomes 256 pixels, and the middle
  224x224 pixels are cut out. The publisher of the weights prepares test images in this way, so the
  network is known to work on them. The image's rim is ignored.
- `resize to 224`: both sides become 224 pixels. The whole image counts, in changed proportions.
- `as it is`: no resizing; the maps are averaged down to 6x6. Needs 63x63 pixels.

Resizing is bilinear, with antialiasing, without rounding. Then [0, 255] becomes [0, 1], and each
channel is normalised by ImageNet's mean and deviation. Luma becomes three equal channels.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d, interpolate, max_pool2d

from bench.files import fetch, weight_file
from bench.files.fetch import RemoteFile
from bench.inference import DEFAULT, switches
from bench.protocol import Protocol
from zoo.errors import InputError, unknown

UNIT = ""
HIGHER_IS_BETTER = True
TOLERANCE = 0.0001
"""A tenth of the last printed digit: the paper prints three decimals."""
# torchvision's file name holds the first digits of the SHA-256; no full hash is published.
FILES = (RemoteFile("https://download.pytorch.org/models", "alexnet-owt-7be5be79.pth", "7be5be79"),)
LICENCE = "none stated for the weights; torchvision is BSD-3-Clause, ImageNet is for research only"

_MEAN = (0.485, 0.456, 0.406)
"""Of ImageNet's red, green and blue, in [0, 1]."""
_DEVIATION = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's red, green and blue, in [0, 1]."""
_LEAST = 63
"""Least side of an image, in pixels, at which every pooling of AlexNet has a full window."""
_CONVOLUTIONS = {
    "features.0": ((64, 3, 11, 11), 4, 2),
    "features.3": ((192, 64, 5, 5), 1, 2),
    "features.6": ((384, 192, 3, 3), 1, 1),
    "features.8": ((256, 384, 3, 3), 1, 1),
    "features.10": ((256, 256, 3, 3), 1, 1),
}
"""torchvision's name of a convolution to the weight's shape, the stride and the padding."""
_POOLED = ("features.0", "features.3", "features.10")
"""Convolutions that max pooling follows."""
_CLASSIFIER = {
    "classifier.1": (4096, 9216),
    "classifier.4": (4096, 4096),
    "classifier.6": (1000, 4096),
}

Layers = tuple[tuple[Tensor, Tensor], ...]
"""Weight (out, in, k, k) and bias (out,) of each convolution, float32."""


def measure(sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
    """Cosine similarity of SR's and HR's features, in [0, 1]; 1 for equal features.

    The features are float32, the cosine is float64. The network is loaded once for each device, and
    several threads may use the network.

    Args:
        sr, hr: (C, H, W), float64 in [0, 255], C = 1 or 3.
        protocol: `alex_input` says how an image becomes AlexNet's input.

    Raises:
        InputError: the weights are not here or not AlexNet's, `alex_input` is unknown, or the
            images are too small for it.
    """
    layers = network(sr.device)
    return cosine(*(features(prepared(image, protocol), layers) for image in (sr, hr)))


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two vectors (n,), computed in float64.

    Between two zero vectors the cosine is 1; between a zero vector and any other vector, 0.

    >>> cosine(torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0]))
    0.96
    """
    a, b = a.double(), b.double()
    lengths = math.sqrt(float(a @ a) * float(b @ b))
    if not lengths:
        return float(torch.equal(a, b))
    return float(a @ b) / lengths


def features(image: Tensor, layers: Layers) -> Tensor:
    """AlexNet's features (9216,), float32, of a prepared image (3, H, W)."""
    x = image[None]
    with torch.no_grad(), switches(DEFAULT):  # whatever the measured method may use
        for (name, (_, stride, padding)), (weight, bias) in zip(
            _CONVOLUTIONS.items(), layers, strict=True
        ):
            x = torch.relu_(conv2d(x, weight, bias, stride, padding))
            if name in _POOLED:
                x = max_pool2d(x, 3, 2)
        return adaptive_avg_pool2d(x, (6, 6)).flatten()


def prepared(image: Tensor, protocol: Protocol) -> Tensor:
    """AlexNet's input (3, h, w), float32, normalised, of an image (1 or 3, H, W) in [0, 255].

    Raises:
        InputError: `alex_input` is unknown, or the image is too small for it.
    """
    if protocol.alex_input not in _INPUTS:
        raise unknown("alex_input", protocol.alex_input, _INPUTS)
    shown = _INPUTS[protocol.alex_input](image.double().expand(3, -1, -1) / 255)
    mean, deviation = (shown.new_tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
    return ((shown - mean) / deviation).float()


def _middle(image: Tensor) -> Tensor:
    """The middle (3, 224, 224) of an image (3, H, W) whose shorter side is resized to 256."""
    height, width = image.shape[-2:]
    shorter = min(height, width)
    resized = _resize(image, (256 * height // shorter, 256 * width // shorter))
    top, left = (round((side - 224) / 2) for side in resized.shape[-2:])
    return resized[:, top : top + 224, left : left + 224]


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image (3, H, W) resized to (3, *size)."""
    resized: Tensor = interpolate(
        image[None], size, mode="bilinear", antialias=True, align_corners=False
    )[0]
    return resized


def _as_it_is(image: Tensor) -> Tensor:
    """The image (3, H, W) unchanged.

    Raises:
        InputError: a side is too short for AlexNet.
    """
    height, width = image.shape[-2:]
    if min(height, width) < _LEAST:
        raise InputError(
            f"{width}x{height} px are left to compare; ALEX as it is needs {_LEAST}x{_LEAST}: take "
            "a larger image, or another alex_input"
        )
    return image


_INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "resize to 256, crop 224": _middle,
    "resize to 224": partial(_resize, size=(224, 224)),
    "as it is": _as_it_is,
}


_LOADING = threading.Lock()


def network(device: torch.device) -> Layers:
    """AlexNet's convolutions on a device; the first thread that asks loads the weights.

    Raises:
        InputError: the file of weights is not here, or does not hold AlexNet.
    """
    with _LOADING:  # the cache of `_loaded` alone would let two threads load at the same time
        return _loaded(FILES[0], fetch.local_path(FILES[0]), device)


@lru_cache
def _loaded(file: RemoteFile, path: Path, device: torch.device) -> Layers:
    if not fetch.is_here(file):
        raise InputError(
            f"alex needs {file.path}, which is not in {path.parent}; sisrbench fetch alex gets it"
        )
    read = weight_file.read_tensors(path)
    state = weight_file.fitting(wanted(), read.state, path, "AlexNet").state
    return tuple(
        (state[f"{name}.weight"].to(device), state[f"{name}.bias"].to(device))
        for name in _CONVOLUTIONS
    )


def wanted() -> dict[str, Tensor]:
    """All tensors of torchvision's AlexNet by name, with the expected shapes, on the meta device.

    The classifier is part of the file and is checked too, although the features do not use it.
    """
    shapes = {name: shape for name, (shape, _, _) in _CONVOLUTIONS.items()} | _CLASSIFIER
    return {
        f"{name}.{kind}": torch.empty(shape if kind == "weight" else shape[:1], device="meta")
        for name, shape in shapes.items()
        for kind in ("weight", "bias")
    }
