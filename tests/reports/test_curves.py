from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest

from reports import curves
from reports.curves import DASHES, Curve, averaged
from reports.svg import HUES

WORDS = {"name": "p", "title": "Set5", "y_label": "loss"}
FALLING = [(float(n), 1.0 / n) for n in (1, 10, 100)]


def ticks_up(svg: str) -> list[str]:
    """The labels at the axis of values, which are right-aligned."""
    return re.findall(r"text-anchor: end[^>]*>([^<]+)<", svg)


def test_stretches_are_means_worked_by_hand() -> None:
    # From 1 to 10**79 a stretch is a factor of 10: 1 | 10, 12 | 100, 110 | the last.
    points = [(1, 9.0), (10, 5.0), (12, 7.0), (100, 1.0), (110, 2.0), (1e79, 0.5)]
    assert averaged(points) == [(1, 9.0), (12, 6.0), (110, 1.5), (1e79, 0.5)]


def test_stretches_are_few_and_keep_the_end_and_the_mean() -> None:
    points = [(float(n), float(n % 7)) for n in range(1, 60_001)]
    found = averaged(points)
    assert len(found) <= 80
    assert found[-1][0] == 60_000
    # The last stretch holds thousands of updates: its mean is that of 0 to 6.
    assert found[-1][1] == pytest.approx(3.0, abs=0.01)


def test_one_point_is_its_own_stretch() -> None:
    assert averaged([(5, 2.0)]) == [(5, 2.0)]
    assert averaged([]) == []


def test_looks_repeat_only_after_every_hue_was_dashed_in_every_way() -> None:
    looks = [curves.look(number) for number in range(len(HUES) * len(DASHES))]
    assert len(set(looks)) == len(looks)
    assert curves.look(len(looks)) == looks[0]


def test_panel_says_in_words_what_it_shows() -> None:
    svg = curves.curve_panel([Curve("1 espcn", 0, FALLING)], **WORDS)
    assert "Set5: loss against updates. 1 espcn from 1.000 at 1 to 0.01000 at 100." in svg


def test_panel_uses_only_the_page_s_colours() -> None:
    svg = curves.curve_panel([Curve("a", 0, FALLING), Curve("b", 7, FALLING)], **WORDS)
    assert re.findall(r"(?:fill|stroke): ?#\w+", svg) == []
    assert "stroke: var(--hue-0)" in svg
    assert re.search(r"stroke: var\(--hue-1\)[^>]*stroke-dasharray|"
                     r"stroke-dasharray[^>]*stroke: var\(--hue-1\)", svg)  # fmt: skip


@pytest.mark.parametrize(("last", "logarithmic"), [(0.01, True), (0.0, False), (-0.5, False)])
def test_values_are_logarithmic_only_where_all_are_above_0(last: float, logarithmic: bool) -> None:
    svg = curves.curve_panel([Curve("a", 0, [(1, 1.0), (9, last)])], **WORDS, logarithmic=True)
    values = [float(text.replace("\N{MINUS SIGN}", "-")) for text in ticks_up(svg)]
    steps = {round(b - a, 9) for a, b in pairwise(values)}
    assert (len(steps) > 1) == logarithmic


def test_level_is_drawn_and_within_the_axis() -> None:
    svg = curves.curve_panel(
        [Curve("a", 0, [(1, 31.0), (9, 32.0)])], **WORDS, levels=[("bicubic", 30.0)]
    )
    assert ">bicubic</text>" in svg
    assert min(map(float, ticks_up(svg))) <= 30.0


def test_curve_of_one_point_makes_a_panel() -> None:
    assert ">a</text>" in curves.curve_panel([Curve("a", 0, [(1, 0.5)])], **WORDS, logarithmic=True)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "needs curves that have points"),
        ([Curve("a", 0, [])], "needs curves that have points"),
        ([Curve("a", 0, [(0, 1.0)])], "needs updates from 1 and finite values"),
        ([Curve("a", 0, [(1, math.nan)])], "needs updates from 1 and finite values"),
    ],
)
def test_panel_refuses_what_it_cannot_draw(found: list[Curve], message: str) -> None:
    with pytest.raises(ValueError, match=f"panel 'p' {message}"):
        curves.curve_panel(found, **WORDS)
