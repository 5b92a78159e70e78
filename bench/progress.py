"""Progress of long work: bars on a terminal, one plain line a piece elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars


def _bars(console: Console, *between: ProgressColumn, period: float = 30) -> Bars:
    """A bar with a label, a count, what else stands `between`, and the time left.

    `period` is over how many seconds speed is estimated. Without a terminal nothing is shown.
    """
    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *between,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=period,
    )


class Progress:
    """How far the work is, on standard error."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        self._bars = _bars(self._console)
        self._task = self._bars.add_task("", total=0)
        self._pieces = self._finished = 0

    @contextlib.contextmanager
    def work(self, pieces: int, steps: int) -> Iterator[None]:
        """While open, so many pieces are to come, of so many steps together."""
        self._pieces, self._finished = pieces, 0
        self._bars.reset(self._task, total=steps)
        with self._bars:
            yield

    @contextlib.contextmanager
    def piece(self, label: str) -> Iterator[list[str]]:
        """While open, a piece is at work; what is put into the list is said when it is done."""
        began = time.perf_counter()
        self._bars.update(self._task, description=label)
        lines: list[str] = []
        yield lines
        self._finished += 1
        seconds = time.perf_counter() - began
        line = f"[{self._finished}/{self._pieces}] {label}: {', '.join(lines)} ({seconds:.1f} s)"
        self._console.print(line, markup=False)

    def advance(self) -> None:
        """One step is done."""
        self._bars.advance(self._task)


class TrainingProgress:
    """How far learning is, on standard error: a line a stage, and what the one at work does.

    That is a bar on a terminal, and a plain line now and then elsewhere.
    """

    EVERY = 30.0
    """Seconds between two plain lines."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        note = TextColumn("{task.fields[note]}", markup=False)
        self._bars = _bars(self._console, note, period=600)  # a step may take minutes
        self._task = self._bars.add_task("starting", total=None, note="")
        self._stage = ""
        self._began = self._said = time.monotonic()

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """While open, a recipe is at work."""
        self._began = self._said = time.monotonic()
        with self._bars:
            yield

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False)

    def show(self, stage: str, done: int, total: int, note: str) -> None:
        """So many of the stage's steps are done."""
        now = time.monotonic()
        if stage != self._stage:
            self._bars.reset(self._task, total=total, description=stage)
            self._stage = stage
        self._bars.update(self._task, completed=done, total=total, note=note)
        line = f"{stage}: {done} of {total}" + (f", {note}" if note else "")
        if done >= total:
            self.say(f"{line} ({now - self._began:.1f} s)")
            self._began = self._said = now
        elif not self._console.is_terminal and now - self._said >= self.EVERY:
            self.say(line)
            self._said = now
