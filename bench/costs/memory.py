"""Memory for an output image of 1280x720, read off the traced graph."""

from __future__ import annotations

from torch import nn

from bench.costs import Cost, Subject
from bench.graph import growth

TIMED = False
UNITS = {"peak_memory": "MiB"}


def parameter_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers; a shared tensor counts once."""
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def measure(subject: Subject) -> dict[str, Cost]:
    """MiB of parameters, buffers and the peak of all feature maps, in the module's dtype.

    LR has 1280x720 pixels divided by the scale, rounded up. The workspace of a convolution is not
    included, because the library chooses the workspace and machines differ.

    Raises:
        InputError: the forward pass cannot be traced.
    """
    rows, columns = subject.lr_720p
    grown = growth.of_method(subject.method, subject.module, subject.scale, (rows, columns))
    peak = grown.graph((rows, columns)).peak_bytes
    total = parameter_bytes(subject.module) + peak
    size = f"{columns * subject.scale}x{rows * subject.scale}"
    note = f"{size} output, run whole in the default way, without workspaces"
    return {"peak_memory": Cost(total / 2**20, note=note)}
