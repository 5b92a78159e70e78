"""What a person reads on the terminal when a command is done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import click
import pandas as pd
import rich.markup
from rich import box
from rich.console import Console
from rich.table import Table

from bench import metrics
from bench.result import VERDICTS, Result


def console() -> Console:
    """Where tables go: as wide as the terminal, or as wide as they are where there is none."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=1000)


def print_averages(measured: Sequence[Result]) -> None:
    """One line a method: its averages, dataset by dataset and scale by scale, the best bold."""
    averages = [found for found in measured if found.dataset and not found.image]
    columns = list(dict.fromkeys((found.dataset, found.scale) for found in averages))
    rows: dict[str, dict[tuple[str, int], list[str]]] = {}
    for found in averages:
        weights = f"@{found.weights}" if found.weights else ""
        name = f"{found.method}{weights} {found.inference}".rstrip()
        cell = rows.setdefault(name, {}).setdefault((found.dataset, found.scale), [])
        text = f"{found.value:.{2 if found.unit == 'dB' else 4}f}"
        cell.append(f"[bold]{text}[/]" if found.value == _best(found, averages) else text)
    quantities = " / ".join(dict.fromkeys(found.quantity for found in averages))
    table = Table(title=quantities, box=box.SIMPLE, title_justify="left")
    table.add_column("method")
    for dataset, scale in columns:
        table.add_column(rich.markup.escape(f"{dataset} x{scale}"), justify="right")
    for name, cells in rows.items():
        shown = (" / ".join(cells.get(column, ["-"])) for column in columns)
        table.add_row(rich.markup.escape(name), *shown)
    console().print(table)


def _best(found: Result, averages: Sequence[Result]) -> float | None:
    """The best of the averages that one competes with; None where neither way is better."""
    place = (found.dataset, found.scale, found.quantity)
    rivals = [
        other.value
        for other in averages
        if (other.dataset, other.scale, other.quantity) == place and other.value is not None
    ]
    higher_is_better = metrics.quantities()[found.quantity].higher_is_better
    if higher_is_better is None:
        return None
    return (max if higher_is_better else min)(rivals, default=None)


def print_verdicts(verdicts: pd.DataFrame, told: Collection[str] = ()) -> None:
    """Counts of each verdict by table, and every cell that deviates or contradicts itself.

    `told` are tables whose findings stand above already.
    """
    counted = Table(box=box.SIMPLE)
    for column in ("table", *VERDICTS):
        counted.add_column(column, justify="left" if column == "table" else "right")
    for name, rows in verdicts.groupby("table", sort=False):
        counted.add_row(
            str(name), *(str(int((rows["verdict"] == kind).sum())) for kind in VERDICTS)
        )
    console().print(counted)
    odd = verdicts[verdicts["verdict"].isin(("deviates", "claim inconsistent"))]
    for row in odd[~odd["table"].isin(list(told))].to_dict("records"):
        place = f"{row['dataset']} x{row['scale']} {row['image'] or 'average'}".strip()
        claimed = f"{row['label']} {place} {row['quantity']} {row['printed']}"
        click.echo(f"  {row['verdict']}: {claimed}: {row['reason']}")


def print_arms(title: str, averages: pd.DataFrame) -> None:
    """The arms of an experiment: mean and standard deviation over seeds."""
    table = Table(title=rich.markup.escape(title), box=box.SIMPLE, title_justify="left")
    for column in ("arm", "quantity", "mean", "std", "seeds"):
        table.add_column(column, justify="left" if column in ("arm", "quantity") else "right")
    for arm, quantity, mean, spread, count in averages.itertuples(index=False):
        figures = (f"{mean:.4f}", f"{spread:.4f}", str(count))
        table.add_row(rich.markup.escape(str(arm)), str(quantity), *figures)
    console().print(table)


def print_findings(verdicts: pd.DataFrame) -> None:
    """What came of each claim of an experiment: a line each, the difference with its spread."""
    for row in verdicts.to_dict("records"):
        difference = f"{row['measured']:+.3f} {row['unit']}".rstrip()
        click.echo(f"  {row['verdict']}: {row['label']}: {difference} ({row['reason']})")


def print_costs(measured: Sequence[Result]) -> None:
    """A table a scale: costs down, methods across; why one is missing, below."""
    for scale in sorted({found.scale for found in measured}):
        here = [found for found in measured if found.scale == scale]
        cells = {(_heading(found), found.method): found for found in here}
        methods = list(dict.fromkeys(found.method for found in here))
        table = Table(title=f"x{scale}", box=box.SIMPLE, title_justify="left")
        table.add_column("cost")
        for method in methods:
            table.add_column(rich.markup.escape(method), justify="right")
        for heading in dict.fromkeys(map(_heading, here)):
            shown = (_cost(cells.get((heading, method))) for method in methods)
            table.add_row(rich.markup.escape(heading), *shown)
        console().print(table)
    for note in dict.fromkeys(found.note for found in measured if found.value is None):
        click.echo(f"  {note}")


def _heading(found: Result) -> str:
    unit = f", {found.unit}" if found.unit else ""
    return " ".join(filter(None, (found.quantity.replace("_", " ") + unit, found.inference)))


def _cost(found: Result | None) -> str:
    if found is None or found.value is None:
        return "-"
    return f"{found.value:,.0f}" if found.value.is_integer() else f"{found.value:,.4g}"


def print_places(places: Sequence[Path]) -> None:
    """The files that were written, on one line."""
    click.echo("  ".join(map(str, places)))
