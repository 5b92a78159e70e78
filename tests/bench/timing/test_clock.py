from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from bench.timing import clock
from bench.timing.clock import Times, Timing, interquartile_range, timed

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("times", "expected"),
    [((7.0,), 0.0), ((1.0, 3.0), 1.0), ((4.0, 1.0, 3.0, 2.0), 1.5), ((5.0, 1, 2, 3, 4), 2.0)],
)
def test_interquartile_range_by_hand(times: tuple[float, ...], expected: float) -> None:
    assert interquartile_range(times) == pytest.approx(expected)


class Machine:
    """A machine of 4 cores on which a run takes the next of the given seconds.

    Of each second, this process uses `own` seconds of processor time, and other processes use
    `others`.
    """

    def __init__(self, patch: pytest.MonkeyPatch, runs: Iterator[float], own: float = 2.0) -> None:
        self.now, self.runs, self.own, self.others = 0.0, runs, own, 0.0
        self.counted, self.done = 0.0, 0
        patch.setattr(time, "perf_counter", lambda: self.now)
        patch.setattr(time, "process_time", lambda: self.own * self.now)
        patch.setattr(clock, "_busy_seconds", lambda: self.counted)
        patch.setattr(clock.psutil, "cpu_count", lambda: 4)
        patch.setattr(torch, "get_num_threads", lambda: 4)

    def work(self) -> None:
        took = next(self.runs)
        self.now += took
        self.counted += took * (self.own + self.others)
        self.done += 1


def of(*seconds: float, first: float = 9.0) -> Iterator[float]:
    """The first run, then these, then the last of these for ever."""
    yield first
    yield from seconds
    while True:
        yield seconds[-1]


def test_a_steady_time_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, of(1.0, 1.05, 0.95, 1.0))
    found = timed(machine.work, CPU, Timing(repetitions=4, budget=100))
    assert found.wall == pytest.approx((1.0, 1.05, 0.95, 1.0))  # the first run does not count
    assert machine.done == 5
    assert (found.processor, found.background) == (pytest.approx(2.0), 0.0)
    assert found.unsteady == ""


def test_short_runs_are_repeated_until_the_load_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch, of(0.01))
    found = timed(machine.work, CPU, Timing(repetitions=5, budget=100))
    assert sum(found.wall) >= clock.LEAST_SECONDS
    # Differences of sums of seconds, in double.
    assert found.background == pytest.approx(0, abs=1e-9)


def test_a_spread_is_measured_again_and_the_steady_round_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch, of(1.0, 3.0, 1.0, 3.0, 2.0))
    found = timed(machine.work, CPU, Timing(repetitions=4, budget=100))
    assert found.wall == (2.0,) * 4
    assert found.unsteady == ""


def test_what_stays_unsteady_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, of(1.0, 3.0, 1.0, 3.0, *(1.0, 2.0) * 10))
    found = timed(machine.work, CPU, Timing(repetitions=4, budget=100))
    assert machine.done == 1 + 4 * clock.ROUNDS
    assert found.median == 1.5  # the least of the three rounds
    assert found.unsteady == "unsteady: the spread is 67% of the median"


def test_others_on_the_cores_that_a_run_needs_make_it_unsteady(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch, of(1.0))
    machine.others = 1.5
    found = timed(machine.work, CPU, Timing(repetitions=5, budget=100))
    assert found.background == pytest.approx(1.5)
    assert found.unsteady == "unsteady: other processes used 1.5 of 4 cores"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert timed(machine.work, CPU, Timing(budget=100)).unsteady == ""  # two cores are spare


def test_the_budget_ends_the_runs_but_one_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, of(10.0, first=10.0))
    assert len(timed(machine.work, CPU, Timing(repetitions=5, budget=35)).wall) == 2
    found = timed(machine.work, CPU, Timing(repetitions=5, budget=0.001))
    assert (found.wall, found.spread, found.unsteady) == ((10.0,), None, "")


def test_a_system_that_does_not_tell_leaves_the_load_open(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, of(1.0))
    monkeypatch.setattr(clock, "_busy_seconds", lambda: None)
    assert timed(machine.work, CPU, Timing(budget=100)).background is None


def test_the_system_counts_the_work_of_others() -> None:
    before = clock._busy_seconds()
    assert before is not None
    until = time.perf_counter() + 0.3
    while time.perf_counter() < until:
        pass
    assert (clock._busy_seconds() or 0.0) - before >= 0.2


def test_times_know_their_median_and_spread() -> None:
    found = Times(wall=(1.0, 2.0, 3.0), processor=1.0, background=None, cores=1, threads=1)
    assert (found.median, found.spread) == (2.0, 1.0)
