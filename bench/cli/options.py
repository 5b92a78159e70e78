"""Options and arguments that several commands share, with checks of names.

Names are checked while the command line is read, so that a wrong name is reported before torch is
loaded.
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
"""The value of --validate for no validation."""


class _Name(click.ParamType[str]):
    """A parameter that accepts only known names."""

    def __init__(self, name: str, refuse: Callable[[str], object]) -> None:
        self.name = name
        self._refuse = refuse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The given name, unchanged.

        Raises:
            InputError: the name is unknown.
        """
        self._refuse(value)
        return value


# The checks import their registry when they run, because help and version need no registry.
def _refuse_method(spec: str) -> None:
    from bench import sources

    sources.require(spec)


def _refuse_dataset(name: str) -> None:
    from bench import datasets

    datasets.require(name)


def _refuse_lr(given: str) -> None:
    from bench.datasets import lr

    lr.require(given)


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
"""`NAME[:KEY=VALUE,...][@WEIGHTS]`, a file or a card; no file but a card is opened."""
DATASET = _Name("dataset", _refuse_dataset)
LR = _Name("lr", _refuse_lr)
VALIDATION = _Name("dataset", lambda name: None if name == NOTHING else _refuse_dataset(name))
PROTOCOL = _Name("protocol", _refuse_protocol)
METRIC = _Name("metric", _refuse_metric)
TABLE = _Name("table", _refuse_table)

device = click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
threads = click.option(
    "--threads", type=click.IntRange(1), help="Processor threads.  [default: all]"
)


trust_code = click.option(
    "--trust-code",
    is_flag=True,
    help="Run the code that a card names in a public repository, in a process of its own.",
)


scale = click.option(
    "-s",
    "--scale",
    "scales",
    multiple=True,
    type=click.IntRange(2),
    metavar="SCALE",
    help="Enlargement, 2 or more; may be repeated.  [default: 2 3 4]",
)

DEFAULT_PROTOCOL = "srcnn2014"
protocol = click.option(
    "--protocol",
    "protocol_name",
    type=PROTOCOL,
    default=DEFAULT_PROTOCOL,
    show_default=True,
    metavar="NAME",
    help="Protocol; `sisrbench list protocols` lists the names.",
)


metric = click.option(
    "--metric",
    "metric_names",
    multiple=True,
    type=METRIC,
    metavar="NAME",
    help="Only this metric; may be repeated.  "
    "[default: all metrics except alex and detail, which must be named]",
)

out = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_OUT,
    show_default=True,
    help="Folder that receives index.html, results.csv and the store.",
)


def inference(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options of the setting; the command receives a single argument `inference`."""

    # wraps() also copies the options that decorators below have added to the function.
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
            help="Copies of an image that run at once; times are per image.",
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
            help="Most memory for an image's feature maps, for example 2GiB; a larger image is cut "
            "into tiles.  [default: a share of free memory]",
        ),
    )
    made: Callable[..., int] = with_inference
    for option in reversed(options):
        made = option(made)
    return made


def measuring(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options of a measurement; the command receives a single argument `session`.

    The options are the setting, the device, the threads, how long times are measured, and the
    folder of results.
    """

    @wraps(function)
    def with_session(
        *arguments: Any,
        inference: Inference,
        device: str,
        out: Path,
        threads: int | None,
        repeat: int,
        budget: float,
        again: bool,
        trust_code: bool,
        **others: Any,
    ) -> int:
        from bench.session import Session
        from bench.timing.clock import Timing

        session = Session(
            out=out,
            command=click.get_current_context().obj,
            device_name=device,
            threads=threads,
            timing=Timing(repetitions=repeat, budget=budget),
            again=again,
            inference=inference,
            trust_code=trust_code,
        )
        return function(*arguments, session=session, **others)

    options = (
        device,
        out,
        threads,
        click.option(
            "--repeat",
            type=click.IntRange(1),
            default=5,
            show_default=True,
            help="Timed runs of each method, or more if the runs are short.",
        ),
        click.option(
            "--budget",
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            default=30,
            show_default=True,
            help="For the timed runs of each method at a scale. A slow method gets fewer runs, "
            "then a smaller output, whose time is scaled; the note says so.",
        ),
        click.option(
            "--again", is_flag=True, help="Measure times again that are stored, and replace them."
        ),
        trust_code,
    )
    made: Callable[..., int] = with_session
    for option in reversed(options):  # the decorator applied last comes first in the help
        made = option(made)
    return inference(made)
