"""A network made ready: in its precision and memory format, compiled, batched, cut into tiles."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from bench import tiles
from bench.inference import PRECISIONS, Inference
from bench.tiles import Tiled


class _Run(nn.Module):
    """A network in a precision and memory format, fed `batch` copies; (N, C, h, w) float32."""

    def __init__(self, network: nn.Module, inference: Inference, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self.layout = inference.layout(device)
        self.batch = inference.batch
        self.autocast = (device.type, PRECISIONS[inference.precision])

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
    inference.check(device)
    network = network.to(memory_format=inference.layout(device))  # type: ignore[call-overload]
    run: nn.Module = _Run(network, inference, device)
    if inference.compiled:
        run = cast("nn.Module", torch.compile(run))
    return Tiled(
        run,
        network,
        factor,
        inference.tile,
        inference.memory,
        free=tiles.default_bound(device, workers),
        batch=inference.batch,
    )
