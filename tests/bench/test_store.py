from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.result import Result
from bench.store import FILE, FORMAT, TRAINING_COLUMNS, Store
from zoo.errors import InputError

RESULT = Result(
    method="srcnn-9-1-5",
    weights="91",
    scale=3,
    dataset="set5",
    image="baby",
    protocol="srcnn2014",
    quantity="psnr_y",
    value=0.1 + 0.2,
    unit="dB",
    spread=None,
    run="r1",
    note="a note, with 'quotes' and µ",
)
FACTS = {"machine": "here", "driver": ""}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    opened.begin("r1", FACTS, "sisrbench run")
    yield opened
    opened.close()


def fill(store: Store, key: str, *results: Result) -> None:
    store.add(key, f"unit {key}", "r1", results)


def test_results_come_back_equal_in_order(store: Store) -> None:
    results = [replace(RESULT, image=f"image {k}", value=k / 3) for k in (3, 1, 2)]
    fill(store, "k", *results)
    assert store.results() == results


@pytest.mark.parametrize("value", [None, math.inf, 0.1 + 0.2, 1e-300, 0.0, -3.5])
def test_value_keeps_every_digit(store: Store, value: float | None) -> None:
    fill(store, "k", replace(RESULT, value=value, spread=value))
    assert store.results() == [replace(RESULT, value=value, spread=value)]


def test_result_carries_the_run_that_stored_it(store: Store) -> None:
    fill(store, "k", replace(RESULT, run=""))
    assert store.results()[0].run == "r1"


def test_results_of_chosen_units_come_in_the_order_asked(store: Store) -> None:
    for key in "abc":
        fill(store, key, replace(RESULT, image=key))
    assert [result.image for result in store.results(["c", "a", "none"])] == ["c", "a"]
    assert [result.image for result in store.results()] == ["a", "b", "c"]


def test_unit_without_results_is_stored_as_done(store: Store) -> None:
    assert not store.has("k")
    fill(store, "k")
    assert store.has("k")
    assert store.results() == []


@pytest.mark.parametrize("bad", [[1], object(), {}])
def test_unit_lands_whole_or_not_at_all(store: Store, bad: Any) -> None:
    fill(store, "before", RESULT)
    with pytest.raises(InputError, match=r"cannot use the store .*results\.sqlite"):
        fill(store, "k", RESULT, replace(RESULT, value=bad), RESULT)
    assert not store.has("k")
    assert store.results(["k"]) == []
    fill(store, "k", RESULT)
    assert store.results() == [RESULT, RESULT]


def test_unit_that_fails_leaves_nothing_for_the_next_commit_to_carry(store: Store) -> None:
    bad: Any = object()
    with pytest.raises(InputError):
        fill(store, "k", RESULT, replace(RESULT, value=bad))
    fill(store, "other", RESULT)
    store.close()
    again = Store(store.path.parent)
    assert (again.has("k"), again.has("other"), len(again.results())) == (False, True, 1)
    again.close()


def test_results_that_stop_coming_leave_nothing(store: Store) -> None:
    def results() -> Iterator[Result]:
        yield RESULT
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        store.add("k", "unit", "r1", results())
    assert not store.has("k")


def test_unit_is_stored_once(store: Store) -> None:
    fill(store, "k", RESULT)
    fill(store, "k", replace(RESULT, value=1.0))  # as a second process would, that was slower
    assert store.results() == [RESULT]


def test_reopened_store_holds_what_was_stored(store: Store) -> None:
    fill(store, "k", RESULT)
    store.close()
    again = Store(store.path.parent)
    assert again.has("k")
    assert again.results() == [RESULT]
    again.close()


def test_store_makes_its_folder(tmp_path: Path) -> None:
    Store(tmp_path / "new" / "folder").close()
    assert (tmp_path / "new" / "folder" / FILE).is_file()


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot use the store .*out/results\.sqlite: .*--out"):
        Store(tmp_path / "out")


@pytest.mark.parametrize("content", [b"method,value\n", b"x" * 5000])
def test_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(
        InputError, match="file is not a database; damaged, or no store: move it away"
    ):
        Store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


@pytest.mark.parametrize("version", [2, FORMAT + 1])
def test_store_of_another_format_is_refused(tmp_path: Path, version: int) -> None:
    Store(tmp_path).close()
    other = sqlite3.connect(tmp_path / FILE)
    other.execute(f"PRAGMA user_version = {version}")
    other.close()
    with pytest.raises(
        InputError, match=f"is a store of format {version}, this sisrbench reads {FORMAT}; give"
    ):
        Store(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The times that the store reads off the clock, one a reading; the last one stays."""
    times = ["2031-01-01T00:00:00.000000+00:00"]
    monkeypatch.setattr("bench.store._now", lambda: times.pop(0) if len(times) > 1 else times[0])
    return times


def test_newest_is_what_was_stored_last_though_the_clock_was_set_back(
    store: Store, clock: list[str]
) -> None:
    fill(store, "before", replace(RESULT, value=30.0))
    clock[:] = ["2020-01-01T00:00:00.000000+00:00"]
    fill(store, "after", replace(RESULT, value=31.0))
    assert [result.value for result in store.newest()] == [31.0]


def test_renewed_unit_is_the_newest_though_the_clock_was_set_back(
    store: Store, clock: list[str]
) -> None:
    fill(store, "first", replace(RESULT, value=30.0))
    fill(store, "second", replace(RESULT, value=31.0))
    clock[:] = ["2020-01-01T00:00:00.000000+00:00"]
    store.renew(["first"])
    assert [result.value for result in store.newest()] == [30.0]
    store.renew(["second", "unknown"])
    assert [result.value for result in store.newest()] == [31.0]


def test_units_of_an_earlier_version_keep_the_order_of_their_times(store: Store) -> None:
    for key, value in (("a", 30.0), ("b", 31.0)):
        fill(store, key, replace(RESULT, value=value))
    earlier = sqlite3.connect(store.path)  # which wrote the time, and renewed "a" after "b"
    with earlier:
        for key, year in (("a", 2031), ("b", 2030)):
            time = f"{year}-01-01T00:00:00.000000+00:00"
            earlier.execute("UPDATE units SET finished = ? WHERE key = ?", (time, key))
    earlier.close()
    assert [result.value for result in store.newest()] == [30.0]
    fill(store, "c", replace(RESULT, value=32.0))
    assert [result.value for result in store.newest()] == [32.0]


def test_runs_are_in_long_form_without_empty_facts(store: Store) -> None:
    store.begin("r2", {"machine": "there"}, "sisrbench reproduce")
    fill(store, "k", RESULT)
    runs = store.runs()
    assert list(runs.columns) == ["run", "key", "value"]
    first = runs[runs["run"] == "r1"].set_index("key")["value"]
    assert list(first.index) == ["machine", "command", "started", "ended"]
    assert (first["machine"], first["command"]) == ("here", "sisrbench run")
    assert first["started"] <= first["ended"]
    assert list(runs[runs["run"] == "r2"]["key"]) == ["machine", "command", "started"]


def test_run_that_goes_on_keeps_its_start_and_adds_the_new_command(store: Store) -> None:
    before = store.runs().set_index("key")["value"]
    store.begin("r1", FACTS, "sisrbench run again")
    after = store.runs().set_index("key")["value"]
    assert after["started"] == before["started"]
    assert after["command"] == "sisrbench run; sisrbench run again"


def test_store_without_runs_gives_an_empty_table(tmp_path: Path) -> None:
    empty = Store(tmp_path)
    assert list(empty.runs().columns) == ["run", "key", "value"]
    assert len(empty.runs()) == 0
    empty.close()


A, B = ("a" * 64, "vdsr", "vdsr.safetensors", 2), ("b" * 64, "vdsr", "vdsr.safetensors", 2)


def test_trainings_are_in_long_form_without_empty_facts(store: Store) -> None:
    store.note({A: {"recipe": "short", "driver": "", "seed": "0"}})
    found = store.trainings()
    assert tuple(found.columns) == TRAINING_COLUMNS
    assert found.to_numpy().tolist() == [[*A, "recipe", "short"], [*A, "seed", "0"]]


def test_trainings_of_chosen_weights_come_in_the_order_asked(store: Store) -> None:
    at_3 = (*A[:3], 3)
    store.note({A: {"seed": "0"}, B: {"seed": "1"}, at_3: {"seed": "0"}})
    unknown = ("c" * 64, "vdsr", "", 2)
    found = store.trainings([at_3, unknown, B])
    assert [tuple(row[:4]) for row in found.to_numpy().tolist()] == [at_3, B]
    assert len(store.trainings([])) == 0


def test_training_noted_again_is_kept_once_and_is_the_newest(store: Store) -> None:
    store.note({A: {"seed": "0"}, B: {"seed": "1"}})
    store.note({A: {"seed": "2"}})
    store.close()
    again = Store(store.path.parent)
    assert again.trainings()["value"].tolist() == ["1", "2"]
    again.close()


def test_store_without_trainings_gives_an_empty_table(store: Store) -> None:
    assert tuple(store.trainings().columns) == TRAINING_COLUMNS
    assert len(store.trainings()) == 0


def test_second_connection_reads_and_writes_while_the_first_is_open(store: Store) -> None:
    fill(store, "k", RESULT)
    second = Store(store.path.parent)
    assert second.results() == [RESULT]
    second.add("other", "unit", "r1", [RESULT])
    second.close()
    assert store.has("other")


def test_another_process_reads_whole_units_while_the_store_is_open(store: Store) -> None:
    fill(store, "k", RESULT, RESULT)
    script = (
        "import json, sqlite3, sys;"
        "print(json.dumps(sqlite3.connect(sys.argv[1]).execute("
        "'SELECT unit_key, value FROM results').fetchall()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(store.path)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [["k", 0.1 + 0.2]] * 2


def test_newest_keeps_the_times_of_every_run(store: Store) -> None:
    time = Result(method="mine", scale=2, quantity="seconds", value=1.0, unit="s")
    count = replace(time, quantity="parameters", value=9.0, unit="")
    store.add("a", "a", "first machine", [time, count])
    store.add("b", "b", "second machine", [replace(time, value=2.0), count])
    found = store.newest({"seconds"})
    assert [(r.quantity, r.value) for r in found] == [
        ("seconds", 1.0), ("seconds", 2.0), ("parameters", 9.0)
    ]  # fmt: skip
    assert len(store.newest()) == 2


def edit(folder: Path, statement: str) -> None:
    other = sqlite3.connect(folder / FILE)
    with other:
        other.execute(statement)
    other.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE results SET value = 99.0 WHERE image = 'baby'",
        "UPDATE results SET method = 'mine' WHERE image = 'baby'",
        "DELETE FROM results WHERE image = 'baby'",
        "INSERT INTO results SELECT * FROM results WHERE image = 'baby'",
    ],
)
def test_edited_rows_of_a_unit_are_refused(tmp_path: Path, store: Store, statement: str) -> None:
    fill(store, "k", RESULT, replace(RESULT, image=""))
    edit(tmp_path, statement)
    with pytest.raises(InputError, match=r"rows of the unit k\.\.\. were edited, added or deleted"):
        store.results()


def test_a_store_of_the_version_before_is_read_and_goes_on(tmp_path: Path) -> None:
    old = Store(tmp_path)
    fill(old, "k", RESULT)
    old.close()
    edit(tmp_path, "DROP TABLE identities")
    edit(tmp_path, f"PRAGMA user_version = {FORMAT - 1}")
    again = Store(tmp_path)
    assert again.results() == [RESULT]
    assert again.facts() == []
    again.add("l", "unit l", "r1", [replace(RESULT, image="bird")], {"method": "mine"})
    assert again.facts() == [{"method": "mine"}]
    again.close()


def test_results_that_are_measured_again_replace_the_older(store: Store) -> None:
    fill(store, "k", RESULT)
    store.add("k", "unit k", "r1", [replace(RESULT, value=2.0)], anew=True)
    assert [result.value for result in store.results()] == [2.0]
