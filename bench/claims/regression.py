"""Regression: Results beside an earlier run's, for a project's own continuous integration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from bench import costs, metrics
from bench.result import Result, cell

SLACK = 1e-9
"""Relative: a count is compared exactly, but for binary fractions."""


@dataclass(frozen=True)
class Change:
    """One cell of the baseline that is missing now, or is not what it was."""

    before: Result
    now: Result | None
    is_worse: bool
    remark: str = ""

    def __str__(self) -> str:
        """The change in one line."""
        was = self.before
        weights = f"@{was.weights}" if was.weights else ""
        place = " ".join(filter(None, [was.dataset, was.image or "average" * bool(was.dataset)]))
        what = " ".join(f"{was.method}{weights} x{was.scale} {place} {was.inference} "
                        f"{was.quantity}".split())  # fmt: skip
        if self.now is None or self.now.value is None or was.value is None:
            return f"{what}: was {was.value}, is not measured now{self.remark}"
        difference = f"{self.now.value - was.value:+.6g} {was.unit}".rstrip()
        word = "worse" if self.is_worse else "better"
        return f"{what}: was {was.value:.6g}, is {self.now.value:.6g} ({difference}, {word})"


def changes(
    baseline: Iterable[Result], measured: Iterable[Result], tolerance: float
) -> list[Change]:
    """Every cell of the baseline that is missing, or changed by more than is allowed.

    A metric may change by `tolerance` in its own unit (dB, or SSIM's points); whether a change is
    for the worse is in the metric's file; where neither way is better, every such change is worse.
    Counts (multiplies, parameters) may not change: more is worse. Times belong to a machine and are
    left out.
    """
    now = {cell(result): result for result in measured}
    known = metrics.quantities() | costs.quantities()
    found = []
    for before in baseline:
        quantity = known.get(before.quantity)
        if before.value is None or (quantity is not None and quantity.of_machine):
            continue
        after = now.get(cell(before))
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
            higher_is_better = quantity.higher_is_better if quantity is not None else False
            is_better = (after.value > before.value) is higher_is_better
            is_worse = not is_better or math.isnan(after.value)
            found.append(Change(before, after, is_worse))
    return found
