"""The engine: measures units and stores the Results; units already stored are skipped."""

from __future__ import annotations

from collections.abc import Sequence

from bench.measure import measure
from bench.plan import Unit
from bench.progress import Progress
from bench.result import Result, doubts
from bench.store import Store


def waiting(units: Sequence[Unit], store: Store, *, again: bool) -> list[Unit]:
    """The units to measure: those whose Results are not in the store, and times asked for again.

    Args:
        units: the units to have in the store.
        store: knows which are measured.
        again: whether times in the store are measured again.
    """
    return [unit for unit in units if not store.has(unit.key) or (again and unit.is_timed)]


def run_inline(
    units: Sequence[Unit], store: Store, run: str, progress: Progress, *, again: bool = False
) -> int:
    """The number of units measured: in turn, every unit that is `waiting`.

    Args:
        units: the units to have in the store.
        store: receives the Results.
        run: identifier of the run, kept with each Result.
        progress: shows a line for each unit.
        again: whether times in the store are measured again, and replaced.

    Raises:
        InputError: a unit cannot be measured. The Results of earlier units stay in the store.
    """
    measured = waiting(units, store, again=again)
    with progress.work(len(measured), sum(_steps(unit) for unit in measured)):
        for unit in measured:
            with progress.piece(unit.label) as lines:
                results = measure(unit, progress)
                store.add(unit.key, unit.label, run, results, anew=again)
                lines.extend(_averages(results))
    return len(measured)


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
    shown += dict.fromkeys(doubt for result in results for doubt in doubts(result.note))
    return shown or list(dict.fromkeys(result.note for result in results))
