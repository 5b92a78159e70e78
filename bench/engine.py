"""The engine: measures units and stores the Results; units already stored are skipped."""

from __future__ import annotations

from collections.abc import Sequence

from bench.measure import measure
from bench.plan import Unit
from bench.progress import Progress
from bench.result import Result
from bench.store import Store


def run_inline(units: Sequence[Unit], store: Store, run: str, progress: Progress) -> int:
    """The number of units measured: in turn, every unit whose Results are not in the store.

    Args:
        units: the units to have in the store.
        store: receives the Results.
        run: identifier of the run, kept with each Result.
        progress: shows a line for each unit.

    Raises:
        InputError: a unit cannot be measured. The Results of earlier units stay in the store.
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
    """Steps of progress: a step for each image, a single step for a cost."""
    return len(unit.dataset.images) if unit.dataset else 1


def _averages(results: Sequence[Result]) -> list[str]:
    """The averages or costs as text; if no value was measured, the notes that say why."""
    shown = [
        f"{result.quantity} {result.value:.6g} {result.unit}".rstrip()
        for result in results
        if not result.image and result.value is not None
    ]
    return shown or list(dict.fromkeys(result.note for result in results))
