"""A request to a process of its own, which measures a method that is not this project's.

A method may change the process that it runs in, or end it. In a process of its own, started fresh,
it can do neither to other methods. Results travel through the store.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench.result import Failure, WeightsName
from bench.runtimes import program
from bench.sources import label
from bench.sources.words import Spec

_CODE = """
import os, sys
from bench.session import serve
serve(sys.argv[1])
sys.stdout.flush()
sys.stderr.flush()
os._exit(0)  # without waiting for threads that a method has left behind
"""
_REQUEST, _ANSWER = "request", "answer"
_LAST_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure: a call of a session with one method."""

    spec: Spec
    """The method."""
    call: str
    """Name of the session's function: `measure` or `cost`."""
    arguments: tuple[Any, ...]
    """The function's arguments after the methods."""
    options: Mapping[str, Any]
    """The function's keyword arguments."""
    session: Mapping[str, Any]
    """The session's fields."""
    quiet: bool
    """Whether no progress is shown."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was measured."""

    keys: tuple[str, ...] = ()
    """Keys of the units, whose Results are in the store."""
    computed: int = 0
    """Units that were measured now."""
    failures: tuple[Failure, ...] = ()
    trained: tuple[WeightsName, ...] = ()
    """The weights that were measured and trained here."""


def ask(request: Request) -> Answer:
    """The answer of a fresh process; a process that ends without one is a failure of the method."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / _REQUEST).write_bytes(pickle.dumps(request))
        status = _run(place)
        answered = place / _ANSWER
        if answered.is_file():
            return cast("Answer", pickle.loads(answered.read_bytes()))  # noqa: S301  (our own)
    said = (
        f"its process ended with status {status}" if status >= 0 else f"signal {-status} ended it"
    )
    return Answer(failures=(Failure(label(request.spec), f"{said}; fix the method"),))


def received(folder: str) -> Request:
    """The request in a folder; called by the fresh process, which ends with the asking one."""
    threading.Thread(target=_end_with_the_asking_process, daemon=True).start()
    return cast("Request", pickle.loads((Path(folder) / _REQUEST).read_bytes()))  # noqa: S301


def answer(folder: str, given: Answer) -> None:
    """Leave the answer in the request's folder."""
    program.leave_nothing()  # this process ends without Python's own last work
    place = Path(folder) / _ANSWER
    unfinished = place.with_suffix(".part")
    unfinished.write_bytes(pickle.dumps(given))
    unfinished.replace(place)


def _end_with_the_asking_process() -> None:
    """Wait until the process that asked is gone, then end this process at once."""
    # Not sys.stdin, whose lock would be held when Python ends.
    while os.read(0, 1):
        pass
    program.leave_nothing()
    os._exit(1)


def _end(process: subprocess.Popen[str]) -> None:
    """Let a process end what it has started, then end it, at the latest after `_LAST_SECONDS`."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LAST_SECONDS)
    process.kill()


def _run(folder: Path) -> int:
    """The exit status of the fresh process; negative for a signal.

    What the process prints goes to standard error, because standard output is for tables.
    """
    # -P: no file of the working folder may shadow a module of Python or of a package.
    command = [sys.executable, "-P", "-c", _CODE, str(folder)]
    # The user's modules are found where this process finds them.
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        program.USERS_PATH: os.environ.get("PYTHONPATH", ""),
    }
    terminal = sys.stderr.isatty()  # then the bar of the process moves
    process = subprocess.Popen(
        command,
        env=environment,
        # Held open: the process ends itself when this one is gone, however it went.
        stdin=subprocess.PIPE,
        stdout=sys.stderr if terminal else subprocess.PIPE,
        stderr=sys.stderr if terminal else subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process:
        try:
            for line in process.stdout or ():
                sys.stderr.write(line)
                sys.stderr.flush()
            return process.wait()
        except BaseException:  # nobody waits for its answer any more
            _end(process)
            raise
