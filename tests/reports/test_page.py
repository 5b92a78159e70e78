from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import costs, metrics
from bench.result import RUN_COLUMNS, Quantity
from reports import marks, page

Make = Callable[..., dict[str, Any]]
MakeTable = Callable[..., pd.DataFrame]

NOTHING = pd.DataFrame()
KNOWN = metrics.quantities() | costs.quantities()
VOID = {"meta", "br", "hr", "img", "link", "input", "wbr"}


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, visible text, unclosed tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.mismatched: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.mismatched.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def attributes(self, name: str) -> Iterator[str]:
        yield from (attrs[name] for _, attrs in self.elements if name in attrs)

    @property
    def visible(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def html(
    results: pd.DataFrame, verdicts: pd.DataFrame, runs: pd.DataFrame, trainings: pd.DataFrame
) -> str:
    return page.render("SRCNN, re-measured", results, verdicts, runs, trainings, KNOWN)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sections' folder that a test may change."""
    copied = tmp_path / "sections"
    shutil.copytree(page.SECTIONS, copied)
    monkeypatch.setattr(page, "SECTIONS", copied)
    return copied


def test_every_section_is_on_the_page_without_a_notice(html: str) -> None:
    ids = [a["id"] for tag, a in Page(html).elements if tag == "section"]
    assert ids == [
        "summary",
        "verdicts",
        "accuracy_against_cost",
        "averages",
        "training",
        "costs",
        "per_image",
        "environment",
    ]
    assert 'class="notice"' not in html


def test_page_is_well_formed(html: str) -> None:
    found = Page(html)
    assert found.mismatched == []
    assert found.open == []
    ids = list(found.attributes("id"))
    assert len(ids) == len(set(ids))


def test_page_loads_nothing(html: str) -> None:
    found = Page(html)
    assert {tag for tag, _ in found.elements} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
    } == set()
    loads = [*found.attributes("src"), *found.attributes("href"), *found.attributes("srcset")]
    assert loads
    assert [load for load in loads if not load.startswith("#")] == []
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    assert "://" not in html


def test_internal_links_lead_somewhere(html: str) -> None:
    found = Page(html)
    ids = set(found.attributes("id"))
    targets = [href[1:] for href in found.attributes("href")]
    targets += re.findall(r"url\(#([^)]+)\)", html)
    assert [target for target in targets if target not in ids] == []


def test_same_tables_give_the_same_bytes(
    html: str,
    results: pd.DataFrame,
    verdicts: pd.DataFrame,
    runs: pd.DataFrame,
    trainings: pd.DataFrame,
) -> None:
    assert page.render("SRCNN, re-measured", results, verdicts, runs, trainings, KNOWN) == html


def test_other_values_give_another_page(
    html: str,
    results: pd.DataFrame,
    verdicts: pd.DataFrame,
    runs: pd.DataFrame,
    trainings: pd.DataFrame,
) -> None:
    moved = results.assign(value=results["value"] + 0.01)
    assert page.render("SRCNN, re-measured", moved, verdicts, runs, trainings, KNOWN) != html


def test_nan_is_never_shown(html: str) -> None:
    found = Page(html)
    shown = [found.visible, *found.attributes("title"), *found.attributes("aria-label")]
    assert [text for text in shown if re.search(r"\bnan\b", text, re.IGNORECASE)] == []


def test_missing_texts_are_not_shown_as_nan(
    a_result: Make, as_results: MakeTable, no_verdicts: pd.DataFrame, runs: pd.DataFrame
) -> None:
    row = a_result(method="bicubic", dataset="set5", quantity="psnr_y", value=33.66, unit="dB")
    holes = as_results(row | {"weights": None, "note": math.nan, "protocol": None, "image": None})
    found = Page(page.render("holes", holes, no_verdicts, runs, NOTHING, KNOWN))
    assert "33.66" in found.visible
    assert re.search(r"\b(nan|None)\b", found.visible) is None


@pytest.mark.parametrize("mark", marks.MARKS, ids=lambda mark: mark.style)
def test_every_verdict_shows_its_glyph(html: str, mark: marks.Mark) -> None:
    shown = f'<span class="mark {mark.style}" role="img" aria-label="{mark.verdict}">{mark.glyph}<'
    assert shown in html


def test_every_reason_is_both_listed_and_in_a_tooltip(html: str, verdicts: pd.DataFrame) -> None:
    found = Page(html)
    tooltips = " | ".join(found.attributes("title"))
    reasons = [reason for reason in verdicts["reason"] if reason]
    assert len(reasons) == 3
    for reason in reasons:
        assert reason in found.visible
        assert reason in tooltips


def test_hostile_names_are_escaped(
    results: pd.DataFrame, verdicts: pd.DataFrame, runs: pd.DataFrame, trainings: pd.DataFrame
) -> None:
    evil = "<script>alert('x')</script>\"onload=\"y$\\frac{1}$&amp;"
    tables = [
        results.assign(
            method=evil,
            weights=evil,
            dataset=results["dataset"].where(results["dataset"] == "", evil),
        ),
        verdicts.assign(label=evil, reason=evil, title=evil, source=evil, printed=evil),
        runs.assign(value=evil),
        trainings.assign(
            method=evil,
            weights=evil,
            value=trainings["value"].where(~trainings["key"].isin(("recipe", "device")), evil),
        ),
    ]
    html = page.render(evil, *tables, KNOWN)
    found = Page(html)
    assert 'class="notice"' not in html
    assert "<script" not in html
    assert list(found.attributes("onload")) == []
    assert found.mismatched == []
    assert evil in found.visible


def test_page_without_verdicts_says_what_was_measured(
    results: pd.DataFrame, no_verdicts: pd.DataFrame, runs: pd.DataFrame
) -> None:
    html = page.render("no paper", results, no_verdicts, runs, NOTHING, KNOWN)
    assert 'id="verdicts"' not in html
    expected = "Measured: 5 methods (nearest, bicubic, k-svd, srcnn-9-1-5, sc) on 1 dataset (set5)"
    assert expected in Page(html).visible


def test_page_of_empty_tables_says_that_nothing_was_measured() -> None:
    html = page.render("empty", NOTHING, NOTHING, NOTHING, NOTHING, KNOWN)
    assert 'class="notice"' not in html
    assert "Nothing was measured." in Page(html).visible


def test_table_that_lacks_a_column_is_refused(
    results: pd.DataFrame, no_verdicts: pd.DataFrame, runs: pd.DataFrame
) -> None:
    with pytest.raises(ValueError, match="results lacks the columns run, note; it has method"):
        page.render(
            "short", results.drop(columns=["run", "note"]), no_verdicts, runs, NOTHING, KNOWN
        )


def test_one_method_at_one_scale_makes_a_page(
    a_result: Make, as_results: MakeTable, no_verdicts: pd.DataFrame, runs: pd.DataFrame
) -> None:
    on_set = {"method": "srcnn", "dataset": "set5", "protocol": "srcnn2014"}
    one = as_results(
        a_result(**on_set, quantity="psnr_y", value=36.34, unit="dB"),
        a_result(method="srcnn", quantity="multiplies_per_input_px", value=0.032128, unit="M"),
    )
    html = page.render("one", one, no_verdicts, runs, NOTHING, KNOWN)
    assert 'class="notice"' not in html
    assert html.count("<svg") == 1
    assert "36.34" in Page(html).visible


def test_long_names_make_a_page(
    results: pd.DataFrame, no_verdicts: pd.DataFrame, runs: pd.DataFrame
) -> None:
    long = results.assign(method=results["method"] + "-with-a-very-long-name" * 12)
    html = page.render("long", long, no_verdicts, runs, NOTHING, KNOWN)
    assert 'class="notice"' not in html
    assert long["method"].iloc[0] in Page(html).visible


def test_unknown_quantities_are_shown(
    results: pd.DataFrame,
    a_result: Make,
    as_results: MakeTable,
    no_verdicts: pd.DataFrame,
    runs: pd.DataFrame,
) -> None:
    extra = as_results(
        a_result(method="edsr", quantity="joules_per_image", value=12.5, unit="J"),
        a_result(method="edsr", dataset="set5", quantity="colour_error", value=1.25),
        a_result(method="edsr", dataset="set5", image="baby", quantity="blur", value=0.125),
    )
    found = Page(
        page.render("more", pd.concat([results, extra]), no_verdicts, runs, NOTHING, KNOWN)
    ).visible
    for shown in ("joules per image, J", "12.5", "colour error", "1.25", "blur", "0.125"):
        assert shown in found


@pytest.mark.parametrize(
    "described",
    [{"joules": Quantity(name="joules", unit="J", higher_is_better=False, of_machine=True)}, {}],
    ids=["of the machine", "that nobody described"],
)
def test_a_cost_measured_on_two_machines_shows_both_values(
    described: dict[str, Quantity],
    a_result: Make,
    as_results: MakeTable,
    no_verdicts: pd.DataFrame,
) -> None:
    assert "joules" not in KNOWN
    cell = {"method": "edsr", "quantity": "joules", "unit": "J"}
    twice = as_results(a_result(**cell, value=12.5), a_result(**cell, value=7.25, run="run-2"))
    facts = [("run-1", "device", "H100"), ("run-2", "device", "H200")]
    machines = pd.DataFrame(facts, columns=list(RUN_COLUMNS))
    html = page.render("two", twice, no_verdicts, machines, NOTHING, KNOWN | described)
    found = Page(html).visible
    assert "joules, J H100 joules, J H200" in found
    assert "12.5 7.25" in found


def test_a_count_measured_in_two_runs_is_one_value(
    a_result: Make, as_results: MakeTable, no_verdicts: pd.DataFrame
) -> None:
    cell = {"method": "edsr", "quantity": "parameters"}
    twice = as_results(a_result(**cell, value=12.0), a_result(**cell, value=12.0, run="run-2"))
    found = Page(page.render("one", twice, no_verdicts, NOTHING, NOTHING, KNOWN)).visible
    assert found.count("parameters") == 1


def test_a_file_dropped_into_the_folder_is_a_section(
    folder: Path, results: pd.DataFrame, verdicts: pd.DataFrame, runs: pd.DataFrame
) -> None:
    (folder / "colours.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "TITLE, ORDER = 'Colours & more', 15\n"
        "@dataclass(frozen=True)\n"
        "class Count:\n"
        "    number: int\n"
        "def render(tables):\n"
        "    return f'<p>{Count(len(tables.results)).number} results</p>'\n"
    )
    found = Page(page.render("new", results, verdicts, runs, NOTHING, KNOWN))
    ids = [a["id"] for tag, a in found.elements if tag == "section"]
    assert ids[:3] == ["summary", "colours", "verdicts"]
    assert f"Colours & more {len(results)} results" in found.visible


def test_listing_the_sections_imports_nothing(folder: Path) -> None:
    (folder / "broken.py").write_text("raise RuntimeError('imported')")
    (folder / "_private.py").write_text("raise RuntimeError('imported')")
    assert "broken" in page.names()
    assert "_private" not in page.names()


@pytest.mark.parametrize(
    ("source", "notice"),
    [
        ("def render(:", "SyntaxError: "),
        ("raise RuntimeError('no\\nfonts <here>')", "RuntimeError: no fonts <here>"),
        ("ORDER = 5\ndef render(tables): return ''", "AttributeError: "),
        ("TITLE, ORDER = 'T', 5\ndef render(tables): return 1 / 0", "ZeroDivisionError: "),
        ("TITLE, ORDER = 'T', 5\ndef render(tables): return 7", "TypeError: render gave int"),
    ],
    ids=["does not parse", "does not import", "lacks TITLE", "does not render", "gives no HTML"],
)
def test_a_broken_section_breaks_only_itself(
    folder: Path,
    results: pd.DataFrame,
    verdicts: pd.DataFrame,
    runs: pd.DataFrame,
    source: str,
    notice: str,
) -> None:
    before = page.render("page", results, verdicts, runs, NOTHING, KNOWN)
    (folder / "broken.py").write_text(source)
    after = page.render("page", results, verdicts, runs, NOTHING, KNOWN)
    assert f"The section in broken.py could not be shown: {notice}" in Page(after).visible
    assert after.count('class="notice"') == 1
    for section in re.findall(r"<section id=.*?</section>", before, re.DOTALL):
        assert section in after


def test_a_section_with_nothing_to_say_is_left_out(
    folder: Path, results: pd.DataFrame, verdicts: pd.DataFrame, runs: pd.DataFrame
) -> None:
    (folder / "silent.py").write_text("TITLE, ORDER = 'S', 5\ndef render(tables): return None")
    assert "silent" not in page.render("page", results, verdicts, runs, NOTHING, KNOWN)
