"""A network ready to run: in a precision and memory format, compiled, batched, cut into tiles."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from bench import machine
from bench.inference import Inference
from bench.tiles import Tiled
from zoo.errors import InputError

AUTOCAST: dict[str, torch.dtype | None] = {
    "fp32": None,
    "tf32": None,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
"""Precision to the autocast dtype of convolutions and matrix products; None: no autocast."""
_LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


def layout(inference: Inference, device: torch.device) -> torch.memory_format:
    """The memory format of feature maps on a device."""
    automatic = "channels-last" if device.type == "cpu" else "contiguous"
    return _LAYOUTS[automatic if inference.memory_format == "auto" else inference.memory_format]


def refuse_unsupported(inference: Inference, device: torch.device) -> None:
    """Refuse a setting that the device does not support.

    Raises:
        InputError: the precision is TF32 and the device is no NVIDIA GPU.
    """
    if inference.precision == "tf32" and device.type != "cuda":
        raise InputError(
            f"tf32 is a precision of NVIDIA GPUs, not of {device.type}; give --device cuda, "
            "or another --precision"
        )


def program_of(module: nn.Module) -> str:
    """The program that computes a module in PyTorch's place, with its version; '' for PyTorch."""
    found = (getattr(part, "program", "") for part in module.modules())
    return next((program for program in found if isinstance(program, str) and program), "")


def timed_as(module: nn.Module) -> str:
    """What the time of a module includes beside its computation; '' for a network."""
    found = (getattr(part, "timed_as", "") for part in module.modules())
    return next((words for words in found if isinstance(words, str) and words), "")


def remarks_of(module: nn.Module) -> list[str]:
    """What a module says of its file: what was chosen, stripped or padded. Each is a clause."""
    found = (getattr(part, "remarks", ()) for part in module.modules())
    clauses = (clause for part in found if isinstance(part, tuple) for clause in part)
    return list(dict.fromkeys(map(str, clauses)))


def _refuse_for_program(module: nn.Module, inference: Inference, device: torch.device) -> None:
    """Refuse what only PyTorch can do of a module that another program computes.

    Raises:
        InputError: the setting or the device.
    """
    program = program_of(module)
    if not program:
        return
    if device.type != "cpu":
        raise InputError(f"{program} computes on the processor here; leave out --device {device}")
    asked = [
        option
        for option, is_asked in (
            (f"--precision {inference.precision}", inference.precision != "fp32"),
            (f"--memory-format {inference.memory_format}", inference.memory_format != "auto"),
            ("--compile", inference.compiled),
            (f"--batch {inference.batch}", inference.batch > 1),
        )
        if is_asked
    ]
    if asked:
        raise InputError(f"{program} runs the file as it is; leave out {' and '.join(asked)}")


class _Run(nn.Module):
    """A network in a precision and memory format: (N, C, h, w) to (N, C, factor * h, factor * w).

    Each image is computed `batch` times at once, and the output of the first copy is returned.
    """

    def __init__(self, network: nn.Module, inference: Inference, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self.layout = layout(inference, device)
        self.batch = inference.batch
        self.autocast = (device.type, AUTOCAST[inference.precision])

    def forward(self, x: Tensor) -> Tensor:
        if self.batch > 1:
            x = x.repeat(self.batch, 1, 1, 1)
        x = x.contiguous(memory_format=self.layout)
        kind, dtype = self.autocast
        with torch.autocast(kind, dtype, enabled=dtype is not None):
            out: Tensor = self.network(x)
        if not (isinstance(out, Tensor) and out.is_floating_point()):
            return out  # breaks the contract of a method; `evaluate` refuses the output
        # Back to the input's dtype, because autocast leaves 16 bits.
        return out[: len(out) // self.batch].to(x.dtype)


def prepare(
    network: nn.Module, inference: Inference, factor: int, device: torch.device, workers: int = 1
) -> Tiled:
    """The network in the setting: autocast, memory format, compilation and tiles applied.

    Args:
        network: with weights loaded, in evaluation mode, on the device.
        inference: the setting.
        factor: how many times larger the output is than the input, per side.
        device: where the network runs.
        workers: how many images run at once and share the memory.

    Returns:
        A module from (N, C, h, w) to (N, C, factor * h, factor * w).

    Raises:
        InputError: the device, or the program that computes the network, does not support the
            setting, or the side of the tiles is below 1.
    """
    refuse_unsupported(inference, device)
    _refuse_for_program(network, inference, device)
    network = network.to(memory_format=layout(inference, device))  # type: ignore[call-overload]
    run: nn.Module = _Run(network, inference, device)
    if inference.compiled:
        run = cast("nn.Module", torch.compile(run))
    return Tiled(
        run,
        network,
        factor,
        inference.tile,
        inference.memory,
        free=machine.memory_for_an_image(device, workers),
        batch=inference.batch,
    )
