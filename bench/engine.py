"""The engine: units in, Results into the store, what is stored skipped."""

from __future__ import annotations

from collections.abc import Sequence

from bench.measure import measure
from bench.plan import Unit
from bench.progress import Progress
from bench.result import Result
from bench.store import Store


def run_inline(units: Sequence[Unit], store: Store, run: str, progress: Progress) -> int:
    """Measure, one after the other, the units that are not stored yet; returns how many.

    Raises:
        InputError: a unit cannot be measured; the units before it stay stored.
    """
    waiting = [unit for unit in units if not store.has(unit.key)]
    with progress.work(len(waiting), sum(_steps(unit) for unit in waiting)):
        for unit in waiting:
            with progress.piece(unit.label) as lines:
                results = measure(unit, progress)
                store.add(unit.key, unit.label, run, results)
                lines.extend(_averages(results))
    return len(waiting)


def _steps(unit: Unit) -> int:
    return len(unit.dataset.images) if unit.dataset else 1


def _averages(results: Sequence[Result]) -> list[str]:
    """The averages, or the costs, for people; where there is none, why."""
    shown = [
        f"{result.quantity} {result.value:.6g} {result.unit}".rstrip()
        for result in results
        if not result.image and result.value is not None
    ]
    return shown or list(dict.fromkeys(result.note for result in results))
