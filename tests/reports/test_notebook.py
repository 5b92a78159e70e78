from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pandas as pd
import pytest

from bench import costs, metrics
from bench.result import COLUMNS, VERDICT_COLUMNS, Quantity
from reports.notebook import Table, table_of

Make = Callable[..., dict[str, Any]]
MakeTable = Callable[..., pd.DataFrame]

DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
KNOWN = metrics.quantities() | costs.quantities()


def shown(frame: pd.DataFrame, known: dict[str, Quantity] = KNOWN) -> str:
    return table_of(frame, known)._repr_html_() or ""


def plain(frame: pd.DataFrame) -> str:
    return str(pd.DataFrame(frame)._repr_html_())


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def lines(html: str) -> list[str]:
    """The visible text of each row of each table."""
    return [words(line) for line in re.findall(r"<tr.*?</tr>", html, re.DOTALL)]


@pytest.fixture(autouse=True)
def _default_options() -> Iterator[None]:
    with pd.option_context("display.notebook_repr_html", True):
        yield


def test_a_filtered_table_is_a_table_and_keeps_the_quantities(results: pd.DataFrame) -> None:
    table = table_of(results, KNOWN)
    filtered = table[table["scale"] == 2].sort_values("value")
    assert isinstance(filtered, Table)
    assert filtered.attrs == table.attrs
    assert "<b>" in (filtered._repr_html_() or "")


def test_the_values_are_those_of_the_frame(results: pd.DataFrame) -> None:
    table = table_of(results, KNOWN)
    pd.testing.assert_frame_equal(pd.DataFrame(table), results)
    table["value"] = 0.0
    assert not (results["value"] == 0.0).all()


def test_the_quantities_fit_into_json(results: pd.DataFrame) -> None:
    # Pandas writes `attrs` as JSON into Parquet files.
    assert json.loads(json.dumps(table_of(results, KNOWN).attrs))


def test_averages_stand_by_method_with_datasets_and_scales_across(results: pd.DataFrame) -> None:
    html = shown(results)
    assert lines(html)[:6] == [
        f"method set5 {TIMES}2 set5 {TIMES}3",
        "nearest 31.84 / 0.9404 27.84 / 0.9151",
        "bicubic 33.64 / 0.9492 29.64 / 0.9276",
        "k-svd@t91 35.74 / 0.9578 31.74 / 0.9399",
        "srcnn-9-1-5@91-images 36.34 / 0.9600 32.34 / 0.9430",
        f"sc {DASH} {DASH}",
    ]
    said = "PSNR (Y), dB / SSIM (Y), averaged over each dataset; protocol <b>srcnn2014</b>."
    assert said in html


def test_the_best_of_a_column_is_bold(results: pd.DataFrame) -> None:
    table = re.search(r"<tbody>.*?</tbody>", shown(results), re.DOTALL)
    assert table is not None
    assert re.findall(r"<b>([^<]*)</b>", table[0]) == ["36.34", "0.9600", "32.34", "0.9430"]


@pytest.mark.parametrize(
    ("higher_is_better", "best"), [(True, ["0.5"]), (False, ["0.25"]), (None, [])]
)
def test_the_quantity_decides_which_value_is_best(
    higher_is_better: bool | None, best: list[str], a_result: Make, as_results: MakeTable
) -> None:
    on = {"dataset": "set5", "quantity": "distance_y"}
    frame = as_results(
        a_result(method="a", value=0.5, **on), a_result(method="b", value=0.25, **on)
    )
    known = Quantity(name="distance_y", unit="", higher_is_better=higher_is_better)
    assert re.findall(r"<b>([^<]*)</b>", shown(frame, {"distance_y": known})) == best


def test_each_protocol_has_a_table_of_averages(results: pd.DataFrame) -> None:
    averages = results[results["dataset"] != ""]
    html = shown(pd.concat([averages, averages.assign(protocol="vdsr2016")]))
    assert re.findall(r"protocol <b>(\w+)</b>", html) == ["srcnn2014", "vdsr2016"]


def test_a_way_to_run_is_a_row_of_averages(a_result: Make, as_results: MakeTable) -> None:
    on = {"method": "vdsr", "weights": "official", "dataset": "set5", "quantity": "psnr_y"}
    frame = as_results(a_result(**on, value=37.53), a_result(**on, value=37.48, inference="bf16"))
    assert lines(shown(frame))[1:] == ["vdsr@official 37.53", "vdsr@official bf16 37.48"]


def test_costs_stand_by_method_and_scale_with_units(results: pd.DataFrame) -> None:
    html = shown(results[results["dataset"] == ""])
    assert lines(html)[0] == (
        "method scale multiplies per input px, M interpolation, per input px, M parameters seconds"
    )
    assert f"k-svd {TIMES}3 0.05 0.00004 12,500 1.20 \N{PLUS-MINUS SIGN} 0.06" in lines(html)
    assert f"nearest {TIMES}2 0 {DASH} 0 0.00100 \N{PLUS-MINUS SIGN} 0.00005" in lines(html)


def test_times_of_two_runs_stand_in_two_columns(a_result: Make, as_results: MakeTable) -> None:
    cell = {"method": "a", "quantity": "seconds", "unit": "s"}
    frame = as_results(a_result(**cell, value=1.0), a_result(**cell, value=0.5, run="run-2"))
    assert lines(shown(frame)) == [
        "method scale seconds run-1 seconds run-2",
        f"a {TIMES}2 1.00 0.500",
    ]
    # A single run needs no name.
    assert lines(shown(frame.head(1)))[0] == "method scale seconds"


def test_an_approximate_time_says_why(a_result: Make, as_results: MakeTable) -> None:
    scaled = "scaled from 320x180, times 16: a larger output exceeds the budget of 10 s"
    cell = {"method": "a", "quantity": "seconds", "unit": "s", "note": f"320x180 output; {scaled}"}
    html = shown(as_results(a_result(**cell, value=22.0)))
    assert f"a {TIMES}2 ~22.0" in lines(html)
    assert f"~ approximate: a {TIMES}2: {scaled}" in html


def test_rows_of_single_images_are_counted_and_found(results: pd.DataFrame) -> None:
    images = results[results["image"] != ""]
    html = shown(results)
    assert "38.30" not in html
    said = re.search(r"([\d,]+) rows are of single images: <code>(.*?)</code>", html)
    assert said is not None
    assert said[1] == str(len(images)) == "80"
    table = table_of(results, KNOWN)
    found = eval(unescape(said[2]), {"table": table})
    assert len(found) == len(images)
    assert found._repr_html_() == plain(images)


def test_values_that_are_missing_have_their_reason(results: pd.DataFrame) -> None:
    assert "1 not measured: no dictionary was published (sc)" in words(shown(results))


def test_remarks_on_averages_stand_below(a_result: Make, as_results: MakeTable) -> None:
    average = {"method": "a", "dataset": "photos", "scale": 2, "image": "", "unit": ""}
    left_out = "average of 4 of 5 images; left out, infinite value: flat"
    found = as_results(
        a_result(**average, quantity="psnr_y", value=30.0, note=f"{left_out}; a hint"),
        a_result(**average, quantity="ssim_y", value=0.9, note="average of 5 images; a hint"),
    )
    html = table_of(found, KNOWN)._repr_html_() or ""
    assert html.count(", photos \N{MULTIPLICATION SIGN}2: left out, infinite value: flat</p>") == 1
    assert html.count(", photos \N{MULTIPLICATION SIGN}2: a hint</p>") == 1


def test_verdicts_are_counted_by_paper_table(verdicts: pd.DataFrame) -> None:
    other = verdicts.head(1).assign(table="vdsr2016")
    html = shown(pd.concat([verdicts, other]))
    marks = "\N{CHECK MARK} reproduced \N{BALLOT X} deviates ! claim inconsistent"
    assert lines(html)[:3] == [
        f"table {marks} {DASH} not measured",
        "srcnn2014_set5 2 1 1 1",
        "vdsr2016 1 0 0 0",
    ]


def test_claims_that_were_not_reproduced_are_listed_deviations_first(
    verdicts: pd.DataFrame,
) -> None:
    head, deviates, inconsistent, missing = lines(shown(verdicts.iloc[::-1]))[2:]
    assert head == "claim place printed measured verdict reason"
    assert deviates == (
        f"SRCNN foreman, set5 {TIMES}2, PSNR (Y) 33.35 33.40 \N{BALLOT X} deviates "
        "differs by +0.0504 dB, 0.005 allowed"
    )
    assert inconsistent == (
        f"SC average, set5 {TIMES}3, PSNR (Y) 31.42 {DASH} ! claim inconsistent "
        "the mean of the printed rows is 31.238"
    )
    assert missing == (
        f"SC baby, set5 {TIMES}2, PSNR (Y) 34.29 {DASH} {DASH} not measured zoo holds no method sc"
    )


def test_a_difference_of_two_methods_is_named_by_both(
    a_verdict: Make, as_verdicts: MakeTable
) -> None:
    claim = a_verdict(label="", method="edsr", operation="-", other="vdsr", verdict="deviates")
    assert lines(shown(as_verdicts(claim)))[3].startswith("edsr - vdsr average, ")


def test_claims_past_the_fortieth_are_counted(a_verdict: Make, as_verdicts: MakeTable) -> None:
    missing = {"verdict": "not measured", "measured": math.nan}
    many = as_verdicts(*(a_verdict(**missing, image=f"image {i}") for i in range(42)))
    html = shown(many)
    assert html.count(", set5") == 40
    assert "2 more claims were not reproduced" in words(html)
    assert "more claim" not in words(shown(many.head(40)))


def test_verdict_nobody_foresaw_is_counted_and_listed(
    a_verdict: Make, as_verdicts: MakeTable
) -> None:
    html = shown(as_verdicts(a_verdict(), a_verdict(verdict="disputed", reason="by whom")))
    assert lines(html)[0].endswith("? disputed")
    assert lines(html)[3].endswith("? disputed by whom")


def test_verdicts_that_were_all_reproduced_are_only_counted(
    a_verdict: Make, as_verdicts: MakeTable
) -> None:
    assert shown(as_verdicts(a_verdict())).count("<table>") == 1


@pytest.mark.parametrize("columns", [COLUMNS, VERDICT_COLUMNS], ids=["results", "verdicts"])
def test_any_other_table_is_shown_as_pandas_shows_it(
    columns: tuple[str, ...], results: pd.DataFrame, verdicts: pd.DataFrame
) -> None:
    frame = results if columns is COLUMNS else verdicts
    for other in (
        frame.head(0),
        frame[["method", "scale"]],
        frame.drop(columns="unit"),
        frame.assign(mine=1),
        frame.describe(),
    ):
        assert shown(other) == plain(other)


def test_html_is_off_where_pandas_has_it_off(results: pd.DataFrame) -> None:
    with pd.option_context("display.notebook_repr_html", False):
        assert table_of(results, KNOWN)._repr_html_() is None


def test_the_order_of_columns_does_not_matter(results: pd.DataFrame) -> None:
    assert shown(results[list(reversed(COLUMNS))]) == shown(results)


def test_hostile_names_are_escaped(results: pd.DataFrame, verdicts: pd.DataFrame) -> None:
    evil = "<script>alert('x')</script>\"onload=\"y&amp;"
    dataset = results["dataset"].where(results["dataset"] == "", evil)
    hostile = dict.fromkeys(
        ("method", "weights", "protocol", "inference", "unit", "note", "run"), evil
    )
    for frame in (
        results.assign(**hostile, dataset=dataset),
        verdicts.assign(label=evil, reason=evil, table=evil, printed=evil, dataset=evil),
    ):
        html = shown(frame)
        assert "<script" not in html
        assert '"onload' not in html
        assert evil in unescape(html)


def test_a_notebook_s_own_colours_are_kept(results: pd.DataFrame, verdicts: pd.DataFrame) -> None:
    for html in (shown(results), shown(verdicts)):
        styles = ";".join(re.findall(r'style="([^"]*)"', html))
        found = {part.split(":")[0].strip(): part for part in styles.split(";")}
        assert set(found) == {"text-align", "caption-side", "color"}
        assert found["color"].strip() == "color: inherit"
        assert re.search(r"<style|<link|<script|://", html) is None


def test_tables_for_notebooks_work_without_torch() -> None:
    code = "import reports.notebook, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
