"""The log: a row a time in a table, and the same in TensorBoard's events."""

from __future__ import annotations

import csv
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from bench.training.log import COLUMNS, Logbook
from zoo.errors import InputError

ROWS = [
    {"update": 1.0, "seconds": 0.5, "loss": 0.25, "rate": 0.001},
    {"update": 2.0, "seconds": 0.75, "loss": 0.125, "rate": 0.0005, "psnr": 30.123456789},
    {"update": 1_234_567.0, "seconds": 9.5, "loss": 0.0625, "rate": 0.0001},
]


def table(path: Path) -> list[dict[str, float]]:
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(text) for key, text in row.items() if text} for row in rows]


def events(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Every scalar of the one file of events: name, step, value (float32).

    A record is its length (8 bytes), a checksum of that (4), the message, and its checksum (4).
    """
    [path] = folder.iterdir()
    content, at = path.read_bytes(), 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + length])
        for value in event.summary.value:
            yield value.tag, event.step, value.simple_value
        at += 12 + length + 4
    assert at == len(content)


def expected(rows: list[dict[str, float]]) -> list[tuple[str, int, float]]:
    return [
        (key, int(row["update"]), pytest.approx(value, rel=2**-24))
        for row in rows
        for key, value in row.items()
        if key not in ("update", "seconds")
    ]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "out" / "log.csv", tmp_path / "out" / "events"


def test_every_row_is_in_both_logs(places: tuple[Path, Path]) -> None:
    with Logbook(*places, before=[]) as log:
        for done, row in enumerate(ROWS, start=1):
            log.write(row)
            assert table(places[0]) == ROWS[:done]  # at once: who waits can look
    assert places[0].read_text().splitlines()[0] == ",".join(COLUMNS)
    assert list(events(places[1])) == expected(ROWS)


def test_nothing_is_made_before_there_is_a_row(places: tuple[Path, Path]) -> None:
    with Logbook(*places, before=ROWS):
        pass
    assert not places[0].parent.exists()


def test_rows_from_before_are_in_it_once(places: tuple[Path, Path]) -> None:
    with Logbook(*places, before=[]) as log:
        for row in ROWS:  # killed, the checkpoint being older than the second row
            log.write(row)
    before = ROWS[:1]
    with Logbook(*places, before=before) as log:
        before.append(ROWS[1])  # as whoever keeps them does
        log.write(ROWS[1])
        log.write(ROWS[2])
    assert table(places[0]) == ROWS
    assert list(events(places[1])) == expected(ROWS)


def test_a_column_that_there_is_not_is_refused(places: tuple[Path, Path]) -> None:
    with (
        Logbook(*places, before=[]) as log,
        pytest.raises(InputError, match="no column 'lost' in a log; give: update, seconds, loss"),
    ):
        log.write({"update": 1, "lost": 0.5})
    assert not places[0].exists()
