"""LR padded to a multiple, for networks that take no other size."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import InputError


class Padded(nn.Module):
    """A network whose input is padded to a multiple of `multiple` pixels, and its output cropped.

    The padding is at the right and at the bottom, by reflection without the edge pixel.

    Args:
        network: from (N, C, h, w) to (N, C, H, W).
        multiple: pixels of the network's input.
    """

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple
        self.remarks: tuple[str, ...] = (
            *getattr(network, "remarks", ()),
            f"LR padded to a multiple of {multiple} px by reflection at the right and the bottom",
        )

    def forward(self, x: Tensor) -> Tensor:
        """SR of x, (N, C, h, w).

        Raises:
            InputError: a side is too small for the reflection.
        """
        height, width = x.shape[-2:]
        below, right = -height % self.multiple, -width % self.multiple
        if below >= height or right >= width:
            raise InputError(
                f"{width}x{height} px cannot be reflected to a multiple of {self.multiple}; take a "
                "larger image"
            )
        if below or right:
            x = functional.pad(x, (0, right, 0, below), mode="reflect")
        out: Tensor = self.network(x)
        factor = out.shape[-1] // x.shape[-1]
        return out[..., : factor * height, : factor * width]
