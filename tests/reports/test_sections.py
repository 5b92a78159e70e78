from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from bench import costs as cost_files
from bench import metrics
from bench.result import Quantity
from reports.sections import (
    accuracy_against_cost,
    averages,
    costs,
    environment,
    inference,
    per_image,
    summary,
    training,
    verdicts,
)
from reports.tables import Tables, clean

Make = Callable[..., dict[str, Any]]
MakeTable = Callable[..., pd.DataFrame]

DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
NOTHING = pd.DataFrame()
KNOWN = metrics.quantities() | cost_files.quantities()


def words(fragment: str | None) -> str:
    """A fragment's visible text."""
    assert fragment is not None
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", fragment)).split())


def table_lines(fragment: str | None) -> list[str]:
    """The visible text of each row of the fragment's tables."""
    assert fragment is not None
    return [words(line) for line in re.findall(r"<tr.*?</tr>", fragment, re.DOTALL)]


def of(
    results: pd.DataFrame,
    runs: pd.DataFrame = NOTHING,
    known: dict[str, Quantity] = KNOWN,
) -> Tables:
    return clean(results, NOTHING, runs, NOTHING, known)


def judged(found: pd.DataFrame) -> Tables:
    return clean(NOTHING, found, NOTHING, NOTHING, KNOWN)


def test_summary_counts_the_verdicts(verdicts: pd.DataFrame) -> None:
    shown = words(summary.render(judged(verdicts)))
    assert shown.startswith(
        "2 of 3 measured cells reproduced; 1 claim inconsistent; 1 not measured."
    )


def test_summary_counts_each_paper_table(verdicts: pd.DataFrame) -> None:
    other = verdicts.head(1).assign(table="vdsr2016", title="VDSR, Table 2")
    lines = table_lines(summary.render(judged(pd.concat([verdicts, other]))))
    assert lines[1] == "Set5: PSNR srcnn2014_set5 2 1 1 1"
    assert lines[2] == "VDSR, Table 2 vdsr2016 1 0 0 0"


def test_summary_gives_the_bar_in_proportion(verdicts: pd.DataFrame) -> None:
    fragment = summary.render(judged(verdicts)) or ""
    grown = re.findall(r'class="(\w+)" style="flex-grow: (\d+)"', fragment)
    assert grown == [
        ("reproduced", "2"),
        ("deviates", "1"),
        ("inconsistent", "1"),
        ("unmeasured", "1"),
    ]


def test_verdicts_are_laid_out_like_the_paper(verdicts: pd.DataFrame) -> None:
    lines = table_lines(verdicts_section(verdicts))
    assert lines == [
        "image SRCNN SC",
        f"set5 {TIMES}2",
        f"baby 38.30 \N{CHECK MARK} 38.30 34.29 {DASH}",
        "foreman 33.35 \N{BALLOT X} 33.40 +0.050",
        "average 36.34 \N{CHECK MARK} 36.34",
        f"set5 {TIMES}3",
        "average 31.42 !",
    ]


def verdicts_section(found: pd.DataFrame) -> str | None:
    return verdicts.render(judged(found))


def test_each_quantity_of_a_paper_table_has_its_block(
    a_verdict: Make, as_verdicts: MakeTable
) -> None:
    both = as_verdicts(
        a_verdict(),
        a_verdict(
            quantity="seconds",
            unit="s",
            printed="7.0",
            claimed=7.0,
            measured=0.0123,
            tolerance=0.05,
        ),
    )
    fragment = verdicts_section(both) or ""
    assert re.findall(r"<caption>(.*?)</caption>", fragment) == [
        "PSNR (Y), dB; tolerance \N{PLUS-MINUS SIGN}0.005 dB.",
        "seconds; tolerance \N{PLUS-MINUS SIGN}0.05 s.",
    ]
    assert "0.0123" in fragment


def test_table_of_averages_names_dataset_and_scale_in_each_line(
    a_verdict: Make, as_verdicts: MakeTable
) -> None:
    found = as_verdicts(a_verdict(), a_verdict(dataset="set14"), a_verdict(scale=3))
    heads = [line.split(" 36.34")[0] for line in table_lines(verdicts_section(found))]
    assert heads == ["dataset SRCNN", f"set5 {TIMES}2", f"set5 {TIMES}3", f"set14 {TIMES}2"]


def test_claims_without_a_dataset_are_listed(a_verdict: Make, as_verdicts: MakeTable) -> None:
    claim = a_verdict(
        dataset="",
        quantity="multiplies_per_input_px",
        unit="M",
        printed="0.032128",
        claimed=0.032128,
        measured=0.032129,
        tolerance=5e-7,
        verdict="deviates",
        reason="one more multiply",
    )
    fragment = verdicts_section(as_verdicts(claim))
    assert table_lines(fragment)[1] == (
        f"SRCNN {TIMES}2 multiplies per input px, M 0.032128 0.032129 +0.0000010 "
        "\N{PLUS-MINUS SIGN}0.0000005 \N{BALLOT X} deviates"
    )


def test_same_reasons_are_counted_once(a_verdict: Make, as_verdicts: MakeTable) -> None:
    missing = {"verdict": "not measured", "measured": math.nan, "reason": "no weights"}
    rows = [a_verdict(**missing, image=f"image {i}") for i in range(7)]
    shown = words(verdicts_section(as_verdicts(*rows)))
    assert f"{DASH} 7 not measured: no weights SRCNN" in shown


def test_protocols_are_named_where_a_table_mixes_them(
    a_verdict: Make, as_verdicts: MakeTable
) -> None:
    other = a_verdict(label="EDSR", method="edsr", protocol="rcan2018")
    assert "rcan2018" in table_lines(verdicts_section(as_verdicts(a_verdict(), other)))[0]
    assert "rcan2018" not in table_lines(verdicts_section(as_verdicts(other)))[0]


def test_verdict_nobody_foresaw_is_shown(a_verdict: Make, as_verdicts: MakeTable) -> None:
    shown = words(verdicts_section(as_verdicts(a_verdict(verdict="disputed", reason="by whom"))))
    assert "? 1 disputed: by whom" in shown


def test_difference_of_two_methods_is_named_by_both(
    a_verdict: Make, as_verdicts: MakeTable
) -> None:
    claim = a_verdict(label="", method="edsr", operation="-", other="vdsr", weights="")
    shown = verdicts_section(as_verdicts(claim)) or ""
    assert table_lines(shown)[0] == "dataset edsr - vdsr"
    assert 'title="method edsr - vdsr; protocol srcnn2014"' in shown
    assert 'title="edsr - vdsr, average, set5' in shown
    listed = verdicts_section(as_verdicts(claim | {"dataset": ""}))
    assert table_lines(listed)[1].startswith(f"edsr - vdsr {TIMES}2 PSNR (Y), dB")
    labelled = verdicts_section(as_verdicts(claim | {"label": "gain"})) or ""
    assert table_lines(labelled)[0] == "dataset gain"
    assert 'title="method edsr - vdsr; protocol srcnn2014"' in labelled


def test_figure_has_a_panel_for_each_cost_and_scale(
    results: pd.DataFrame, runs: pd.DataFrame
) -> None:
    fragment = accuracy_against_cost.render(of(results, runs)) or ""
    assert fragment.count("<svg") == 4
    assert fragment.count("seconds on EPYC 9654, 16 threads</text>") == 2


def test_cost_includes_interpolation_and_elementwise_multiplies(
    a_result: Make, as_results: MakeTable
) -> None:
    per_px = "multiplies_per_input_px"
    fragment = accuracy_against_cost.render(
        of(
            as_results(
                a_result(
                    method="a", dataset="d", protocol="p", quantity="psnr_y", value=30.0, unit="dB"
                ),
                a_result(method="a", quantity=per_px, value=1.0, unit="M"),
                a_result(
                    method="a",
                    protocol="p",
                    quantity=f"interpolation_{per_px}",
                    value=0.5,
                    unit="M",
                ),
                a_result(
                    method="a",
                    protocol="q",
                    quantity=f"interpolation_{per_px}",
                    value=9.0,
                    unit="M",
                ),
                a_result(method="a", quantity=f"elementwise_{per_px}", value=0.25, unit="M"),
            )
        )
    )
    assert "a at 1.750, 30.00 (on the Pareto front)" in (fragment or "")


def test_methods_without_a_known_cost_are_named(results: pd.DataFrame, runs: pd.DataFrame) -> None:
    no_cost = (results["method"] == "k-svd") & (results["quantity"] == "multiplies_per_input_px")
    fragment = accuracy_against_cost.render(of(results[~no_cost], runs))
    assert "multiplies per input px, M not known: k-svd" in words(fragment)


def test_a_count_that_depends_on_the_size_is_that_of_1280x720(
    results: pd.DataFrame, runs: pd.DataFrame
) -> None:
    counted = results["quantity"] == "multiplies_per_input_px"
    sized = results[counted & (results["method"] == "k-svd")].assign(value=math.nan)
    # 640x360 px of LR.
    whole = sized.assign(quantity="multiplies_720p", unit="G", value=23040.0)
    added = sized.assign(quantity="elementwise_multiplies_per_input_px", value=0.5)
    rest = results[~(counted & (results["method"] == "k-svd"))]
    fragment = accuracy_against_cost.render(of(pd.concat([rest, sized, whole, added]), runs)) or ""
    assert "k-svd at 100.5" in html.unescape(fragment)
    told = words(fragment)
    assert "not known" not in told
    assert "multiplies at a 1280x720 output, since the count depends on the size" in told
    assert "without elementwise ones" not in told
    without = accuracy_against_cost.render(of(pd.concat([rest, sized, whole]), runs))
    assert "on the size, without elementwise ones" in words(without)


def test_times_of_two_machines_share_no_panel(results: pd.DataFrame, runs: pd.DataFrame) -> None:
    gpu = results[results["quantity"] == "seconds"].assign(run="run-2")
    named = pd.DataFrame([("run-2", "device", "H200")], columns=["run", "key", "value"])
    fragment = accuracy_against_cost.render(of(pd.concat([results, gpu]), pd.concat([runs, named])))
    assert (fragment or "").count("<svg") == 6
    assert (fragment or "").count("seconds on H200</text>") == 2


BUSY = "unsteady: other processes used 1.5 of 2 cores"


def test_an_approximate_time_is_marked_in_the_plot_and_the_table(
    results: pd.DataFrame, runs: pd.DataFrame
) -> None:
    own = (results["quantity"] == "seconds") & (results["method"] == "k-svd")
    note = f"1280x720 output; median of 5; {BUSY}"
    doubted = results.assign(note=results["note"].mask(own, note))
    fragment = accuracy_against_cost.render(of(doubted, runs)) or ""
    assert fragment.count("~ k-svd at ") == 2  # a panel per scale
    assert f"~ approximate: k-svd {TIMES}2 {TIMES}3: {BUSY}" in words(fragment)
    assert "~ approximate" not in words(accuracy_against_cost.render(of(results, runs)))
    table = costs.render(of(doubted, runs)) or ""
    assert "~1.20" in words(table)
    assert f"~ approximate: k-svd {TIMES}3: {BUSY}" in words(table)
    assert "~" not in words(costs.render(of(results, runs)))


def test_there_is_no_figure_without_costs(results: pd.DataFrame) -> None:
    assert accuracy_against_cost.render(of(results[results["dataset"] != ""])) is None


def test_averages_mark_the_best_and_the_second(results: pd.DataFrame) -> None:
    fragment = averages.render(of(results)) or ""
    assert table_lines(fragment)[:2] == ["method set5", f"{TIMES}2 {TIMES}3"]
    marked = re.findall(r'<span class="(best|second)" title="[^"]*">([\d.]+)</span>', fragment)
    # Set5 averages of SRCNN 36.344 and of K-SVD 35.744, 4 dB less at the next scale.
    assert [(rank, text) for rank, text in marked if not text.startswith("0")] == [
        ("second", "35.74"),
        ("second", "31.74"),
        ("best", "36.34"),
        ("best", "32.34"),
    ]


@pytest.mark.parametrize(
    ("higher_is_better", "expected"),
    [
        (False, [("best", "0.125"), ("second", "0.25")]),
        (True, [("second", "0.25"), ("best", "0.5")]),
        (None, []),
    ],
)
def test_averages_mark_the_value_that_the_metric_calls_best(
    higher_is_better: bool | None,
    expected: list[tuple[str, str]],
    a_result: Make,
    as_results: MakeTable,
) -> None:
    name = "distance_y"
    known = {name: Quantity(name=name, unit="", higher_is_better=higher_is_better)}
    on = {"dataset": "set5", "protocol": "p", "quantity": name}
    values = {"a": 0.125, "b": 0.25, "c": 0.5}
    found = as_results(*(a_result(method=m, value=v, **on) for m, v in values.items()))
    fragment = averages.render(of(found, known=known)) or ""
    marked = re.findall(r'<span class="(best|second)" title="[^"]*">([\d.]+)</span>', fragment)
    assert marked == expected


def test_metric_of_which_neither_way_is_better_is_not_ranked(
    a_result: Make, as_results: MakeTable
) -> None:
    assert KNOWN["detail_y"].higher_is_better is None
    on = {"dataset": "set5", "protocol": "p", "quantity": "detail_y"}
    found = as_results(*(a_result(method=m, value=v, **on) for m, v in (("a", 0.5), ("b", 0.75))))
    fragment = averages.render(of(found)) or ""
    assert "0.75" in fragment
    # The words above the table name both ranks once; no cell has one.
    assert fragment.count('class="best"') == fragment.count('class="second"') == 1


def test_averages_of_two_protocols_stand_in_two_tables(results: pd.DataFrame) -> None:
    other = results.assign(protocol="vdsr2016")
    fragment = averages.render(of(pd.concat([results, other]))) or ""
    captions = re.findall(r"protocol <b>(\w+)</b>", fragment)
    assert captions == ["srcnn2014", "vdsr2016"]


def test_values_that_are_missing_are_explained(results: pd.DataFrame) -> None:
    shown = words(averages.render(of(results)))
    assert f"{DASH} 1 not measured: no dictionary was published sc" in shown


def test_full_digits_are_in_the_tooltip(results: pd.DataFrame) -> None:
    assert 'title="36.3440 dB, best">36.34<' in (averages.render(of(results)) or "")


def test_costs_show_the_spread_and_say_what_it_is(
    results: pd.DataFrame, runs: pd.DataFrame
) -> None:
    fragment = costs.render(of(results, runs))
    assert "\N{PLUS-MINUS SIGN} the interquartile range" in words(fragment)
    line = next(line for line in table_lines(fragment) if line.startswith("k-svd"))
    assert line == f"k-svd {TIMES}2 0.05 0.00004 12,500 1.20 \N{PLUS-MINUS SIGN} 0.06"


def test_costs_of_two_machines_stand_in_two_columns(
    a_result: Make, as_results: MakeTable, runs: pd.DataFrame
) -> None:
    timed = {"method": "a", "quantity": "seconds", "unit": "s"}
    two = as_results(a_result(**timed, value=1.0), a_result(**timed, value=0.5, run="run-2"))
    lines = table_lines(costs.render(of(two, runs)))
    assert lines == [
        "method scale seconds EPYC 9654, 16 threads seconds run-2",
        f"a {TIMES}2 1.00 0.500",
    ]


def test_images_are_folded_away_with_the_average_last(results: pd.DataFrame) -> None:
    fragment = per_image.render(of(results)) or ""
    assert fragment.count("<details>") == 2
    heads = [line.split()[0] for line in table_lines(fragment)[:7]]
    assert heads == ["image", "baby", "bird", "butterfly", "head", "woman", "average"]


def test_there_is_no_fold_without_images(results: pd.DataFrame) -> None:
    assert per_image.render(of(results[results["image"] == ""])) is None


def test_environment_warns_of_comparing_across_protocols(
    results: pd.DataFrame, runs: pd.DataFrame
) -> None:
    shown = words(environment.render(of(results, runs)))
    assert "A comparison across protocols is not a comparison" in shown
    assert "torch 2.9.0" in shown


def test_environment_tells_what_differs_between_runs(
    results: pd.DataFrame, runs: pd.DataFrame
) -> None:
    second = runs.assign(run="run-2").replace({"2.9.0": "2.10.0"})
    lines = table_lines(environment.render(of(results, pd.concat([runs, second]))))
    assert "processor EPYC 9654" in lines
    assert "torch 2.9.0 2.10.0" in lines


def test_environment_counts_cells_that_were_measured_twice(
    results: pd.DataFrame, runs: pd.DataFrame
) -> None:
    again = results[results["quantity"] == "parameters"].assign(run="run-2")
    shown = words(environment.render(of(pd.concat([results, again]), runs)))
    assert "8 cells were measured in more than one run" in shown


def test_each_way_to_run_stands_beside_its_own_accuracy(
    a_result: Make, as_results: MakeTable, runs: pd.DataFrame
) -> None:
    on = {"method": "vdsr", "dataset": "set5", "protocol": "p", "quantity": "psnr_y", "unit": "dB"}
    timed = {"method": "vdsr", "quantity": "seconds", "unit": "s"}
    table = as_results(
        a_result(**on, value=37.53),
        a_result(**on, value=37.48, inference="bf16"),
        a_result(**on, image="baby", value=1.0, inference="bf16"),
        a_result(**timed, value=5.6),
        a_result(**timed, value=2.8, inference="bf16"),
        a_result(method="vdsr", quantity="roofline_fraction", value=0.93),
        a_result(**timed | {"method": "espcn"}, value=0.1),
    )
    lines = table_lines(inference.render(of(table, runs)))[1:]
    assert lines == [
        f"vdsr {TIMES}2 fp32 5.60 0.93 37.53",
        f"vdsr {TIMES}2 bf16 2.80 {DASH} 37.48",
    ]


def test_every_cost_of_the_machine_is_compared_between_ways_to_run(
    a_result: Make, as_results: MakeTable, runs: pd.DataFrame
) -> None:
    joules = Quantity(name="joules", unit="J", higher_is_better=False, of_machine=True)
    ways = (("", 5.0, 40.0), ("bf16", 2.0, 20.0))
    table = as_results(
        *(
            a_result(method="vdsr", quantity=key, unit=unit, value=value, inference=way)
            for way, time, energy in ways
            for key, unit, value in (("joules", "J", energy), ("seconds", "s", time),
                                     ("seconds_p90", "s", 9.0), ("parameters", "", 7.0))
        )
    )  # fmt: skip
    lines = table_lines(inference.render(of(table, runs, KNOWN | {"joules": joules})))
    assert lines == [
        "method scale run as seconds joules, J",
        f"vdsr {TIMES}2 fp32 5.00 40",
        f"vdsr {TIMES}2 bf16 2.00 20",
    ]


def test_one_way_to_run_needs_no_comparison(results: pd.DataFrame, runs: pd.DataFrame) -> None:
    assert inference.render(of(results, runs)) is None


def test_weights_have_a_line_each_in_the_same_time(
    a_result: Make, as_results: MakeTable, runs: pd.DataFrame
) -> None:
    on = {"method": "srcnn", "dataset": "set5", "quantity": "psnr_y", "unit": "dB"}
    timed = {"method": "srcnn", "quantity": "seconds", "unit": "s"}
    table = as_results(
        a_result(**on, weights="91", value=36.34),
        a_result(**on, weights="imagenet", value=36.5),
        a_result(**timed, value=0.5),
        a_result(**timed, value=0.25, inference="bf16"),
    )
    lines = table_lines(inference.render(of(table, runs)))[1:]
    assert lines == [
        f"srcnn 91 {TIMES}2 fp32 0.500 36.34",
        f"srcnn imagenet {TIMES}2 fp32 0.500 36.50",
        f"srcnn {TIMES}2 bf16 0.250 {DASH}",
    ]


def trained(found: pd.DataFrame, results: pd.DataFrame = NOTHING) -> Tables:
    return clean(results, NOTHING, NOTHING, found, KNOWN)


def test_training_has_a_row_for_each_file_of_weights(trainings: pd.DataFrame) -> None:
    fragment = training.render(trained(trainings)) or ""
    head, network, classical = table_lines(fragment.partition("<details>")[0])
    assert head == ("weights of scale recipe data updates of the recipe time device seed PSNR, dB")
    assert network == (
        f"1 srcnn-9-1-5, srcnn-9-1-5+ ours.safetensors {TIMES}3 short this project t91, bsds200 "
        "600 2,000 93.8 s EPYC 9654, 1 thread 7 31.57 set5, srcnn2014"
    )
    assert classical == (
        f"2 k-svd t91 {TIMES}2 t91 this project t91, bsds200 {DASH} {DASH} 93.8 s "
        f"EPYC 9654, 1 thread 7 {DASH}"
    )


def test_training_draws_only_what_has_a_curve(
    trainings: pd.DataFrame, a_training: MakeTable
) -> None:
    fragment = training.render(trained(trainings)) or ""
    loss, psnr = re.findall(r'aria-label="([^"]*) against updates\. ([^"]*)"', fragment)
    assert loss == (
        f"Loss l2, {TIMES}3: loss",
        "1 srcnn-9-1-5 from 0.01000 at 1 to 0.002000 at 600.",
    )
    assert psnr == (
        f"set5, srcnn2014, {TIMES}3: PSNR, dB",
        "1 srcnn-9-1-5 from 31.00 at 300 to 31.57 at 600.",
    )
    assert fragment.count("swatch") == 1
    assert "<svg" not in (training.render(trained(a_training(("c" * 64, "gr", "t91", 2)))) or "")


def test_training_of_the_best_on_the_way_counts_the_updates_that_it_has(
    a_training: MakeTable,
) -> None:
    curve = [{"update": 300, "loss": 0.1, "psnr": 30.0}]
    found = a_training(("c" * 64, "espcn", "espcn.best.safetensors", 3), curve)
    assert " 300 2,000 " in table_lines(training.render(trained(found)))[1]


def test_stand_in_features_are_said_above_the_table(a_training: MakeTable) -> None:
    curve = [{"update": 9, "loss": 0.1}]
    name = ("c" * 64, "srgan", "srgan.safetensors", 4)
    for features, count in (("squeezenet1.1:fire5, a stand-in for VGG", 1), ("vgg19:relu5_4", 0)):
        fragment = training.render(trained(a_training(name, curve, features=features))) or ""
        assert fragment.count('class="notice"') == count
        assert f"features: {features}" in table_lines(fragment)[1]
    assert training.render(trained(NOTHING)) is None


def test_losses_of_other_kinds_and_other_scales_have_panels_of_their_own(
    a_training: MakeTable,
) -> None:
    curve = [{"update": 1, "loss": 0.1, "psnr": 30.0}, {"update": 9, "loss": 0.1, "psnr": 31.0}]
    l1 = json.dumps({"loss": "l1"})
    found = pd.concat(
        [
            a_training(("a" * 64, "vdsr", "", 3), curve),
            a_training(("b" * 64, "edsr", "", 3), curve, **{"recipe settings": l1}),
            a_training(("c" * 64, "edsr", "", 2), curve, **{"validated on": "set14"}),
        ]
    )
    fragment = training.render(trained(found)) or ""
    titles = re.findall(r'aria-label="([^":]*): [^"]*against updates', fragment)
    assert titles == [
        f"Loss l2, {TIMES}2",
        f"set14, srcnn2014, {TIMES}2",
        f"Loss l2, {TIMES}3",
        f"Loss l1, {TIMES}3",
        f"set5, srcnn2014, {TIMES}3",
    ]


def test_a_network_has_one_colour_in_its_row_and_in_every_panel(a_training: MakeTable) -> None:
    curve = [{"update": 1, "loss": 0.1, "psnr": 30.0}, {"update": 9, "loss": 0.1, "psnr": 31.0}]
    names = ("a", "b", "c")
    found = pd.concat([a_training((name * 64, name, "", 2), curve) for name in names])
    fragment = training.render(trained(found)) or ""
    rows = re.findall(r"border-top-color: var\((--hue-\d)\)", fragment)
    assert rows == ["--hue-0", "--hue-1", "--hue-2"]
    for panel in re.findall(r"<svg.*?</svg>", fragment, re.DOTALL):
        drawn = dict(re.findall(r"fill: var\((--hue-\d)\)[^>]*>(\d) \w<", panel))
        assert drawn == {"--hue-0": "1", "--hue-1": "2", "--hue-2": "3"}


def test_bicubic_lies_across_the_panel_of_its_scale_set_and_protocol(
    trainings: pd.DataFrame, results: pd.DataFrame
) -> None:
    def names(found: pd.DataFrame) -> list[str]:
        return re.findall(r">(bicubic)</text>", training.render(trained(trainings, found)) or "")

    assert names(results) == ["bicubic"]
    assert names(results[results["scale"] == 2]) == []
    assert names(results.assign(protocol="edsr2017")) == []
