"""Regression: Results compared with the Results of an earlier run, for continuous integration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from bench import costs, metrics
from bench.result import Result, cell

SLACK = 1e-9
"""Relative tolerance of counts: rounding errors of binary fractions, and nothing else."""


@dataclass(frozen=True)
class Change:
    """A cell of the baseline that is missing now, or whose value changed."""

    before: Result
    now: Result | None
    is_worse: bool
    remark: str = ""

    def __str__(self) -> str:
        """The change in one line."""
        was = self.before
        weights = f"@{was.weights}" if was.weights else ""
        place = " ".join(filter(None, [was.dataset, was.image or "average" * bool(was.dataset)]))
        cell_name = " ".join(f"{was.method}{weights} x{was.scale} {place} {was.inference} "
                        f"{was.quantity}".split())  # fmt: skip
        if self.now is None or self.now.value is None or was.value is None:
            return f"{cell_name}: was {was.value}, is not measured now{self.remark}"
        difference = f"{self.now.value - was.value:+.6g} {was.unit}".rstrip()
        word = self.remark or ("worse" if self.is_worse else "better")
        return f"{cell_name}: was {was.value:.6g}, is {self.now.value:.6g} ({difference}, {word})"


def changes(
    baseline: Iterable[Result], measured: Iterable[Result], tolerance: float
) -> list[Change]:
    """Every cell of the baseline that is missing now, or changed by more than the tolerance.

    The file of a metric says whether higher is better. If neither direction is better, every change
    beyond the tolerance is worse; so is every change of a quantity that nothing here measures. A
    count (multiplies, parameters) may not change, and more is worse. Times are left out, because
    they depend on the machine.

    Args:
        baseline: Results of the earlier run.
        measured: Results now.
        tolerance: how far a metric may change, in the metric's unit (dB; SSIM has no unit).
    """
    now = {cell(result): result for result in measured}
    known = metrics.quantities() | costs.quantities()
    found = []
    for before in baseline:
        quantity = known.get(before.quantity)
        if before.value is None or (quantity is not None and quantity.of_machine):
            continue
        after = now.get(cell(before))  # the cell includes the setting: bf16 is not fp32
        if after is None or after.value is None:
            others = [r.inference or "the default" for r in now.values()
                      if cell(replace(r, inference=before.inference)) == cell(before)
                      and r.inference != before.inference]  # fmt: skip
            remark = f", but as {' and '.join(others)}" if others else ""
            found.append(Change(before, after, is_worse=True, remark=remark))
            continue
        is_metric = quantity is not None and quantity.metric != ""
        allowed = tolerance if is_metric else SLACK * abs(before.value)
        if not (after.value == before.value or abs(after.value - before.value) <= allowed):
            # A quantity that no file describes is taken for a count: less is better.
            if quantity is None:
                remark = "worse or better: nothing here measures it, so it counts as worse"
                found.append(Change(before, after, is_worse=True, remark=remark))
                continue
            higher_is_better = quantity.higher_is_better
            is_better = (after.value > before.value) is higher_is_better
            is_worse = not is_better or math.isnan(after.value)  # comparisons with NaN are False
            found.append(Change(before, after, is_worse))
    return found
