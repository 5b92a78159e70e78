from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from bench import costs, metrics
from bench.result import VERDICTS, Quantity
from reports import marks, scores
from reports.quantities import MINUS, UNMEASURED, fixed, signed, written
from reports.tables import clean, latest, rows

Make = Callable[..., dict[str, Any]]
MakeTable = Callable[..., pd.DataFrame]
NOTHING = pd.DataFrame()
KNOWN = metrics.quantities() | costs.quantities()


def test_the_last_measurement_counts(a_result: Make, as_results: MakeTable) -> None:
    cell = {"method": "a", "quantity": "parameters"}
    twice = as_results(a_result(**cell, value=1.0), a_result(**cell, value=2.0, run="run-2"))
    found = latest(clean(twice, NOTHING, NOTHING, NOTHING, KNOWN).results)
    assert found["value"].tolist() == [2.0]


def test_a_failure_does_not_hide_an_earlier_measurement(
    a_result: Make, as_results: MakeTable
) -> None:
    cell = {"method": "a", "quantity": "parameters"}
    failed = a_result(**cell, value=math.nan, note="out of memory", run="run-2")
    twice = as_results(a_result(**cell, value=1.0), failed)
    found = latest(clean(twice, NOTHING, NOTHING, NOTHING, KNOWN).results)
    assert found["value"].tolist() == [1.0]


def test_times_of_two_machines_are_two_cells(a_result: Make, as_results: MakeTable) -> None:
    cell = {"method": "a", "quantity": "seconds", "unit": "s"}
    twice = as_results(a_result(**cell, value=1.0), a_result(**cell, value=2.0, run="run-2"))
    found = latest(clean(twice, NOTHING, NOTHING, NOTHING, KNOWN).results)
    assert found["value"].tolist() == [1.0, 2.0]


def test_a_missing_scale_is_0(a_result: Make, as_results: MakeTable) -> None:
    row = as_results(a_result(method="a", scale=math.nan, quantity="parameters", value=1.0))
    assert clean(row, NOTHING, NOTHING, NOTHING, KNOWN).results["scale"].tolist() == [0]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("psnr_y", math.nan, UNMEASURED),
        ("psnr_y", math.inf, "\N{INFINITY}"),
        ("psnr_y", -math.inf, f"{MINUS}\N{INFINITY}"),
        ("multiplies_per_input_px", 0.0, "0"),
        ("multiplies_per_input_px", 0.00004, "0.00004"),
        ("multiplies_720p", 10550.04, "10,550"),
        ("multiplies_720p", 9.9999, "10"),
        ("seconds", 0.0012345, "0.00123"),
        ("seconds", 1.2, "1.20"),
        ("brightness", -0.5, f"{MINUS}0.5"),
    ],
)
def test_values_as_they_are_written(key: str, value: float, text: str) -> None:
    assert written(key, value) == text


def test_a_difference_that_rounds_to_0_has_no_sign() -> None:
    assert fixed(-0.0001, 2) == "0.00"
    assert signed(0.0001, 2) == "0.00"
    assert signed(-0.05, 2) == f"{MINUS}0.05"


def ranks_of(
    name: str, higher_is_better: bool | None, a_result: Make, as_results: MakeTable
) -> list[str]:
    """Ranks of the values 1, 2 and 3 of a quantity of which that is better."""
    known = {name: Quantity(name=name, unit="", higher_is_better=higher_is_better)}
    values = (1.0, 2.0, 3.0)
    cells = [a_result(method=str(v), dataset="d", quantity=name, value=v) for v in values]
    table = clean(as_results(*cells), NOTHING, NOTHING, NOTHING, known).results
    return [score.rank for score in scores.ranked(name, list(rows(table)))]


def test_quantities_nobody_described_are_not_ranked(a_result: Make, as_results: MakeTable) -> None:
    assert "psnr_y" in KNOWN
    assert "colour_error" not in KNOWN
    cells = [
        a_result(method=method, dataset="d", quantity=key, value=value)
        for key in ("psnr_y", "colour_error")
        for method, value in (("a", 1.0), ("b", 2.0))
    ]
    table = clean(as_results(*cells), NOTHING, NOTHING, NOTHING, KNOWN).results
    psnr, error = (list(rows(found)) for _, found in table.groupby("quantity", sort=False))
    assert [score.rank for score in scores.ranked("psnr_y", psnr)] == ["second", "best"]
    assert [score.rank for score in scores.ranked("colour_error", error)] == ["", ""]


@pytest.mark.parametrize(
    ("higher_is_better", "expected"),
    [
        (True, ["", "second", "best"]),
        (False, ["best", "second", ""]),
        (None, ["", "", ""]),
    ],
)
def test_the_quantity_says_which_value_is_best(
    higher_is_better: bool | None, expected: list[str], a_result: Make, as_results: MakeTable
) -> None:
    assert ranks_of("distance_y", higher_is_better, a_result, as_results) == expected


def test_nothing_is_best_without_a_rival() -> None:
    assert scores.ranks("psnr_y", [33.66], "higher") == [""]
    assert scores.ranks("psnr_y", [33.66, math.nan], "higher") == ["", ""]
    assert scores.ranks("psnr_y", [33.661, 33.662], "higher") == ["", ""]


def test_every_verdict_of_the_schema_has_a_mark() -> None:
    assert sorted(mark.verdict for mark in marks.MARKS) == sorted(VERDICTS)


def test_missing_numbers_are_nan_in_every_column_that_the_schema_calls_a_float(
    a_result: Make, as_results: MakeTable, a_verdict: Make, as_verdicts: MakeTable
) -> None:
    result = as_results(a_result(method="a", quantity="parameters", value=None, spread=None))
    verdict = as_verdicts(a_verdict() | {"claimed": None, "tolerance": None})
    tables = clean(result, verdict, NOTHING, NOTHING, KNOWN)
    of_results, of_verdicts = (
        list(table.select_dtypes("float")) for table in (tables.results, tables.verdicts)
    )
    assert of_results == ["value", "spread"]
    assert of_verdicts == ["claimed", "measured", "difference", "tolerance"]
    assert tables.results[of_results].isna().all(axis=None)
    assert tables.verdicts[["claimed", "tolerance"]].isna().all(axis=None)
