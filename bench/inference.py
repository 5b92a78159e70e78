"""How a network is run: precision, memory format, compilation, batch, tiles.

Every Result names the setting, so that a time is read beside the PSNR of the same setting. The
default setting measures accuracy: float32 without TF32, one image at a time, and whole images where
memory allows.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zoo.errors import InputError

PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
"""Precisions of convolutions and matrix products."""
TRAINING_PRECISIONS = ("fp32", "tf32", "bf16")
"""Precisions for training. fp16 is left out, because gradients would leave the range of fp16."""
MEMORY_FORMATS = ("contiguous", "channels-last")


@dataclass(frozen=True, kw_only=True)
class Inference:
    """One way to run a network.

    Raises:
        InputError: a value that the setting cannot have.
    """

    precision: str = "fp32"
    """`fp16` and `bf16` are autocast: convolutions in 16 bits, the rest in 32 bits."""
    memory_format: str = "auto"
    """`auto` is channels-last on a processor, where channels-last is faster, else contiguous."""
    compiled: bool = False
    """Whether the network runs through `torch.compile`."""
    batch: int = 1
    """Copies of an image that run at once; a measured time is divided by this number."""
    tile: int | None = None
    """Side of the tiles, in pixels of the network's input; None for whole images."""
    memory: int | None = None
    """Bytes that an image's feature maps may take in one piece; None for a share of free memory."""

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("precision", self.precision, PRECISIONS),
            ("memory_format", self.memory_format, ("auto", *MEMORY_FORMATS)),
            ("compiled", self.compiled, (False, True)),
        ):
            if value not in choices:
                raise InputError(f"{name} {value!r}; choose from: {', '.join(map(str, choices))}")
        for name in ("batch", "tile", "memory"):
            count = getattr(self, name)
            if (name == "batch" or count is not None) and not (type(count) is int and count >= 1):
                raise InputError(f"{name} {count!r}; give an integer of at least 1")

    @property
    def label(self) -> str:
        """The setting as Results name a setting; empty for the default.

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
    """Bytes of a size as people write sizes: kB, MB, GB, TB decimal; KiB, MiB, GiB, TiB binary.

    >>> parse_bytes("1.5GiB"), parse_bytes("800 MB"), parse_bytes("2e9")
    (1610612736, 800000000, 2000000000)

    Raises:
        InputError: the text is no size, or less than one byte.
    """
    # ASCII, because \d also matches the digits of other scripts.
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)(e\+?\d\d?)? *([a-z]*)", text.strip().lower(), re.ASCII)
    unit = _BYTES.get(found[3]) if found else None
    size = int(float(found[1] + (found[2] or "")) * unit) if found and unit else 0
    if not size:
        raise InputError(
            f"{text!r} is no size of memory; give a number of bytes, or a number with kB, MB, GB, "
            "TB, KiB, MiB, GiB or TiB, for example 1.5GiB"
        )
    return size


def _precisions(*, tf32: bool) -> list[tuple[Any, str, str | bool]]:
    """Where PyTorch keeps the precision of float32 products: holder, attribute, value to set."""
    import torch

    backends: Any = torch.backends
    if not hasattr(backends, "fp32_precision"):  # before PyTorch 2.9
        return [(backends.cuda.matmul, "allow_tf32", tf32), (backends.cudnn, "allow_tf32", tf32)]
    of_gpu = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    of_processor = (getattr(backends.mkldnn, part) for part in ("matmul", "conv", "rnn"))
    return [
        *((holder, "fp32_precision", "tf32" if tf32 else "ieee") for holder in of_gpu),
        *((holder, "fp32_precision", "ieee") for holder in of_processor),
    ]


@contextlib.contextmanager
def switches(inference: Inference) -> Iterator[None]:
    """A context in which TF32 is on if the setting's precision is TF32, and off otherwise."""
    # PyTorch switches TF32 for the whole process, so the state before is restored.
    wanted = _precisions(tf32=inference.precision == "tf32")
    before = [(holder, name, getattr(holder, name)) for holder, name, _ in wanted]
    for holder, name, value in wanted:
        setattr(holder, name, value)
    try:
        yield
    finally:
        for holder, name, value in before:
            setattr(holder, name, value)
