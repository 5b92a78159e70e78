"""Wall time of one 1280x720 output, on the device at hand."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import torch

from bench.costs import OUTPUT_720P, Cost, Subject
from bench.evaluate import forward

TIMED = True
UNITS = {"seconds": "s"}


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


def interquartile_range(times: list[float]) -> float:
    """Distance of the quartiles; 0 for a single value.

    >>> interquartile_range([1.0, 2.0, 3.0, 4.0, 5.0])
    2.0
    """
    if len(times) < 2:
        return 0.0
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return high - low


def measure(subject: Subject) -> dict[str, Cost]:
    """Median seconds from LR to SR, the protocol's interpolation included; spread is the IQR.

    LR is random, of 1280x720 pixels divided by the scale, rounded up.
    """
    height, width = (math.ceil(side / subject.scale) for side in OUTPUT_720P)
    generator = torch.Generator().manual_seed(0)
    lr = torch.randint(0, 256, (subject.channels, height, width), generator=generator)
    lr = lr.to(subject.device, torch.float64)
    size = (height * subject.scale, width * subject.scale)
    times = repeat(
        lambda: forward(lr, size, subject.method, subject.module, subject.protocol),
        subject.device,
        subject.repetitions,
    )
    note = f"{size[1]}x{size[0]} output, median of {len(times)}, spread is the interquartile range"
    return {"seconds": Cost(statistics.median(times), interquartile_range(times), note)}
