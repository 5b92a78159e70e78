"""External programs: run without a shell, within a time, and ended with all that they started.

What a program prints is read and dropped but for its end. Programs that run, and temporary folders,
are known here, so that a process that has to end at once leaves neither behind.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import InputError, plain

USERS_PATH = "SISRBENCH_USERS_PYTHONPATH"
"""Environment variable: the user's own PYTHONPATH, in a process that was started with another."""
_KEPT = 4096
"""Bytes that are kept of what a program prints: the last ones."""
_LINES, _LONGEST = 3, 300
"""Lines and characters of it that a message shows."""
_STEP = 0.05
"""Seconds from a look at a program to the next, while it prints nothing and does not end."""
_GRACE = 0.2
"""Seconds in which the processes that a program started may end after it."""
_running: set[int] = set()
_scratch: set[Path] = set()


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    status: int
    """Exit status; negative for a signal."""
    said: str
    """The last lines that it printed, on one line."""
    left_others: bool
    """Whether processes that it started were still running, and were ended."""

    @property
    def in_words(self) -> str:
        """The status and the last lines."""
        how = f"status {self.status}" if self.status >= 0 else f"signal {-self.status}"
        return f"ended with {how}" + (f", its last words: {self.said}" if self.said else "")


def run(words: Sequence[str], folder: Path, seconds: float) -> Ended:
    """Run a program until it ends; then every process of its group is ended too.

    Args:
        words: the program and its arguments.
        folder: the working folder.
        seconds: how long it may take.

    Raises:
        InputError: there is no such program, it cannot be run, or it takes longer.
    """
    environment = dict(os.environ)
    if USERS_PATH in environment:
        environment["PYTHONPATH"] = environment.pop(USERS_PATH)
        if not environment["PYTHONPATH"]:
            del environment["PYTHONPATH"]
    try:
        process = subprocess.Popen(
            list(words),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, to end it as a whole
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot run {words[0]!r} in {folder.resolve()}: {reason}; give a program that exists, "
            "by its name or path"
        ) from error
    _running.add(process.pid)
    tail = _Tail(process)
    try:
        _wait(process, tail, time.monotonic() + seconds)
    except TimeoutError:
        _end(process)
        raise InputError(
            f"{words[0]} was ended, because it took longer than {seconds:g} s"
            f"{tail.in_words}; give more by timeout = SECONDS in a card"
        ) from None
    except BaseException:  # Ctrl-C
        _end(process)
        raise
    left = _end_others(process.pid)
    _running.discard(process.pid)
    tail.join(_GRACE)
    return Ended(process.returncode, tail.text, left)


class _Tail(threading.Thread):
    """Reads all that a program prints, and keeps the end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self._pipe = process.stdout
        self._kept = b""
        self.start()

    def run(self) -> None:
        if self._pipe is None:
            return
        with self._pipe as pipe:
            while chunk := os.read(pipe.fileno(), 1 << 16):
                self._kept = (self._kept + chunk)[-_KEPT:]

    @property
    def text(self) -> str:
        """The last lines, on one line of printable characters."""
        lines = [" ".join(line.split()) for line in self._kept.decode(errors="replace").split("\n")]
        return plain(" | ".join(list(filter(None, lines))[-_LINES:]))[-_LONGEST:]

    @property
    def in_words(self) -> str:
        return f", its last words: {self.text}" if self.text else ""


def _wait(process: subprocess.Popen[bytes], tail: _Tail, deadline: float) -> None:
    """Wait until a program ends.

    Raises:
        TimeoutError: it does not, until the deadline.
    """
    while process.poll() is None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        # Its pipe usually closes when it ends, and then no time is lost by looking.
        if tail.is_alive():
            tail.join(min(_STEP, left))
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(1.0, left))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and every process of its group, and wait for it."""
    _kill(process.pid)
    process.kill()
    process.wait()
    _running.discard(process.pid)


def _kill(group: int, sent: int = getattr(signal, "SIGKILL", 0)) -> bool:
    """Send a signal to a process group; whether there was any process in it."""
    if sys.platform == "win32":
        return False
    try:
        os.killpg(group, sent)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _end_others(group: int) -> bool:
    """End what a program has left running; whether there was anything after a moment."""
    deadline = time.monotonic() + _GRACE
    while _kill(group, 0):
        if time.monotonic() > deadline:
            return _kill(group)
        time.sleep(_GRACE / 20)
    return False


def new_folder() -> Path:
    """A new temporary folder, which `delete` deletes, or the end of the process."""
    folder = Path(tempfile.mkdtemp(prefix="sisrbench-"))
    _scratch.add(folder)
    return folder


def delete(folder: Path) -> None:
    """Delete a folder of `new_folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    _scratch.discard(folder)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A context with a temporary folder, deleted at its end."""
    folder = new_folder()
    try:
        yield folder
    finally:
        delete(folder)


def leave_nothing() -> None:
    """End all programs that run, and delete all temporary folders."""
    for group in list(_running):
        _kill(group)
    for folder in list(_scratch):
        delete(folder)


atexit.register(leave_nothing)
