"""Regression against an earlier table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import result, store
from bench.claims import regression
from bench.cli import main as cli
from bench.cli import stored
from bench.result import Result
from zoo.errors import InputError

PSNR = Result(method="mine", scale=2, dataset="set5", protocol="srcnn2014", quantity="psnr_y",
              value=36.5, unit="dB")  # fmt: skip
COUNT = Result(method="mine", scale=2, quantity="multiplies_per_input_px", value=0.03, unit="M")
TIME = Result(method="mine", scale=2, quantity="seconds", value=0.5, unit="s")
BASELINE = [PSNR, COUNT, TIME]
KNOWN = regression.quantities()


def changes(baseline: list[Result], now: Iterable[Result]) -> list[regression.Change]:
    return regression.compare(baseline, now, regression.tolerances(())).changes


def told(*now: Result) -> list[tuple[str, bool]]:
    return [(str(c), c.is_worse) for c in changes(BASELINE, now)]


def test_nothing_changed_says_nothing() -> None:
    assert told(*BASELINE) == []


def test_a_lower_psnr_is_worse_by_so_much() -> None:
    ((line, is_worse),) = told(replace(PSNR, value=36.4), COUNT, TIME)
    assert line == "mine x2 set5 average psnr_y: was 36.5, is 36.4 (-0.1 dB, worse)"
    assert is_worse


def test_a_higher_psnr_is_told_as_better() -> None:
    ((line, is_worse),) = told(replace(PSNR, value=36.6), COUNT)
    assert "+0.1 dB, better" in line
    assert not is_worse


@pytest.mark.parametrize(("value", "count"), [(36.4995, 0), (36.4985, 1)])
def test_the_tolerance_is_in_the_metrics_own_unit(value: float, count: int) -> None:
    assert len(told(replace(PSNR, value=value), COUNT)) == count


def test_more_multiplies_are_worse_however_few() -> None:
    ((line, is_worse),) = told(PSNR, replace(COUNT, value=0.030001))
    assert "mine x2 multiplies_per_input_px" in line
    assert is_worse


def test_a_missing_cell_is_worse() -> None:
    ((line, is_worse),) = told(COUNT)
    assert line == "mine x2 set5 average psnr_y: was 36.5, is not measured now"
    assert is_worse


def test_times_are_left_out() -> None:
    assert told(PSNR, COUNT, replace(TIME, value=50.0)) == []


def test_infinity_stays_infinity() -> None:
    same = replace(PSNR, value=float("inf"))
    assert changes([same], [same]) == []


def test_the_table_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    odd = replace(COUNT, scale=3, value=None, spread=0.1 + 0.2, note='a "quoted", comma')
    path.write_text(result.to_csv([*BASELINE, odd]))
    assert result.from_csv(path, KNOWN) == [*BASELINE, odd]


def test_a_table_from_before_there_were_ways_to_run_reads_as_the_default(tmp_path: Path) -> None:
    table = store.table(BASELINE).drop(columns="inference")
    table.to_csv(tmp_path / "old.csv", index=False)
    assert result.from_csv(tmp_path / "old.csv", KNOWN) == BASELINE


def test_a_time_is_one_of_its_way_to_run() -> None:
    faster = replace(PSNR, inference="bf16")
    ((line, is_worse),) = told(faster, COUNT)
    assert line.endswith("is not measured now, but as bf16")
    assert is_worse


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "is no results.csv"),
        ("", "no rows"),
        (result.to_csv([PSNR]).replace("36.5", "nan"), "line 2: value 'nan' is no number"),
        (result.to_csv([PSNR]).replace("36.5", "high"), "is no results.csv: line 2: value 'high'"),
    ],
)
def test_another_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        result.from_csv(tmp_path / "x.csv", KNOWN)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*nowhere"):
        result.from_csv(tmp_path / "nowhere.csv", KNOWN)


def test_the_command_gives_status_1_where_something_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.csv"
    baseline.write_text(result.to_csv([PSNR]))
    for value, status in ((36.5, 0), (36.6, 1), (36.4, 1)):
        (tmp_path / "results.csv").write_text(result.to_csv([replace(PSNR, value=value)]))
        assert cli.status(["check", str(baseline), "--out", str(tmp_path)]) == status
    assert "1 of 1 cells of" in capsys.readouterr().out


def test_a_quantity_that_nothing_measures_is_never_better() -> None:
    odd = replace(PSNR, quantity="lpipsx_y", value=30.0, unit="")
    for value in (25.0, 35.0):
        (change,) = changes([odd], [replace(odd, value=value)])
        assert change.is_worse
        assert "nothing here measures it, so it counts as worse" in str(change)
    assert not changes([odd], [odd])


@pytest.mark.parametrize("cut", [1, 4, 12, 30])
def test_a_table_that_was_cut_off_is_refused(cut: int, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(result.to_csv(BASELINE)[:-cut])
    with pytest.raises(InputError, match="cut off in its last line"):
        result.from_csv(tmp_path / "x.csv", KNOWN)


def test_a_change_of_the_unit_is_worse_although_nothing_here_measures_the_quantity() -> None:
    odd = replace(PSNR, quantity="lpipsx_y", value=0.3, unit="")
    (change,) = changes([odd], [replace(odd, unit="dB")])
    assert change.is_worse
    assert "in 'dB', was in ''" in str(change)


def test_help_states_the_tolerance_of_every_metric() -> None:
    (option,) = (found for found in stored.check.params if found.name == "given")
    for metric, tolerance in regression.tolerances(()).items():
        digits = f"{tolerance:.5f}".rstrip("0")
        assert f"{metric}={digits}" in str(getattr(option, "help", ""))
