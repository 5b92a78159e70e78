"""Parts shared by the methods of overlapping patches: features, matching pursuit, averaging.

Zeyde et al. (On Single Image Scale-Up Using Sparse-Representations, 2010) use patches of 3x3 LR
pixels (3s x 3s HR pixels at scale s). A patch lies at every LR pixel except a border of 1 LR pixel.
The features of a patch are the gradients of interpolated LR inside the patch, reduced by PCA. A
method predicts the HR detail that each interpolated patch lacks, and overlapping patches are
averaged. Timofte's K-SVD, GR, ANR, A+ and neighbour embeddings all use this scheme.

Gradient filters reach `s` pixels beyond a patch, so each feature is a linear function of a window
of 5s x 5s pixels. The four filters and the PCA together are therefore a single convolution of
stride s.
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
"""Side of a patch's window, in LR pixels: the patch and 1 LR pixel around for the gradients. No
patch touches the image border, so an image with a smaller side holds no patch."""


def refuse_without_patch(rows: int, columns: int) -> None:
    """Refuse an LR image that is too small for a patch.

    Args:
        rows: height of LR, in pixels.
        columns: width of LR, in pixels.

    Raises:
        InputError: a side is below `WINDOW`.
    """
    if min(rows, columns) < WINDOW:
        raise InputError(
            f"LR of {columns}x{rows} px holds no patch; give at least {WINDOW}x{WINDOW} px, "
            "or use the method bicubic"
        )


def filter_same(x: Tensor, taps: Sequence[float], dim: int) -> Tensor:
    """MATLAB's `conv2(x, taps, 'same')` along a dimension of x, with zeros outside.

    A filter of even length is centred on tap `len // 2`, counted from 0. SciPy's and NumPy's `same`
    centre on the tap before. At x3, where the gradient filter has four taps, their centre would
    cost K-SVD 0.3 dB and ANR 0.25 dB.

    Args:
        x: images of shape (..., H, W).
        taps: filter coefficients, in the order of a convolution.
        dim: -1 filters along rows, -2 along columns.

    Returns:
        The filtered images, with the shape, dtype and device of x.
    """
    reach = len(taps) // 2
    length = x.shape[dim]
    margin = (len(taps) - 1 - reach, reach)
    padded = pad(x, margin if dim == -1 else (0, 0, *margin))
    out = torch.zeros_like(x)
    for k, tap in enumerate(taps):
        if tap:  # most taps of a gradient filter are 0
            out = out + tap * padded.narrow(dim, len(taps) - 1 - k, length)
    return out


def gradients(x: Tensor, scale: int) -> Tensor:
    """First and second differences, shape (..., 4, H, W), of images (..., H, W).

    The four filters are horizontal and vertical [1, 0.., -1], then horizontal and vertical
    [1, 0.., -2, 0.., 1] / 2. Their taps are `scale` pixels apart (Zeyde et al. 2010, section 3.2).
    """
    gap = [0.0] * (scale - 1)
    first, second = [1.0, *gap, -1.0], [0.5, *gap, -1.0, *gap, 0.5]
    maps = [filter_same(x, taps, dim) for taps in (first, second) for dim in (-1, -2)]
    return torch.stack(maps, -3)


def gradient_operator(scale: int) -> Tensor:
    """Matrix (4 * 9 s^2, 25 s^2), float64, that maps a window's pixels to its patch's gradients.

    The rows of the matrix are ordered (filter, column, row), as MATLAB's published PCA components
    are. The columns of the matrix are ordered (row, column).
    """
    side = WINDOW * scale
    # Filtering every unit image gives the columns of the matrix.
    windows = torch.eye(side * side, dtype=torch.float64).reshape(-1, side, side)
    patch = slice(scale, scale + PATCH * scale)
    maps = gradients(windows, scale)[..., patch, patch]
    return maps.transpose(-1, -2).reshape(side * side, -1).T


def windows(x: Tensor, scale: int) -> Tensor:
    """Windows (patches, 25 s^2) of all patches of an image (H, W), ordered row by row."""
    side = WINDOW * scale
    return x.unfold(0, side, scale).unfold(1, side, scale).reshape(-1, side * side)


def matching_pursuit(x: Tensor, atoms: Tensor, sparsity: int) -> tuple[Tensor, Tensor]:
    """Sparse codes of all rows of x by orthogonal matching pursuit: (atom indices, coefficients).

    Args:
        x: vectors to code, (N, d).
        atoms: dictionary, (K, d), rows of unit length, K >= sparsity.
        sparsity: number of different atoms in each code, chosen greedily.

    Returns:
        Indices (N, sparsity) of the chosen atoms, and their coefficients (N, sparsity) by least
        squares on the chosen atoms. A row of zeros has coefficients of zero.

    Source: Rubinstein, Zibulevsky, Elad: Efficient Implementation of the K-SVD Algorithm using
    Batch Orthogonal Matching Pursuit, 2008. Here the least squares are solved by Gram-Schmidt
    orthogonalisation.
    """
    rest = x  # residual (N, d)
    taken: list[Tensor] = []  # atom indices, (N,) each
    basis: list[Tensor] = []  # orthonormal directions, (N, d) each
    heights: list[list[Tensor]] = []  # upper triangle R of A = QR; heights[t] is column t
    along: list[Tensor] = []  # x along each direction, (N,) each
    for _ in range(sparsity):
        match = (rest @ atoms.T).abs_()  # (N, K)
        for index in taken:
            match.scatter_(1, index[:, None], -1)  # each atom once, even where x is 0
        index = match.argmax(1)
        direction = atoms.index_select(0, index)  # (N, d)
        column = []
        for other in basis:
            part = (direction * other).sum(1, keepdim=True)
            direction = direction - part * other
            column.append(part[:, 0])
        # a chosen atom in the span of the others has length 0; no division by 0
        length = direction.norm(dim=1).clamp_min(torch.finfo(x.dtype).eps)
        direction = direction / length[:, None]
        amount = (rest * direction).sum(1)
        rest = rest - amount[:, None] * direction
        taken.append(index)
        basis.append(direction)
        heights.append([*column, length])
        along.append(amount)
    coefficients = [along[-1]] * sparsity
    for t in reversed(range(sparsity)):  # back-substitution in R
        amount = along[t]
        for later in range(t + 1, sparsity):
            amount = amount - heights[later][t] * coefficients[later]
        coefficients[t] = amount / heights[t][t]
    return torch.stack(taken, 1), torch.stack(coefficients, 1)


def average_overlapping(patches: Tensor, scale: int) -> Tensor:
    """Images made from overlapping patches; each pixel is the mean of the patches that cover it.

    Args:
        patches: (N, rows, columns, 9 s^2), a patch at each LR pixel. The values of a patch are
            ordered in blocks of s x s pixels: (block row, block column, row, column).
        scale: s.

    Returns:
        (N, 1, (rows + 2) s, (columns + 2) s), in the range of the patches.
    """
    number, rows, columns, _ = patches.shape
    blocks = patches.reshape(number, rows, columns, PATCH, PATCH, scale * scale)
    reach = PATCH - 1
    # one value per block position: (N, rows + 2, columns + 2, s^2), so a patch is 9 slices
    total = patches.new_zeros(number, rows + reach, columns + reach, scale * scale)
    for i in range(PATCH):
        for j in range(PATCH):
            total[:, i : i + rows, j : j + columns] += blocks[:, :, :, i, j]
    shares = [_overlaps(length, patches) for length in (rows, columns)]
    total /= (shares[0][:, None] * shares[1])[..., None]
    return pixel_shuffle(total.permute(0, 3, 1, 2), scale)


def _overlaps(length: int, like: Tensor) -> Tensor:
    """How many of `length` patches in a line cover each block of the line; shape (length + 2,)."""
    place = torch.arange(length + PATCH - 1, device=like.device)
    fewest = torch.minimum(place + 1, length + PATCH - 1 - place)
    return fewest.clamp_max(min(PATCH, length)).to(like.dtype)


def in_blocks(patches: Tensor, scale: int) -> Tensor:
    """Patches of shape (..., 9 s^2), values in the block order of `average_overlapping`.

    Args:
        patches: (..., 9 s^2), the pixels of a patch column by column, as MATLAB stores them.
        scale: s.
    """
    side = PATCH * scale
    pixels = patches.reshape(-1, side, side).transpose(1, 2)
    blocks = pixels.reshape(-1, PATCH, scale, PATCH, scale).transpose(2, 3)
    return blocks.reshape(patches.shape)
