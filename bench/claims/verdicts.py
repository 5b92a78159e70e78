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


class Measured:
    """Measurements, found by the cell and protocol of a claim."""

    def __init__(
        self, results: Iterable[Result], substitutes: Substitutes = NO_SUBSTITUTES
    ) -> None:
        self._stand_ins = substitutes
        self._found: dict[Cell, list[Result]] = defaultdict(list)
        for result in results:
            self._found[_place(result)._replace(weights="")].append(result)

    def find(self, cell: Cell, protocol: str) -> tuple[float | None, str]:
        """The value measured for a claim's cell, and a remark; None and the reason without a value.

        If the cell was measured under a single other protocol, that value is returned, and the
        remark says so. If substitute weights were measured for the cell's method and scale, the
        value is for the substitute weights. If the cell names no weights and only one set of
        weights was measured, the value is for these weights.

        Args:
            cell: the place of the claim.
            protocol: name of the claim's protocol.
        """
        substitute = self._stand_ins.get((cell.method, cell.scale))
        if substitute is not None and cell.dataset:
            cell = cell._replace(weights=substitute.label)
        results = self._found.get(cell._replace(weights=""), [])
        if cell.weights or len({result.weights for result in results}) > 1:
            results = [result for result in results if result.weights == cell.weights]
        remark = ""
        # Papers do not state a setting, so the default setting is preferred.
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
            # The verdict itself says "not measured", so the reason does not repeat the words.
            return None, found.note.removeprefix("not measured: ")
        return found.value, "; ".join(filter(None, (found.inference, remark)))

    def of_claim(self, claim: Claim) -> tuple[float | None, str]:
        """The measured value of a claim, and a remark; a difference or ratio needs both methods."""
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
            return None, remark if a is None else other_remark
        if claim.operation == "/" and not b:
            return None, f"{claim.other} is 0, so there is no ratio"
        named = zip(claim.methods, (remark, other_remark), strict=True)
        return _OPERATIONS[claim.operation](a, b), "; ".join(
            f"{method} {said}" for method, said in named if said
        )


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
    """The verdict on a claim, and the reason.

    Args:
        claim: the published value.
        value: the measured value, or None.
        contradiction: how the claim contradicts the same paper, or ''.
        remark: a remark on the measured value, or the reason why there is none.
    """
    if contradiction:
        return "claim inconsistent", contradiction
    if value is None or claim.value is None or claim.spread is None:
        return "not measured", remark
    difference = value - claim.value
    if abs(difference) <= claim.spread + _SLACK:
        return "reproduced", remark
    # Without a unit, there would be a space before the comma.
    reason = f"differs by {difference:+.4g} {claim.unit}, {claim.spread:g} allowed".replace(
        " ,", ","
    )
    return "deviates", "; ".join(filter(None, (remark, reason, claim.note)))


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
