"""Networks trained by gradient descent: what stops, splits or spoils a training is told or undone.

Every child is forked off a server that has imported torch once, and set up as a shell or `torchrun`
would set it up; one test goes through `--processes`, another through `torchrun` itself.
"""

from __future__ import annotations

import csv
import errno
import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image

from bench.cli import main as cli
from bench.progress import TrainingProgress
from bench.training import session

NETS = '''
"""Slim networks, and what disturbs them: `control.json` beside this file says what and when."""

import json
import os
import signal
import time
from pathlib import Path

from torch import nn

from zoo.edsr import MDSR
from zoo.method import Method, Recipe
from zoo.recipe import Descent
from zoo.srresnet import SRResNet

NAMES = ("nets",)
CONTROL = Path(__file__).with_name("control.json")


def build(scale, settings):
    if settings["net"] == "normed":
        module = SRResNet(scale, blocks=1, features=4, kernel=3, batch_norm=True)
    elif settings["net"] == "multi":
        module = MDSR(scale, blocks=1, features=4)
    else:
        module = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),
            nn.Conv2d(8, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale),
        )
    seen = 0

    def disturb(module, given, sr):
        nonlocal seen
        if not module.training or not CONTROL.is_file():
            return sr
        seen += 1
        control = json.loads(CONTROL.read_text())
        if control.get("sleep") == seen and os.environ.get("RANK", "") == control["rank"]:
            CONTROL.with_name("asleep").touch()
            time.sleep(600)
        if control.get("interrupt") == seen:
            signal.raise_signal(signal.SIGINT)
        return sr * 1000 if control.get("leap") == seen else sr

    module.register_forward_hook(disturb)
    return module


PLAIN = dict(patch=8, rate=1e-3, batch=4, updates=24, augment="flips and turns")
LEARN = {
    "adam": Descent(**PLAIN, loss="l1", schedule="cosine", warmup=3),
    "sgd": Descent(
        **PLAIN | {"rate": 0.05}, optimizer="sgd", clip="norm 0.4", stride=5, weight_decay=1e-4,
        rates={"*.bias": 0.1},
    ),
    "mixed": Descent(**PLAIN, loss="l1", scales=(2, 3, 4), mixing="updates", clip="norm 1/rate"),
    "judged": Descent(
        **PLAIN | {"updates": 4}, loss="l2 + 0.001 adversarial",
        adversary={"loss": "linear", "dropout": 0.5, "place": "dense"},
    ),
}


def method(name):
    recipes = [
        Recipe(name=key, citation="me", data=(), learn=learn) for key, learn in LEARN.items()
    ]
    warm = Recipe(
        name="warm", citation="me", data=(), learn=LEARN["adam"], starts_from="srresnet",
        needs_start=True,
    )
    return Method(
        name=name, citation="me", takes="LR", channels="RGB", scales=(2, 3, 4),
        settings={"net": "chain"}, choices={"net": ("chain", "normed", "multi")}, build=build,
        recipes=(*recipes, warm),
    )
'''
SISRBENCH = str(Path(sys.executable).with_name("sisrbench"))
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["bench.session", "bench.training.session"])


def picture(seed: int, height: int, width: int, channels: int = 3) -> Image.Image:
    """Smooth noise, so that there is something to learn."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, channels), dtype=np.uint8)
    planes = [Image.fromarray(coarse[..., c]) for c in range(channels)]
    large = [
        np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC)) for plane in planes
    ]
    return Image.fromarray(np.stack(large, -1).squeeze())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colour images, each of which holds a patch of 8 pixels at x4."""
    folder = tmp_path_factory.mktemp("data")
    for seed, (height, width) in enumerate([(40, 44), (36, 50), (41, 33)]):
        picture(seed, height, width).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def judged_on(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two other images."""
    folder = tmp_path_factory.mktemp("judged-on")
    for seed in (7, 8):
        picture(seed, 26, 31).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path / "nets.py"


@pytest.fixture
def control(nets: Path) -> Path:
    return nets.with_name("control.json")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def base(nets: Path, data: Path, judged_on: Path, out: Path) -> list[str]:
    """The command that most tests vary: validated at updates 5, 10, 15, 20 and 24."""
    given = {"--data": data, "--validate": judged_on, "--every": 5, "--out": out}
    options = [str(part) for pair in given.items() for part in pair]
    return ["train", str(nets), "-s", "2", "--threads", "1", *options]


def run(*arguments: object) -> int:
    return cli.status([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The error line of a command that has to end with status 2."""
    capsys.readouterr()
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    assert not any(line.startswith("Traceback") for line in lines)
    return lines[-1]


def read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    with safetensors.safe_open(path, "pt") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def same_bits(one: Path, other: Path) -> bool:
    a, b = read(one)[1], read(other)[1]
    return a.keys() == b.keys() and all(
        value.numpy().tobytes() == b[key].numpy().tobytes() for key, value in a.items()
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def log_of(path: Path) -> list[dict[str, float]]:
    """Rows of a log, without what a clock says."""
    timed = ("seconds", "updates_per_second", "feeding")
    with path.open(encoding="utf-8") as file:
        return [
            {key: float(text) for key, text in row.items() if key not in timed and text}
            for row in csv.DictReader(file)
        ]


# Stopped and continued


def said_by(command: list[str], rank: str = "") -> Path:
    """Where the standard error of a child goes: beside the plug-in."""
    return Path(command[1].partition(":")[0]).with_name("said" + rank)


def start(command: list[str], **environment: str) -> BaseProcess:
    """The command in a process of its own."""
    said = said_by(command, environment.get("RANK", ""))
    code = (
        "import os, sys\n"
        f"os.environ.update({environment!r})\n"
        f"os.dup2(os.open({str(said)!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)\n"
        "from bench.cli import main\n"
        f"sys.exit(main.status({command!r}))\n"
    )
    process = CHILDREN.Process(target=exec, args=(code,))
    process.start()
    return process


def wait(process: BaseProcess) -> int | None:
    """Its exit status; it must not hang."""
    process.join(60)
    hangs = process.is_alive()
    process.kill()
    process.join()
    found = process.exitcode
    process.close()
    assert not hangs
    return found


def kill_in_update(command: list[str], control: Path, update: int) -> None:
    """Start the command, and kill -9 it in the middle of its first, second, ... update."""
    control.write_text(json.dumps({"sleep": update, "rank": ""}))
    process = start(command)
    kill_asleep(process, control)


def kill_asleep(process: BaseProcess, control: Path) -> None:
    """Kill -9 a process once it sleeps in the middle of an update."""
    asleep = control.with_name("asleep")
    until = time.monotonic() + 60
    while not asleep.exists():
        assert process.is_alive()
        assert time.monotonic() < until
        time.sleep(0.005)
    process.kill()
    assert wait(process) == -signal.SIGKILL
    asleep.unlink()
    control.unlink()


def of_net(net: str, command: list[str]) -> list[str]:
    return [command[0], f"{command[1]}:net={net}", *command[2:]]


@pytest.mark.parametrize(
    ("net", "recipe", "kills"),
    [
        ("chain", "adam", (6, 2, 9)),
        ("chain", "sgd", (2, 12)),
        ("normed", "adam", (13,)),
        ("multi", "mixed", (9, 5)),
        ("normed", "judged", (3,)),
    ],
)
def test_after_kill_9_the_same_bits_come_out(
    base: list[str],
    control: Path,
    out: Path,
    tmp_path: Path,
    net: str,
    recipe: str,
    kills: tuple[int, ...],
) -> None:
    command = of_net(net, [*base, "--recipe", recipe])
    name = f"nets-net={net}-x2-{recipe}" if net != "chain" else f"nets-x2-{recipe}"
    assert run(*command, "--out", tmp_path / "whole") == 0
    for update in kills:
        kill_in_update([*command, "--checkpoint", "0"], control, update)
    assert run(*command) == 0
    for file in (f"{name}.safetensors", f"{name}.best.safetensors"):
        assert same_bits(out / file, tmp_path / "whole" / file)
    facts, _ = read(out / f"{name}.safetensors")
    assert facts["resumed"] == str(len(kills))
    assert not list(out.glob("*.checkpoint.*"))

    rows = log_of(out / f"{name}.log.csv")
    assert rows == log_of(tmp_path / "whole" / f"{name}.log.csv")
    updates = int(facts["updates"])
    assert [row["update"] for row in rows] == list(range(1, updates + 1))
    judged = [update for update in range(1, updates + 1) if update % 5 == 0 or update == updates]
    assert [row["update"] for row in rows if "psnr" in row] == judged


def test_killed_at_any_moment_it_goes_on_to_the_same_bits(
    base: list[str], out: Path, tmp_path: Path
) -> None:
    command = [*base, "--recipe", "adam", "--set", "updates=200", "--every", "50"]
    file = "nets-x2-adam,updates=200.safetensors"
    checkpoint = out / file.replace(".safetensors", ".checkpoint.safetensors")
    rng = np.random.default_rng()
    killed = 0
    for _ in range(4):
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = start([*command, "--checkpoint", "0.03"])
        while process.is_alive():
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != seen:
                time.sleep(rng.uniform(0, 0.2))
                process.kill()
                break
            time.sleep(0.001)
        killed += wait(process) == -signal.SIGKILL
    assert killed
    assert run(*command) == 0
    assert run(*command, "--out", tmp_path / "whole") == 0
    assert same_bits(out / file, tmp_path / "whole" / file)
    log = file.replace(".safetensors", ".log.csv")
    assert log_of(out / log) == log_of(tmp_path / "whole" / log)


def test_ctrl_c_keeps_the_update_at_work(
    base: list[str],
    control: Path,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(session, "_ROWS", 4)
    control.write_text(json.dumps({"interrupt": 8}))
    assert run(*base) == 130
    said = capfd.readouterr().err.splitlines()
    assert "Stopping when this step is done; Ctrl-C again stops at once." in said
    assert said[-1] == "Interrupted; finished work is stored, the same command continues."
    control.unlink()
    assert run(*base) == 0
    assert "nets-x2-adam continues at: training, 8 of 24\n" in capfd.readouterr().err
    assert run(*base, "--out", tmp_path / "whole") == 0
    for file in ("nets-x2-adam.safetensors", "nets-x2-adam.best.safetensors"):
        assert same_bits(out / file, tmp_path / "whole" / file)
    rows = log_of(out / "nets-x2-adam.log.csv")
    assert [row["update"] for row in rows] == [5, 6, 10, 12, 15, 18, 20, 24]
    assert rows == log_of(tmp_path / "whole" / "nets-x2-adam.log.csv")  # means go on, too


# Several processes


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def start_two(command: list[str]) -> list[BaseProcess]:
    """Two processes that train together, given what `torchrun` would give them."""
    port = free_port()
    return [
        start(
            command,
            RANK=rank,
            LOCAL_RANK=rank,
            WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
        )
        for rank in ("0", "1")
    ]


def run_two(command: list[str]) -> list[int | None]:
    """Exit statuses of both; neither may hang."""
    return [wait(process) for process in start_two(command)]


def farthest(one: Path, other: Path) -> float:
    """The largest difference of two files' weights, as a share of the tensor's largest weight."""
    a, b = read(one)[1], read(other)[1]
    assert a.keys() == b.keys()
    return max(float((a[key] - b[key]).abs().max() / b[key].abs().max()) for key in a)


def folder_with_a_package_called_reports(folder: Path) -> Path:
    """A folder of somebody's own, whose package must not be taken for ours."""
    (folder / "own" / "reports").mkdir(parents=True)
    (folder / "own" / "reports" / "__init__.py").write_text("raise SystemExit('not ours')")
    return folder / "own"


def test_torchrun_starts_the_same(base: list[str], out: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "torch.distributed.run", "--nproc-per-node", "2",
         "--master-port", free_port(), "--no-python", SISRBENCH, *base, "--updates", "2"],
        capture_output=True,
        cwd=folder_with_a_package_called_reports(tmp_path),
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (weights,) = out.glob("*,updates=2.safetensors")
    assert read(weights)[0]["processes"] == "2"


def test_two_processes_learn_what_one_does(base: list[str], out: Path, tmp_path: Path) -> None:
    command = [*base, "--recipe", "sgd", "--updates", "50"]
    name = "nets-x2-sgd,updates=50"
    assert run(*command, "--out", tmp_path / "one") == 0
    done = subprocess.run(
        [SISRBENCH, *command, "--processes", "2"],
        capture_output=True,
        cwd=folder_with_a_package_called_reports(tmp_path),
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(out / f"{name}.safetensors")
    assert len(done.stdout.splitlines()) == 2  # the first process speaks, and it alone
    assert done.stderr.count("training: 50 of 50") == 1
    assert names(out) == names(tmp_path / "one")
    assert read(out / f"{name}.safetensors")[0]["processes"] == "2"

    # an update rounds each weight by 2^-24 of it at most; what is summed in another order, less
    learned, alone = (place / f"{name}.safetensors" for place in (out, tmp_path / "one"))
    assert farthest(learned, alone) < 50 * 2**-24
    rows, others = (log_of(place / f"{name}.log.csv") for place in (out, tmp_path / "one"))
    assert [row["update"] for row in rows] == list(range(1, 51))
    for row, other in zip(rows, others, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_two_processes_go_on_to_the_same_bits_after_one_was_killed(
    base: list[str], control: Path, out: Path, tmp_path: Path
) -> None:
    command = of_net("multi", [*base, "--recipe", "mixed"])  # of whose paths some get no gradient
    assert run_two([*command, "--out", str(tmp_path / "whole")]) == [0, 0]
    control.write_text(json.dumps({"sleep": 9, "rank": "1"}))
    first, second = start_two([*command, "--checkpoint", "0"])
    kill_asleep(second, control)
    assert wait(first) == 2  # it neither waits for the other for ever nor goes on alone
    assert said_by(command, "0").read_text().splitlines()[-1].startswith("Error: ")
    assert run_two(command) == [0, 0]
    assert "continues at: training, 8 of 24" in said_by(command, "0").read_text()
    assert said_by(command, "1").read_text() == ""
    file = "nets-net=multi-x2-mixed.safetensors"
    assert same_bits(out / file, tmp_path / "whole" / file)

    # Adam steps by about the rate, 1e-3, however small a gradient is; where its terms cancel to a
    # thousandth, what they are rounded by, 1e-6, moves a step by a thousandth
    assert run(*command, "--out", tmp_path / "one") == 0
    both, alone = read(out / file)[1], read(tmp_path / "one" / file)[1]
    for key, value in both.items():
        assert float((value - alone[key]).abs().max()) < 24 * 1e-3 * 1e-3


def test_what_two_processes_cannot_do_ends_both_with_a_line(base: list[str], out: Path) -> None:
    assert run_two([*base, "--set", "batch=5"]) == [2, 2]
    expected = "Error: a batch of 5 cannot be shared by 2 processes; give --set batch=N, a multiple"
    for rank in ("0", "1"):
        [line] = said_by(base, rank).read_text().splitlines()
        assert line.startswith(expected)
    assert not out.exists()

    assert run(*base) == 0
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert run_two([*base, "--seed", "1"]) == [2, 2]  # what only the first has looked at
    for rank in ("0", "1"):
        [line] = said_by(base, rank).read_text().splitlines()
        assert "made with seed 0, not 1" in line
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


# What is kept and told


def test_the_weights_say_what_they_reached_and_the_harness_measures_the_same(
    base: list[str], judged_on: Path, out: Path, tmp_path: Path
) -> None:
    assert run(*base, "--protocol", "rcan2018", "--updates", "12", "--every", "5") == 0
    name = "nets-x2-adam,updates=12"
    for kind in ("", ".best"):
        path = out / f"{name}{kind}.safetensors"
        facts, _ = read(path)
        curve = json.loads(facts["curve"])
        judged = [row for row in curve if "psnr" in row]
        best = max(judged, key=lambda row: row["psnr"])["update"]
        assert judged[-1]["update"] == (best if kind else 12)
        measured = ["run", "-m", f"{base[1]}@{path}", "-d", judged_on, "-s", 2, "--repeat", 1]
        place = tmp_path / "measured"
        options = ["--protocol", "rcan2018", "--metric", "psnr", "--threads", 1, "--out", place]
        assert run(*measured, *options) == 0
        with (place / "results.csv").open(encoding="utf-8") as file:
            [value] = [
                float(row["value"])
                for row in csv.DictReader(file)
                if row["quantity"].startswith("psnr") and not row["image"]
            ]
        assert judged[-1]["psnr"] == pytest.approx(value, abs=1e-9)
    facts, _ = read(out / f"{name}.safetensors")
    expected = {
        "updates": "12",
        "updates of the source": "24",
        "validated on": judged_on.name,
        "validated by": "rcan2018",
        "processes": "1",
        "resumed": "0",
    }
    assert {key: facts[key] for key in expected} == expected
    assert {"device", "machine", "torch", "threads", "command", "citation"} <= facts.keys()
    settings = json.loads(facts["recipe settings"])
    assert (settings["updates"], settings["precision"], settings["optimizer"]) == (
        12,
        "fp32",
        "adam",
    )
    assert [row["update"] for row in json.loads(facts["curve"])] == list(range(1, 13))


def test_the_best_is_kept_where_the_last_is_worse(
    base: list[str], control: Path, out: Path
) -> None:
    command = [*base, "--recipe", "sgd", "--set", "clip="]
    assert run(*command, "--updates", "10") == 0
    control.write_text(json.dumps({"leap": 12}))
    assert run(*command, "--updates", "12") == 0
    name = "nets-x2-sgd,updates={},clip="
    rows = log_of(out / f"{name.format(12)}.log.csv")
    psnr = {row["update"]: row["psnr"] for row in rows if "psnr" in row}
    assert psnr[10] > psnr[5] > psnr[12]
    last, best = (f"{name.format(12)}{kind}.safetensors" for kind in ("", ".best"))
    assert same_bits(out / best, out / f"{name.format(10)}.safetensors")
    assert not same_bits(out / best, out / last)


def test_a_training_need_not_be_validated(base: list[str], out: Path) -> None:
    assert run(*base, "--validate", "none", "--updates", "5") == 0
    name = "nets-x2-adam,updates=5"
    assert names(out) == [f"{name}.log.csv", f"{name}.safetensors", f"{name}.tensorboard"]
    assert "validated on" not in read(out / f"{name}.safetensors")[0]
    assert not any("psnr" in row for row in log_of(out / f"{name}.log.csv"))


def test_choices_that_differ_lie_beside_each_other(base: list[str], out: Path) -> None:
    quick = [*base, "--validate", "none", "--updates", "2"]
    assert run(*quick) == 0
    assert run(*quick, "--set", "batch=2", "--set", "rates.*.bias=0.5") == 0
    found = [name for name in names(out) if name.endswith(".safetensors")]
    assert found == [
        "nets-x2-adam,updates=2,batch=2,rates.-.bias=0.5.safetensors",
        "nets-x2-adam,updates=2.safetensors",
    ]
    settings = json.loads(read(out / found[0])[0]["recipe settings"])
    assert (settings["batch"], settings["rates"]) == (2, {"*.bias": 0.5})


# What spoils a training


def test_a_loss_that_is_no_number_ends_it_and_leaves_the_checkpoint(
    base: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = [*base, "--set", "rate=1e30", "--set", "warmup=0", "--checkpoint", "0"]
    message = refused(capsys, *wild)
    assert re.search(r"the loss is (nan|inf) at update 2; the last checkpoint and the", message)
    assert "give --set rate=, less than 1e+30" in message
    name = "nets-x2-adam,rate=1e30,warmup=0"
    assert f"{name}.safetensors" not in names(out)
    facts, kept = read(out / f"{name}.checkpoint.safetensors")
    assert facts["at"] == "training, 1 of 24"
    assert int(kept["done"]) == 1


def test_a_leap_of_the_loss_is_said(
    base: list[str], control: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    control.write_text(json.dumps({"leap": 9}))
    assert run(*base, "--validate", "none", "--set", "rate=1e-6") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "usually" in line]
    [line] = said
    assert re.fullmatch(r"update 9: loss \d\S*, usually 0\.\d+", line)


def test_an_update_whose_loss_leaps_can_be_left_out(
    base: list[str],
    nets: Path,
    control: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    control.write_text(json.dumps({"leap": 6}))
    still = [*base, "--validate", "none", "--set", "schedule=constant", "--set", "skip=5"]
    assert run(*still, "--updates", "6") == 0
    assert "update 6 left out: loss " in capsys.readouterr().err
    assert run(*still, "--updates", "5") == 0
    name = "nets-x2-adam,updates={},schedule=constant,skip=5.safetensors"
    assert same_bits(out / name.format(6), out / name.format(5))


def test_a_full_disk_leaves_the_checkpoint_before(
    base: list[str],
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = 0
    real = os.fsync

    def filling(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    quick = [*base, "--validate", "none", "--checkpoint", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", filling)
        assert "No space left on device" in refused(capsys, *quick)
    checkpoint = "nets-x2-adam.checkpoint.safetensors"
    assert names(out) == [checkpoint, "nets-x2-adam.log.csv", "nets-x2-adam.tensorboard"]
    assert read(out / checkpoint)[0]["at"] == "training, 5 of 24"
    assert run(*quick) == 0
    assert run(*quick, "--out", tmp_path / "whole") == 0
    file = "nets-x2-adam.safetensors"
    assert same_bits(out / file, tmp_path / "whole" / file)


@pytest.fixture
def begun(base: list[str], control: Path, out: Path) -> Path:
    """A checkpoint that Ctrl-C left behind."""
    control.write_text(json.dumps({"interrupt": 2}))
    assert run(*base) == 130
    control.unlink()
    return out / "nets-x2-adam.checkpoint.safetensors"


def test_a_checkpoint_of_something_else_is_refused(
    base: list[str],
    begun: Path,
    judged_on: Path,
    nets: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = begun.read_bytes()

    def differs(said: str, *more: object) -> None:
        message = refused(capsys, *base, *more)
        assert re.search(said, message), message
        assert "--anew" in message
        assert begun.read_bytes() == before

    differs("made with seed 0, not 1;", "--seed", 1)
    differs("made with recipe settings precision fp32, not bf16;", "--precision", "bf16")
    differs(
        rf"with data (data\d* \w{{12}}), not \1 {judged_on.name} \w{{12}};", "--data", judged_on
    )
    differs(
        rf"degradation matlab:bicubic, not pairs; .* lr none, not {judged_on.name} \w{{12}};",
        "--lr",
        judged_on,
    )
    begun.rename(out / "nets-x2-adam,batch=2.checkpoint.safetensors")
    assert "recipe settings batch 4, not 2;" in refused(capsys, *base, "--set", "batch=2")
    (out / "nets-x2-adam,batch=2.checkpoint.safetensors").rename(begun)
    nets.write_text(NETS.replace('loss="l1", schedule="cosine"', 'loss="l2", schedule="cosine"'))
    differs(r"recipe settings loss l1, not l2; code nets\.py \w{12}, not \w{12};")


# Images that cannot be used


def test_an_image_smaller_than_a_patch_is_named_and_left_out_only_if_asked(
    base: list[str], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    picture(1, 40, 40).save(folder / "a.png")
    picture(2, 15, 40).save(folder / "small.png")
    command = [*base, "--data", folder, "--validate", "none", "--updates", 2]
    command = ["train", *base[1:4], "--data", folder, "--validate", "none", "--updates", 2]
    command += ["--out", out]
    fault = (
        f"{folder / 'small.png'}: 40x15 px are too small for a patch, which needs 16x16 px at x2"
    )
    message = refused(capsys, *command)
    assert fault in message
    assert "--skip-bad" in message
    assert not out.exists()
    assert run(*command, "--skip-bad") == 0
    said = capsys.readouterr().err
    assert f"left out: {fault}" in said
    assert "1 of 2 images are left out" in said
    assert run(*command, "--set", "patch=7") == 0  # 14 pixels at x2


def test_a_corrupt_file_among_many_is_named_and_left_out_only_if_asked(
    base: list[str], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    picture(1, 30, 30).save(folder / "000.png")
    for number in range(1, 250):
        (folder / f"{number:03}.png").hardlink_to(folder / "000.png")
    (folder / "117.png").unlink()
    (folder / "117.png").write_bytes((folder / "000.png").read_bytes()[:200])
    command = ["train", *base[1:4], "--data", folder, "--validate", "none", "--updates", 2]
    command += ["--out", out]
    message = refused(capsys, *command)
    assert f"{folder / '117.png'} cannot be read" in message
    assert not out.exists()
    assert run(*command, "--skip-bad") == 0
    said = capsys.readouterr().err
    assert f"left out: {folder / '117.png'} cannot be read" in said
    assert "1 of 250 images are left out" in said


def test_where_no_image_can_be_used_nothing_is_learned(
    base: list[str], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    picture(2, 15, 40).save(folder / "small.png")
    command = ["train", *base[1:4], "--data", folder, "--validate", "none", "--out", out]
    message = refused(capsys, *command, "--skip-bad")
    assert message == "Error: photos: no image is left to learn from; give --data other images"
    assert not out.exists()


@pytest.mark.parametrize("spec", ["{nets}", "espcn:n1=4,n2=4"])
def test_gray_and_colour_together_are_said_and_learned(
    spec: str,
    nets: Path,
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    picture(1, 40, 40).save(folder / "colour.png")
    picture(2, 40, 40, 1).save(folder / "gray.png")
    command = ["train", spec.replace("{nets}", str(nets)), "-s", 2, "--data", folder, "--out", out]
    command += ["--set", "patch=8", "--set", "batch=4", "--updates", 3, "--validate", "none"]
    assert run(*command) == 0
    said = capsys.readouterr().err
    assert "1 of 2 images are grayscale, the others are in colour" in said


@pytest.fixture
def shrunk(data: Path, tmp_path: Path) -> Path:
    """LR images of the data at x2, each by a box of four pixels."""
    folder = tmp_path / "lr"
    folder.mkdir()
    for path in data.iterdir():
        with Image.open(path) as image:
            size = (image.width // 2, image.height // 2)
            cropped = image.crop((0, 0, size[0] * 2, size[1] * 2))
            cropped.resize(size, Image.Resampling.BOX).save(folder / path.name)
    return folder


def test_lr_images_can_be_given(
    base: list[str], shrunk: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paired = [*base, "--lr", shrunk, "--updates", 2, "--validate", "none"]
    assert run(*paired) == 0
    settings = json.loads(read(out / "nets-x2-adam,updates=2.safetensors")[0]["recipe settings"])
    assert settings["degradation"] == "pairs"
    [[name, digest]] = settings["lr"]
    assert (name, len(digest)) == ("lr", 64)
    assert "recipe settings degradation pairs, not matlab:bicubic" in refused(
        capsys, *base, "--updates", 2, "--validate", "none"
    )


def test_lr_images_that_do_not_fit_are_named(
    base: list[str],
    data: Path,
    shrunk: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paired = [*base, "--lr", shrunk, "--updates", 2, "--validate", "none"]
    picture(3, 19, 22).save(shrunk / "0.png")
    message = refused(capsys, *paired)
    assert f"{data / '0.png'}: its LR is 22x19 px; expected 22x20 px at x2" in message
    (shrunk / "0.png").unlink()
    message = refused(capsys, *paired)
    assert f"{data / '0.png'} has no LR image in --lr, 0.png or 0x2.png" in message
    assert not out.exists()
    assert run(*paired, "--skip-bad") == 0
    assert "1 of 3 images are left out" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["x2", "x2m", "_LR", "_LRBI_x2"])
def test_lr_images_are_paired_by_the_names_of_published_sets(
    base: list[str], shrunk: Path, out: Path, ending: str
) -> None:
    paired = [*base, "--lr", shrunk, "--updates", 2, "--validate", "none"]
    assert run(*paired) == 0
    file = out / "nets-x2-adam,updates=2.safetensors"
    kept = shutil.copy(file, out / "kept.safetensors")
    for path in list(shrunk.iterdir()):
        path.rename(shrunk / f"{path.stem}{ending}.png")
    assert run(*paired, "--anew") == 0
    assert same_bits(file, kept)


def test_lr_images_of_another_scale_or_several_for_one_are_named(
    base: list[str], data: Path, shrunk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paired = [*base, "--lr", shrunk, "--updates", 2, "--validate", "none"]
    (shrunk / "0.png").rename(shrunk / "0x3.png")
    message = refused(capsys, *paired)
    assert f"{data / '0.png'} has no LR image in --lr, 0.png or 0x2.png" in message
    for name in ("0x2.png", "0x2m.png"):
        shutil.copy(shrunk / "0x3.png", shrunk / name)
    message = refused(capsys, *paired)
    assert f"{data / '0.png'} has several LR images in --lr: 0x2.png, 0x2m.png; leave " in message


# What cannot be asked for


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "bacth=8"), "no choice of a recipe 'bacth'; did you mean 'batch'"),
        (("--set", "batch=many"), "batch=many: give an integer"),
        (("--set", "batch=0"), "batch=0: give at least 1"),
        (("--set", "rate=fast"), "rate=fast: give a number"),
        (("--set", "rate=nan"), "rate=nan: give a learning rate above 0"),
        (("--set", "optimizer=adm"), "optimizer=adm: choose from: adam, sgd"),
        (("--set", "loss=l3"), "no term 'l3'; choose from"),
        (("--set", "degradation=matlab:cubic"), "no kernel of matlab 'cubic'"),
        (("--set", "degradation=pairs"), "takes LR from files; give --lr DIR"),
        (("--set", "schedule=sometimes"), "schedule 'sometimes'; give one of"),
        (("--set", "clip=hard"), "clip 'hard'; give"),
        (("--set", "rates.nowhere=2"), "rates.nowhere: no parameter of that name"),
        (("--set", "batch"), "--set batch: give KEY=VALUE"),
        (("--set", "batch=2", "--set", "batch=4"), "batch is 2 already; give it once"),
        (("--set", "updates=2", "--updates", 3), "updates is 3 already; give it once"),
        (("--set", "scales=3"), "scales=3: nets enlarges x2 only; leave them out"),
        (("--set", "scales=2,3"), "scales=2,3: nets enlarges x2 only"),
        (("--set", "scales=2,3", "--set", "mixing=updates"), "nets enlarges x2 only"),
        (("--set", "patch=99"), "px are too small for a patch, which needs 198x198 px"),
        (("--updates", 0), "0 is not in the range"),
        (("--precision", "fp8"), "'fp8' is not one of 'fp32', 'tf32', 'bf16'"),
        (("--precision", "tf32"), "tf32 is a precision of NVIDIA GPUs"),
        (("--protocol", "srcnn2041"), "no protocol 'srcnn2041'"),
        (("--validate", "st5"), "no dataset 'st5'"),
        (("--validate", ""), "'' names no dataset"),
        (("--lr", "nowhere"), "no dataset 'nowhere'"),
        (("--from", "srresnet@none"), "recipe adam learns everything; leave out --from"),
        (("--recipe", "warm"), "starts from weights of srresnet; give --from srresnet[@WEIGHTS]"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(
    base: list[str],
    out: Path,
    arguments: tuple[object, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said in refused(capsys, *base, *arguments)
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "batch=8"),
        ("--updates", 5),
        ("--lr", "demo"),
        ("--validate", "demo"),
        ("--precision", "bf16"),
    ],
)
def test_a_recipe_that_is_no_descent_is_followed_as_it_stands(
    arguments: tuple[object, ...], data: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, "train", "a-plus", "-s", 2, "--data", data, "--out", out, *arguments)
    assert "is no gradient descent" in message
    assert not out.exists()


def test_progress_says_speed_and_the_best_psnr(
    base: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TrainingProgress, "EVERY", 0.0)
    assert run(*base, "--updates", "6") == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert re.fullmatch(r"training: 1 of 6, loss 0\.\d+, \d+\.\d updates/s", lines[0])
    assert re.fullmatch(
        r"training: 6 of 6, loss 0\.\d+, best \d+\.\d\d dB, \d+\.\d updates/s \(\d+\.\d s\)",
        lines[-1],
    )
