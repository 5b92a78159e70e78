"""Progress of long work: bars on a terminal; elsewhere a plain line for each piece."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console, HighlighterType, JustifyMethod, OverflowMethod
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.style import Style
from rich.text import Text

from zoo.errors import plain


class _PlainConsole(Console):
    """A console on which a name is text only: control characters are printed as escapes."""

    def render_str(
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: HighlighterType | None = None,
    ) -> Text:
        """The text to print, of a line, a cell or a title, as rich asks for it."""
        return super().render_str(
            plain(text),
            style=style,
            justify=justify,
            overflow=overflow,
            emoji=emoji,
            markup=markup,
            highlight=highlight,
            highlighter=highlighter,
        )


def console() -> Console:
    """A console for tables; without a terminal, 1000 characters wide, so that no line is broken."""
    found = _PlainConsole(highlight=False, emoji=False)
    return found if found.is_terminal else _PlainConsole(highlight=False, emoji=False, width=1000)


def tell_warnings() -> None:
    """From now on, show each warning of this process as a single line on standard error."""

    def tell(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = " ".join(str(message).split())[:300]
        print(plain(f"{category.__name__}: {text}"), file=file or sys.stderr)

    warnings.showwarning = tell


def _lines(*, quiet: bool) -> Console:
    """A console on standard error that breaks no line."""
    return _PlainConsole(stderr=True, highlight=False, emoji=False, soft_wrap=True, quiet=quiet)


def _bars(console: Console, *between: ProgressColumn, period: float = 30) -> Bars:
    """A bar with a label, a count, more columns and the time left; nothing without a terminal.

    Args:
        console: where the bar is drawn.
        between: more columns, placed before the time left.
        period: seconds over which the speed is estimated.
    """
    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *between,
        TimeRemainingColumn(),
        console=console,
        transient=True,  # the bar disappears, and the printed lines stay
        disable=not console.is_terminal,
        speed_estimate_period=period,
    )


class Progress:
    """Progress of the work on standard error: a bar, and a line for each finished piece."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console = _lines(quiet=quiet)
        self._bars = _bars(self._console)
        self._task = self._bars.add_task("", total=0)
        self._pieces = self._finished = 0
        self._told: set[str] = set()

    @contextlib.contextmanager
    def work(self, pieces: int, steps: int) -> Iterator[None]:
        """A context for so many `pieces` of work, with so many `steps` in total."""
        self._pieces, self._finished = pieces, 0
        self._bars.reset(self._task, total=steps)
        with self._bars:
            yield

    @contextlib.contextmanager
    def piece(self, label: str) -> Iterator[list[str]]:
        """A context for a piece of work; lines appended to the list are printed at the end."""
        began = time.perf_counter()
        self._bars.update(self._task, description=plain(label))
        lines: list[str] = []
        yield lines
        self._finished += 1
        seconds = time.perf_counter() - began
        line = f"[{self._finished}/{self._pieces}] {label}: {', '.join(lines)} ({seconds:.1f} s)"
        self._console.print(line, markup=False)

    def advance(self) -> None:
        """Count a finished step."""
        self._bars.advance(self._task)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False)

    def tell(self, line: str) -> None:
        """Print a line above the bar, unless the same line was told before."""
        if line not in self._told:
            self._told.add(line)
            self.say(line)


class TrainingProgress:
    """Progress of a training on standard error: a line for each finished stage.

    The running stage has a bar on a terminal; elsewhere a plain line every `EVERY` seconds.
    """

    EVERY = 30.0
    """Seconds from a plain line to the next."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = _lines(quiet=quiet)
        note = TextColumn("{task.fields[note]}", markup=False)
        self._bars = _bars(self._console, note, period=600)  # a step may take minutes
        self._task = self._bars.add_task("starting", total=None, note="")
        self._stage = ""
        self._began = self._said = time.monotonic()

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """A context in which a recipe is running."""
        self._began = self._said = time.monotonic()
        with self._bars:
            yield

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False)

    def show(self, stage: str, done: int, total: int, note: str) -> None:
        """Show that `done` of the stage's `total` steps are finished, with a note."""
        now = time.monotonic()
        if stage != self._stage:
            self._bars.reset(self._task, total=total, description=plain(stage))
            self._stage = stage
        self._bars.update(self._task, completed=done, total=total, note=plain(note))
        line = f"{stage}: {done} of {total}" + (f", {note}" if note else "")
        if done >= total:
            self.say(f"{line} ({now - self._began:.1f} s)")
            self._began = self._said = now
        elif not self._console.is_terminal and now - self._said >= self.EVERY:
            self.say(line)
            self._said = now
