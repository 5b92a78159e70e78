"""What a network takes and how much it enlarges, found by running it on a small image."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.graph.trace import computing_dtype
from zoo.errors import InputError, one_line
from zoo.method import Channels

_SIDE = 48
"""Side of the image, in pixels; a multiple of usual windows."""


class Probed(NamedTuple):
    """What a network takes."""

    channels: Channels
    factor: int
    """How many times larger the output is than the input, per side."""


def probe(
    network: nn.Module, label: str, channels: Channels | str = "", padded_to: int = 1
) -> Probed:
    """Channels and enlargement of a network that maps (1, C, h, w) to (1, C, H, W).

    Three channels are tried before one, unless the channels are known.

    Args:
        network: in evaluation mode.
        label: the method, for messages.
        channels: planes, if they are known.
        padded_to: the side of the image is a multiple of this number.

    Raises:
        InputError: it runs on neither, or its output is no image of a multiple of the size.
    """
    side = math.lcm(padded_to, _SIDE) if padded_to <= _SIDE else padded_to
    wanted = {"luma": (1,), "RGB": (3,)}.get(channels, (3, 1))
    # A network without parameters takes any type, and the usual one is tried.
    has_type = next(network.parameters(), None) is not None
    dtype = computing_dtype(network) if has_type else torch.float32
    faults = []
    for planes in wanted:
        try:
            with torch.no_grad():
                out = network(torch.zeros(1, planes, side, side, dtype=dtype))
        except (Exception, SystemExit) as error:  # a network may raise anything
            faults.append(f"{planes} channels: {one_line(error, 120)}")
            continue
        if not isinstance(out, Tensor):
            raise InputError(f"{label}: gave a {type(out).__name__}; expected a tensor")
        if (
            out.ndim != 4
            or out.shape[1] != planes
            or out.shape[2] % side
            or (out.shape[2] != out.shape[3])
        ):
            faults.append(f"{planes} channels: gave {tuple(out.shape)} for {side}x{side} px")
            continue
        return Probed("RGB" if planes == 3 else "luma", out.shape[2] // side)
    raise InputError(
        f"{label}: does not enlarge an image of {side}x{side} px: {', '.join(faults)}; say "
        "what it takes: channels, multiple, or the arguments of a class"
    )
