"""A network made ready: in its precision and memory format, compiled, batched, cut into tiles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
"""Each precision to the dtype of convolutions and matrix products, where that is not float32."""
_LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


def layout(inference: Inference, device: torch.device) -> torch.memory_format:
    """How feature maps lie in memory on a device."""
    automatic = "channels-last" if device.type == "cpu" else "contiguous"
    return _LAYOUTS[automatic if inference.memory_format == "auto" else inference.memory_format]


def refuse_unsupported(inference: Inference, device: torch.device) -> None:
    """Refuse what the device cannot do.

    Raises:
        InputError: TF32 without an NVIDIA GPU.
    """
    if inference.precision == "tf32" and device.type != "cuda":
        raise InputError(
            f"tf32 is a precision of NVIDIA GPUs, not of {device.type}; give --device cuda, "
            "or another --precision"
        )


@contextlib.contextmanager
def switches(inference: Inference) -> Iterator[None]:
    """While open, TF32 is on where the setting asks for it, and off everywhere else."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = inference.precision == "tf32"
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


class _Run(nn.Module):
    """A network in a precision and memory format, fed `batch` copies; (N, C, h, w) float32."""

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
            return out  # against the contract: whoever looks at it will say so
        return out[: len(out) // self.batch].to(x.dtype)


def prepare(
    network: nn.Module, inference: Inference, factor: int, device: torch.device, workers: int = 1
) -> Tiled:
    """The network as it is to be run: cast, laid out, compiled, and cut into tiles.

    Args:
        network: with its weights, in evaluation mode, on the device.
        inference: the setting.
        factor: how much larger its output is than its input, per side.
        device: where it runs.
        workers: how many images run at once and share the memory.

    Raises:
        InputError: the device cannot do it, or the network cannot be cut into the tiles asked for.
    """
    refuse_unsupported(inference, device)
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
