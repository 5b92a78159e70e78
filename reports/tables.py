"""The four tables that a page is made of, cleaned so that a section meets no surprises."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

from bench.result import (
    COLUMNS,
    RUN_COLUMNS,
    TRAINING_COLUMNS,
    VERDICT_COLUMNS,
    Cell,
    Quantity,
)

Row: TypeAlias = dict[str, Any]
"""One row of a table, by column name."""

Method: TypeAlias = tuple[str, str, str]
"""A method, its weights and how it was run: one row or column of most tables."""

NAMES_A_VALUE = [*Cell._fields, "machine"]
"""The columns that name a measured value; `machine` is empty unless the value belongs to one."""

_RESULT_NUMBERS = ("value", "spread")
_VERDICT_NUMBERS = ("claimed", "measured", "difference", "tolerance")


@dataclass(frozen=True)
class Tables:
    """Results, verdicts, runs and trainings: everything that a section may show.

    Text columns hold strings ('' where there is none), `scale` an int (0 where there is none),
    numbers floats (NaN where there is none). Results have two more columns: `machine`, what a time
    was measured on, '' for a quantity that is the same everywhere; and `better`, `higher` or
    `lower`, '' where neither is better. Runs and trainings are in
    long form, a row a fact; a training is known by the hash of the weights that it ended with, and
    by the method, weights and scale that results call them.
    """

    results: pd.DataFrame
    verdicts: pd.DataFrame
    runs: pd.DataFrame
    trainings: pd.DataFrame


def clean(
    results: pd.DataFrame,
    verdicts: pd.DataFrame,
    runs: pd.DataFrame,
    trainings: pd.DataFrame,
    known: Mapping[str, Quantity],
) -> Tables:
    """The tables as sections expect them.

    Args:
        results: columns `bench.result.COLUMNS`.
        verdicts: columns `bench.result.VERDICT_COLUMNS`.
        runs: columns `bench.result.RUN_COLUMNS`.
        trainings: columns `bench.result.TRAINING_COLUMNS`.
        known: the quantities by name. Values of a cost that is not among them are kept apart by
            machine.

    Raises:
        ValueError: a table that has rows lacks a column.
    """
    tidy_runs = _tidy("runs", runs, RUN_COLUMNS, ())
    tidy_results = _tidy("results", results, COLUMNS, _RESULT_NUMBERS)
    machines = machine_names(tidy_runs)
    tidy_results["machine"] = [
        machines.get(run, run) if _is_of_machine(known.get(quantity), dataset) else ""
        for run, quantity, dataset in zip(
            *(tidy_results[name] for name in ("run", "quantity", "dataset")), strict=True
        )
    ]
    tidy_results["better"] = [_better(known.get(name)) for name in tidy_results["quantity"]]
    tidy_verdicts = _tidy("verdicts", verdicts, VERDICT_COLUMNS, _VERDICT_NUMBERS)
    tidy_trainings = _tidy("trainings", trainings, TRAINING_COLUMNS, ())
    return Tables(tidy_results, tidy_verdicts, tidy_runs, tidy_trainings)


def _is_of_machine(quantity: Quantity | None, dataset: str) -> bool:
    return quantity.of_machine if quantity is not None else not dataset


def _better(quantity: Quantity | None) -> str:
    if quantity is None or quantity.higher_is_better is None:
        return ""
    return "higher" if quantity.higher_is_better else "lower"


def _tidy(
    name: str, table: pd.DataFrame, columns: tuple[str, ...], numbers: tuple[str, ...]
) -> pd.DataFrame:
    missing = [column for column in columns if column not in table.columns]
    if missing and len(table):
        raise ValueError(
            f"{name} lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}"
        )
    whole = table.reindex(columns=list(columns)).reset_index(drop=True)
    return pd.DataFrame({column: _typed(whole[column], numbers) for column in columns})


def _typed(column: pd.Series[Any], numbers: tuple[str, ...]) -> pd.Series[Any]:
    if column.name in numbers:
        return column.astype(float)
    if column.name == "scale":
        return pd.to_numeric(column).fillna(0).astype(int)
    return _text(column)


def _text(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.astype(object).where(column.notna(), "").map(str).astype(object)


def machine_names(runs: pd.DataFrame) -> dict[str, str]:
    """What each run's times were measured on: the device and, on a processor, its threads."""
    names = {}
    for run, rows in runs.groupby("run", sort=False):
        facts = dict(zip(rows["key"], rows["value"], strict=True))
        names[str(run)] = machine_name(facts) or str(run)
    return names


def machine_name(facts: dict[str, str]) -> str:
    """What a run's facts call its machine; '' where they do not say.

    >>> machine_name({"device": "cpu", "processor": "EPYC 9654", "threads": "16"})
    'EPYC 9654, 16 threads'
    >>> machine_name({"device": "NVIDIA H200", "processor": "EPYC 9654", "threads": "16"})
    'NVIDIA H200'
    """
    processor, threads = facts.get("processor", ""), facts.get("threads", "")
    device = facts.get("device", "")
    if device and device not in ("cpu", processor):
        return device
    name = processor or device or facts.get("machine", "")
    count = f"{threads} thread{'' if threads == '1' else 's'}"
    return f"{name}, {count}" if name and threads else name


def rows(table: pd.DataFrame) -> Iterator[Row]:
    """A table's rows as dictionaries, in order."""
    yield from ({str(k): v for k, v in row.items()} for row in table.to_dict("records"))


def latest(results: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: the last that was measured or, where none was, the last that says why."""
    ranked = results.assign(_measured=results["value"].notna())
    ranked = ranked.sort_values("_measured", kind="stable").drop_duplicates(NAMES_A_VALUE, keep="last")
    return ranked.sort_index().drop(columns="_measured")


def distinct(values: Iterable[Hashable]) -> list[Any]:
    """The distinct values, in order of appearance.

    >>> distinct(["srcnn", "anr", "srcnn"])
    ['srcnn', 'anr']
    """
    return list(dict.fromkeys(values))


def methods(table: pd.DataFrame) -> list[Method]:
    """The methods with their weights, and how they were run, in order of appearance."""
    return distinct(zip(table["method"], table["weights"], table["inference"], strict=True))


def scale_name(scale: int) -> str:
    """A scale as papers write it, a multiplication sign before it; nothing where there is none."""
    return f"\N{MULTIPLICATION SIGN}{scale}" if scale else ""
