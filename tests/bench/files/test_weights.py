from __future__ import annotations

import argparse
import itertools
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors
import safetensors.torch
import scipy.io
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import zoo
from bench import datasets, protocol
from bench.files import fetch, matlab, weight_file, weights
from bench.measure import measure
from bench.plan import AccuracyRequest, accuracy_units
from bench.progress import Progress
from bench.protocol import load
from zoo.ensemble import SelfEnsemble
from zoo.errors import InputError
from zoo.method import Method, Weights

CPU = torch.device("cpu")
SMALL = "srcnn-9-1-5:n1=2,n2=3"
PUBLISHED = [
    (method.name, file.tag, file.scale)
    for method, _ in map(zoo.load, zoo.names())
    for file in method.weights
    if file.origin.startswith("github:")  # a mirror of other addresses would be gigabytes
]


@cache
def method(spec: str = SMALL) -> Method:
    return zoo.load(spec)[0]


def build(path: Path, spec: str = SMALL) -> nn.Module:
    return weights.build(method(spec), weights.of_tag(method(spec), str(path), 2), 2, CPU)


def fresh(spec: str = SMALL) -> dict[str, Tensor]:
    return weights.build(method(spec), weights.of_tag(method(spec), "none", 2), 2, CPU).state_dict()


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
    arrays = authors() | {"weights_conv1": np.ones((80, 2))}
    refuse_mat(tmp_path, arrays, "80 taps; expected a square number")


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
        weight_file.load_strictly(module, state, Path("a.pt"), "srcnn")
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


LABELS = itertools.count()
HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"


def save_hdf5(path: Path, content: Mapping[str, Any]) -> None:
    """What `scipy.io.savemat` is given, as MATLAB's `save -v7.3` lays it out."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in content.items():
            put(file, name, value)
    with path.open("r+b") as raw:
        raw.write(HEADER)


def put(group: h5py.Group, name: str, value: Any) -> None:
    if isinstance(value, dict):
        inner = group.create_group(name)
        for key, item in value.items():
            put(inner, key, item)
        describe(inner, "struct", list(value))
    elif isinstance(value, scipy.sparse.csc_matrix):
        inner = group.create_group(name)
        for key, item in (("data", value.data), ("ir", value.indices), ("jc", value.indptr)):
            inner.create_dataset(key, data=item.astype(float if key == "data" else np.uint64))
        describe(inner, "double")
        inner.attrs["MATLAB_sparse"] = np.uint64(value.shape[0])
    elif isinstance(value, str):
        codes = np.array([[ord(letter)] for letter in value], np.uint16)
        put_numbers(group, name, codes.T, "char", (0, 0))
    elif value.dtype.names:
        inner = group.create_group(name)
        for key in value.dtype.names:
            put_references(inner, key, value[key])
        describe(inner, "struct", list(value.dtype.names))
    elif value.dtype == object and value.size:
        put_references(group, name, value)
        describe(group[name], "cell")
    else:
        kinds = {"bool": "logical", "float64": "double", "float32": "single", "object": "cell"}
        put_numbers(group, name, value, kinds.get(str(value.dtype), str(value.dtype)), value.shape)


def put_numbers(
    group: h5py.Group, name: str, value: NDArray[Any], kind: str, shape: tuple[int, ...]
) -> None:
    if not value.size:
        group[name] = np.array(shape, np.uint64)
        group[name].attrs["MATLAB_empty"] = np.uint8(1)
    elif value.dtype.kind == "c":
        parts = np.empty(value.shape, [("real", "f8"), ("imag", "f8")])
        parts["real"], parts["imag"] = value.real, value.imag
        group[name] = parts.T
        kind = "double"
    else:
        group.create_dataset(
            name, data=(value.astype(np.uint8) if kind == "logical" else value).T, compression=3
        )
    describe(group[name], kind)


def put_references(group: h5py.Group, name: str, value: NDArray[Any]) -> None:
    hidden = group.file.require_group("#refs#")
    references = np.empty(value.shape, h5py.ref_dtype)
    for place, item in np.ndenumerate(value):
        label = f"r{next(LABELS)}"
        put(hidden, label, item)
        references[place] = hidden[label].ref
    group.create_dataset(name, data=references.T, dtype=h5py.ref_dtype)


def describe(item: h5py.Group | h5py.Dataset, kind: str, fields: list[str] | None = None) -> None:
    item.attrs["MATLAB_class"] = np.bytes_(kind)
    if fields is not None:
        letters = np.empty(len(fields), object)
        for number, field in enumerate(fields):
            letters[number] = np.frombuffer(field.encode(), "S1")
        item.attrs.create("MATLAB_fields", letters, dtype=h5py.vlen_dtype("S1"))


def cells(*values: Any) -> NDArray[Any]:
    row = np.empty((1, len(values)), object)
    for number, value in enumerate(values):
        row[0, number] = value
    return row


def vdsr_layout(depth: int = 3, features: int = 2) -> dict[str, Any]:
    """The layout of VDSR's file: a struct of cells; the last filter bank lacks an axis."""
    rng = np.random.default_rng(1)
    shapes = [(3, 3, 1, features), *[(3, 3, features, features)] * (depth - 2), (3, 3, features)]
    banks = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    offsets = [rng.normal(size=(n, 1)).astype(np.float32) for n in [features] * (depth - 1) + [1]]
    return {"model": {"weight": cells(*banks), "bias": cells(*offsets)}}


def several() -> NDArray[Any]:
    """A 1x2 array of structs."""
    structs = np.empty((1, 2), [("b", object), ("a", object)])
    for number in range(2):
        structs[0, number] = (np.full((2, number + 1), float(number)), f"number {number}")
    return structs


RNG = np.random.default_rng(2)
SPARSE = scipy.sparse.csc_matrix(np.array([[0.0, 1.5, 0.0], [2.0, 0.0, 0.0]]))
CONTENTS: dict[str, dict[str, Any]] = {
    "srcnn": authors(),
    "vdsr": vdsr_layout(),
    "axes": {"x": RNG.normal(size=(2, 3, 4, 5)), "row": np.ones((1, 7)), "column": np.ones((7, 1))},
    "types": {"i": np.arange(6, dtype=np.int16).reshape(2, 3), "f": np.ones((2, 1), np.float32)},
    "logical": {"x": np.array([[True, False, True]])},
    "complex": {"x": RNG.normal(size=(3, 2)) + 1j * RNG.normal(size=(3, 2))},
    "text": {"x": "bicubic", "none": ""},
    "empty": {"x": np.empty((0, 3)), "cells": np.empty((0, 0), object)},
    "nested": {"conf": {"z": {"inner": np.eye(2)}, "a": cells(cells("text"), np.ones((1, 2)))}},
    "structs": {"x": several(), "in_cell": cells(several(), {"only": np.ones((1, 1))})},
    "sparse": {"x": SPARSE, "none": scipy.sparse.csc_matrix((2, 3))},
}


def assert_same(ours: Any, theirs: Any, place: str) -> None:
    assert type(ours) is type(theirs), place
    assert ours.shape == theirs.shape, place
    if scipy.sparse.issparse(ours):
        assert (ours != theirs).nnz == 0, place
    elif ours.dtype.names:
        assert ours.dtype == theirs.dtype, place
        for name in ours.dtype.names:
            assert_same(ours[name], theirs[name], f"{place}.{name}")
    elif ours.dtype == object:
        assert theirs.dtype == object
        for index in np.ndindex(ours.shape):
            assert_same(ours[index], theirs[index], f"{place}{index}")
    else:
        assert ours.dtype.kind == theirs.dtype.kind or ours.dtype.kind in "uif", place
        assert np.array_equal(ours, theirs), place


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_hdf5_file_reads_as_the_older_one_of_the_same_content(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    scipy.io.savemat(tmp_path / "old.mat", content)
    save_hdf5(tmp_path / "new.mat", content)
    old, new = (matlab.load(tmp_path / name) for name in ("old.mat", "new.mat"))
    assert list(new) == sorted(old)
    for name in old:
        assert_same(new[name], old[name], name)


@pytest.mark.parametrize(
    ("spec", "content"),
    [(SMALL, authors()), ("vdsr:depth=3,features=2", vdsr_layout())],
    ids=["srcnn", "vdsr"],
)
def test_converters_read_both_kinds_of_mat(
    tmp_path: Path, spec: str, content: dict[str, Any]
) -> None:
    scipy.io.savemat(tmp_path / "old.mat", content)
    save_hdf5(tmp_path / "new.mat", content)
    old, new = (build(tmp_path / name, spec).state_dict() for name in ("old.mat", "new.mat"))
    assert all(torch.equal(old[key], new[key]) for key in old)
    assert float(old[next(iter(old))].std()) > 0


def test_real_hdf5_file_has_the_form_of_its_older_sibling(mirror: Path) -> None:
    """Two trainings of one dictionary, saved by MATLAB as 7.3 and as 5."""
    new = mirror / (
        "github/yulunzhang/CRC-SISR/fc0d1ea6d80f5c871fa09a8e130627d4f820c0f7/"
        "conf_Zeyde_1024_finalx2.mat"
    )
    old = mirror / (
        "github/SachinCoolMaxx/Super-Resolution-Project/7f079c706c039c7bc3b870d4816d35dd8129810e/"
        "AplusCodes_SR/conf_Zeyde_1024_finalx2.mat"
    )
    if not (new.is_file() and old.is_file()):
        pytest.skip("the dictionaries are not in the mirror")
    ours, theirs = matlab.load(new)["conf"], matlab.load(old)["conf"]
    assert ours.dtype == theirs.dtype
    for name in ("V_pca", "dict_lores", "dict_hires", "trainingtime"):
        assert ours[name][0, 0].shape == theirs[name][0, 0].shape
        assert not np.array_equal(ours[name][0, 0], theirs[name][0, 0])
        ours[name][0, 0] = theirs[name][0, 0]
    assert_same(ours, theirs, "conf")


def changed(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def link(file: h5py.File) -> None:
    file["x"] = h5py.SoftLink("/a")


def link_to_another_file(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink("/etc/passwd", "/a")


def data_in_another_file(file: h5py.File) -> None:
    file.create_dataset("x", (4,), np.uint8, external=[("/etc/passwd", 0, 4)])


def data_made_of_others(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), np.uint8)
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset("x", layout)


def loop(file: h5py.File) -> None:
    file.create_dataset("x", (1, 1), h5py.ref_dtype)
    file["x"][0, 0] = file["x"].ref


def bomb(file: h5py.File) -> None:
    file.create_dataset("x", (10**6, 10**6), np.float64, chunks=(100, 100))


def handle(file: h5py.File) -> None:
    file["x"] = np.zeros((1, 1))
    file["x"].attrs["MATLAB_class"] = np.bytes_("function_handle")


def words(file: h5py.File) -> None:
    file["x"] = "text"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (link, "x is a link to elsewhere; give"),
        (link_to_another_file, "x is a link to elsewhere; give"),
        (data_in_another_file, "/x lies elsewhere; give a file of its own"),
        (data_made_of_others, "/x lies elsewhere; give a file of its own"),
        (loop, "/x holds itself; give a plain file"),
        (bomb, "/x says to hold 8000000000000 bytes and does not; get it again"),
        (handle, r"/x is an object \(function_handle\); give plain arrays"),
        (words, "/x holds no numbers; give plain arrays"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_hdf5_file_of_more_than_arrays_is_refused(
    tmp_path: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    save_hdf5(tmp_path / "a.mat", {"a": np.eye(2)})
    changed(tmp_path / "a.mat", change)
    with pytest.raises(InputError, match=rf"a\.mat: {message}"):
        build(tmp_path / "a.mat")


def test_what_cells_share_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    save_hdf5(path, {"x": cells(*[np.eye(2)] * 3)})

    def share(file: h5py.File) -> None:
        (first, *_) = file["#refs#"].values()
        file["x"][...] = np.array([[first.ref]] * 3)

    changed(path, share)
    found = matlab.load(path)["x"]
    assert found[0, 0] is found[0, 1] is found[0, 2]
    assert np.array_equal(found[0, 2], np.eye(2))


def test_hdf5_that_is_none_of_matlabs_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["x"] = np.eye(2)
    with pytest.raises(InputError, match=r"a\.mat cannot be read as weights: .*; get it again"):
        build(tmp_path / "a.mat")


def as_file(path: Path, kind: str) -> Path:
    if kind == "7.3":
        save_hdf5(path, authors())
    elif path.suffix == ".mat":
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
        ("a.mat", "7.3"),
        ("a.pt", "zip"),
        ("a.pt", "legacy"),
        ("a.safetensors", ""),
    ],
)
def test_file_cut_at_any_place_is_refused_by_name(tmp_path: Path, name: str, kind: str) -> None:
    path = as_file(tmp_path / name, kind)
    data, srcnn = path.read_bytes(), method()
    assert weight_file.read_state_dict(path, srcnn).state
    cuts = 30 if path.suffix == ".mat" and kind != "7.3" else 200  # each in a process of its own
    for length in range(0, len(data) - 8, max(23, len(data) // cuts)):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=rf"{name}.* (get it again|damaged|layout)"):
            weight_file.read_state_dict(path, srcnn)


@pytest.mark.parametrize("name", ["a.npy", "a.h5", "a"])
def test_other_kinds_of_file_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"numbers")
    with pytest.raises(
        InputError, match=rf"{name}: weights end in \.safetensors, \.pt, .*\.mat, not"
    ):
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


def test_published_file_that_changed_in_the_cache_is_refused() -> None:
    srcnn = method("srcnn-9-1-5")
    chosen = weights.of_tag(srcnn, "91", 2)
    assert chosen.file is not None
    path = fetch.local_path(chosen.file)
    path.parent.mkdir(parents=True)
    scipy.io.savemat(path, authors())
    with pytest.raises(InputError, match=r"x2\.mat has changed: its SHA-256 is not 51b748297e86"):
        weights.build(srcnn, chosen, 2, CPU)


def test_own_file_that_changed_since_it_was_chosen_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", fresh())
    chosen = weights.of_tag(method(), str(path), 2)
    saved(path, {key: value + 1 for key, value in fresh().items()})
    with pytest.raises(InputError, match=r"a\.safetensors has changed"):
        weights.build(method(), chosen, 2, CPU)


def test_method_that_builds_no_module_is_refused() -> None:
    odd = Method(
        name="odd", citation="", takes="LR", channels="any", build=lambda scale, settings: [1]
    )  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match=r"odd: build gave a list; expected a torch\.nn\.Module"):
        weights.build(odd, weights.of_tag(odd, "none", 2), 2, CPU)


@pytest.mark.parametrize(
    ("spec", "tag", "scale", "message"),
    [
        (
            "srcnn-9-1-5",
            "imagnet",
            3,
            r"srcnn-9-1-5 has no weights 'imagnet' and .*; choose from: 91, imagenet, sisrbench",
        ),
        ("srcnn-9-1-5", "imagenet", 2, r"srcnn-9-1-5@imagenet is published at x3 only, not at x2"),
        ("srcnn-9-3-5", "", 4, r"srcnn-9-3-5@imagenet is published at x3 only, not at x4"),
        ("srcnn-9-5-5", "", 8, r"published at x2, x3, x4 only, not at x8"),
        ("fsrcnn", "", 2, r"fsrcnn has no published weights; add @FILE to its name, or @none"),
        ("srcnn-9-1-5:n1=32", "", 2, r"srcnn-9-1-5:n1=32 has no published weights"),
    ],
)
def test_weights_that_do_not_exist_are_refused(
    spec: str, tag: str, scale: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        weights.of_tag(method(spec), tag, scale)


def test_name_alone_means_the_papers_own_weights() -> None:
    assert weights.of_tag(method("srcnn-9-1-5"), "", 3).label == "91"
    assert weights.of_tag(method("srcnn-9-5-5"), "", 3).label == "imagenet"


def test_method_without_parameters_needs_no_weights() -> None:
    chosen = weights.of_tag(method("bicubic"), "", 2)
    assert (chosen.label, chosen.sha256, chosen.file, chosen.path) == ("", "", None, None)


def test_own_file_is_named_and_hashed(tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.safetensors", fresh())
    chosen = weights.of_tag(method(), str(path), 2)
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
    torch.manual_seed(protocol.SEED + 1)
    before = torch.get_rng_state()
    fresh("espcn")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "tag", "scale"), PUBLISHED)
def test_published_file_loads(name: str, tag: str, scale: int, mirror: Path) -> None:
    chosen = weights.of_tag(method(name), tag, scale)
    weights.download(method(name), chosen, Progress())
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
    request = AccuracyRequest(
        srcnn, tag, scale, datasets.load("set5", Progress()), load("srcnn2014")
    )
    (unit,) = accuracy_units([request], CPU, ("psnr",))
    weights.download(unit.method, unit.weights, Progress())
    (average,) = (found.value for found in measure(unit, Progress()) if not found.image)
    assert f"{average:.3f}" == psnr


# Only the weight file itself decides


def scaled_with_its_own_hash(converted: Path) -> None:
    """What somebody who can write to the cache can do to a file that is kept there."""
    with safetensors.safe_open(converted, "pt") as file:
        facts = file.metadata() or {}
        state = {key: 1.5 * file.get_tensor(key) for key in sorted(file.keys())}
    facts["tensors"] = weights._sha256_of(state)
    converted.write_bytes(safetensors.torch.save(state, facts))


@pytest.mark.parametrize("name", ["a.mat", "a.pt", "a.safetensors"])
def test_no_file_in_the_cache_answers_for_the_weight_file(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path / "cache"))
    path = as_file(tmp_path / name, "")
    first = build(path).state_dict()
    for kept in (tmp_path / "cache").rglob("*.safetensors"):
        scaled_with_its_own_hash(kept)
    again = build(path).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not (tmp_path / "cache").exists()


class Shared(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Conv2d(1, 1, 3)


def test_weights_under_two_names_are_loaded(tmp_path: Path) -> None:
    shared = Method(
        name="shared",
        citation="",
        takes="LR",
        channels="any",
        build=lambda scale, settings: Shared(),
        source=Path(__file__),
    )
    state = Shared().state_dict()
    torch.save(state, tmp_path / "a.pt")
    chosen = weights.of_tag(shared, str(tmp_path / "a.pt"), 2)
    loaded = weights.build(shared, chosen, 2, CPU).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


# Wrapped, prefixed, cast, mistaken


@pytest.mark.parametrize("tag", ["none", "file"])
def test_wrapping_is_put_around_the_loaded_module(tmp_path: Path, tag: str) -> None:
    path = as_file(tmp_path / "a.pt", "")
    doubled = method("srcnn-9-1-5+:n1=2,n2=3")
    chosen = weights.of_tag(doubled, "none" if tag == "none" else str(path), 2)
    module = weights.build(doubled, chosen, 2, CPU)
    assert isinstance(module, SelfEnsemble)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    inner = module.network.state_dict()
    assert all(torch.equal(inner[key], value) for key, value in fresh().items())


@pytest.mark.parametrize("wrapping", weight_file.WRAPPINGS)
def test_state_dict_beside_other_things_is_taken(tmp_path: Path, wrapping: str) -> None:
    state = {key: torch.randn_like(value) for key, value in fresh().items()}
    others = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": []}}
    torch.save({wrapping: state, **others}, tmp_path / "a.pt")
    loaded = build(tmp_path / "a.pt").state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": fresh(), "ema": fresh()}, "state dicts under state_dict, ema; choose one"),
        ({"params": fresh(), "last": fresh()}, r"state dicts .* example a\.pt#params$"),
        ({"mine": fresh()}, r"state dicts under mine; choose one, for example a\.pt#mine$"),
        ({"state_dict": fresh(), "loose": torch.ones(1)}, "no state dict of names and tensors"),
        ({"state_dict": {}}, "no state dict of names and tensors"),
        ({}, "no state dict of names and tensors"),
    ],
    ids=["two", "two, one unknown", "unknown", "loose tensor", "empty", "nothing"],
)
def test_wrapping_that_may_mean_two_things_is_refused(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InputError, match=rf"a\.pt (is|holds) {message}"):
        build(tmp_path / "a.pt")


def drawn(seed: int = 0, spec: str = SMALL) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {key: torch.randn(x.shape, generator=draw) for key, x in fresh(spec).items()}


def equal(module: nn.Module, state: Mapping[str, Tensor]) -> bool:
    loaded = module.state_dict()
    return loaded.keys() == state.keys() and all(torch.equal(loaded[k], state[k]) for k in state)


@pytest.mark.parametrize(
    ("content", "key", "remarks"),
    [
        ({"params": drawn(1), "params_ema": drawn()}, "", ("`params_ema` taken, of params, par",)),
        ({"params": drawn(), "params_ema": drawn(1)}, "params", ("`params` taken",)),
        ({"net_g": {"params": drawn(1), "params-ema": drawn()}}, "", ("`net_g.params-ema` taken",)),
        ({"model": {"state_dict": drawn()}, "epoch": torch.tensor(3)}, "", ("`model.state_dict",)),
        ({"model_state_dict": drawn()}, "model_state_dict", ("`model_state_dict` taken",)),
        ({"state_dict": drawn(1), "ema": drawn()}, "ema", ("`ema` taken",)),
        ({"mine": {"of.old": drawn()}}, "mine.of.old", ("`mine.of.old` taken",)),
        (
            {"net_g": drawn(), "net_d": {"a": torch.ones(1)}},
            "",
            ("`net_g` taken, of net_g, net_d",),
        ),
        ({f"b.{k}": v for k, v in drawn().items()}, "b", ("`b` taken",)),
        (drawn(), "", ()),
    ],
)
def test_choice_of_a_state_dict_is_said(
    tmp_path: Path, content: Any, key: str, remarks: tuple[str, ...]
) -> None:
    torch.save(content, tmp_path / "a.pth")
    module = build(tmp_path / (f"a.pth#{key}" if key else "a.pth"))
    assert equal(module, drawn())
    assert len(module.remarks) == len(remarks)
    assert all(said.startswith(part) for said, part in zip(module.remarks, remarks, strict=True))
    assert not any("; " in said for said in module.remarks)


def test_choice_is_part_of_the_weights_name(tmp_path: Path) -> None:
    torch.save({"params": drawn(1), "params_ema": drawn()}, tmp_path / "a.pth")
    labels = [
        weights.of_tag(method(), f"{tmp_path / 'a.pth'}{key}", 2).label for key in ("", "#params")
    ]
    assert labels == ["a.pth", "a.pth#params"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"params": fresh(), "params_ema": fresh()}, "choose from: params, params_ema$"),
        (
            {"net_g.conv.weight": torch.ones(1), "net_d.a": torch.ones(1)},
            "choose from: net_g, net_d$",
        ),
        ({"a": torch.ones(1)}, "leave it out$"),
        ([torch.ones(1)], "leave it out$"),
    ],
)
def test_choice_of_what_is_not_there_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match=rf"a\.pth has no state dict param; {message}"):
        build(tmp_path / "a.pth#param")


def test_choice_in_a_mat_is_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", authors())
    with pytest.raises(InputError, match=r"a\.mat has no state dicts to choose from; leave out #b"):
        build(tmp_path / "a.mat#b")


def test_file_whose_name_has_a_number_sign_is_read(tmp_path: Path) -> None:
    torch.save({"params": drawn(), "params_ema": drawn(1)}, tmp_path / "a#1.pth")
    assert equal(build(tmp_path / "a#1.pth"), drawn(1))
    assert equal(build(tmp_path / "a#1.pth#params"), drawn())
    assert equal(build(saved(tmp_path / "b#params.safetensors", drawn())), drawn())


@pytest.mark.parametrize(
    "name", ["a.ckpt", "a.pth.tar", "a.tar", "a.bin", "a.PTH", "a.npz", "a.swapped.npz"]
)
def test_other_endings_of_weights_are_read(tmp_path: Path, name: str) -> None:
    if name.endswith(".npz"):
        kind = ">f4" if "swapped" in name else "<f4"
        np.savez_compressed(
            tmp_path / name, **{k: v.numpy().astype(kind) for k, v in drawn().items()}
        )
    else:
        torch.save(drawn(), tmp_path / name)
    assert equal(build(tmp_path / name), drawn())


@pytest.mark.parametrize("values", [np.array([{}]), np.array(["a"])], ids=["object", "text"])
def test_npz_of_other_than_numbers_is_refused(tmp_path: Path, values: NDArray[Any]) -> None:
    np.savez(tmp_path / "a.npz", w=values)
    with pytest.raises(InputError, match=r"a\.npz cannot be read as weights: "):
        build(tmp_path / "a.npz")


def lightning(**networks: dict[str, Tensor]) -> dict[str, Any]:
    """What Lightning saves, with plain hyper-parameters."""
    state = {f"{name}.{key}": x for name, part in networks.items() for key, x in part.items()}
    return {
        "epoch": 9,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 9}}}},
        "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor(31.0), "dirpath": ""}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
        "lr_schedulers": [{"base_lrs": [1e-4]}],
        "hyper_parameters": {"rate": 1e-4, "widths": (64, 32)},
    }


def test_network_is_found_beside_others_of_its_training(tmp_path: Path) -> None:
    other = {"a.weight": torch.ones(2, 2), "b": torch.ones(1)}
    content = lightning(generator=drawn(), discriminator=other, loss={"vgg.0": torch.ones(1)})
    torch.save(content, tmp_path / "a.ckpt")
    module = build(tmp_path / "a.ckpt")
    assert equal(module, drawn())
    assert module.remarks == (
        "`state_dict` taken",
        "prefix `generator.` stripped, tensors left out: 2 of discriminator, 1 of loss",
    )


def test_two_networks_that_fit_are_refused_and_can_be_chosen(tmp_path: Path) -> None:
    torch.save(lightning(net=drawn(), mean=drawn(1)), tmp_path / "a.ckpt")
    with pytest.raises(
        InputError, match=r"a\.ckpt holds this network 2 times, under net, mean; ch"
    ):
        build(tmp_path / "a.ckpt")
    assert equal(build(tmp_path / "a.ckpt#state_dict.mean"), drawn(1))


def test_numbers_of_numpy_arguments_and_paths_may_stand_beside_weights(tmp_path: Path) -> None:
    content = {
        "state_dict": drawn(),
        "best_psnr": np.float64(38.0),
        "epoch": np.int64(3),
        "args": argparse.Namespace(lr=1e-4, scale=np.float32(2)),
        "folder": Path("runs"),
    }
    torch.save(content, tmp_path / "a.pth")
    assert equal(build(tmp_path / "a.pth"), drawn())
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as made,
        zipfile.ZipFile(tmp_path / "old.pth", "w") as old,
    ):
        for name in made.namelist():
            data = made.read(name)
            if name.endswith("data.pkl"):  # NumPy 1 called the module so
                assert b"numpy._core.multiarray" in data
                data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            old.writestr(name, data)
    assert equal(build(tmp_path / "old.pth"), drawn())


class Hyper(dict[str, int]):
    """Hyper-parameters of a class of their own."""


def test_class_that_the_file_needs_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": drawn(), "hyper_parameters": Hyper(a=1)}, tmp_path / "a.ckpt")
    with pytest.raises(
        InputError, match=r"more than tensors, \S+\.Hyper, or .*: save the state dic"
    ):
        build(tmp_path / "a.ckpt")


def test_whole_module_is_named(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(1, 1, 3), tmp_path / "a.pth")
    with pytest.raises(
        InputError, match=r"torch\.nn\.modules\.conv\.Conv2d, .* torch\.save\(module\.state_dict"
    ):
        build(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", ["script", "exported"])
def test_archive_of_a_network_is_told_where_it_belongs(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.pth"
    if kind == "script":
        torch.jit.save(torch.jit.trace(nn.ReLU(), torch.ones(1)), path)
    else:
        torch.export.save(torch.export.export(nn.ReLU(), (torch.ones(1),)), tmp_path / "a.pt2")
        (tmp_path / "a.pt2").rename(path)
    with pytest.raises(InputError, match=rf"a\.pth is an archive of .*; measure it as -m {kind}:"):
        build(path)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "net_g.", "module._orig_mod.", "mine.generator."]
)
def test_prefix_that_all_names_share_is_stripped_and_said(tmp_path: Path, prefix: str) -> None:
    torch.save({f"{prefix}{k}": v for k, v in drawn().items()}, tmp_path / "a.pt")
    module = build(tmp_path / "a.pt")
    assert equal(module, drawn())
    assert module.remarks == (f"prefix `{prefix}` stripped",)


def test_published_weights_say_nothing_of_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = published_at_an_address(
        tmp_path, monkeypatch, state={"params": {f"module.{k}": v for k, v in drawn().items()}}
    )
    chosen = weights.of_tag(pinned, "", 2)
    weights.download(pinned, chosen, Progress())
    module = weights.build(pinned, chosen, 2, CPU)
    assert equal(module, drawn())
    assert module.remarks == ()


def test_prefixes_are_stripped_until_the_names_are_the_networks(tmp_path: Path) -> None:
    own = nn.Sequential()
    own.add_module("model", nn.Conv2d(1, 1, 3))
    state = {f"module.model.{key}": x + 1 for key, x in own.model.state_dict().items()}
    assert weight_file.load_strictly(own, state, Path("a.pt"), "own") == (
        "prefix `module.` stripped",
    )
    assert torch.equal(own.state_dict()["model.bias"], state["module.model.bias"])


def test_remarks_are_of_the_module_that_the_wrapper_makes(tmp_path: Path) -> None:
    torch.save({"params": drawn()}, tmp_path / "a.pt")
    doubled = method("srcnn-9-1-5+:n1=2,n2=3")
    module = weights.build(doubled, weights.of_tag(doubled, str(tmp_path / "a.pt"), 2), 2, CPU)
    assert module.remarks == ("`params` taken",)


def test_counters_are_not_missed_under_a_prefix() -> None:
    norm = nn.BatchNorm2d(2)
    old = {f"module.{k}": v + 1 for k, v in norm.state_dict().items() if "tracked" not in k}
    assert weight_file.load_strictly(norm, old, Path("a.pt"), "norm") == (
        "prefix `module.` stripped",
    )
    assert torch.equal(norm.running_var, torch.full((2,), 2.0))
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_prefix_of_data_parallel_training_is_taken_off(tmp_path: Path, name: str) -> None:
    state = {key: torch.randn_like(value) for key, value in fresh().items()}
    prefixed = {f"module.{key}": value for key, value in state.items()}
    if name == "a.pt":
        torch.save(prefixed, tmp_path / name)
    else:
        saved(tmp_path / name, prefixed)
    loaded = build(tmp_path / name).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_prefix_on_some_keys_only_is_refused(tmp_path: Path) -> None:
    state = {f"module.{k}" if "bias" in k else k: v for k, v in fresh().items()}
    with pytest.raises(InputError, match=r"missing conv1\.bias; missing conv2\.bias; .* 3 more"):
        build(saved(tmp_path / "a.safetensors", state))


def test_prefix_that_is_the_modules_own_stays() -> None:
    own = nn.Sequential()
    own.add_module("module", nn.Conv2d(1, 1, 3))
    state = {key: value + 1 for key, value in own.state_dict().items()}
    weight_file.load_strictly(own, state, Path("a.pt"), "own")
    assert all(torch.equal(own.state_dict()[key], state[key]) for key in state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_another_width_are_cast(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {key: torch.randn_like(value).to(dtype) for key, value in fresh().items()}
    loaded = build(saved(tmp_path / "a.safetensors", state)).state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32}
    assert all(torch.equal(loaded[key], state[key].float()) for key in state)


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (torch.ones(2, dtype=torch.int64), "holds int64, expected float32"),
        (torch.ones(2, dtype=torch.uint8), "holds uint8, expected float32"),
        (torch.ones(2, dtype=torch.bool), "holds bool, expected float32"),
        (torch.ones(2, dtype=torch.complex64), "holds complex64, expected float32"),
        (torch.tensor([0, 1e300], dtype=torch.float64), "holds NaN or infinity in float32"),
        (torch.eye(2)[0].to_sparse(), "is no plain tensor; save it dense"),
        (torch.ones(2, device="meta"), "is no plain tensor; save it dense"),
    ],
    ids=["int64", "uint8", "bool", "complex", "too large", "sparse", "meta"],
)
def test_what_is_no_float_is_refused(bias: Tensor, message: str) -> None:
    module = method().build(2, method().settings)
    with pytest.raises(InputError, match=rf"a\.pt does not fit srcnn: conv1\.bias {message}.*; no"):
        weight_file.load_strictly(module, fresh() | {"conv1.bias": bias}, Path("a.pt"), "srcnn")


def test_float_for_an_integer_buffer_is_refused() -> None:
    norm = nn.BatchNorm2d(2)
    state = norm.state_dict() | {"num_batches_tracked": torch.tensor(1.5)}
    with pytest.raises(InputError, match="num_batches_tracked holds float32, expected int64"):
        weight_file.load_strictly(norm, state, Path("a.pt"), "norm")


def test_weights_of_another_scale_are_told(tmp_path: Path) -> None:
    espcn = method("espcn")
    x3 = weights.fresh(espcn, 3).state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in x3.items()}}, tmp_path / "a.pt")
    with pytest.raises(
        InputError, match=r"expected \(4,\); nothing was loaded: these look like x3 weights$"
    ):
        build(tmp_path / "a.pt", "espcn")


def test_weights_of_another_method_are_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", fresh("srcnn-9-3-5"))
    with pytest.raises(
        InputError, match=r"does not fit srcnn-9-5-5: .*: these look like weights of srcnn-9-3-5$"
    ):
        build(path, "srcnn-9-5-5")


def test_weights_that_fit_but_for_their_values_look_like_nothing_else(tmp_path: Path) -> None:
    state = fresh() | {"conv1.bias": torch.tensor([0, math.nan])}
    with pytest.raises(InputError, match=r"NaN or infinity in float32; nothing was loaded$"):
        build(saved(tmp_path / "a.safetensors", state))


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.ckpt", "a.npz", "a.mat", "a.safetensors"])
def test_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"{name} cannot be read as weights: .*; get it again"):
        build(tmp_path / name)


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r".* is a folder, not weights; give the path of a file"):
        weights.of_tag(method(), str(tmp_path), 2)
    (tmp_path / "a.pt").mkdir()
    with pytest.raises(InputError, match=r"a\.pt cannot be read as weights: "):
        weight_file.read_state_dict(tmp_path / "a.pt", method())


def published_at_an_address(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sha256: str = "",
    state: Mapping[str, Any] | None = None,
) -> Method:
    folder = tmp_path / "mirror" / "models.example.org" / "sr"
    folder.mkdir(parents=True)
    torch.save(fresh() if state is None else state, folder / "net.pt")
    monkeypatch.setenv("SISRBENCH_MIRROR", str(tmp_path / "mirror"))
    card = Weights(
        tag="official",
        scale=2,
        origin="https://models.example.org/sr",
        path="net.pt",
        sha256=sha256 or weights.sha256_of(folder / "net.pt")[:8],
        licence="any",
        citation="nobody",
    )
    return replace(method(), weights=(card,), default_weights="official")


def test_published_weights_may_be_pinned_by_the_first_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = published_at_an_address(tmp_path, monkeypatch)
    assert weights.remote(pinned.weights[0]).url == "https://models.example.org/sr/net.pt"
    chosen = weights.of_tag(pinned, "", 2)
    weights.download(pinned, chosen, Progress())
    module = weights.build(pinned, chosen, 2, CPU)
    assert all(torch.equal(module.state_dict()[key], value) for key, value in fresh().items())
    assert chosen.file is not None
    torch.save({}, fetch.local_path(chosen.file))
    with pytest.raises(InputError, match=r"net\.pt has changed: its SHA-256 is not [0-9a-f]{8}\."):
        weights.build(pinned, chosen, 2, CPU)


def test_published_weights_without_a_usable_hash_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = published_at_an_address(tmp_path, monkeypatch, sha256="0edfb8a")
    with pytest.raises(InputError, match=r"net\.pt: '0edfb8a' is no SHA-256"):
        weights.of_tag(pinned, "", 2)
