"""What a user in a hurry gives for a method: each mistake is a line that says what to give."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli import main as cli

NET = """from torch import nn
class Net(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.conv = nn.Conv2d(3, 3 * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
    def forward(self, x):
        assert x.shape[-1] % MULTIPLE == 0, "odd width"
        return self.shuffle(self.conv(x))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `net.py`, weights for x2 and x4, a card and photographs."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET.replace("MULTIPLE", "1"))
    for scale in (2, 4):
        shape = (3 * scale**2, 3, 3, 3)
        torch.save(
            {"params": {"conv.weight": torch.zeros(shape), "conv.bias": torch.zeros(shape[0])}},
            f"net_x{scale}.pth",
        )
    Path("net.toml").write_text(
        'name = "Net"\nclass = "net.py:Net"\narguments = { scale = "{scale}" }\n'
        'weights = "net_x{scale}.pth"\n'
    )
    Path("photos").mkdir()
    for seed, name in enumerate("abc"):
        small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((48, 36), Image.Resampling.BICUBIC)
        picture.save(f"photos/{name}.png")
    return tmp_path


def run(*arguments: str) -> int:
    return cli.status(list(arguments))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error line of a command that has to end with status 2."""
    assert run(*arguments) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def measured(*arguments: str | int) -> int:
    return run("run", *map(str, arguments), "-d", "photos", "--metric", "psnr", "--out", "out")


def test_a_scale_that_one_method_lacks_leaves_a_hollow_cell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scales = ("-s", 2, "-s", 3, "-s", 4)
    assert measured("-m", "net.toml", "-m", "bicubic", *scales) == 1
    shown = capsys.readouterr()
    line = "not measured: Net x3: it has x2, x4 only; without -s, a method is measured at"
    assert line in shown.err
    with Path("out", "results.csv").open() as file:
        found = {
            (row["method"], row["scale"])
            for row in csv.DictReader(file)
            if row["dataset"] and not row["image"]
        }
    assert found == {("Net", "2"), ("Net", "4"), *(("bicubic", scale) for scale in "234")}


def test_scales_stand_in_order_where_the_first_method_lacks_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert measured("-m", "net.toml", "-s", 4, "-s", 2) == 0
    heads = next(line for line in capsys.readouterr().out.splitlines() if "photos x" in line)
    assert heads.index("photos x2") < heads.index("photos x4")


def test_a_scale_that_no_file_has_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "run", "-m", "net.toml", "-d", "photos", "-s", "3", "--out", "out")
    assert "Net has no x3; choose from: x2, x4" in line


def test_the_table_names_the_protocol_and_the_default_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert measured("-m", "net.toml", "-s", 2) == 0
    shown = capsys.readouterr()
    assert "psnr_y, protocol srcnn2014\n" in shown.out
    assert "since 2018 follow --protocol rcan2018" in shown.err
    assert measured("-m", "net.toml", "-s", 2, "--protocol", "srcnn2014") == 0
    assert "rcan2018" not in capsys.readouterr().err
    assert measured("-m", "bicubic", "-s", 2) == 0
    assert "rcan2018" not in capsys.readouterr().err


def test_a_remark_is_told_once_with_all_places(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("photos", "more")
    assert measured("-m", "net.toml", "-d", "more") == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "`params` taken" in line]
    assert told == ["  Net, more x2 x4, photos x2 x4: `params` taken"]
    page = Path("out", "index.html").read_text()
    assert page.count("Net, more \N{MULTIPLICATION SIGN}2 \N{MULTIPLICATION SIGN}4, photos") == 1


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("net.py:Net:scale=2@net_x2.pt", "did you mean 'net_x2.pth'? give a path that exists"),
        ("net.py:Net:scale=2@w/net_x2.pth", "there is no folder 'w' either"),
        ("net.py:Net:scale=2@net_x2.pth,name=Ours", "settings stand before the @"),
        ("./net.tml", "did you mean 'net.toml'?"),
        ("./tool.sh", 'a program is given as "cmd:./tool.sh ..."'),
        ("./tool {lr_dir} {sr_dir}", 'a program is given as "cmd:./tool ..."'),
    ],
)
def test_what_was_meant_is_named(spec: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("tool.sh").write_text("#!/bin/sh\n")
    Path("tool.sh").chmod(0o755)
    line = refused(capsys, "run", "-m", spec, "-d", "photos", "-s", "2", "--out", "out")
    assert hint in line
    assert "give another scale" not in line


def test_two_checkpoints_of_a_class_need_names(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("net_x2.pth", "best.pth")
    torch.save({"conv.weight": torch.ones(12, 3, 3, 3), "conv.bias": torch.ones(12)}, "last.pth")
    first, second = "net.py:Net:scale=2@best.pth", "net.py:Net:scale=2@last.pth"
    args = ("-d", "photos", "-s", "2", "--out", "out")
    line = refused(capsys, "run", "-m", first, "-m", second, *args)
    assert "give one another name" in line
    assert ":name=Ours" in line
    assert measured("-m", first, "-m", "net.py:Net:scale=2,name=last@last.pth", "-s", 2) == 0


def test_a_network_for_multiples_is_told_of_multiple(capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.py").write_text(NET.replace("MULTIPLE", "16"))
    spec = "net.py:Net:scale=2@net_x2.pth"
    line = refused(capsys, "run", "-m", spec, "-d", "photos", "-s", "2", "--out", "out")
    assert "if it takes multiples of a number only, give multiple = NUMBER" in line
    assert measured("-m", "net.py:Net:scale=2,multiple=16@net_x2.pth", "-s", 2) == 0


def test_hr_images_given_as_sr_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("photos", "run2")
    assert run("score", "run2", "-d", "photos", "-s", "2", "--out", "out") == 0
    shown = capsys.readouterr().out
    said = "SR equals HR in every pixel of all images: are these SR files the HR images?"
    assert f"  run2, photos x2: {said}" in shown


def test_help_names_own_methods(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.status(["run", "--help"]) == 0
    assert "mine.toml" in capsys.readouterr().out
