"""A store that somebody edited, deleted or replaced: one line, and never a traceback."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench import store as stores
from bench.cli import main as cli
from bench.result import Result, to_csv
from bench.store import FILE, Store
from zoo.errors import InputError

TABLES = {
    "runs": ("id", "facts", "command", "started", "ended"),
    "units": ("key", "run", "label", "finished"),
    "results": ("unit_key", "method", "weights", "scale", "dataset", "image", "protocol",
                "inference", "quantity", "value", "unit", "spread", "source", "run", "note"),
    "trainings": ("sha256", "method", "weights", "scale", "facts"),
    "identities": ("key", "facts", "rows"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a store of two units, a run and a training."""
    opened = Store(tmp_path)
    opened.begin("r1", {"machine": "here"}, "sisrbench run")
    for key in ("k", "l"):
        results = [
            Result(method="mine", weights=key, scale=2, dataset="set5", image=image,
                   protocol="srcnn2014", quantity="psnr_y", value=33.5, unit="dB")
            for image in ("baby", "")
        ]  # fmt: skip
        opened.add(key, f"unit {key}", "r1", results)
    opened.note({("a" * 64, "mine", "k", 2): {"recipe": "short", "curve": "[]"}})
    opened.close()
    return tmp_path


def edit(folder: Path, *statements: str, values: tuple[object, ...] = ()) -> None:
    with closing(sqlite3.connect(folder / FILE)) as database, database:
        database.execute("PRAGMA synchronous = OFF")  # quicker
        for statement in statements:
            database.execute(statement, values)


def read_all(folder: Path) -> str:
    """Everything that the commands read of a store."""
    opened = Store(folder)
    try:
        found = [*opened.newest({"seconds"}), *opened.results(), *opened.results(["k"])]
        opened.runs()
        opened.trainings()
        opened.has("k")
        return to_csv(found)
    finally:
        opened.close()


def invalid_utf8(table: str, column: str) -> str:
    return f"UPDATE {table} SET {column} = CAST(x'ff41' AS TEXT)"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE runs SET facts = '{'", "table runs, row 1: facts is '{', a JSON object"),
        ("UPDATE runs SET facts = ''", "facts is ''"),
        ("UPDATE runs SET facts = '[1]'", "facts is '[1]', a JSON object"),
        ("UPDATE runs SET facts = '{\"a\": 1}'", "facts is '{\"a\": 1}', a JSON object of texts"),
        ("UPDATE runs SET facts = replace(hex(zeroblob(50000)), '0', '[')", "facts is '[[[["),
        ("UPDATE runs SET facts = NULL", "facts is empty, a JSON object"),
        ("UPDATE runs SET command = NULL", "command is empty, a text"),
        ("UPDATE runs SET started = x'ff'", "started is b'\\xff', a text"),
        ("UPDATE runs SET id = NULL", "id is empty, a text"),
        ("UPDATE trainings SET facts = '{'", "table trainings, row 1: facts is '{'"),
        ("UPDATE trainings SET facts = 'null'", "facts is 'null', a JSON object"),
        ("UPDATE trainings SET scale = 'two'", "scale is 'two', a whole number"),
        ("UPDATE trainings SET sha256 = NULL", "sha256 is empty, a text"),
        ("UPDATE units SET key = NULL WHERE key = 'k'", "table units, row 1: key is empty, a text"),
        ("UPDATE units SET key = x'00ff' WHERE key = 'k'", "key is b'\\x00\\xff', a text"),
        ("UPDATE results SET value = 'abc' WHERE rowid = 2", "results, row 2: value is 'abc'"),
        ("UPDATE results SET value = x'00'", "value is b'\\x00', a number"),
        ("UPDATE results SET value = NULL", "value is empty, a number"),
        ("UPDATE results SET value = -1e999", "value is -inf, a number"),
        ("UPDATE results SET spread = 'wide'", "spread is 'wide', a number"),
        ("UPDATE results SET scale = -2", "scale is -2, a whole number"),
        ("UPDATE results SET scale = 0", "scale is 0, a whole number"),
        ("UPDATE results SET scale = 2.5", "scale is 2.5, a whole number"),
        ("UPDATE results SET scale = NULL", "scale is empty, a whole number"),
        ("UPDATE results SET scale = 1e300", "scale is 1e+300, a whole number"),
        ("UPDATE results SET method = ''", "method is '', a name"),
        ("UPDATE results SET method = NULL", "method is empty, a name"),
        ("UPDATE results SET quantity = NULL", "quantity is empty, a name"),
        ("UPDATE results SET note = NULL", "note is empty, a text"),
        ("UPDATE results SET image = x'ff'", "image is b'\\xff', a text"),
        (invalid_utf8("results", "dataset"), "dataset is b'\\xffA', a text"),
        (invalid_utf8("runs", "facts"), "facts is b'\\xffA', a JSON object"),
        (invalid_utf8("units", "finished"), "finished is b'\\xffA', a text"),
    ],
)  # fmt: skip
def test_an_edited_row_is_named(folder: Path, statement: str, told: str) -> None:
    edit(folder, statement)
    with pytest.raises(InputError) as error:
        read_all(folder)
    assert told in str(error.value)
    assert str(folder / FILE) in str(error.value)
    assert str(error.value).endswith("undo the edit, or move the file away and measure again")
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["DROP TABLE {0}"], "it has no table {0}"),
        (["ALTER TABLE {0} ADD COLUMN more TEXT"], "table {0} has other columns"),
        (["ALTER TABLE {0} RENAME COLUMN {1} TO other"], "table {0} has other columns"),
        (["ALTER TABLE {0} RENAME TO old", "CREATE VIEW {0} AS SELECT * FROM old"],
         "it has no table {0}"),
        (["ALTER TABLE {0} RENAME TO old", "CREATE TABLE {0} AS SELECT * FROM old"],
         "table {0} has other columns"),
        (["CREATE TRIGGER t BEFORE INSERT ON {0} BEGIN SELECT RAISE(IGNORE); END"],
         "it has a trigger"),
    ],
)  # fmt: skip
def test_other_tables_are_refused_at_once(
    folder: Path, name: str, statements: list[str], told: str
) -> None:
    edit(folder, *(statement.format(name, TABLES[name][1]) for statement in statements))
    with pytest.raises(InputError) as error:
        Store(folder)
    assert told.format(name) in str(error.value)
    assert str(error.value).endswith("move it away, or give another --out")


def test_the_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    edit(tmp_path, "CREATE TABLE songs (title TEXT)")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(InputError, match="another program's tables: songs; give another --out"):
        Store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_unit_that_was_deleted_by_hand_is_stored_once(folder: Path) -> None:
    edit(folder, "DELETE FROM units WHERE key = 'k'")
    opened = Store(folder)
    again = Result(method="mine", scale=2, quantity="psnr_y", value=1.0, unit="dB")
    opened.add("k", "unit", "r1", [again])
    assert [result.value for result in opened.results(["k"])] == [1.0]
    opened.close()


def _delete(path: Path) -> None:
    path.unlink()


def _rename(path: Path) -> None:
    path.rename(path.with_name("elsewhere.sqlite"))


def _replace(path: Path) -> None:
    shutil.copy(path, path.with_name("copy.sqlite"))
    path.with_name("copy.sqlite").replace(path)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


GONE = [_delete, _rename, _replace, _empty, _remove_folder]
AFTER: list[Callable[[Store], object]] = [
    lambda store: store.has("k"),
    lambda store: store.begin("r2", {}, "sisrbench"),
    lambda store: store.add("new", "unit", "r1", []),
    lambda store: store.results(["k"]),
    lambda store: store.newest(),
    lambda store: store.renew(["k"]),
    lambda store: store.note({("b" * 64, "mine", "k", 2): {"recipe": "short"}}),
    lambda store: store.runs(),
    lambda store: store.trainings(),
]


@pytest.mark.parametrize("act", AFTER)
@pytest.mark.parametrize("happens", GONE)
def test_a_store_that_is_gone_is_noticed_by_the_next_use(
    happens: Callable[[Path], None], act: Callable[[Store], object], tmp_path: Path, folder: Path
) -> None:
    opened = Store(folder)
    happens(opened.path)
    with pytest.raises(InputError, match=r"results\.sqlite"):
        act(opened)
    opened.close()


METHOD = """
import os, shutil
from pathlib import Path
from torch import nn
from zoo.method import Method

NAMES = ("vandal",)
PATH = Path(os.environ["STORE"])


class Vandal(nn.Module):
    def forward(self, x):
        if x.device.type != "meta" and PATH.is_file():
            {act}
        return x


def method(name):
    return Method(name=name, citation="me", takes="interpolated", channels="any",
                  build=lambda scale, settings: Vandal())
"""


@pytest.mark.parametrize(
    "act", ["PATH.unlink()", "PATH.rename(PATH.parent / 'old')", "shutil.rmtree(PATH.parent)"]
)
@pytest.mark.parametrize("command", ["run", "cost"])
def test_a_command_whose_store_disappears_has_no_status_0(
    act: str,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STORE", str(tmp_path / "out" / FILE))
    (tmp_path / "vandal.py").write_text(METHOD.format(act=act))
    spec, on = str(tmp_path / "vandal.py"), ["-s", "2", "--out", str(tmp_path / "out")]
    arguments = ["run", "-m", spec, "-d", "demo"] if command == "run" else ["cost", spec]
    assert cli.status([*arguments, *on, "--repeat", "1"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("Error: ")
    assert "was deleted, renamed, replaced or emptied" in line


def test_a_store_that_disappears_while_the_page_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def render(*_: object) -> str:
        (folder / FILE).unlink()
        return "page"

    monkeypatch.setattr("reports.page.render", render)
    assert cli.status(["report", "--out", str(folder)]) == 2
    assert "was deleted, renamed, replaced or emptied" in capsys.readouterr().err
    assert (folder / "results.csv").is_file()  # what was measured is not lost


POOL: tuple[Any, ...] = (
    None, "", "{", "abc", "[]", "{}", "null", '{"a": 1}', '{"curve": "{"}', "NaN", "[" * 20000,
    "x" * 3000, "\0", "\x1b[31m", "<script>", 1, -1, 0, 1.5, float("inf"), -float("inf"),
    2**63 - 1, -(2**63), b"\xff\xfe", b"", "1e999", "٣",
)  # fmt: skip


def edited_rows(folder: Path, seed: int, count: int) -> int:
    """How many of `count` stores are refused that have other values in one to three cells."""
    draw = random.Random(seed)
    whole = (folder / FILE).read_bytes()
    refused = 0
    for _ in range(count):
        statements = []
        for _ in range(draw.randint(1, 3)):
            table = draw.choice(list(TABLES))
            column, row = draw.choice(TABLES[table]), draw.randint(1, 4)
            value = draw.choice(POOL)
            statements.append((f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = {row}",
                               (value,)))  # fmt: skip
            if draw.random() < 0.1:
                statements.append((f"{invalid_utf8(table, column)} WHERE rowid = {row}", ()))
        with closing(sqlite3.connect(folder / FILE)) as database, database:
            database.execute("PRAGMA synchronous = OFF")  # quicker
            for statement, values in statements:
                database.execute(statement, values)
        refused += _is_refused(folder)
        (folder / FILE).write_bytes(whole)
    return refused


def changed_bytes(folder: Path, seed: int, count: int) -> int:
    """How many of `count` stores are refused that have 1 to 40 other bytes, or are cut."""
    draw = random.Random(seed)
    whole = (folder / FILE).read_bytes()
    refused = 0
    for _ in range(count):
        changed = bytearray(whole)
        for _ in range(draw.choice((1, 1, 4, 40))):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        if draw.random() < 0.1:
            del changed[draw.randrange(len(changed)) :]
        (folder / FILE).write_bytes(changed)
        refused += _is_refused(folder)
        for beside in folder.glob(f"{FILE}-*"):
            beside.unlink()
    return refused


def test_no_edit_of_a_row_gives_a_traceback(folder: Path) -> None:
    assert 0 < edited_rows(folder, seed=13, count=60) < 60


def test_no_changed_byte_gives_a_traceback(folder: Path) -> None:
    assert 0 < changed_bytes(folder, seed=14, count=100) < 100


def _is_refused(folder: Path) -> bool:
    """Whether a store is refused, by one short line; any other exception fails the test."""
    line = ""
    try:
        read_all(folder)
        opened = Store(folder)
        try:
            opened.begin("r1", {"machine": "here"}, "sisrbench again")
            opened.add("new", "unit", "r1", [])
            opened.renew(["k"])
        finally:
            opened.close()
    except InputError as error:
        line = str(error)
    assert not line or (FILE in line and len(line) < 600)
    return bool(line)


def test_a_run_of_edited_facts_still_gives_a_page(folder: Path) -> None:
    """Facts that are texts, and no facts of a training, leave the page whole."""
    curve = json.dumps({"recipe": "short", "curve": "{", "seconds": "long"})
    edit(folder, "UPDATE trainings SET facts = ?", values=(curve,))
    assert cli.status(["report", "--out", str(folder)]) == 0
    assert (folder / "index.html").is_file()


def test_the_tables_are_those_of_the_store() -> None:
    assert set(TABLES) == set(stores.COLUMNS_OF)
    assert all(tuple(stores.COLUMNS_OF[name]) == TABLES[name] for name in TABLES)
