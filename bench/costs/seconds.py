"""Wall time of an output image of 1280x720 on the given device, and the share of the roofline."""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor

from bench import datasets, images
from bench.costs import OUTPUT_720P, Cost, Subject
from bench.evaluate import forward
from bench.files import fetch
from bench.graph.roofline import ceilings, least_seconds, repeat
from bench.graph.trace import trace_method
from bench.network import AUTOCAST, prepare
from zoo.errors import InputError
from zoo.resample import imresize

CPU = torch.device("cpu")
TIMED = True
UNITS = {
    "seconds": "s",
    "seconds_p10": "s",
    "seconds_p90": "s",
    "roofline_fraction": "",
    "device_memory": "MiB",
}
HIGHER_IS_BETTER = ("roofline_fraction",)


def interquartile_range(times: list[float]) -> float:
    """Distance between the quartiles, in the unit of `times`; 0 for a single value.

    >>> interquartile_range([1.0, 2.0, 3.0, 4.0, 5.0])
    2.0
    """
    if len(times) < 2:
        return 0.0
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return high - low


def deciles(times: list[float]) -> tuple[float, float]:
    """The 10th and the 90th percentile, interpolated; for a single value, both are this value.

    >>> deciles([1.0, 2.0, 3.0, 4.0, 5.0])
    (1.4, 4.6)
    """
    if len(times) < 2:
        return times[0], times[0]
    found = statistics.quantiles(times, n=10, method="inclusive")
    return found[0], found[-1]


def photograph(height: int, width: int) -> Tensor:
    """A demo photograph, resized: (3, height, width), float64, whole levels in [0, 255]."""
    file = datasets.manifest("demo").role("HR")["coffee"]
    pixels = images.decode(fetch.local_path(file))
    return imresize(images.to_tensor(pixels, CPU), size=(height, width), rounding="once")


def measure(subject: Subject) -> dict[str, Cost]:
    """Seconds from LR to SR, the share of the roofline, and a GPU's peak memory.

    LR is a photograph of 1280x720 pixels divided by the scale, rounded up. The protocol's
    interpolation is included.

    - `seconds` is the median, with the interquartile range as the spread; `seconds_p10` and
      `seconds_p90` are deciles.
    - `roofline_fraction` is the least time of the network's operators divided by the median. The
      machine's ceilings are measured in the same call. A method without weights has no such share;
      a method that `varies` has none either.
    - `device_memory` is the most memory that the GPU's allocator held, in MiB.
    """
    method, device, asked = subject.method, subject.device, subject.inference
    height, width = (math.ceil(side / subject.scale) for side in OUTPUT_720P)
    lr = photograph(height, width)[: subject.channels].to(device)
    size = (height * subject.scale, width * subject.scale)
    run = prepare(subject.module, asked, method.factor(subject.scale), device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # the peak must not include earlier methods
    times = repeat(
        lambda: forward(lr, size, method, run, subject.protocol), device, subject.repetitions
    )
    times = [taken / asked.batch for taken in times]  # a run computes `batch` copies of the image
    median = statistics.median(times)
    note = f"{size[1]}x{size[0]} output, median of {len(times)}, spread is the interquartile range"
    note = "; ".join([note, *dict.fromkeys(run.fallbacks)])
    low, high = deciles(times)
    found = {
        "seconds": Cost(median, interquartile_range(times) if len(times) > 1 else None, note),
        "seconds_p10": Cost(low),
        "seconds_p90": Cost(high),
    }
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device) / 2**20
        found["device_memory"] = Cost(most, note=f"of {asked.batch} at once")
    return found | _share(subject, (height, width), median)


def _share(subject: Subject, lr_size: tuple[int, int], median: float) -> dict[str, Cost]:
    """The share of the roofline; empty without weights, or if the network cannot be traced."""
    if next(subject.module.parameters(), None) is None or subject.method.varies:
        return {}
    try:
        graph = trace_method(subject.method, subject.module, subject.scale, lr_size)
    except InputError:
        return {}
    dtype = AUTOCAST[subject.inference.precision] or torch.float32  # TF32 stores float32 as well
    known = ceilings(subject.device, dtype)
    least = least_seconds(graph, known, dtype.itemsize)
    return {"roofline_fraction": Cost(least / median, note=f"ceilings: {known}")}
