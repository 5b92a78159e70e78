"""One file, one cost: TIMED, UNITS and measure(subject).

The folder is the registry. A cost says what a method takes, not how good it is, and depends on no
images: multiplies, parameters, seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast
from typing import Protocol as Interface

from bench.files import registry
from bench.inference import DEFAULT, Inference
from bench.protocol import Protocol
from bench.result import Quantity
from zoo.method import Method

if TYPE_CHECKING:  # so that reading what costs there are does not load torch
    import torch
    from torch import nn

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
    return registry.module_names(FOLDER)


def quantities() -> dict[str, Quantity]:
    """Every quantity that a cost gives, by its name.

    A cost's file may name those of which more is better in `HIGHER_IS_BETTER`; of all others, less
    is better.

    Raises:
        InputError: a cost's file does not say its units or whether it is timed.
    """
    found = {}
    for cost in names():
        stated = registry.facts("cost", FOLDER, cost, ("TIMED", "UNITS"), ("HIGHER_IS_BETTER",))
        for name, unit in stated["UNITS"].items():
            found[name] = Quantity(
                name=name,
                unit=unit,
                higher_is_better=name in stated.get("HIGHER_IS_BETTER", ()),
                of_machine=stated["TIMED"],
            )
    return found


def is_timed(name: str) -> bool:
    """Whether a cost belongs to one machine, so that it is measured again on another.

    Raises:
        InputError: there is no such cost, or its file does not say.
    """
    stated = registry.facts("cost", FOLDER, name, ("TIMED",))
    return bool(stated["TIMED"])


def load(name: str) -> CostFile:
    """The cost of that name.

    Raises:
        InputError: there is none, or its file does not import or lacks one of the three.
    """
    return cast(
        "CostFile", registry.load_module("cost", FOLDER, name, ("TIMED", "UNITS", "measure"))
    )
