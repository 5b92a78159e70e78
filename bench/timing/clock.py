"""Timed runs: wall time and processor time of equal runs, and the load of other processes.

A time that was taken while other processes used the processor is longer than the method needs.
So the load is measured with the time, an unsteady time is measured again, and a time that stays
unsteady says so.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch

from bench.result import UNSTEADY

ROUNDS = 3
"""Most rounds of repetitions for an unsteady time."""
LEAST_SECONDS = 0.3
"""Shortest round: the system counts processor time in steps of 10 ms."""
STEADY_SPREAD = 0.1
"""Largest interquartile range of a steady time, as a fraction of the median."""
IDLE_SHARE = 0.05
"""The share of all cores that other processes may use without disturbing."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long a time is measured."""

    repetitions: int = 5
    """Least number of timed runs, if the budget allows."""
    budget: float = 30.0
    """Seconds for all runs of a method at a scale. At least one run is timed."""


DEFAULT_TIMING = Timing()


@dataclass(frozen=True, kw_only=True)
class Times:
    """The times of equal runs."""

    wall: tuple[float, ...]
    """Seconds of each run."""
    processor: float
    """Processor seconds of a run on average, of all threads of this process."""
    background: float | None
    """Cores that other processes kept busy, on average; None if the system does not say."""
    cores: int
    """Cores of the machine."""
    threads: int
    """Processor threads of a run."""

    @property
    def median(self) -> float:
        """The median of the runs, in seconds."""
        return statistics.median(self.wall)

    @property
    def spread(self) -> float | None:
        """The interquartile range of the runs, in seconds; None for a single run."""
        return interquartile_range(self.wall) if len(self.wall) > 1 else None

    @property
    def unsteady(self) -> str:
        """Why the time is not to be relied on, as a remark that begins with `UNSTEADY`; else ''."""
        reasons = []
        allowed = max(self.cores - self.threads, 0) + IDLE_SHARE * self.cores
        if self.background is not None and self.background > allowed:
            reasons.append(f"other processes used {self.background:.2g} of {self.cores} cores")
        spread = self.spread or 0.0
        if spread > STEADY_SPREAD * self.median:
            reasons.append(f"the spread is {spread / self.median:.0%} of the median")
        return UNSTEADY + ", ".join(reasons) if reasons else ""


def interquartile_range(times: tuple[float, ...]) -> float:
    """The distance between the quartiles, in the unit of `times`; 0 for a single value.

    >>> interquartile_range((1.0, 2.0, 3.0, 4.0, 5.0))
    2.0
    """
    if len(times) < 2:
        return 0.0
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return high - low


def deciles(times: tuple[float, ...]) -> tuple[float, float]:
    """The 10th and the 90th percentile, interpolated; for a single value, both are this value.

    >>> deciles((1.0, 2.0, 3.0, 4.0, 5.0))
    (1.4, 4.6)
    """
    if len(times) < 2:
        return times[0], times[0]
    found = statistics.quantiles(times, n=10, method="inclusive")
    return found[0], found[-1]


def once(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of a run of `work`.

    On a GPU, CUDA events measure the time; elsewhere a monotonic clock does.
    """
    if device.type == "cuda":
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        work()
        stop.record()
        torch.cuda.synchronize(device)
        return float(start.elapsed_time(stop)) / 1e3  # CUDA reports milliseconds
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def timed(work: Callable[[], object], device: torch.device, timing: Timing) -> Times:
    """The times of `work`, after a first run that is not timed.

    An unsteady round of repetitions is measured again, at most `ROUNDS` in all, as far as the
    budget allows. The result is the first steady round, else the round with the least median.
    """
    deadline = time.perf_counter() + timing.budget
    work()
    rounds: list[Times] = []
    for _ in range(ROUNDS):
        rounds.append(_round(work, device, timing.repetitions, deadline))
        if not rounds[-1].unsteady:
            return rounds[-1]
        if time.perf_counter() + sum(rounds[-1].wall) > deadline:
            break
    return min(rounds, key=lambda found: found.median)


def _round(
    work: Callable[[], object], device: torch.device, repetitions: int, deadline: float
) -> Times:
    """At least one timed run; further runs up to the repetitions end at the deadline."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    busy, own, began = _busy_seconds(), _own_seconds(), time.perf_counter()
    wall: list[float] = []
    while len(wall) < repetitions or time.perf_counter() - began < LEAST_SECONDS:
        wall.append(once(work, device))
        if time.perf_counter() + wall[-1] > deadline:
            break
    elapsed, processor = time.perf_counter() - began, _own_seconds() - own
    background = None
    if busy is not None and elapsed >= LEAST_SECONDS:
        background = max((_busy_seconds() or 0.0) - busy - processor, 0.0) / elapsed
    return Times(
        wall=tuple(wall),
        processor=processor / len(wall),
        background=background,
        cores=psutil.cpu_count() or 1,
        threads=threads,
    )


def _own_seconds() -> float:
    """Processor time of this process, and of processes that it started and that have ended."""
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def _busy_seconds() -> float | None:
    """Seconds in which cores worked since the machine's start; None if the system does not say.

    Time that a host took from a virtual machine counts as work of others.
    """
    try:
        counted = psutil.cpu_times()._asdict()
    except (OSError, RuntimeError, NotImplementedError):
        return None
    # Linux counts the time of guests as the time of users as well.
    idle = ("idle", "iowait", "guest", "guest_nice")
    return float(sum(seconds for name, seconds in counted.items() if name not in idle))
