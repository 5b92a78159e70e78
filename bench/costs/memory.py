"""Memory that one 1280x720 output takes, read off the graph."""

from __future__ import annotations

import math

import torch
from torch import nn

from bench.costs import OUTPUT_720P, Cost, Subject
from bench.graph import trace, trace_method

TIMED = False
UNITS = {"peak_memory": "MiB"}
_SIDE = 256
"""Side of the image of `bytes_per_pixel`: sparse coding's 31 chunks take seconds to trace."""


def bytes_per_pixel(module: nn.Module, channels: int, dtype: torch.dtype) -> float:
    """Bytes that the forward pass takes at its peak for each pixel of its input.

    The input and the output are among them; weights are not, nor is a convolution's workspace. On
    a processor that is mostly one feature map laid out anew: VDSR took 1.5 times what is said here,
    EDSR-baseline 1.1 times. It is that of an image of 256x256 pixels: exact for networks; for
    methods that compare some patches at once with a dictionary up to 4 times what it is on large
    images, since what such a chunk takes is shared out among more pixels there.

    Args:
        module: what is run.
        channels: planes of its input.
        dtype: of its input.

    Raises:
        InputError: the forward pass cannot be traced.
    """
    x = torch.empty(1, channels, _SIDE, _SIDE, dtype=dtype, device="meta")
    return trace(module, x).peak_bytes / _SIDE**2


def parameter_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers, each shared one once."""
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def measure(subject: Subject) -> dict[str, Cost]:
    """Parameters, buffers, and the most that feature maps take at once, in the module's dtype.

    LR has 1280x720 pixels divided by the scale, rounded up. What a convolution needs while it
    runs (its workspace) is not included: it is the library's choice, and differs by machine.

    Raises:
        InputError: the forward pass cannot be traced.
    """
    rows, columns = (math.ceil(side / subject.scale) for side in OUTPUT_720P)
    graph = trace_method(subject.method, subject.module, subject.scale, (rows, columns))
    total = parameter_bytes(subject.module) + graph.peak_bytes
    size = f"{columns * subject.scale}x{rows * subject.scale}"
    note = f"{size} output, run whole in the default way, without workspaces"
    return {"peak_memory": Cost(total / 2**20, note=note)}
