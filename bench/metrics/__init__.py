"""One file, one metric: UNIT, HIGHER_IS_BETTER and measure(sr, hr, protocol).

The folder is the registry: every file is measured, as `<file>_y` under a luma protocol and
`<file>_rgb` under an RGB one. One that needs files from elsewhere names them as FILES, and their
LICENCE; it is measured where it is asked for by name, as is one that says `ASKED = True`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast
from typing import Protocol as Interface

from bench.files import registry
from bench.protocol import CHANNELS, Protocol
from bench.result import Quantity

if TYPE_CHECKING:  # so that reading what metrics there are loads neither torch nor requests
    from torch import Tensor

    from bench.files.fetch import RemoteFile
    from bench.progress import Progress

FOLDER = Path(__file__).parent


class Metric(Interface):
    """What a metric's file holds."""

    UNIT: str
    HIGHER_IS_BETTER: bool | None
    """None where neither way is better."""

    def measure(self, sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
        """The metric of two (C, H, W) float64 images in [0, 255], borders already cut."""


def names() -> list[str]:
    """Names of all metrics, sorted; none is imported."""
    return registry.module_names(FOLDER)


def quantities() -> dict[str, Quantity]:
    """Every quantity that some protocol gives, by its name: each metric of luma and of RGB.

    Raises:
        InputError: a metric's file does not say its unit or which way is better.
    """
    found = {}
    for metric in names():
        stated = registry.facts("metric", FOLDER, metric, ("UNIT", "HIGHER_IS_BETTER"))
        for channel in CHANNELS:
            name = f"{metric}_{channel}"
            found[name] = Quantity(
                name=name,
                unit=stated["UNIT"],
                higher_is_better=stated["HIGHER_IS_BETTER"],
                metric=metric,
            )
    return found


def load(name: str) -> Metric:
    """The metric of that name.

    Raises:
        InputError: there is none, or its file does not import or lacks one of the three.
    """
    required = ("UNIT", "HIGHER_IS_BETTER", "measure")
    return cast("Metric", registry.load_module("metric", FOLDER, name, required))


def remote_files(name: str) -> tuple[RemoteFile, ...]:
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
    return [name for name in names() if not remote_files(name) and not is_asked(name)]


def download(name: str, progress: Progress) -> None:
    """Have what a metric needs on this machine.

    Raises:
        InputError: there is no such metric, or its file does not import.
        FetchError: a file cannot be had.
    """
    from bench.files import fetch

    try:
        fetch.fetch_missing(f"metric {name}", remote_files(name), progress)
    except fetch.FetchError as error:
        raise fetch.FetchError(f"metric {name}: {error}") from error


def available(wanted: Iterable[str], progress: Progress) -> tuple[list[str], dict[str, str]]:
    """The default metrics with those wanted whose files can be had, and why others cannot.

    Returns:
        Names, sorted; and name to reason.

    Raises:
        InputError: there is no such metric, or its file does not import.
    """
    from bench.files.fetch import FetchError

    found, lacking = set(default_names()), {}
    for name in sorted(set(wanted) - found):
        try:
            download(name, progress)
            found.add(name)
        except FetchError as error:
            lacking[name] = str(error)
    return sorted(found), lacking
