"""How the methods of `anchored.py` are learned from images: PCA, K-SVD, ridge regressors.

The samples are pairs: a patch's features in interpolated LR, and what HR has there beyond
interpolated LR. LR is made by MATLAB's bicubic `imresize` in double with replicate edges, as the
authors' programs do (Zeyde et al. 2010; Timofte et al., ICCV 2013 and ACCV 2014). Where they are
silent, a recipe's settings say what was taken.
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

_CHUNK = 1024  # rows coded at once
_ANCHORS = 16  # anchors whose neighbours are searched at once


@dataclass(frozen=True)
class _Pair:
    """An HR image cut to a multiple of the scale: interpolated LR, and what it lacks."""

    interpolated: Tensor
    missing: Tensor


def _pairs(images: Iterable[Tensor], inputs: LearningInputs) -> Iterator[_Pair]:
    """The pairs of those images that hold a patch, on the inputs's device."""
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
    """Of patches row after row, those at each `step`-th row and column: their numbers."""
    down = torch.arange(0, rows, step, device=device)
    along = torch.arange(0, columns, step, device=device)
    return (down[:, None] * columns + along).reshape(-1)


def _missing_patches(missing: Tensor, scale: int) -> Tensor:
    """Every patch of what an image lacks, row after row: (patches, 9 s^2), in blocks."""
    side, inner = PATCH * scale, missing[scale:-scale, scale:-scale]
    patches = inner.unfold(0, side, scale).unfold(1, side, scale)
    return in_blocks(patches.transpose(-1, -2).reshape(-1, side * side), scale)


def principal_components(covariance: Tensor, count: int) -> tuple[Tensor, float]:
    """The `count` directions of most energy, (D, count), and their share of the energy."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors[:, -count:], float(values[-count:].sum() / values.sum())


def learn_dictionary(inputs: LearningInputs) -> Generator[Step, None, dict[str, Tensor]]:
    """K-SVD on the features of a sparse grid of patches, then HR atoms by least squares.

    Returns:
        `features` (d, 1, 5s, 5s), `low` (K, d) of unit length, `high` (K, 9 s^2) in blocks.

    Raises:
        InputError: the images hold fewer patches than the dictionary has atoms.

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
    sight, high = torch.cat(seen), torch.cat(missing)
    del seen, missing
    operator = gradient_operator(scale).to(inputs.device)
    if "features" in inputs.saved:
        features = inputs.saved["features"].to(inputs.device)
    else:
        covariance = operator @ (sight.T @ sight) @ operator.T
        components, share = principal_components(covariance, settings["features"][scale])
        features = components.T @ operator
        note = f"{features.shape[0]} of {len(operator)} features keep {share:.2%} of the energy"
        state = {"features": features}
        yield Step(stage="PCA", done=1, total=1, state=state, note=note)
    described = sight @ features.T
    del sight
    low = yield from ksvd(described, atoms, sparsity, inputs, {"features": features})
    codes = _sparse_codes(described, low, sparsity)
    gram = (codes.T @ codes).toarray()
    right = codes.T @ high.cpu().numpy()
    solved = np.linalg.lstsq(gram, right, rcond=None)[0]
    side = WINDOW * scale
    return {
        "features": features.reshape(-1, 1, side, side),
        "low": low,
        "high": torch.from_numpy(solved).to(low),
    }


def _coded(x: Tensor, atoms: Tensor, sparsity: int) -> tuple[Tensor, Tensor]:
    """`matching_pursuit` in chunks, in single precision, which is three times faster."""
    chunks = torch.split(x.float(), _CHUNK)
    parts = [matching_pursuit(chunk, atoms.float(), sparsity) for chunk in chunks]
    index, amount = (torch.cat(list(column)) for column in zip(*parts, strict=True))
    return index, amount.to(x.dtype)


def _sparse_codes(x: Tensor, atoms: Tensor, sparsity: int) -> scipy.sparse.csr_array:
    """Codes as a sparse matrix (N, K)."""
    index, amount = (part.cpu().numpy() for part in _coded(x, atoms, sparsity))
    starts = np.arange(len(index) + 1) * sparsity
    parts = (amount.reshape(-1), index.reshape(-1), starts)
    return scipy.sparse.csr_array(parts, shape=(len(index), len(atoms)))


def ksvd(
    x: Tensor, count: int, sparsity: int, inputs: LearningInputs, keep: dict[str, Tensor]
) -> Generator[Step, None, Tensor]:
    """A dictionary of `count` atoms, (count, d) of unit length, for rows x (N, d).

    Each iteration codes all rows by matching pursuit, then refines one atom after the other by
    one step of the power method on what the others leave. Atoms that fewer than four rows use, or
    that another resembles to 0.99, are replaced by the rows that are represented worst, as the
    published implementation does.

    Args:
        x: the samples.
        count: number of atoms.
        sparsity: atoms in a code.
        inputs: `settings["iterations"]`, the seed, and what was saved.
        keep: what else each step's state has to hold.
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
        usable = np.flatnonzero(lengths > 1e-6)
        if len(usable) < count:
            raise InputError(
                f"{len(usable)} of {len(rows)} patches have gradients; give images with more, for "
                f"{count} atoms"
            )
        chosen = random.choice(usable, count, replace=False)
        atoms = rows[chosen] / lengths[chosen, None]
    for iteration in range(first, iterations):
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
    """Change every atom and its coefficients in place; what is left of each row."""
    sparsity = index.shape[1]
    rest = rows.copy()
    for t in range(sparsity):
        rest -= amount[:, t, None] * atoms[index[:, t]]
    order = np.argsort(index, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(index.reshape(-1), minlength=len(atoms)))
    amounts = amount.reshape(-1)
    for atom in random.permutation(len(atoms)):
        places = order[ends[atom - 1] if atom else 0 : ends[atom]]
        users = places // sparsity
        target = rest[users] + amounts[places, None] * atoms[atom]
        direction = amounts[places] @ target
        length = np.linalg.norm(direction)
        if length < 1e-12:  # nobody uses it; `_replace` sees to it
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
    """Put the rows that are represented worst in the place of useless atoms."""
    used = np.bincount(index.reshape(-1), minlength=len(atoms))
    worst = iter(np.argsort(-np.einsum("nd,nd->n", rest, rest), kind="stable"))
    for atom in range(len(atoms)):
        alike = np.abs(atoms @ atoms[atom])
        alike[atom] = 0
        if used[atom] < 4 or alike.max() > 0.99:
            row = rows[next(worst)]
            atoms[atom] = row / max(np.linalg.norm(row), 1e-12)


# Regressors


def ridge(low: Tensor, high: Tensor, penalty: float) -> Tensor:
    """Matrices that take LR features to HR patches: (..., d, p) of (..., n, d) and (..., n, p).

    min ||high - low R||^2 + penalty ||R||^2, in closed form (Timofte et al. 2013, eq. 5).
    """
    identity = torch.eye(low.shape[-1], dtype=low.dtype, device=low.device)
    regressor: Tensor = torch.linalg.solve(low.mT @ low + penalty * identity, low.mT @ high)
    return regressor


def global_regressor(low: Tensor, high: Tensor) -> Tensor:
    """GR: one regressor (d, p) from all atoms, as the authors' program scales and penalises it."""
    penalty = 0.01 if len(low) < 1024 else 0.1
    return (1 + penalty) * ridge(low, high, penalty)


def neighbourhood_regressors(low: Tensor, high: Tensor, neighbours: int = 40) -> Tensor:
    """ANR: a regressor for each atom from those that correlate most with it: (K, d, p).

    Timofte et al. 2013, section 3.2: 40 neighbours, of either sign, penalty 0.01, as the authors'
    program scales it.
    """
    nearest = (low @ low.T).abs().topk(min(neighbours, len(low)), dim=1).indices
    return 1.01 * ridge(low[nearest], high[nearest], 0.01)


@dataclass(frozen=True)
class _Samples:
    """Pairs of patches, the HR ones left in their images."""

    low: Tensor
    """(d, N), float32, of unit length."""
    length: Tensor
    """What an HR patch is divided by: (N,), float32."""
    missing: Tensor
    """All images of what LR lacks, flat, float32."""
    start: Tensor
    """Where each sample's HR patch begins: (N,)."""
    width: Tensor
    """Of its image: (N,)."""

    def high(self, chosen: Tensor, scale: int) -> Tensor:
        """The HR patches of samples (...,): (..., 9 s^2), in blocks, float64."""
        side = PATCH * scale
        within = torch.arange(side * side, device=chosen.device).reshape(side, side)
        within = in_blocks(within.T.reshape(1, -1), scale)[0]
        place = self.start[chosen][..., None] + (
            within // side * self.width[chosen][..., None] + within % side
        )
        return (self.missing[place] / self.length[chosen][..., None]).double()


def _smaller(image: Tensor, share: float) -> Tensor:
    """The image at a share of its size; sides are rounded up."""
    if share == 1:
        return image
    return imresize(image, size=(math.ceil(len(image) * share), math.ceil(image.shape[1] * share)))


def _samples(inputs: LearningInputs, kept: Mapping[str, Tensor]) -> Generator[Step, None, _Samples]:
    """The first `samples` pairs of all images, then of all images smaller by `ratio`, and so on.

    `levels` sizes in all (Timofte et al. 2014, section 3). Steps keep what was `kept` before:
    samples are collected anew.
    """
    scale, settings = inputs.scale, inputs.settings
    levels, left = settings["levels"], settings["samples"]
    features = kept["features"].to(inputs.device, torch.float64).flatten(1)
    low, missing, start, width = [], [], [], []
    begun = 0
    for level in range(levels):
        images = (_smaller(image, settings["ratio"] ** level) for image in inputs.images)
        for pair in _pairs(images, inputs):
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
            f"{settings['neighbours']} that each anchor takes"
        )
    del low
    length = joined.norm(dim=0)
    joined /= length.clamp_min(torch.finfo(torch.float32).eps)
    length[length < settings["weak"]] = 1
    return _Samples(joined, length, torch.cat(missing), torch.cat(start), torch.cat(width))


def learn_regressors(inputs: LearningInputs) -> Generator[Step, None, dict[str, Tensor]]:
    """A+: a regressor for each atom from its nearest samples in the pyramid of all images.

    Returns:
        `features` (d, 1, 5s, 5s), `anchors` (K, d), `regressors` (K, d, 9 s^2), in blocks.

    Raises:
        InputError: the images hold fewer samples than a neighbourhood.

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
        likeness = anchors[first : first + _ANCHORS] @ samples.low
        nearest = likeness.topk(settings["neighbours"], dim=1, sorted=False).indices
        low = samples.low[:, nearest].permute(1, 2, 0).double()
        high = samples.high(nearest, inputs.scale)
        regressors = torch.cat([regressors, ridge(low, high, settings["penalty"])])
        kept = {**kept, "regressors": regressors}
        yield Step(stage="regressors", done=len(regressors), total=len(anchors), state=kept)
    return kept
