"""Registry of costs: each file in this folder is a cost, with TIMED, UNITS and measure(subject).

A cost says how much work, memory or time a method takes: multiplies, parameters, seconds. A cost
says nothing about quality and depends on no images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast
from typing import Protocol as Interface

from bench.files import registry
from bench.inference import DEFAULT, Inference
from bench.protocol import Protocol
from bench.result import Quantity
from zoo.errors import InputError
from zoo.method import Method

if TYPE_CHECKING:  # listing the costs does not load torch
    from collections.abc import Callable

    import torch
    from torch import nn

    from bench.graph.growth import Growth
    from bench.graph.trace import Graph
    from bench.timing.clock import Timing

FOLDER = Path(__file__).parent
OUTPUT_720P = (720, 1280)
"""Rows and columns of the output image for which the literature states costs."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The input of a cost: a method's module at a scale, on a device, under a protocol."""

    method: Method
    module: nn.Module
    scale: int
    protocol: Protocol
    device: torch.device
    timing: Timing
    """How long a time is measured, for timed costs."""
    inference: Inference = DEFAULT
    files: tuple[Path, ...] = ()
    """Files that hold the network and its weights; empty if code of Python makes the network."""

    @property
    def lr_720p(self) -> tuple[int, int]:
        """Rows and columns of LR for a 1280x720 output: divided by the scale, rounded up."""
        rows, columns = (math.ceil(side / self.scale) for side in OUTPUT_720P)
        return rows, columns

    @property
    def channels(self) -> int:
        """Planes of the method's input: 3 if the method works on RGB, else 1."""
        on_rgb = self.method.channels == "any" and self.protocol.degrade == "RGB"
        return 3 if on_rgb or self.method.channels == "RGB" else 1


@dataclass(frozen=True)
class Cost:
    """The value of a quantity."""

    value: float | None
    """In the unit that UNITS of the cost's file states; None if it has none:
    `note` says why."""
    spread: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse a cost below 0.

        Raises:
            InputError: the value is negative.
        """
        if self.value is not None and self.value < 0:
            raise InputError(f"a cost of {self.value:g}: expected at least 0; fix the cost's file")


def per_pixel(grown: Growth, count: Callable[[Graph], int], unit: float, parts: int = 1) -> Cost:
    """A count for each LR pixel, in multiples of `unit`; no value if it depends on the size.

    `parts` divides it further: by the pixels of SR for each pixel of LR.
    """
    found = grown.per_pixel(count)
    if found is None:
        return Cost(None, note=grown.on_the_size(count))
    fixed = grown.fixed(count)
    note = f"and {fixed:,} for an image, whatever its size" if fixed else ""
    return Cost(found / parts / unit, note=note)


def at_720p(grown: Growth, count: Callable[[Graph], int], scale: int, unit: float) -> Cost:
    """A count for a 1280x720 output, in multiples of `unit`.

    The count per pixel is multiplied, as if the image had no borders and any scale divided it. If
    there is none, or a part of the count is the same at every size, the count is that of an LR
    image of 1280x720 divided by the scale, rounded up.
    """
    found = grown.per_pixel(count)
    rows, columns = OUTPUT_720P
    fixed = grown.fixed(count) if found is not None else 0
    if found is not None and not fixed:
        return Cost(found * rows * columns / scale**2 / unit)
    try:
        exact = count(grown.graph(grown.stated))
    except InputError as error:
        return Cost(None, note=str(error))
    why = f"{fixed:,} of it at every size" if fixed else "depends on the size"
    return Cost(exact / unit, note=f"counted at {grown.stated_in_words}; {why}")


class CostFile(Interface):
    """The contents of a cost's file."""

    TIMED: bool
    """Whether the values depend on the machine, so that another machine measures again."""
    UNITS: dict[str, str]
    """Unit of each quantity that `measure` returns."""

    def measure(self, subject: Subject) -> dict[str, Cost]:
        """Quantity to value; a quantity of UNITS is left out if the device does not have it."""


def names() -> list[str]:
    """Names of all costs, sorted; no cost is imported."""
    return registry.module_names(FOLDER)


def quantities() -> dict[str, Quantity]:
    """All quantities of all costs, by name.

    A cost's file may list quantities in `HIGHER_IS_BETTER`. For all other quantities, less is
    better.

    Raises:
        InputError: a cost's file lacks UNITS or TIMED.
    """
    found = {}
    for cost in names():
        stated = registry.facts("cost", FOLDER, cost, ("TIMED", "UNITS"), ("HIGHER_IS_BETTER",))
        better = stated.get("HIGHER_IS_BETTER", ())
        registry.refuse_unless(
            "cost", FOLDER, cost, "HIGHER_IS_BETTER", "a tuple of quantities that UNITS names",
            isinstance(better, tuple) and set(better) <= stated["UNITS"].keys(),
        )  # fmt: skip
        for name, unit in stated["UNITS"].items():
            found[name] = Quantity(
                name=name,
                unit=unit,
                higher_is_better=name in better,
                of_machine=stated["TIMED"],
            )
    return found


def is_timed(name: str) -> bool:
    """Whether a cost depends on the machine, so that another machine measures again.

    Raises:
        InputError: no cost has this name, or the cost's file lacks TIMED.
    """
    stated = registry.facts("cost", FOLDER, name, ("TIMED",))
    return bool(stated["TIMED"])


def load(name: str) -> CostFile:
    """The cost with this name.

    Raises:
        InputError: no cost has this name, or the file does not import or lacks TIMED, UNITS or
            measure.
    """
    return cast(
        "CostFile", registry.load_module("cost", FOLDER, name, ("TIMED", "UNITS", "measure"))
    )
