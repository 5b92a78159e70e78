"""Options that several commands share: where to measure, by which rules, and how networks run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from bench.inference import MEMORY_FORMATS, PRECISIONS, Inference
from bench.tiles import parse_bytes

DEFAULT_OUT = Path("sisrbench-out")

device = click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
threads = click.option("--threads", type=click.IntRange(1), help="Processor threads; default: all.")


def measuring(function: Callable[..., int]) -> Callable[..., int]:
    """Options that say where to measure, and where what was measured goes."""
    options = (
        device,
        click.option(
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            default=DEFAULT_OUT,
            show_default=True,
            help="Folder that receives index.html, results.csv and the store.",
        ),
        threads,
        click.option(
            "--repeat",
            type=click.IntRange(1),
            default=5,
            show_default=True,
            help="Repetitions of each time measurement.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


scale = click.option(
    "-s",
    "--scale",
    "scales",
    multiple=True,
    type=click.IntRange(2),
    metavar="SCALE",
    help="Enlargement, 2 or more; may be repeated.  [default: 2 3 4]",
)

protocol = click.option(
    "--protocol",
    "protocol_name",
    default="srcnn2014",
    show_default=True,
    metavar="NAME",
    help="The rules; `sisrbench list protocols` names them.",
)

_KEPT = "sisrbench.inference"


def _kept(context: click.Context, option: click.Parameter, value: object) -> None:
    """A callback: the value is kept for `asked_inference`, not handed to the command."""
    context.meta.setdefault(_KEPT, {})[option.name] = value


def inference(function: Callable[..., int]) -> Callable[..., int]:
    """Options that say how a network is run; `asked_inference` gives what they said."""
    option = partial(click.option, expose_value=False, callback=_kept)
    options = (
        option(
            "--precision",
            type=click.Choice(list(PRECISIONS)),
            default="fp32",
            show_default=True,
            help="fp16 and bf16 are autocast; tf32 needs an NVIDIA GPU.",
        ),
        option(
            "--memory-format",
            type=click.Choice(["auto", *MEMORY_FORMATS]),
            default="auto",
            show_default=True,
            help="How feature maps lie in memory.",
        ),
        option("--compile", "compiled", is_flag=True, help="Run networks through torch.compile."),
        option(
            "--batch",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Copies of an image run at once; times are per image.",
        ),
        option(
            "--tile",
            type=click.IntRange(1),
            metavar="PX",
            help="Cut the network's input into tiles of this side.  [default: whole images]",
        ),
        option(
            "--memory",
            metavar="SIZE",
            help="What an image's feature maps may take, as 2GiB, before it is cut.  "
            "[default: what is free]",
        ),
    )
    for add in reversed(options):
        function = add(function)
    return function


def asked_inference() -> Inference:
    """What the options of the running command say of inference.

    Raises:
        InputError: the memory is no size.
    """
    said = dict(click.get_current_context().meta[_KEPT])
    memory = said.pop("memory")
    return Inference(**said, memory=parse_bytes(memory) if memory else None)
