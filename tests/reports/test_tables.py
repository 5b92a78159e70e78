from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from reports import scores
from reports.quantities import MINUS, UNMEASURED, fixed, quantity, signed, written
from reports.tables import clean, latest

Make = Callable[..., dict[str, Any]]
MakeTable = Callable[..., pd.DataFrame]
NOTHING = pd.DataFrame()


def test_the_last_measurement_counts(a_result: Make, as_results: MakeTable) -> None:
    cell = {"method": "a", "quantity": "parameters"}
    twice = as_results(a_result(**cell, value=1.0), a_result(**cell, value=2.0, run="run-2"))
    found = latest(clean(twice, NOTHING, NOTHING, NOTHING).results)
    assert found["value"].tolist() == [2.0]


def test_a_failure_does_not_hide_an_earlier_measurement(
    a_result: Make, as_results: MakeTable
) -> None:
    cell = {"method": "a", "quantity": "parameters"}
    failed = a_result(**cell, value=math.nan, note="out of memory", run="run-2")
    twice = as_results(a_result(**cell, value=1.0), failed)
    found = latest(clean(twice, NOTHING, NOTHING, NOTHING).results)
    assert found["value"].tolist() == [1.0]


def test_times_of_two_machines_are_two_cells(a_result: Make, as_results: MakeTable) -> None:
    cell = {"method": "a", "quantity": "seconds", "unit": "s"}
    twice = as_results(a_result(**cell, value=1.0), a_result(**cell, value=2.0, run="run-2"))
    found = latest(clean(twice, NOTHING, NOTHING, NOTHING).results)
    assert found["value"].tolist() == [1.0, 2.0]


def test_a_missing_scale_is_0(a_result: Make, as_results: MakeTable) -> None:
    row = as_results(a_result(method="a", scale=math.nan, quantity="parameters", value=1.0))
    assert clean(row, NOTHING, NOTHING, NOTHING).results["scale"].tolist() == [0]


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


def test_quantities_nobody_described_are_not_ranked() -> None:
    assert quantity("psnr_luma_hvs").ranked
    assert not quantity("colour_error").ranked
    assert scores.ranks("colour_error", [1.0, 2.0]) == ["", ""]


def test_nothing_is_best_without_a_rival() -> None:
    assert scores.ranks("psnr_y", [33.66]) == [""]
    assert scores.ranks("psnr_y", [33.66, math.nan]) == ["", ""]
    assert scores.ranks("psnr_y", [33.661, 33.662]) == ["", ""]
