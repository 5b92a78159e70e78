"""Methods of one's own: what they may do, and what is said of what they do wrong."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli import main as cli

HEAD = """
from __future__ import annotations
import torch
from dataclasses import dataclass
from torch import nn
from zoo.method import Method

NAMES = ("mine",)

@dataclass(frozen=True)
class Size:
    width: int = 3

class Net(nn.Module):
    def forward(self, x):
        {body}

def method(name):
    return Method(name={name!r}, citation="me", takes={takes!r}, channels="any", build={build})
"""
SAME = "return x"
NET = "lambda scale, settings: Net()"


def plugin(folder: Path, body: str = SAME, *, name: str = "mine", takes: str = "interpolated",
           build: str = NET) -> Path:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.py"
    path.write_text(HEAD.format(body=body, name=name, takes=takes, build=build))
    return path


def run(*arguments: str | Path) -> int:
    return cli.status([str(argument) for argument in arguments])


def average(out: Path) -> float:
    with (out / "results.csv").open() as file:
        (row,) = [
            row
            for row in csv.DictReader(file)
            if row["quantity"] == "psnr_y" and not row["image"] and row["method"] == "mine"
        ]
    return float(row["value"])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(8):
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)
        picture.save(folder / f"{seed}.png")
    return folder


def test_a_module_may_keep_state_whatever_the_number_of_threads(
    photos: Path, tmp_path: Path
) -> None:
    body = "self.kept = x; y = [torch.sin(x) for _ in range(50)]; return self.kept"
    path, threads, found = plugin(tmp_path, body), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            out = tmp_path / f"out{count}"
            args = ("-d", photos, "-s", 2, "--repeat", 1, "--threads", count, "--out", out)
            assert run("run", "-m", path, *args) == 0
            found.append(average(out))
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body": "raise KeyError('x')"}, "mine: forward raised KeyError: 'x'"),
        ({"body": "raise SystemExit(0)"}, "mine: forward raised SystemExit: 0"),
        ({"body": "return (x * 255).to(torch.uint8)"}, "gave torch.uint8; expected floats"),
        ({"build": "lambda scale, settings: 1 / 0"}, "mine: build raised ZeroDivisionError"),
        ({"build": "lambda scale, settings: None"}, "build gave a NoneType; expected a torch.nn"),
        ({"takes": "interp"}, "the Method has 'interp'; expected one of"),
        ({"name": "a/b"}, "'a/b' is not a valid name"),
        ({"name": "bicubic"}, "calls itself 'bicubic', which is a method already"),
    ],
)
def test_a_broken_plugin_is_one_line_and_status_2(
    changes: dict[str, str],
    message: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = plugin(tmp_path, **changes)  # type: ignore[arg-type]
    assert run("run", "-m", path, "-d", photos, "-s", 2, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_two_methods_of_one_name_are_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = plugin(tmp_path / "a"), plugin(tmp_path / "b", "return x * 0.5")
    args = ("-d", photos, "-s", 2, "--out", tmp_path / "out")
    assert run("run", "-m", first, "-m", second, *args) == 2
    assert "folders are called mine x2 photos; rename one of them" in capsys.readouterr().err
    assert not (tmp_path / "out" / "index.html").exists()


def test_a_path_may_hold_an_at_and_a_colon(photos: Path, tmp_path: Path) -> None:
    path = plugin(tmp_path / "x@y:z")
    args = ("-d", photos, "-s", 2, "--repeat", 1, "--out", tmp_path / "out")
    assert run("run", "-m", path, *args) == 0


def test_new_built_in_weights_are_measured_anew(photos: Path, tmp_path: Path) -> None:
    build = f"lambda scale, settings: torch.load({str(tmp_path / 'net.pt')!r}, weights_only=False)"
    path = plugin(tmp_path, build=build)
    path.write_text(path.read_text().replace('"any"', '"luma", default_weights="built-in"'))
    args = ("-d", photos, "-s", 2, "--repeat", 1, "--out", tmp_path / "out")
    found = []
    for factor in (1.0, 0.5):
        net = torch.nn.Conv2d(1, 1, 1, bias=False)
        torch.nn.init.constant_(net.weight, factor)
        torch.save(net, tmp_path / "net.pt")
        assert run("run", "-m", path, *args) == 0
        found.append(average(tmp_path / "out"))
    assert found[0] > found[1] + 3


def test_report_shows_what_was_asked_for_last(photos: Path, tmp_path: Path) -> None:
    path, out = plugin(tmp_path), tmp_path / "out"
    command = ("run", "-m", path, "-d", photos, "-s", 2, "--repeat", 1, "--out", out)
    assert run(*command) == 0
    whole, data = average(out), (photos / "0.png").read_bytes()
    (photos / "0.png").unlink()
    assert run(*command) == 0
    assert run("report", "--out", out) == 0
    assert average(out) != whole
    assert ",0,srcnn2014," not in (out / "results.csv").read_text()
    (photos / "0.png").write_bytes(data)
    assert run(*command) == 0  # computes nothing
    assert run("report", "--out", out) == 0
    assert average(out) == whole
