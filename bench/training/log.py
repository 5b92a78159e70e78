"""The training log: a CSV file and TensorBoard events."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboardX import SummaryWriter

from zoo.errors import InputError

COLUMNS = ("update", "seconds", "loss", "rate", "psnr", "updates_per_second", "feeding")


class Logbook:
    """Writes both logs. The first row creates the files; earlier rows are then written again."""

    def __init__(self, table: Path, events: Path, before: Sequence[Mapping[str, float]]) -> None:
        """Log to a CSV file and a folder of TensorBoard events.

        Args:
            table: the CSV file.
            events: the folder of TensorBoard events.
            before: the earlier rows of a resumed training; empty for a new training.
        """
        self._table, self._events, self._before = table, events, list(before)
        self._writer: SummaryWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, row: Mapping[str, float]) -> None:
        """Add a row, column to value.

        Raises:
            InputError: a column is unknown.
            OSError: the log cannot be written.
        """
        surplus = [key for key in row if key not in COLUMNS]
        if surplus:
            raise InputError(f"no column {surplus[0]!r} in a log; give: {', '.join(COLUMNS)}")
        rows = [row]
        if self._writer is None:
            self._table.parent.mkdir(parents=True, exist_ok=True)
            self._table.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
            # TensorBoard would show these beside the rows that are written again.
            for old in self._events.glob("events.*"):
                old.unlink()
            self._writer = SummaryWriter(str(self._events))
            rows = [*self._before, row]
        with self._table.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerows(rows)
        for each in rows:
            for key, value in each.items():
                if key not in ("update", "seconds"):
                    self._writer.add_scalar(key, value, int(each["update"]))
