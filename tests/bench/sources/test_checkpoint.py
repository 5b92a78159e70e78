"""Checkpoints whose network spandrel finds; state dicts are fresh ones of small networks."""

from __future__ import annotations

import csv
import importlib
import itertools
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bench import sources
from bench.cli import main
from bench.datasets import Dataset
from bench.files import packed, weights
from bench.graph import counting, trace
from bench.network import remarks_of
from bench.plan import AccuracyRequest, accuracy_units
from bench.protocol import load
from bench.sources import card as cards
from bench.sources import checkpoint
from zoo.errors import InputError
from zoo.method import Method

CPU = torch.device("cpu")
Values = dict[str, Any]
COMPACT = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_conv": 1, "upscale": 2}


def network(kind: str = "Compact", **changes: Any) -> nn.Module:
    """A small network of an architecture of spandrel, with random weights."""
    checkpoint._spandrel()
    small: dict[str, Values] = {
        "Compact": COMPACT,
        "SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 3},
        "PLKSR": {"dim": 8, "n_blocks": 2, "upscaling_factor": 2, "kernel_size": 5},
        "SAFMN": {"dim": 8, "n_blocks": 1, "upscaling_factor": 4},
        "ESRGAN": {"num_filters": 8, "num_blocks": 1, "scale": 4},
        "IPT": {"patch_size": 48, "n_feats": 8, "scale": [2], "num_heads": 2, "num_layers": 1},
    }
    module = importlib.import_module(f"spandrel.architectures.{kind}")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: nn.Module = getattr(module, kind)(**small[kind] | changes)
    return made.eval()


def saved(path: Path, kind: str = "Compact", prefix: str = "", **changes: Any) -> dict[str, Tensor]:
    state = {f"{prefix}{key}": x for key, x in network(kind, **changes).state_dict().items()}
    torch.save(state, path)
    return state


def method(path: Path, **fields: Any) -> Method:
    return sources.load(cards.Card(name="Ours", kind="checkpoint", source=str(path), **fields))[0]


def opened(path: Path, scale: int = 2, **fields: Any) -> nn.Module:
    found = method(path, **fields)
    return weights.build(found, weights.resolve(found, "", scale), scale, CPU)


# What is found


@pytest.mark.parametrize(
    ("kind", "changes", "channels", "scale", "said"),
    [
        ("Compact", {}, "RGB", 2, "RealESRGAN Compact, 4nf, 1nc"),
        (
            "Compact",
            {"num_in_ch": 1, "num_out_ch": 1, "upscale": 3},
            "luma",
            3,
            "RealESRGAN Compact",
        ),
        ("SPAN", {}, "RGB", 3, "SPAN, 8nf"),
        ("PLKSR", {}, "RGB", 2, "PLKSR, 8dim, 2nb, 5ks, CCM"),
        ("SAFMN", {}, "RGB", 4, "SAFMN, "),
        ("ESRGAN", {}, "RGB", 4, "ESRGAN, 8nf, 1nb"),
    ],
)
def test_scale_channels_and_sizes_are_in_the_file(
    tmp_path: Path, kind: str, changes: Values, channels: str, scale: int, said: str
) -> None:
    saved(tmp_path / "a.pth", kind, **changes)
    found = method(tmp_path / "a.pth")
    assert (found.channels, found.scales, found.takes) == (channels, (scale,), "LR")
    assert found.citation.startswith(said)
    assert found.libraries == ("spandrel",)
    module = opened(tmp_path / "a.pth", scale)
    assert f"found by spandrel: {found.citation}" in remarks_of(module)
    planes = 3 if channels == "RGB" else 1
    with torch.no_grad():
        assert module(torch.rand(2, planes, 7, 9)).shape == (2, planes, 7 * scale, 9 * scale)


@pytest.mark.parametrize(
    ("kind", "scale", "size"),
    [
        *itertools.product(["Compact"], [2], [(16, 24), (3, 2)]),
        *itertools.product(["SAFMN"], [4], [(16, 24), (13, 9), (3, 2)]),
        *itertools.product(["SPAN"], [3], [(13, 9)]),
        *itertools.product(["ESRGAN"], [4], [(13, 9)]),
        *itertools.product(["IPT"], [2], [(48, 48), (3, 2)]),  # computes in [0, 255]
    ],
)
def test_output_is_what_spandrel_gives_but_for_clipping(
    tmp_path: Path, kind: str, scale: int, size: tuple[int, int]
) -> None:
    state = saved(tmp_path / "a.pth", kind)
    descriptor = checkpoint._spandrel().ModelLoader().load_from_state_dict(state).eval()
    image = torch.rand(1, 3, *size)
    with torch.no_grad():
        ours = opened(tmp_path / "a.pth", scale)(image)
    assert torch.equal(ours.clamp(0, 1), descriptor(image))


def test_padding_is_said(tmp_path: Path) -> None:
    saved(tmp_path / "a.pth", "SAFMN")
    assert remarks_of(opened(tmp_path / "a.pth", 4))[-1] == (
        "LR padded to a multiple of 8 px, by reflection at the right and the bottom"
    )
    saved(tmp_path / "b.pth")
    assert "padded" not in " ".join(remarks_of(opened(tmp_path / "b.pth")))


@pytest.mark.parametrize("kind", ["Compact", "SPAN", "PLKSR", "SAFMN"])
def test_network_can_be_traced(tmp_path: Path, kind: str) -> None:
    saved(tmp_path / "a.pth", kind)
    scale = method(tmp_path / "a.pth").scales[0]
    graph = trace.trace(opened(tmp_path / "a.pth", scale), torch.rand(1, 3, 32, 32))
    assert counting.total(counting.multadds)(graph) > 0


def test_half_precision_is_computed_in_single(tmp_path: Path) -> None:
    torch.save({k: v.half() for k, v in network().state_dict().items()}, tmp_path / "a.pth")
    assert {x.dtype for x in opened(tmp_path / "a.pth").parameters()} == {torch.float32}


# What is in the file


def test_choice_and_prefix_are_said(tmp_path: Path) -> None:
    one = {f"net_g._orig_mod.{key}": x for key, x in network().state_dict().items()}
    mean = {key: x + 1 for key, x in one.items()}
    torch.save({"params": one, "params_ema": mean}, tmp_path / "a.pth")
    for key, state, said in (
        ("", mean, "`params_ema` taken, of params, params_ema"),
        ("#params", one, "`params` taken"),
    ):
        module = opened(tmp_path / f"a.pth{key}")
        assert remarks_of(module)[:2] == [said, "prefix `net_g._orig_mod.` stripped"]
        name = "body.0.weight"
        assert torch.equal(module.state_dict()[f"network.{name}"], state[f"net_g._orig_mod.{name}"])


def test_choices_have_numbers_of_their_own(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save({"params": state, "params_ema": state}, tmp_path / "a.pth")
    chosen = [weights.resolve(method(tmp_path / f"a.pth{key}"), "", 2) for key in ("", "#params")]
    assert [each.key for each in chosen] == ["", "params"]
    assert [each.label for each in chosen] == ["", ""]
    keys = {
        unit.key
        for key in ("", "#params")
        for unit in accuracy_units(
            [
                AccuracyRequest(
                    method(tmp_path / f"a.pth{key}"), "", 2, Dataset("d", ()), load("srcnn2014")
                )
            ],
            CPU,
            ("psnr",),
        )
    }
    assert len(keys) == 2


def test_network_beside_a_discriminator_is_found(tmp_path: Path) -> None:
    state = {f"generator.{key}": x for key, x in network().state_dict().items()}
    torch.save({"state_dict": state | {"discriminator.a": torch.ones(3)}}, tmp_path / "a.ckpt")
    assert remarks_of(opened(tmp_path / "a.ckpt"))[:2] == [
        "`state_dict` taken",
        "prefix `generator.` stripped, tensors left out: 1 of discriminator",
    ]


def test_prefix_that_the_network_has_itself_stays(tmp_path: Path) -> None:
    state = saved(tmp_path / "a.pth", "ESRGAN")
    assert all(name.startswith("model.") for name in state)
    assert not any("prefix" in said for said in remarks_of(opened(tmp_path / "a.pth", 4)))


def test_one_file_a_scale(tmp_path: Path) -> None:
    for scale in (2, 3):
        saved(tmp_path / f"net_x{scale}.pth", upscale=scale)
    found = method(Path("net_x{scale}.pth"), folder=tmp_path)
    assert found.scales == (2, 3)
    for scale in (2, 3):
        module = weights.build(found, weights.resolve(found, "", scale), scale, CPU)
        assert module(torch.rand(1, 3, 4, 4)).shape == (1, 3, 4 * scale, 4 * scale)
    saved(tmp_path / "net_x3.pth", upscale=4)
    with pytest.raises(InputError, match=r"net_x3\.pth is .* for x4, not for x3; give -s 4, or"):
        weights.build(found, weights.resolve(found, "", 3), 3, CPU)


def test_one_file_a_scale_with_a_choice(tmp_path: Path) -> None:
    torch.save({"params": network().state_dict()}, tmp_path / "net_x2.pth")
    found = method(Path("net_x{scale}.pth#params"), folder=tmp_path)
    assert found.scales == (2,)
    module = weights.build(found, weights.resolve(found, "", 2), 2, CPU)
    assert remarks_of(module)[0] == "`params` taken"


def test_it_is_measured_under_its_name_with_what_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path / "cache"))
    torch.save({"params": network().state_dict()}, tmp_path / "a.pth")
    (tmp_path / "HR").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "HR" / "a.png")
    arguments = ["run", "-m", "a.pth", "-d", "HR", "-s", "2", "--metric", "psnr", "--out", "out"]
    assert main.status(arguments) == 0
    with (tmp_path / "out" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    average = next(row for row in rows if not row["image"] and row["quantity"] == "psnr_y")
    assert average["method"] == "a.pth"
    assert "`params` taken; found by spandrel: RealESRGAN Compact" in average["note"]


# What is refused


@pytest.mark.parametrize(
    ("kind", "changes", "fields", "message"),
    [
        ("Compact", {"upscale": 1}, {}, r"a network for Restoration at x1; give one for super-res"),
        ("Compact", {"num_in_ch": 4, "num_out_ch": 4}, {}, r"with 4 channels to 4; give one for 1"),
        ("Compact", {}, {"channels": "luma"}, r"channels is luma, but a\.pth takes RGB; leave"),
        ("Compact", {}, {"takes": "interpolated"}, r"a\.pth takes LR; leave takes out"),
    ],
)
def test_other_networks_are_refused(
    tmp_path: Path, kind: str, changes: Values, fields: Values, message: str
) -> None:
    saved(tmp_path / "a.pth", kind, **changes)
    with pytest.raises(InputError, match=message):
        method(tmp_path / "a.pth", **fields)


def state_of(change: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    state = network().state_dict() | change
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a.weight": torch.ones(2), "b": torch.ones(1)}, r"knows no network with tensors a\.weig"),
        (state_of({"body.0.bias": torch.ones(5)}), r"looks like RealESRGAN Compact, but does not"),
        (state_of({"body.0.bias": None}), r"looks like RealESRGAN Compact, but does not fit it"),
        (state_of({"body.0.bias": torch.full((4,), torch.nan)}), r"body\.0\.bias holds NaN or inf"),
        (state_of({"body.999999999.weight": torch.ones(1)}), r"is called body\.999999999\.weight"),
        (state_of({f"body.{'9' * 5000}.w": torch.ones(1)}), r"one of them is called body\.9999"),
        (state_of({"body.0.weight": torch.ones(1).expand(1 << 20, 3, 8, 8)}), "and unpacks to"),
    ],
    ids=["unknown", "shape", "missing", "NaN", "many layers", "digits", "expanded"],
)
def test_state_dicts_that_fit_nothing_are_refused(
    tmp_path: Path, state: dict[str, Tensor], message: str
) -> None:
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(InputError, match=message) as raised:
        method(tmp_path / "a.pth")
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 600


def test_network_of_this_project_is_told(tmp_path: Path) -> None:
    espcn = sources.load("espcn")[0]
    state = weights.fresh(espcn, 3).state_dict()
    torch.save({f"module.{key}": x for key, x in state.items()}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"it fits espcn, so give -m espcn@\S+a\.pth$"):
        method(tmp_path / "a.pth")


def test_network_far_larger_than_its_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = saved(tmp_path / "a.pth", num_feat=64, num_conv=16)
    last = {key.replace("34.", "400."): x for key, x in state.items() if "34." in key}
    torch.save({key: x for key, x in state.items() if "34." not in key} | last, tmp_path / "a.pth")
    monkeypatch.setattr(packed, "ALWAYS", 1 << 20)
    with pytest.raises(InputError, match="and unpacks to"):
        method(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda module, x: module(x) + torch.rand(1), "draws random numbers for each image; give"),
        (lambda module, x: module(x)[..., ::2, ::2], "enlarges by 1, where spandrel says 2; give"),
    ],
)
def test_network_that_does_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any, message: str
) -> None:
    saved(tmp_path / "a.pth")
    built = checkpoint._built

    def changed(state: dict[str, Tensor], path: Path) -> Any:
        found = built(state, path)
        vars(found)["_call_fn"] = call
        return found

    monkeypatch.setattr(checkpoint, "_built", changed)
    with pytest.raises(InputError, match=message):
        method(tmp_path / "a.pth")


class Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def test_pickle_is_not_executed(tmp_path: Path) -> None:
    torch.save(network().state_dict() | {"trap": Trap(tmp_path / "run")}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="nothing of it was executed"):
        method(tmp_path / "a.pth")
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_archive_of_a_network_is_told_where_it_belongs(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.ReLU(), torch.ones(1)), tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"archive of TorchScript.*measure it as -m script:"):
        method(tmp_path / "a.pth")
    torch.save(nn.Conv2d(1, 1, 3), tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"save the state dict alone, torch\.save\(module\.state"):
        method(tmp_path / "a.pth")


# Where torchvision is not to be had

WITHOUT = """
import sys
from pathlib import Path
import torch
from bench.files import weights
from bench import sources
from zoo.errors import InputError

if sys.argv[2] == "absent":
    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "torchvision":
                raise ModuleNotFoundError(name)
    sys.meta_path.insert(0, Absent())
method = sources.load(sys.argv[1])[0]
module = weights.build(method, weights.resolve(method, "", 2), 2, torch.device("cpu"))
print(tuple(module(torch.rand(1, 3, 8, 8)).shape))
print([name for name in sys.modules if name.startswith("torchvision")], len(sys.meta_path))
from spandrel.architectures import RestoreFormer
try:
    RestoreFormer.tv_normalize(torch.ones(1))
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["broken", "absent"])
def test_torchvision_is_not_needed(tmp_path: Path, kind: str) -> None:
    saved(tmp_path / "a.pth")
    package = tmp_path / "modules" / "torchvision"
    package.mkdir(parents=True)
    (package / "extension.py").touch()
    text = "from torchvision import extension\nraise RuntimeError('operator nms does not exist')\n"
    (package / "__init__.py").write_text(text)
    places = [str(package.parent), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT, str(tmp_path / "a.pth"), kind],
        env={"PYTHONPATH": ":".join(places), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shape, left, error = done.stdout.splitlines()
    assert shape == "(1, 3, 16, 16)"
    assert left.startswith("[] ")
    reason = "RuntimeError: operator nms" if kind == "broken" else "ModuleNotFoundError"
    assert error.startswith(
        f"torchvision.transforms.functional.normalize is needed here, and torchvision cannot be "
        f"imported ({reason}"
    )
