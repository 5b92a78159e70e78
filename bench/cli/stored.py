"""The commands that work on stored results: report, check."""

from __future__ import annotations

import math
from pathlib import Path

import click

from bench.cli import options
from zoo.errors import InputError


@click.command()
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=options.DEFAULT_OUT,
    show_default=True,
    help="Folder that holds the store.",
)
def report(tables: tuple[str, ...], out: Path) -> int:
    """Write the page again from the results stored in --out.

    Writes index.html and results.csv from the whole store, and compares the named paper tables with
    the results. Nothing is measured.
    """
    from bench import session
    from bench.cli import tables as shown

    outcome = session.stored(out, tables)
    places = outcome.write(out)
    if tables:
        shown.print_verdicts(outcome.verdicts)
    shown.print_places(places)
    return 0


@click.command()
@click.argument("baseline", metavar="BASELINE", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=options.DEFAULT_OUT,
    show_default=True,
    help="Folder that holds the results.csv to check.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=0.001,
    show_default=True,
    help="How far a metric may change, in the unit of the metric.",
)
def check(baseline: Path, out: Path, tolerance: float) -> int:
    """Compare results with an earlier results.csv.

    \b
    sisrbench run -m ./mine.py -d set5 --out now && sisrbench check baseline.csv --out now

    For continuous integration: exits with status 1 if a metric got worse by more than the
    tolerance, a count of multiplies or parameters grew, or a cell of the baseline is missing.
    Times are not compared.
    """  # noqa: D301
    from bench import result
    from bench.claims import regression

    if not math.isfinite(tolerance):  # click's range accepts inf and nan
        raise InputError(f"--tolerance {tolerance} would accept any change; give a finite number")
    before, now = result.from_csv(baseline), result.from_csv(out / "results.csv")
    found = regression.changes(before, now, tolerance)
    worse = [change for change in found if change.is_worse]
    for change in found:
        click.echo(f"  {change}")
    click.echo(
        f"{len(before)} cells of {baseline}: {len(worse)} worse, {len(found) - len(worse)} better"
    )
    return int(bool(worse))
