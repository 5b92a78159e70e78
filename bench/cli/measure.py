"""The commands that measure: run, reproduce, cost."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from bench.cli import options
from bench.cli.terminal import say

if TYPE_CHECKING:
    from bench.session import Outcome, Session
    from bench.sources.words import Spec

DEMO_METHODS = (
    "nearest",
    "bilinear",
    "bicubic",
    "lanczos",
    "a-plus",
    "espcn",
    "srcnn-9-1-5@sisrbench",
)
DEMO_DATASETS = ("demo",)


@click.command()
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    type=options.METHOD,
    metavar="METHOD",
    help="NAME[:KEY=VALUE,...][@WEIGHTS], or a method of your own: a card mine.toml, "
    "net.py:Net@net.pth, net.onnx, a folder of SR images, ...; `sisrbench list sources` shows all. "
    "May be repeated.",
)
@click.option(
    "-d",
    "--dataset",
    "sets",
    multiple=True,
    type=options.DATASET,
    metavar="DATASET|DIR",
    help="A set's name, or a folder of HR images; SET=DIR or FILE.csv=DIR for a folder that has a "
    "manifest; may be repeated.",
)
@options.scale
@options.protocol
@click.option(
    "--lr",
    type=options.LR,
    metavar="DIR|SET",
    help="Take LR from files: a folder as of DIV2K, or an LR set of the dataset, as `benchmark`.  "
    "[default: LR made by the protocol]",
)
@options.metric
@click.option(
    "--time/--no-time",
    "timed",
    default=None,
    help="Measure the time of one 1280x720 output.  [default: only in the demo]",
)
@options.measuring
def run(
    methods: tuple[str, ...],
    sets: tuple[str, ...],
    scales: tuple[int, ...],
    protocol_name: str,
    lr: str | None,
    metric_names: tuple[str, ...],
    timed: bool | None,
    session: Session,
) -> int:
    """Measure methods: PSNR, SSIM, cost.

    Without arguments this is the demo, on installed photographs: interpolations, and A+, ESPCN and
    SRCNN with weights that sisrbench trained.

    \b
    sisrbench run -m bicubic -m srcnn-9-1-5 -d set5 -d set14 -s 3
    sisrbench run -m srcnn-9-1-5@imagenet -d set5 -s 3    other published weights
    sisrbench run -m srcnn-9-1-5:n1=32@none -d demo       another width, fresh weights
    sisrbench run -m espcn -d ./DIV2K_valid_HR --lr ./DIV2K_valid_LR_bicubic -s 4
    sisrbench run -m net.py:Net:upscale=2@net_x2.pth -d set5 -s 2 --protocol rcan2018
    sisrbench run -m mine.toml -m net.onnx -d ./photos    see docs/models.md
    """  # noqa: D301
    from bench.cli import tables

    with session:
        outcome = session.measure(
            methods or DEMO_METHODS,
            sets or DEMO_DATASETS,
            scales,
            protocol_name,
            metric_names,
            timed=not methods if timed is None else timed,
            lr=lr or "",
        )
    _tell_computed(outcome)
    places = outcome.write(session.out)
    tables.print_averages(outcome.results)
    tables.print_places(places)
    _tell_protocol(methods)
    _tell_elsewhere(outcome, session.out)
    return _tell_failures(outcome)


@click.command()
@click.argument("folder", metavar="DIR")
@click.option(
    "-d",
    "--dataset",
    "sets",
    multiple=True,
    required=True,
    type=options.DATASET,
    metavar="DATASET|DIR",
    help="The HR images: a set's name, or a folder; may be repeated.",
)
@options.scale
@options.protocol
@options.metric
@click.option("--name", help="The method's name in tables.  [default: the folder's name]")
@options.threads
@options.out
def score(
    folder: str,
    sets: tuple[str, ...],
    scales: tuple[int, ...],
    protocol_name: str,
    metric_names: tuple[str, ...],
    name: str | None,
    threads: int | None,
    out: Path,
) -> int:
    """Measure SR files that another program has made.

    \b
    sisrbench score out/x4 -d set5 -s 4 --protocol rcan2018 --name Ours
    sisrbench score out/x{scale} -d set5 -d set14 --protocol rcan2018

    Each image needs one file, called as the image, or NAME_SR, NAMEx4, NAME_x4, NAME_x4_METHOD,
    NAME_SRF_4_METHOD or NAME_METHOD. `sisrbench lr` writes the LR files to give to the program.
    """  # noqa: D301
    from bench import sources
    from bench.cli import tables
    from bench.session import Session
    from bench.sources import words

    card = words.images_in(folder, name)
    sources.require(card)
    session = Session(out=out, command=click.get_current_context().obj, threads=threads)
    with session:
        outcome = session.measure([card], sets, scales, protocol_name, metric_names)
    _tell_computed(outcome)
    places = outcome.write(session.out)
    tables.print_averages(outcome.results)
    tables.print_places(places)
    _tell_protocol([card])
    _tell_elsewhere(outcome, session.out)
    return _tell_failures(outcome)


@click.command()
@click.argument("tables", nargs=-1, required=True, type=options.TABLE, metavar="TABLE...")
@click.option(
    "--protocol",
    "protocol_name",
    type=options.PROTOCOL,
    metavar="NAME",
    help="Measure by this protocol instead of each claim's own, and show the difference. A claim "
    "that names another protocol is not judged.",
)
@click.option(
    "--trained",
    "trained_folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of weights from `train`, measured instead of the claims' weights where the method "
    "and the scale agree.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with status 1 if a cell deviates, or if no claim could be judged.",
)
@click.option("--anew", is_flag=True, help="Train an experiment's arms again.")
@click.option(
    "--time",
    "timed",
    is_flag=True,
    help="Measure the time of every method, not only where a claim needs it.",
)
@options.measuring
def reproduce(
    tables: tuple[str, ...],
    protocol_name: str | None,
    trained_folder: Path | None,
    strict: bool,
    anew: bool,
    timed: bool,
    session: Session,
) -> int:
    """Re-measure tables of papers and claims about training.

    \b
    sisrbench reproduce srcnn2014_set5 srcnn2014_set14
    sisrbench reproduce edsr2017_table3 --strict
    sisrbench reproduce edsr2017_table3 --trained sisrbench-trained
    sisrbench reproduce edsr2017_pretraining      trains, from several seeds, and compares

    Every claim gets a verdict with the reason: reproduced (to the printed digit), deviates, not
    measured, or claim inconsistent (the paper contradicts itself).
    """  # noqa: D301
    from bench.cli import tables as shown

    with session:
        outcome = session.reproduce(tables, protocol_name, trained_folder, anew=anew, timed=timed)
    _tell_computed(outcome)
    if trained_folder and not outcome.substituted:
        say(f"No claim has a method and scale of the weights in {trained_folder}.", error=True)
    for trial in outcome.trials:
        shown.print_arms(trial.experiment.title, trial.averages)
        shown.print_findings(trial.findings)
    places = outcome.write(session.out)
    # Printed above already, so not again among the verdicts.
    told = {trial.experiment.name for trial in outcome.trials}
    shown.print_verdicts(outcome.verdicts, told=told)
    shown.print_places(places)
    _tell_elsewhere(outcome, session.out)
    if _tell_failures(outcome):
        return 1
    if strict and not outcome.verdicts["verdict"].isin(("reproduced", "deviates")).any():
        say("--strict: no claim could be judged; the verdicts say why.", error=True)
        return 1
    return int(strict and bool((outcome.verdicts["verdict"] == "deviates").any()))


@click.command()
@click.argument("specs", nargs=-1, required=True, type=options.METHOD, metavar="METHOD...")
@options.scale
@options.protocol
@click.option("--no-time", is_flag=True, help="Do not measure time, and run no method.")
@options.measuring
def cost(
    specs: tuple[str, ...],
    scales: tuple[int, ...],
    protocol_name: str,
    no_time: bool,
    session: Session,
) -> int:
    """Measure the costs of methods, without images.

    \b
    sisrbench cost edsr-baseline vdsr srresnet
    sisrbench cost edsr -s 2 --device cuda --precision bf16 --batch 4

    Multiplies, additions, parameters, activations, receptive field, memory, and the time of one
    1280x720 output with its share of what this machine could do at best. Weights are needed only
    for the time of sc and ne-nnls.
    """  # noqa: D301
    from bench.cli import tables

    with session:
        outcome = session.cost(specs, scales, protocol_name, timed=not no_time)
    _tell_computed(outcome)
    places = outcome.write(session.out)
    tables.print_costs(outcome.results)
    tables.print_places(places)
    _tell_elsewhere(outcome, session.out)
    return _tell_failures(outcome)


def _tell_computed(outcome: Outcome) -> None:
    """Print how many measurements were stored before, if any."""
    if not outcome.computed and not outcome.failures:
        say(f"Nothing to compute: all {outcome.units} measurements are stored.", error=True)
    elif before := outcome.units - outcome.computed - len(outcome.failures):
        say(f"{before} of {outcome.units} measurements were stored before.", error=True)


def _tell_protocol(specs: Iterable[Spec]) -> None:
    """Print that the default protocol was taken, if a method is not this project's."""
    from bench import sources

    source = click.get_current_context().get_parameter_source("protocol_name")
    if source is ParameterSource.DEFAULT and any(map(sources.is_of_user, specs)):
        say(
            f"protocol {options.DEFAULT_PROTOCOL}, the default, makes images as papers "
            "of 2014 do; tables of RGB networks since 2018 follow --protocol rcan2018",
            error=True,
        )


def _tell_elsewhere(outcome: Outcome, out: Path) -> None:
    """Print how many results of other commands are in the store, if any."""
    if outcome.elsewhere:
        report = shlex.join(["sisrbench", "report", "--out", str(out)])
        say(f"other results in the store: {outcome.elsewhere}; `{report}` shows all", error=True)


def _tell_failures(outcome: Outcome) -> int:
    """Print what could not be measured; 1 as exit status if there is anything, else 0."""
    for subject, reason in outcome.failures:
        say(f"not measured: {subject}: {reason}", error=True)
    return int(bool(outcome.failures))
