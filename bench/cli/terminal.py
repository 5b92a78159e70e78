"""The function by which the command prints; tables and progress have `bench.progress.console`."""

from __future__ import annotations

import click

from zoo.errors import plain


def say(text: object = "", *, error: bool = False, bold: bool = False) -> None:
    """Print a line; characters that a terminal would obey are printed as escapes.

    Args:
        text: the line, which may hold names of methods, files and images.
        error: print to standard error.
        bold: print in bold, on a terminal.
    """
    line = plain(str(text))
    click.echo(click.style(line, bold=True) if bold else line, err=error)
