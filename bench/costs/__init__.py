"""One file, one cost: TIMED, UNITS and measure(subject).

The folder is the registry. A cost says what a method takes, not how good it is, and depends on no
images: multiplies, parameters, seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface
from typing import cast

import torch
from torch import nn

from bench.folder import load_module, module_names
from bench.inference import DEFAULT, Inference
from bench.protocol import Protocol
from zoo.method import Method

FOLDER = Path(__file__).parent
OUTPUT_720P = (720, 1280)
"""Rows and columns of the output that the literature states costs for."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is costed: a method's module at a scale, on a device, fed by a protocol."""

    method: Method
    module: nn.Module
    scale: int
    protocol: Protocol
    device: torch.device
    repetitions: int
    inference: Inference = DEFAULT

    @property
    def channels(self) -> int:
        """Planes that the method is given: 3 where it works on RGB, else 1."""
        on_rgb = self.method.channels == "any" and self.protocol.degrade == "RGB"
        return 3 if on_rgb or self.method.channels == "RGB" else 1


@dataclass(frozen=True)
class Cost:
    """One value of a cost."""

    value: float
    spread: float | None = None
    note: str = ""


class CostFile(Interface):
    """What a cost's file holds."""

    TIMED: bool
    """Whether it depends on the machine, so that it is measured anew on another one."""
    UNITS: dict[str, str]
    """Unit of each quantity that it gives."""

    def measure(self, subject: Subject) -> dict[str, Cost]:
        """Quantities of UNITS; one is left out where the device does not have it."""


def names() -> list[str]:
    """Names of all costs, sorted; none is imported."""
    return module_names(FOLDER)


def timed_quantities() -> set[str]:
    """Every quantity that belongs to a machine."""
    return {unit for name in names() if load(name).TIMED for unit in load(name).UNITS}


def load(name: str) -> CostFile:
    """The cost of that name.

    Raises:
        InputError: there is none, or its file does not import or lacks one of the three.
    """
    return cast("CostFile", load_module("cost", FOLDER, name, ("TIMED", "UNITS", "measure")))
