"""The commands that work on stored results: report, check."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli import options
from bench.cli.terminal import say
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
    "given",
    multiple=True,
    metavar="METRIC=NUMBER",
    help="How far a metric may change, in its unit; may be repeated. A bare number is for metrics "
    "in dB.  [default: psnr=0.001 ssim=0.00001 alex=0.0001 detail=0.001]",
)
@click.option(
    "--allow-better", is_flag=True, help="Exit with status 0 if values changed for the better."
)
def check(baseline: Path, out: Path, given: tuple[str, ...], allow_better: bool) -> int:
    """Compare results with an earlier results.csv.

    \b
    sisrbench run -m ./mine.py -d set5 --out now && sisrbench check baseline.csv --out now

    For continuous integration: exits with status 1 if a metric changed by more than its tolerance,
    a count of multiplies or parameters changed, or a cell of the baseline is missing. Times are not
    compared. If nothing can be compared, the status is 2.
    """  # noqa: D301
    from bench import result
    from bench.claims import regression

    tolerance, known = regression.tolerances(given), regression.quantities()
    before, now = (result.from_csv(path, known) for path in (baseline, out / "results.csv"))
    if baseline.samefile(out / "results.csv"):
        raise InputError(
            f"{baseline} is the file to check itself; give the results.csv of an earlier run"
        )
    found = regression.compare(before, now, tolerance)
    for change in found.changes:
        say(f"  {change}")
    worse, better = found.count(worse=True), found.count(worse=False)
    say(
        f"{found.compared} of {len(before)} cells of {baseline} compared: {worse} worse, "
        f"{better} better, {found.missing} missing"
    )
    for count, reason in (
        (found.of_machine, "depend on the machine, as times do"),
        (found.valueless, f"have no value in {baseline}"),
    ):
        if count:
            verb, rest = reason.split(" ", 1)
            verb = {"depend": "depends", "have": "has"}[verb] if count == 1 else verb
            say(f"  not compared: {count} {verb} {rest}")
    if found.added:
        are = "cell is" if found.added == 1 else "cells are"
        say(f"  {found.added} {are} measured now and not in the baseline")
    used = {known[row.quantity] for row in before if row.quantity in known}
    units = {quantity.metric: quantity.unit for quantity in used if quantity.metric}
    shown = [f"{name} {tolerance[name]:g} {units[name]}".rstrip() for name in sorted(units)]
    say(f"  tolerance: {', '.join([*shown, 'counts 0'])}")
    if not found.compared:
        raise InputError(
            f"nothing was compared with {baseline}; give a baseline of the same methods, weights, "
            "scales, images and protocol, with metrics or counts"
        )
    if better and not (worse or found.missing or allow_better):
        say("  if better values are right, keep the new results.csv, or --allow-better")
    return int(bool(worse or found.missing or (better and not allow_better)))
