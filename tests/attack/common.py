"""Shared by the attacks: commands and forked calls under limits, and the faults found."""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))
COMMAND = [sys.executable, "-P", "-m", "bench.cli"]
SECONDS = 30.0
"""Longest time of a call that reads a file; more is a hang."""
MEMORY = 4 << 30
"""Most resident bytes of a call."""
KEY = ("method", "weights", "scale", "dataset", "image", "protocol", "inference", "quantity")


@dataclass
class Attack:
    """What was tried, and the faults that were found."""

    name: str
    seed: int
    random: random.Random
    folder: Path
    tried: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str) -> None:
        """Keep a fault, and print it at once."""
        self.faults.append(what)
        print(f"FAULT {what}", flush=True)

    def check(self, holds: bool, what: str) -> None:
        """Keep a fault unless something holds."""
        if not holds:
            self.fault(what)


def main(name: str, attack: Callable[[Attack, int], None], count: int) -> None:
    """Run an attack with the seed and count of the command line; status 1 if it found a fault."""
    parser = argparse.ArgumentParser(description=name)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--count", type=int, default=count)
    given = parser.parse_args()
    print(f"{name}: seed {given.seed}, count {given.count}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sisrbench-attack-") as folder:
        found = Attack(name, given.seed, random.Random(given.seed), Path(folder))
        os.environ.setdefault("SISRBENCH_CACHE", str(Path(folder) / "cache"))
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        began = time.monotonic()
        attack(found, given.count)
    seconds = time.monotonic() - began
    print(
        f"{name}: seed {given.seed}, {found.tried} tried, {len(found.faults)} faults, "
        f"{seconds:.0f} s"
    )
    sys.exit(bool(found.faults))


@dataclass(frozen=True)
class Ended:
    """How a call ended."""

    status: int | None
    """Exit status, negative for a signal; None if it ran out of time."""
    text: str
    """Standard output and standard error."""
    seconds: float
    peak: int
    """Peak resident bytes."""

    def fault(self) -> str:
        """What a call must not show: traceback, hang, crash, too much memory; '' if nothing."""
        lines = self.text.splitlines()
        if self.status is None:
            return f"hang of {self.seconds:.0f} s"
        if "Traceback (most recent call last)" in self.text:
            return f"traceback: {lines[-1][:200]}"
        unexpected = [line for line in lines if line.startswith("Error: unexpected")]
        if unexpected:
            return unexpected[0][:300]
        if self.status < 0:
            return f"ended by signal {-self.status}"
        return f"{self.peak >> 20} MiB" if self.peak > MEMORY else ""


def run(
    arguments: Sequence[str | Path],
    folder: Path,
    *,
    seconds: float = 120,
    kill_after: tuple[float, int] | None = None,
    group: bool = False,
    environment: dict[str, str] | None = None,
) -> Ended:
    """Run the command in a folder; `kill_after` is seconds and the signal to send then.

    Args:
        arguments: of the command.
        folder: the working folder.
        seconds: the time limit.
        kill_after: when to send which signal; None for never.
        group: whether the signal goes to all processes of the command.
        environment: variables besides those of this process.
    """
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)} | (environment or {})
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip

        def interfere(passed: float) -> None:
            nonlocal kill_after
            if kill_after is not None and passed >= kill_after[0]:
                (os.killpg if group else os.kill)(process.pid, kill_after[1])
                kill_after = None

        return _wait(process.pid, out.fileno(), seconds, interfere)


def forked(call: Callable[[], int | None], seconds: float = SECONDS) -> Ended:
    """Call in a fork, with `MEMORY` more address space at most; the status is the result."""
    with tempfile.TemporaryFile() as out:
        pid = os.fork()
        if not pid:
            os.setsid()
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            most = _address_space() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            try:
                status = call() or 0
            except BaseException:
                os.write(2, traceback.format_exc().encode(errors="replace"))
                status = 99
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
        return _wait(pid, out.fileno(), seconds, lambda passed: None)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _wait(pid: int, out: int, seconds: float, interfere: Callable[[float], None]) -> Ended:
    began = time.monotonic()
    ran_out = False
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        passed = time.monotonic() - began
        if done:
            break
        interfere(passed)
        if passed > seconds and not ran_out:
            ran_out = True
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.005)
    # Of a flood of output, the end.
    size = os.lseek(out, 0, os.SEEK_END)
    text = os.pread(out, 10**6, max(0, size - 10**6)).decode(errors="replace")
    code = None if ran_out else os.waitstatus_to_exitcode(status)
    return Ended(code, text, passed, used.ru_maxrss << 10)


def stored(out: Path) -> dict[tuple[str, ...], list[float | None]]:
    """Cell to the values in a store; a healthy store has a single value for each cell and key."""
    with contextlib.closing(
        sqlite3.connect(f"file:{out / 'results.sqlite'}?mode=rw", uri=True)
    ) as db:
        (state,) = db.execute("PRAGMA integrity_check").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
        found: dict[tuple[str, ...], list[float | None]] = {}
        tables = {
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        }
        if "results" not in tables:
            return found
        for row in db.execute(f"SELECT {', '.join(KEY)}, value FROM results"):
            found.setdefault(tuple(map(str, row[:-1])), []).append(row[-1])
        return found


def written(out: Path) -> dict[tuple[str, ...], str]:
    """Cell to the value in results.csv, as text."""
    with (out / "results.csv").open(newline="") as file:
        return {tuple(row[key] for key in KEY): row["value"] for row in csv.DictReader(file)}


def half_written(out: Path) -> Iterator[str]:
    """A line for each report that is not whole."""
    page, table = out / "index.html", out / "results.csv"
    if page.is_file() and not page.read_text().rstrip().endswith("</html>"):
        yield f"{page} is cut off"
    if table.is_file():
        text = table.read_text()
        if not text.endswith("\n") or len({len(row) for row in csv.reader(text.splitlines())}) != 1:
            yield f"{table} is cut off"
