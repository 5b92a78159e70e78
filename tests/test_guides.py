"""docs/models.md: every command and code block is run as it stands."""

from __future__ import annotations

import os
import re
import shlex
import sys
import warnings
from pathlib import Path

import cv2
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from skimage import data

import zoo
from bench.cli import main

GUIDE = Path(__file__).parents[1] / "docs/models.md"
TEXT = GUIDE.read_text(encoding="utf-8")
FILES = dict(
    re.findall(r"^`([\w/.]+)`:\n\n```(?:python|toml)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
)
COMMANDS = [
    line.removeprefix("sisrbench ")
    for block in re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("sisrbench ")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the guide says there is: the network in every format, and photographs."""
    folder = tmp_path_factory.mktemp("guide")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    names: dict[str, type[torch.nn.Module]] = {}
    exec(FILES["net.py"], names)  # the guide's own text
    (folder / "photos").mkdir()
    for name in ("coffee", "astronaut"):
        picture = getattr(data, name)()[100:196, 100:220]
        cv2.imwrite(str(folder / f"photos/{name}.png"), picture[..., ::-1])
    for scale in (2, 3):
        network = names["Net"](scale).eval()
        network.load_state_dict(
            load_file(Path(zoo.__file__).parent / f"weights/espcn-x{scale}.safetensors")
        )
        torch.save(network.state_dict(), folder / f"net_x{scale}.pth")
        x, sides = torch.rand(1, 1, 24, 32), {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
        with warnings.catch_warnings():  # the exporters warn of their own future
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network, (x,), folder / f"net_x{scale}.onnx", dynamo=False,
                input_names=["lr"], output_names=["sr"], dynamic_axes={"lr": {2: "h", 3: "w"}},
            )  # fmt: skip
            exported = torch.export.export(network, (x,), dynamic_shapes=(sides,))
            torch.export.save(exported, folder / f"net_x{scale}.pt2")
            torch.jit.trace(network, x).save(folder / f"net_x{scale}.ts")
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    # The guide's `python` is the one that runs the tests.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    return folder


def test_the_guide_has_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(command: str, here: Path) -> None:
    assert main.status(shlex.split(command)) == 0


def test_every_block_of_python_runs(here: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    for block in [block for block in blocks if block not in FILES.values()]:
        exec(block, names)  # the guide's own text
    table = names["table"]
    assert isinstance(table, pd.DataFrame)
    assert {"Ours", "bicubic"} == set(table["method"])


def test_every_format_gives_one_psnr(here: Path) -> None:
    """Runs after the commands, whose results are all in one folder."""
    assert main.status(["report"]) == 0
    results = pd.read_csv(here / "sisrbench-out/results.csv")
    psnr = results[(results["quantity"] == "psnr_y") & (results["scale"] == 2)]
    of_files = psnr[psnr["protocol"] == "rcan2018"]
    assert set(of_files["method"]) == {"Written", "enlarge.py"}
    psnr = psnr[psnr["protocol"] == "srcnn2014"]
    ours = psnr[~psnr["method"].isin(["bicubic", "espcn"])]
    spread = ours.groupby("image")["value"].agg(lambda values: values.max() - values.min())
    assert ours["method"].nunique() >= 6
    assert spread.max() <= 1e-4
