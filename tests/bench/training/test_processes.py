"""Several processes: what each takes of a batch, and how they are joined."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.training import processes
from bench.training.processes import Processes, join, leave
from zoo.errors import InputError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what `torchrun` sets."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_one_process_is_all_of_them() -> None:
    processes, device = join(torch.device("cpu"))
    assert processes == Processes(count=1, rank=0)
    assert device == torch.device("cpu")
    assert processes.is_first
    assert processes.part(5) == slice(0, 5)
    module = torch.nn.Linear(2, 2)
    assert processes.share(module) is module
    assert float(processes.mean(torch.tensor(3.0))) == 3
    assert processes.first(lambda: "computed") == "computed"
    leave()  # from nothing


@pytest.mark.parametrize(("batch", "count"), [(16, 1), (16, 2), (16, 4), (6, 3)])
def test_the_parts_make_up_the_batch(batch: int, count: int) -> None:
    parts = [Processes(count, rank).part(batch) for rank in range(count)]
    taken = [np.arange(batch)[part] for part in parts]
    assert np.concatenate(taken).tolist() == list(range(batch))
    assert {len(part) for part in taken} == {batch // count}


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(InputError, match="a batch of 5 cannot be shared by 2 processes; give"):
        Processes(2, 1).part(5)


def test_only_the_first_writes_and_speaks() -> None:
    assert [Processes(3, rank).is_first for rank in range(3)] == [True, False, False]


def test_a_gpu_of_its_own_cannot_be_named_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="--device cuda:1 with several processes; give cuda"):
        join(torch.device("cuda:1"))


def test_processes_that_nobody_has_started_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"cannot be joined: .*; start with torchrun, or unset it"):
        join(torch.device("cpu"))


def test_no_number_of_processes_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in ("x", "", "-1"):
        monkeypatch.setenv("WORLD_SIZE", size)
        with pytest.raises(InputError, match=f"WORLD_SIZE is '{size}', no number of processes"):
            processes.join(torch.device("cpu"))


def child(text: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        f"import os, sys, time, signal\nrank = os.environ['RANK']\n{text}",
    ]


def test_each_process_has_its_share_of_the_cores(capfd: pytest.CaptureFixture[str]) -> None:
    show = child("print(os.environ['OMP_NUM_THREADS'], flush=True)")
    assert processes.start(2, show) == 0
    assert processes.start(2, show, threads=3) == 0
    share = str(max(1, (os.cpu_count() or 1) // 2))
    assert capfd.readouterr().out.split() == [share, share, "3", "3"]


def test_the_first_failure_speaks_and_ends_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    text = "if rank == '1': sys.exit('Error: bad image')\nelse: time.sleep(60)"
    began = time.monotonic()
    assert processes.start(3, child(text)) == 1
    assert time.monotonic() - began < 30
    assert capfd.readouterr().err == "Error: bad image\n"


def test_what_all_say_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    text = "if rank != '0': time.sleep(1)\nsys.exit('Error: the same')"
    assert processes.start(3, child(text)) == 1
    assert capfd.readouterr().err == "Error: the same\n"


def test_a_killed_process_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    text = "if rank == '1': os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)"
    assert processes.start(2, child(text)) == 128 + 9
    assert (
        "process 2 of 2 was ended by signal 9; the same command goes on" in capfd.readouterr().err
    )


WATCHED = """
import os, sys, time
from bench.training import processes
processes._end_with_parent()
print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_no_process_is_left_behind(number: signal.Signals, status: int) -> None:
    command = [sys.executable, "-c", WATCHED]
    starting = (
        "import sys\nfrom bench.training import processes\n"
        f"sys.exit(processes.start(2, {command!r}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starting],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(number)
        assert parent.wait(30) == status
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)
