"""FSRCNN(d, s, m): shrink, map and expand at LR size, then one transposed convolution.

Dong, Loy, Tang: Accelerating the Super-Resolution Convolutional Neural Network, ECCV 2016,
section 3.2; FSRCNN(56, 12, 4) is the paper's choice. Where the authors' test program differs from
the paper or says more, this file follows the program, because their weights belong to it:

- Every convolution replicates the edge pixels of its input. So does the transposed convolution, by
  one pixel on each side.
- A PReLU has one slope for all channels. The paper writes one for each channel.
- The centre of a 9x9 filter lies on one pixel of the scale x scale HR pixels of an LR pixel: the
  first in each direction at x2 and x4, the middle at x3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from zoo.errors import InputError
from zoo.method import Method, Recipe, Settings
from zoo.recipe import Descent

NAMES = ("fsrcnn",)

_LARGEST = 9  # at larger scales the 9x9 filters of the last layer would not reach every HR pixel
_SIDE = 9  # of the last layer's filters
_CENTRES = {2: 0, 3: 1, 4: 0}
"""HR pixel under a filter's centre, counted from the first HR pixel of the LR pixel, by scale. From
the authors' `deconv.m`; at x3, `shave_x3` moves SR by one pixel. At other scales, the middle."""
_SHORT = Descent(
    patch=19,
    draw="places",
    augment="flips and turns",
    loss="l2",
    rate=2e-3,
    schedule="cosine",
    warmup=100,
    batch=16,
    updates=5_000,
)
_SLOPE = 0.25  # where a PReLU starts: He et al., Delving Deep into Rectifiers, ICCV 2015


class FSRCNN(nn.Module):
    """Conv(5, d), Conv(1, s), m times Conv(3, s), Conv(1, d), DeConv(9, 1) (section 3.2).

    A PReLU with one slope follows each convolution, but not the last layer. Convolutions have He
    initialisation for PReLU. The last layer is drawn from a normal distribution of standard
    deviation 0.001, as in SRCNN (section 4.1).

    Raises:
        InputError: a scale above 9.
    """

    def __init__(self, scale: int, d: int, s: int, m: int) -> None:
        super().__init__()
        if scale > _LARGEST:
            raise InputError(
                f"FSRCNN has no x{scale}: its last filters are 9x9; choose a scale up to 9"
            )
        widths = [(1, d, 5), (d, s, 1), *[(s, s, 3)] * m, (s, d, 1)]
        self.convs = nn.ModuleList(_conv(*width) for width in widths)
        self.slopes = nn.ModuleList(nn.PReLU(init=_SLOPE) for _ in widths)
        centre = _CENTRES.get(scale, (scale - 1) // 2)
        # `forward` adds an LR pixel on each side, which `padding` removes again
        self.deconv = nn.ConvTranspose2d(
            d,
            1,
            _SIDE,
            stride=scale,
            padding=scale + _SIDE // 2 - centre,
            output_padding=scale - 1 - 2 * centre,
        )
        nn.init.normal_(self.deconv.weight, std=1e-3)
        if self.deconv.bias is not None:
            nn.init.zeros_(self.deconv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 1, scale*h, scale*w) of LR luma x, (N, 1, h, w) in [0, 1]."""
        for conv, slope in zip(self.convs, self.slopes, strict=True):
            x = slope(conv(x))  # (N, d or s, h, w)
        x = pad(x, (1, 1, 1, 1), mode="replicate")  # (N, d, h + 2, w + 2)
        out: Tensor = self.deconv(x)  # (N, 1, scale*h, scale*w)
        return out


def _conv(before: int, after: int, side: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, side, padding=side // 2, padding_mode="replicate")
    nn.init.kaiming_normal_(conv.weight, a=_SLOPE)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def from_mat(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dict of an `FSRCNN` from the authors' `.mat` layout.

    Args:
        arrays: `weights_conv`, `biases_conv` and `prelu_conv`, each a cell array with an entry for
            each layer: weights (in, f*f, out), the filters stored column by column; out biases; one
            slope. The last layer is the transposed convolution, (1, 9*9, in). It has no slope;
            `prelu_conv` may hold an entry for it, which the authors' program does not read.

    Returns:
        `convs.<k>.weight` (out, in, f, f), `convs.<k>.bias` (out,), `slopes.<k>.weight` (1,),
        `deconv.weight` (in, 1, 9, 9) and `deconv.bias` (1,), float32.

    Raises:
        InputError: a name is missing or surplus, or a layer has another shape.
    """
    names = ("weights_conv", "biases_conv", "prelu_conv")
    if set(arrays) != set(names):
        raise InputError(
            f"not the authors' FSRCNN layout: holds {sorted(arrays)}; expected {', '.join(names)}"
        )
    weights, biases, slopes = (list(np.asarray(arrays[name]).reshape(-1)) for name in names)
    last = len(weights) - 1
    if last < 1 or len(biases) != len(weights) or len(slopes) not in (last, last + 1):
        raise InputError(
            f"not the authors' FSRCNN layout: {len(weights)} weights, {len(biases)} biases and "
            f"{len(slopes)} slopes; expected an entry for each layer"
        )
    state = {}
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        layer = f"convs.{k}" if k < last else "deconv"
        state[f"{layer}.weight"], state[f"{layer}.bias"] = _filters(weight), _numbers(bias)
        if k < last:
            state[f"slopes.{k}.weight"] = _numbers(slopes[k])
    return state


def _filters(columns: Any) -> Tensor:
    """Filters (out, in, f, f) of a layer's weights (in, f*f, out), stored column by column.

    Of a transposed convolution, (1, f*f, in), the filters are (in, 1, f, f).
    """
    array = np.array(columns, np.float32)
    array = array.reshape(*array.shape, *[1] * (3 - array.ndim))  # MATLAB drops a last length of 1
    side = round(array.shape[1] ** 0.5) if array.ndim == 3 else 0
    if array.ndim != 3 or side * side != array.shape[1]:
        raise InputError(
            f"not the authors' FSRCNN layout: weights of shape {array.shape}; expected (in, f*f, "
            "out)"
        )
    square = array.transpose(2, 0, 1).reshape(array.shape[2], array.shape[0], side, side)
    return torch.from_numpy(square.swapaxes(-1, -2).copy())


def _numbers(array: Any) -> Tensor:
    """The numbers of an array as a float32 vector."""
    return torch.from_numpy(np.array(array, np.float32).reshape(-1))


def _build(scale: int, settings: Settings) -> nn.Module:
    return FSRCNN(scale, settings["d"], settings["s"], settings["m"])


def _multiplies(scale: int, settings: Settings) -> float:
    d, s, m = settings["d"], settings["s"], settings["m"]
    return float(25 * d + 2 * d * s + m * 9 * s**2 + _SIDE**2 * d)  # last: per LR pixel


def method(name: str) -> Method:
    """The `Method` of FSRCNN.

    The authors publish `.mat` files inside an archive, at
    http://mmlab.ie.cuhk.edu.hk/projects/FSRCNN.html. `fsrcnn@FILE` loads such a file.
    """
    return Method(
        name=name,
        citation="Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, "
        "ECCV 2016",
        takes="LR",
        channels="luma",
        scales=tuple(range(2, _LARGEST + 1)),
        settings={"d": 56, "s": 12, "m": 4},
        build=_build,
        multiplies=_multiplies,
        convert=from_mat,
        recipes=(Recipe(name="short", citation="this project", data=("t91",), learn=_SHORT),),
    )
