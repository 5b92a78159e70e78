"""The store: a SQLite file of Results, units, runs and trainings.

All Results of a unit are written in a single transaction. A run that is killed loses only the unit
that was being measured, and the same command continues from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from bench.result import (
    COLUMNS,
    RUN_COLUMNS,
    TRAINING_COLUMNS,
    Cell,
    Result,
    WeightsName,
    cell,
    from_cell,
)
from zoo.errors import InputError, listed, spelled

FORMAT = 4
"""Version of the file's tables. A file of version 3 gets the table `identities`; older ones are
refused."""
FILE = "results.sqlite"
_COUNTED = "counted"
"""The value of `units.finished`: the unit's place in the order is its rowid, and no time.

Earlier versions wrote the time, which is out of order if the clock was set back. In the order of
`finished, rowid` their units come first, by time; a digit sorts before this word.
"""
_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, facts TEXT, command TEXT, started TEXT, ended TEXT
);
CREATE TABLE IF NOT EXISTS units (
    key TEXT PRIMARY KEY, run TEXT, label TEXT, finished TEXT
);
CREATE TABLE IF NOT EXISTS results (
    unit_key TEXT, method TEXT, weights TEXT, scale INTEGER, dataset TEXT, image TEXT,
    protocol TEXT, inference TEXT, quantity TEXT, value REAL, unit TEXT, spread REAL,
    source TEXT, run TEXT, note TEXT
);
CREATE TABLE IF NOT EXISTS trainings (
    sha256 TEXT, method TEXT, weights TEXT, scale INTEGER, facts TEXT,
    PRIMARY KEY (sha256, method, weights, scale)
);
CREATE TABLE IF NOT EXISTS identities (
    key TEXT PRIMARY KEY, facts TEXT, rows TEXT
);
CREATE INDEX IF NOT EXISTS results_of_unit ON results (unit_key);
"""
COLUMNS_OF = {
    "runs": ("id", "facts", "command", "started", "ended"),
    "units": ("key", "run", "label", "finished"),
    "results": ("unit_key", *COLUMNS),
    "trainings": ("sha256", "method", "weights", "scale", "facts"),
    "identities": ("key", "facts", "rows"),
}
"""Each table of the file to its columns, in order."""
_CANNOT_WRITE = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
"""Errors of the disk or of permissions, not of the file's contents."""


_NO_FACTS: Mapping[str, Any] = MappingProxyType({})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _is_text(found: object) -> bool:
    return isinstance(found, str)


def _is_name(found: object) -> bool:
    return isinstance(found, str) and found != ""


def _is_scale(found: object) -> bool:
    return isinstance(found, int) and found >= 1


def _is_number(found: object) -> bool:
    return found is None or (isinstance(found, float) and found != -math.inf)


def _is_facts(found: object) -> bool:
    """Whether a text is a JSON object whose values are texts."""
    if not isinstance(found, str):
        return False
    try:
        facts = json.loads(found)
    except (ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and all(isinstance(value, str) for value in facts.values())


_EXPECTED: dict[str, tuple[str, Callable[[object], bool]]] = {
    "method": ("a name", _is_name),
    "quantity": ("a name", _is_name),
    "scale": ("a whole number above 0", _is_scale),
    "value": ("a number, or a note that says why there is none,", _is_number),
    "spread": ("a number", _is_number),
    "facts": ("a JSON object of texts", _is_facts),
}
"""What a column holds, in words, and whether a value is that; every other column holds a text."""


def _is_object(found: object) -> bool:
    """Whether a text is a JSON object."""
    if not isinstance(found, str):
        return False
    try:
        return isinstance(json.loads(found), dict)
    except (ValueError, RecursionError):
        return False


def _digest(rows: Iterable[Sequence[object]]) -> str:
    """SHA-256, in hex, of rows of the table `results`, with every digit of the numbers."""
    lines = "\n".join(json.dumps([*row]) for row in rows)
    return hashlib.sha256(lines.encode()).hexdigest()


def _decoded(text: bytes) -> str | bytes:
    """A text of the file; bytes if it is not UTF-8, which `_EXPECTED` then refuses."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


@dataclass(frozen=True)
class StoreFile:
    """The file of an open store, recognised by its place on the disk, not only by its name."""

    path: Path
    device: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> StoreFile:
        """The file that has this path now.

        Raises:
            OSError: there is none.
        """
        found = path.stat()
        return cls(path, found.st_dev, found.st_ino)

    def refuse_if_moved(self) -> None:
        """Refuse a file that was deleted, renamed, replaced or emptied since.

        Raises:
            InputError: the path leads to no file, to another one, or to an empty one.
        """
        try:
            is_here = StoreFile.of(self.path) == self and self.path.stat().st_size > 0
        except OSError:
            is_here = False
        if not is_here:
            raise InputError(
                f"the store {self.path} was deleted, renamed, replaced or emptied while it was in "
                "use; restore it, or run the same command again"
            )


class Store:
    """The measured Results of a folder, by unit key."""

    def __init__(self, folder: Path) -> None:
        """Open the store of a folder; a new folder gets a new store.

        Raises:
            InputError: the folder cannot be written, the file is no store, or the store has
                another format.
        """
        self.path = folder / FILE
        self.file: StoreFile | None = None
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
            # Seconds to wait for another process that writes to the same store.
            self._database = sqlite3.connect(self.path, timeout=60)
        self._database.text_factory = _decoded
        try:
            self._check()
            with self._explained():
                self.file = StoreFile.of(self.path)
        except InputError:
            self.close()
            raise

    def _check(self) -> None:
        """Create the tables of a new file, or check the format and the tables of an old file.

        Raises:
            InputError: the file is no store, has another format, or its tables were changed.
        """
        with self._explained():
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:  # SQLite's value for a new file
                others = [str(name) for name in self._names("table") if name not in COLUMNS_OF]
                if others:
                    raise InputError(
                        f"{self.path} holds another program's tables: {listed(others)}; give "
                        "another --out"
                    )
                self._database.executescript(
                    f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"
                )
            elif version == FORMAT - 1:
                self._database.executescript(
                    f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"
                )
            elif version != FORMAT:
                raise InputError(
                    f"{self.path} is a store of format {version}, this sisrbench reads {FORMAT}; "
                    "give another --out"
                )
            if changed := self._changed():
                raise InputError(
                    f"{self.path} is no store, or somebody changed it: {changed}; move it away, or "
                    "give another --out"
                )

    def _names(self, kind: str) -> list[object]:
        """Names of the file's objects of a kind: `table` or `trigger`."""
        query = "SELECT name FROM sqlite_master WHERE type = ?"
        return [name for (name,) in self._database.execute(query, (kind,))]

    def _changed(self) -> str:
        """How the file's tables differ from a new store's, in words; empty if they do not."""
        with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
            fresh.executescript(_TABLES)
            tables = self._names("table")
            for name in COLUMNS_OF:
                if name not in tables:
                    return f"it has no table {name}"
                query = f"PRAGMA table_info({name})"
                if self._database.execute(query).fetchall() != fresh.execute(query).fetchall():
                    return f"table {name} has other columns"
        # A trigger could drop or change what is stored.
        return "it has a trigger" if self._names("trigger") else ""

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """A context in which errors of SQLite and of the disk become InputErrors.

        At its end, a file that was deleted, renamed or replaced is refused: SQLite goes on with a
        file that has no name any more, and every Result would be lost.
        """
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            if self.file is not None:
                self.file.refuse_if_moved()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest are details
            fix = "damaged, or no store: move it away"
            if isinstance(error, OSError) or code in _CANNOT_WRITE:
                fix = "free the disk, or give another --out"
            elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                fix = "wait for the other program that uses it, then run the same command again"
            raise InputError(f"cannot use the store {self.path}: {error}; {fix}") from error
        if self.file is not None:
            self.file.refuse_if_moved()

    def has(self, key: str) -> bool:
        """Whether the Results of the unit with this key are in the store."""
        with self._explained():
            row = self._database.execute("SELECT 1 FROM units WHERE key = ?", (key,)).fetchone()
        return row is not None

    def begin(self, run: str, facts: dict[str, str], command: str) -> None:
        """Record that a run starts.

        A run with the same facts is continued: a new command is appended to the run's commands.

        Args:
            run: identifier of the run.
            facts: the machine and the software.
            command: the command line or the call.
        """
        # Compared with "; " on both sides, so that a command is not found inside a longer command.
        with self._explained(), self._database:
            self._database.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, '') "
                "ON CONFLICT (id) DO UPDATE SET command = command || '; ' || excluded.command "
                "WHERE instr('; ' || command || '; ', '; ' || excluded.command || '; ') = 0",
                (run, json.dumps(facts), spelled(command), _now()),
            )

    def add(
        self,
        key: str,
        label: str,
        run: str,
        results: Iterable[Result],
        facts: Mapping[str, Any] = _NO_FACTS,
        *,
        anew: bool = False,
    ) -> None:
        """Write all Results of a unit, or none if another process has written the unit already.

        Args:
            key: the unit's key.
            label: the unit in words.
            run: identifier of the run.
            results: the unit's Results.
            facts: everything that the key stands for.
            anew: whether stored Results of the unit are replaced.
        """
        rows = [
            {**asdict(result), "note": spelled(result.note), "run": run, "unit_key": key}
            for result in results
        ]
        names = ("unit_key", *COLUMNS)
        marks = ", ".join(f":{name}" for name in names)
        with self._explained(), self._database:
            if anew:
                self._database.execute("DELETE FROM results WHERE unit_key = ?", (key,))
                self._database.execute("DELETE FROM units WHERE key = ?", (key,))
            unit = self._database.execute(
                "INSERT OR IGNORE INTO units VALUES (?, ?, ?, ?)",
                (key, run, spelled(label), _COUNTED),
            )
            if unit.rowcount:  # 0 if another process was faster
                # Rows that are left if somebody deleted the unit by hand.
                self._database.execute("DELETE FROM results WHERE unit_key = ?", (key,))
                self._database.executemany(
                    f"INSERT INTO results ({', '.join(names)}) VALUES ({marks})", rows
                )
                digest = _digest(tuple(row[name] for name in names) for row in rows)
                self._database.execute(
                    "INSERT OR REPLACE INTO identities VALUES (?, ?, ?)",
                    (key, json.dumps(dict(facts)), digest),
                )
            self._database.execute("UPDATE runs SET ended = ? WHERE id = ?", (_now(), run))

    def results(self, keys: Iterable[str] | None = None) -> list[Result]:
        """Results of the units with these keys, in this order; None: all units, newest last.

        Raises:
            InputError: the file cannot be read, or rows of a unit were edited, added or deleted.
        """
        if keys is None:
            keys = self._keys()
        found = []
        for key in keys:
            rows = self._rows("results", "WHERE unit_key = ? ORDER BY rowid", key)
            # A store of an earlier version says nothing of the rows.
            for _, _, written in self._rows("identities", "WHERE key = ?", key):
                if written != _digest(rows):
                    raise InputError(
                        f"{self.path}, table results: rows of the unit {key[:12]}... were edited, "
                        "added or deleted; undo the edit, or move the file away and measure again"
                    )
            found += [Result(**dict(zip(COLUMNS, row, strict=True))) for _, *row in rows]
        return found

    def facts(self) -> list[dict[str, Any]]:
        """The facts of all units, in the order in which they were stored."""
        return [json.loads(facts) for _, facts, _ in self._rows("identities", "ORDER BY rowid")]

    def renew(self, keys: Iterable[str]) -> None:
        """Mark the units with these keys as the newest, because the user asked for them again."""
        with self._explained(), self._database:
            self._database.executemany(
                "UPDATE units SET finished = ?, rowid = (SELECT max(rowid) + 1 FROM units) "
                "WHERE key = ?",
                [(_COUNTED, key) for key in keys],
            )

    def newest(self, of_machine: Collection[str] = ()) -> list[Result]:
        """Results of the newest unit for each cell: method, weights, scale, dataset, protocol, ...

        Several units can measure the same cell, for example after the images of a folder changed.

        Args:
            of_machine: quantities that belong to a machine: of these, each run keeps its own.
        """
        units: dict[tuple[Cell, str], list[Result]] = {}
        for key in self._keys():
            by_quantity: dict[tuple[Cell, str], list[Result]] = {}
            for found in self.results([key]):
                run = found.run if found.quantity in of_machine else ""
                place = (cell(found)._replace(image=""), run)
                by_quantity.setdefault(place, []).append(found)
            for place, results in by_quantity.items():
                units.pop(place, None)  # removed first, so that the newest units come last
                units[place] = results
        return [result for results in units.values() for result in results]

    def runs(self) -> pd.DataFrame:
        """The facts of all runs in long form, `RUN_COLUMNS`, oldest run first."""
        rows = []
        for run, facts, command, started, ended in self._rows("runs", "ORDER BY rowid"):
            known = json.loads(facts) | {"command": command, "started": started, "ended": ended}
            rows += [(run, key, value) for key, value in known.items() if value]
        return pd.DataFrame(rows, columns=list(RUN_COLUMNS))

    def note(self, trainings: Mapping[WeightsName, Mapping[str, str]]) -> None:
        """Record the training of weights; facts recorded before for the same weights are replaced.

        Args:
            trainings: name of the weights to the facts that their file states.
        """
        with self._explained(), self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO trainings VALUES (?, ?, ?, ?, ?)",
                [(*name, json.dumps(dict(facts))) for name, facts in trainings.items()],
            )

    def trainings(self, names: Iterable[WeightsName] | None = None) -> pd.DataFrame:
        """Trainings of these weights in long form, `TRAINING_COLUMNS`; None: all, oldest first."""
        known = {
            (sha256, method, weights, scale): json.loads(facts)
            for sha256, method, weights, scale, facts in self._rows("trainings", "ORDER BY rowid")
        }
        rows = [
            (*name, key, value)
            for name in (known if names is None else names)
            for key, value in known.get(name, {}).items()
            if value
        ]
        return pd.DataFrame(rows, columns=list(TRAINING_COLUMNS))

    def _keys(self) -> list[str]:
        """Keys of all units, in the order in which they were last asked for."""
        return [key for key, *_ in self._rows("units", "ORDER BY finished, rowid")]

    def _rows(self, table: str, which: str, *values: str) -> list[tuple[Any, ...]]:
        """Rows of a table, each with the columns `COLUMNS_OF` says.

        Args:
            table: name of the table.
            which: the end of the query, which chooses and orders the rows.
            values: for the places `?` of `which`.

        Raises:
            InputError: the file cannot be read, or a column of a row holds what no run writes.
        """
        columns = COLUMNS_OF[table]
        query = f"SELECT rowid, {', '.join(columns)} FROM {table} {which}"
        with self._explained():
            rows = self._database.execute(query, values).fetchall()
        for number, *row in rows:
            for column, found in zip(columns, row, strict=True):
                expected, is_right = _EXPECTED.get(column, ("a text", _is_text))
                if (table, column) == ("identities", "facts"):
                    expected, is_right = "a JSON object", _is_object
                is_bare = column == "value" and found is None and not row[columns.index("note")]
                if is_bare or not is_right(found):
                    shown = "empty" if found is None else repr(found)
                    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
                    raise InputError(
                        f"{self.path}, table {table}, row {number}: {column} is {shown}, "
                        f"{expected} is expected; undo the edit, or move the file away and measure "
                        "again"
                    )
        return [tuple(row) for _, *row in rows]


def table(results: Iterable[Result]) -> pd.DataFrame:
    """Results as a DataFrame of `COLUMNS`; a missing value or spread is NaN."""
    frame = pd.DataFrame([asdict(result) for result in results], columns=list(COLUMNS))
    return frame.astype({"scale": int, "value": float, "spread": float})


def as_results(frame: pd.DataFrame) -> list[Result]:
    """The Results of a DataFrame with the columns `COLUMNS`, as `table` makes one.

    The DataFrame may also be a `results.csv` that pandas has read: an empty cell may be '' or
    missing, and an apostrophe before a formula is dropped.

    Raises:
        InputError: it is no DataFrame, lacks a column, or has a cell of another type.
    """
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"{type(frame).__name__} is no table of results; give a DataFrame")
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise InputError(f"a table without {', '.join(missing)}; give a table of results")
    numbers = ("value", "spread")
    found = []
    for row in frame[list(COLUMNS)].to_dict("records"):
        empty = {key for key, value in row.items() if pd.isna(value)}
        try:
            texts = {
                str(key): "" if key in empty else from_cell(str(value))
                for key, value in row.items()
            }
            found.append(
                Result(
                    **texts  # type: ignore[arg-type]
                    | {"scale": int(row["scale"])}
                    | {key: None if key in empty else float(row[key]) for key in numbers}
                )
            )
        except (TypeError, ValueError) as error:
            raise InputError(
                f"a row that is no result ({error}); give a table of results"
            ) from error
    return found
