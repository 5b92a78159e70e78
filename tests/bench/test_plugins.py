"""Methods of one's own: what they may do, and what is said of what they do wrong."""

from __future__ import annotations

import csv
import time
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
    assert "folders are called mine x2 photos; give one another name" in capsys.readouterr().err
    assert not (tmp_path / "out" / "index.html").exists()


def test_two_paths_to_one_method_are_one_method(photos: Path, tmp_path: Path) -> None:
    path = plugin(tmp_path / "a")
    again = tmp_path / "a" / ".." / "a" / path.name
    args = ("-d", photos, "-s", 2, "--metric", "psnr", "--out", tmp_path / "o")
    assert run("run", "-m", path, "-m", again, *args) == 0
    assert average(tmp_path / "o") > 0  # takes the only row


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


# Methods of others in processes of their own


def measured(out: Path) -> dict[str, float]:
    """PSNR on average, by method."""
    with (out / "results.csv").open() as file:
        found = [row for row in csv.DictReader(file) if row["quantity"] == "psnr_y"]
    return {row["method"]: float(row["value"]) for row in found if not row["image"]}


FOREIGN = {
    "a default dtype on import": ("torch.set_default_dtype(torch.bfloat16)", ""),
    "a layer's method in forward": ("", "torch.nn.Conv2d.forward = lambda self, x: x"),
}


@pytest.mark.parametrize("change", FOREIGN)
def test_a_method_that_changes_its_process_moves_no_number_and_is_not_kept(
    change: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on_import, in_forward = FOREIGN[change]
    path = plugin(tmp_path, f"{in_forward or 'pass'}; return x")
    path.write_text(path.read_text().replace("import torch\n", f"import torch\n{on_import}\n", 1))
    args = ("-d", photos, "-s", 2, "--metric", "psnr", "--out")
    assert run("run", "-m", "espcn", *args, tmp_path / "alone") == 0
    assert run("run", "-m", path, "-m", "espcn", *args, tmp_path / "both") == 1
    assert measured(tmp_path / "both") == measured(tmp_path / "alone")
    error = capsys.readouterr().err
    assert f"{path}: changes " in error
    assert "for the whole process, so its numbers are not kept" in error
    assert "changes " in (tmp_path / "both" / "index.html").read_text()
    assert run("report", "--out", tmp_path / "both") == 0
    assert measured(tmp_path / "both").keys() == {"espcn"}


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("raise SystemExit(0)", "forward raised SystemExit: 0"),
        ("import os; os._exit(0)", "its process ended with status 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11 ended it"),
    ],
)
def test_a_method_cannot_end_the_command(
    ending: str, told: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin(tmp_path, f"{ending}; return x")
    args = ("-d", photos, "-s", 2, "--metric", "psnr", "--out", tmp_path / "o")
    assert run("run", "-m", path, "-m", "espcn", *args) == 1
    assert measured(tmp_path / "o").keys() == {"espcn"}
    assert told in capsys.readouterr().err


def test_a_thread_that_a_method_leaves_behind_holds_nothing_up(
    photos: Path, tmp_path: Path
) -> None:
    left = "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()"
    path = plugin(tmp_path, f"{left}; return x")
    began = time.monotonic()
    args = ("-d", photos, "-s", 2, "--metric", "psnr", "--out", tmp_path / "o")
    assert run("run", "-m", path, *args) == 0
    assert time.monotonic() - began < 300
    assert measured(tmp_path / "o").keys() == {"mine"}


def test_a_method_that_ends_python_on_import_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin(tmp_path)
    path.write_text(path.read_text().replace("import torch\n", "import sys; sys.exit(0)\n", 1))
    for command in (("cost", path, "-s", 2, "--no-time", "--out", tmp_path / "o"), ("show", path)):
        assert run(*command) == 2
        assert "does not import: SystemExit: 0" in capsys.readouterr().err


LOCK = """
import threading
from torch import nn
from zoo.method import Method

NAMES = ("lock",)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, x):
        with self.lock:
            return x


def method(name):
    return Method(name=name, citation="", takes="interpolated", channels="any",
                  build=lambda scale, settings: Net())
"""


def test_a_method_that_cannot_be_copied_is_measured(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "lock.py").write_text(LOCK)
    args = ("-d", photos, "-s", 2, "--metric", "psnr", "--threads", 2, "--out", tmp_path / "o")
    assert run("run", "-m", tmp_path / "lock.py", "-m", "bicubic", *args) == 0
    found = measured(tmp_path / "o")
    assert found["lock"] == found["bicubic"]


TABLE = """
from pathlib import Path
import numpy as np
import torch
from torch import nn
from zoo.method import Method

NAMES = ("lut",)
PLACE = Path(__file__).with_name("table.npy")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        IN_BUILD

    def forward(self, x):
        IN_FORWARD
        return self.table[(x * 255).round().long().clamp(0, 255)]


def method(name):
    return Method(name=name, citation="", takes="interpolated", channels="any", FILES
                  build=lambda scale, settings: Net())
"""
LOAD = "self.table = torch.from_numpy(np.load(PLACE))"


@pytest.mark.parametrize("when", ["build", "forward"])
def test_a_table_beside_a_method_is_part_of_what_a_number_is_known_by(
    when: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, table = tmp_path / "lut.py", tmp_path / "table.npy"

    def write(files: str) -> None:
        text = TABLE.replace("FILES", files)
        in_build, in_forward = (LOAD, "pass") if when == "build" else ("pass", LOAD)
        path.write_text(text.replace("IN_BUILD", in_build).replace("IN_FORWARD", in_forward))

    write("")
    np.save(table, (np.arange(256) / 255).astype("float32"))
    command = (
        "run",
        "-m",
        path,
        "-d",
        photos,
        "-s",
        2,
        "--metric",
        "psnr",
        "--out",
        tmp_path / "o",
    )
    if when == "forward":
        assert run(*command) == 2
        assert f"reads {table} only when it computes" in capsys.readouterr().err
        write('files=("table.npy",),')
    assert run(*command) == 0
    first = measured(tmp_path / "o")
    assert run(*command) == 0
    assert "Nothing to compute" in capsys.readouterr().err
    np.save(table, (np.arange(256) / 510).astype("float32"))
    assert run(*command) == 0
    assert f"since this changed: {table}" in capsys.readouterr().err.replace("module, ", "")
    assert measured(tmp_path / "o")["lut"] < first["lut"] - 5
