"""Roofline: a device's two ceilings, and the least time of a graph under both ceilings.

Williams, Waterman, Patterson: Roofline: an insightful visual performance model for multicore
architectures, 2009.

Both ceilings are measured, not looked up: the rate of a large matrix product, and the rate of
copying memory. An operator needs at least the time of the multiply-accumulates at the first rate,
or the time of the memory traffic at the second rate, whichever is longer. A network needs the sum
over all operators. Operators that a compiler or a cache fuses take less traffic than counted here,
so a measured network may be faster than the least time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.graph.counting import products
from bench.graph.trace import Graph, Operator
from bench.timing.clock import once

_SIDES = {"cpu": 2048, "cuda": 8192}
"""Largest side of the multiplied matrices, by device type."""
_LONG = 0.1
"""Seconds: a slow device multiplies smaller matrices, whose product takes at least as long."""
_COPIED = {"cpu": 2**26, "cuda": 2**30}
"""Bytes to copy, by device type: far more than a cache holds."""
_REPETITIONS = 5
"""Timed runs of a product or a copy, of which the fastest counts."""


@dataclass(frozen=True)
class Ceilings:
    """The best rates that a device has just reached."""

    multiplies_per_second: float
    """Multiply-accumulates per second of a matrix product."""
    bytes_per_second: float
    """Bytes read plus bytes written per second by a copy."""

    def __str__(self) -> str:
        """Both rates as text."""
        return (
            f"matrix product {self.multiplies_per_second / 1e9:.4g} G multiplies/s, copy "
            f"{self.bytes_per_second / 1e9:.4g} GB/s"
        )


def ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """The device's ceilings for a dtype, the best of a few tries; with TF32 if TF32 is on."""
    # Any other device type gets the processor's sizes.
    most, side, product = _SIDES.get(device.type, _SIDES["cpu"]), 256, 0.0
    while side < most and product < _LONG:
        side *= 2
        product = _product_seconds(side, device, dtype, 1)
    product = _product_seconds(side, device, dtype, _REPETITIONS)
    source = torch.zeros(_COPIED.get(device.type, _COPIED["cpu"]), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = _fastest(lambda: target.copy_(source), device, _REPETITIONS)
    return Ceilings(side**3 / product, 2 * source.nbytes / copy)  # a copy reads and writes


def _product_seconds(side: int, device: torch.device, dtype: torch.dtype, tries: int) -> float:
    """Seconds of the fastest of so many products of two (side, side) matrices."""
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    return _fastest(lambda: left @ right, device, tries)


def _fastest(work: Callable[[], object], device: torch.device, tries: int) -> float:
    """Seconds of the fastest of so many runs, after a first run that does not count."""
    work()
    return min(once(work, device) for _ in range(tries))


def traffic(operator: Operator) -> int:
    """Elements that an operator reads and writes; 0 for a view, which moves no memory."""
    given = operator.tensors
    if not operator.outputs:
        return 0
    in_place = operator.out.number in {value.number for value in given}
    if not in_place and operator.out.storage in {value.storage for value in given}:
        return 0  # a view
    # By number, because a tensor that is given twice is read only once.
    return sum(value.size for value in {v.number: v for v in given}.values()) + sum(
        value.size for value in operator.outputs
    )


def least_seconds(graph: Graph, known: Ceilings, itemsize: int) -> float:
    """Least seconds of a graph under the ceilings, with elements of `itemsize` bytes."""
    return sum(
        max(
            products(operator) / known.multiplies_per_second,
            traffic(operator) * itemsize / known.bytes_per_second,
        )
        for operator in graph.operators
    )
