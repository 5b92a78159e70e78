"""The engine: measures units and stores the Results; units already stored are skipped."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.foreign.guard import State, settings
from bench.measure import measure
from bench.plan import PLACE, Unit, differences
from bench.progress import Progress
from bench.result import Failure, Result, doubts
from bench.store import Store
from zoo.errors import InputError, listed, one_line

TRACEBACK = "SISRBENCH_TRACEBACK"
"""Environment variable: if set, an exception of a method ends the command with a traceback."""


def waiting(units: Sequence[Unit], store: Store, *, again: bool) -> list[Unit]:
    """The units to measure: those whose Results are not in the store, and times asked for again.

    Args:
        units: the units to have in the store.
        store: knows which are measured.
        again: whether times in the store are measured again.
    """
    return [unit for unit in units if not store.has(unit.key) or (again and unit.is_timed)]


class Ran(NamedTuple):
    """What was done for some units."""

    computed: int
    """Units that were measured now."""
    failures: list[Failure]
    """Units that could not be measured."""


def run_inline(
    units: Sequence[Unit],
    store: Store,
    run: str,
    progress: Progress,
    *,
    again: bool = False,
    watch: State | None = None,
) -> Ran:
    """Measure in turn every unit that is `waiting`, and store its Results.

    A unit that fails does not keep others from being measured. But if all units with a dataset
    fail, costs are not measured.

    Args:
        units: the units to have in the store.
        store: receives the Results.
        run: identifier of the run, kept with each Result.
        progress: shows a line for each unit.
        again: whether times in the store are measured again, and replaced.
        watch: the process's state before the first method was imported that is not this project's;
            None if there is none.

    Raises:
        InputError: the store cannot be used. The Results of earlier units stay in the store.
    """
    measured = waiting(units, store, again=again)
    for line in _why_again(measured, store):
        progress.say(line)
    on_images = sum(unit.dataset is not None for unit in units)
    failures: list[Failure] = []
    done = 0
    with progress.work(len(measured), sum(_steps(unit) for unit in measured)):
        for unit in measured:  # those with a dataset come first
            if unit.dataset is None and 0 < on_images == len(failures):
                break
            with progress.piece(unit.label) as lines:
                try:
                    results = _measured(unit, progress, watch)
                    changes = watch.changes() if watch is not None else []
                except InputError as error:
                    failures.append(Failure(unit.label, str(error)))
                    lines.append(f"not measured: {error}")
                    continue
                if changes:
                    failures.append(Failure(str(unit.method.source), _foreign(changes)))
                    lines.append("not measured")
                    break  # every later number of this process would be made under the changes
                store.add(unit.key, unit.label, run, results, unit.facts, anew=again)
                lines.extend(_averages(results))
                done += 1
    return Ran(done, failures)


def _why_again(units: Sequence[Unit], store: Store) -> list[str]:
    """Why units are measured that were measured before, in words; a line for each reason."""
    known = {_place(facts): facts for facts in store.facts()}
    counted: Counter[str] = Counter()
    for unit in units:
        before = known.get(_place(unit.facts))
        changed = differences(before, unit.facts) if before is not None else []
        if changed:
            counted[listed(changed)] += 1
    return [
        f"measured again: {count} of {len(units)}, since this changed: {reason}"
        for reason, count in counted.items()
    ]


def _place(facts: Mapping[str, Any]) -> str:
    """The facts by which people know a unit, as a text."""
    return json.dumps([facts.get(name) for name in PLACE])


def _foreign(changes: Sequence[str]) -> str:
    """The reason why a method that changes its process is not measured."""
    return (
        f"changes {listed(changes)} for the whole process, so its numbers are not kept; compute "
        "without changing settings or functions of others"
    )


def raised(error: BaseException) -> str:
    """An exception of a method as the reason of a failure.

    Raises:
        BaseException: the exception itself, if the user asked for tracebacks by `TRACEBACK`.
    """
    if TRACEBACK in os.environ:
        raise error
    return f"raised {one_line(error, 160)}; set {TRACEBACK}=1 to see where"


def _measured(unit: Unit, progress: Progress, watch: State | None) -> list[Result]:
    """The Results of a unit.

    Raises:
        InputError: the unit cannot be measured, or a file that the unit depends on changed while
            it was measured.
    """
    try:
        results = measure(unit, progress, settings if watch is not None else None)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a method may raise anything
        raise InputError(raised(error)) from error
    now = unit.read_again().facts
    files = [
        name for kind in ("files", "code") for name in now[kind] if name not in unit.facts[kind]
    ]
    if files:
        raise InputError(
            f"reads {listed(files)} only when it computes, so that its numbers would not be known "
            "by it; read or import it when the module is built, or name a file that is no code in "
            "the Method's `files`"
        )
    changed = differences(unit.facts, now)
    if changed:
        raise InputError(
            f"{listed(changed)} changed while it was measured, so nothing is kept; run again"
        )
    return results


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
