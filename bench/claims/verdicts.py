"""Claims beside measurements: difference, tolerance, verdict and reason, cell by cell."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import pandas as pd

from bench.published import Claim, PaperTable
from bench.result import VERDICT_COLUMNS, Cell, Result, Verdict, VerdictRow, cell

_SLACK = 1e-9
"""Binary fractions: 0.005 of a printed digit must not fail on its 17th place."""


class SubstituteWeights(NamedTuple):
    """Weights that were measured for a method and scale instead of those that claims name."""

    label: str
    remark: str
    """What a verdict by them has to say."""


Substitutes: TypeAlias = Mapping[tuple[str, int], SubstituteWeights]
"""By method and scale."""
NO_SUBSTITUTES: Substitutes = MappingProxyType({})


def _place(result: Result) -> Cell:
    """The cell of a result or claim, whatever its protocol and its way to run a network."""
    return cell(result)._replace(protocol="", inference="")


class Measured:
    """Measurements to be joined to claims, by cell and protocol."""

    def __init__(
        self, results: Iterable[Result], substitutes: Substitutes = NO_SUBSTITUTES
    ) -> None:
        self._stand_ins = substitutes
        self._found: dict[Cell, list[Result]] = defaultdict(list)
        for result in results:
            self._found[_place(result)._replace(weights="")].append(result)

    def find(self, cell: Cell, protocol: str) -> tuple[float | None, str]:
        """The value under a protocol, or under the only other there is, and what to say of it.

        Where weights stand in for those of the cell's method and scale, it is theirs. Where the
        cell names no weights, the only ones that were measured stand in.
        """
        substitute = self._stand_ins.get((cell.method, cell.scale))
        if substitute is not None and cell.dataset:
            cell = cell._replace(weights=substitute.label)
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

    def of_claim(self, claim: Claim) -> tuple[float | None, str]:
        """The value beside a claim, and what to say of it; a difference needs both methods."""
        published = claim.result
        sides = [
            self.find(_place(published)._replace(method=method), published.protocol)
            for method in claim.methods
        ]
        first, *others = sides
        if not others:
            return first
        ((a, remark), (b, other_remark)) = (first, *others)
        if a is None or b is None:
            return None, remark or other_remark
        return _OPERATIONS[claim.operation](a, b), remark or other_remark


_OPERATIONS: Mapping[str, Callable[[float, float], float]] = {
    "-": lambda a, b: a - b,
    "/": lambda a, b: a / b if b else math.inf,
}


def inconsistent_averages(table: PaperTable) -> dict[Cell, str]:
    """Printed averages that are not the mean of the printed rows, with what they should be.

    Allowed is what rounding explains: half a digit of the average and, on the mean, of the rows.
    """
    rows: dict[Cell, list[Result]] = defaultdict(list)
    averages: dict[Cell, Result] = {}
    for claim in table.claims:
        if claim.other:  # a difference's average is no mean of one method's rows
            continue
        cell = _place(claim.result)
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
    substitutes: Substitutes = NO_SUBSTITUTES,
) -> pd.DataFrame:
    """One row a claim, of `VERDICT_COLUMNS`; `why_not` says why a claim was not measured.

    A reason says which weights stand in for those that the claim names.
    """
    measured = Measured(results, substitutes)
    inconsistent = inconsistent_averages(table)
    rows = []
    for claim in table.claims:
        published = claim.result
        value, remark = measured.of_claim(claim)
        contradiction = "" if claim.other else inconsistent.get(_place(published), "")
        if published.note.startswith("inconsistent:"):
            contradiction = published.note.removeprefix("inconsistent:").strip()
        verdict, reason = _verdict(published, value, contradiction, remark)
        if verdict == "not measured" and not reason:
            reason = why_not(claim)
        if verdict != "not measured":
            reason = "; ".join(filter(None, (reason, *_instead(claim, substitutes))))
        rows.append(
            VerdictRow(
                table=table.name,
                title=table.title,
                source=table.source,
                label=table.labels.get(claim.text, claim.text),
                method=published.method,
                operation=claim.operation,
                other=claim.other,
                weights=published.weights,
                scale=published.scale,
                dataset=published.dataset,
                image=published.image,
                protocol=published.protocol,
                quantity=published.quantity,
                unit=published.unit,
                printed=claim.printed,
                claimed=published.value,
                measured=math.nan if value is None else value,
                difference=math.nan if value is None else value - (published.value or 0.0),
                tolerance=published.spread,
                verdict=verdict,
                reason=reason,
            )
        )
    return frame(rows)


def frame(rows: Iterable[VerdictRow]) -> pd.DataFrame:
    """Verdicts as a DataFrame of `VERDICT_COLUMNS`."""
    return pd.DataFrame([vars(row) for row in rows], columns=list(VERDICT_COLUMNS))


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


def _instead(claim: Claim, substitutes: Substitutes) -> list[str]:
    """What to say of weights that were measured in place of a claim's; of a difference, whose."""
    scale = claim.result.scale
    sides = claim.methods if claim.result.dataset else ()
    found = {name: substitutes[name, scale] for name in sides if (name, scale) in substitutes}
    named = len(sides) > 1
    return [f"{name} {each.remark}" if named else each.remark for name, each in found.items()]


def all_tables(
    tables: Iterable[PaperTable],
    results: Iterable[Result],
    why_not: Callable[[Claim], str],
    substitutes: Substitutes = NO_SUBSTITUTES,
) -> pd.DataFrame:
    """The verdicts of several paper tables, one below the other."""
    measured = list(results)
    judged = [judge(table, measured, why_not, substitutes) for table in tables]
    return pd.concat(judged, ignore_index=True) if judged else frame([])
