"""K-SVD, GR, ANR, A+ and the neighbour embeddings, against a loop over patches and the papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import scipy.io
import scipy.optimize
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import zoo.anchored
import zoo.patches
from bench import datasets, evaluate, images, metrics, published
from bench import protocol as protocols
from bench.files import weight_file
from bench.files import weights as weights_of
from bench.files.fetch import local_path
from bench.progress import Progress
from zoo.anchored import NAMES, AnchoredRegression, Patches, method
from zoo.errors import InputError
from zoo.method import Method
from zoo.patches import in_blocks
from zoo.resample import Edges

Array = NDArray[np.float64]
CPU = torch.device("cpu")
SCALES = (2, 3, 4)
ATOMS = 60
COMPONENTS = {2: 28, 3: 30, 4: 30}
OF_A_DICTIONARY = [name for name in NAMES if name != "a-plus"]
CONVERTERS = ["k-svd", "gr", "anr"]  # the neighbour embeddings read what K-SVD does


# A dictionary, and the whole method in loops


class Atoms:
    """A small random dictionary in the authors' layout, and regressors for its atoms."""

    def __init__(self, scale: int, atoms: int = ATOMS) -> None:
        rng = np.random.default_rng(scale)
        length, size = COMPONENTS[scale], 9 * scale * scale
        self.scale = scale
        self.components = rng.normal(size=(4 * size, length)) / (6 * scale)
        self.low = rng.normal(size=(length, atoms))
        self.low /= np.linalg.norm(self.low, axis=0)
        self.high = rng.normal(size=(size, atoms)) / 10
        self.regressors = rng.normal(size=(atoms, length, size)) / 10

    @property
    def fields(self) -> dict[str, Any]:
        return {
            "scale": self.scale,
            "V_pca": self.components,
            "dict_lores": self.low,
            "dict_hires": self.high,
        }


def struct(fields: dict[str, Any]) -> Array:
    """A MATLAB struct as SciPy reads it."""
    conf = np.empty((1, 1), [(name, object) for name in fields])
    for name, value in fields.items():
        conf[name][0, 0] = np.atleast_2d(value)
    return conf


def card(name: str, atoms: int = ATOMS) -> Method:
    return method(name).with_settings({"atoms": str(atoms)})


def state_of(name: str, atoms: Atoms) -> dict[str, Tensor]:
    if name == "a-plus":
        loaded = zoo.anchored.dictionary({"conf": struct(atoms.fields)})
        regressors = in_blocks(torch.from_numpy(atoms.regressors), atoms.scale)
        return {
            "features": loaded["features"],
            "anchors": loaded["low"],
            "regressors": regressors,
        }
    convert = method(name).convert
    assert convert is not None
    return convert({"conf": struct(atoms.fields)})


def built(name: str, atoms: Atoms) -> Patches:
    """The method with a dictionary, in double."""
    mine = card(name, atoms.low.shape[1])
    module = mine.build(atoms.scale, mine.settings).double().eval().requires_grad_(False)
    module.load_state_dict(state_of(name, atoms), strict=True)
    assert isinstance(module, Patches)
    return module


def gradients(image: Array, s: int) -> list[Array]:
    gap = [0.0] * (s - 1)
    first, second = np.array([[1, *gap, -1]]), np.array([[1, *gap, -2, *gap, 1]]) / 2
    maps = []
    for kernel in (first, first.T, second, second.T):
        full = scipy.signal.convolve2d(image, kernel, "full")
        down, right = (int(np.ceil((side + 1) / 2)) - 1 for side in kernel.shape)
        maps.append(full[down : down + image.shape[0], right : right + image.shape[1]])
    return maps


def anchor(atoms: Atoms, feature: Array) -> int:
    return int(np.argmax(np.abs(atoms.low.T @ feature)))


def nearest(atoms: Atoms, feature: Array, count: int) -> NDArray[np.intp]:
    return np.argsort(-np.abs(atoms.low.T @ feature))[:count]


def by_pursuit(atoms: Atoms, feature: Array) -> Array:
    taken: list[int] = []
    rest, weight = feature, np.zeros(0)
    for _ in range(3):
        taken.append(int(np.argmax(np.abs(atoms.low.T @ rest))))
        weight = np.linalg.lstsq(atoms.low[:, taken], feature, rcond=None)[0]
        rest = feature - atoms.low[:, taken] @ weight
    return atoms.high[:, taken] @ weight


def regressed(low: Array, high: Array, penalty: float, feature: Array) -> Array:
    """(1 + penalty) H (L'L + penalty I)^-1 L' y, of the size of the neighbourhood."""
    inverse = np.linalg.inv(low.T @ low + penalty * np.eye(low.shape[1]))
    return (1 + penalty) * high @ inverse @ low.T @ feature


def by_one_regressor(atoms: Atoms, feature: Array) -> Array:
    return regressed(atoms.low, atoms.high, 0.01, feature)


def by_anchored_neighbourhood(atoms: Atoms, feature: Array) -> Array:
    near = nearest(atoms, atoms.low[:, anchor(atoms, feature)], 40)
    return regressed(atoms.low[:, near], atoms.high[:, near], 0.01, feature)


def by_learned_regressor(atoms: Atoms, feature: Array) -> Array:
    return atoms.regressors[anchor(atoms, feature)].T @ feature


def by_locally_linear_weights(atoms: Atoms, feature: Array) -> Array:
    near = nearest(atoms, feature, 24)
    away = atoms.low[:, near] - feature[:, None]
    gram = away.T @ away
    weight = np.linalg.inv(gram + 1e-4 * np.trace(gram) * np.eye(24)).sum(1)
    return atoms.high[:, near] @ (weight / weight.sum())


def by_nonnegative_weights(atoms: Atoms, feature: Array) -> Array:
    near = nearest(atoms, feature, 24)
    weight, _ = scipy.optimize.nnls(atoms.low[:, near], feature)
    return atoms.high[:, near] @ weight


MISSING: dict[str, Callable[[Atoms, Array], Array]] = {
    "k-svd": by_pursuit,
    "gr": by_one_regressor,
    "anr": by_anchored_neighbourhood,
    "a-plus": by_learned_regressor,
    "ne-lle": by_locally_linear_weights,
    "ne-nnls": by_nonnegative_weights,
}


def looped(name: str, atoms: Atoms, image: Array) -> Array:
    """As the authors' program goes: whole patches, interpolated part included, are averaged."""
    s, side = atoms.scale, 3 * atoms.scale
    height, width = (length // s * s for length in image.shape)
    whole = image[:height, :width]
    maps = gradients(whole, s)
    total, count = np.zeros_like(whole), np.zeros_like(whole)
    for top in range(s, height - s - side + 1, s):
        for left in range(s, width - s - side + 1, s):
            place = np.s_[top : top + side, left : left + side]
            raw = np.concatenate([plane[place].reshape(-1, order="F") for plane in maps])
            lacks = MISSING[name](atoms, atoms.components.T @ raw)
            total[place] += whole[place] + lacks.reshape(side, side, order="F")
            count[place] += 1
    out = image.copy()
    covered = count > 0
    out[:height, :width][covered] = total[covered] / count[covered]
    return out


def random_image(scale: int, seed: int = 0) -> Array:
    """Noise of 7x9 LR pixels and a rest."""
    size = (7 * scale + scale - 1, 9 * scale + 1)
    return np.random.default_rng(seed).random(size)


def run(module: nn.Module, *planes: Array) -> Array:
    return module(torch.from_numpy(np.stack(planes))[:, None])[:, 0].numpy()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", NAMES)
def test_method_is_the_loop_over_patches(name: str, scale: int) -> None:
    atoms, image = Atoms(scale), random_image(scale)
    found, expected = run(built(name, atoms), image)[0], looped(name, atoms, image)
    assert np.abs(expected - image).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_chunks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, image = built(name, Atoms(3)), random_image(3)
    whole = run(module, image)
    monkeypatch.setattr(zoo.anchored, "_CHUNK", 8)  # 35 patches: the last one of three
    np.testing.assert_allclose(run(module, image), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_images_of_a_batch_do_not_meet(name: str) -> None:
    module, one, other = built(name, Atoms(3)), random_image(3), random_image(3, seed=1)
    both = run(module, one, other)
    np.testing.assert_allclose(both[0], run(module, one)[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(both[1], run(module, other)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_empty_batch(name: str) -> None:
    empty = torch.empty(0, 1, 21, 27, dtype=torch.float64)
    assert built(name, Atoms(3))(empty).shape == empty.shape


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", NAMES)
def test_border_and_rest_stay_interpolated(name: str, scale: int) -> None:
    s, image = scale, random_image(scale)
    changed = run(built(name, Atoms(s)), image)[0] != image
    inside = np.zeros_like(changed)
    inside[s : 6 * s, s : 8 * s] = True
    assert changed[inside].all()
    assert not changed[~inside].any()


@pytest.mark.parametrize("name", NAMES)
def test_smallest_image_is_one_patch(name: str) -> None:
    atoms, image = Atoms(2), random_image(2)[:10, :11]
    np.testing.assert_allclose(
        run(built(name, atoms), image)[0], looped(name, atoms, image), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize(
    ("height", "width", "given"), [(14, 30, "10x4"), (30, 14, "4x10"), (1, 1, "0x0")]
)
@pytest.mark.parametrize("name", NAMES)
def test_image_smaller_than_a_patch_is_refused(
    name: str, height: int, width: int, given: str
) -> None:
    with pytest.raises(InputError) as caught:
        built(name, Atoms(3))(torch.zeros(1, 1, height, width).double())
    message = str(caught.value)
    assert given in message
    assert "at least 5x5" in message
    assert "\n" not in message


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 16 / 255, 0.3, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_flat_image_stays_as_it_is(name: str, level: float, dtype: torch.dtype) -> None:
    x = torch.full((1, 1, 23, 28), level, dtype=dtype)
    assert torch.equal(built(name, Atoms(3)).to(dtype)(x), x)


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_far_from_a_pattern_does_not_matter(name: str) -> None:
    """What is flat stays flat beside what is not: two LR pixels from it."""
    image = np.full((30, 60), 0.3)
    image[:, :15] = random_image(3)[:1, :15]
    found = run(built(name, Atoms(3)), image)[0]
    assert (found[:, 15 + 12 :] == 0.3).all()
    assert (found[3:-3, 3:15] != image[3:-3, 3:15]).any()


@pytest.mark.parametrize("name", NAMES)
def test_the_input_is_left_as_it_was(name: str) -> None:
    x = torch.from_numpy(random_image(3))[None, None]
    before = x.clone()
    built(name, Atoms(3))(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_strides_do_not_matter(name: str) -> None:
    module, x = built(name, Atoms(3)), torch.rand(2, 1, 40, 34, dtype=torch.float64)
    plain = module(x)
    for strided in (
        x.transpose(2, 3).contiguous().transpose(2, 3),
        x.to(memory_format=torch.channels_last),
        torch.stack([x, -x], -1)[..., 0],
    ):
        torch.testing.assert_close(module(strided), plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_runs_where_gradients_are_kept(name: str) -> None:
    mine = card(name)
    module = mine.build(3, mine.settings)
    assert module(torch.rand(1, 1, 15, 15)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_gives_what_it_can(name: str, dtype: torch.dtype) -> None:
    module, x = built(name, Atoms(3)), torch.from_numpy(random_image(3))[None, None]
    whole, half = module(x), module.to(dtype)(x.to(dtype))
    assert half.dtype == dtype
    # the mean, since single patches have another atom or anchor
    assert (half.double() - whole).abs().mean() < 0.3 * (whole - x).abs().mean()


@pytest.mark.parametrize("name", ["ne-lle", "ne-nnls"])
def test_more_neighbours_than_atoms_are_refused(name: str) -> None:
    mine = method(name).with_settings({"atoms": "20"})
    with pytest.raises(InputError, match="24 neighbours"):
        mine.build(3, mine.settings)


# Anchors


@pytest.mark.parametrize("name", ["k-svd", "gr", "anr", "a-plus"])
def test_negative_features_lack_the_negative(name: str) -> None:
    module = built(name, Atoms(3))
    described = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 30)))
    torch.testing.assert_close(
        module.missing(-described), -module.missing(described), rtol=0, atol=1e-13
    )


def test_features_and_their_negative_share_an_anchor() -> None:
    module = built("anr", Atoms(3))
    assert isinstance(module, AnchoredRegression)
    described = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 30)))
    assert torch.equal(module.nearest(described), module.nearest(-described))
    signed = (described @ module.anchors.T).argmax(1)
    assert 50 < (module.nearest(described) == signed).sum() < 150


@pytest.mark.parametrize("patches", [0, 1, 15, 16, 17, 3000])
@pytest.mark.parametrize("name", ["anr", "a-plus"])
def test_blocks_give_what_each_patch_alone_gives(name: str, patches: int) -> None:
    module = built(name, Atoms(2))
    described = torch.from_numpy(np.random.default_rng(0).normal(size=(patches, 28)))
    anchor = (described @ module.anchors.T).abs().argmax(1)
    alone = torch.einsum("nd,ndp->np", described, module.regressors[anchor])
    torch.testing.assert_close(module.missing(described), alone, rtol=0, atol=1e-13)


def test_blocks_of_one_anchor_alone() -> None:
    module = built("anr", Atoms(2))
    described = module.anchors[[5]].repeat(100, 1)
    expected = (described[:1] @ module.regressors[5]).expand(100, -1)
    torch.testing.assert_close(module.missing(described), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", NAMES)
def test_shapes_hold_where_nothing_has_a_value(name: str, scale: int) -> None:
    mine = card(name)
    with torch.device("meta"):
        module = mine.build(scale, mine.settings).requires_grad_(False)
        x = torch.empty(2, 1, 9 * scale + 1, 7 * scale)
    out = module(x)
    assert out.shape == x.shape
    assert out.is_meta


# Dictionaries from files


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path / "cache"))


def load(name: str, path: Path, scale: int = 3, atoms: int = ATOMS) -> nn.Module:
    mine = card(name, atoms)
    return weights_of.build(mine, weights_of.of_tag(mine, str(path), scale), scale, CPU)


def mat(path: Path, variables: dict[str, Any]) -> Path:
    scipy.io.savemat(path, variables)
    return path


def tensors(path: Path, atoms: Atoms) -> Path:
    """A dictionary as it is learned here."""
    safetensors.torch.save_file(zoo.anchored.dictionary({"conf": struct(atoms.fields)}), path)
    return path


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("name", OF_A_DICTIONARY)
def test_dictionary_of_a_mat_file_is_used(name: str, tmp_path: Path) -> None:
    atoms, image = Atoms(3), random_image(3)
    others = {"interpolate_kernel": "bicubic", "filters": np.eye(3), "level": 1}
    path = mat(tmp_path / "dictionary.mat", {"conf": {**atoms.fields, **others}})
    module = load(name, path).double()
    np.testing.assert_allclose(run(module, image)[0], looped(name, atoms, image), atol=1e-5)


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("name", OF_A_DICTIONARY)
def test_dictionary_learned_here_is_used(name: str, tmp_path: Path) -> None:
    """K-SVD's own weights are what GR and ANR make theirs of."""
    atoms, image = Atoms(3), random_image(3)
    module = load(name, tensors(tmp_path / "dictionary.safetensors", atoms)).double()
    np.testing.assert_allclose(run(module, image)[0], looped(name, atoms, image), atol=1e-5)


def refuse(name: str, path: Path, *words: str, scale: int = 3, atoms: int = ATOMS) -> None:
    with pytest.raises(InputError) as caught:
        load(name, path, scale, atoms)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for word in words:
        assert word in message


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("name", CONVERTERS)
def test_dictionary_of_another_scale_is_told(name: str, tmp_path: Path) -> None:
    path = mat(tmp_path / "x4.mat", {"conf": Atoms(4).fields})
    refuse(name, path, "(30, 1, 20, 20)", "(30, 1, 15, 15)", "these look like x4 weights")
    path = tensors(tmp_path / "x4.safetensors", Atoms(4))
    refuse(name, path, "(30, 1, 20, 20)", "(30, 1, 15, 15)", "these look like x4 weights")


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("name", ["k-svd", "anr", "ne-lle"])
def test_dictionary_of_another_number_of_atoms_is_refused(name: str, tmp_path: Path) -> None:
    path = mat(tmp_path / "less.mat", {"conf": Atoms(3, atoms=50).fields})
    refuse(name, path, "(50, 30)", "expected (60, 30)")


@pytest.mark.usefixtures("fresh_cache")
def test_gr_takes_a_dictionary_of_any_number_of_atoms(tmp_path: Path) -> None:
    atoms, image = Atoms(3, atoms=50), random_image(3)
    module = load("gr", mat(tmp_path / "less.mat", {"conf": atoms.fields})).double()
    np.testing.assert_allclose(run(module, image)[0], looped("gr", atoms, image), atol=1e-5)


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("name", CONVERTERS)
@pytest.mark.parametrize("field", ["V_pca", "dict_lores", "dict_hires", "scale"])
def test_struct_without_a_field_is_refused(name: str, field: str, tmp_path: Path) -> None:
    fields = Atoms(3).fields
    del fields[field]
    refuse(name, mat(tmp_path / "less.mat", {"conf": fields}), "expected a struct `conf`", field)


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("name", CONVERTERS)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("V_pca", np.ones((300, 30))),
        ("V_pca", np.ones((324, 29))),
        ("V_pca", np.zeros((0, 0))),
        ("dict_lores", np.ones((29, 60))),
        ("dict_lores", np.ones((30, 59))),
        ("dict_hires", np.ones((60, 81))),
        ("dict_hires", "words"),
        ("dict_hires", np.ones((81, 60, 2))),
        ("scale", 4),
        ("scale", 0),
        ("scale", np.nan),
        ("scale", np.zeros((0, 0))),
        ("scale", "three"),
    ],
)
def test_struct_of_shapes_that_do_not_fit_is_refused(
    name: str, field: str, value: Any, tmp_path: Path
) -> None:
    path = mat(tmp_path / "odd.mat", {"conf": {**Atoms(3).fields, field: value}})
    refuse(name, path)


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("name", CONVERTERS)
@pytest.mark.parametrize("field", ["V_pca", "dict_lores", "dict_hires"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["mat", "safetensors"])
def test_dictionary_with_nan_is_refused(
    name: str, field: str, value: float, kind: str, tmp_path: Path
) -> None:
    fields = Atoms(3).fields
    fields[field] = fields[field].copy()
    fields[field][3, 2] = value
    path = tmp_path / f"nan.{kind}"
    if kind == "mat":
        mat(path, {"conf": fields})
    else:
        safetensors.torch.save_file(zoo.anchored.dictionary({"conf": struct(fields)}), path)
    refuse(name, path, "NaN")


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("name", CONVERTERS)
def test_mat_that_is_no_dictionary_is_refused(name: str, tmp_path: Path) -> None:
    srcnn = {"weights_conv1": np.ones((81, 64)), "biases_conv1": np.ones((64, 1))}
    path = mat(tmp_path / "srcnn.mat", srcnn)
    refuse(name, path, "weights_conv1", "expected a struct `conf`")
    path = mat(tmp_path / "number.mat", {"conf": 3})
    refuse(name, path, "expected a struct `conf`")
    path = mat(tmp_path / "empty.mat", {})
    refuse(name, path, "holds nothing", "expected a struct `conf`")
    path = mat(tmp_path / "surplus.mat", {"conf": Atoms(3).fields, "other": 1})
    refuse(name, path, "conf, other", "expected a struct `conf`")
    path = mat(tmp_path / "names.mat", {"features": 1, "low": 2, "high": 3})
    refuse(name, path)


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("name", CONVERTERS)
@pytest.mark.parametrize(
    ("key", "shape"),
    [("low", (60,)), ("low", (59, 30)), ("high", (59, 81)), ("high", ()), ("features", (30, 225))],
)
def test_tensors_that_do_not_fit_each_other_are_refused(
    name: str, key: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    state = zoo.anchored.dictionary({"conf": struct(Atoms(3).fields)})
    path = tmp_path / "odd.safetensors"
    safetensors.torch.save_file({**state, key: torch.ones(shape)}, path)
    refuse(name, path)


@pytest.mark.usefixtures("fresh_cache")
def test_dictionary_is_no_a_plus(tmp_path: Path) -> None:
    path = mat(tmp_path / "dictionary.mat", {"conf": Atoms(3).fields})
    refuse("a-plus", path, "learn")
    refuse("a-plus", tensors(tmp_path / "dictionary.safetensors", Atoms(3)), "regressors")


# The papers' numbers, on the real images

EDGES: tuple[Edges, ...] = ("replicate", "mirror")


class Bench:
    """A method with its weights and the images of Set5, under SRCNN's protocol."""

    def __init__(self, name: str, scale: int, tag: str = "timofte") -> None:
        self.card, self.scale = zoo.load(name)[0], scale
        chosen = weights_of.of_tag(self.card, tag, scale)
        weights_of.download(self.card, chosen, Progress())
        assert chosen.file is not None
        self.path = local_path(chosen.file)
        found = datasets.load("set5", Progress()).images
        self.files = {image.name: image.path for image in found}

    def module(self) -> nn.Module:
        """With weights converted here, since that is where the traps lie."""
        module = self.card.build(self.scale, self.card.settings).requires_grad_(False)
        read = weight_file.read_state_dict(self.path, self.card)
        module.load_state_dict(read.state, strict=True)
        return module

    def psnr(self, module: nn.Module, image: str, edges: Edges = "replicate") -> float:
        rules = replace(protocols.load("srcnn2014"), edges=edges)
        pixels, psnr = images.decode(self.files[image]), {"psnr": metrics.load("psnr")}
        found = evaluate.evaluate(pixels, self.scale, rules, self.card, module, psnr, CPU)
        return found["psnr_y"]

    def average(self, module: nn.Module) -> float:
        return float(np.mean([self.psnr(module, image) for image in self.files]))


@pytest.mark.parametrize(("scale", "printed"), [(3, 31.41), (4, 29.34)])
def test_gr_holds_to_the_printed_digit(mirror: Path, scale: int, printed: float) -> None:
    """Its averages of Set5 (Timofte et al., ACCV 2014, table 3)."""
    bench = Bench("gr", scale)
    assert len(bench.files) == 5
    assert bench.average(bench.module()) == pytest.approx(printed, abs=0.005)


def test_what_ne_nnls_counts_is_what_it_computes(
    mirror: Path, check_mean_work: Callable[..., None]
) -> None:
    bench = Bench("ne-nnls", 3)
    module = bench.module()
    check_mean_work(zoo.anchored, zoo.anchored._MEAN_WORK, lambda: bench.average(module))


# The traps


def scipys_phase(x: Tensor, taps: Sequence[float], dim: int) -> Tensor:
    kernel = np.array([taps]) if dim == -1 else np.array([taps]).T
    planes = [
        scipy.signal.convolve2d(plane, kernel, "same") for plane in x.reshape(-1, *x.shape[-2:])
    ]
    return torch.from_numpy(np.stack(planes)).reshape(x.shape)


@pytest.mark.parametrize("name", ["k-svd", "anr"])
def test_phase_of_even_filters_is_worth_a_quarter_of_a_db(
    mirror: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K-SVD loses 0.31 dB, ANR 0.25."""
    bench = Bench(name, 3)
    matlabs = bench.average(bench.module())
    monkeypatch.setattr(zoo.patches, "filter_same", scipys_phase)
    assert matlabs - bench.average(bench.module()) > 0.2


def test_phase_of_odd_filters_is_scipys(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench("anr", 4)
    features = bench.module().features
    monkeypatch.setattr(zoo.patches, "filter_same", scipys_phase)
    torch.testing.assert_close(bench.module().features, features, rtol=0, atol=1e-7)


def test_edges_of_the_interpolation_are_replicated(mirror: Path) -> None:
    bench, claims = Bench("k-svd", 3), (c.result for c in published.load("srcnn2014_set5").claims)
    printed = {
        claim.image: claim.value or math.nan
        for claim in claims
        if (claim.method, claim.scale, claim.quantity) == ("k-svd", 3, "psnr_y")
    }
    module, missed = bench.module(), {}
    for edges in EDGES:
        off = {image: bench.psnr(module, image, edges) - printed[image] for image in bench.files}
        missed[edges] = [image for image, value in off.items() if abs(value) > 0.005]
    assert missed == {"replicate": [], "mirror": ["bird", "woman"]}


def signed(module: AnchoredRegression, described: Tensor) -> Tensor:
    return (described @ module.anchors.T).argmax(1)


def test_signed_correlation_chooses_worse_anchors(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A+ loses 0.07 dB; ANR, whose regressors are made of atoms of either sign, hardly any."""
    need_learned("a-plus")
    bench = Bench("a-plus", 3, "t91")
    module = bench.module()
    absolute = bench.average(module)
    monkeypatch.setattr(type(module), "nearest", signed)
    assert absolute - bench.average(module) > 0.05


# Weights in the package


def need_learned(name: str) -> None:
    if not any(card.tag == "t91" for card in zoo.load(name)[0].weights):
        pytest.skip(f"this package holds no weights of {name}")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", NAMES)
def test_learned_weights_leave_a_flat_image_as_it_is(name: str, scale: int) -> None:
    """Kernels of 16 bits add up to 1e-3, not 0, which is 0.07 levels if nothing is done."""
    need_learned(name)
    mine = zoo.load(name)[0]
    module = weights_of.build(mine, weights_of.of_tag(mine, "t91", scale), scale, CPU)
    for level in (0.3, 1.0):
        x = torch.full((1, 1, 11 * scale, 13 * scale), level)
        assert torch.equal(module(x), x)


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("k-svd", (35.78, 31.90, 29.69)),
        ("anr", (35.83, 31.92, 29.69)),
        ("a-plus", (36.55, 32.59, 30.29)),
    ],
)
def test_learned_weights_give_the_papers_averages(
    mirror: Path, name: str, printed: tuple[float, float, float]
) -> None:
    """Of Set5 at x2, x3, x4 (Timofte et al., ACCV 2014, table 3), from T91 alone."""
    need_learned(name)
    benches = [Bench(name, scale, "t91") for scale in SCALES]
    found = [bench.average(bench.module()) for bench in benches]
    assert found == pytest.approx(printed, abs=0.08)
