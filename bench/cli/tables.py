"""Tables and lines on the terminal at the end of a command."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import rich.markup
from rich import box
from rich.table import Table

from bench import metrics
from bench.cli.terminal import say
from bench.progress import console
from bench.result import VERDICTS, Result, by_place, doubts, remarks_on_average


def print_averages(measured: Sequence[Result]) -> None:
    """Print a line for each method with averages by dataset and scale; the best are bold.

    The title names the protocol. Remarks on averages follow, a line each.
    """
    averages = [found for found in measured if found.dataset and not found.image]
    sets = list(dict.fromkeys(found.dataset for found in averages))
    # The first method may lack a scale that another has.
    columns = sorted(
        {(found.dataset, found.scale) for found in averages},
        key=lambda column: (sets.index(column[0]), column[1]),
    )
    rows: dict[str, dict[tuple[str, int], list[str]]] = {}
    remarks: list[tuple[str, str, str, str]] = []
    for found in averages:
        weights = f"@{found.weights}" if found.weights else ""
        name = f"{found.method}{weights} {found.inference}".rstrip()
        place = (name, found.dataset, f"x{found.scale}")
        remarks += [(*place, remark) for remark in remarks_on_average(found.note)]
        cell = rows.setdefault(name, {}).setdefault((found.dataset, found.scale), [])
        # The digits that papers print: two for PSNR, four for SSIM.
        digits = 2 if found.unit == "dB" else 4
        text = "-" if found.value is None else f"{found.value:.{digits}f}"
        is_best = found.value is not None and found.value == _best(found, averages)
        cell.append(f"[bold]{text}[/]" if is_best else text)
    quantities = " / ".join(dict.fromkeys(found.quantity for found in averages))
    rules = ", ".join(dict.fromkeys(found.protocol for found in averages if found.protocol))
    title = f"{quantities}, protocol {rules}" if rules else quantities
    table = Table(box=box.SIMPLE)
    table.add_column("method")
    # Names are escaped, because rich reads [...] in a name as markup.
    for dataset, scale in columns:
        table.add_column(rich.markup.escape(f"{dataset} x{scale}"), justify="right")
    for name, cells in rows.items():
        shown = (" / ".join(cells.get(column, ["-"])) for column in columns)
        table.add_row(rich.markup.escape(name), *shown)
    say(title)
    console().print(table)
    for line in by_place(remarks):
        say(f"  {line}")


def _best(found: Result, averages: Sequence[Result]) -> float | None:
    """Best average of the same dataset, scale and quantity; None if neither direction is better."""
    place = (found.dataset, found.scale, found.quantity)
    rivals = [
        other.value
        for other in averages
        if (other.dataset, other.scale, other.quantity) == place and other.value is not None
    ]
    quantity = metrics.quantities().get(found.quantity)
    if quantity is None or quantity.higher_is_better is None:
        return None
    return (max if quantity.higher_is_better else min)(rivals, default=None)


def print_verdicts(verdicts: pd.DataFrame, told: Collection[str] = ()) -> None:
    """Print the number of each verdict by table, and a line for each cell that needs a look.

    These are the cells that deviate or are inconsistent, and the averages and costs that have a
    value of another protocol or setting only. Such cells of single images are counted.

    Args:
        verdicts: a DataFrame with columns `bench.result.VERDICT_COLUMNS`.
        told: names of tables whose cells are printed already.
    """
    counted = Table(box=box.SIMPLE)
    for column in ("table", *VERDICTS):
        counted.add_column(column, justify="left" if column == "table" else "right")
    for name, rows in verdicts.groupby("table", sort=False):
        counted.add_row(
            str(name), *(str(int((rows["verdict"] == kind).sum())) for kind in VERDICTS)
        )
    console().print(counted)
    untold = verdicts[~verdicts["table"].isin(list(told))]
    for row in untold[untold["verdict"].isin(("deviates", "claim inconsistent"))].to_dict(
        "records"
    ):
        say(f"  {row['verdict']}: {_claim(row)}: {row['reason']}")
    # A table measured by another protocol may have hundreds of such cells.
    unjudged = untold[(untold["verdict"] == "not measured") & untold["measured"].notna()]
    for row in unjudged[unjudged["image"] == ""].to_dict("records"):
        difference = f"({row['difference']:+.4g})"
        say(f"  {row['verdict']}: {_claim(row)}: {row['reason']} {difference}")
    if count := int((unjudged["image"] != "").sum()):
        say(
            f"  not measured: {count} cells of single images have a value of another protocol or "
            "setting only; the page shows each"
        )


def _claim(row: Mapping[Hashable, object]) -> str:
    """A claim as text: label, dataset, scale, image, quantity and printed digits."""
    place = f"{row['dataset']} x{row['scale']} {row['image'] or 'average'}".strip()
    return f"{row['label']} {place} {row['quantity']} {row['printed']}"


def print_arms(title: str, averages: pd.DataFrame) -> None:
    """Print the arms of an experiment, with mean and standard deviation over seeds."""
    table = Table(title=rich.markup.escape(title), box=box.SIMPLE, title_justify="left")
    for column in ("arm", "quantity", "mean", "std", "seeds"):
        table.add_column(column, justify="left" if column in ("arm", "quantity") else "right")
    for arm, quantity, mean, spread, count in averages.itertuples(index=False):
        figures = (f"{mean:.4f}", f"{spread:.4f}", str(count))
        table.add_row(rich.markup.escape(str(arm)), str(quantity), *figures)
    console().print(table)


def print_findings(verdicts: pd.DataFrame) -> None:
    """Print a line for each claim of an experiment: verdict, mean difference, reason."""
    for row in verdicts.to_dict("records"):
        difference = f"{row['measured']:+.3f} {row['unit']}".rstrip()
        say(f"  {row['verdict']}: {row['label']}: {difference} ({row['reason']})")


def print_costs(measured: Sequence[Result]) -> None:
    """Print a table for each scale, costs by methods, and the reasons for missing values.

    An approximate time is marked with ~, and a line says why.
    """
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
        say(f"  {note}")
    for line in dict.fromkeys(
        f"  ~ {found.method} x{found.scale}: {doubt}"
        for found in measured
        if found.value is not None
        for doubt in doubts(found.note)
    ):
        say(line)


def _heading(found: Result) -> str:
    """The heading of a row of costs: quantity, unit and setting."""
    unit = f", {found.unit}" if found.unit else ""
    return " ".join(filter(None, (found.quantity.replace("_", " ") + unit, found.inference)))


def _cost(found: Result | None) -> str:
    """The value of a cost as text: counts in full, other values with four digits."""
    if found is None or found.value is None:
        return "-"
    mark = "~" if doubts(found.note) else ""
    digits = f"{found.value:,.0f}" if found.value.is_integer() else f"{found.value:,.4g}"
    return mark + digits


def print_places(places: Sequence[Path]) -> None:
    """Print the paths of the written files, on a single line."""
    say("  ".join(map(str, places)))
