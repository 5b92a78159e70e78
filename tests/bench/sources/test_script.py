"""TorchScript: equal to the module in outputs and costs, and programs that are refused."""

from __future__ import annotations

import copy
import threading
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from bench.graph.counting import per_layer
from bench.graph.trace import trace
from bench.sources.card import Card
from bench.sources.script import Script, method
from zoo.errors import InputError


def _espcn() -> nn.Module:
    torch.manual_seed(0)
    return zoo.load("espcn")[0].build(3, {"n1": 8, "n2": 4}).eval()


def _saved(path: Path, module: nn.Module, like: Tensor | None = None) -> Path:
    """The archive of a module; traced if an input is given. torch warns that it is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.script(module) if like is None else torch.jit.trace(module, like)
        torch.jit.save(made, path)
    return path


@pytest.fixture(scope="module", params=["script", "trace"])
def espcn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    like = torch.rand(1, 1, 20, 24) if request.param == "trace" else None
    return _saved(tmp_path_factory.mktemp("ts") / "net.ts", _espcn(), like)


def _rewritten(path: Path, place: Path, old: bytes, new: bytes, ending: str = ".py") -> Path:
    """The archive with other text in the members with an ending."""
    with zipfile.ZipFile(path) as file, zipfile.ZipFile(place, "w") as written:
        for name in file.namelist():
            content = file.read(name)
            written.writestr(name, content.replace(old, new) if name.endswith(ending) else content)
    return place


def test_the_file_computes_and_counts_as_the_network_does(espcn: Path) -> None:
    network, expected = Script(espcn), _espcn()
    x = torch.rand(1, 1, 31, 17)
    with torch.no_grad():
        for _ in range(3):  # from the third run on, TorchScript has optimised the program
            assert torch.equal(network(x), expected(x))
    found, graph = (trace(each, torch.empty(1, 1, 31, 17)) for each in (network, expected))
    assert [op.overload for op in found.operators] == [op.overload for op in graph.operators]
    assert found.parameters == graph.parameters
    assert found.peak_bytes <= graph.peak_bytes
    assert per_layer(found)[0].path == "conv1.weight"


def test_copies_compute_in_threads(espcn: Path) -> None:
    network, x = Script(espcn), torch.rand(1, 1, 9, 8)
    found: list[Tensor] = []

    def work(each: nn.Module) -> None:
        with torch.no_grad():
            found.append(each(x))

    threads = [threading.Thread(target=work, args=(copy.deepcopy(network),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with torch.no_grad():
        expected = _espcn()(x)
    assert len(found) == 3
    assert all(torch.equal(each, expected) for each in found)


def test_the_program_computes_with_the_modules_parameters(espcn: Path) -> None:
    network = Script(espcn)
    with torch.no_grad():
        network.get_parameter("conv3.weight").zero_()
        network.get_parameter("conv3.bias").fill_(0.5)
        assert (network(torch.rand(1, 1, 5, 5)) == 0.5).all()
        assert network.double()(torch.rand(1, 1, 5, 5).double()).dtype == torch.float64


def test_the_card_gets_what_the_file_says(espcn: Path) -> None:
    card = Card(name="Ours", kind="script", source=str(espcn))
    made = method(card)
    assert (made.channels, made.takes, made.scales) == ("luma", "LR", (3,))
    assert made.opener is not None
    assert made.opener(espcn, 3)(torch.rand(1, 1, 9, 8)).shape == (1, 1, 27, 24)
    with pytest.raises(InputError, match="enlarges by 3, not by 2; give another scale"):
        made.opener(espcn, 2)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ('torch.save(x, "/tmp/harmed")', "calls torch.save, which does more than compute"),
        ('ops.aten.save(x, "/tmp/harmed")', "calls ops.aten.save"),
        ('torch.from_file("/etc/passwd", False, 9)', "calls torch.from_file"),
        ('ops.prim.rpc_async("x", "y")', "calls ops.prim.rpc_async"),
        ("ops.mine.call(x)", "calls ops.mine.call"),
        ("(torch.nonsense)(x", "holds code that cannot be read"),
    ],
)
def test_programs_that_do_more_than_compute(
    call: str, fault: str, tmp_path: Path, espcn: Path
) -> None:
    bad = _rewritten(espcn, tmp_path / "bad.ts", b"torch.tanh(", f"torch.tanh({call}); (".encode())
    with pytest.raises(InputError, match=fault):
        Script(bad)


def test_a_real_program_that_writes_a_file(tmp_path: Path) -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch.save(x, "harmed")
            return x

    path = _saved(tmp_path / "bad.ts", Writes())
    with pytest.raises(InputError, match=r"was not run, because it calls torch\.save"):
        Script(path)


@pytest.mark.parametrize(
    ("layer", "called"),
    [
        (nn.Dropout(0.5), "dropout"),
        (nn.Dropout2d(0.5), "feature_dropout"),
        (nn.BatchNorm2d(1), "batch_norm"),
    ],
)
def test_a_program_traced_in_training_mode_is_refused(
    layer: nn.Module, called: str, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.trace(layer.train(), torch.rand(1, 1, 8, 8), check_trace=False)
        torch.jit.save(made, tmp_path / "net.ts")
    with pytest.raises(InputError, match=rf"traced in training mode \({called}\); call \.eval"):
        Script(tmp_path / "net.ts")
    Script(_saved(tmp_path / "net.ts", layer.eval(), torch.rand(1, 1, 8, 8)))
    Script(_saved(tmp_path / "net.ts", layer.train()))  # its mode is no constant


def test_dropout_that_is_always_on_is_refused(tmp_path: Path) -> None:
    class Always(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(x, 0.5, training=True)

    path = _saved(tmp_path / "net.ts", Always())
    with pytest.raises(InputError, match=r"traced in training mode \(dropout\)"):
        Script(path)


def test_normalisation_by_the_image_is_no_training(tmp_path: Path) -> None:
    layer = nn.BatchNorm2d(1, track_running_stats=False).eval()
    Script(_saved(tmp_path / "net.ts", layer, torch.rand(1, 1, 8, 8)))
    Script(_saved(tmp_path / "net.ts", layer))


def test_built_in_classes(espcn: Path, tmp_path: Path) -> None:
    bad = _rewritten(espcn, tmp_path / "bad.ts", b"torch.nn.modules", b"torch.classes.rpc")
    with pytest.raises(InputError, match=r"holds a class of torch\.classes\.rpc"):
        Script(bad)


class Baked(nn.Module):
    """Traced, it works for one size only."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(int(n), int(c), int(h), int(w)).repeat(1, 1, 2, 2)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def test_networks_of_another_kind(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = _saved(tmp_path / "baked.ts", Baked(), torch.rand(1, 1, 8, 8))
    network = Script(path)
    assert network(torch.rand(1, 1, 8, 8)).shape == (1, 1, 16, 16)
    with pytest.raises(InputError, match=r"shape .* is invalid .*; if torch.jit.trace made it for"):
        network(torch.rand(1, 1, 9, 8))
    with pytest.raises(InputError, match="failed for 1 channels of 8x9 px"):
        trace(network, torch.rand(1, 1, 9, 8))
    with pytest.raises(InputError, match="gave a tuple; expected one image"):
        Script(_saved(tmp_path / "pair.ts", Pair()))(torch.rand(1, 1, 8, 8))


def test_damaged_files_and_files_of_another_kind(espcn: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ts"
    cut.write_bytes(espcn.read_bytes()[: espcn.stat().st_size // 2])
    with pytest.raises(InputError, match="is no TorchScript archive, or is damaged"):
        Script(cut)
    torch.save(_espcn().state_dict(), tmp_path / "net.pth")
    with pytest.raises(InputError, match="is no TorchScript archive: it holds no code"):
        Script(tmp_path / "net.pth")
    bad = _rewritten(espcn, tmp_path / "bad.ts", b"ESPCN", b"ESPC", "data.pkl")
    with pytest.raises(InputError, match="cannot be read as TorchScript"):
        Script(bad)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # deprecated
def test_a_quantised_program(tmp_path: Path) -> None:
    class Quantised(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            q = torch.quantize_per_tensor(x, 1 / 255, 0, torch.quint8)
            return q.dequantize().repeat(1, 1, 2, 2)

    network: Any = Script(_saved(tmp_path / "net.ts", Quantised()))
    assert network(torch.rand(1, 1, 8, 8)).shape == (1, 1, 16, 16)
