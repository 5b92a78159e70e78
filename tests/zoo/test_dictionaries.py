"""Learning: dictionaries, regressors and samples, against brute force and other libraries."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, orthogonal_mp
from torch import Tensor

from bench import evaluate
from bench import protocol as protocols
from zoo import dictionaries
from zoo.anchored import method
from zoo.dictionaries import (
    global_regressor,
    ksvd,
    neighbourhood_regressors,
    principal_components,
    ridge,
)
from zoo.errors import InputError
from zoo.method import LearningInputs, Step
from zoo.patches import gradient_operator, in_blocks

Array = NDArray[np.float64]
ATOMS = 16
SMALL = {"iterations": 3, "levels": 3, "samples": 400, "neighbours": 48}


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def picture(height: int, width: int, seed: int) -> Tensor:
    """Blobs of whole levels."""
    noise = scipy.ndimage.gaussian_filter(random(height, width, seed=seed), 1.2)
    return torch.from_numpy(np.clip(128 + 160 * noise, 0, 255).round() / 255)


PICTURES = [picture(37, 44, 0), picture(50, 33, 1), picture(26, 31, 2)]


def lesson_of(name: str, scale: int = 2, **changes: Any) -> LearningInputs:
    mine = method(name)
    fewer = {"atoms": str(ATOMS), "neighbours": "8"}
    mine = mine.with_settings({key: fewer[key] for key in mine.settings if key in fewer})
    settings = {key: SMALL.get(key, value) for key, value in mine.recipes[0].settings.items()}
    settings |= changes
    return LearningInputs(method=mine, scale=scale, images=PICTURES, settings=settings)


Learning = Generator[Step, None, Any]


def drain(learning: Learning) -> tuple[list[Step], Any]:
    """The steps, their states as they were when they were given, and what was returned."""
    steps = []
    while True:
        try:
            step = next(learning)
        except StopIteration as end:
            return steps, end.value
        state = {name: tensor.clone() for name, tensor in step.state.items()}
        steps.append(replace(step, state=state))


def learn(inputs: LearningInputs) -> tuple[list[Step], dict[str, Tensor]]:
    return drain(inputs.method.recipes[0].learn(inputs))


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# K-SVD


def truth(atoms: int, length: int, sparsity: int, rows: int) -> tuple[Array, Array]:
    """A dictionary, and rows that `sparsity` of its atoms make."""
    rng = np.random.default_rng(1)
    known = rng.normal(size=(atoms, length))
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    codes = np.zeros((rows, atoms))
    for code in codes:
        code[rng.choice(atoms, sparsity, replace=False)] = rng.normal(size=sparsity)
    return known, codes @ known


def from_rows(rows: Array, atoms: int, sparsity: int, iterations: int, **more: Any) -> Learning:
    inputs = replace(lesson_of("k-svd", iterations=iterations), **more)
    return ksvd(torch.from_numpy(rows), atoms, sparsity, inputs, {})


def rms(step: Step) -> float:
    return float(step.note.removeprefix("RMS error "))


def test_ksvd_finds_the_dictionary_that_made_the_rows() -> None:
    """The experiment of Aharon, Elad, Bruckstein: K-SVD, 2006, section V-A, without noise.

    Of 20 atoms of length 8 no K-SVD finds more than half: they resemble each other to 0.85, and
    pursuit with the true ones leaves most of what it leaves with those found.
    """
    known, rows = truth(50, 20, 3, 2000)
    steps, found = drain(from_rows(rows, 50, 3, 30))
    assert (np.abs(known @ found.numpy().T).max(1) > 0.99).mean() >= 0.8
    torch.testing.assert_close(found.norm(dim=1), torch.ones(50).double())
    errors = [rms(step) for step in steps]
    assert len(errors) == 30
    assert errors[-1] < 0.4 * errors[0]
    # greedy pursuit does not promise that it never rises; it hardly does
    assert all(later < 1.02 * earlier for earlier, later in itertools.pairwise(errors))


def test_seeds_differ() -> None:
    _, rows = truth(20, 8, 3, 300)
    for iterations in (0, 2):  # the first atoms; and what comes of them
        found = [drain(from_rows(rows, 20, 3, iterations, seed=seed))[1] for seed in (0, 0, 1)]
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], found[2])


def test_refining_lowers_what_is_left_and_says_so() -> None:
    """With the same atoms in each code, every atom's change can only help."""
    _, rows = truth(20, 8, 3, 300)
    atoms = random(20, 8, seed=2)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    index, amount = (
        part.numpy()
        for part in dictionaries._coded(torch.from_numpy(rows), torch.from_numpy(atoms), 3)
    )

    def left() -> Array:
        return rows - np.einsum("nt,ntd->nd", amount, atoms[index])

    before = left()
    rest = dictionaries._refine(rows, atoms, index, amount, np.random.default_rng(0))
    np.testing.assert_allclose(rest, left(), rtol=0, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=0, atol=1e-14)
    assert (rest**2).sum() < 0.9 * (before**2).sum()


def test_one_atom_is_refined_by_one_step_of_the_power_method() -> None:
    rows, index = random(6, 4), np.zeros((6, 1), np.int64)
    atoms = np.eye(4)[:1].copy()
    amount = rows[:, :1].copy()
    dictionaries._refine(rows, atoms, index, amount, np.random.default_rng(0))
    direction = rows.T @ rows @ np.eye(4)[0]
    np.testing.assert_allclose(atoms[0], direction / np.linalg.norm(direction), atol=1e-14)
    np.testing.assert_allclose(amount[:, 0], rows @ atoms[0], atol=1e-14)


def test_useless_atoms_become_the_worst_rows() -> None:
    rows = random(40, 5)
    rest = np.zeros_like(rows)
    rest[[7, 30], 0] = 2, 3
    atoms = np.concatenate([np.eye(5), -np.eye(5)[:1]])  # the last resembles the first
    index = np.repeat(np.arange(6), 6)[:, None]
    index[index == 3] = 4  # the fourth is used by none
    index[-3:] = 5
    before = atoms.copy()
    dictionaries._replace(rows, atoms, index, rest)
    np.testing.assert_allclose(atoms[0], rows[30] / np.linalg.norm(rows[30]), atol=1e-15)
    np.testing.assert_allclose(atoms[3], rows[7] / np.linalg.norm(rows[7]), atol=1e-15)
    np.testing.assert_array_equal(atoms[[1, 2, 4, 5]], before[[1, 2, 4, 5]])


def test_an_atom_of_three_rows_is_replaced_and_one_of_four_stays() -> None:
    rows, atoms = random(20, 3), np.eye(3)
    index = np.array([0] * 13 + [1] * 4 + [2] * 3)[:, None]
    dictionaries._replace(rows, atoms, index, rows)
    np.testing.assert_array_equal(atoms[:2], np.eye(3)[:2])
    worst = rows[np.argmax(np.linalg.norm(rows, axis=1))]
    np.testing.assert_allclose(atoms[2], worst / np.linalg.norm(worst), atol=1e-15)


def test_components_are_those_of_the_svd() -> None:
    x = random(200, 12) * np.linspace(1, 5, 12)
    found, share = principal_components(torch.from_numpy(x.T @ x), 4)
    _, values, rows = np.linalg.svd(x, full_matrices=False)
    assert found.shape == (12, 4)
    likeness = np.abs(rows[:4][::-1] @ found.numpy())
    np.testing.assert_allclose(likeness, np.eye(4), rtol=0, atol=1e-10)
    assert share == pytest.approx((values[:4] ** 2).sum() / (values**2).sum(), abs=1e-12)


# Pairs and samples


def cut(image: Array, top: int, left: int, side: int) -> Array:
    return image[top : top + side, left : left + side]


def pair_of(image: Tensor, scale: int) -> tuple[Array, Array]:
    """Interpolated LR, and what it lacks, by the rules of SRCNN's protocol."""
    rules = protocols.load("srcnn2014")
    height, width = (length // scale * scale for length in image.shape)
    hr = 255 * image[None, :height, :width]
    lr = evaluate.degrade(hr, scale, rules, eight_bit=False)
    interpolated = evaluate.interpolate(lr, (height, width), "bicubic", rules, eight_bit=False)
    return interpolated[0].numpy() / 255, (hr - interpolated)[0].numpy() / 255


def pairs_of_patches(image: Tensor, scale: int, step: int = 1) -> tuple[Array, Array]:
    """Windows, and what is missing in their patches, column by column; row after row."""
    interpolated, missing = pair_of(image, scale)
    seen, lacking = [], []
    for top in range(0, missing.shape[0] - 5 * scale + 1, step * scale):
        for left in range(0, missing.shape[1] - 5 * scale + 1, step * scale):
            seen.append(cut(interpolated, top, left, 5 * scale).reshape(-1))
            patch = cut(missing, top + scale, left + scale, 3 * scale)
            lacking.append(patch.reshape(-1, order="F"))
    return np.array(seen), np.array(lacking)


def blocks(patches: Array, scale: int) -> Array:
    return in_blocks(torch.from_numpy(patches), scale).numpy()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_dictionary_is_made_of_a_sparse_grid_of_patches(scale: int) -> None:
    inputs = replace(lesson_of("k-svd", scale), images=[picture(90, 77, 5), picture(64, 71, 6)])
    steps, learned = learn(inputs)
    length = {2: 28, 3: 30, 4: 30}[scale]
    assert learned["features"].shape == (length, 1, 5 * scale, 5 * scale)
    assert learned["low"].shape == (ATOMS, length)
    parts = [pairs_of_patches(image, scale, step=2) for image in inputs.images]
    seen, lacking = (np.concatenate(side) for side in zip(*parts, strict=True))

    raw = seen @ gradient_operator(scale).numpy().T
    _, values, rows = np.linalg.svd(raw, full_matrices=False)
    described = seen @ learned["features"].flatten(1).numpy().T
    likeness = np.abs((raw @ rows[:length][::-1].T / values[:length][::-1]).T @ described)
    expected = np.diag(values[:length][::-1])
    np.testing.assert_allclose(likeness, expected, rtol=0, atol=1e-6 * values[0])
    share = (values[:length] ** 2).sum() / (values**2).sum()
    assert steps[0].note == f"{length} of {raw.shape[1]} features keep {share:.2%} of the energy"

    low = learned["low"].numpy()
    codes = orthogonal_mp(low.T, described.T, n_nonzero_coefs=3).T
    high = np.linalg.lstsq(codes, blocks(lacking, scale), rcond=None)[0]
    # codes are of single precision
    np.testing.assert_allclose(learned["high"], high, rtol=0, atol=1e-5 * np.abs(high).max())


def samples_of(inputs: LearningInputs, features: Tensor) -> tuple[list[Step], Any]:
    return drain(dictionaries._samples(inputs, {"features": features}))


@pytest.mark.parametrize("scale", [2, 3])
def test_samples_are_the_pairs_of_the_pyramid(scale: int) -> None:
    inputs = lesson_of("a-plus", scale, samples=10**6)
    features = torch.from_numpy(random(6, 36 * scale**2) / 25) @ gradient_operator(scale)
    features = features.reshape(6, 1, 5 * scale, 5 * scale)
    steps, samples = samples_of(inputs, features)
    parts = [pairs_of_patches(image, scale) for level in pyramid(inputs) for image in level]
    seen, lacking = (np.concatenate(side) for side in zip(*parts, strict=True))
    described = seen @ features.flatten(1).numpy().T
    length = np.linalg.norm(described, axis=1)
    assert 0 < (length < 0.1).sum() < len(length)
    np.testing.assert_allclose(
        samples.low.numpy(), (described / length[:, None]).T, rtol=0, atol=1e-5
    )
    length[length < 0.1] = 1
    high = samples.high(torch.arange(len(seen)), scale)
    np.testing.assert_allclose(high, blocks(lacking / length[:, None], scale), atol=1e-6)
    assert [(step.stage, step.done, step.total) for step in steps] == [
        ("samples", level, 3) for level in (1, 2, 3)
    ]


def pyramid(inputs: LearningInputs) -> list[list[Tensor]]:
    ratio, levels = inputs.settings["ratio"], inputs.settings["levels"]
    return [
        [dictionaries._smaller(image, ratio**level) for image in inputs.images]
        for level in range(levels)
    ]


def test_sizes_of_the_pyramid_are_rounded_up() -> None:
    sizes = [[tuple(image.shape) for image in level] for level in pyramid(lesson_of("a-plus"))]
    assert sizes == [
        [(37, 44), (50, 33), (26, 31)],
        [(37, 44), (49, 33), (26, 31)],  # 36.26, 43.12; 49, 32.34; 25.48, 30.38
        [(36, 43), (49, 32), (25, 30)],  # 35.53, 42.26; 48.02, 31.69; 24.97, 29.77
    ]


def test_chosen_samples_may_have_any_shape() -> None:
    inputs = lesson_of("a-plus")
    _, samples = samples_of(inputs, torch.from_numpy(random(6, 1, 10, 10)))
    chosen = torch.tensor([[5, 0, 77], [399, 5, 5]])
    high = samples.high(chosen, 2)
    assert high.shape == (2, 3, 36)
    assert torch.equal(high[1, 1], high[0, 0])
    assert torch.equal(high[0, 2], samples.high(torch.tensor(77), 2))


@pytest.mark.parametrize("most", [100, 251, 252, 253, 400, 1000])
def test_samples_end_at_their_number(most: int) -> None:
    """The first image holds 14 x 18 = 252, the first level 252 + 252 + 99 = 603."""
    features = torch.from_numpy(random(6, 1, 10, 10))
    _, every = samples_of(lesson_of("a-plus", samples=10**6), features)
    steps, samples = samples_of(lesson_of("a-plus", samples=most), features)
    assert samples.low.shape == (6, most)
    assert torch.equal(samples.low, every.low[:, :most])
    chosen = torch.arange(most)
    assert torch.equal(samples.high(chosen, 2), every.high(chosen, 2))
    assert steps[-1].done == steps[-1].total


# Regressors


def test_ridge_is_scikit_learns() -> None:
    low, high = random(3, 50, 7), random(3, 50, 9, seed=1)
    found = ridge(torch.from_numpy(low), torch.from_numpy(high), 0.3)
    assert found.shape == (3, 7, 9)
    for part in range(3):
        peer = Ridge(alpha=0.3, fit_intercept=False, solver="svd").fit(low[part], high[part])
        np.testing.assert_allclose(found[part], peer.coef_.T, rtol=0, atol=1e-12)


def textbook(low: Array, high: Array, penalty: float) -> Array:
    """H (L'L + penalty I)^-1 L' with atoms as columns, given and returned as rows."""
    inverse = np.linalg.inv(low @ low.T + penalty * np.eye(len(low)))
    return (high.T @ inverse @ low).T


@pytest.mark.parametrize(("atoms", "penalty"), [(100, 0.01), (1023, 0.01), (1024, 0.1)])
def test_global_regressor_is_the_textbooks(atoms: int, penalty: float) -> None:
    low, high = random(atoms, 6), random(atoms, 9, seed=1)
    found = global_regressor(torch.from_numpy(low), torch.from_numpy(high))
    np.testing.assert_allclose(
        found, (1 + penalty) * textbook(low, high, penalty), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("atoms", [25, 40, 90])
def test_neighbourhood_regressors_are_the_textbooks(atoms: int) -> None:
    low, high = random(atoms, 6), random(atoms, 9, seed=1)
    low /= np.linalg.norm(low, axis=1, keepdims=True)
    found = neighbourhood_regressors(torch.from_numpy(low), torch.from_numpy(high))
    assert found.shape == (atoms, 6, 9)
    for atom in range(atoms):
        near = np.argsort(-np.abs(low @ low[atom]))[:40]
        expected = 1.01 * textbook(low[near], high[near], 0.01)
        np.testing.assert_allclose(found[atom], expected, rtol=0, atol=1e-9)


def test_regressors_are_ridge_on_each_anchors_nearest_samples() -> None:
    inputs = lesson_of("a-plus", samples=10**6)
    _, learned = learn(inputs)
    assert learned.keys() == {"features", "anchors", "regressors"}
    parts = [pairs_of_patches(image, 2) for level in pyramid(inputs) for image in level]
    seen, lacking = (np.concatenate(side) for side in zip(*parts, strict=True))
    described = seen @ learned["features"].flatten(1).numpy().T
    length = np.linalg.norm(described, axis=1, keepdims=True)
    low = described / length
    high = blocks(lacking / np.where(length < 0.1, 1, length), 2)
    for anchor, regressor in zip(learned["anchors"].numpy(), learned["regressors"], strict=True):
        near = np.argsort(-(low @ anchor))[:48]
        expected = textbook(low[near], high[near], 0.1)
        np.testing.assert_allclose(regressor, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


# Resuming, starting, refusing


@pytest.mark.parametrize("name", ["k-svd", "anr", "a-plus"])
def test_learning_goes_on_from_any_step_to_the_same_bits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dictionaries, "_ANCHORS", 6)  # three steps for 16 anchors
    inputs = lesson_of(name)
    steps, learned = learn(inputs)
    stages = ["PCA"] + 3 * ["K-SVD"]
    stages += 1 * ["samples"] + 3 * ["regressors"] if name == "a-plus" else []
    assert [step.stage for step in steps] == stages
    for place, step in enumerate(steps):
        rest, again = learn(replace(inputs, saved=step.state))
        assert equal(again, learned)
        left = [x for x in steps[place + 1 :] if x.stage != "samples"]
        assert [x.done for x in rest if x.stage != "samples"] == [x.done for x in left]
    assert equal(learn(inputs)[1], learned)


@pytest.mark.parametrize("name", ["gr", "anr", "a-plus"])
def test_learning_from_a_dictionary_learns_none(name: str) -> None:
    inputs = lesson_of(name)
    whole = learn(inputs)[1]
    _, dictionary = learn(lesson_of("k-svd"))
    steps, learned = learn(replace(inputs, start=dictionary))
    assert not {step.stage for step in steps} & {"PCA", "K-SVD"}
    assert equal(learned, whole)


@pytest.mark.parametrize("name", ["k-svd", "ne-lle", "gr", "anr", "a-plus"])
def test_what_is_learned_is_the_methods_state_and_finite(name: str) -> None:
    inputs = lesson_of(name)
    _, learned = learn(inputs)
    module = inputs.method.build(2, inputs.method.settings)
    wanted = {key: value.shape for key, value in module.state_dict().items()}
    assert {key: value.shape for key, value in learned.items()} == wanted
    assert all(value.isfinite().all() for value in learned.values())


@pytest.mark.parametrize("name", ["k-svd", "a-plus"])
def test_images_too_small_for_a_patch_are_passed_over(name: str) -> None:
    inputs = lesson_of(name)
    tiny = [picture(9, 60, 7), picture(60, 9, 8), picture(1, 1, 9)]
    mixed = replace(inputs, images=[tiny[0], *PICTURES[:2], tiny[1], PICTURES[2], tiny[2]])
    assert equal(learn(mixed)[1], learn(inputs)[1])


def refuse(inputs: LearningInputs, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        learn(inputs)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", ["k-svd", "gr", "anr", "a-plus"])
def test_too_few_patches_are_refused(name: str) -> None:
    inputs = lesson_of(name)
    refuse(replace(inputs, images=[]), "hold 0 patches at x2", "64")
    refuse(replace(inputs, images=[picture(8, 8, 0)]), "hold 0 patches at x2", "64")
    # 9 x 7 at every second LR pixel of 21 x 17
    refuse(replace(inputs, images=[picture(42, 35, 0)]), "hold 63 patches at x2", "64")


def test_fewer_samples_than_neighbours_are_refused() -> None:
    dictionary = learn(lesson_of("k-svd"))[1]
    inputs = replace(lesson_of("a-plus", neighbours=48), start=dictionary)
    refuse(replace(inputs, images=[]), "hold 0 patches at x2", "48")
    small = replace(lesson_of("a-plus", levels=1), start=dictionary, images=[picture(20, 22, 0)])
    refuse(small, "hold 42 patches at x2", "48")


@pytest.mark.parametrize("name", ["k-svd", "anr", "a-plus"])
def test_images_without_gradients_are_refused(name: str) -> None:
    flat = torch.full((60, 60), 100 / 255, dtype=torch.float64)
    refuse(replace(lesson_of(name), images=[flat, flat]), "gradients")
