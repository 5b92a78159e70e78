"""Progress of long work: bars on a terminal, one plain line a piece elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """How far the work is, on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
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
        gist: list[str] = []
        yield gist
        self._finished += 1
        seconds = time.perf_counter() - began
        line = f"[{self._finished}/{self._pieces}] {label}: {', '.join(gist)} ({seconds:.1f} s)"
        self._console.print(line, markup=False)

    def advance(self) -> None:
        """One step is done."""
        self._bars.advance(self._task)
