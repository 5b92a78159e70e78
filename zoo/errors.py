"""InputError, the only error that a user can fix, and names as text that is safe to show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MORE_MEMORY = "give smaller images, --tile PX, fewer --threads, or a machine with more memory"
"""The advice where memory runs out."""
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class InputError(ValueError):
    """Input from the user (an argument, a file, an image) cannot be used.

    The message is a single line: the input as given, the input expected, and the fix.
    The command prints the message and exits with status 2. No output file is left half-written.
    """


def one_line(error: BaseException, longest: int | None = None) -> str:
    """`Type: message` of any exception on one line; the message has at most `longest` characters.

    An exception without a message, or with one that cannot be made, is named by its type alone.

    >>> one_line(ValueError("two   words")), one_line(MemoryError())
    ('ValueError: two words', 'MemoryError')
    """
    try:
        message = " ".join(str(error).split())[:longest]
    except Exception:  # an exception of a method's own may fail to say what it is
        message = ""
    return f"{type(error).__name__}: {message}".removesuffix(": ")


def spelled(text: str) -> str:
    r"""The text with every byte of a file name that is no UTF-8 written as `\xff`.

    Python keeps such a byte as a lone surrogate, which neither a file nor a database can hold.

    >>> spelled("caf\udce9.png")
    'caf\\xe9.png'
    """
    return _SURROGATE.sub(_spelling, text)


def plain(text: str) -> str:
    r"""The text with every character that is not printable written as an escape, as `repr` does.

    A terminal obeys control characters, and some hide or reorder text: a name with these could
    clear the screen or show another name.

    >>> plain("a\x1b[31m\n\u202e")
    'a\\x1b[31m\\n\\u202e'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in spelled(text)
    )


def _spelling(found: re.Match[str]) -> str:
    """A lone surrogate as an escape: of its byte, if it stands for a byte of a file name."""
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names, separated by commas; after `most` names the rest are counted.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def unknown(kind: str, given: str, choices: Iterable[str]) -> InputError:
    """InputError for an unknown name; the message suggests the nearest names, then lists all.

    Args:
        kind: the noun for the name, for example `method`.
        given: the unknown name.
        choices: all valid names.

    >>> print(unknown("method", "bicubik", ["nearest", "bicubic"]))
    no method 'bicubik'; did you mean 'bicubic'? choose from: bicubic, nearest
    """
    ordered = sorted(choices)
    close = get_close_matches(given, ordered, n=3, cutoff=0.5)  # at most three suggestions
    hint = f" did you mean {' or '.join(map(repr, close))}?" if close else ""
    return InputError(f"no {kind} {given!r};{hint} choose from: {', '.join(ordered)}")
