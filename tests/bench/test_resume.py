"""Killed at any moment, continued by the same command, and the same table in the end."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench import costs
from bench.cli import main as cli
from bench.store import FILE

SLOW_METHOD = """
import os, time
from torch import nn
from zoo.method import Method

NAMES = ("slow",)


class Slow(nn.Module):
    def forward(self, x):
        if x.device.type == "meta":
            return x
        calls = os.environ["CALLS"]
        with open(calls, "a") as file:
            file.write("call\\n")
            count = file.tell() // len("call\\n")
        if os.environ.get("STOP_AT") and count >= int(os.environ["STOP_AT"]):
            time.sleep(600)
        return x


def method(name):
    return Method(name=name, citation="me", takes="interpolated", channels="any",
                  build=lambda scale, settings: Slow())
"""


def _kill_in_the_middle(command: list[str], environment: dict[str, str], out: Path) -> int:
    """Start the command, kill -9 it once units are stored and one is in flight; units stored."""
    with subprocess.Popen(
        [sys.executable, "-c", f"from bench.cli import main; main.status({command!r})"],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any(line.startswith("[2/") for line in process.stderr)
        calls = Path(environment["CALLS"])
        while len(calls.read_text().splitlines()) < int(environment["STOP_AT"]):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    with sqlite3.connect(out / FILE) as database:
        count = int(database.execute("SELECT count(*) FROM units").fetchone()[0])
    database.close()
    return count


def _untimed(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "results.csv", keep_default_na=False)
    timed = {name for name, known in costs.quantities().items() if known.of_machine}
    return table[~table["quantity"].isin(timed)].reset_index(drop=True)


def test_after_kill_9_the_same_command_continues_to_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "slow.py").write_text(SLOW_METHOD)
    command = ["run", "-m", str(tmp_path / "slow.py"), "--repeat", "1", "--threads", "1", "--out"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    stop = {"CALLS": str(tmp_path / "calls"), "STOP_AT": "13"}  # the third of 5-image units
    assert _kill_in_the_middle([*command, str(killed)], stop, killed) == 2
    assert not (killed / "results.csv").exists()

    monkeypatch.setenv("CALLS", str(tmp_path / "more-calls"))
    assert cli.status([*command, str(killed)]) == 0
    assert (
        f"2 of {3 * len(costs.names())} measurements were stored before." in capfd.readouterr().err
    )
    assert cli.status([*command, str(whole)]) == 0
    pd.testing.assert_frame_equal(_untimed(killed), _untimed(whole))
