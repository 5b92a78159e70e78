"""Regression: Results compared with the Results of an earlier run, for continuous integration."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import costs, metrics
from bench.result import Cell, Quantity, Result, cell
from zoo.errors import InputError, listed, unknown

SLACK = 1e-9
"""Relative tolerance of every value: rounding errors of binary fractions, and nothing else."""
_ELSEWHERE = {
    "method": ("of method {}", ""),
    "weights": ("with weights {}", "with no weights"),
    "scale": ("at x{}", ""),
    "dataset": ("on {}", "on no dataset"),
    "protocol": ("by {}", "by no protocol"),
    "inference": ("as {}", "as the default"),
}
"""Words for a cell that differs in this column only: with a text in the column, and without."""


@dataclass(frozen=True)
class Change:
    """A cell of the baseline that is missing now, or whose value changed."""

    before: Result
    now: Result | None
    is_worse: bool
    remark: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether nothing was compared, because there is no value now."""
        return self.now is None or self.now.value is None

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


@dataclass(frozen=True)
class Comparison:
    """A baseline beside the results now."""

    changes: list[Change]
    compared: int
    """How many values were compared."""
    of_machine: int
    """Cells of the baseline that are not compared, because they depend on the machine."""
    valueless: int
    """Cells of the baseline that are not compared, because they have no value there."""
    added: int
    """Cells that are measured now and are not in the baseline; times are not counted."""

    def count(self, *, worse: bool) -> int:
        """How many compared values are worse, or better."""
        return sum(not c.is_missing and c.is_worse is worse for c in self.changes)

    @property
    def missing(self) -> int:
        """How many cells of the baseline have no value now."""
        return sum(change.is_missing for change in self.changes)


def quantities() -> dict[str, Quantity]:
    """All quantities of metrics and costs, by name."""
    return metrics.quantities() | costs.quantities()


def tolerances(given: Sequence[str]) -> dict[str, float]:
    """Name of each metric to the change that is accepted, in the metric's unit.

    Args:
        given: `METRIC=NUMBER`, or a number for every metric in dB. Metrics that are not given have
            the tolerance that their file states.

    Raises:
        InputError: no metric has a given name, a number is none of at least 0, or a metric has two.
    """
    known = {quantity.metric: quantity for quantity in metrics.quantities().values()}
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        if name and name not in known:
            raise unknown("metric", name, known)
        try:
            tolerance = float(number)
        except ValueError:
            tolerance = -1.0
        if tolerance == math.inf or math.isnan(tolerance):
            raise InputError(f"--tolerance {text} would accept any change; give a finite number")
        if tolerance < 0:
            raise InputError(
                f"--tolerance {text}: {number!r} is no tolerance; give METRIC=NUMBER, as psnr=0.01"
            )
        in_db = [metric for metric, quantity in known.items() if quantity.unit == "dB"]
        for metric in [name] if name else in_db:
            if metric in found:
                raise InputError(f"{metric} has two tolerances; give --tolerance {metric}=... once")
            found[metric] = tolerance
    return {metric: quantity.tolerance for metric, quantity in known.items()} | found


def compare(
    baseline: Iterable[Result], measured: Iterable[Result], tolerance: Mapping[str, float]
) -> Comparison:
    """Every cell of the baseline that is missing now, or changed by more than the tolerance.

    The file of a metric says whether higher is better. If neither direction is better, every change
    beyond the tolerance is worse; so is every change of a quantity that nothing here measures. A
    count (multiplies, parameters) may not change, and more is worse. An average over another number
    of images is worse, whatever its value. Times are left out, because they depend on the machine.

    Args:
        baseline: Results of the earlier run.
        measured: Results now.
        tolerance: name of a metric to the accepted change, in the metric's unit.
    """
    known = quantities()
    now = {cell(result): result for result in measured}
    similar = _similar(now)
    skipped: Counter[str] = Counter()
    found = []
    compared = 0
    asked = set()
    for before in baseline:
        asked.add(cell(before))
        quantity = known.get(before.quantity)
        if quantity is not None and quantity.of_machine:
            skipped["of machine"] += 1
            continue
        if before.value is None:
            skipped["valueless"] += 1
            continue
        after = now.get(cell(before))  # the cell includes the setting: bf16 is not fp32
        if after is None or after.value is None:
            remark = _elsewhere(cell(before), similar)
            found.append(Change(before, after, is_worse=True, remark=remark))
            continue
        compared += 1
        allowed = tolerance.get(quantity.metric, 0.0) if quantity is not None else 0.0
        if change := _change(before, after, after.value - before.value, quantity, allowed):
            found.append(change)
    added = sum(
        place not in asked and not (place.quantity in known and known[place.quantity].of_machine)
        for place in now
    )
    return Comparison(found, compared, skipped["of machine"], skipped["valueless"], added)


def _change(
    before: Result, after: Result, by: float, quantity: Quantity | None, tolerance: float
) -> Change | None:
    """The change of a value; None if it is within the tolerance.

    Args:
        before: the cell in the baseline.
        after: the same cell now, with a value.
        by: the difference; NaN between two infinite values.
        quantity: unit and meaning; None if nothing here measures the quantity.
        tolerance: accepted change, beside rounding errors.
    """
    if after.unit != before.unit:
        remark = f"in {after.unit!r}, was in {before.unit!r}"
        return Change(before, after, is_worse=True, remark=remark)
    images, earlier = _images(after), _images(before)
    if images and earlier and images != earlier:
        remark = f"an average of {images} images, was of {earlier} images"
        return Change(before, after, is_worse=True, remark=remark)
    size = abs(before.value or 0.0)
    allowed = tolerance + (SLACK * size if math.isfinite(size) else 0.0)
    if after.value == before.value or abs(by) <= allowed:
        return None
    if quantity is None:
        remark = "worse or better: nothing here measures it, so it counts as worse"
        return Change(before, after, is_worse=True, remark=remark)
    return Change(before, after, is_worse=(by > 0) is not quantity.higher_is_better)


def _images(result: Result) -> str:
    """How many images an average covers, by its note: `5`, or `4 of 5`; empty if it says nothing.

    >>> _images(Result(method="m", scale=2, quantity="q", value=1, note="average of 4 of 5 images"))
    '4 of 5'
    """
    said = re.match(r"average of (\d+(?: of \d+)?) images", result.note)
    return said[1] if said and not result.image else ""


def _but_for(column: str, place: Cell) -> tuple[object, ...]:
    """What two cells share that differ in this column only."""
    return (column, *(value for name, value in place._asdict().items() if name != column))


def _similar(now: Iterable[Cell]) -> Mapping[tuple[object, ...], list[object]]:
    """`_but_for` of every cell and column of `_ELSEWHERE`, to what the column holds."""
    found: dict[tuple[object, ...], list[object]] = defaultdict(list)
    for place in now:
        for column in _ELSEWHERE:
            found[_but_for(column, place)].append(getattr(place, column))
    return found


def _elsewhere(place: Cell, similar: Mapping[tuple[object, ...], list[object]]) -> str:
    """Where a missing cell was measured instead, as words to append: `, but as bf16`."""
    words = []
    for column, (some, none) in _ELSEWHERE.items():
        others = similar.get(_but_for(column, place), [])
        words += [some.format(other) if other else none for other in others]
    return f", but {listed(words, 3)}" if words else ""
