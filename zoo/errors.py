"""The one error a user can mend, and how it suggests the nearest names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something given from outside cannot be used.

    Its message is one line that says what was given, what was expected and what to do.
    The command prints it and exits with status 2; nothing is half-written.
    """


def one_line(error: BaseException, longest: int | None = None) -> str:
    """What another's error says, on one line; its text cut after `longest` characters.

    >>> one_line(ValueError("two   words"))
    'ValueError: two words'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())[:longest]}"


def unknown(kind: str, given: str, choices: Iterable[str]) -> InputError:
    """The error for a name that does not exist, nearest names first.

    >>> print(unknown("method", "bicubik", ["nearest", "bicubic"]))
    no method 'bicubik'; did you mean 'bicubic'? choose from: bicubic, nearest
    """
    ordered = sorted(choices)
    close = get_close_matches(given, ordered, n=3, cutoff=0.5)
    hint = f" did you mean {' or '.join(map(repr, close))}?" if close else ""
    return InputError(f"no {kind} {given!r};{hint} choose from: {', '.join(ordered)}")
