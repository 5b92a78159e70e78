"""How a network is run: precision, memory format, compilation, batch, tiles.

Every Result carries it, so that a time stands beside the PSNR of the same setting. The default is
what measures accuracy: float32 without TF32, one image at a time, whole where memory allows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from zoo.errors import InputError

PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
"""What convolutions and matrix products compute in."""
TRAINING_PRECISIONS = ("fp32", "tf32", "bf16")
"""Those that training has: gradients would leave the range of fp16."""
MEMORY_FORMATS = ("contiguous", "channels-last")


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


DEFAULT = Inference()
_BYTES = {"": 1, "b": 1} | {
    f"{prefix}{infix}b": base**power
    for infix, base in (("", 1000), ("i", 1024))
    for power, prefix in enumerate("kmgt", start=1)
}


def parse_bytes(text: str) -> int:
    """Bytes of a size as people write it; kB, MB, GB, TB are decimal, KiB, MiB, GiB, TiB binary.

    >>> parse_bytes("1.5GiB"), parse_bytes("800 MB"), parse_bytes("2e9")
    (1610612736, 800000000, 2000000000)

    Raises:
        InputError: it is none, or less than one byte.
    """
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)(e\+?\d\d?)? *([a-z]*)", text.strip().lower(), re.ASCII)
    unit = _BYTES.get(found[3]) if found else None
    size = int(float(found[1] + (found[2] or "")) * unit) if found and unit else 0
    if not size:
        raise InputError(
            f"{text!r} is no size of memory; give a number and one of kB, MB, GB, TB, KiB, MiB, "
            "GiB, TiB, as in 1.5GiB, or a number of bytes"
        )
    return size
