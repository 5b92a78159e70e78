"""Wall time of an output image of 1280x720 on the given device, and the share of the roofline."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench import datasets, images
from bench.costs import Cost, Subject
from bench.evaluate import forward
from bench.files import fetch
from bench.graph import growth
from bench.graph.counting import products, total
from bench.graph.trace import trace_method
from bench.network import AUTOCAST, prepare, program_of, timed_as
from bench.result import SCALED
from bench.timing.clock import deciles, once, timed
from bench.timing.roofline import ceilings, least_seconds
from zoo.errors import InputError
from zoo.resample import imresize

CPU = torch.device("cpu")
TIMED = True
UNITS = {
    "seconds": "s",
    "seconds_p10": "s",
    "seconds_p90": "s",
    "processor_seconds": "s",
    "background_load": "cores",
    "roofline_fraction": "",
    "device_memory": "MiB",
}
HIGHER_IS_BETTER = ("roofline_fraction",)
PARTS = (1, 2, 4, 8)
"""Divisors of LR's sides: the largest output that the budget allows is computed."""


def photograph(height: int, width: int) -> Tensor:
    """A demo photograph, resized: (3, height, width), float64, whole levels in [0, 255]."""
    file = datasets.manifest("demo").role("HR")["coffee"]
    pixels = images.decode(fetch.local_path(file))
    return imresize(images.to_tensor(pixels, CPU), size=(height, width), rounding="once")


def measure(subject: Subject) -> dict[str, Cost]:
    """Seconds from LR to SR, the share of the roofline, and a GPU's peak memory.

    LR is a photograph of 1280x720 pixels divided by the scale, rounded up. The protocol's
    interpolation is included.

    If a run exceeds the budget, there are fewer runs. If a single run after the first exceeds it, a
    smaller output is computed, and its times are multiplied by the ratio of pixels; the note says
    so. If the multiplies per pixel depend on the size, nothing is measured.

    - `seconds` is the median, with the interquartile range as the spread; `seconds_p10` and
      `seconds_p90` are deciles.
    - `processor_seconds` is the time of all threads of the process on the processor, on average.
    - `background_load` is the number of cores that other processes kept busy.
    - `roofline_fraction` is the least time of the network's operators divided by the median. The
      machine's ceilings are measured in the same call. A method without weights has no such share.
      A method that `varies` has none either, nor a file that another program computes.
    - `device_memory` is the most memory that the GPU's allocator held, in MiB.

    Raises:
        InputError: the method cannot enlarge the photograph, or no run fits the budget.
    """
    method, device, asked = subject.method, subject.device, subject.inference
    run = prepare(subject.module, asked, method.factor(subject.scale), device)

    def work(part: int) -> Callable[[], object]:
        height, width = _lr_size(subject, part)
        lr = photograph(height, width)[: subject.channels].to(device)
        size = (height * subject.scale, width * subject.scale)
        return lambda: forward(lr, size, method, run, subject.protocol)

    # A compiled network would be compiled again for each size.
    part = 1 if asked.compiled else _part(subject, work)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # the peak must not include earlier methods
    times = timed(work(part), device, subject.timing)
    doubts = list(filter(None, (_scaled(subject, part), times.unsteady)))
    runs = len(times.wall)
    how = f"median of {runs}, spread is the interquartile range" if runs > 1 else "a single run"
    computed = f"{_output(subject, part)} output"
    program = program_of(subject.module)
    by = f"computed by {program}" if program else ""
    clauses = (computed, how, by, timed_as(subject.module), *dict.fromkeys(run.fallbacks), *doubts)
    note = "; ".join(filter(None, clauses))
    doubt = "; ".join(doubts)
    # A run computes `batch` copies of the image.
    share = _pixel_ratio(subject, part) / asked.batch
    low, high = deciles(times.wall)
    spread = None if times.spread is None else times.spread * share
    found = {
        "seconds": Cost(times.median * share, spread, note),
        "seconds_p10": Cost(low * share, note=doubt),
        "seconds_p90": Cost(high * share, note=doubt),
        "processor_seconds": Cost(
            times.processor * share, note="; ".join(["of all threads, on average", *doubts])
        ),
    }
    if times.background is not None:
        found["background_load"] = Cost(
            times.background, note=f"of {times.cores} cores; a run had {times.threads} threads"
        )
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device) / 2**20
        found["device_memory"] = Cost(most, note=f"of {asked.batch} at once; {computed}")
    return found | _share(subject, part, times.median / asked.batch, doubts)


def _lr_size(subject: Subject, part: int) -> tuple[int, int]:
    """Rows and columns of LR whose sides are this part of a 1280x720 output's LR, rounded up."""
    rows, columns = (math.ceil(side / part) for side in subject.lr_720p)
    return rows, columns


def _pixel_ratio(subject: Subject, part: int) -> float:
    """Pixels of the whole LR for each pixel of this part."""
    return math.prod(_lr_size(subject, 1)) / math.prod(_lr_size(subject, part))


def _part(subject: Subject, work: Callable[[int], Callable[[], object]]) -> int:
    """The least of `PARTS` at which two runs are expected to fit the budget.

    The expectation comes from a run of the smallest output, whose time grows with the pixels.

    Raises:
        InputError: this part is not 1, and the multiplies per pixel depend on the size, so a
            smaller output does not tell the time.
    """
    try:
        smallest = work(PARTS[-1])
        smallest()  # the first run is slower
    except InputError:
        return 1  # a method may need a larger image
    whole = once(smallest, subject.device) * _pixel_ratio(subject, PARTS[-1])
    budget = subject.timing.budget
    fits = (part for part in PARTS if 2 * whole / _pixel_ratio(subject, part) <= budget)
    part = next(fits, PARTS[-1])
    if part > 1 and _depends_on_size(subject):
        raise InputError(
            f"a run takes about {whole:.0f} s, which exceeds half the budget of {budget:g} s; a "
            "smaller output does not tell, because the multiplies per pixel depend on the size; "
            f"give --budget {math.ceil(2.5 * whole)}"
        )
    return part


def _depends_on_size(subject: Subject) -> bool:
    """Whether the network's multiplies per pixel depend on the size; no if it cannot be traced."""
    try:
        grown = growth.of_method(subject.method, subject.module, subject.scale, subject.lr_720p)
        return grown.per_pixel(total(products)) is None
    except InputError:
        return False


def _output(subject: Subject, part: int) -> str:
    """The size of the output of this part, in words."""
    rows, columns = (side * subject.scale for side in _lr_size(subject, part))
    return f"{columns}x{rows}"


def _scaled(subject: Subject, part: int) -> str:
    """The remark that times were scaled; '' for the whole output."""
    if part == 1:
        return ""
    return (
        f"{SCALED}{_output(subject, part)}, times {_pixel_ratio(subject, part):.4g}: a larger "
        f"output exceeds the budget of {subject.timing.budget:g} s"
    )


def _share(subject: Subject, part: int, median: float, doubts: list[str]) -> dict[str, Cost]:
    """The share of the roofline; empty without weights, or if the network cannot be traced.

    It is empty too if another program computes the network, maybe in another precision.
    """
    module = subject.module
    if next(module.parameters(), None) is None or subject.method.varies or program_of(module):
        return {}
    try:
        graph = trace_method(subject.method, subject.module, subject.scale, _lr_size(subject, part))
    except InputError:
        return {}
    dtype = AUTOCAST[subject.inference.precision] or torch.float32  # TF32 stores float32 as well
    known = ceilings(subject.device, dtype)
    least = least_seconds(graph, known, dtype.itemsize)
    note = "; ".join([f"ceilings: {known}", *doubts])
    return {"roofline_fraction": Cost(least / median, note=note)}
