"""The command that trains a method: train."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from bench.cli import options
from bench.cli.terminal import say
from bench.inference import TRAINING_PRECISIONS, Inference, switches
from bench.protocol import SEED
from zoo.errors import InputError


@click.command()
@click.argument("spec", type=options.METHOD, metavar="METHOD")
@click.option("-s", "--scale", type=click.IntRange(2), required=True, help="Enlargement.")
@click.option(
    "--recipe",
    "recipe_name",
    default="",
    metavar="NAME",
    help="Name of a recipe of the method.  [default: the first]",
)
@click.option(
    "--data",
    "sets",
    multiple=True,
    type=options.DATASET,
    metavar="DATASET|DIR",
    help="A set's name, or a folder of HR images; may be repeated.  [default: the recipe's]",
)
@click.option(
    "--from",
    "start_spec",
    metavar="METHOD[@WEIGHTS]|FILE",
    help="Weights to start from, if the recipe accepts weights.",
)
@click.option(
    "--updates",
    type=click.IntRange(1),
    metavar="N",
    help="Number of updates.  [default: the recipe's]",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a choice of the recipe; may be repeated. `sisrbench show METHOD` lists them.",
)
@click.option(
    "--lr",
    "lr_sets",
    multiple=True,
    type=options.DATASET,
    metavar="DIR",
    help="LR images with the HR images' names (0001.png) or DIV2K's (0001x2.png), instead of a "
    "degradation; may be repeated.",
)
@click.option(
    "--skip-bad", is_flag=True, help="Leave out images that cannot be used, and name them."
)
@click.option(
    "--validate",
    "validation_set",
    type=options.VALIDATION,
    metavar="DATASET|DIR|none",
    help="Measure the network on these images from time to time.  [default: set5, for networks]",
)
@click.option(
    "--every",
    "interval",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Updates between two validations.  [default: a twentieth of all]",
)
@options.protocol
@click.option(
    "--precision",
    type=click.Choice(TRAINING_PRECISIONS),
    default="fp32",
    show_default=True,
    help="Precision of convolutions and matrix products; the rest stays in 32 bits.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=SEED,
    show_default=True,
    help="Seed of everything random.",
)
@click.option(
    "--checkpoint",
    "every",
    type=click.FloatRange(0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Seconds between two checkpoints; the end of a stage always has a checkpoint.",
)
@click.option(
    "--anew", is_flag=True, help="Start again, and replace this training's files in --out."
)
@options.device
@click.option(
    "--processes",
    "count",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that train together; on a GPU machine, one for each GPU.",
)
@options.threads
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("sisrbench-trained"),
    show_default=True,
    help="Folder that receives METHOD-xSCALE-RECIPE.safetensors.",
)
@click.pass_obj
def train(
    called: str,
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
    count: int,
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
    sisrbench train vdsr -s 3 --processes 2
    sisrbench train ./mine.py -s 2 --recipe quick --seed 1

    Writes a file of weights, which also says how the weights were made. For a network, also writes
    a log, and the weights that were best on --validate. After an interruption, even by kill -9, the
    same command continues from the last checkpoint and gives the same weights.
    """  # noqa: D301
    import torch

    import zoo
    from bench import datasets, machine, network
    from bench import protocol as protocols
    from bench.files import weights
    from bench.progress import Progress
    from bench.sources import words
    from bench.training import processes, recipes
    from bench.training import session as training_session
    from zoo.recipe import Descent

    if words.chosen(spec) is not None:
        raise InputError(
            f"{spec} has no recipe; train a method by its name, or a Python file that describes a "
            "method and its recipes (CONTRIBUTING.md)"
        )
    method, tag = zoo.load(spec)
    if tag:  # METHOD@WEIGHTS would leave open whether to start from these weights
        raise InputError(f"{spec} names weights already; leave out @{tag}, or give --from")
    if method.wrap is not None:
        raise InputError(f"{spec} has the weights of the method without the +; train that method")
    weights.resolve(method, weights.NONE, scale)
    recipe = recipes.recipe_of(method, recipe_name)
    changed = recipes.changes_of(changes, updates)
    recipe = recipes.changed(recipe, changed, with_lr=bool(lr_sets))
    if start_spec == "":
        raise InputError("--from '' names no weights; give METHOD[@WEIGHTS] or FILE")
    start = recipes.start_of(method, recipe, start_spec or "", scale)
    names = tuple(dict.fromkeys(sets)) or recipe.data
    if not names:
        raise InputError(f"recipe {recipe.name} names no images; give --data DATASET or --data DIR")
    is_descent = isinstance(recipe.learn, Descent)
    usual = "set5" if is_descent else options.NOTHING
    judged_on = usual if validation_set is None else validation_set
    if not is_descent and (judged_on != options.NOTHING or precision != "fp32" or count > 1):
        raise InputError(
            f"recipe {recipe.name} is no gradient descent; leave out --validate, --precision and "
            "--processes"
        )
    for name in names:
        datasets.require(name)
    if threads is not None:
        machine.refuse_too_many(threads)
        torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    inference = Inference(precision=precision)
    used = machine.device(device)
    network.refuse_unsupported(inference, used)
    # The first process only starts the others, which run this command and join each other below.
    if count > 1 and not processes.is_one_of_several():
        return processes.start(  # -P: no module of the current folder may shadow a package
            count, [sys.executable, "-P", "-m", "bench.cli", *arguments_of(called)], threads=threads
        )
    group, used = processes.join(used, count)
    click.get_current_context().call_on_close(processes.leave)
    progress = Progress(quiet=not group.is_first)
    training = recipes.Training(
        method=method,
        scale=scale,
        recipe=recipe,
        data=tuple(datasets.load(name, progress) for name in names),
        start=start,
        seed=seed,
        changes=changed,
        precision=precision,
        lr=tuple(datasets.load(name, progress) for name in lr_sets),
        skip_bad=skip_bad,
    )
    validation = None
    if judged_on != options.NOTHING:
        validation = training_session.Validation(
            dataset=datasets.load(judged_on, progress),
            protocol=protocols.load(protocol_name),
            every=interval,
        )
    run_options = training_session.RunOptions(
        out=out,
        device=used,
        every=every,
        anew=anew,
        command=called,
        validation=validation,
        processes=group,
    )
    with switches(inference):
        outcome = training_session.train(training, run_options)
    if not group.is_first:  # a single process reports
        return 0
    if not outcome.computed:
        say("Nothing to compute: these weights are learned already.", error=True)
    use = shlex.join(["sisrbench", "run", "-m", f"{spec}@{outcome.path}"])
    say(outcome.path)
    say(f"Use them: {use} -d set5 -s {scale}")
    return 0


def arguments_of(called: str) -> list[str]:
    """The arguments of a command line, without the program's name.

    >>> arguments_of("sisrbench train vdsr -s 3")
    ['train', 'vdsr', '-s', '3']
    """
    return shlex.split(called)[1:]
