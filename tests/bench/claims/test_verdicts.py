"""Verdicts, worked by hand on small tables."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from bench import published
from bench.claims import verdicts
from bench.published import Claim, PaperTable
from bench.result import Result

BASE = Result(
    method="bicubic",
    scale=2,
    dataset="set5",
    protocol="srcnn2014",
    quantity="psnr_y",
    value=33.66,
    unit="dB",
    spread=0.005,
)


def claim(printed: str = "33.66", operation: str = "", other: str = "", **changes: Any) -> Claim:
    values = {"value": float(printed), "spread": published.half_digit(printed)} | changes
    return Claim(replace(BASE, **values), printed, operation, other)


def judged(claims: list[Claim], results: list[Result]) -> pd.DataFrame:
    table = PaperTable("t", "title", "source", {"bicubic": "Bicubic"}, tuple(claims))
    return verdicts.judge(table, results, lambda _: "not planned")


def verdict(claimed: Claim, *results: Result) -> tuple[str, str]:
    (row,) = judged([claimed], list(results)).to_dict("records")
    return str(row["verdict"]), str(row["reason"])


@pytest.mark.parametrize("value", [33.655, 33.66, 33.6649, 33.665])
def test_a_value_that_rounds_to_the_printed_digit_is_reproduced(value: float) -> None:
    assert verdict(claim(), replace(BASE, value=value)) == ("reproduced", "")


@pytest.mark.parametrize(("value", "shown"), [(33.6549, "-0.0051"), (33.6701, "+0.0101")])
def test_a_value_that_does_not_deviates_by_so_much(value: float, shown: str) -> None:
    found, reason = verdict(claim(), replace(BASE, value=value))
    assert (found, reason) == ("deviates", f"differs by {shown} dB, 0.005 allowed")


def test_the_number_of_printed_digits_sets_the_tolerance() -> None:
    assert verdict(claim("33.7"), replace(BASE, value=33.66))[0] == "reproduced"
    assert verdict(claim("33.70"), replace(BASE, value=33.66))[0] == "deviates"


def test_a_claim_without_a_measurement_says_why() -> None:
    assert verdict(claim()) == ("not measured", "not planned")


def test_what_could_not_be_measured_gives_its_own_reason() -> None:
    failed = replace(BASE, value=None, note="not measured: operator x is unknown")
    assert verdict(claim(), failed) == ("not measured", "operator x is unknown")


@pytest.mark.parametrize(
    "change",
    [{"scale": 3}, {"dataset": "set14"}, {"image": "baby"}, {"quantity": "ssim_y"},
     {"method": "lanczos"}],
)  # fmt: skip
def test_another_cell_is_not_compared(change: dict[str, Any]) -> None:
    assert verdict(claim(), replace(BASE, **change))[0] == "not measured"


@pytest.mark.parametrize("value", [33.66, 27.54])
def test_value_of_another_protocol_judges_no_claim_and_stands_beside_it(value: float) -> None:
    # A value under other rules that equals the printed digit is a coincidence, and one that differs
    # is no deviation.
    row = judged([claim()], [replace(BASE, protocol="rcan2018", value=value)]).iloc[0]
    assert row["verdict"] == "not measured"
    assert row["reason"] == (
        f"measured only under another protocol than srcnn2014: {value} dB under rcan2018"
    )
    assert row["measured"] == value
    assert row["difference"] == pytest.approx(value - 33.66)


def test_values_of_several_other_protocols_are_all_named_and_none_is_chosen() -> None:
    others = [
        replace(BASE, protocol="rcan2018", value=33.7),
        replace(BASE, protocol="vdsr2016", value=33.68),
        replace(BASE, protocol="rcan2018", value=33.69),  # newer than the first
    ]
    row = judged([claim()], others).iloc[0]
    assert row["verdict"] == "not measured"
    assert row["reason"].endswith(": 33.69 dB under rcan2018; 33.68 dB under vdsr2016")
    assert math.isnan(row["measured"])


def test_difference_of_methods_under_other_protocols_judges_no_claim() -> None:
    gain = claim("3.00", "-", "lanczos")
    measured = [BASE, replace(BASE, method="lanczos", value=30.66, protocol="rcan2018")]
    row = judged([gain], measured).iloc[0]
    assert row["verdict"] == "not measured"
    assert row["reason"] == (
        "lanczos measured only under another protocol than srcnn2014: 30.66 dB under rcan2018"
    )
    assert row["measured"] == pytest.approx(3.0)


def test_inconsistent_claim_says_that_the_value_beside_it_is_of_another_protocol() -> None:
    noted = claim(note="inconsistent: Table 3 says 33.00")
    assert verdict(noted, replace(BASE, protocol="rcan2018")) == (
        "claim inconsistent",
        (
            "Table 3 says 33.00; measured only under another protocol than srcnn2014: "
            "33.66 dB under rcan2018"
        ),
    )


def test_the_claims_own_protocol_wins_over_another() -> None:
    other = replace(BASE, protocol="rcan2018", value=40.0)
    assert verdict(claim(), other, BASE) == ("reproduced", "")


def test_other_weights_are_another_cell() -> None:
    measured = replace(BASE, weights="imagenet")
    assert verdict(claim(weights="91"), measured)[0] == "not measured"
    assert verdict(claim(weights="imagenet"), measured)[0] == "reproduced"


def test_a_claim_that_names_no_weights_takes_the_only_ones() -> None:
    assert verdict(claim(), replace(BASE, weights="91"))[0] == "reproduced"
    two = [replace(BASE, weights="91"), replace(BASE, weights="imagenet")]
    assert verdict(claim(), *two)[0] == "not measured"


def test_an_average_that_is_not_the_mean_of_its_rows_is_inconsistent() -> None:
    rows = [claim("30.00", image="a"), claim("32.00", image="b"), claim("31.42")]
    last = judged(rows, [replace(BASE, value=31.42)]).iloc[-1]
    assert last["verdict"] == "claim inconsistent"
    assert last["reason"] == "the mean of the printed rows is 31.000, not 31.42"


def test_an_average_within_rounding_of_its_rows_is_consistent() -> None:
    rows = [claim("30.00", image="a"), claim("30.01", image="b"), claim("30.01")]
    assert not (judged(rows, [])["verdict"] == "claim inconsistent").any()


def test_the_one_inconsistent_average_of_the_srcnn_tables_is_found() -> None:
    found = {
        cell
        for name in ("srcnn2014_set5", "srcnn2014_set14")
        for cell in verdicts.inconsistent_averages(published.load(name))
    }
    assert [(cell.method, cell.scale, cell.quantity) for cell in found] == [("sc", 3, "psnr_y")]


def test_a_claim_that_its_own_paper_contradicts_is_inconsistent() -> None:
    noted = claim(note="inconsistent: Table 3 says 33.00")
    assert verdict(noted, BASE) == ("claim inconsistent", "Table 3 says 33.00")


def test_a_difference_and_a_ratio_are_measured_from_both_sides() -> None:
    other = replace(BASE, method="lanczos", value=30.66)
    assert verdict(claim("3.00", "-", "lanczos"), BASE, other)[0] == "reproduced"
    assert verdict(claim("1.0978", "/", "lanczos"), BASE, other)[0] == "reproduced"
    assert verdict(claim("3.00", "-", "nearest"), BASE, other)[0] == "not measured"


def test_a_ratio_to_nothing_is_not_measured() -> None:
    nothing = replace(BASE, method="lanczos", value=0.0)
    found = verdict(claim("3.00", "/", "lanczos"), BASE, nothing)
    assert found == ("not measured", "lanczos is 0, so there is no ratio")


def test_a_difference_is_no_average_of_its_first_methods_rows() -> None:
    rows = [claim("30.00", image="a"), claim("32.00", image="b"), claim("31.00")]
    gain = claim("3.00", "-", "lanczos")
    measured = [replace(BASE, value=31.0), replace(BASE, method="lanczos", value=28.0)]
    assert list(judged([*rows, gain], measured)["verdict"])[2:] == ["reproduced", "reproduced"]


def test_a_paper_is_judged_by_the_default_way_to_run_where_that_was_measured() -> None:
    bf16 = replace(BASE, inference="bf16", value=33.6)
    assert verdict(claim(), BASE, bf16) == ("reproduced", "")
    assert verdict(claim(), bf16, BASE) == ("reproduced", "")


def test_value_of_another_setting_judges_no_claim_and_stands_beside_it() -> None:
    row = judged([claim()], [replace(BASE, inference="bf16")]).iloc[0]
    assert row["verdict"] == "not measured"
    assert row["reason"] == "measured only in another setting: 33.66 dB in bf16"
    assert row["measured"] == 33.66
    both = [replace(BASE, inference="bf16"), replace(BASE, protocol="rcan2018", value=33.69)]
    assert verdict(claim(), *both) == (
        "not measured",
        (
            "measured only under another protocol than srcnn2014 or in another setting: "
            "33.66 dB in bf16; 33.69 dB under rcan2018"
        ),
    )


def test_claim_of_a_cost_that_names_no_protocol_takes_any() -> None:
    time = {"dataset": "", "quantity": "seconds", "unit": "s"}
    stated = claim("0.50", protocol="", **time)
    assert verdict(stated, replace(BASE, value=0.5, **time))[0] == "reproduced"


def test_rows_hold_the_difference_and_missing_numbers_are_nan() -> None:
    there, missing = judged([claim(), claim(scale=3)], [replace(BASE, value=33.7)]).to_dict(
        "records"
    )
    assert there["difference"] == pytest.approx(0.04)
    assert math.isnan(missing["measured"])
    assert math.isnan(missing["difference"])
