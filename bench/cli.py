"""The command `sisrbench`: the only place where methods, measuring and pages meet."""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pandas as pd
import torch

import zoo
from bench import (
    card,
    check,
    compare,
    costs,
    datasets,
    descent,
    experiments,
    fetch,
    images,
    machine,
    metrics,
    options,
    plan,
    published,
    result,
    summary,
    train,
    trial,
)
from bench import protocol as protocols
from bench import trained as trained_files
from bench import weights as weight_files
from bench.engine import run_inline
from bench.evaluate import super_resolve
from bench.inference import Inference
from bench.network import prepare
from bench.plan import CostWish, Unit, Wish
from bench.processes import join, leave
from bench.progress import Progress
from bench.reproduction import Reproduction
from bench.result import Result
from bench.store import FILE, Store
from reports import page
from zoo.errors import InputError, one_line, unknown
from zoo.recipe import Descent
from zoo.resample import round_half_up

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
SCALES = (2, 3, 4)
NOTHING = "none"
"""What --validate is given to judge by nothing."""
OWN_PICTURES = "rcan2018"
"""The protocol by which `upscale` interpolates: 8-bit RGB in and out, luma not rounded."""


def main() -> None:
    """Run the command; exit status 0 done, 1 a check failed, 2 bad usage or input."""
    machine.keep_freed_memory()
    sys.exit(status(sys.argv[1:]))


def status(arguments: Sequence[str]) -> int:
    """Run the command with these arguments and return its exit status; errors are one line."""
    try:
        return int(command(list(arguments), prog_name="sisrbench", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return 2
    except InputError as error:
        click.echo(f"Error: {' '.join(str(error).split())}", err=True)
        return 2
    except (OSError, MemoryError, UnicodeError) as error:
        click.echo(f"Error: {one_line(error)}", err=True)
        return 2
    except click.Abort:
        click.echo("Interrupted; what is finished is stored, the same command goes on.", err=True)
        return 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sisrbench")
def command() -> None:
    """Measure super-resolution methods by the rules of the papers, and hold the papers to it.

    \b
    sisrbench run                            the demo, on installed photographs
    sisrbench reproduce srcnn2014_set5       re-measure a paper's table, cell by cell
    sisrbench run -m srcnn-9-5-5 -d set5 -s 3
    sisrbench check baseline.csv             has a metric got worse since?
    sisrbench train a-plus -s 3              learn a method's weights by its recipe
    sisrbench cost edsr-baseline vdsr        what methods cost, without images
    sisrbench show edsr                      a method's card, layers and claims
    sisrbench list                           what there is

    What is measured is stored in --out; the same command again continues, or computes nothing.
    """  # noqa: D301


@command.command()
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="NAME[:KEY=VALUE,...][@WEIGHTS] or a file ./mine.py; may be repeated.",
)
@click.option(
    "-d",
    "--dataset",
    "sets",
    multiple=True,
    metavar="DATASET|DIR",
    help="A set's name, or a folder of HR images; may be repeated.",
)
@options.scale
@options.protocol
@click.option(
    "--metric",
    "metric_names",
    multiple=True,
    metavar="NAME",
    help="Only this metric; may be repeated.  [default: all but those that say they are asked for]",
)
@options.inference
@options.measuring
def run(
    methods: tuple[str, ...],
    sets: tuple[str, ...],
    scales: tuple[int, ...],
    protocol_name: str,
    metric_names: tuple[str, ...],
    device: str,
    out: Path,
    threads: int | None,
    repeat: int,
) -> int:
    """Measure methods: PSNR, SSIM, cost.

    Without arguments this is the demo: interpolations, A+, ESPCN and SRCNN, with weights learned
    here, on installed photographs.

    \b
    sisrbench run -m bicubic -m srcnn-9-1-5 -d set5 -d set14 -s 3
    sisrbench run -m srcnn-9-1-5@imagenet -d set5 -s 3    other published weights
    sisrbench run -m srcnn-9-1-5:n1=32@none -d demo       another width, fresh weights
    sisrbench run -m ./mine.py@mine.safetensors -d ./photos
    """  # noqa: D301
    rules = protocols.load(protocol_name)
    loaded = [zoo.load(spec) for spec in dict.fromkeys(methods or DEMO_METHODS)]
    wanted = _metrics(metric_names)
    for name in sets:
        datasets.check(name)
    inference = options.asked_inference()
    used = _device(device, threads, inference)
    for method, tag in loaded:
        for scale in scales or SCALES:
            plan.choose(method, tag, scale)
    progress = Progress()
    for name in wanted:
        metrics.fetch_missing(name, progress)
    images_of = {
        name: datasets.load(name, progress) for name in dict.fromkeys(sets or DEMO_DATASETS)
    }
    wishes = [
        Wish(method, tag, scale, dataset, rules)
        for dataset in images_of.values()
        for method, tag in loaded
        for scale in scales or SCALES
    ]
    units = plan.accuracy_units(wishes, used, wanted, inference)
    plan.refuse_namesakes(units)
    for unit in units:
        weight_files.fetch_missing(unit.method, unit.chosen, progress)
    units += plan.cost_units(plan.costs_of(units), repeat)
    measured, runs, trainings = _execute(units, used, out, progress)
    title = "sisrbench: " + ", ".join(images_of)
    _write(out, title, measured, compare.none(), runs, trainings)
    summary.print_averages(measured)
    _print_place(out)
    return 0


@command.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
@click.option(
    "--protocol",
    "protocol_name",
    metavar="NAME",
    help="Measure by these rules instead of each claim's own; the verdicts say so.",
)
@click.option(
    "--trained",
    "trained_folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Judge by weights that `train` left there, where it has the method and scale.",
)
@click.option("--strict", is_flag=True, help="Exit with status 1 if a cell deviates.")
@click.option("--anew", is_flag=True, help="Train an experiment's arms again, in place of those.")
@options.inference
@options.measuring
def reproduce(
    tables: tuple[str, ...],
    protocol_name: str | None,
    trained_folder: Path | None,
    strict: bool,
    anew: bool,
    device: str,
    out: Path,
    threads: int | None,
    repeat: int,
) -> int:
    """Re-measure tables of papers, and what they say of training.

    \b
    sisrbench reproduce srcnn2014_set5 srcnn2014_set14
    sisrbench reproduce edsr2017_table3 --strict
    sisrbench reproduce edsr2017_table3 --trained sisrbench-trained
    sisrbench reproduce edsr2017_pretraining      trains, from several seeds, and compares

    Says, cell by cell, whether they hold. Every claim gets a verdict: reproduced (to the printed
    digit), deviates, not measured, or claim inconsistent (the paper contradicts itself), with
    the reason.
    """  # noqa: D301
    tried = [experiments.load(name) for name in dict.fromkeys(tables) if _is_experiment(name)]
    loaded = [published.load(name) for name in dict.fromkeys(tables) if not _is_experiment(name)]
    rules = protocols.load(protocol_name) if protocol_name else None
    inference = options.asked_inference()
    used = _device(device, threads, inference)
    ours = trained_files.in_folder(trained_folder) if trained_folder else {}
    progress = Progress()
    around = train.Surroundings(
        out=out,
        device=used,
        every=60,
        anew=anew,
        command=shlex.join(["sisrbench", *sys.argv[1:]]),
    )
    if tried and (rules is not None or inference != Inference()):
        raise InputError(
            "an experiment is measured by its own protocol, in 32 bits and whole images; leave out "
            "--protocol and the ways to run a network"
        )
    for experiment in tried:
        trial.check(experiment)
    trials = [trial.train_arms(experiment, around) for experiment in tried]
    reproduction = Reproduction(loaded, rules, used, repeat, inference, progress, ours)
    if ours and not reproduction.stand_ins:
        click.echo(f"No claim is of a method and scale that {trained_folder} has.", err=True)
    units = reproduction.units
    for experiment, trained in zip(tried, trials, strict=True):
        units += trial.units_of(experiment, trained, around)
    measured, runs, trainings = _execute(units, used, out, progress)
    instead = reproduction.stand_ins
    verdicts = compare.all_tables(loaded, measured, reproduction.why_not, instead)
    for experiment, trained in zip(tried, trials, strict=True):
        found = trial.verdicts(experiment, trained, measured)
        verdicts = pd.concat([verdicts, found], ignore_index=True) if len(verdicts) else found
        summary.print_arms(experiment.title, trial.averages(experiment, trained, measured))
        summary.print_findings(found)
    _write(out, "sisrbench: " + ", ".join(tables), measured, verdicts, runs, trainings)
    summary.print_verdicts(verdicts, told={experiment.name for experiment in tried})
    _print_place(out)
    return int(strict and bool((verdicts["verdict"] == "deviates").any()))


def _is_experiment(name: str) -> bool:
    """Whether a name is an experiment's, and not a paper table's.

    Raises:
        InputError: it is neither's.
    """
    tried, tables = experiments.names(), published.names()
    if name not in tried and name not in tables:
        raise unknown("table or experiment", name, [*tables, *tried])
    return name in tried


@command.command(name="cost")
@click.argument("specs", nargs=-1, required=True, metavar="METHOD...")
@options.scale
@options.protocol
@click.option("--no-time", is_flag=True, help="Leave out the time: run nothing.")
@options.inference
@options.measuring
def cost_(
    specs: tuple[str, ...],
    scales: tuple[int, ...],
    protocol_name: str,
    no_time: bool,
    device: str,
    out: Path,
    threads: int | None,
    repeat: int,
) -> int:
    """What methods cost, without any image, or weights but of sc and ne-nnls, which time needs.

    \b
    sisrbench cost edsr-baseline vdsr srresnet
    sisrbench cost edsr -s 2 --device cuda --precision bf16 --batch 4

    Multiplies, additions, parameters, activations, receptive field, memory, and the time of one
    1280x720 output with its share of what this machine could do at best.
    """  # noqa: D301
    rules = protocols.load(protocol_name)
    inference = options.asked_inference()
    used = _device(device, threads, inference)
    progress = Progress()
    wishes = []
    for method, tag in map(zoo.load, dict.fromkeys(specs)):
        usual = [scale for scale in SCALES if scale in (method.scales or SCALES)]
        for scale in scales or usual or method.scales:
            named = method.varies and not no_time
            chosen = plan.choose(method, tag or ("" if named else weight_files.NONE), scale)
            if named:
                weight_files.fetch_missing(method, chosen, progress)
            wishes.append(
                CostWish(method, scale, rules, used, inference, timed=not no_time, chosen=chosen)
            )
    units = plan.cost_units(wishes, repeat)
    measured, runs, trainings = _execute(units, used, out, progress)
    _write(out, "sisrbench: costs", measured, compare.none(), runs, trainings)
    summary.print_costs(measured)
    _print_place(out)
    return 0


@command.command()
@click.argument("spec", metavar="METHOD")
@click.option("-s", "--scale", type=click.IntRange(2), help="Whose layers.  [default: the least]")
def show(spec: str, scale: int | None) -> int:
    """A method: its card, its layers, and every claim that papers make of it."""
    method, tag = zoo.load(spec)
    scale = scale or min(method.scales or SCALES)
    plan.choose(method, tag or weight_files.NONE, scale)
    chosen = plan.choose(method, weight_files.NONE, scale)
    network = weight_files.build(method, chosen, scale, torch.device("cpu"))
    card.print_card(method)
    card.print_layers(method, network, scale)
    card.print_claims(method, [published.load(name) for name in published.names()])
    return 0


@command.command(name="list")
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
def list_(kinds: tuple[str, ...]) -> int:
    """Name what there is.

    KIND is one of methods, datasets, tables, experiments, protocols, metrics, costs, sections.
    """
    for kind in kinds:
        if kind not in _LISTED:
            raise unknown("kind", kind, _LISTED)
    for kind in kinds or tuple(_LISTED):
        click.secho(kind, bold=True)
        for name, remark in _LISTED[kind]():
            click.echo(f"  {name:<18} {remark}".rstrip())
    return 0


def _in_short(name: str) -> str:
    """What a method takes and which weights it has; of a broken file, what is wrong with it."""
    try:
        method = zoo.load(name)[0]
    except InputError as error:
        return f"broken: {error}"
    tags: dict[str, list[str]] = {}
    for weights in method.weights:
        tags.setdefault(weights.tag, []).append(f"x{weights.scale}")
    kinds = {"luma": "luma", "RGB": "RGB", "any": "luma or RGB"}
    known = "; ".join(f"@{tag}: {' '.join(scales)}" for tag, scales in tags.items())
    takes = f"{method.takes} {kinds[method.channels]}"
    return f"{takes:<26} {known}"


def _listed_datasets() -> list[tuple[str, str]]:
    rows = []
    for name in datasets.names():
        files = datasets.manifest(name).role("HR").values()
        here = all(fetch.local_path(file).is_file() for file in files)
        rows.append((name, f"{len(files):>3} images{'' if here else ', to be downloaded'}"))
    return rows


_LISTED: dict[str, Callable[[], list[tuple[str, str]]]] = {
    "methods": lambda: [(name, _in_short(name)) for name in zoo.names()],
    "datasets": _listed_datasets,
    "tables": lambda: [(name, published.load(name).title) for name in published.names()],
    "experiments": lambda: [(name, experiments.load(name).title) for name in experiments.names()],
    "protocols": lambda: [(name, known.source) for name, known in protocols.PROTOCOLS.items()],
    "metrics": lambda: [(name, "") for name in metrics.names()],
    "costs": lambda: [(name, "") for name in costs.names()],
    "sections": lambda: [(name, "") for name in page.names()],
}


@command.command(name="fetch")
@click.argument("names", nargs=-1, required=True, metavar="DATASET|METHOD|METRIC...")
def fetch_(names: tuple[str, ...]) -> int:
    """Download datasets, published weights, and what metrics need.

    \b
    sisrbench fetch set5 set14 b100 srcnn-9-1-5

    Files are checked by hash; one that was cut off is continued. SISRBENCH_CACHE moves the
    cache; SISRBENCH_MIRROR names a folder or address to try first, laid out as the cache is:
    github/OWNER/REPOSITORY/COMMIT/PATH, or HOST/PATH.
    """  # noqa: D301
    wanted = {name: _files_of(name) for name in names}
    for name, (files, licence) in wanted.items():
        fetch.fetch_missing(name, files, Progress())
        click.echo(f"{name}: all {len(files)} files are here, in {fetch.cache_folder()}")
        click.echo(f"{name}: licence: {licence}")
    return 0


def _files_of(name: str) -> tuple[list[fetch.RemoteFile], str]:
    """The files behind a set's, a metric's or a method's name, and their licence."""
    if name in datasets.names():
        manifest = datasets.manifest(name)
        return [file for _, _, file in manifest.files], manifest.licence
    if name in metrics.names() and metrics.files(name):
        return list(metrics.files(name)), metrics.licence(name)
    try:
        method, tag = zoo.load(name)
    except InputError:
        fetched = [metric for metric in metrics.names() if metrics.files(metric)]
        raise unknown(
            "dataset, method or metric", name, [*datasets.names(), *zoo.names(), *fetched]
        ) from None
    chosen = [weights for weights in method.weights if tag in ("", weights.tag)]
    if not chosen:
        raise InputError(f"{name} has no published weights to fetch; choose another")
    files = list(dict.fromkeys(weight_files.remote(found) for found in chosen))
    return files, "; ".join(dict.fromkeys(found.licence for found in chosen))


@command.command()
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=options.DEFAULT_OUT,
    show_default=True,
    help="Folder that holds the store.",
)
def report(tables: tuple[str, ...], out: Path) -> int:
    """Render again what is stored in --out.

    Writes index.html and results.csv from the whole store. Paper tables named here are compared
    with it; nothing is measured.
    """
    if not (out / FILE).is_file():
        raise InputError(
            f"no store {out / FILE}; run or reproduce something with --out {out} first"
        )
    loaded = [published.load(name) for name in dict.fromkeys(tables)]
    store = Store(out)
    measured, runs, trainings = store.newest(), store.runs(), store.trainings()
    store.close()
    verdicts = compare.all_tables(loaded, measured, lambda claim: claim.result.note or "not stored")
    title = "sisrbench: " + (", ".join(tables) or "all results")
    _write(out, title, measured, verdicts, runs, trainings)
    if tables:
        summary.print_verdicts(verdicts)
    _print_place(out)
    return 0


@command.command(name="check")
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
    help="How far a metric may move, in its own unit.",
)
def check_(baseline: Path, out: Path, tolerance: float) -> int:
    """Hold results to an earlier results.csv.

    \b
    sisrbench run -m ./mine.py -d set5 --out now && sisrbench check baseline.csv --out now

    For continuous integration: exits with status 1 if a metric got worse by more than the
    tolerance, a count of multiplies or parameters grew, or a cell of the baseline is missing.
    Times are not compared.
    """  # noqa: D301
    if not math.isfinite(tolerance):
        raise InputError(f"a tolerance of {tolerance} compares nothing; give a finite number")
    before, now = result.from_csv(baseline), result.from_csv(out / "results.csv")
    found = check.changes(before, now, tolerance)
    worse = [change for change in found if change.is_worse]
    for change in found:
        click.echo(f"  {change}")
    click.echo(
        f"{len(before)} cells of {baseline}: {len(worse)} worse, {len(found) - len(worse)} better"
    )
    return int(bool(worse))


@command.command(name="train")
@click.argument("spec", metavar="METHOD")
@click.option("-s", "--scale", type=click.IntRange(2), required=True, help="Enlargement.")
@click.option(
    "--recipe",
    "recipe_name",
    default="",
    metavar="NAME",
    help="Which of the method's recipes.  [default: its first]",
)
@click.option(
    "--data",
    "sets",
    multiple=True,
    metavar="DATASET|DIR",
    help="A set's name, or a folder of HR images; may be repeated.  [default: the recipe's]",
)
@click.option(
    "--from",
    "start_spec",
    metavar="METHOD[@WEIGHTS]|FILE",
    help="Weights to start from, where the recipe can.",
)
@click.option(
    "--updates", type=click.IntRange(1), metavar="N", help="Instead of the recipe's number."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a choice of the recipe; may be repeated. sisrbench show METHOD names them.",
)
@click.option(
    "--lr",
    "lr_sets",
    multiple=True,
    metavar="DIR",
    help="LR images under the HR images' names, instead of a degradation; may be repeated.",
)
@click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be used, and say so.")
@click.option(
    "--validate",
    "validation_set",
    metavar="DATASET|DIR|none",
    help="Judge the network on these images now and then.  [default: set5, for networks]",
)
@click.option(
    "--every",
    "interval",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Updates from one validation to the next.  [default: a twentieth of all]",
)
@options.protocol
@click.option(
    "--precision",
    type=click.Choice(list(descent.PRECISIONS)),
    default="fp32",
    show_default=True,
    help="Of the network's convolutions and products; the rest stays in 32 bits.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=weight_files.SEED,
    show_default=True,
    help="Of all that is drawn at random.",
)
@click.option(
    "--checkpoint",
    "every",
    type=click.FloatRange(0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How often to keep what is learned so far; always at the end of a stage.",
)
@click.option("--anew", is_flag=True, help="Start again, in place of what is in --out.")
@options.device
@options.threads
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("sisrbench-trained"),
    show_default=True,
    help="Folder that receives METHOD-xSCALE-RECIPE.safetensors.",
)
def train_(
    spec: str,
    scale: int,
    recipe_name: str,
    sets: tuple[str, ...],
    start_spec: str | None,
    updates: int | None,
    changes: tuple[str, ...],
    lr_sets: tuple[str, ...],
    skip_bad: bool,
    validation_set: str | None,
    interval: int,
    protocol_name: str,
    precision: str,
    seed: int,
    every: float,
    anew: bool,
    device: str,
    threads: int | None,
    out: Path,
) -> int:
    """Learn a method's weights by a recipe of its source.

    \b
    sisrbench train a-plus -s 3
    sisrbench train a-plus -s 3 --data t91 --data ./photos    other images
    sisrbench train a-plus -s 3 --from k-svd@timofte          from published weights
    sisrbench train srcnn-9-1-5 -s 3 --updates 5000 --set batch=64
    sisrbench train edsr-baseline -s 2 --data t91 --data bsds200 --device cuda --precision bf16
    torchrun --nproc-per-node 2 -m bench.cli train vdsr -s 3
    sisrbench train ./mine.py -s 2 --recipe quick --seed 1

    A file of weights comes out, which says how it was made, and for networks a log beside it, and
    the weights that were best on --validate. Stopped at any moment, even by kill -9, the same
    command goes on from its last checkpoint, to the same weights.
    """  # noqa: D301
    method, tag = zoo.load(spec)
    if tag:
        raise InputError(f"{spec} names weights already; leave out @{tag}, or give --from")
    if method.wrap is not None:
        raise InputError(f"{spec} has the weights of the method without the +; train that")
    plan.choose(method, weight_files.NONE, scale)
    recipe = train.recipe_of(method, recipe_name)
    chosen = train.changes_of(changes, updates)
    recipe = train.changed(recipe, chosen, with_lr=bool(lr_sets))
    if start_spec == "":
        raise InputError("--from '' names no weights; give METHOD[@WEIGHTS] or FILE")
    start = train.start_of(method, recipe, start_spec or "", scale)
    names = tuple(dict.fromkeys(sets)) or recipe.data
    if not names:
        raise InputError(f"recipe {recipe.name} names no images; give --data DATASET or --data DIR")
    is_descent = isinstance(recipe.learn, Descent)
    usual = "set5" if is_descent else NOTHING
    judged_on = usual if validation_set is None else validation_set
    if not is_descent and (judged_on != NOTHING or precision != "fp32"):
        raise InputError(
            f"recipe {recipe.name} is no gradient descent; leave out --validate and --precision"
        )
    for name in (*names, *lr_sets, *([judged_on] if judged_on != NOTHING else [])):
        datasets.check(name)
    rules = protocols.load(protocol_name)
    inference = Inference(precision=precision)
    used = _device(device, threads, inference)
    processes, used = join(used)
    click.get_current_context().call_on_close(leave)
    progress = Progress(quiet=not processes.is_first)
    training = train.Training(
        method=method,
        scale=scale,
        recipe=recipe,
        data=tuple(datasets.load(name, progress) for name in names),
        start=start,
        seed=seed,
        changes=chosen,
        precision=precision,
        lr=tuple(datasets.load(name, progress) for name in lr_sets),
        skip_bad=skip_bad,
    )
    validation = None
    if judged_on != NOTHING:
        validation = train.Validation(
            dataset=datasets.load(judged_on, progress), protocol=rules, every=interval
        )
    around = train.Surroundings(
        out=out,
        device=used,
        every=every,
        anew=anew,
        command=shlex.join(["sisrbench", *sys.argv[1:]]),
        validation=validation,
        processes=processes,
    )
    with inference.switches():
        outcome = train.train(training, around)
    if not processes.is_first:
        return 0
    if not outcome.computed:
        click.echo("Nothing to compute: these weights are learned already.", err=True)
    use = shlex.join(["sisrbench", "run", "-m", f"{spec}@{outcome.path}"])
    click.echo(outcome.path)
    click.echo(f"Use them: {use} -d set5 -s {scale}")
    return 0


@command.command()
@click.argument("spec", metavar="METHOD")
@click.argument("pictures", nargs=-1, required=True, metavar="IMAGE...", type=click.Path())
@click.option("-s", "--scale", type=click.IntRange(2), default=2, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default=True,
    help="Folder that receives IMAGE_x2_METHOD.png.",
)
@options.inference
def upscale(spec: str, pictures: tuple[str, ...], scale: int, device: str, out: Path) -> int:
    """Enlarge pictures of your own.

    Where the method takes luma, chroma is interpolated bicubically.
    """
    method, tag = zoo.load(spec)
    label = method.name + (f"@{Path(tag).name}" if tag else "")
    targets = [out / f"{Path(name).stem}_x{scale}_{label}.png" for name in pictures]
    if len(set(targets)) < len(targets):
        raise InputError("two of the pictures would be written to one file; give them apart")
    inference = options.asked_inference()
    used = _device(device, None, inference)
    chosen = plan.choose(method, tag, scale)
    weight_files.fetch_missing(method, chosen, Progress())
    network = weight_files.build(method, chosen, scale, used)
    module = prepare(network, inference, method.factor(scale), used)
    rules = protocols.load(OWN_PICTURES)
    progress = Progress()
    with torch.no_grad(), inference.switches(), progress.work(len(targets), len(targets)):
        for name, target in zip(pictures, targets, strict=True):
            with progress.piece(name) as gist:
                if not Path(name).is_file():
                    raise InputError(f"no image {name!r}; give the path of a picture")
                lr = images.to_tensor(images.decode(Path(name)), used)
                size = (lr.shape[-2] * scale, lr.shape[-1] * scale)
                sr = round_half_up(super_resolve(lr, size, method, module, rules))
                result.write_whole({target: images.encode_png(images.to_pixels(sr))})
                progress.advance()
                gist += [str(target), *module.fallbacks]
                module.fallbacks = []
    return 0


def _device(name: str, threads: int | None, inference: Inference) -> torch.device:
    most = 4 * (os.cpu_count() or 1)
    if threads is not None and threads > most:
        raise InputError(f"{threads} threads are too many here; give at most {most}")
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    used = machine.device(name)
    inference.check(used)
    return used


def _metrics(names: tuple[str, ...]) -> list[str]:
    for name in names:
        metrics.load(name)
    return sorted(set(names)) or metrics.default_names()


def _execute(
    units: Sequence[Unit], device: torch.device, out: Path, progress: Progress
) -> tuple[list[Result], pd.DataFrame, pd.DataFrame]:
    """Measure what is not stored yet; all Results of the units, the runs, and the trainings."""
    store = Store(out)
    try:
        facts = machine.facts(device)
        run_id = machine.run_id(facts)
        if any(not store.has(unit.key) for unit in units):
            store.begin(run_id, facts, shlex.join(["sisrbench", *sys.argv[1:]]))
        learned = trained_files.of_units(units)
        store.note(learned)
        count = run_inline(units, store, run_id, progress)
        store.renew(unit.key for unit in units)
        if not count:
            click.echo(f"Nothing to compute: all {len(units)} units are stored.", err=True)
        elif count < len(units):
            click.echo(f"{len(units) - count} of {len(units)} units were stored.", err=True)
        measured = store.results(unit.key for unit in units)
        runs, trainings = store.runs(), store.trainings(learned)
    finally:
        store.close()
    return measured, runs[runs["run"].isin({found.run for found in measured})], trainings


def _write(
    out: Path,
    title: str,
    measured: Sequence[Result],
    verdicts: pd.DataFrame,
    runs: pd.DataFrame,
    trainings: pd.DataFrame,
) -> None:
    html = page.render(title, result.table(measured), verdicts, runs, trainings)
    result.write_whole({out / "results.csv": result.to_csv(measured), out / "index.html": html})


def _print_place(out: Path) -> None:
    click.echo(f"{out / 'index.html'}  {out / 'results.csv'}")


if __name__ == "__main__":
    main()
