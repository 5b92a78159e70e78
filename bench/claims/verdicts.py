"""Verdicts: claims joined to measurements, with difference, tolerance and reason for each cell."""

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
"""Allowance for binary fractions: a difference of 0.005 may exceed 0.005 by a rounding error."""


class SubstituteWeights(NamedTuple):
    """Weights measured for a method and scale instead of the weights that claims name."""

    label: str
    remark: str
    """The words that every verdict on these weights must add."""


Substitutes: TypeAlias = Mapping[tuple[str, int], SubstituteWeights]
"""(method, scale) to the substitute weights."""
NO_SUBSTITUTES: Substitutes = MappingProxyType({})


def _place(result: Result) -> Cell:
    """The cell of a result or claim, without protocol and setting."""
    return cell(result)._replace(protocol="", inference="")


class Finding(NamedTuple):
    """What was measured for a claim."""

    value: float | None
    """None if nothing was measured, or if there are several values and none of the claim's own."""
    remark: str = ""
    """The reason why there is no value, or why the value does not judge the claim."""
    judges: bool = True
    """Whether the value was measured under the claim's protocol and in the default setting."""


class Measured:
    """Measurements, found by the cell and protocol of a claim."""

    def __init__(
        self, results: Iterable[Result], substitutes: Substitutes = NO_SUBSTITUTES
    ) -> None:
        self._stand_ins = substitutes
        self._found: dict[Cell, list[Result]] = defaultdict(list)
        for result in results:
            self._found[_place(result)._replace(weights="")].append(result)

    def find(self, cell: Cell, protocol: str) -> Finding:
        """The value measured for a claim's cell.

        If the cell was measured only under another protocol or in another setting, the value does
        not judge the claim, and the remark says so. If substitute weights were measured for the
        cell's method and scale, the value is for the substitute weights. If the cell names no
        weights and only one set of weights was measured, the value is for these weights.

        Args:
            cell: the place of the claim.
            protocol: name of the claim's protocol; '' for a cost that names none, which takes any.
        """
        substitute = self._stand_ins.get((cell.method, cell.scale))
        if substitute is not None and cell.dataset:
            cell = cell._replace(weights=substitute.label)
        results = self._found.get(cell._replace(weights=""), [])
        if cell.weights or len({result.weights for result in results}) > 1:
            results = [result for result in results if result.weights == cell.weights]
        # Papers state no setting, so only the default setting judges a claim.
        own = [r for r in results if protocol in ("", r.protocol) and not r.inference]
        if own and own[-1].value is not None:
            return Finding(own[-1].value)
        # The newest value of each protocol and setting.
        others = {(r.protocol, r.inference): r for r in results if r.value is not None}
        if others:
            value = next(iter(others.values())).value if len(others) == 1 else None
            return Finding(value, _measured_otherwise(protocol, list(others.values())), False)
        # The verdict itself says "not measured", so the reason does not repeat the words.
        return Finding(None, results[-1].note.removeprefix("not measured: ") if results else "")

    def of_claim(self, claim: Claim) -> Finding:
        """What was measured for a claim; a difference or ratio needs both methods."""
        published = claim.result
        sides = [
            self.find(_place(published)._replace(method=method), published.protocol)
            for method in claim.methods
        ]
        if len(sides) == 1:
            return sides[0]
        remarks = [
            f"{method} {side.remark}"
            for method, side in zip(claim.methods, sides, strict=True)
            if side.remark
        ]
        values = [side.value for side in sides if side.value is not None]
        if claim.operation == "/" and len(values) == len(sides) and not values[1]:
            return Finding(None, f"{claim.other} is 0, so there is no ratio")
        value = _OPERATIONS[claim.operation](*values) if len(values) == len(sides) else None
        return Finding(value, "; ".join(remarks), all(side.judges for side in sides))


def _measured_otherwise(protocol: str, others: Iterable[Result]) -> str:
    """The reason why values of another protocol or setting do not judge a claim.

    Args:
        protocol: name of the claim's protocol.
        others: a Result for each other protocol or setting, at least one.
    """
    values, foreign = [], []
    for other in others:
        is_foreign = protocol not in ("", other.protocol)
        under = f"under {other.protocol or 'no protocol'}" if is_foreign else ""
        setting = f"in {other.inference}" if other.inference else ""
        words = (f"{other.value:.6g}", other.unit, under, setting)
        values.append(" ".join(filter(None, words)))
        foreign.append(is_foreign)
    if not any(foreign):
        where = "in another setting"
    else:
        where = f"under another protocol than {protocol}"
        where += "" if all(foreign) else " or in another setting"
    return f"measured only {where}: {'; '.join(values)}"


_OPERATIONS: Mapping[str, Callable[[float, float], float]] = {
    "-": lambda a, b: a - b,
    "/": lambda a, b: a / b,
}


def inconsistent_averages(table: PaperTable) -> dict[Cell, str]:
    """Cells of printed averages that are not the mean of the printed rows, with an explanation.

    Rounding may explain a difference: half a digit of the average, plus the mean of half a digit of
    the rows.
    """
    rows: dict[Cell, list[Result]] = defaultdict(list)
    averages: dict[Cell, Result] = {}
    for claim in table.claims:
        if claim.other:  # the average of a difference is no mean of a single method's rows
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
    """Verdicts on a paper table: a row for each claim, with `VERDICT_COLUMNS`.

    If substitute weights were measured for a claim, the reason names the substitute weights.

    Args:
        table: the paper table.
        results: the measurements.
        why_not: function (claim) -> reason why the claim was not measured.
        substitutes: weights measured instead of the weights that claims name.
    """
    measured = Measured(results, substitutes)
    inconsistent = inconsistent_averages(table)
    rows = []
    for claim in table.claims:
        published = claim.result
        found = measured.of_claim(claim)
        value = found.value
        contradiction = "" if claim.other else inconsistent.get(_place(published), "")
        if published.note.startswith("inconsistent:"):
            contradiction = published.note.removeprefix("inconsistent:").strip()
        verdict, reason = _verdict(published, found, contradiction)
        if verdict == "not measured" and not reason:
            reason = why_not(claim)
        if value is not None or verdict != "not measured":
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


def _verdict(claim: Result, found: Finding, contradiction: str) -> tuple[Verdict, str]:
    """The verdict on a claim, and the reason.

    Args:
        claim: the published value.
        found: what was measured.
        contradiction: how the claim contradicts the same paper, or ''.
    """
    if contradiction:
        remark = "" if found.judges else found.remark
        return "claim inconsistent", "; ".join(filter(None, (contradiction, remark)))
    if found.value is None or not found.judges or claim.value is None or claim.spread is None:
        return "not measured", found.remark
    difference = found.value - claim.value
    if abs(difference) <= claim.spread + _SLACK:
        return "reproduced", ""
    # Without a unit, there would be a space before the comma.
    reason = f"differs by {difference:+.4g} {claim.unit}, {claim.spread:g} allowed".replace(
        " ,", ","
    )
    return "deviates", "; ".join(filter(None, (reason, claim.note)))


def _instead(claim: Claim, substitutes: Substitutes) -> list[str]:
    """Remarks on the substitute weights of a claim; for two methods, each remark names a method."""
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
    """The verdicts on several paper tables, in a single DataFrame."""
    measured = list(results)
    judged = [judge(table, measured, why_not, substitutes) for table in tables]
    return pd.concat(judged, ignore_index=True) if judged else frame([])
