"""Training: a method's weights, learned by a recipe of its card, and resumed where it stopped.

The recipe is a generator of steps (`zoo.method.Recipe`), its own or that of gradient descent; what
is around it is here: images, a log, a checkpoint that is replaced whole, and the file of weights
that says how they were made. Checkpoint and weights carry what they were made from. The same again
continues the one and is done at the other; anything else is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from bench import images, machine, metrics
from bench.datasets import Dataset
from bench.evaluate import evaluate
from bench.files import fetch, tensor_file, weight_file, weights
from bench.files.fetch import FetchError
from bench.files.whole import write_whole
from bench.progress import Progress, TrainingProgress
from bench.protocol import Protocol, pooled
from bench.training import features, losses
from bench.training.descent import DescentInputs, descend
from bench.training.log import Logbook
from bench.training.pictures import luma_of, pictures_of
from bench.training.processes import Processes
from bench.training.recipes import Training
from zoo.errors import InputError, one_line
from zoo.method import LearningInputs, Method, Step
from zoo.recipe import Descent

if sys.platform != "win32":
    import resource


_ROWS = 500
"""Rows that a log has at most, beside those of validations."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What a network is judged by while it is trained: PSNR on a set, by a protocol."""

    dataset: Dataset
    protocol: Protocol
    every: int
    """Updates from one to the next; 0 for a twentieth of them all."""

    def judge(
        self, method: Method, scale: int, device: torch.device
    ) -> Callable[[nn.Module], float]:
        """A function that gives a module's PSNR on the set, in dB; images are decoded once."""
        pixels = [images.decode(image.path) for image in self.dataset.images]
        psnr = {"psnr": metrics.load("psnr")}

        def judged(module: nn.Module) -> float:
            values = [
                evaluate(image, scale, self.protocol, method, module, psnr, device)
                for image in pixels
            ]
            each = [value[self.protocol.psnr] for value in values]
            return pooled(each, self.protocol.psnr, self.protocol)

        return judged


# Learning
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Where the weights lie, and whether they were there before."""

    path: Path
    computed: bool


class _History:
    """What went before this process, and what it adds: kept in the checkpoint, told at the end."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        self._began = facts.get("began") or _now()
        self._seconds = float(facts.get("seconds", 0))
        self._peak = float(facts.get("peak memory MiB", 0))
        self._resumed = int(facts["resumed"]) + 1 if facts else 0
        self._clock = time.perf_counter()
        self.curve: list[dict[str, float]] = json.loads(facts.get("curve", "[]"))
        """Rows of the log."""

    def _passed(self) -> float:
        return self._seconds + time.perf_counter() - self._clock

    def row(self, figures: Mapping[str, float]) -> dict[str, float]:
        """A row more of the log, with the seconds from the very beginning."""
        row = {"update": figures.get("update", 0), "seconds": self._passed(), **figures}
        self.curve.append({key: float(f"{value:.12g}") for key, value in row.items()})
        return self.curve[-1]

    def facts(self) -> dict[str, str]:
        """As of now; the peak is that of the largest process."""
        return {
            "began": self._began,
            "ended": _now(),
            "seconds": f"{self._passed():.1f}",
            "peak memory MiB": f"{max(self._peak, _peak_memory()):.0f}",
            "resumed": str(self._resumed),
            **({"curve": json.dumps(self.curve)} if self.curve else {}),
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _peak_memory() -> float:
    """MiB that this process held at most; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a training runs in, without any say in what it learns."""

    out: Path
    """Folder of all its files."""
    device: torch.device
    every: float
    """Seconds between two checkpoints."""
    anew: bool
    """Whether files that are there are left out of account, and replaced."""
    command: str
    """The command line, for the provenance."""
    validation: Validation | None = None
    processes: Processes = field(default_factory=Processes)


def train(training: Training, options: RunOptions) -> Outcome:
    """Learn the weights, or go on learning them, and write `out/NAME.safetensors`.

    Beside it, `NAME.checkpoint.safetensors` is written at the end of each stage, of a step where
    `every` seconds have passed, and of the step in which Ctrl-C is pressed; it goes when the
    weights are written. Where there are figures, `NAME.log.csv` and a TensorBoard folder
    `NAME.tensorboard` hold them, and `NAME.best.safetensors` the weights of the best PSNR.

    Raises:
        InputError: a file that is there is damaged or was made from something else, an image
            cannot be used, the recipe fails, what it learned does not fit, or a file cannot be
            written.
        KeyboardInterrupt: Ctrl-C was pressed; the checkpoint is written.
    """
    stages = TrainingProgress(quiet=not options.processes.is_first)
    past, saved = options.processes.first(lambda: _found(training, options, stages))
    if past is None:
        return Outcome(path=options.out / f"{training.name}.safetensors", computed=False)
    record = _History(past)
    steps = _steps(training, options, saved, stages)
    if not options.processes.is_first:
        for _ in steps:
            pass
        options.processes.wait()
        return Outcome(path=options.out / f"{training.name}.safetensors", computed=True)
    try:
        learned = _learn(training, steps, record, stages, options)
    except KeyboardInterrupt:
        if options.anew:
            stages.say("Leave out --anew to go on from here.")
        raise
    files = _Files(options.out, training.name)
    state = _fitted(training, learned, files.weights)
    write_whole({files.weights: tensor_file.file_of(state, _provenance(training, record, options))})
    files.checkpoint.unlink(missing_ok=True)
    options.processes.wait()
    return Outcome(path=files.weights, computed=True)


class _Files:
    """Where a training's files lie."""

    def __init__(self, out: Path, name: str) -> None:
        self.weights = out / f"{name}.safetensors"
        self.checkpoint = out / f"{name}.checkpoint.safetensors"
        self.best = out / f"{name}.best.safetensors"
        self.log = out / f"{name}.log.csv"
        self.events = out / f"{name}.tensorboard"


def _found(
    training: Training, options: RunOptions, stages: TrainingProgress
) -> tuple[dict[str, str] | None, dict[str, Tensor]]:
    """Facts and state of the checkpoint that is there; None where the weights are learned already.

    Raises:
        InputError: a file that is there is damaged, or was made from something else.
    """
    files = _Files(options.out, training.name)
    past: dict[str, str] = {}
    saved: dict[str, Tensor] = {}
    if options.anew:
        files.checkpoint.unlink(missing_ok=True)
        files.best.unlink(missing_ok=True)
    else:
        there = tensor_file.facts_and_tensors(files.weights)[0] if files.weights.is_file() else {}
        if there and not tensor_file.differences(training.facts, there):
            return None, {}
        if files.checkpoint.is_file():
            past, saved = tensor_file.facts_and_tensors(files.checkpoint)
            tensor_file.refuse_other(files.checkpoint, training.facts, past)
            stages.say(f"{training.name} continues at: {past['at']}")
        elif there:
            tensor_file.refuse_other(files.weights, training.facts, there)
    for path in (files.weights, files.checkpoint, files.best):
        for left in options.out.glob(f".{path.name}.*"):  # by a process that was killed in writing
            left.unlink(missing_ok=True)
    return past, saved


def _provenance(training: Training, record: _History, options: RunOptions) -> dict[str, str]:
    """What the weights' file says of itself."""
    facts = machine.facts(options.device)
    del facts["precision"]  # speaks of measuring
    facts |= training.facts | record.facts() | {"command": options.command}
    facts["citation"] = training.recipe.citation
    facts["processes"] = str(options.processes.count)
    source = {recipe.name: recipe for recipe in training.method.recipes}[training.recipe.name].learn
    if isinstance(training.recipe.learn, Descent) and isinstance(source, Descent):
        facts["updates"] = str(training.recipe.learn.updates)
        facts["updates of the source"] = str(source.updates)
        terms = losses.parse(training.recipe.learn.loss)
        seen = [features.parse(term.name).title for term in terms if term.is_features]
        facts |= {"features": ", ".join(seen)} if seen else {}
    if options.validation is not None:
        facts["validated on"] = options.validation.dataset.name
        facts["validated by"] = options.validation.protocol.name
    return facts


def _learn(
    training: Training,
    steps: Generator[Step, None, dict[str, Tensor]],
    record: _History,
    stages: TrainingProgress,
    options: RunOptions,
) -> dict[str, Tensor]:
    """What the recipe returns, its steps shown and kept."""
    files = _Files(options.out, training.name)
    written = time.monotonic()
    with (
        Logbook(files.log, files.events, record.curve) as log,
        _asked_to_stop() as stop,
        stages.work(),
    ):
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return dict(end.value)
            stages.show(step.stage, step.done, step.total, step.note)
            if step.remark:
                stages.say(step.remark)
            if step.figures:
                log.write(record.row(step.figures))
            if step.learned:
                facts = _provenance(training, record, options)
                write_whole({files.best: tensor_file.file_of(step.learned, facts)})
            due = step.done >= step.total or time.monotonic() - written >= options.every
            if due or stop.is_set():
                at = {"at": f"{step.stage}, {step.done} of {step.total}"}
                facts = training.facts | record.facts() | at
                write_whole({files.checkpoint: tensor_file.file_of(step.state, facts)})
                written = time.monotonic()
            if stop.is_set():
                raise KeyboardInterrupt


def _steps(
    training: Training, options: RunOptions, saved: dict[str, Tensor], stages: TrainingProgress
) -> Generator[Step, None, dict[str, Tensor]]:
    """The recipe's steps, held to the contract.

    Raises:
        InputError: it raised something, or gave something else.
    """
    name = f"recipe {training.recipe.name} of {training.method.name}"
    try:
        learn = training.recipe.learn
        if isinstance(learn, Descent):
            steps = descend(learn, _descent_inputs(training, learn, options, saved, stages))
        else:
            steps = learn(_learning_inputs(training, options, saved, stages))
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                learned = end.value
                break
            if not isinstance(step, Step):
                raise InputError(f"{name} yielded a {type(step).__name__}; expected a Step")
            if not all(isinstance(x, Tensor) for x in step.state.values()):
                raise InputError(f"{name} keeps more than tensors in a step's state; keep tensors")
            yield step
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{name} raised {one_line(error, 160)}; mend the recipe or its data"
        ) from error
    if not isinstance(learned, dict) or not all(isinstance(x, Tensor) for x in learned.values()):
        raise InputError(f"{name} returned a {type(learned).__name__}; expected a state dict")
    return learned


def _learning_inputs(
    training: Training, options: RunOptions, saved: Mapping[str, Tensor], stages: TrainingProgress
) -> LearningInputs:
    """What a recipe of its own is given."""
    start = training.start
    return LearningInputs(
        method=training.method,
        scale=training.scale,
        images=luma_of(pictures_of(training, stages)),
        settings=training.recipe.settings,
        start=start.state(training.scale, Progress()) if start else {},
        saved=saved,
        seed=training.seed,
        device=options.device,
    )


def _descent_inputs(
    training: Training,
    descent: Descent,
    options: RunOptions,
    saved: Mapping[str, Tensor],
    stages: TrainingProgress,
) -> DescentInputs:
    """What gradient descent is given.

    Raises:
        InputError: the weights to start from do not fit.
    """
    recipe, start, validation = training.recipe, training.start, options.validation
    for term in losses.parse(descent.loss):
        if term.is_features:
            _fetch_features(term.name)
    module = weights.fresh(training.method, training.scale, training.seed)
    if start is not None:
        state = start.state(recipe.starts_at or training.scale, Progress())
        if recipe.adapt is not None:
            state = recipe.adapt(state, module)
        weight_file.load_strictly(module, state, Path(start.weights.label), training.method.name)
    every = validation.every or max(1, descent.updates // 20) if validation else 0
    return DescentInputs(
        method=training.method,
        scale=training.scale,
        pictures=pictures_of(training, stages),
        network=module.to(options.device),
        device=options.device,
        seed=training.seed,
        precision=training.precision,
        saved=saved,
        validate=(
            validation.judge(training.method, training.scale, options.device)
            if validation
            else None
        ),
        every=every,
        log=max(1, descent.updates // _ROWS),
        fresh=start is None,
        processes=options.processes,
    )


def _fetch_features(name: str) -> None:
    """Have a feature network on this machine.

    Raises:
        FetchError: it cannot be had; what could stand in for it.
    """
    found = features.parse(name)
    try:
        fetch.fetch_missing(name, features.files(found), Progress())
    except FetchError as error:
        other = "" if found.stand_in else "; or name a stand-in in --set loss=: squeezenet1.1:fire5"
        raise FetchError(f"{error}{other}") from error


def _fitted(
    training: Training, learned: Mapping[str, Tensor], target: Path
) -> Mapping[str, Tensor]:
    """The state dict of the method's module with these weights in it.

    Raises:
        InputError: they do not fit, or are not finite.
    """
    module = weights.fresh(training.method, training.scale)
    try:
        weight_file.load_strictly(module, learned, target, training.method.name)
    except InputError as error:
        raise InputError(f"{error} or written; mend the recipe or its data") from error
    state: Mapping[str, Tensor] = module.state_dict()
    return state


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """While open, Ctrl-C sets the event, so that the step at work ends; a second one interrupts.

    A step that is cut off may have changed its state already, and cannot be kept.
    """
    asked = threading.Event()

    def ask(*_: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        # not print: the handler may have interrupted one
        os.write(2, b"\nStopping when this step is done; Ctrl-C again stops at once.\n")

    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
