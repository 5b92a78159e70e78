"""Feeding: training images are degraded once, and patches are cut out of memory by index.

The batch of an update depends only on the seed and the update's number. So training can continue
at any update without saved state, and each process draws the whole batch and takes a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from bench import images
from bench.training import degradations
from zoo.errors import InputError
from zoo.method import Method
from zoo.recipe import Descent
from zoo.resample import round_half_up


def mixed(*numbers: int) -> int:
    """A 32-bit seed for a torch generator, mixed from several numbers."""
    # SeedSequence makes unrelated seeds from neighbouring numbers.
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def generator(seed: int, number: int, stream: int = 0) -> torch.Generator:
    """A random generator for each number of each stream of a seed."""
    return torch.Generator().manual_seed(mixed(seed, stream, number))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A training image: HR, and LR if LR comes from a file."""

    name: str
    hr: Tensor
    """(3, H, W) or (1, H, W), uint8."""
    lr: Tensor | None = None
    """(3, h, w) or (1, h, w), uint8."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The patches of an update."""

    x: Tensor
    """(N, C, p, p), float32 in [0, 1]: LR, or LR at the HR size."""
    hr: Tensor
    """(N, C, P, P), float32 in [0, 1]."""
    scale: int


class _Store:
    """Images end to end in a single tensor, from which patches are taken by index."""

    def __init__(self, planes: Sequence[Tensor], device: torch.device) -> None:
        """Keep images (C, H, W) in [0, 255], uint8 or float32; C is the same for all."""
        sizes = torch.tensor([plane.shape[-2:].numel() for plane in planes])
        self._starts = (torch.cumsum(sizes, 0) - sizes).to(device)
        self._widths = torch.tensor([plane.shape[-1] for plane in planes], device=device)
        self._flat = torch.cat([plane.flatten(1) for plane in planes], 1).to(device)

    def patches(self, which: Tensor, top: Tensor, left: Tensor, turn: Tensor, side: int) -> Tensor:
        """Patches (N, C, side, side), float32 in [0, 1].

        Args:
            which: (N,), the number of each patch's image.
            top, left: (N,), each patch's top left corner, in pixels.
            turn: (N,), in 0 to 7: bit 0 swaps rows and columns, bit 1 flips top and bottom, bit 2
                flips left and right.
            side: side of the patches, in pixels.
        """
        swap, down, right = (((turn >> bit) & 1).bool() for bit in range(3))
        width = self._widths[which]
        start = self._starts[which] + top * width + left
        start = start + torch.where(down, (side - 1) * width, 0) + torch.where(right, side - 1, 0)
        row, column = torch.where(down, -width, width), torch.where(right, -1, 1)
        row, column = torch.where(swap, column, row), torch.where(swap, row, column)
        along = torch.arange(side, device=which.device)
        rows = (start[:, None] + row[:, None] * along)[:, :, None]
        index = rows + (column[:, None] * along)[:, None, :]  # the only work on every pixel
        found = self._flat.index_select(1, index.flatten()).to(torch.float32)
        planes = found.view(len(self._flat), *index.shape).transpose(0, 1)
        return planes.contiguous().div_(255)


class Feed:
    """All training examples, and the batch of each update."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        method: Method,
        descent: Descent,
        scale: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """Degrade every picture by every degradation at every scale, once.

        Raises:
            InputError: a degradation is unknown, LR has the wrong size, the border leaves nothing
                of a patch, or the scales cannot be mixed in this way.
        """
        self._descent, self._seed, self._device = descent, seed, device
        self.scales = descent.scales or (scale,)
        _refuse(method, descent, self.scales)
        inputs: list[Tensor] = []
        targets: list[Tensor] = []
        entries: list[tuple[int, int, int]] = []  # scale, height and width of the input
        for each in self.scales:
            for picture in pictures:
                for x, hr in _pairs(picture, method, descent, each):
                    height, width = x.shape[-2:]
                    inputs.append(x)
                    targets.append(hr)
                    entries.append((each, height, width))
        self._factor = {each: method.factor(each) for each in self.scales}
        self._inputs, self._targets = _Store(inputs, device), _Store(targets, device)
        self._table = torch.tensor(entries)
        self._groups = {
            each: torch.nonzero(self._table[:, 0] == each)[:, 0] for each in self.scales
        }
        self._grid = _grid(self._table, descent) if descent.stride else None
        # Two epochs, because a batch may begin in one epoch and end in the next.
        self._order = lru_cache(maxsize=2)(self._permutation)
        self.examples = len(entries) if self._grid is None else len(self._grid)
        """Number of patches of the grid; number of images if places are random."""

    def batch(self, update: int, part: slice) -> Batch:
        """A process's part of the global batch of an update.

        Args:
            update: number of the update, counted from 0.
            part: the process's patches of the global batch.
        """
        descent, drawn = self._descent, generator(self._seed, update)
        count = descent.batch
        scale = self.scales[0]
        if descent.mixing == "updates":  # all processes draw the same scale
            scale = self.scales[int(torch.randint(len(self.scales), (), generator=drawn))]
        if self._grid is not None:
            which, top, left = self._on_grid(self._grid, update, count).unbind(1)
        else:
            which, top, left = self._anywhere(scale, count, drawn)
        turn = torch.zeros(count, dtype=torch.int64)
        if descent.augment == "flips":
            turn = torch.randint(2, (count,), generator=drawn) * 4  # bit 2: left to right
        elif descent.augment == "flips and turns":
            turn = torch.randint(8, (count,), generator=drawn)
        # Only now, after the draws: they must be the same in every process.
        own = [a[part].to(self._device) for a in (which, top, left, turn)]
        which, top, left, turn = own
        factor, side = self._factor[scale], descent.patch
        return Batch(
            x=self._inputs.patches(which, top, left, turn, side),
            hr=self._targets.patches(which, top * factor, left * factor, turn, side * factor),
            scale=scale,
        )

    def _anywhere(
        self, scale: int, count: int, drawn: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Random patches: image numbers, tops and lefts in input pixels, each of shape (count,)."""
        among = self._groups[scale] if self._descent.mixing == "updates" else None
        table = self._table if among is None else self._table[among]
        places = table[:, 1:] - self._descent.patch + 1  # possible tops and lefts in each image
        if self._descent.draw == "places":
            weights = places.prod(1).to(torch.float64)
            picked = torch.multinomial(weights, count, replacement=True, generator=drawn)
        else:
            picked = torch.randint(len(table), (count,), generator=drawn)
        at = torch.rand((2, count), generator=drawn, dtype=torch.float64)
        top, left = (at * places[picked].T).long().unbind(0)
        return picked if among is None else among[picked], top, left

    def _on_grid(self, grid: Tensor, update: int, count: int) -> Tensor:
        """Patches of the grid (K, 3) for an update, as rows of image, top and left: (count, 3).

        Each patch comes once an epoch; each epoch has a new order.
        """
        numbers = torch.arange(update * count, (update + 1) * count)
        epochs = numbers // len(grid)
        picked = [
            self._order(int(epoch))[numbers[epochs == epoch] % len(grid)]
            for epoch in range(int(epochs[0]), int(epochs[-1]) + 1)
        ]
        return grid[torch.cat(picked)]

    def _permutation(self, epoch: int) -> Tensor:
        """Numbers of the grid's patches in the order of an epoch, of shape (examples,)."""
        return torch.randperm(self.examples, generator=generator(self._seed, epoch, stream=1))


def refuse_small(hr: Tensor, name: str, method: Method, descent: Descent, scale: int) -> None:
    """Refuse an image (C, H, W) that is too small for a patch.

    Raises:
        InputError: at a trained scale, the network's input is smaller than a patch.
    """
    for each in descent.scales or (scale,):
        # Interpolated LR is as large as HR, which is cut to a multiple of the scale.
        needed = descent.patch * each if method.takes == "LR" else -(-descent.patch // each) * each
        if min(hr.shape[-2:]) < needed:
            raise InputError(
                f"{name}: {hr.shape[-1]}x{hr.shape[-2]} px are too small for a patch, which needs "
                f"{needed}x{needed} px at x{each}; give larger images, or --set patch=SIDE"
            )


def _refuse(method: Method, descent: Descent, scales: Sequence[int]) -> None:
    """Refuse choices by which the loss would compare wrong pixels or no pixels.

    Raises:
        InputError: the border leaves nothing of a patch, or the scales cannot be mixed in this way.
    """
    side = descent.patch * min(method.factor(each) for each in scales)
    if 2 * descent.border >= side:
        raise InputError(
            f"border={descent.border} leaves nothing of {side}x{side} px; give less than half"
        )
    if len(scales) == 1:
        return
    if descent.mixing == "patches" and method.takes == "LR":
        raise InputError(
            f"mixing=patches: {method.name} takes LR, whose HR differs in size from scale to "
            "scale; give mixing=updates, or one of scales"
        )
    if descent.mixing == "updates" and descent.stride:
        raise InputError(
            f"mixing=updates draws a scale an update, but stride={descent.stride} takes patches of "
            "all scales in turn; give stride=0, or mixing=patches"
        )


def _grid(table: Tensor, descent: Descent) -> Tensor:
    """All patches of the grid, as rows of image, top and left: (K, 3), in input pixels.

    Args:
        table: (images, 3), each image's scale, and the height and width of the network's input.
        descent: the recipe, for the patch's side and the stride.
    """
    found = []
    for which, (_, height, width) in enumerate(table.tolist()):
        tops = torch.arange(0, height - descent.patch + 1, descent.stride)
        lefts = torch.arange(0, width - descent.patch + 1, descent.stride)
        places = torch.cartesian_prod(tops, lefts)
        found.append(torch.cat([torch.full((len(places), 1), which), places], 1))
    return torch.cat(found)


def _pairs(
    picture: Picture, method: Method, descent: Descent, scale: int
) -> list[tuple[Tensor, Tensor]]:
    """The network's input and HR of a picture, a pair for each degradation.

    The input is (C, h, w), uint8 or float32 in [0, 255]. HR is (C, H, W), uint8, with C = 1 for a
    luma method and 3 for an RGB method.
    """
    hr = images.modcrop(picture.hr, scale)
    rgb = hr.to(torch.float64)
    if method.channels == "luma":
        rgb = images.as_luma(rgb)
    elif hr.shape[0] == 1:
        rgb = rgb.expand(3, -1, -1)
    target = rgb.to(torch.uint8)
    found = []
    ways = degradations.parse(descent.degradation)
    if not ways:
        found.append((_given(picture, method, scale, target), target))
    for way in ways:
        lr = way.degrade(rgb, scale)
        x = lr
        if method.takes == "interpolated":
            x = way.interpolate(lr, scale, method.kernel)
        whole = way.eight_bit
        if method.channels != "luma" and not whole:  # an RGB method gets the levels of a file
            x, whole = round_half_up(x), True
        found.append((x.to(torch.uint8 if whole else torch.float32), target))
    return found


def _given(picture: Picture, method: Method, scale: int, hr: Tensor) -> Tensor:
    """A picture's LR from a file, as the network's input: (C, h, w), uint8.

    Args:
        picture: the picture with LR.
        method: the method, which may take interpolated LR.
        scale: the trained scale.
        hr: (C, H, W), the picture's HR, for the expected size and number of planes.

    Raises:
        InputError: the picture has no LR, or LR of another size.
    """
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    if picture.lr is None or tuple(picture.lr.shape[-2:]) != size:
        given = "none" if picture.lr is None else "{1}x{0} px".format(*picture.lr.shape[-2:])
        raise InputError(
            f"{picture.name}: its LR is {given}; expected {size[1]}x{size[0]} px at x{scale}: give "
            "--lr a folder that holds LR images under the HR images' names"
        )
    lr = picture.lr.to(torch.float64)
    lr = images.as_luma(lr) if hr.shape[0] == 1 else lr.expand(3, -1, -1)
    if method.takes == "interpolated":
        # A file's LR has 8 bits, so the interpolation has 8 bits too.
        lr = degradations.Degradation(path="matlab-uint8").interpolate(lr, scale, method.kernel)
    return lr.to(torch.uint8)
