"""Verdicts as readers see them: a glyph, a colour and a meaning for each, counts and reasons."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from reports import quantities
from reports.tables import Row, distinct, rows, scale_name


@dataclass(frozen=True)
class Mark:
    """The look and the meaning of a verdict."""

    verdict: str
    """`bench.result.Verdict`, or an unknown verdict's text."""
    glyph: str
    style: str
    """Class in the style sheet."""
    meaning: str


REPRODUCED = Mark(
    "reproduced", "✓", "reproduced", "the measured value differs by no more than the tolerance"
)
DEVIATES = Mark(
    "deviates", "✗", "deviates", "the measured value differs by more than the tolerance"
)
INCONSISTENT = Mark(
    "claim inconsistent", "!", "inconsistent", "the paper contradicts its own printed value"
)
NOT_MEASURED = Mark(
    "not measured",
    quantities.UNMEASURED,
    "unmeasured",
    "there is no value of the claim's own protocol, measured in the default setting",
)
# Tables have a column for each verdict, in this order.
MARKS = (REPRODUCED, DEVIATES, INCONSISTENT, NOT_MEASURED)


def mark(verdict: str) -> Mark:
    """The mark of a verdict; a question mark for an unknown verdict."""
    return next((m for m in MARKS if m.verdict == verdict), Mark(verdict, "?", "unmeasured", ""))


def counts(verdicts: pd.DataFrame) -> dict[str, int]:
    """The number of cells per verdict: the four known ones, even if 0, then unknown ones."""
    found = verdicts["verdict"].value_counts()
    known = {m.verdict: int(found.get(m.verdict, 0)) for m in MARKS}
    return known | {str(v): int(n) for v, n in sorted(found.items()) if v not in known}


def headline(counted: dict[str, int]) -> str:
    """Counts of verdicts in words.

    >>> headline({"reproduced": 83, "deviates": 1, "not measured": 141, "claim inconsistent": 0})
    '83 of 84 measured cells reproduced; 141 not measured'
    """
    reproduced = counted[REPRODUCED.verdict]
    compared = reproduced + counted[DEVIATES.verdict]
    cells = "cell" if compared == 1 else "cells"
    words = [f"{reproduced} of {compared} measured {cells} reproduced"] if compared else []
    words += [
        f"{n} {'claims inconsistent' if n > 1 and verdict == INCONSISTENT.verdict else verdict}"
        for verdict, n in counted.items()
        if n and verdict not in (REPRODUCED.verdict, DEVIATES.verdict)
    ]
    return "; ".join(words) or "no cells"


@dataclass(frozen=True)
class Reason:
    """A reason for a verdict other than reproduced."""

    mark: Mark
    text: str
    count: int
    """The number of cells with this reason."""
    where: str
    """The cell, or the methods of several cells."""


_NAMED_AT_MOST = 8
"""Methods named beside a reason; the rest are counted."""


def reasons(verdicts: pd.DataFrame) -> list[Reason]:
    """The distinct reasons, by verdict in the order of `MARKS`, most frequent first."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows(verdicts[verdicts["verdict"] != REPRODUCED.verdict]):
        grouped.setdefault((row["verdict"], row["reason"]), []).append(row)
    found = [
        Reason(mark(verdict), text or "no reason given", len(cells), _where(cells))
        for (verdict, text), cells in grouped.items()
    ]
    order = {m.verdict: i for i, m in enumerate(MARKS)}
    return sorted(found, key=lambda r: (order.get(r.mark.verdict, len(order)), -r.count))


def _where(cells: list[Row]) -> str:
    """The cell, or the methods of several cells."""
    if len(cells) == 1:
        return claim_place(cells[0])
    labels = distinct(name(row) for row in cells)
    more = len(labels) - _NAMED_AT_MOST
    return ", ".join(labels[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def name(row: Row) -> str:
    """The claim's subject: the paper's label or, without a label, `method`."""
    return str(row["label"] or method(row))


def method(row: Row) -> str:
    """The claim's method, or both methods of a difference or ratio: "edsr - vdsr"."""
    return " ".join(filter(None, (row["method"], row["operation"], row["other"])))


def claim_place(row: Row) -> str:
    """The subject and setting of a claim: "SRCNN, foreman, Set14 x3, PSNR (Y)"."""
    return ", ".join(filter(None, (name(row), setting(row))))


def setting(row: Row) -> str:
    """The image, dataset, scale and quantity of a claim: "foreman, Set14 x3, PSNR (Y)"."""
    image = row["image"] or ("average" if row["dataset"] else "")
    on = f"{row['dataset']} {scale_name(row['scale'])}".strip()
    measure = quantities.quantity(row["quantity"]).name
    return ", ".join(part for part in (image, on, measure) if part)
