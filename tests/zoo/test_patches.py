"""Gradients, matching pursuit and averaged patches, against plain loops and other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray
from sklearn.linear_model import orthogonal_mp

from zoo.patches import (
    PATCH,
    WINDOW,
    average_overlapping,
    filter_same,
    gradient_operator,
    gradients,
    in_blocks,
    matching_pursuit,
    windows,
)

Array = NDArray[np.float64]
SCALES = (2, 3, 4)


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def taps_of(scale: int) -> tuple[list[float], list[float]]:
    """The first and the second difference, written out from the paper."""
    return {
        2: ([1.0, 0, -1], [0.5, 0, -1, 0, 0.5]),
        3: ([1.0, 0, 0, -1], [0.5, 0, 0, -1, 0, 0, 0.5]),
        4: ([1.0, 0, 0, 0, -1], [0.5, 0, 0, 0, -1, 0, 0, 0, 0.5]),
    }[scale]


def central(image: Array, kernel: Array) -> Array:
    """MATLAB's `conv2(image, kernel, 'same')`: of the full one, from ceil((size + 1) / 2) on.

    Counted from 1, as MATLAB's page on conv2 says.
    """
    full = scipy.signal.convolve2d(image, kernel, "full")
    first = [math.ceil((size + 1) / 2) - 1 for size in kernel.shape]
    height, width = image.shape
    return full[first[0] : first[0] + height, first[1] : first[1] + width]


def four_gradients(image: Array, scale: int) -> list[Array]:
    first, second = (np.array([taps]) for taps in taps_of(scale))
    return [central(image, kernel) for kernel in (first, first.T, second, second.T)]


# Filters


@pytest.mark.parametrize("length", range(1, 10))
def test_filter_is_matlabs_central_part_of_the_full_convolution(length: int) -> None:
    image, taps = random(7, 11), random(1, length, seed=1)
    along = filter_same(tensor(image), taps[0].tolist(), -1)
    down = filter_same(tensor(image), taps[0].tolist(), -2)
    np.testing.assert_allclose(along, central(image, taps), rtol=0, atol=1e-14)
    np.testing.assert_allclose(down, central(image, taps.T), rtol=0, atol=1e-14)


def test_filter_longer_than_the_image() -> None:
    image, taps = random(2, 3), random(1, 9, seed=1)
    np.testing.assert_allclose(
        filter_same(tensor(image), taps[0].tolist(), -1), central(image, taps), atol=1e-14
    )


def test_filter_of_four_taps_by_hand() -> None:
    x = torch.tensor([[1.0, 2, 3, 4, 5]])
    # the full convolution is 1 2 3 3 3 -3 -4 -5; of its eight, conv2 keeps five from the third
    assert filter_same(x, [1.0, 0, 0, -1], -1).tolist() == [[3, 3, 3, -3, -4]]
    column = filter_same(x.T, [1.0, 0, 0, -1], -2)
    assert column.T.tolist() == [[3, 3, 3, -3, -4]]


def test_filter_of_three_taps_by_hand() -> None:
    x = torch.tensor([[1.0, 2, 4, 8]])
    assert filter_same(x, [1.0, 0, -1], -1).tolist() == [[2, 3, 6, -4]]


@pytest.mark.parametrize("scale", SCALES)
def test_scipys_phase_is_another_at_x3_only(scale: int) -> None:
    image = random(8, 9)
    first, second = taps_of(scale)
    ours, same = (filter_same(tensor(image), taps, -1).numpy() for taps in (first, second))
    scipys = scipy.signal.convolve2d(image, [first], "same")
    if scale == 3:
        np.testing.assert_allclose(ours[:, :-1], scipys[:, 1:], atol=1e-14)  # one pixel on
        assert np.abs(ours - scipys).max() > 1
    else:
        np.testing.assert_allclose(ours, scipys, atol=1e-14)
    np.testing.assert_allclose(same, scipy.signal.convolve2d(image, [second], "same"), atol=1e-14)


@pytest.mark.parametrize("scale", SCALES)
def test_gradients_of_a_stack_of_images(scale: int) -> None:
    images = random(2, 3, 13, 17)
    maps = gradients(tensor(images), scale)
    assert maps.shape == (2, 3, 4, 13, 17)
    np.testing.assert_allclose(maps[1, 2], four_gradients(images[1, 2], scale), atol=1e-14)


# Windows and the operator on them


@pytest.mark.parametrize("scale", SCALES)
def test_windows_are_cut_row_after_row(scale: int) -> None:
    image = random(7 * scale, 6 * scale)
    side = WINDOW * scale
    cut = windows(tensor(image), scale)
    assert cut.shape == (3 * 2, side * side)
    for row in range(3):
        for column in range(2):
            top, left = row * scale, column * scale
            expected = image[top : top + side, left : left + side].reshape(-1)
            np.testing.assert_array_equal(cut[2 * row + column], expected)


def test_rest_of_an_image_is_in_no_window() -> None:
    image = tensor(random(17, 19))
    assert torch.equal(windows(image, 3), windows(image[:15, :18], 3))


@pytest.mark.parametrize("scale", SCALES)
def test_operator_gives_a_patchs_gradients_column_by_column(scale: int) -> None:
    image = random(7 * scale, 6 * scale)
    maps = four_gradients(image, scale)
    operator = gradient_operator(scale)
    side = PATCH * scale
    assert operator.shape == (4 * side * side, (WINDOW * scale) ** 2)
    assert operator.dtype == torch.float64
    found = windows(tensor(image), scale) @ operator.T
    for row in range(3):
        for column in range(2):
            top, left = (row + 1) * scale, (column + 1) * scale
            patches = [plane[top : top + side, left : left + side] for plane in maps]
            expected = np.concatenate([patch.reshape(-1, order="F") for patch in patches])
            np.testing.assert_allclose(found[2 * row + column], expected, rtol=0, atol=1e-13)


# Matching pursuit


def dictionary(atoms: int, length: int, seed: int = 0) -> Array:
    found = random(atoms, length, seed=seed)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def dense(index: torch.Tensor, amount: torch.Tensor, atoms: int) -> Array:
    out = np.zeros((len(index), atoms))
    np.put_along_axis(out, index.numpy(), amount.numpy(), 1)
    return out


@pytest.mark.parametrize("sparsity", [1, 2, 3, 6])
def test_matching_pursuit_is_scikit_learns(sparsity: int) -> None:
    atoms, x = dictionary(60, 20), random(200, 20, seed=1)
    index, amount = matching_pursuit(tensor(x), tensor(atoms), sparsity)
    assert index.shape == amount.shape == (200, sparsity)
    assert all(len(set(row)) == sparsity for row in index.tolist())
    expected = orthogonal_mp(atoms.T, x.T, n_nonzero_coefs=sparsity).T
    np.testing.assert_allclose(dense(index, amount, 60), expected, rtol=0, atol=1e-10)


def test_matching_pursuit_of_all_atoms_is_least_squares() -> None:
    atoms, x = dictionary(5, 9), random(30, 9, seed=1)
    index, amount = matching_pursuit(tensor(x), tensor(atoms), 5)
    expected = np.linalg.lstsq(atoms.T, x.T, rcond=None)[0].T
    np.testing.assert_allclose(dense(index, amount, 5), expected, rtol=0, atol=1e-10)


def test_first_atom_is_the_one_of_largest_absolute_correlation() -> None:
    atoms = torch.eye(3, dtype=torch.float64)
    index, amount = matching_pursuit(torch.tensor([[0.5, -2.0, 1.0]]).double(), atoms, 2)
    assert index.tolist() == [[1, 2]]
    assert amount.tolist() == [[-2.0, 1.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_of_zeros_have_coefficients_of_zero(dtype: torch.dtype) -> None:
    atoms, x = tensor(dictionary(12, 6)).to(dtype), tensor(random(5, 6, seed=1)).to(dtype)
    alone = matching_pursuit(x, atoms, 3)[1]
    x[2] = 0
    amount = matching_pursuit(x, atoms, 3)[1]
    assert amount[2].tolist() == [0, 0, 0]
    assert torch.equal(amount[[0, 1, 3, 4]], alone[[0, 1, 3, 4]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_that_fewer_atoms_make_are_made_by_them(dtype: torch.dtype) -> None:
    """Nothing but rounding is left for the last atom: 0 / 0 without care."""
    atoms = tensor(dictionary(12, 6)).to(dtype)
    x = torch.stack([2 * atoms[4], -3 * atoms[7], 0.5 * atoms[0], 1e-20 * atoms[3]])
    index, amount = matching_pursuit(x, atoms, 3)
    assert index[:, 0].tolist() == [4, 7, 0, 3]
    wanted = torch.tensor([2, -3, 0.5, 1e-20], dtype=dtype)
    torch.testing.assert_close(amount[:, 0], wanted, rtol=1e-5, atol=0)
    assert (amount[:, 1:].abs() <= 1e-5 * wanted.abs()[:, None]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_atom_that_is_there_twice_does_no_harm(dtype: torch.dtype) -> None:
    atoms = tensor(dictionary(4, 6)).to(dtype)
    atoms = torch.cat([atoms, atoms])
    x = torch.cat([2 * atoms[:4], tensor(random(20, 6, seed=1)).to(dtype)])
    index, amount = matching_pursuit(x, atoms, 3)
    assert amount.isfinite().all()
    made = (amount[..., None] * atoms[index]).sum(1)
    once = matching_pursuit(x, atoms[:4], 3)
    expected = (once[1][..., None] * atoms[once[0]]).sum(1)
    torch.testing.assert_close(made, expected)


def test_an_atom_of_which_nothing_is_left_has_no_direction() -> None:
    """The second atom, taken after its equal, since all correlations are 0: 0 / 0 without care."""
    atoms = torch.eye(3)[[0, 0, 1]]
    index, amount = matching_pursuit(torch.tensor([[2.0, 0, 0]]), atoms, 2)
    assert index.tolist() == [[0, 1]]
    assert amount.tolist() == [[2, 0]]


def test_matching_pursuit_leaves_what_it_was_given() -> None:
    atoms, x = tensor(dictionary(12, 6)), tensor(random(5, 6, seed=1))
    before = atoms.clone(), x.clone()
    matching_pursuit(x, atoms, 3)
    assert torch.equal(atoms, before[0])
    assert torch.equal(x, before[1])


def test_matching_pursuit_of_no_rows() -> None:
    index, amount = matching_pursuit(torch.empty(0, 6), tensor(dictionary(12, 6)).float(), 3)
    assert index.shape == amount.shape == (0, 3)


# Averaging


def averaged(patches: Array, scale: int) -> Array:
    """Patches (rows, columns, 9 s^2), column by column, added up and divided by their number."""
    rows, columns, _ = patches.shape
    side = PATCH * scale
    total = np.zeros(((rows + 2) * scale, (columns + 2) * scale))
    count = np.zeros_like(total)
    for row in range(rows):
        for column in range(columns):
            place = np.s_[row * scale : row * scale + side, column * scale : column * scale + side]
            total[place] += patches[row, column].reshape(side, side, order="F")
            count[place] += 1
    return total / count


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 1), (1, 2), (2, 1), (2, 2), (1, 7), (6, 1), (2, 5), (3, 3), (5, 8)]
)
def test_patches_are_averaged_where_they_overlap(scale: int, rows: int, columns: int) -> None:
    patches = random(3, rows, columns, 9 * scale * scale)
    image = average_overlapping(in_blocks(tensor(patches), scale), scale)
    assert image.shape == (3, 1, (rows + 2) * scale, (columns + 2) * scale)
    for given, found in zip(patches, image[:, 0], strict=True):
        np.testing.assert_allclose(found, averaged(given, scale), rtol=0, atol=1e-14)


def test_patches_cut_from_an_image_average_to_it() -> None:
    image, s = random(18, 24), 3
    cut = np.stack(
        [
            [image[r : r + 9, c : c + 9].reshape(-1, order="F") for c in range(0, 16, s)]
            for r in range(0, 10, s)
        ]
    )
    found = average_overlapping(in_blocks(tensor(cut)[None], s), s)
    np.testing.assert_allclose(found[0, 0], image, rtol=0, atol=1e-14)


def test_averaging_leaves_what_it_was_given() -> None:
    patches = tensor(random(1, 2, 2, 36))
    before = patches.clone()
    average_overlapping(patches, 2)
    assert torch.equal(patches, before)


def test_a_patch_in_blocks_by_hand() -> None:
    # 6x6 pixels numbered down the columns; blocks of 2x2 across, then down
    found = in_blocks(torch.arange(36), 2).tolist()
    assert found[:8] == [0, 6, 1, 7, 12, 18, 13, 19]
    assert found[12:16] == [2, 8, 3, 9]
    assert sorted(found) == list(range(36))


def test_patches_in_blocks_keep_their_shape() -> None:
    patches = tensor(random(2, 3, 81))
    assert in_blocks(patches, 3).shape == (2, 3, 81)
    assert torch.equal(in_blocks(patches, 3)[1, 2], in_blocks(patches[1, 2], 3))
