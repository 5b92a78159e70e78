"""The page's four tables: results, verdicts, runs and trainings, checked and typed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args, get_type_hints

import pandas as pd

from bench.result import (
    COLUMNS,
    RUN_COLUMNS,
    TRAINING_COLUMNS,
    VERDICT_COLUMNS,
    Cell,
    Quantity,
    Result,
    VerdictRow,
)

Row: TypeAlias = dict[str, Any]
"""One row of a table, by column name."""

Method: TypeAlias = tuple[str, str, str]
"""Method, weights and inference: a row or column of most tables."""

NAMES_A_VALUE = [*Cell._fields, "machine"]
"""The columns that identify a measured value. `machine` is '' unless the value depends on it."""


@dataclass(frozen=True)
class Tables:
    """Everything that a section may show.

    Text columns hold strings, `scale` holds integers, other numbers are floats. A missing value is
    '' in a text column, 0 in `scale` and NaN elsewhere.
    """

    results: pd.DataFrame
    """`bench.result.COLUMNS` and two more.

    `machine`: where the value was measured; '' for a quantity that is the same on every machine.
    `better`: `higher` or `lower`; '' if neither is better.
    """
    verdicts: pd.DataFrame
    """`bench.result.VERDICT_COLUMNS`."""
    runs: pd.DataFrame
    """Long form, a row per fact of a run."""
    trainings: pd.DataFrame
    """Long form, a row per fact of a training.

    A training is identified by the SHA-256 of its final weights, and by their method, weights and
    scale in results.
    """
    elsewhere: int
    """Number of results in the store that are not on the page."""


def clean(
    results: pd.DataFrame,
    verdicts: pd.DataFrame,
    runs: pd.DataFrame,
    trainings: pd.DataFrame,
    known: Mapping[str, Quantity],
    elsewhere: int = 0,
) -> Tables:
    """The tables as sections expect them.

    Args:
        results: columns `bench.result.COLUMNS`.
        verdicts: columns `bench.result.VERDICT_COLUMNS`.
        runs: columns `bench.result.RUN_COLUMNS`.
        trainings: columns `bench.result.TRAINING_COLUMNS`.
        known: quantities by name. Values of an unknown cost are kept apart by machine. An unknown
            quantity is not ranked.
        elsewhere: number of results in the store that are not among `results`.

    Raises:
        ValueError: a table has rows but lacks a column.
    """
    tidy_runs = _tidy("runs", runs, RUN_COLUMNS, ())
    tidy_results = _tidy("results", results, COLUMNS, _numbers(Result))
    machines = machine_names(tidy_runs)
    tidy_results["machine"] = [
        machines.get(run, run) if _is_of_machine(known.get(quantity), dataset) else ""
        for run, quantity, dataset in zip(
            *(tidy_results[name] for name in ("run", "quantity", "dataset")), strict=True
        )
    ]
    tidy_results["better"] = [_better(known.get(name)) for name in tidy_results["quantity"]]
    tidy_verdicts = _tidy("verdicts", verdicts, VERDICT_COLUMNS, _numbers(VerdictRow))
    tidy_trainings = _tidy("trainings", trainings, TRAINING_COLUMNS, ())
    return Tables(tidy_results, tidy_verdicts, tidy_runs, tidy_trainings, elsewhere)


def _is_of_machine(quantity: Quantity | None, dataset: str) -> bool:
    """Whether a value depends on the machine."""
    # An unknown quantity without a dataset is a cost and may be a time. Two machines' times must
    # not share a cell, where the later would hide the earlier.
    return quantity.of_machine if quantity is not None else not dataset


def _better(quantity: Quantity | None) -> str:
    if quantity is None or quantity.higher_is_better is None:
        return ""
    return "higher" if quantity.higher_is_better else "lower"


def _numbers(schema: type[Result | VerdictRow]) -> tuple[str, ...]:
    """The columns of a table that hold floats, by the types of the schema."""
    hints = get_type_hints(schema)
    return tuple(name for name, hint in hints.items() if float in (hint, *get_args(hint)))


def _tidy(
    name: str, table: pd.DataFrame, columns: tuple[str, ...], numbers: tuple[str, ...]
) -> pd.DataFrame:
    """A table with exactly these columns, each of its type."""
    # A table without rows may lack columns too: an empty DataFrame has none.
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
    # As objects: pandas' own string types differ between versions.
    return column.astype(object).where(column.notna(), "").map(str).astype(object)


def machine_names(runs: pd.DataFrame) -> dict[str, str]:
    """The machine of each run. A run whose facts do not say is named after itself."""
    names = {}
    for run, rows in runs.groupby("run", sort=False):
        facts = dict(zip(rows["key"], rows["value"], strict=True))
        names[str(run)] = machine_name(facts) or str(run)
    return names


def machine_name(facts: dict[str, str]) -> str:
    """The device of a run and, for a processor, the number of threads; '' if the facts lack both.

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
    """The rows of a table as dictionaries, in order."""
    yield from ({str(k): v for k, v in row.items()} for row in table.to_dict("records"))


def latest(results: pd.DataFrame) -> pd.DataFrame:
    """A row per cell: the last measured value, else the last row that says why there is none."""
    # Measured rows sort last, so a later failure does not hide an earlier value.
    ranked = results.assign(_measured=results["value"].notna())
    ranked = ranked.sort_values("_measured", kind="stable")
    ranked = ranked.drop_duplicates(NAMES_A_VALUE, keep="last")
    return ranked.sort_index().drop(columns="_measured")


def distinct(values: Iterable[Hashable]) -> list[Any]:
    """The distinct values, in order of appearance.

    >>> distinct(["srcnn", "anr", "srcnn"])
    ['srcnn', 'anr']
    """
    return list(dict.fromkeys(values))


def methods(table: pd.DataFrame) -> list[Method]:
    """The distinct methods with weights and inference, in order of appearance."""
    return distinct(zip(table["method"], table["weights"], table["inference"], strict=True))


def scale_name(scale: int) -> str:
    """A scale with a multiplication sign before the number, as in papers; '' for scale 0."""
    return f"\N{MULTIPLICATION SIGN}{scale}" if scale else ""
