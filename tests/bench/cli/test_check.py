"""The command `check`: status 0 only if every cell was compared and none changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import result
from bench.cli import main as cli
from bench.result import Result

IMAGES = ("baby", "bird")
ON = {"method": "mine", "weights": "w", "scale": 3, "dataset": "set5", "protocol": "srcnn2014"}
PSNR = [
    Result(**ON, image=image, quantity="psnr_y", value=value, unit="dB", note=note)
    for image, value, note in (
        ("baby", 33.91047236161447, ""),
        ("bird", 32.57553432259978, ""),
        ("", 33.243003342107125, "average of 2 images"),
    )
]
SSIM = [replace(row, quantity="ssim_y", value=0.9, unit="") for row in PSNR]
COUNT = Result(method="mine", scale=3, quantity="multiplies_per_input_px", value=0.03, unit="M")
TIME = Result(method="mine", scale=3, quantity="seconds", value=0.5, unit="s", spread=0.1)
ALL = [*PSNR, *SSIM, COUNT, TIME]

Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Status, output and errors of `check`, of a baseline (rows, or text) and of rows now."""

    def checked(
        baseline: list[Result] | str, now: list[Result] | str, *options: str
    ) -> tuple[int, str, str]:
        for name, table in (("baseline.csv", baseline), ("out/results.csv", now)):
            text = table if isinstance(table, str) else result.to_csv(table)
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        status = cli.status(
            ["check", str(tmp_path / "baseline.csv"), "--out", str(tmp_path / "out"), *options]
        )
        told = capsys.readouterr()
        if status == 2:  # one line says why
            assert told.err.count("\n") == 1
            assert told.err.startswith("Error: ")
        return status, told.out, told.err

    return checked


def moved(rows: list[Result], by: float) -> list[Result]:
    """The rows with other values."""
    return [replace(row, value=row.value + by) for row in rows if row.value is not None]


def edited(column: str, text: str, line: int = 3) -> str:
    """The table with another text in a cell; line 1 is the header, line 4 the first average."""
    lines = result.to_csv(ALL).splitlines()
    cells = lines[line - 1].split(",")
    cells[result.COLUMNS.index(column)] = text
    lines[line - 1] = ",".join(cells)
    return "\n".join(lines) + "\n"


def test_equal_tables_say_how_many_values_were_compared(check: Check) -> None:
    status, out, _ = check(ALL, ALL)
    assert status == 0
    assert "7 of 8 cells" in out
    assert "compared: 0 worse, 0 better, 0 missing" in out
    assert "not compared: 1 depends on the machine" in out
    assert "psnr 0.001 dB, ssim 1e-05" in out


@pytest.mark.parametrize("cut", [1, 2, 5, 17, 40, 100])
def test_a_truncated_baseline_is_refused(check: Check, cut: int) -> None:
    status, _, err = check(result.to_csv(PSNR)[:-cut], PSNR)
    assert status == 2
    assert "cut off in its last line" in err


def test_a_baseline_that_was_truncated_in_a_value_and_saved_again_fails(check: Check) -> None:
    status, out, _ = check(edited("value", "3"), ALL)
    assert status == 1
    assert "was 3, is 32.5755 (+29.5755 dB, better)" in out


@pytest.mark.parametrize(
    ("column", "text", "told"),
    [
        ("value", "", "line 3: psnr_y has no value"),
        ("value", "-inf", "line 3: value '-inf'"),
        ("value", "nan", "line 3: value 'nan'"),
        ("value", "Infinity", "line 3: value 'Infinity'"),
        ("value", "1e999", "line 3: value '1e999'"),
        ("value", "1_0", "line 3: value '1_0'"),
        ("value", " 32.5", "line 3: value ' 32.5'"),
        ("value", "٣", "line 3: value '٣'"),
        ("value", "32,5", "line 3: it has 15 cells, 14 are expected"),
        ("spread", "-1", "line 3: spread '-1'"),
        ("spread", "inf", "line 3: spread 'inf'"),
        ("scale", "0", "line 3: scale '0'"),
        ("scale", "-2", "line 3: scale '-2'"),
        ("scale", "2.0", "line 3: scale '2.0'"),
        ("scale", "", "line 3: scale ''"),
        ("method", "", "line 3: it names no method"),
        ("quantity", "", "line 3: it names no quantity"),
        ("unit", "levels", "line 3: psnr_y in 'levels'; its unit is 'dB'"),
        ("unit", "", "line 3: psnr_y in ''; its unit is 'dB'"),
        ("source", "Doe 2026", "line 3: its source is 'Doe 2026'"),
        ("image", "baby", "line 3: the same cell as line 2"),
        ("note", ",", "line 3: it has 15 cells, 14 are expected"),
        ("note", '"', "line 3: unexpected end of data"),
    ],
)
def test_a_row_that_no_run_writes_is_refused_in_either_table(
    check: Check, column: str, text: str, told: str
) -> None:
    odd = edited(column, text)
    for tables in ((odd, ALL), (ALL, odd)):
        status, _, err = check(*tables)
        assert status == 2
        assert told in err
        assert ("baseline.csv" in err) is (tables[0] is odd)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("method,weights", "no column scale"),
        (",".join(result.COLUMNS) + ",extra", "column 'extra' is unknown"),
        (",".join(result.COLUMNS) + ",method", "column 'method' stands twice"),
    ],
)
def test_other_columns_are_refused(check: Check, header: str, told: str) -> None:
    body = result.to_csv(PSNR).split("\n", 1)[1]
    status, _, err = check(f"{header}\n{body}", PSNR)
    assert status == 2
    assert told in err


def test_infinity_is_a_value_of_a_metric_and_of_no_count(check: Check) -> None:
    exact = [replace(row, value=float("inf")) for row in PSNR]
    assert check(exact, exact)[0] == 0
    assert check(exact, PSNR)[0] == 1
    status, _, err = check([replace(COUNT, value=float("inf"))], [COUNT])
    assert status == 2
    assert "multiplies_per_input_px is inf" in err


def test_nothing_to_compare_is_status_2(check: Check) -> None:
    unmeasured = replace(COUNT, value=None, note="not measured: the graph has a loop")
    for baseline in ([TIME], [unmeasured], [TIME, unmeasured]):
        status, out, err = check(baseline, ALL)
        assert status == 2
        assert f"0 of {len(baseline)} cells" in out
        assert "nothing was compared" in err


def test_a_baseline_of_times_alone_is_status_2(check: Check) -> None:
    header = ",".join(result.COLUMNS)
    rows = [
        f"bicubic,,2,,,srcnn2014,,{quantity},0.2,s,{spread},measured,3b64dbf60858,"
        for quantity, spread in (("seconds", "0.1"), ("seconds_p10", ""), ("seconds_p90", ""))
    ]
    text = "\n".join([header, *rows]) + "\n"
    status, out, _ = check(text, text)
    assert status == 2
    assert "not compared: 3 depend on the machine" in out


def test_a_count_without_value_needs_a_reason(check: Check) -> None:
    bare = replace(COUNT, value=None)
    status, _, err = check([*PSNR, bare], ALL)
    assert status == 2
    assert "line 5: multiplies_per_input_px has no value and no note that says why" in err
    told = replace(bare, note="not measured: the graph has a loop")
    status, out, _ = check([*PSNR, told], ALL)
    assert status == 0
    assert "not compared: 1 has no value in" in out


@pytest.mark.parametrize(
    ("now", "is_told"),
    [
        ({"method": "other"}, "but of method other"),
        ({"weights": "v"}, "but with weights v"),
        ({"weights": ""}, "but with no weights"),
        ({"scale": 2}, "but at x2"),
        ({"dataset": "set14"}, "but on set14"),
        ({"protocol": "rcan2018"}, "but by rcan2018"),
        ({"inference": "bf16"}, "but as bf16"),
    ],
)
def test_a_baseline_of_another_place_is_never_green(
    check: Check, now: dict[str, str], is_told: str
) -> None:
    status, out, err = check(PSNR, [replace(row, **now) for row in PSNR])  # type: ignore[arg-type]
    assert status == 2
    assert out.count(is_told) == 3
    assert "nothing was compared" in err
    # With one cell left to compare, the others still fail.
    assert check(PSNR, [PSNR[0], *(replace(row, **now) for row in PSNR[1:])])[0] == 1  # type: ignore[arg-type]


def test_an_average_of_other_images_fails_although_the_value_is_the_same(check: Check) -> None:
    average = PSNR[2]
    for note in ("average of 3 images", "average of 1 of 2 images; left out, infinite value: bird"):
        status, out, _ = check([average], [replace(average, note=note)])
        assert status == 1
        assert "was of 2 images" in out


def test_missing_images_fail(check: Check) -> None:
    status, out, _ = check(PSNR, PSNR[1:])
    assert status == 1
    assert "2 of 3 cells" in out
    assert "1 missing" in out


def test_cells_that_the_baseline_lacks_are_counted(check: Check) -> None:
    status, out, _ = check(PSNR, ALL)
    assert status == 0
    assert "4 cells are measured now and not in the baseline" in out  # the time is none of them


def test_a_table_compared_with_itself_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.csv"
    path.write_text(result.to_csv(PSNR))
    (tmp_path / "link.csv").symlink_to(path)
    for name in ("results.csv", "link.csv"):
        assert cli.status(["check", str(tmp_path / name), "--out", str(tmp_path)]) == 2
        assert "is the file to check itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "psnr", "ssim", "status"),
    [
        ((), -0.0009, 0, 0),
        ((), -0.0011, 0, 1),
        ((), 0, -0.00095, 1),
        ((), 0, -0.000011, 1),
        ((), 0, -0.000009, 0),
        (("--tolerance", "0.01"), -0.009, 0, 0),
        (("--tolerance", "0.01"), 0, -0.009, 1),  # a bare number is of dB
        (("--tolerance", "psnr=0.01", "--tolerance", "ssim=0.0001"), -0.009, -0.00009, 0),
        (("--tolerance", "psnr=0.01", "--tolerance", "ssim=0.0001"), -0.009, -0.00011, 1),
        (("--tolerance", "psnr=0"), -0.0001, 0, 1),
        (("--tolerance", "psnr=0"), 0, 0, 0),
    ],
)
def test_each_metric_has_its_own_tolerance(
    check: Check, options: tuple[str, ...], psnr: float, ssim: float, status: int
) -> None:
    now = [*moved(PSNR, psnr), *moved(SSIM, ssim)]
    assert check([*PSNR, *SSIM], now, *options)[0] == status


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("inf",), "would accept any change"),
        (("psnr=inf",), "would accept any change"),
        (("psnr=nan",), "would accept any change"),
        (("psnr=-1",), "'-1' is no tolerance"),
        (("psnr=",), "'' is no tolerance"),
        (("much",), "'much' is no tolerance"),
        (("pnsr=1",), "no metric 'pnsr'; did you mean 'psnr'"),
        (("parameters=1",), "no metric 'parameters'"),
        (("psnr=1", "psnr=2"), "psnr has two tolerances"),
        (("1", "psnr=2"), "psnr has two tolerances"),
    ],
)
def test_an_odd_tolerance_is_refused(check: Check, given: tuple[str, ...], told: str) -> None:
    status, _, err = check(PSNR, PSNR, *(part for each in given for part in ("--tolerance", each)))
    assert status == 2
    assert told in err


def test_a_better_value_fails_unless_it_is_allowed(check: Check) -> None:
    better = moved(PSNR, 0.1)
    fewer = replace(COUNT, value=0.02)
    status, out, _ = check([*PSNR, COUNT], [*better, fewer])
    assert status == 1
    assert "+0.1 dB, better" in out
    assert "4 better" in out
    assert "--allow-better" in out
    status, out, _ = check([*PSNR, COUNT], [*better, fewer], "--allow-better")
    assert status == 0
    assert "4 better" in out
    worse = [replace(PSNR[0], value=1.0), *better[1:]]
    assert check(PSNR, worse, "--allow-better")[0] == 1


def test_no_byte_of_a_baseline_can_be_lost_unseen(check: Check) -> None:
    """Every cut, and every byte of a value changed, gives status 1 or 2 and no traceback."""
    text = result.to_csv(PSNR)
    for end in range(0, len(text), 7):
        assert check(text[:end], PSNR)[0] == 2
    start = text.index("33.9")
    for place in range(start, start + 5):
        for byte in '9,\n\0"':
            assert check(text[:place] + byte + text[place + 1 :], PSNR)[0] in ((0,) if byte ==
                text[place] else (1, 2))  # fmt: skip
