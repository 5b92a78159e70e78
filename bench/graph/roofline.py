"""What a machine could do at best: its two ceilings, and the least time of a graph under them.

Williams, Waterman, Patterson: Roofline: an insightful visual performance model for multicore
architectures, 2009. The ceilings are measured, not looked up: the rate of a large matrix product,
and that of copying memory. Each operator needs at least the time of its multiply-accumulates at
the first or of its traffic at the second, whichever is longer; a network needs the sum. Operators
that a compiler or a cache fuses take less traffic than that, so that a share may exceed 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.graph.counting import products
from bench.graph.trace import Graph, Operator

_SIDES = {"cpu": 2048, "cuda": 8192}
"""Of the matrices, where they are multiplied fast enough."""
_LONG = 0.1
"""Seconds of a matrix product that is large enough whatever its side."""
_COPIED = {"cpu": 2**26, "cuda": 2**30}
"""Bytes: far more than a cache holds."""
_REPETITIONS = 5


@dataclass(frozen=True)
class Ceilings:
    """What a device did at best, just now."""

    multiplies_per_second: float
    """Multiply-accumulates of a matrix product."""
    bytes_per_second: float
    """Read and written by a copy, both counted."""

    def __str__(self) -> str:
        """Both, for people."""
        return (
            f"matrix product {self.multiplies_per_second / 1e9:.4g} G multiplies/s, copy "
            f"{self.bytes_per_second / 1e9:.4g} GB/s"
        )


def repeat(work: Callable[[], object], device: torch.device, repetitions: int) -> list[float]:
    """Seconds of each repetition, after one that is not timed.

    A GPU's own events time it; elsewhere a monotonic clock does.
    """
    work()
    times = []
    for _ in range(repetitions):
        if device.type == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            work()
            stop.record()
            torch.cuda.synchronize(device)
            times.append(start.elapsed_time(stop) / 1e3)
        else:
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
    return times


def ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """The device's ceilings for a data type, the best of a few tries; TF32 counts if it is on."""
    most, side, product = _SIDES.get(device.type, _SIDES["cpu"]), 256, 0.0
    while side < most and product < _LONG:
        side *= 2
        product = _product_seconds(side, device, dtype, 1)
    product = _product_seconds(side, device, dtype, _REPETITIONS)
    source = torch.zeros(_COPIED.get(device.type, _COPIED["cpu"]), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = min(repeat(lambda: target.copy_(source), device, _REPETITIONS))
    return Ceilings(side**3 / product, 2 * source.nbytes / copy)


def _product_seconds(side: int, device: torch.device, dtype: torch.dtype, tries: int) -> float:
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    return min(repeat(lambda: left @ right, device, tries))


def traffic(operator: Operator) -> int:
    """Elements that an operator reads and writes; none where it only looks at memory otherwise."""
    given = operator.tensors
    if not operator.outputs:
        return 0
    in_place = operator.out.number in {value.number for value in given}
    if not in_place and operator.out.storage in {value.storage for value in given}:
        return 0
    return sum(value.size for value in {v.number: v for v in given}.values()) + sum(
        value.size for value in operator.outputs
    )


def least_seconds(graph: Graph, known: Ceilings, itemsize: int) -> float:
    """The least time of a graph under the ceilings, with elements of so many bytes."""
    return sum(
        max(
            products(operator) / known.multiplies_per_second,
            traffic(operator) * itemsize / known.bytes_per_second,
        )
        for operator in graph.operators
    )
