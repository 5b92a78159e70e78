"""Options and arguments that several commands share, and what they accept.

Names are checked here, while the command line is read: a wrong one is told before torch is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from bench.inference import MEMORY_FORMATS, PRECISIONS, Inference, parse_bytes

DEFAULT_OUT = Path("sisrbench-out")
NOTHING = "none"
"""What --validate is given to judge by nothing."""


class _Name(click.ParamType[str]):
    """A name, refused where nothing is called so."""

    def __init__(self, name: str, refuse: Callable[[str], object]) -> None:
        self.name = name
        self._refuse = refuse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name as it was given.

        Raises:
            InputError: nothing is called so.
        """
        self._refuse(value)
        return value


def _refuse_method(spec: str) -> None:
    import zoo

    zoo.require(spec)


def _refuse_dataset(name: str) -> None:
    from bench import datasets

    datasets.require(name)


def _refuse_protocol(name: str) -> None:
    from bench import protocol

    protocol.load(name)


def _refuse_metric(name: str) -> None:
    from bench import metrics
    from zoo.errors import unknown

    if name not in metrics.names():
        raise unknown("metric", name, metrics.names())


def _refuse_table(name: str) -> None:
    from bench import experiments, published
    from zoo.errors import unknown

    known = [*published.names(), *experiments.names()]
    if name not in known:
        raise unknown("table or experiment", name, known)


METHOD = _Name("method", _refuse_method)
"""`NAME[:KEY=VALUE,...][@WEIGHTS]` or a file; the name and the file are checked, no more."""
DATASET = _Name("dataset", _refuse_dataset)
VALIDATION = _Name("dataset", lambda name: None if name == NOTHING else _refuse_dataset(name))
PROTOCOL = _Name("protocol", _refuse_protocol)
METRIC = _Name("metric", _refuse_metric)
TABLE = _Name("table", _refuse_table)

device = click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
threads = click.option("--threads", type=click.IntRange(1), help="Processor threads; default: all.")


def measuring(function: Callable[..., int]) -> Callable[..., int]:
    """Options that say where to measure, and where the results go."""
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
    type=PROTOCOL,
    default="srcnn2014",
    show_default=True,
    metavar="NAME",
    help="The rules; `sisrbench list protocols` names them.",
)


def inference(function: Callable[..., int]) -> Callable[..., int]:
    """Options that say how a network is run; the command gets them as one `inference`."""

    @wraps(function)
    def with_inference(
        *arguments: Any,
        precision: str,
        memory_format: str,
        compiled: bool,
        batch: int,
        tile: int | None,
        memory: str | None,
        **others: Any,
    ) -> int:
        setting = Inference(
            precision=precision,
            memory_format=memory_format,
            compiled=compiled,
            batch=batch,
            tile=tile,
            memory=parse_bytes(memory) if memory else None,
        )
        return function(*arguments, inference=setting, **others)

    options = (
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default="fp32",
            show_default=True,
            help="fp16 and bf16 are autocast; tf32 needs an NVIDIA GPU.",
        ),
        click.option(
            "--memory-format",
            type=click.Choice(["auto", *MEMORY_FORMATS]),
            default="auto",
            show_default=True,
            help="How feature maps lie in memory.",
        ),
        click.option(
            "--compile", "compiled", is_flag=True, help="Run networks through torch.compile."
        ),
        click.option(
            "--batch",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Copies of an image run at once; times are per image.",
        ),
        click.option(
            "--tile",
            type=click.IntRange(1),
            metavar="PX",
            help="Cut the network's input into tiles of this side.  [default: whole images]",
        ),
        click.option(
            "--memory",
            metavar="SIZE",
            help="What an image's feature maps may take, as 2GiB, before it is cut.  "
            "[default: what is free]",
        ),
    )
    made: Callable[..., int] = with_inference
    for option in reversed(options):
        made = option(made)
    return made
