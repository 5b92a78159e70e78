"""Paper tables as transcribed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import zoo
from bench import protocol, published
from bench.files import annotated_csv
from bench.result import cell
from zoo.errors import InputError

HEADER = "# title: t\n# source: s\n# labels: bicubic=Bicubic\n" + ",".join(published.COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("srcnn2014_set5", 210),
        ("srcnn2014_set14", 195),
        ("edsr2017_table3", 248),
        ("honda2018_fig6", 19),
        ("edsr2017_table1", 5),
        ("edsr2017_models", 8),
        ("carn2018_costs", 35),
    ],
)
def test_every_claim_is_there(name: str, count: int) -> None:
    table = published.load(name)
    assert len(table.claims) == count
    assert table.source


@pytest.mark.parametrize("name", published.names())
def test_every_claim_names_rules_that_exist_and_a_printed_number(name: str) -> None:
    for claim in published.load(name).claims:
        assert claim.result.protocol in ("", *protocol.PROTOCOLS)
        assert math.isfinite(published.number(claim.printed))


@pytest.mark.parametrize("name", published.names())
def test_every_method_has_its_printed_label(name: str) -> None:
    table = published.load(name)
    assert {claim.text for claim in table.claims} == set(table.labels)


def test_weights_that_a_claim_names_are_published() -> None:
    for claim in (c.result for name in published.names() for c in published.load(name).claims):
        if claim.weights:
            tags = {w.tag for w in zoo.load(claim.method)[0].weights if w.scale == claim.scale}
            assert claim.weights in tags


def test_no_claim_is_made_twice() -> None:
    for name in published.names():
        keys = [
            (claim.operation, claim.other, *cell(claim.result))
            for claim in published.load(name).claims
        ]
        assert len(keys) == len(set(keys))


def test_values_spot_checked_against_the_printed_pages() -> None:
    cells = {
        (c.result.method, c.result.scale, c.result.image): c.printed
        for c in published.load("srcnn2014_set5").claims
        if c.result.quantity == "psnr_y"
    }
    assert cells["srcnn-9-1-5", 3, "butterfly"] == "27.58"
    assert cells["sc", 3, ""] == "31.42"
    assert cells["anr", 2, "woman"] == "34.55"


@pytest.mark.parametrize(
    ("printed", "half"), [("33.66", 0.005), ("0.9299", 0.00005), ("30", 0.5), ("0.10", 0.005)]
)
def test_the_tolerance_is_half_of_the_last_printed_digit(printed: str, half: float) -> None:
    assert published.half_digit(printed) == pytest.approx(half, rel=1e-12)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("bicubic,,2,demo,,srcnn2014,psnr_y,about 30,dB,", "row 1: .*'about 30'"),
        ("bicubic,,two,demo,,srcnn2014,psnr_y,30,dB,", "row 1: .*'two'"),
        ("bicubic,,2,demo", "row 1: 4 cells; expected 10"),
    ],
)
def test_a_row_that_is_no_claim_is_refused_by_number(
    row: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.csv").write_text(HEADER + row + "\n")
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    with pytest.raises(InputError, match=message):
        published.load("mine")


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("# title: t\na,b\n1,2\n")
    with pytest.raises(InputError, match="has columns a,b; expected a,c"):
        annotated_csv.read(path, ("a", "c"))


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n")
    with pytest.raises(InputError, match="has no rows"):
        annotated_csv.read(path, ("a", "b"))


def test_the_second_method_of_a_difference_is_a_field() -> None:
    (gain,) = [c for c in published.load("honda2018_fig6").claims if c.text == "edsr - srcnn-9-5-5"]
    assert (gain.result.method, gain.operation, gain.other) == ("edsr", "-", "srcnn-9-5-5")
    assert gain.methods == ("edsr", "srcnn-9-5-5")


@pytest.mark.parametrize("cells", ["-,", ",vdsr", "+,vdsr"])
def test_half_a_difference_is_refused(
    cells: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = ",".join([*published.COLUMNS, *published.OPTIONAL_COLUMNS])
    row = f"edsr,,2,set5,,rcan2018,psnr_y,1.57,dB,,{cells}"
    (tmp_path / "gain.csv").write_text(f"# title: T\n{header}\n{row}\n")
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="give - or / and the second method, or neither"):
        published.load("gain")
