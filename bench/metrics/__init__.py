"""One file, one metric: UNIT, HIGHER_IS_BETTER and measure(sr, hr, protocol).

The folder is the registry: every file is measured, as `<file>_y` under a luma protocol and
`<file>_rgb` under an RGB one. One that needs files from elsewhere names them as FILES, and their
LICENCE; it is measured where it is asked for by name, as is one that says `ASKED = True`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol as Interface
from typing import cast

from torch import Tensor

from bench import fetch
from bench.fetch import FetchError, RemoteFile
from bench.folder import load_module, module_names
from bench.progress import Progress
from bench.protocol import CHANNELS, Protocol

FOLDER = Path(__file__).parent


class Metric(Interface):
    """What a metric's file holds."""

    UNIT: str
    HIGHER_IS_BETTER: bool

    def measure(self, sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
        """The metric of two (C, H, W) float64 images in [0, 255], borders already cut."""


def names() -> list[str]:
    """Names of all metrics, sorted; none is imported."""
    return module_names(FOLDER)


def quantities() -> set[str]:
    """Every quantity that some protocol gives: each metric of luma and of RGB."""
    return {f"{name}_{channel}" for name in names() for channel in CHANNELS}


def load(name: str) -> Metric:
    """The metric of that name.

    Raises:
        InputError: there is none, or its file does not import or lacks one of the three.
    """
    required = ("UNIT", "HIGHER_IS_BETTER", "measure")
    return cast("Metric", load_module("metric", FOLDER, name, required))


def files(name: str) -> tuple[RemoteFile, ...]:
    """What a metric needs from elsewhere; () for most.

    Raises:
        InputError: there is no such metric, or its file does not import.
    """
    found: tuple[RemoteFile, ...] = getattr(load(name), "FILES", ())
    return found


def licence(name: str) -> str:
    """Terms of the files that a metric needs, '' where it needs none.

    Raises:
        InputError: there is no such metric, or its file does not import.
    """
    return str(getattr(load(name), "LICENCE", ""))


def is_asked(name: str) -> bool:
    """Whether a metric is measured only where it is asked for, though it needs nothing.

    Raises:
        InputError: there is no such metric, or its file does not import.
    """
    return bool(getattr(load(name), "ASKED", False))


def default_names() -> list[str]:
    """Names of the metrics that need nothing from elsewhere and are no special ones, sorted.

    Whether a file happens to be here does not matter, so that the same command measures the same.

    Raises:
        InputError: a metric's file does not import.
    """
    return [name for name in names() if not files(name) and not is_asked(name)]


def fetch_missing(name: str, progress: Progress) -> None:
    """Have what a metric needs on this machine.

    Raises:
        InputError: there is no such metric, or its file does not import.
        FetchError: a file cannot be had.
    """
    try:
        fetch.fetch_missing(f"metric {name}", files(name), progress)
    except FetchError as error:
        raise FetchError(f"metric {name}: {error}") from error


def available(wanted: Iterable[str], progress: Progress) -> tuple[list[str], dict[str, str]]:
    """The default metrics with those wanted whose files can be had, and why others cannot.

    Returns:
        Names, sorted; and name to reason.

    Raises:
        InputError: there is no such metric, or its file does not import.
    """
    found, lacking = set(default_names()), {}
    for name in sorted(set(wanted) - found):
        try:
            fetch_missing(name, progress)
            found.add(name)
        except FetchError as error:
            lacking[name] = str(error)
    return sorted(found), lacking
