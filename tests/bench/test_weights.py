from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import scipy.io
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import zoo
from bench import datasets, fetch, weights
from bench.measure import measure
from bench.plan import Wish, accuracy_units
from bench.progress import Progress
from bench.protocol import load
from zoo.errors import InputError
from zoo.method import Method

CPU = torch.device("cpu")
SMALL = "srcnn-9-1-5:n1=2,n2=3"
PUBLISHED = [
    (method.name, file.tag, file.scale)
    for method, _ in map(zoo.load, zoo.names())
    for file in method.weights
]


def method(spec: str = SMALL) -> Method:
    return zoo.load(spec)[0]


def build(path: Path, spec: str = SMALL) -> nn.Module:
    return weights.build(method(spec), weights.choose(method(spec), str(path), 2), 2, CPU)


def fresh(spec: str = SMALL) -> dict[str, Tensor]:
    return weights.build(method(spec), weights.choose(method(spec), "none", 2), 2, CPU).state_dict()


def authors() -> dict[str, NDArray[np.float64]]:
    """The layout of the authors' .mat for 9-1-5 of 2 and 3 filters."""
    shapes = {
        "weights_conv1": (81, 2),
        "weights_conv2": (2, 1, 3),
        "weights_conv3": (3, 25),
        "biases_conv1": (2, 1),
        "biases_conv2": (3, 1),
        "biases_conv3": (1, 1),
    }
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, path)
    return path


def test_authors_layout_is_column_by_column(tmp_path: Path) -> None:
    arrays = authors()
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    state = build(tmp_path / "a.mat").state_dict()
    first, second = arrays["weights_conv1"], arrays["weights_conv2"]
    assert float(state["conv1.weight"][1, 0, 2, 7]) == pytest.approx(first[7 * 9 + 2, 1])
    assert float(state["conv2.weight"][2, 1, 0, 0]) == pytest.approx(second[1, 0, 2])
    assert float(state["conv3.weight"][0, 2, 4, 1]) == pytest.approx(
        arrays["weights_conv3"][2, 1 * 5 + 4]
    )
    assert float(state["conv2.bias"][1]) == pytest.approx(arrays["biases_conv2"][1, 0])


def refuse_mat(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    with pytest.raises(InputError, match=rf"a\.mat.*{message}"):
        build(tmp_path / "a.mat")


def test_mat_that_lacks_an_array_is_refused_by_its_name(tmp_path: Path) -> None:
    arrays = authors()
    del arrays["biases_conv2"]
    refuse_mat(tmp_path, arrays, r"layout: missing \['biases_conv2'\], surplus nothing")


def test_mat_with_another_array_is_refused_by_its_name(tmp_path: Path) -> None:
    refuse_mat(tmp_path, authors() | {"extra": np.ones(3)}, r"missing nothing, surplus \['extra'\]")


def test_mat_of_another_layout_is_refused(tmp_path: Path) -> None:
    arrays = authors() | {"weights_conv2": np.ones((2, 3))}
    refuse_mat(tmp_path, arrays, r"weights of shapes \(81, 2\), \(2, 3\), \(3, 25\); expected")


def test_mat_whose_filters_are_not_square_is_refused(tmp_path: Path) -> None:
    refuse_mat(tmp_path, authors() | {"weights_conv1": np.ones((80, 2))}, "80 taps are no square")


def test_mat_of_another_width_is_refused_by_shape(tmp_path: Path) -> None:
    arrays = authors() | {"weights_conv3": np.ones((4, 25))}
    refuse_mat(tmp_path, arrays, r"conv3\.weight is \(1, 4, 5, 5\), expected \(1, 3, 5, 5\)")


def test_mat_of_text_is_refused(tmp_path: Path) -> None:
    refuse_mat(tmp_path, authors() | {"weights_conv1": "text"}, "cannot be read as weights")


def test_method_without_converter_reads_no_mat(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", authors())
    with pytest.raises(InputError, match=r"espcn reads no \.mat files; give \.safetensors"):
        build(tmp_path / "a.mat", "espcn")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.bias": None}, r"missing conv1\.bias; nothing was loaded"),
        ({"conv4.bias": torch.ones(1)}, r"surplus conv4\.bias; nothing was loaded"),
        ({"conv1.bias": torch.ones(5)}, r"conv1\.bias is \(5,\), expected \(2,\)"),
        ({"conv1.bias": torch.tensor([0, math.nan])}, r"conv1\.bias holds NaN or infinity"),
        ({"conv1.bias": torch.tensor([0, math.inf])}, r"conv1\.bias holds NaN or infinity"),
        ({f"a{k}": torch.ones(1) for k in range(5)}, r"surplus a2 and 2 more; nothing was"),
    ],
    ids=["missing", "surplus", "shape", "NaN", "infinity", "many"],
)
def test_state_dict_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    state = {k: v for k, v in (fresh() | change).items() if v is not None}
    path = saved(tmp_path / "a.safetensors", state)
    with pytest.raises(InputError, match=rf"a\.safetensors does not fit srcnn-9-1-5:.*{message}"):
        build(path)


def test_weights_that_do_not_fit_leave_the_module_as_it_was() -> None:
    module = method().build(2, method().settings)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = {key: value + 1 for key, value in before.items()} | {"conv3.bias": torch.ones(9)}
    with pytest.raises(InputError, match="nothing was loaded"):
        weights.load_strictly(module, state, Path("a.pt"), "srcnn")
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def as_file(path: Path, kind: str) -> Path:
    if path.suffix == ".mat":
        scipy.io.savemat(path, authors(), do_compression=kind == "compressed")
    elif path.suffix == ".pt":
        torch.save(fresh(), path, _use_new_zipfile_serialization=kind != "legacy")
    else:
        saved(path, fresh())
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mat", "plain"),
        ("a.mat", "compressed"),
        ("a.pt", "zip"),
        ("a.pt", "legacy"),
        ("a.safetensors", ""),
    ],
)
def test_file_cut_at_any_place_is_refused_by_name(tmp_path: Path, name: str, kind: str) -> None:
    path = as_file(tmp_path / name, kind)
    data = path.read_bytes()
    assert weights.read(path, method())
    for length in range(0, len(data) - 8, 23):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=rf"{name}.* (get it again|damaged|layout)"):
            weights.read(path, method())


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a"])
def test_other_kinds_of_file_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"numbers")
    with pytest.raises(InputError, match=rf"{name}: weights end in \.safetensors, \.pt, \.pth or"):
        build(tmp_path / name)


@pytest.mark.parametrize("content", [[torch.ones(2)], {"a": 1}, {1: torch.ones(2)}, torch.ones(2)])
def test_pickle_that_is_no_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt is no state dict of names and tensors; save"):
        build(tmp_path / "a.pt")


class Trap:
    """Unpickled by the unwary, it creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize(
    "writer", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x, 2))]
)
def test_pickle_is_not_executed(tmp_path: Path, writer: Any) -> None:
    marker = tmp_path / "executed"
    writer({"conv1.bias": Trap(marker)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt holds more than tensors.*nothing of it was exec"):
        build(tmp_path / "a.pt")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Trap(marker)))
    assert marker.exists()  # the trap works


@pytest.mark.parametrize("spec", [SMALL, "srcnn-9-5-5", "espcn"])
@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.pth"])
def test_saved_weights_come_back_equal(tmp_path: Path, spec: str, name: str) -> None:
    state = {key: torch.randn_like(value) for key, value in fresh(spec).items()}
    if name == "a.safetensors":
        saved(tmp_path / name, state)
    else:
        torch.save(state, tmp_path / name)
    loaded = build(tmp_path / name, spec).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_module_is_ready_to_measure(tmp_path: Path) -> None:
    module = build(saved(tmp_path / "a.safetensors", fresh()))
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_published_file_that_changed_in_the_cache_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path))
    srcnn = method("srcnn-9-1-5")
    chosen = weights.choose(srcnn, "91", 2)
    assert chosen.file is not None
    path = fetch.local_path(chosen.file)
    path.parent.mkdir(parents=True)
    scipy.io.savemat(path, authors())
    with pytest.raises(InputError, match=r"x2\.mat has changed: its SHA-256 is not 51b748297e86"):
        weights.build(srcnn, chosen, 2, CPU)


def test_own_file_that_changed_since_it_was_chosen_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", fresh())
    chosen = weights.choose(method(), str(path), 2)
    saved(path, {key: value + 1 for key, value in fresh().items()})
    with pytest.raises(InputError, match=r"a\.safetensors has changed"):
        weights.build(method(), chosen, 2, CPU)


def test_method_that_builds_no_module_is_refused() -> None:
    odd = Method(
        name="odd", citation="", takes="LR", channels="any", build=lambda scale, settings: [1]
    )  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match=r"odd: build gave a list; expected a torch\.nn\.Module"):
        weights.build(odd, weights.choose(odd, "none", 2), 2, CPU)


@pytest.mark.parametrize(
    ("spec", "tag", "scale", "message"),
    [
        (
            "srcnn-9-1-5",
            "imagnet",
            3,
            r"srcnn-9-1-5 has no weights 'imagnet' and .*; choose from: 91, imagenet, none, or",
        ),
        ("srcnn-9-1-5", "imagenet", 2, r"srcnn-9-1-5@imagenet is published at x3 only, not at x2"),
        ("srcnn-9-3-5", "", 4, r"srcnn-9-3-5@imagenet is published at x3 only, not at x4"),
        ("srcnn-9-5-5", "", 8, r"published at x2, x3, x4 only, not at x8"),
        ("espcn", "", 2, r"espcn has no published weights; give espcn@FILE, or espcn@none"),
        ("srcnn-9-1-5:n1=32", "", 2, r"srcnn-9-1-5:n1=32 has no published weights"),
    ],
)
def test_weights_that_do_not_exist_are_refused(
    spec: str, tag: str, scale: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        weights.choose(method(spec), tag, scale)


def test_name_alone_means_the_papers_own_weights() -> None:
    assert weights.choose(method("srcnn-9-1-5"), "", 3).label == "91"
    assert weights.choose(method("srcnn-9-5-5"), "", 3).label == "imagenet"


def test_method_without_parameters_needs_no_weights() -> None:
    chosen = weights.choose(method("bicubic"), "", 2)
    assert (chosen.label, chosen.sha256, chosen.file, chosen.path) == ("", "", None, None)


def test_own_file_is_named_and_hashed(tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.safetensors", fresh())
    chosen = weights.choose(method(), str(path), 2)
    assert (chosen.label, chosen.path, len(chosen.sha256)) == ("mine.safetensors", path, 64)


@pytest.mark.parametrize("spec", [SMALL, "espcn"])
def test_fresh_weights_are_the_same_twice_whatever_the_seed(spec: str) -> None:
    torch.manual_seed(1)
    first = fresh(spec)
    torch.manual_seed(2)
    second = fresh(spec)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert float(first["conv1.weight"].std()) > 0


def test_fresh_weights_leave_the_global_generator_untouched() -> None:
    torch.manual_seed(weights.SEED + 1)
    before = torch.get_rng_state()
    fresh("espcn")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "tag", "scale"), PUBLISHED)
def test_published_file_loads(name: str, tag: str, scale: int, mirror: Path) -> None:
    chosen = weights.choose(method(name), tag, scale)
    weights.fetch_missing(method(name), chosen, Progress())
    module = weights.build(method(name), chosen, scale, CPU)
    assert all(float(value.abs().sum()) > 0 for value in module.parameters())


@pytest.mark.parametrize(
    ("spec", "scale", "psnr"),
    [
        ("srcnn-9-5-5", 2, "36.659"),
        ("srcnn-9-5-5", 3, "32.752"),
        ("srcnn-9-5-5", 4, "30.489"),
        ("srcnn-9-1-5", 2, "36.344"),
        ("srcnn-9-1-5", 3, "32.394"),
        ("srcnn-9-1-5", 4, "30.086"),
        ("srcnn-9-3-5", 3, "32.658"),
        ("srcnn-9-1-5@imagenet", 3, "32.520"),
    ],
)
def test_published_weights_give_the_authors_average_on_set5(
    spec: str, scale: int, psnr: str, mirror: Path
) -> None:
    srcnn, tag = zoo.load(spec)
    wish = Wish(srcnn, tag, scale, datasets.load("set5", Progress()), load("srcnn2014"))
    (unit,) = accuracy_units([wish], CPU, ("psnr",))
    weights.fetch_missing(unit.method, unit.chosen, Progress())
    (average,) = (found.value for found in measure(unit, Progress()) if not found.image)
    assert f"{average:.3f}" == psnr
