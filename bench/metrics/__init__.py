"""Registry of metrics: each file here is a metric, with UNIT, HIGHER_IS_BETTER and measure().

A metric gives `<file>_y` under a luma protocol and `<file>_rgb` under an RGB protocol. All metrics
are measured by default, with two exceptions that must be named: a metric that needs downloaded
files, listed as FILES with their LICENCE, and a metric with `ASKED = True`. A metric may state
TOLERANCE, the change that `sisrbench check` accepts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast
from typing import Protocol as Interface

from bench.files import registry
from bench.protocol import CHANNELS, Protocol
from bench.result import Quantity

if TYPE_CHECKING:  # listing the metrics loads neither torch nor requests
    from torch import Tensor

    from bench.files.fetch import RemoteFile
    from bench.progress import Progress

FOLDER = Path(__file__).parent


class Metric(Interface):
    """The contents of a metric's file."""

    UNIT: str
    HIGHER_IS_BETTER: bool | None
    """None if neither direction is better."""

    def measure(self, sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
        """The metric of two images (C, H, W), float64 in [0, 255], borders already cut."""


def names() -> list[str]:
    """Names of all metrics, sorted; no metric is imported."""
    return registry.module_names(FOLDER)


def quantities() -> dict[str, Quantity]:
    """All quantities of all metrics, by name: each metric of luma and of RGB.

    Raises:
        InputError: a metric's file lacks UNIT or HIGHER_IS_BETTER, or a constant is not usable.
    """
    found = {}
    for metric in names():
        stated = registry.facts(
            "metric", FOLDER, metric, ("UNIT", "HIGHER_IS_BETTER"), ("TOLERANCE",)
        )
        better, tolerance = stated["HIGHER_IS_BETTER"], stated.get("TOLERANCE", 0.0)
        registry.refuse_unless(
            "metric", FOLDER, metric, "TOLERANCE", "a finite number of at least 0",
            type(tolerance) in (int, float) and 0 <= tolerance < math.inf,
        )  # fmt: skip
        registry.refuse_unless(
            "metric", FOLDER, metric, "HIGHER_IS_BETTER", "True, False or None",
            better is None or isinstance(better, bool),
        )  # fmt: skip
        for channel in CHANNELS:
            name = f"{metric}_{channel}"
            found[name] = Quantity(
                name=name,
                unit=stated["UNIT"],
                higher_is_better=better,
                metric=metric,
                tolerance=float(tolerance),
            )
    return found


def load(name: str) -> Metric:
    """The metric with this name.

    Raises:
        InputError: no metric has this name, or the file does not import or lacks UNIT,
            HIGHER_IS_BETTER or measure.
    """
    required = ("UNIT", "HIGHER_IS_BETTER", "measure")
    return cast("Metric", registry.load_module("metric", FOLDER, name, required))


def remote_files(name: str) -> tuple[RemoteFile, ...]:
    """The files that a metric needs to download; () for most metrics.

    Raises:
        InputError: no metric has this name, or the metric's file does not import.
    """
    found: tuple[RemoteFile, ...] = getattr(load(name), "FILES", ())
    return found


def licence(name: str) -> str:
    """Licence of the files that a metric needs to download; '' if none are needed.

    Raises:
        InputError: no metric has this name, or the metric's file does not import.
    """
    return str(getattr(load(name), "LICENCE", ""))


def is_asked(name: str) -> bool:
    """Whether a metric is measured only when named, although no files are needed.

    Raises:
        InputError: no metric has this name, or the metric's file does not import.
    """
    return bool(getattr(load(name), "ASKED", False))


def default_names() -> list[str]:
    """Names of the metrics that are measured by default, sorted.

    These need no downloaded files and lack `ASKED = True`. Files that are already on this machine
    make no difference, so the same command measures the same metrics everywhere.

    Raises:
        InputError: a metric's file does not import.
    """
    return [name for name in names() if not remote_files(name) and not is_asked(name)]


def download(name: str, progress: Progress) -> None:
    """Download the files that a metric needs and that are missing on this machine.

    Raises:
        InputError: no metric has this name, or the metric's file does not import.
        FetchError: a file cannot be downloaded.
    """
    from bench.files import fetch  # here, because listing the metrics must not load requests

    try:
        fetch.fetch_missing(f"metric {name}", remote_files(name), progress)
    except fetch.FetchError as error:
        raise fetch.FetchError(f"metric {name}: {error}") from error


def available(wanted: Iterable[str], progress: Progress) -> tuple[list[str], dict[str, str]]:
    """The metrics to measure, and the wanted metrics that cannot be measured.

    Returns:
        Sorted names of the default metrics and of the wanted metrics whose files are here or can be
        downloaded; and the name of each other wanted metric with the reason.

    Raises:
        InputError: no metric has a wanted name, or a metric's file does not import.
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
