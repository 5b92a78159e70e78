"""Claims beside measurements: difference, tolerance, verdict and reason, cell by cell."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

import pandas as pd

from bench.published import Claim, PaperTable
from bench.result import Result

Verdict: TypeAlias = Literal["reproduced", "deviates", "not measured", "claim inconsistent"]

COLUMNS = (
    "table",
    "title",
    "source",
    "label",
    "method",
    "weights",
    "scale",
    "dataset",
    "image",
    "protocol",
    "quantity",
    "unit",
    "printed",
    "claimed",
    "measured",
    "difference",
    "tolerance",
    "verdict",
    "reason",
)

_SLACK = 1e-9
"""Binary fractions: 0.005 of a printed digit must not fail on its 17th place."""


class Cell(NamedTuple):
    """Where a value stands: what was measured, on what, at which scale."""

    method: str
    weights: str
    scale: int
    dataset: str
    image: str
    quantity: str


class StandIn(NamedTuple):
    """Weights that were measured for a method and scale instead of those that claims name."""

    label: str
    remark: str
    """What a verdict by them has to say."""


StandIns: TypeAlias = Mapping[tuple[str, int], StandIn]
"""By method and scale."""
NO_STAND_INS: StandIns = MappingProxyType({})


def _cell(result: Result) -> Cell:
    return Cell(
        result.method,
        result.weights,
        result.scale,
        result.dataset,
        result.image,
        result.quantity,
    )


class Measured:
    """Measurements to be joined to claims, by cell and protocol."""

    def __init__(self, results: Iterable[Result], stand_ins: StandIns = NO_STAND_INS) -> None:
        self._stand_ins = stand_ins
        self._found: dict[Cell, list[Result]] = defaultdict(list)
        for result in results:
            self._found[_cell(result)._replace(weights="")].append(result)

    def find(self, cell: Cell, protocol: str) -> tuple[float | None, str]:
        """The value under a protocol, or under the only other there is, and what to say of it.

        Where weights stand in for those of the cell's method and scale, it is theirs. Where the
        cell names no weights, the only ones that were measured stand in.
        """
        stand_in = self._stand_ins.get((cell.method, cell.scale))
        if stand_in is not None and cell.dataset:
            cell = cell._replace(weights=stand_in.label)
        results = self._found.get(cell._replace(weights=""), [])
        if cell.weights or len({result.weights for result in results}) > 1:
            results = [result for result in results if result.weights == cell.weights]
        remark = ""
        results = [result for result in results if not result.inference] or results
        if protocol not in {result.protocol for result in results} and len(results) == 1:
            remark = f"across protocols: claimed under {protocol or 'none'}, measured under "
            remark += results[0].protocol or "none"
        else:
            results = [result for result in results if result.protocol == protocol]
        if not results:
            return None, ""
        found = results[-1]
        if found.value is None:
            return None, found.note
        return found.value, "; ".join(filter(None, (found.inference, remark)))

    def of_claim(self, claim: Result) -> tuple[float | None, str]:
        """The value beside a claim; of `a - b` and `a / b`, from both operands."""
        cell = _cell(claim)
        for sign, combine in _COMBINATIONS.items():
            left, found, right = claim.method.partition(sign)
            if found:
                sides = [
                    self.find(cell._replace(method=side), claim.protocol) for side in (left, right)
                ]
                (a, first), (b, second) = sides
                if a is None or b is None:
                    return None, first or second
                return combine(a, b), first or second
        return self.find(cell, claim.protocol)


_COMBINATIONS: Mapping[str, Callable[[float, float], float]] = {
    " - ": lambda a, b: a - b,
    " / ": lambda a, b: a / b if b else math.inf,
}


def inconsistent_averages(table: PaperTable) -> dict[Cell, str]:
    """Printed averages that are not the mean of the printed rows, with what they should be.

    Allowed is what rounding explains: half a digit of the average and, on the mean, of the rows.
    """
    rows: dict[Cell, list[Result]] = defaultdict(list)
    averages: dict[Cell, Result] = {}
    for claim in table.claims:
        cell = _cell(claim.result)
        if claim.result.image:
            rows[cell._replace(image="")].append(claim.result)
        else:
            averages[cell] = claim.result
    found = {}
    for cell, average in averages.items():
        values = [row.value for row in rows[cell] if row.value is not None]
        if not values or average.value is None:
            continue
        mean = math.fsum(values) / len(values)
        slack = math.fsum(row.spread or 0.0 for row in rows[cell]) / len(values)
        if abs(mean - average.value) > slack + (average.spread or 0.0) + _SLACK:
            found[cell] = f"the mean of the printed rows is {mean:.3f}, not {average.value:g}"
    return found


def judge(
    table: PaperTable,
    results: Iterable[Result],
    why_not: Callable[[Claim], str],
    stand_ins: StandIns = NO_STAND_INS,
) -> pd.DataFrame:
    """One row a claim, of `COLUMNS`; `why_not` says why a claim was not measured.

    A reason says which weights stand in for those that the claim names.
    """
    measured = Measured(results, stand_ins)
    inconsistent = inconsistent_averages(table)
    rows = []
    for claim in table.claims:
        published = claim.result
        value, remark = measured.of_claim(published)
        contradiction = inconsistent.get(_cell(published), "")
        if published.note.startswith("inconsistent:"):
            contradiction = published.note.removeprefix("inconsistent:").strip()
        verdict, reason = _verdict(published, value, contradiction, remark)
        if verdict == "not measured" and not reason:
            reason = why_not(claim)
        if verdict != "not measured":
            reason = "; ".join(filter(None, (reason, *_instead(published, stand_ins))))
        rows.append(
            {
                "table": table.name,
                "title": table.title,
                "source": table.source,
                "label": table.labels.get(published.method, published.method),
                **_cell(published)._asdict(),
                "protocol": published.protocol,
                "unit": published.unit,
                "printed": claim.printed,
                "claimed": published.value,
                "measured": math.nan if value is None else value,
                "difference": math.nan if value is None else value - (published.value or 0.0),
                "tolerance": published.spread,
                "verdict": verdict,
                "reason": reason,
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _verdict(
    claim: Result, value: float | None, contradiction: str, remark: str
) -> tuple[Verdict, str]:
    if contradiction:
        return "claim inconsistent", contradiction
    if value is None or claim.value is None or claim.spread is None:
        return "not measured", remark
    difference = value - claim.value
    if abs(difference) <= claim.spread + _SLACK:
        return "reproduced", remark
    reason = f"differs by {difference:+.4g} {claim.unit}, {claim.spread:g} allowed".replace(
        " ,", ","
    )
    return "deviates", "; ".join(filter(None, (remark, reason, claim.note)))


def _instead(claim: Result, stand_ins: StandIns) -> list[str]:
    """What the weights that stand in for a claim's have to say; of a difference, whose they are."""
    sides = operands(claim.method) if claim.dataset else []
    found = {
        name: stand_ins[name, claim.scale] for name in sides if (name, claim.scale) in stand_ins
    }
    named = len(sides) > 1
    return [f"{name} {each.remark}" if named else each.remark for name, each in found.items()]


def operands(method: str) -> list[str]:
    """The methods that a claim's method names: itself, or both sides of `a - b` or `a / b`.

    >>> operands("edsr - srcnn-9-5-5")
    ['edsr', 'srcnn-9-5-5']
    """
    for sign in _COMBINATIONS:
        if sign in method:
            return method.split(sign)
    return [method]


def none() -> pd.DataFrame:
    """No verdicts: no rows, all `COLUMNS`."""
    return pd.DataFrame(columns=list(COLUMNS))


def all_tables(
    tables: Iterable[PaperTable],
    results: Iterable[Result],
    why_not: Callable[[Claim], str],
    stand_ins: StandIns = NO_STAND_INS,
) -> pd.DataFrame:
    """The verdicts of several paper tables, one below the other."""
    measured = list(results)
    judged = [judge(table, measured, why_not, stand_ins) for table in tables]
    return pd.concat(judged, ignore_index=True) if judged else none()
