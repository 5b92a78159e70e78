"""A class of a Python file as a method, as exact as a method of this project."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import pytest
import torch

import sisrbench
import zoo
from bench import sources
from bench.files import weights
from zoo.errors import InputError

CPU = torch.device("cpu")
NET = """
import torch
from torch import nn
from activation import act


class ESPCN(nn.Module):
    def __init__(self, upscale, white=1.0, n1=64):
        super().__init__()
        self.white = white
        self.conv1 = nn.Conv2d(1, n1, 5, padding=2)
        self.conv2 = nn.Conv2d(n1, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, upscale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(upscale)

    def forward(self, x):
        x = act(self.conv2(act(self.conv1(x / self.white))))
        return self.shuffle(self.conv3(x)) * self.white


class Windowed(ESPCN):
    def forward(self, x):
        assert x.shape[-1] % 8 == 0 and x.shape[-2] % 8 == 0
        return super().forward(x)


class Wide(nn.Module):
    def forward(self, x):
        return x.repeat_interleave(3, -1)


def number():
    return 3
"""
SHIPPED = Path(zoo.__file__).parent / "weights"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "activation.py").write_text(
        "import torch\n\ndef act(x):\n    return torch.tanh(x)\n"
    )
    for scale in (2, 3, 4):
        copyfile(SHIPPED / f"espcn-x{scale}.safetensors", tmp_path / f"x{scale}.safetensors")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def espcn(folder: Path, name: str = "ESPCN", more: str = "") -> str:
    return f"{folder}/net.py:{name}:upscale={{scale}}{more}@{folder}/x{{scale}}.safetensors"


def average(spec: str | sisrbench.Card, scale: int, protocol: str = "srcnn2014") -> float:
    table = sisrbench.measure(
        spec, "demo", scales=scale, protocol=protocol, metrics="psnr", progress=False
    )
    found = table[(table["image"] == "") & (table["quantity"] == "psnr_y")]
    return float(found["value"].iloc[0])


def test_a_class_gives_the_numbers_of_the_method(folder: Path) -> None:
    assert average(espcn(folder), 3) == average("espcn", 3)


def test_three_files_are_one_method_under_its_users_name(folder: Path) -> None:
    card = folder / "card.toml"
    card.write_text(
        'name = "Ours"\nclass = "net.py:ESPCN"\narguments = { upscale = "{scale}" }\n'
        'weights = "x{scale}.safetensors"\n'
    )
    method, tag = sources.load(str(card))
    assert method.scales == (2, 3, 4)
    assert (method.name, method.channels, tag) == ("Ours", "luma", "")
    resolved = [weights.resolve(method, tag, scale) for scale in method.scales]
    assert [each.label for each in resolved] == ["", "", ""]
    assert len({each.sha256 for each in resolved}) == 3


@pytest.mark.parametrize("protocol", ["srcnn2014", "rcan2018"])
def test_a_network_for_255_levels(folder: Path, protocol: str) -> None:
    found = average(espcn(folder, more=",white=255.0,range=255"), 2, protocol)
    assert found == pytest.approx(average("espcn", 2, protocol), abs=1e-4)


def test_full_range_luma_is_stretched_for_the_network_and_back(folder: Path) -> None:
    # A network that repeats each pixel keeps luma, whatever its range.
    (folder / "repeat.py").write_text(
        "from torch import nn\n\nclass Repeat(nn.Module):\n    def forward(self, x):\n"
        "        assert -1e-6 <= x.min() and x.max() <= 1 + 1e-6\n"
        "        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)\n"
    )
    spec = f"{folder}/repeat.py:Repeat:channels=luma,luma="
    assert average(f"{spec}full", 2, "rcan2018") == pytest.approx(
        average(f"{spec}studio", 2, "rcan2018"), abs=1e-9
    )


def test_padding_to_a_multiple_is_said_and_counted(folder: Path) -> None:
    spec = espcn(folder, "Windowed", ",multiple=8")
    method, tag = sources.load(spec)
    module = weights.build(method, weights.resolve(method, tag, 2), 2, CPU)
    plain, _ = sources.load(espcn(folder))
    reference = weights.build(plain, weights.resolve(plain, "", 2), 2, CPU)
    x = torch.rand(1, 1, 13, 24)
    padded = torch.nn.functional.pad(x, (0, 0, 0, 3), mode="reflect")
    assert torch.equal(module(x), reference(padded)[..., :26, :])
    assert module.remarks == (
        "LR padded to a multiple of 8 px by reflection at the right and the bottom",
    )
    table = sisrbench.cost(spec, scales=2, time=False, progress=False).set_index("quantity")
    # LR of 640x360 is padded to nothing there; 1280x720 at x3 is 427x240, padded to 432x240.
    assert table["value"]["multiplies_720p"] == pytest.approx(4.880794, rel=1e-6)


def test_modules_beside_the_file_are_in_the_key(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = sisrbench.measure(
        espcn(folder), "demo", scales=2, metrics="psnr", out=out, progress=False
    )
    (folder / "activation.py").write_text("def act(x):\n    return x.clamp(-1, 1)\n")
    after = sisrbench.measure(
        espcn(folder), "demo", scales=2, metrics="psnr", out=out, progress=False
    )
    psnr = [float(t[(t["image"] == "") & (t["quantity"] == "psnr_y")]["value"].iloc[0])
            for t in (before, after)]  # fmt: skip
    assert psnr[0] != psnr[1]
    assert not list(folder.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("net.py:Net", "net.py has no class or function 'Net'; it has ESPCN, Windowed, Wide"),
        ("net.py:ESPCN", "net.py:ESPCN needs upscale; add :upscale=VALUE"),
        ("net.py:ESPCN:upscale=2,n3=3", "has no argument n3; it has: upscale, white, n1"),
        ("net.py:ESPCN:upscale=a", "raised TypeError"),
        ("net.py:number", "gave a int; expected a torch.nn.Module"),
        ("net.py:Wide", "does not enlarge an image of 48x48 px: 3 channels: gave (1, 3, 48, 144)"),
        ("net.py:ESPCN:upscale=1", "gives an image of the size that it takes"),
        ("net.py", "net.py has no function method(name); to measure a class of it, give"),
        ("class:nowhere.net:Net", "nowhere.net does not import: ModuleNotFoundError"),
    ],
)
def test_a_class_that_cannot_be_used(
    spec: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError) as caught:
        sources.load(spec)
    assert message in str(caught.value)


def test_weights_that_do_not_exist_or_fit(folder: Path) -> None:
    method, _ = sources.load(f"{folder}/net.py:ESPCN:upscale=2")
    with pytest.raises(InputError, match="has no published weights; add @FILE to its name, or"):
        weights.resolve(method, "", 2)
    with pytest.raises(InputError, match="has no x3; choose from: x2"):
        weights.resolve(method, "", 3)
    other = weights.resolve(method, f"{folder}/x3.safetensors", 2)
    with pytest.raises(InputError, match="does not fit"):
        weights.build(method, other, 2, CPU)


def mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> sisrbench.Card:
    """A card whose code lies in a mirror."""
    commit = "ab" * 20
    place = tmp_path / "mirror/github/someone/sr" / commit / "archs"
    place.mkdir(parents=True)
    (place / "net_arch.py").write_text(text)
    (place / "layers.py").write_text("FACTOR = 2\n")
    monkeypatch.setenv("SISRBENCH_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path / "cache"))
    files = {"archs/net_arch.py": text, "archs/layers.py": "FACTOR = 2\n"}
    return sisrbench.card(
        name="Theirs",
        class_="archs/net_arch.py:Net",
        code=f"github:someone/sr@{commit}",
        files={path: hashlib.sha256(each.encode()).hexdigest() for path, each in files.items()},
    )


THEIRS = """
from torch import nn
from archs.layers import FACTOR


class Net(nn.Module):
    def forward(self, x):
        return x.repeat_interleave(FACTOR, -1).repeat_interleave(FACTOR, -2)
"""


def test_code_of_a_repository_is_fetched_by_hash_and_trusted_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = mirrored(tmp_path, monkeypatch, THEIRS)
    with pytest.raises(InputError, match="would run code from github:someone/sr@"):
        sisrbench.measure(card, "demo", scales=2, metrics="psnr", progress=False)
    assert not (tmp_path / "cache").exists()
    table = sisrbench.measure(
        card, ["demo"], scales=2, metrics="psnr", progress=False, trust_code=True
    )
    found = table[(table["image"] == "") & (table["quantity"] == "psnr_y")]
    assert float(found["value"].iloc[0]) == pytest.approx(average("nearest", 2), abs=3)


def test_a_repositorys_file_that_the_card_does_not_list_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = mirrored(tmp_path, monkeypatch, THEIRS)
    place = tmp_path / "cache/github/someone/sr" / ("ab" * 20) / "archs"
    place.mkdir(parents=True)
    ran = tmp_path / "ran"
    (place / "layers.py").write_text(f"open({str(ran)!r}, 'w')\nFACTOR = 2\n")
    alone = {path: sha256 for path, sha256 in card.files.items() if "layers" not in path}
    with pytest.raises(InputError, match=r"archs/layers\.py is not among the card's files"):
        sisrbench.measure(
            replace(card, files=alone), "demo", scales=2, progress=False, trust_code=True
        )
    assert not ran.exists()


@pytest.mark.parametrize(
    "class_",
    ["archs/other.py:Net", "../net.py:Net", "/tmp/net.py:Net", "os:system", "torch.nn:ReLU"],
)
def test_a_class_outside_a_cards_files_is_refused(
    class_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = mirrored(tmp_path, monkeypatch, THEIRS)
    with pytest.raises(InputError, match=r"the file of the class, .* is not among files"):
        replace(card, source=class_)


def test_a_hash_of_code_that_is_cut_short_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = mirrored(tmp_path, monkeypatch, THEIRS)
    files = {path: sha256[:12] for path, sha256 in card.files.items()}
    with pytest.raises(InputError, match="give all 64 hex digits of its SHA-256"):
        replace(card, files=files)


def test_a_file_whose_name_is_taken_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = mirrored(tmp_path, monkeypatch, THEIRS)
    text = THEIRS.replace("archs.", "")
    commit = "ab" * 20
    place = tmp_path / "mirror/github/someone/sr" / commit
    (place / "json.py").write_text(text)
    files = {"json.py": hashlib.sha256(text.encode()).hexdigest()}
    card = replace(card, source="json.py:Net", files=files)
    with pytest.raises(InputError, match=r"does not import as json, because .* has that name"):
        sisrbench.measure(card, "demo", scales=2, progress=False, trust_code=True)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_a_network_in_another_type_is_probed_in_it(dtype: str, tmp_path: Path) -> None:
    text = f"""
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1, dtype=torch.{dtype})

    def forward(self, x):
        return nn.functional.pixel_shuffle(self.conv(x), 2)
"""
    (tmp_path / "typed.py").write_text(text)
    made, _ = sources.load(f"{tmp_path / 'typed.py'}:Net@none")
    assert (made.channels, made.scales) == ("RGB", (2,))


@pytest.mark.parametrize(
    "spec", ["net.py:Net:upscale=2+", "net.py:Net:upscale=2@none+", "net.onnx:name=Ours+"]
)
def test_a_plus_after_settings_says_where_it_belongs(spec: str) -> None:
    with pytest.raises(
        InputError, match=r"the \+ of the self-ensemble stands right after the file"
    ):
        sources.require(spec)


def test_a_repositorys_file_with_another_hash_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = mirrored(tmp_path, monkeypatch, THEIRS)
    commit = "ab" * 20
    changed = tmp_path / "mirror/github/someone/sr" / commit / "archs/layers.py"
    changed.write_text("raise SystemExit('executed')\n")
    with pytest.raises(InputError, match=r"layers\.py") as caught:
        sisrbench.measure(card, "demo", scales=2, metrics="psnr", progress=False, trust_code=True)
    assert "executed" not in str(caught.value)


@pytest.mark.parametrize(
    ("class_", "argument"),
    [("os:system", "command"), ("os:mkdir", "path"), ("pathlib:Path.touch", "self"),
     ("subprocess:Popen", "args"), ("torch:load", "f"), ("torch.hub:load", "repo_or_dir")],
)  # fmt: skip
def test_what_makes_no_network_is_not_called(class_: str, argument: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    words = {"command": f"touch {made}", "args": ["touch", str(made)]}
    card = sisrbench.card(
        name="Ours", class_=class_, arguments={argument: words.get(argument, str(made))}
    )
    with pytest.raises(InputError, match=r"was not called|has no class or function"):
        sources.load(card)
    assert not made.exists()
