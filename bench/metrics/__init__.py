"""One file, one metric: UNIT, HIGHER_IS_BETTER and measure(sr, hr, protocol).

The folder is the registry: every file is measured, as `<file>_y` under a luma protocol and
`<file>_rgb` under an RGB one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol as Interface
from typing import cast

from torch import Tensor

from bench.folder import load_module, module_names
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
