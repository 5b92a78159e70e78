"""What Table 3 of EDSR 2017 prints, re-measured on the real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench import published
from bench.published import PaperTable

Judge = Callable[[list[PaperTable]], pd.DataFrame]


@pytest.fixture(scope="module")
def edsr(mirror: Path, judged_on_images: Judge, offline: pytest.MonkeyPatch) -> pd.DataFrame:
    """All but VDSR, offline: Urban100 is at its origin only."""
    table = published.load("edsr2017_table3")
    fast = [claim for claim in table.claims if claim.result.method != "vdsr"]
    return judged_on_images([replace(table, claims=tuple(fast))])


@pytest.fixture(scope="module")
def vdsr(mirror: Path, judged_on_images: Judge) -> pd.DataFrame:
    """VDSR's cells of Set5 and Set14; those of B100 take minutes."""
    table = published.load("edsr2017_table3")
    chosen = [
        claim
        for claim in table.claims
        if claim.result.method == "vdsr" and claim.result.dataset in ("set5", "set14")
    ]
    return judged_on_images([replace(table, claims=tuple(chosen))])


def test_a_plus_learned_from_t91_is_within_a_few_hundredths(edsr: pd.DataFrame) -> None:
    rows = edsr[(edsr["method"] == "a-plus") & (edsr["quantity"] == "psnr_y")]
    rows = rows[rows["dataset"].isin(["set5", "set14", "b100"])]
    assert len(rows) == 9
    assert rows["difference"].abs().max() < 0.03
    assert set(rows[rows["dataset"] == "set5"]["verdict"]) == {"reproduced"}


@pytest.mark.parametrize("method", ["bicubic", "srcnn-9-5-5"])
@pytest.mark.parametrize("dataset", ["set5", "set14", "b100"])
def test_edsr_table_3_holds_to_the_printed_digit(
    edsr: pd.DataFrame, method: str, dataset: str
) -> None:
    rows = edsr[(edsr["method"] == method) & (edsr["dataset"] == dataset)]
    assert len(rows) == 6
    assert set(rows["verdict"]) == {"reproduced"}


@pytest.mark.parametrize("dataset", ["set5", "set14"])
def test_vdsr_holds_to_the_printed_digit(vdsr: pd.DataFrame, dataset: str) -> None:
    rows = vdsr[vdsr["dataset"] == dataset]
    assert len(rows) == 6
    assert set(rows["verdict"]) == {"reproduced"}


def test_what_is_not_here_is_not_measured_and_says_why(edsr: pd.DataFrame) -> None:
    reasons = edsr[edsr["verdict"] == "not measured"].set_index(["method", "dataset"])["reason"]
    assert all("cannot download edsr_x" in text for text in reasons["edsr", "set5"])
    assert all("cannot download edsr_x" in text for text in reasons["edsr+", "set5"])
    assert all("cannot download img" in text for text in reasons["a-plus", "urban100"])
    assert set(reasons["bicubic", "div2k-val"]) == {"sisrbench has no dataset 'div2k-val'"}
    assert all("cannot download img" in text
               for text in reasons["bicubic", "urban100"])  # fmt: skip
