"""Training of the methods in `anchored.py`: PCA, K-SVD, ridge regressors.

A training sample is a pair: the features of a patch in interpolated LR, and HR minus interpolated
LR in the same patch. LR is made by MATLAB's bicubic `imresize` in float64 with replicate edges, as
in the authors' programs (Zeyde et al. 2010; Timofte et al., ICCV 2013 and ACCV 2014). The settings
of a recipe hold the values that these papers do not state.

Letters in shapes: d features, K atoms or anchors, s the scale. An HR patch has 9 s^2 pixels, a
window 25 s^2.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import InputError
from zoo.method import LearningInputs, Step
from zoo.patches import (
    PATCH,
    WINDOW,
    gradient_operator,
    in_blocks,
    matching_pursuit,
    windows,
)
from zoo.resample import imresize

_CHUNK = 1024  # rows coded at once, which bounds the memory of their correlations with all atoms
_ANCHORS = 16  # anchors whose neighbours are searched at once: (16, samples) products in memory


@dataclass(frozen=True)
class _Pair:
    """A training image whose sides are cut to multiples of the scale."""

    interpolated: Tensor
    """Interpolated LR, (H, W), float64 in [0, 1]."""
    missing: Tensor
    """HR minus interpolated LR, (H, W), float64."""


def _pairs(images: Iterable[Tensor], inputs: LearningInputs) -> Iterator[_Pair]:
    """Pairs (H, W) of all images that hold a patch, on `inputs.device`.

    Args:
        images: HR luma, (H, W) each, in [0, 1].
        inputs: scale and device.
    """
    scale = inputs.scale
    for image in images:
        rows, columns = image.shape[-2] // scale, image.shape[-1] // scale
        if min(rows, columns) < WINDOW:
            continue
        hr = image[: rows * scale, : columns * scale].to(inputs.device)
        lr = imresize(hr, Fraction(1, scale))
        interpolated = imresize(lr, scale)
        yield _Pair(interpolated, hr - interpolated)


def _every(rows: int, columns: int, step: int, device: torch.device) -> Tensor:
    """Indices, shape (n,), of patches at every `step`-th row and column of a grid (rows, columns).

    Patches are counted row by row, as in `windows`.
    """
    down = torch.arange(0, rows, step, device=device)
    along = torch.arange(0, columns, step, device=device)
    return (down[:, None] * columns + along).reshape(-1)


def _missing_patches(missing: Tensor, scale: int) -> Tensor:
    """All patches (patches, 9 s^2) of HR minus interpolated LR, (H, W).

    Patches are ordered row by row, as in `windows`; values in the order of `in_blocks`.
    """
    side, inner = PATCH * scale, missing[scale:-scale, scale:-scale]
    patches = inner.unfold(0, side, scale).unfold(1, side, scale)
    return in_blocks(patches.transpose(-1, -2).reshape(-1, side * side), scale)


def principal_components(covariance: Tensor, count: int) -> tuple[Tensor, float]:
    """The `count` directions (D, count) with the most energy, and their share of all energy.

    Args:
        covariance: symmetric, shape (D, D).
        count: number of directions, at most D.
    """
    values, vectors = torch.linalg.eigh(covariance)
    # eigh orders eigenvalues from least to greatest
    return vectors[:, -count:], float(values[-count:].sum() / values.sum())


def learn_dictionary(inputs: LearningInputs) -> Generator[Step, None, dict[str, Tensor]]:
    """State dict of a `Dictionary`, learned by K-SVD on the features of a sparse grid of patches.

    The HR atoms follow from the codes by least squares.

    Returns:
        `features` (d, 1, 5s, 5s), `low` (K, d) of unit length, `high` (K, 9 s^2) in blocks.

    Raises:
        InputError: the images hold fewer than four patches for each atom.

    Source: Zeyde et al. 2010, section 3; K-SVD of Rubinstein et al. 2008, approximate update.
    """
    scale, settings = inputs.scale, inputs.settings
    atoms, sparsity = inputs.method.settings["atoms"], settings["sparsity"]
    seen, missing = [], []
    for pair in _pairs(inputs.images, inputs):
        rows, columns = (side // scale - WINDOW + 1 for side in pair.missing.shape)
        taken = _every(rows, columns, settings["step"], inputs.device)
        seen.append(windows(pair.interpolated, scale)[taken])
        missing.append(_missing_patches(pair.missing, scale)[taken])
    found = sum(map(len, seen))
    if found < 4 * atoms:
        raise InputError(
            f"the images hold {found} patches at x{scale}; give enough for {4 * atoms}, four for "
            "each atom"
        )
    seen_windows, high = torch.cat(seen), torch.cat(missing)  # (n, 25 s^2), (n, 9 s^2)
    del seen, missing  # large: without this the memory holds two copies
    operator = gradient_operator(scale).to(inputs.device)  # (36 s^2, 25 s^2)
    if "features" in inputs.saved:
        features = inputs.saved["features"].to(inputs.device)
    else:
        # the same as the covariance of all gradients, without computing the gradients
        covariance = operator @ (seen_windows.T @ seen_windows) @ operator.T
        components, share = principal_components(covariance, settings["features"][scale])
        features = components.T @ operator  # (d, 25 s^2)
        note = f"{features.shape[0]} of {len(operator)} features keep {share:.2%} of the energy"
        state = {"features": features}
        yield Step(stage="PCA", done=1, total=1, state=state, note=note)
    described = seen_windows @ features.T  # (n, d)
    del seen_windows
    low = yield from ksvd(described, atoms, sparsity, inputs, {"features": features})
    codes = _sparse_codes(described, low, sparsity)  # (n, K)
    gram = (codes.T @ codes).toarray()  # (K, K)
    right = codes.T @ high.cpu().numpy()  # (K, 9 s^2)
    # lstsq, not solve: the Gram matrix of codes is singular if an atom is never used
    solved = np.linalg.lstsq(gram, right, rcond=None)[0]
    side = WINDOW * scale
    return {
        "features": features.reshape(-1, 1, side, side),
        "low": low,
        "high": torch.from_numpy(solved).to(low),
    }


def _coded(x: Tensor, atoms: Tensor, sparsity: int) -> tuple[Tensor, Tensor]:
    """Atom indices (N, sparsity) and coefficients (N, sparsity) of rows x (N, d).

    `matching_pursuit` in chunks and in float32, which is three times as fast as float64. The
    coefficients have the dtype of x. Atoms are (K, d).
    """
    chunks = torch.split(x.float(), _CHUNK)
    parts = [matching_pursuit(chunk, atoms.float(), sparsity) for chunk in chunks]
    index, amount = (torch.cat(list(column)) for column in zip(*parts, strict=True))
    return index, amount.to(x.dtype)


def _sparse_codes(x: Tensor, atoms: Tensor, sparsity: int) -> scipy.sparse.csr_array:
    """Codes of rows x (N, d) over atoms (K, d), as a sparse matrix (N, K)."""
    index, amount = (part.cpu().numpy() for part in _coded(x, atoms, sparsity))
    starts = np.arange(len(index) + 1) * sparsity  # each row has `sparsity` entries
    parts = (amount.reshape(-1), index.reshape(-1), starts)
    return scipy.sparse.csr_array(parts, shape=(len(index), len(atoms)))


def ksvd(
    x: Tensor, count: int, sparsity: int, inputs: LearningInputs, keep: dict[str, Tensor]
) -> Generator[Step, None, Tensor]:
    """A dictionary of `count` atoms, (count, d) of unit length, for rows x (N, d).

    Each iteration codes all rows by matching pursuit. Then each atom in turn is refined by a step
    of the power method on the residual that the other atoms leave. An atom is replaced if fewer
    than four rows use it, or if its absolute correlation with another atom exceeds 0.99. The
    replacement is the row with the largest residual, as in the published implementation.

    Args:
        x: samples, (N, d).
        count: number of atoms.
        sparsity: number of atoms in a code.
        inputs: `settings["iterations"]`, the seed, and the saved state.
        keep: tensors to add to the state of every step.

    Raises:
        InputError: fewer than `count` rows differ from 0.
    """
    iterations = inputs.settings["iterations"]
    rows = x.cpu().numpy()
    saved = inputs.saved
    first = int(saved["iteration"]) if "low" in saved else 0
    if "low" in saved:
        atoms = saved["low"].cpu().numpy().copy()
    else:
        random = np.random.default_rng(inputs.seed)
        lengths = np.linalg.norm(rows, axis=1)
        usable = np.flatnonzero(lengths > 1e-6)  # a flat patch has no direction
        if len(usable) < count:
            raise InputError(
                f"{len(usable)} of {len(rows)} patches have gradients; give images with at least "
                f"{count} patches that are not flat, a patch for each atom"
            )
        chosen = random.choice(usable, count, replace=False)
        atoms = rows[chosen] / lengths[chosen, None]
    for iteration in range(first, iterations):
        # seeded by iteration, so a resumed training draws the same numbers
        random = np.random.default_rng([inputs.seed, iteration])
        coded = _coded(x, torch.from_numpy(atoms).to(x), sparsity)
        index, amount = (part.cpu().numpy() for part in coded)
        rest = _refine(rows, atoms, index, amount, random)
        error = float(np.sqrt(np.mean(rest**2)))
        _replace(rows, atoms, index, rest)
        low = torch.from_numpy(atoms).to(x)
        done = iteration + 1
        state = {**keep, "low": low, "iteration": torch.tensor(done)}
        note = f"RMS error {error:.5f}"
        yield Step(stage="K-SVD", done=done, total=iterations, state=state, note=note)
    return torch.from_numpy(atoms).to(x)


def _refine(
    rows: NDArray[np.float64],
    atoms: NDArray[np.float64],
    index: NDArray[np.int64],
    amount: NDArray[np.float64],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Residual (N, d) of all rows after every atom and its coefficients are refined in place.

    Args:
        rows: samples, (N, d).
        atoms: dictionary, (K, d); changed.
        index: atoms in the code of each row, (N, sparsity).
        amount: their coefficients, (N, sparsity); changed.
        random: source of the order of atoms.
    """
    sparsity = index.shape[1]
    rest = rows.copy()  # residual (N, d)
    for t in range(sparsity):
        rest -= amount[:, t, None] * atoms[index[:, t]]
    # code entries sorted by atom: the entries of atom k are order[ends[k - 1] : ends[k]]
    order = np.argsort(index, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(index.reshape(-1), minlength=len(atoms)))
    amounts = amount.reshape(-1)
    for atom in random.permutation(len(atoms)):
        places = order[ends[atom - 1] if atom else 0 : ends[atom]]
        users = places // sparsity  # rows that use the atom, (n,)
        target = rest[users] + amounts[places, None] * atoms[atom]  # (n, d), without this atom
        direction = amounts[places] @ target  # (d,)
        length = np.linalg.norm(direction)
        if length < 1e-12:  # no row uses the atom; `_replace` replaces it
            continue
        atoms[atom] = direction / length
        amounts[places] = target @ atoms[atom]
        rest[users] = target - amounts[places, None] * atoms[atom]
    return rest


def _replace(
    rows: NDArray[np.float64],
    atoms: NDArray[np.float64],
    index: NDArray[np.int64],
    rest: NDArray[np.float64],
) -> None:
    """Replace, in place, atoms (K, d) that are rarely used or nearly equal to another atom.

    Args:
        rows: samples, (N, d).
        atoms: dictionary, (K, d); changed.
        index: atoms in the code of each row, (N, sparsity).
        rest: residual of each row, (N, d); the rows with the largest become atoms.
    """
    used = np.bincount(index.reshape(-1), minlength=len(atoms))
    worst = iter(np.argsort(-np.einsum("nd,nd->n", rest, rest), kind="stable"))
    for atom in range(len(atoms)):
        alike = np.abs(atoms @ atoms[atom])
        alike[atom] = 0  # every atom equals itself
        if used[atom] < 4 or alike.max() > 0.99:
            row = rows[next(worst)]
            atoms[atom] = row / max(np.linalg.norm(row), 1e-12)


# Regressors


def ridge(low: Tensor, high: Tensor, penalty: float) -> Tensor:
    """Regressors R (..., d, p) from LR features to HR patches, by ridge regression.

    R minimises ||high - low R||^2 + penalty ||R||^2, in closed form.

    Args:
        low: features, shape (..., n, d).
        high: HR patches, shape (..., n, p).
        penalty: > 0.

    Source: Timofte et al. 2013, eq. 5.
    """
    identity = torch.eye(low.shape[-1], dtype=low.dtype, device=low.device)
    regressor: Tensor = torch.linalg.solve(low.mT @ low + penalty * identity, low.mT @ high)
    return regressor


def global_regressor(low: Tensor, high: Tensor) -> Tensor:
    """GR's regressor (d, p) from all atoms: features `low` (K, d), HR parts `high` (K, p)."""
    # penalties and the factor 1 + penalty are from the authors' program
    penalty = 0.01 if len(low) < 1024 else 0.1
    return (1 + penalty) * ridge(low, high, penalty)


def neighbourhood_regressors(low: Tensor, high: Tensor, neighbours: int = 40) -> Tensor:
    """ANR's regressors (K, d, p), a regressor for each atom from its neighbours.

    The neighbours of an atom are the atoms with the largest absolute correlation.

    Args:
        low: features of the atoms, (K, d).
        high: HR parts of the atoms, (K, p).
        neighbours: number of neighbours of an atom, itself included.

    Source: Timofte et al. 2013, section 3.2: 40 neighbours, penalty 0.01. The factor 1.01 on the
    regressors is from the authors' program.
    """
    nearest = (low @ low.T).abs().topk(min(neighbours, len(low)), dim=1).indices  # (K, neighbours)
    return 1.01 * ridge(low[nearest], high[nearest], 0.01)


@dataclass(frozen=True)
class _Samples:
    """N training samples. HR patches overlap, so they are kept as their images, 9 times smaller."""

    low: Tensor
    """Features of unit length, (d, N), float32."""
    length: Tensor
    """Divisor of each HR patch, (N,), float32: the length of its features, or 1 if that is weak."""
    missing: Tensor
    """HR minus interpolated LR of all images, flattened and joined, (pixels,), float32."""
    start: Tensor
    """Index in `missing` of the first pixel of each HR patch, (N,)."""
    width: Tensor
    """Width in pixels of the image of each sample, (N,)."""

    def high(self, chosen: Tensor, scale: int) -> Tensor:
        """HR patches, shape (..., 9 s^2), in blocks, float64, of the samples `chosen`, (...,)."""
        side = PATCH * scale
        # pixel index within a patch for each value in block order, (9 s^2,)
        within = torch.arange(side * side, device=chosen.device).reshape(side, side)
        within = in_blocks(within.T.reshape(1, -1), scale)[0]
        place = self.start[chosen][..., None] + (
            within // side * self.width[chosen][..., None] + within % side
        )
        return (self.missing[place] / self.length[chosen][..., None]).double()


def _smaller(image: Tensor, share: float) -> Tensor:
    """An image (H, W) resized to (ceil(H * share), ceil(W * share)), bicubic."""
    if share == 1:
        return image
    return imresize(image, size=(math.ceil(len(image) * share), math.ceil(image.shape[1] * share)))


def _samples(inputs: LearningInputs, kept: Mapping[str, Tensor]) -> Generator[Step, None, _Samples]:
    """Training samples from a pyramid of all images, at most `samples` in number.

    Level 0 is every image in full size. Each further level is smaller by `ratio`, up to `levels`
    sizes in all (Timofte et al. 2014, section 3).

    Args:
        inputs: images, and the settings `samples`, `ratio`, `levels`, `weak`.
        kept: state of every step, with `features` (d, 1, 5s, 5s). Samples are too large to save,
            so a resumed training collects them again.

    Raises:
        InputError: fewer samples than a regressor needs.
    """
    scale, settings = inputs.scale, inputs.settings
    levels, left = settings["levels"], settings["samples"]
    features = kept["features"].to(inputs.device, torch.float64).flatten(1)
    low, missing, start, width = [], [], [], []
    begun = 0
    for level in range(levels):
        images = (_smaller(image, settings["ratio"] ** level) for image in inputs.images)
        for pair in _pairs(images, inputs):
            # (patches, d), the first `left` of them
            described = (windows(pair.interpolated, scale) @ features.T).float()[:left]
            left -= len(described)
            low.append(described)
            rows, columns = pair.missing.shape
            down, along = (
                torch.arange(scale, side - (PATCH + 1) * scale + 1, scale, device=inputs.device)
                for side in (rows, columns)
            )
            start.append((begun + down[:, None] * columns + along).reshape(-1)[: len(described)])
            width.append(torch.full_like(start[-1], columns))
            missing.append(pair.missing.float().reshape(-1))
            begun += pair.missing.numel()
            if not left:
                break
        found = sum(map(len, low))
        done = level + 1 if left else levels
        note = f"{found:,} samples"
        yield Step(stage="samples", done=done, total=levels, state=kept, note=note)
        if not left:
            break
    joined = torch.cat(low or [features.new_empty(0, len(features)).float()]).T.contiguous()
    if joined.shape[1] < settings["neighbours"]:
        raise InputError(
            f"the images hold {joined.shape[1]} patches at x{scale}; give enough for the "
            f"{settings['neighbours']} neighbours of each anchor"
        )
    del low
    length = joined.norm(dim=0)
    joined /= length.clamp_min(torch.finfo(torch.float32).eps)
    length[length < settings["weak"]] = 1  # a nearly flat patch keeps its HR patch undivided
    return _Samples(joined, length, torch.cat(missing), torch.cat(start), torch.cat(width))


def learn_regressors(inputs: LearningInputs) -> Generator[Step, None, dict[str, Tensor]]:
    """State dict of A+: a regressor for each anchor, from its nearest samples.

    The anchors are the atoms of a K-SVD dictionary. The samples come from a pyramid of all images.

    Returns:
        `features` (d, 1, 5s, 5s), `anchors` (K, d), `regressors` (K, d, 9 s^2), in blocks.

    Raises:
        InputError: the images hold fewer samples than the neighbours of an anchor.

    Source: Timofte, De Smet, Van Gool: A+, ACCV 2014, section 3.
    """
    saved, settings = inputs.saved, inputs.settings
    if "anchors" in saved:
        kept = dict(saved)
    else:
        learned = inputs.start or (yield from learn_dictionary(inputs))
        kept = {"features": learned["features"], "anchors": learned["low"]}
    anchors = kept["anchors"].to(inputs.device, torch.float32)
    samples = yield from _samples(inputs, kept)
    shape = (0, anchors.shape[1], (PATCH * inputs.scale) ** 2)
    regressors = saved.get("regressors", torch.empty(shape, dtype=torch.float64)).to(inputs.device)
    for first in range(len(regressors), len(anchors), _ANCHORS):
        # (anchors, N); at unit length, the largest product is the least distance
        likeness = anchors[first : first + _ANCHORS] @ samples.low
        nearest = likeness.topk(settings["neighbours"], dim=1, sorted=False).indices
        low = samples.low[:, nearest].permute(1, 2, 0).double()  # (anchors, neighbours, d)
        high = samples.high(nearest, inputs.scale)  # (anchors, neighbours, 9 s^2)
        regressors = torch.cat([regressors, ridge(low, high, settings["penalty"])])
        kept = {**kept, "regressors": regressors}
        yield Step(stage="regressors", done=len(regressors), total=len(anchors), state=kept)
    return kept
