"""A remark on a network that answers the same image in more than one way."""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.evaluate import hr_and_lr, size_of_sr, super_resolve
from bench.protocol import Protocol
from zoo.errors import InputError
from zoo.method import Method

_SIDE = 64
"""Side of the part of an image that runs again, in pixels of LR."""


def repeat(
    pixels: NDArray[np.uint8],
    scale: int,
    protocol: Protocol,
    method: Method,
    module: nn.Module,
    device: torch.device,
) -> str:
    """What is to be said if two runs on the same corner of an image differ in any bit, else ''.

    A network that draws random numbers, or that keeps something from one image for the next, has no
    single PSNR.

    Args:
        pixels: an HR image, (H, W) or (H, W, 3), uint8.
        scale: the enlargement, per side.
        protocol: the rules.
        method: says which LR image the module takes.
        module: the network with its weights.
        device: where the images are computed.
    """
    corner = pixels[: _SIDE * scale, : _SIDE * scale]

    def sr() -> Tensor:
        hr, lr = hr_and_lr(corner, scale, protocol, method.channels, device)
        return super_resolve(lr, size_of_sr(hr, lr, scale, method), method, module, protocol)

    with contextlib.suppress(InputError):  # the network may refuse a small image
        if not torch.equal(sr(), sr()):
            return (
                "two runs on the same image differ: the network draws random numbers, or keeps "
                "something of the image before, so PSNR changes from run to run"
            )
    return ""
