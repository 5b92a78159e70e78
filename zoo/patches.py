"""What the methods of overlapping patches share: gradient features, matching pursuit, averaging.

Zeyde et al. (On Single Image Scale-Up Using Sparse-Representations, 2010) take patches of 3x3 LR
pixels, in HR pixels 3s x 3s, one at each LR pixel but for a border of one LR pixel. A patch is
described by the gradients of interpolated LR in it, reduced by PCA; what a method adds to the
interpolated patch is averaged where patches overlap. Timofte's K-SVD, GR, ANR, A+ and neighbour
embeddings keep all of this.

Gradients reach `s` pixels beyond a patch, so that a feature is linear in a window of 5s x 5s: the
four filters and the PCA together are one convolution of stride s.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad, pixel_shuffle

from zoo.errors import InputError

PATCH = 3
"""Side of a patch, in LR pixels."""
WINDOW = PATCH + 2
"""Side of what a patch's features see, in LR pixels; no smaller image has a patch, since none lies
on the border."""


def refuse_without_patch(rows: int, columns: int) -> None:
    """Accept LR of that size.

    Raises:
        InputError: it holds no patch.
    """
    if min(rows, columns) < WINDOW:
        raise InputError(
            f"LR of {columns}x{rows} px holds no patch; give at least {WINDOW}x{WINDOW} px, "
            "or take bicubic"
        )


def filter_same(x: Tensor, taps: Sequence[float], dim: int) -> Tensor:
    """MATLAB's `conv2(x, taps, 'same')` along one dimension of (..., H, W): the same shape.

    Zeros stand outside. A filter of even length is centred on its tap `len // 2` counted from 0,
    where SciPy's and NumPy's `same` take the one before: at x3, whose gradient has four taps,
    that would cost K-SVD 0.3 dB and ANR 0.25 dB.
    """
    reach = len(taps) // 2
    length = x.shape[dim]
    margin = (len(taps) - 1 - reach, reach)
    padded = pad(x, margin if dim == -1 else (0, 0, *margin))
    out = torch.zeros_like(x)
    for k, tap in enumerate(taps):
        if tap:
            out = out + tap * padded.narrow(dim, len(taps) - 1 - k, length)
    return out


def gradients(x: Tensor, scale: int) -> Tensor:
    """First and second differences of images (..., H, W): (..., 4, H, W).

    Horizontal and vertical [1, 0.., -1], then horizontal and vertical [1, 0.., -2, 0.., 1] / 2,
    whose taps are `scale` pixels apart (Zeyde et al. 2010, section 3.2).
    """
    gap = [0.0] * (scale - 1)
    first, second = [1.0, *gap, -1.0], [0.5, *gap, -1.0, *gap, 0.5]
    maps = [filter_same(x, taps, dim) for taps in (first, second) for dim in (-1, -2)]
    return torch.stack(maps, -3)


def gradient_operator(scale: int) -> Tensor:
    """From a window to its patch's gradients: (4 * 9 s^2, 25 s^2), float64.

    Rows are in MATLAB's order, as published components are: filter, column, row. Columns are row,
    column.
    """
    side = WINDOW * scale
    windows = torch.eye(side * side, dtype=torch.float64).reshape(-1, side, side)
    patch = slice(scale, scale + PATCH * scale)
    maps = gradients(windows, scale)[..., patch, patch]
    return maps.transpose(-1, -2).reshape(side * side, -1).T


def windows(x: Tensor, scale: int) -> Tensor:
    """The window of every patch of an image (H, W), row after row: (patches, 25 s^2)."""
    side = WINDOW * scale
    return x.unfold(0, side, scale).unfold(1, side, scale).reshape(-1, side * side)


def matching_pursuit(x: Tensor, atoms: Tensor, sparsity: int) -> tuple[Tensor, Tensor]:
    """Orthogonal matching pursuit of all rows of x at once.

    Args:
        x: (N, d).
        atoms: (K, d), rows of unit length, K >= sparsity.
        sparsity: how many different atoms to take, one after the other.

    Returns:
        Which atoms, (N, sparsity), and their coefficients, (N, sparsity): least squares on the
        atoms taken. A row of zeros has coefficients of zero.

    Source: Rubinstein, Zibulevsky, Elad: Efficient Implementation of the K-SVD Algorithm using
    Batch Orthogonal Matching Pursuit, 2008; here by Gram-Schmidt.
    """
    rest = x
    taken: list[Tensor] = []
    basis: list[Tensor] = []
    heights: list[list[Tensor]] = []  # column t: what each direction holds of the atom taken at t
    along: list[Tensor] = []
    for _ in range(sparsity):
        match = (rest @ atoms.T).abs_()
        for index in taken:
            match.scatter_(1, index[:, None], -1)
        index = match.argmax(1)
        direction = atoms.index_select(0, index)
        column = []
        for other in basis:
            part = (direction * other).sum(1, keepdim=True)
            direction = direction - part * other
            column.append(part[:, 0])
        length = direction.norm(dim=1).clamp_min(torch.finfo(x.dtype).eps)
        direction = direction / length[:, None]
        amount = (rest * direction).sum(1)
        rest = rest - amount[:, None] * direction
        taken.append(index)
        basis.append(direction)
        heights.append([*column, length])
        along.append(amount)
    coefficients = [along[-1]] * sparsity
    for t in reversed(range(sparsity)):  # back-substitution
        amount = along[t]
        for later in range(t + 1, sparsity):
            amount = amount - heights[later][t] * coefficients[later]
        coefficients[t] = amount / heights[t][t]
    return torch.stack(taken, 1), torch.stack(coefficients, 1)


def average_overlapping(patches: Tensor, scale: int) -> Tensor:
    """The image that patches make where they lie on each other, each pixel their mean.

    Args:
        patches: (N, rows, columns, 9 s^2), one at each LR pixel; each as block row, block column,
            row, column, of blocks of s x s.
        scale: s.

    Returns:
        (N, 1, (rows + 2) s, (columns + 2) s).
    """
    number, rows, columns, _ = patches.shape
    blocks = patches.reshape(number, rows, columns, PATCH, PATCH, scale * scale)
    reach = PATCH - 1
    total = patches.new_zeros(number, rows + reach, columns + reach, scale * scale)
    for i in range(PATCH):
        for j in range(PATCH):
            total[:, i : i + rows, j : j + columns] += blocks[:, :, :, i, j]
    shares = [_overlaps(length, patches) for length in (rows, columns)]
    total /= (shares[0][:, None] * shares[1])[..., None]
    return pixel_shuffle(total.permute(0, 3, 1, 2), scale)


def _overlaps(length: int, like: Tensor) -> Tensor:
    """How many of `length` patches in a line cover each block of it: (length + 2,)."""
    place = torch.arange(length + PATCH - 1, device=like.device)
    fewest = torch.minimum(place + 1, length + PATCH - 1 - place)
    return fewest.clamp_max(min(PATCH, length)).to(like.dtype)


def in_blocks(patches: Tensor, scale: int) -> Tensor:
    """Patches (..., 9 s^2), column by column as MATLAB has them, as `average_overlapping` does."""
    side = PATCH * scale
    pixels = patches.reshape(-1, side, side).transpose(1, 2)
    blocks = pixels.reshape(-1, PATCH, scale, PATCH, scale).transpose(2, 3)
    return blocks.reshape(patches.shape)
