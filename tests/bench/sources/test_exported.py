"""Exported networks: equal to the module in outputs and costs; files that are refused."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from bench.graph.counting import per_layer, products, refuse_unknown, total
from bench.graph.trace import trace
from bench.sources.card import Card
from bench.sources.exported import Exported, method
from zoo.errors import InputError


def _espcn() -> nn.Module:
    torch.manual_seed(0)
    return zoo.load("espcn")[0].build(3, {"n1": 8, "n2": 4}).eval()


class Windows(nn.Module):
    """A network whose graph computes sizes, and that shifts, splits and interpolates."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.register_buffer("mean", torch.rand(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = self.conv(x - self.mean).view(n, c, 2, 2, h, w)
        y = y.permute(0, 1, 4, 2, 5, 3).reshape(n, c, 2 * h, 2 * w)
        first, rest = y.split([1, 2], 1)
        ramp = torch.arange(2 * w, device=x.device).float() / (2 * w)
        y = torch.cat([first * ramp, rest], 1)
        return y + nn.functional.interpolate(x, scale_factor=2.0, mode="bicubic")


class Mean(nn.Module):
    """A network with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.body(x), 2)


def _saved(path: Path, module: nn.Module, like: tuple[int, ...], dynamic: Any = None) -> Path:
    shapes = None if dynamic is None else ({2: dynamic[0], 3: dynamic[1]},)
    program = torch.export.export(module, (torch.rand(like),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("free") / "net.pt2"
    auto = torch.export.Dim.AUTO
    return _saved(path, _espcn(), (1, 1, 20, 24), (auto, auto))


def _rewritten(path: Path, place: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The archive with other members, by the name below its folder."""
    with zipfile.ZipFile(path) as file:
        names = {name.partition("/")[2]: name for name in file.namelist()}
        members = {name: file.read(full) for name, full in names.items()}
    change(members)
    with zipfile.ZipFile(place, "w") as file:
        for name, content in members.items():
            file.writestr(f"net/{name}", content)
    return place


def _card(path: Path, **fields: Any) -> Card:
    return Card(name="Ours", kind="exported", source=str(path), **fields)


def test_the_file_computes_and_counts_as_the_network_does(free: Path) -> None:
    network, expected = Exported(free), _espcn()
    x, two = torch.rand(1, 1, 31, 17), torch.rand(2, 1, 20, 24)
    with torch.no_grad():
        assert torch.equal(network(x), expected(x))
        assert torch.equal(copy.deepcopy(network)(x), expected(x))
        torch.testing.assert_close(network(two), expected(two), rtol=0, atol=1e-6)
    found, graph = (trace(each, torch.empty(1, 1, 31, 17)) for each in (network, expected))
    assert [op.overload for op in found.operators] == [op.overload for op in graph.operators]
    assert found.parameters == graph.parameters
    assert found.peak_bytes <= graph.peak_bytes  # nothing waits for the end of a Python function
    assert per_layer(found)[0].path == "conv1.weight"
    assert network.remarks == ()


def test_the_card_gets_what_the_file_says(free: Path) -> None:
    made = method(_card(free))
    assert (made.channels, made.takes, made.scales, made.range) == ("luma", "LR", (3,), 1)
    assert made.opener is not None
    assert made.opener(free, 3)(torch.rand(1, 1, 9, 8)).shape == (1, 1, 27, 24)
    with pytest.raises(InputError, match=r"enlarges by 3, not by 2; give another scale"):
        made.opener(free, 2)


@pytest.mark.parametrize("channels", ["RGB", "any"])
def test_other_channels_than_the_files_are_refused(free: Path, channels: Any) -> None:
    with pytest.raises(InputError, match="takes 1 channels, so channels is 'luma', not"):
        method(replace(_card(free), channels=channels))


def test_sizes_that_the_graph_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected, dim = Windows().eval(), torch.export.Dim
    sides = (8 * dim("a", min=2, max=20), 8 * dim("b", max=20))
    network = Exported(_saved(tmp_path / "net.pt2", expected, (1, 3, 32, 48), sides))
    x = torch.rand(1, 3, 40, 24)
    with torch.no_grad():
        assert torch.equal(network(x), expected(x))
    found, graph = (trace(each, x) for each in (network, expected))
    refuse_unknown(found)
    assert total(products)(found) == total(products)(graph)
    assert found.peak_bytes <= graph.peak_bytes
    for size, fault in (
        ((39, 24), "takes rows in multiples of 8, not 39; say multiple = 8"),
        ((40, 168), "takes 16 to 160 columns, not 168; export the network with a wider range"),
    ):
        with pytest.raises(InputError, match=fault):
            network(torch.rand(1, 3, *size))


def test_square_images_only(tmp_path: Path) -> None:
    side = torch.export.Dim("side", max=64)
    network = Exported(_saved(tmp_path / "net.pt2", _espcn(), (1, 1, 20, 20), (side, side)))
    assert network(torch.rand(1, 1, 9, 9)).shape == (1, 1, 27, 27)
    with pytest.raises(InputError, match="takes square images only, not 8x9"):
        network(torch.rand(1, 1, 9, 8))


@pytest.mark.parametrize("size", [(20, 24), (7, 9), (50, 61), (20, 9)])
def test_a_fixed_size_is_padded_or_cut_into_tiles(size: tuple[int, int], tmp_path: Path) -> None:
    network, whole = Exported(_saved(tmp_path / "net.pt2", _espcn(), (1, 1, 20, 24))), _espcn()
    assert len(network.remarks) == 1
    assert network.remarks[0].startswith("made for 24x20 px: a smaller image is padded")
    x = torch.rand(1, 1, *size)
    with torch.no_grad():
        out, expected = network(x), whole(x)
    inner = tuple(3 * max(side - 4, 0) for side in size)  # padding is not zero, as a network's is
    assert out.shape == expected.shape
    torch.testing.assert_close(
        out[..., : inner[0], : inner[1]], expected[..., : inner[0], : inner[1]], rtol=0, atol=1e-6
    )


def test_files_of_older_versions_of_torch(free: Path, tmp_path: Path) -> None:
    def state(network: nn.Module) -> bytes:
        held = io.BytesIO()
        torch.save(dict(network.state_dict()), held)
        return held.getvalue()

    with zipfile.ZipFile(free) as file:
        program = file.read(next(n for n in file.namelist() if n.endswith("models/model.json")))
    text = json.loads(program)
    sizes = text["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
    for place, symbol in ((2, "s0"), (3, "s1")):
        sizes[place]["as_expr"]["expr_str"] = symbol
    text["range_constraints"] = {"s0": {"min_val": 2, "max_val": 1 << 62}}
    old = tmp_path / "old.pt2"
    with zipfile.ZipFile(old, "w") as archive:
        archive.writestr("version", "8.2")
        archive.writestr("serialized_exported_program.json", json.dumps(text))
        archive.writestr("serialized_state_dict.pt", state(_espcn()))
        archive.writestr("serialized_constants.pt", b"")

    def pickled(members: dict[str, bytes]) -> None:  # as torch 2.8
        members["data/weights/model.pt"] = state(_espcn())

    x = torch.rand(1, 1, 12, 10)
    with torch.no_grad():
        expected = _espcn()(x)
        for path in (old, _rewritten(free, tmp_path / "middle.pt2", pickled)):
            assert torch.equal(Exported(path)(x), expected)


class Harm:
    """A pickle that would write a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.place}",)


def _pickled_weight(members: dict[str, bytes], data: bytes) -> None:
    name = "data/weights/model_weights_config.json"
    config = json.loads(members[name])
    config["config"]["conv1.weight"]["use_pickle"] = True
    members[name] = json.dumps(config).encode()
    members["data/weights/weight_0"] = data


def _targeted(members: dict[str, bytes], target: str) -> None:
    members["models/model.json"] = members["models/model.json"].replace(
        b"torch.ops.aten.tanh.default", target.encode()
    )


def test_nothing_of_a_file_is_executed(free: Path, tmp_path: Path) -> None:
    mark, bad = tmp_path / "harmed", tmp_path / "bad.pt2"
    held = io.BytesIO()
    torch.save(Harm(mark), held)
    for data in (pickle.dumps(Harm(mark), 2), held.getvalue()):
        for change in (
            lambda members, data=data: _pickled_weight(members, data),
            lambda members, data=data: members.update({"data/weights/model.pt": data}),
        ):
            with pytest.raises(InputError, match="nothing of it was executed"):
                Exported(_rewritten(free, bad, change))
    samples = _rewritten(
        free, bad, lambda members: members.update({"data/sample_inputs/model.pt": held.getvalue()})
    )
    Exported(samples)  # samples of the input are not read
    for target in (
        "torch.os.system",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten.nothing.default",
        "_operator.attrgetter",
        "math.pow",
        "#mine",
    ):
        with pytest.raises(InputError, match=f"uses '{target}', which is not computed here"):
            Exported(_rewritten(free, bad, lambda m, target=target: _targeted(m, target)))
    assert not mark.exists()


def test_sizes_are_no_python(free: Path, tmp_path: Path) -> None:
    mark, bad = tmp_path / "harmed", tmp_path / "bad.pt2"

    def change(members: dict[str, bytes]) -> None:
        text = members["models/model.json"].decode()
        sizes = json.loads(text)
        for size in sizes["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][2:]:
            size["as_expr"]["expr_str"] = f"__import__('os').system('touch {mark}')"
        members["models/model.json"] = json.dumps(sizes).encode()

    with pytest.raises(InputError, match=r"an image's side of __import__.* is not understood"):
        Exported(_rewritten(free, bad, change))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.pte", b"\x00\x00\x00\x00ET12....", "is a program of ExecuTorch, which is not read"),
        ("b.pt2", b"hello", "is no zip file, as torch.export.save writes"),
        ("c.pt2", b"", "is no zip file"),
    ],
)
def test_files_of_another_kind(name: str, content: bytes, fault: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=fault):
        Exported(path)


def test_damaged_and_compiled_files(free: Path, tmp_path: Path) -> None:
    cut, bad = tmp_path / "cut.pt2", tmp_path / "bad.pt2"
    cut.write_bytes(free.read_bytes()[: free.stat().st_size // 2])
    with pytest.raises(InputError, match="is no zip file"):
        Exported(cut)
    compiled: dict[str, bytes] = {"data/aotinductor/model/a.so": b"\x7fELF"}
    with pytest.raises(InputError, match="holds machine code of AOTInductor, which is not run"):
        Exported(_rewritten(free, bad, lambda members: members.update(compiled)))
    with pytest.raises(InputError, match="holds 0 exported networks, expected one"):
        Exported(_rewritten(free, bad, lambda members: members.pop("models/model.json")))
    with pytest.raises(InputError, match="cannot be read as an exported network: KeyError"):
        Exported(_rewritten(free, bad, lambda members: members.pop("data/weights/weight_2")))

    def newer(members: dict[str, bytes]) -> None:
        program = json.loads(members["models/model.json"])
        program["schema_version"]["major"] = 9
        members["models/model.json"] = json.dumps(program).encode()

    with pytest.raises(InputError, match="version 9 of torch's export schema, expected 8"):
        Exported(_rewritten(free, bad, newer))


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("module", "shapes", "fault"),
    [
        (Two(), ((1, 1, 8, 8), (1, 1, 8, 8)), "takes 2 tensors; export a network of one image"),
        (Pair(), ((1, 1, 8, 8),), "gives 2 outputs; export a network that gives one image"),
        (Flat(), ((1, 1, 8, 8),), r"makes \(1, 1\) of an image \(1, 1, 8, 8\)"),
        (Mean().eval(), ((4, 1, 8, 8),), "takes 4 images at once; export the network with one"),
        (nn.ReLU(), ((1, 8, 8),), r"takes 3 dimensions, not an image \(N, C, h, w\)"),
        (Mean().train(), ((1, 1, 8, 8),), "was exported in training mode"),
        (nn.Dropout(0.5), ((1, 1, 8, 8),), "was exported in training mode"),
    ],
)
def test_networks_of_another_kind(
    module: nn.Module, shapes: tuple[tuple[int, ...], ...], fault: str, tmp_path: Path
) -> None:
    program = torch.export.export(module, tuple(torch.rand(shape) for shape in shapes))
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(InputError, match=fault):
        Exported(tmp_path / "net.pt2")


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of torch itself
@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize(
    "module", [nn.BatchNorm2d(1, track_running_stats=False), nn.InstanceNorm2d(1)]
)
def test_normalisation_by_the_image_is_no_training(
    module: nn.Module, decomposed: bool, tmp_path: Path
) -> None:
    x = torch.rand(1, 1, 9, 8)
    program = torch.export.export(module.eval(), (x,))
    torch.export.save(program.run_decompositions() if decomposed else program, tmp_path / "n.pt2")
    assert torch.allclose(Exported(tmp_path / "n.pt2")(x), module(x), atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of torch itself
def test_decomposed_graphs(tmp_path: Path) -> None:
    x = torch.rand(1, 1, 8, 8)
    for module, fault in ((Mean().eval(), ""), (Mean().train(), "changes its buffers")):
        program = torch.export.export(module, (x,)).run_decompositions()
        torch.export.save(program, tmp_path / "net.pt2")
        if fault:
            with pytest.raises(InputError, match=fault):
                Exported(tmp_path / "net.pt2")
            continue
        with torch.no_grad():
            expected = module(x)
            torch.testing.assert_close(Exported(tmp_path / "net.pt2")(x), expected)
