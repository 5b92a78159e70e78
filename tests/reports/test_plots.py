from __future__ import annotations

import math
import random
import re

import matplotlib as mpl
import pytest

from reports import plots
from reports.labels import overlap, placed, shortened
from reports.plots import Point, pareto

WORDS = {"name": "p", "title": "Set5", "x_label": "multiplies, M", "y_label": "PSNR, dB"}


def test_pareto_worked_by_hand() -> None:
    cost = [0.0, 1.0, 1.0, 2.0, 3.0, 4.0]
    quality = [30.0, 31.0, 30.5, 31.0, 33.0, 32.0]
    # 2 is as cheap as 1 and worse; 3 is as good as 1 and dearer; 5 is dearer and worse than 4.
    assert pareto(cost, quality) == [True, True, False, False, True, False]


def test_pareto_keeps_methods_that_tie_in_both() -> None:
    assert pareto([1.0, 1.0, 2.0], [30.0, 30.0, 30.0]) == [True, True, False]


def test_pareto_depends_on_no_order() -> None:
    cost, quality = [3.0, 1.0, 2.0], [31.0, 30.0, 29.0]
    assert pareto(cost, quality) == [True, True, False]
    assert pareto(cost[::-1], quality[::-1]) == [False, True, True]


def test_pareto_leaves_out_what_is_not_known() -> None:
    assert pareto([1.0, math.nan, 2.0], [30.0, 40.0, math.nan]) == [True, False, False]


def test_pareto_of_nothing_is_nothing() -> None:
    assert pareto([], []) == []


def test_pareto_refuses_lists_of_different_length() -> None:
    with pytest.raises(ValueError, match="shorter"):
        pareto([1.0, 2.0], [30.0])


def test_panel_fills_the_front_and_hollows_the_rest() -> None:
    svg = plots.trade_off_panel([Point("a", 1, 30), Point("b", 2, 29), Point("c", 3, 31)], **WORDS)
    fills = re.findall(r"<use[^>]*fill: (var\(--\w+\))[^>]*stroke: (var\(--\w+\))", svg)
    assert fills.count(("var(--accent)", "var(--accent)")) == 2
    assert fills.count(("var(--paper)", "var(--ink)")) == 1


def test_panel_says_in_words_what_it_shows() -> None:
    svg = plots.trade_off_panel([Point("anr", 0.03, 31.92), Point("k-svd", 0.05, 31.9)], **WORDS)
    assert "anr at 0.03000, 31.92 (on the Pareto front); k-svd at 0.05000, 31.90." in svg


def test_panel_uses_only_the_page_s_colours() -> None:
    svg = plots.trade_off_panel([Point("a", 0, 30), Point("b", 2, 31)], **WORDS)
    assert re.findall(r"(?:fill|stroke): ?#\w+", svg) == []
    assert "var(--ink)" in svg


def test_panel_holds_neither_a_date_nor_rules_for_the_whole_page() -> None:
    svg = plots.trade_off_panel([Point("a", 1, 30)], **WORDS)
    assert "<metadata" not in svg
    assert "<style" not in svg


def test_method_that_costs_nothing_stands_at_0() -> None:
    free = [Point("nearest", 0, 30), Point("srcnn", 2, 31)]
    assert ">0</text>" in plots.trade_off_panel(free, **WORDS)
    assert ">0</text>" not in plots.trade_off_panel(free[1:], **WORDS)


def test_panel_of_methods_that_all_cost_nothing() -> None:
    svg = plots.trade_off_panel([Point("nearest", 0, 30), Point("bicubic", 0, 31)], **WORDS)
    assert ">bicubic</text>" in svg


def test_panel_escapes_labels_and_knows_no_mathematics() -> None:
    svg = plots.trade_off_panel([Point("<b>&$x^2$", 1, 30)], **WORDS)
    assert ">&lt;b&gt;&amp;$x^2$</text>" in svg


def test_panel_writes_scripts_that_the_font_lacks() -> None:
    name = "\u8d85\u5206\u8fa8"
    assert f">{name}</text>" in plots.trade_off_panel([Point(name, 1, 30)], **WORDS)


def test_panel_does_not_depend_on_the_reader_s_matplotlibrc() -> None:
    points = [Point("a", 1, 30), Point("b", 2, 31)]
    plain = plots.trade_off_panel(points, **WORDS)
    with mpl.rc_context({"axes.labelsize": 30, "svg.hashsalt": "x"}):
        assert plots.trade_off_panel(points, **WORDS) == plain
        assert mpl.rcParams["axes.labelsize"] == 30


def test_panels_of_different_names_share_no_id() -> None:
    points = [Point("a", 1, 30), Point("b", 2, 31)]
    first = set(re.findall(r' id="([^"]+)"', plots.trade_off_panel(points, **WORDS)))
    other = set(
        re.findall(r' id="([^"]+)"', plots.trade_off_panel(points, **WORDS | {"name": "q"}))
    )
    assert first
    assert first & other == set()


@pytest.mark.parametrize("points", [[], [Point("a", math.nan, 30)], [Point("a", 1, math.inf)]])
def test_panel_refuses_what_it_cannot_draw(points: list[Point]) -> None:
    with pytest.raises(ValueError, match="panel 'p' needs points of finite cost and quality"):
        plots.trade_off_panel(points, **WORDS)


@pytest.mark.parametrize(("low", "high"), [(1e-5, 1e3), (0.9, 1.1), (2.0, 30.0), (1e-9, 1e9)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = plots.ticks(low, high)
    assert 1 <= len(found) <= 6
    assert all(low <= tick <= high for tick in found)


def test_fifteen_labels_overlap_neither_each_other_nor_markers() -> None:
    chance = random.Random(1)
    spots = [(chance.uniform(50, 330), chance.uniform(50, 250)) for _ in range(15)]
    boxes = placed(spots, [(58.0, 12.0)] * 15, (45, 45, 350, 270))
    markers = [(x - 3, y - 3, x + 3, y + 3) for x, y in spots]
    assert [(a, b) for a in boxes for b in boxes if a < b and overlap(a, b) > 0] == []
    assert [(a, m) for a in boxes for m in markers if overlap(a, m) > 0] == []
    assert all(x0 >= 45 and y0 >= 45 and x1 <= 350 and y1 <= 270 for x0, y0, x1, y1 in boxes)


def test_label_keeps_off_the_line_where_there_is_room() -> None:
    spot, size, inside = (100.0, 100.0), (30.0, 10.0), (0.0, 0.0, 400.0, 400.0)
    right = placed([spot], [size], inside)[0]
    assert right[0] > spot[0]
    assert placed([spot], [size], inside, [[spot, (300.0, 100.0)]])[0] != right


def test_shortened_names_hold_nothing_that_breaks_svg() -> None:
    assert shortened("a\x00b\x1fc\ud800") == "abc"
    assert len(shortened("x" * 100)) == 26
