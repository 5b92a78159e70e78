"""How a network is run: precision, memory format, compilation, batch, tiles.

Every Result carries it, so that a time stands beside the PSNR of the same setting. The default is
what measures accuracy: float32 without TF32, one image at a time, whole where memory allows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from zoo.errors import InputError

PRECISIONS: dict[str, torch.dtype | None] = {
    "fp32": None,
    "tf32": None,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
"""Each name to what convolutions and matrix products compute in, where that is not float32."""
MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


@dataclass(frozen=True, kw_only=True)
class Inference:
    """One way to run a network."""

    precision: str = "fp32"
    """`fp16` and `bf16` are autocast: convolutions in 16 bits, the rest and the result in 32."""
    memory_format: str = "auto"
    """`auto` is channels-last on a processor, where it is faster, and contiguous elsewhere."""
    compiled: bool = False
    """Through `torch.compile`."""
    batch: int = 1
    """Copies of an image that are run at once; a time is divided by it."""
    tile: int | None = None
    """Side of the tiles in pixels of the network's input; None for whole images."""
    memory: int | None = None
    """Bytes that an image may take before it is cut into tiles; None for what is free."""

    @property
    def label(self) -> str:
        """The setting as Results name it; empty for the default.

        >>> Inference(precision="bf16", memory_format="channels-last", batch=4).label
        'bf16 channels-last batch=4'
        """
        parts = [
            self.precision if self.precision != "fp32" else "",
            self.memory_format if self.memory_format != "auto" else "",
            "compiled" if self.compiled else "",
            f"batch={self.batch}" if self.batch > 1 else "",
            f"tile={self.tile}" if self.tile else "",
            f"memory={self.memory}" if self.memory else "",
        ]
        return " ".join(filter(None, parts))

    def layout(self, device: torch.device) -> torch.memory_format:
        """How feature maps lie in memory on a device."""
        automatic = "channels-last" if device.type == "cpu" else "contiguous"
        return MEMORY_FORMATS[automatic if self.memory_format == "auto" else self.memory_format]

    def check(self, device: torch.device) -> None:
        """Refuse what the device cannot do.

        Raises:
            InputError: TF32 without an NVIDIA GPU.
        """
        if self.precision == "tf32" and device.type != "cuda":
            raise InputError(
                f"tf32 is a precision of NVIDIA GPUs, not of {device.type}; give --device cuda, "
                "or another --precision"
            )

    @contextlib.contextmanager
    def switches(self) -> Iterator[None]:
        """While open, TF32 is on where this asks for it, and off everywhere else."""
        products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
        before = products.allow_tf32, convolutions.allow_tf32
        products.allow_tf32 = convolutions.allow_tf32 = self.precision == "tf32"
        try:
            yield
        finally:
            products.allow_tf32, convolutions.allow_tf32 = before


DEFAULT = Inference()
