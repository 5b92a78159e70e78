"""SC, against a reference of one patch at a time, and against what the papers print."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import convolve2d
from sklearn.linear_model import lars_path
from torch import Tensor, nn

import zoo
import zoo.sparse_coding as sc
from bench import datasets, images, metrics
from bench.evaluate import evaluate
from bench.files import fetch, weights
from bench.graph.field import field
from bench.graph.trace import trace
from bench.progress import Progress
from bench.protocol import load
from zoo.errors import InputError
from zoo.method import LearningInputs, Method, Step
from zoo.resample import imresize

CPU = torch.device("cpu")
PRINTED = {  # Dong et al. 2014, x3; its 29.04 for woman contradicts its own average, 31.42
    "set5": {"baby": 34.29, "bird": 34.11, "butterfly": 25.58, "head": 33.17, "woman": 29.94},
    "set14": {"coastguard": 27.02, "face": 33.11, "foreman": 32.04, "ppt3": 24.98},
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=random, dtype=torch.float64)


def module(scale: int, atoms: int, seed: int = 0) -> sc.SparseCoding:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return sc.SparseCoding(scale, atoms).double().requires_grad_(False)


def code(atoms: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The solution at the second knot at or below 0.1; no weights where the first is below."""
    knots, _, path = lars_path(atoms, x, method="lasso", positive=True)
    knots = knots * len(x)
    if knots[0] <= 0.1:
        return np.zeros(atoms.shape[1])
    return path[:, int(np.flatnonzero(knots <= 0.1)[1])]


def reference(lr: NDArray[np.float64], net: sc.SparseCoding) -> NDArray[np.float64]:
    """SR of (h, w) by the rules of the authors' program, patch after patch."""
    s, (height, width) = net.scale, lr.shape
    larger, plain = (imresize(torch.from_numpy(lr), z).numpy() for z in (2, s))
    first, second = np.array([[-1.0, 0, 1]]), np.array([[1.0, 0, -2, 0, 1]])
    maps = [convolve2d(larger, f, "same") for f in (first, first.T, second, second.T)]
    low, high = net.low.flatten(1).numpy().T, net.high.flatten(1).numpy().T
    total, layers = np.zeros_like(plain), np.zeros_like(plain)
    for row in [*range(1, height - 3), height - 4]:  # the last one twice
        for column in [*range(1, width - 3), width - 4]:
            there = slice(2 * row, 2 * row + 6), slice(2 * column, 2 * column + 6)
            seen = np.concatenate([m[there].reshape(-1) for m in maps])
            length = max(float(np.linalg.norm(seen)), 1.0)
            patch = length * (high @ code(low, seen / length)) + larger[there].mean()
            to = slice(s * row, s * (row + 3)), slice(s * column, s * (column + 3))
            total[to] += patch.reshape(3 * s, 3 * s)
            layers[to] += 1
    return np.where(layers > 0, total / np.maximum(layers, 1), plain)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_sr_is_that_of_one_patch_at_a_time(scale: int) -> None:
    net = module(scale, 40)
    lr = drawn(9, 8) * torch.linspace(0.05, 1, 8)  # weak features on one side
    found = net(lr[None, None])[0, 0].numpy()
    expected = reference(lr.numpy(), net)
    plain = imresize(lr, scale).numpy()
    assert np.abs(found - plain).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(found[:scale], plain[:scale])


def test_images_and_patches_do_not_mind_what_is_coded_beside_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, x = module(2, 20), drawn(3, 1, 9, 11)
    together = net(x)
    torch.testing.assert_close(together, torch.cat([net(one) for one in x.split(1)]))
    monkeypatch.setattr(sc, "_CHUNK", 7)
    torch.testing.assert_close(net(x), together)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_looks_five_pixels_far(scale: int) -> None:
    net, x = module(scale, 40), drawn(1, 1, 17, 17)
    far = x.clone()
    far[..., 8, 8] = 1 - far[..., 8, 8]
    rows = torch.nonzero((net(far) - net(x)).abs().amax((0, 1, 3)) > 1e-9)[:, 0] // scale
    assert (int(rows.min()), int(rows.max())) == (3, 13)
    found = field(trace(net, x, proxies=True))
    assert (found.rows, found.columns, found.margin, found.step) == (11, 11, 5, 1)


def test_a_flat_image_stays_flat() -> None:
    for level in (0.0, 0.4, 1.0):
        x = torch.full((1, 1, 10, 12), level)
        torch.testing.assert_close(module(3, 20).float()(x), torch.full((1, 1, 30, 36), level))


def test_an_image_without_a_patch_is_refused() -> None:
    net = module(3, 20)
    for height, width in ((1, 1), (4, 20), (20, 4)):
        with pytest.raises(InputError, match=f"LR of {width}x{height} px holds no patch"):
            net(drawn(1, 1, height, width))
    x = drawn(1, 1, 5, 5)
    assert not torch.equal(net(x), imresize(x, 3))


# The published dictionaries


def published(scale: int) -> tuple[Method, nn.Module]:
    method, tag = zoo.load("sc")
    chosen = weights.of_tag(method, tag, scale)
    weights.download(method, chosen, Progress())
    return method, weights.build(method, chosen, scale, CPU).eval().requires_grad_(False)


def psnr(data: str, image: str, scale: int, method: Method, net: nn.Module) -> float:
    chosen = {"psnr": metrics.load("psnr")}
    (file,) = (file for file in datasets.load(data, Progress()).images if file.name == image)
    found = evaluate(images.decode(file.path), scale, load("srcnn2014"), method, net, chosen, CPU)
    return found["psnr_y"]


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("image", PRINTED["set14"])
def test_x3_holds_to_the_printed_digit(image: str) -> None:
    assert round(psnr("set14", image, 3, *published(3)), 2) == PRINTED["set14"][image]


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("scale", [2, 4])
def test_atoms_of_the_other_scales_are_as_strong_as_their_patches(scale: int) -> None:
    method, net = published(scale)
    bicubic, _ = zoo.load("bicubic")
    plain = psnr("set5", "butterfly", scale, bicubic, bicubic.build(scale, {}))
    assert psnr("set5", "butterfly", scale, method, net) > plain + 0.9
    state = net.state_dict()
    lengths = state["high"].flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, scale / 3))


@pytest.mark.usefixtures("mirror")
def test_x3_holds_to_the_printed_digits_of_set5_with_the_work_that_is_counted(
    check_mean_work: Callable[..., None],
) -> None:
    method, net = published(3)
    found = {}

    def run() -> None:
        for image in PRINTED["set5"]:
            found[image] = round(psnr("set5", image, 3, method, net), 2)

    check_mean_work(sc, sc.MEAN_WORK, run)
    assert found == PRINTED["set5"]


def test_weights_far_from_the_literature_say_so_and_name_the_method_that_is_not() -> None:
    remarks = {card.scale: card.remark for card in zoo.load("sc")[0].weights}
    # 35.78 dB is printed, 34.229 measured under `selfexsr2015`; at x3 and x4, 0.11 and 0.05 above.
    assert "1.55 dB below the literature's 35.78 dB on Set5 x2" in remarks[2]
    assert remarks[2].endswith("the method scsr reaches")
    assert (remarks[3], remarks[4]) == ("", "")


# Their layout


def layout(scale: int = 3, atoms: int = 5) -> dict[str, Any]:
    return {"Dh": np.zeros((9 * scale**2, atoms)), "Dl": np.zeros((144, atoms))}


def test_pictures_are_read_column_by_column() -> None:
    arrays = layout()
    arrays["Dh"][1, 0] = 2.0  # second entry of a column: row 1, column 0
    arrays["Dl"][36 + 6, 1] = 3.0  # second kind; first entry of the second column
    state = sc.from_mat(arrays)
    assert state["high"][0, 0, 1, 0] == 2.0
    assert state["low"][1, 1, 0, 1] == 3.0
    assert state["low"].shape == (5, 4, 6, 6)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"Dh": np.zeros((81, 5))},
        {**layout(), "more": 1},
        {**layout(), "Dl": np.zeros((144, 6))},
        {**layout(), "Dl": np.zeros((100, 5))},
        {**layout(), "Dh": np.zeros((25, 5))},
        {**layout(), "Dh": np.zeros((80, 5))},
        {**layout(), "Dh": np.zeros(81)},
    ],
)
def test_another_layout_is_refused(arrays: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"not the authors' dictionary: .*expected Dh"):
        sc.from_mat(arrays)


@pytest.mark.usefixtures("mirror")
def test_the_dictionary_of_another_scale_is_refused() -> None:
    method, tag = zoo.load("sc")
    chosen = weights.of_tag(method, tag, 2)
    weights.download(method, chosen, Progress())
    assert chosen.file
    wrong = weights.of_tag(method, str(fetch.local_path(chosen.file)), 3)
    with pytest.raises(InputError, match="these look like x2 weights"):
        weights.build(method, wrong, 3, CPU)


# Learning


def inputs() -> LearningInputs:
    """Stripes in four directions; and an image that holds no patch."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(60.0), indexing="ij")
    pictures = [
        (torch.sin(rows * math.cos(a) / 3 + columns * math.sin(a) / 3) > 0.2 * a - 0.4).double()
        for a in (0.0, 0.7, 1.5, 2.6)
    ]
    return LearningInputs(
        method=zoo.load("sc:atoms=64@none")[0],
        scale=3,
        images=[*pictures, torch.zeros(4, 70, dtype=torch.float64)],
        settings={"patches": 2000, "variance": 10, "penalty": 0.05, "iterations": 4},
        seed=3,
    )


def run(given: LearningInputs) -> tuple[list[Step], dict[str, Tensor]]:
    steps: list[Step] = []
    learning: Generator[Step, None, dict[str, Tensor]] = sc.learn(given)
    while True:
        try:
            steps.append(next(learning))
        except StopIteration as end:
            return steps, end.value


def test_a_dictionary_is_learned_that_beats_bicubic() -> None:
    given = inputs()
    steps, state = run(given)
    assert [(step.done, step.total) for step in steps] == [(k, 4) for k in (1, 2, 3, 4)]
    errors = [float(step.note.split()[2].rstrip(",")) for step in steps]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.8 * errors[0]
    torch.testing.assert_close(state["low"].flatten(1).norm(dim=1), torch.ones(64))
    net = given.method.build(3, given.method.settings)
    net.load_state_dict(state)
    for hr in given.images[:4]:
        lr = imresize(hr[None, None], size=(16, 20))
        with torch.no_grad():
            missed = (net(lr.float()) - hr).square().mean()
        assert missed < (imresize(lr, 3) - hr).square().mean()


def test_learning_goes_on_where_it_stopped() -> None:
    steps, state = run(inputs())
    for step in (steps[0], steps[2], steps[3]):
        rest, same = run(replace(inputs(), saved=step.state))
        assert len(rest) == 4 - step.done
        assert all(torch.equal(same[key], state[key]) for key in state)


def test_too_few_patches_are_refused() -> None:
    given = inputs()
    few = replace(given, settings={**given.settings, "patches": 100})
    flat = replace(given, images=[torch.full((40, 40), 0.5, dtype=torch.float64)])
    for less in (few, flat, replace(given, images=given.images[4:])):
        with pytest.raises(InputError, match=r"hold \d+ patches that are not flat.*for 256, four"):
            run(less)


def test_pairs_are_patches_and_features_of_unit_length() -> None:
    pairs = sc._pairs(inputs())
    torch.testing.assert_close(pairs.norm(dim=1), torch.ones(len(pairs)))
    assert pairs[:, :81].sum(1).abs().max() < 1e-5


def test_features_of_a_transposed_image_are_the_other_ones_transposed() -> None:
    x = drawn(1, 1, 11, 14)
    turned = sc.differences(x.mT)
    torch.testing.assert_close(turned, sc.differences(x).mT[:, [1, 0, 3, 2]])


def test_refining_ends_at_the_best_atoms_of_their_length() -> None:
    codes, x = drawn(60, 7), drawn(60, 12, seed=1)
    codes[:, 3] = 0
    products, targets = codes.T @ codes, codes.T @ x
    start = drawn(7, 12, seed=2) / 4
    atoms = start
    for _ in range(3000):
        atoms = sc.refine(atoms, products, targets)
    lengths = atoms.norm(dim=1)
    assert torch.equal(atoms[3], start[3])
    assert lengths.max() <= 1 + 1e-12
    downhill = targets - products @ atoms  # no way down but to longer atoms
    outward = (downhill * atoms).sum(1, keepdim=True) / lengths[:, None].square()
    assert outward.min() > -1e-9
    torch.testing.assert_close(downhill, outward * atoms, atol=1e-8, rtol=0)
    assert outward[lengths < 1 - 1e-9].abs().max() < 1e-8
