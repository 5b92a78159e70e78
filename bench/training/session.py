"""Training session: train a method's weights by a recipe, and resume a stopped training.

The recipe is a generator of steps (`zoo.method.Recipe`): the recipe's own function, or gradient
descent. This module adds the images, the log, the checkpoint, which is always replaced as a whole,
and the file of weights.

Checkpoint and weights carry the facts of the training. The same training continues from the
checkpoint, and has nothing to do if the weights are there. A different training is refused.
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
from typing import Any

import torch
from torch import Tensor, nn

from bench import images, machine, metrics
from bench.datasets import Dataset
from bench.evaluate import evaluate, pooled
from bench.files import fetch, tensor_file, weight_file, weights
from bench.files.fetch import FetchError
from bench.files.whole import write_whole
from bench.progress import Progress, TrainingProgress
from bench.protocol import Protocol
from bench.training import features, losses
from bench.training.descent import DescentInputs, descend
from bench.training.log import Logbook
from bench.training.pictures import luma_of, pictures_of
from bench.training.processes import Processes
from bench.training.recipes import Training
from zoo.errors import InputError, one_line, spelled
from zoo.method import LearningInputs, Method, Step
from zoo.recipe import Descent

if sys.platform != "win32":
    import resource


_ROWS = 500
"""Rows in the log of a long training, approximately, besides the rows of validations."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """How to validate a network during training: PSNR on a data set, by a protocol."""

    dataset: Dataset
    protocol: Protocol
    every: int
    """Updates between two validations; 0 for a twentieth of all updates."""

    def judge(
        self, method: Method, scale: int, device: torch.device
    ) -> Callable[[nn.Module], float]:
        """A function that returns a module's PSNR on the data set, in dB.

        Images are decoded only once, when the function is made.
        """
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
class LearnedWeights:
    """The file of the learned weights."""

    path: Path
    computed: bool
    """Whether this process learned the weights; False if they were already there."""


class _History:
    """Times, peak memory and log rows of a training, over all processes that have resumed it.

    The history is kept in the checkpoint and written into the file of weights.
    """

    def __init__(self, facts: Mapping[str, str]) -> None:
        self._began = facts.get("began") or _now()
        self._seconds = float(facts.get("seconds", 0))
        self._peak = float(facts.get("peak memory MiB", 0))
        self._resumed = int(facts["resumed"]) + 1 if facts else 0
        self._clock = time.perf_counter()
        self.curve: list[dict[str, float]] = json.loads(facts.get("curve", "[]"))
        """Rows of the log."""

    def _passed(self) -> float:
        """Seconds of training so far, in earlier processes and in this process."""
        return self._seconds + time.perf_counter() - self._clock

    def row(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Add a row to the log's rows and return it, with the seconds of training so far."""
        row = {"update": figures.get("update", 0), "seconds": self._passed(), **figures}
        self.curve.append({key: float(f"{value:.12g}") for key, value in row.items()})
        return self.curve[-1]

    def facts(self) -> dict[str, str]:
        """The history's facts as of now; the peak memory is the largest process's."""
        return {
            "began": self._began,
            "ended": _now(),
            "seconds": f"{self._passed():.1f}",
            "peak memory MiB": f"{max(self._peak, _peak_memory()):.0f}",
            "resumed": str(self._resumed),
            **({"curve": json.dumps(self.curve)} if self.curve else {}),
        }


def _now() -> str:
    """Date and time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _peak_memory() -> float:
    """Peak memory of this process, in MiB; 0 if the system does not report it."""
    if sys.platform == "win32":
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss: bytes on macOS, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a training session that are no part of the training's identity."""

    out: Path
    """Folder of all files of the training."""
    device: torch.device
    every: float
    """Seconds between two checkpoints."""
    anew: bool
    """Whether to start again from the beginning, and to replace existing files."""
    command: str
    """The command line, for the facts in the file of weights."""
    validation: Validation | None = None
    processes: Processes = field(default_factory=Processes)


def train(training: Training, options: RunOptions) -> LearnedWeights:
    """Learn the weights, or continue to learn them, and write `out/NAME.safetensors`.

    More files are written to the same folder:

    - `NAME.checkpoint.safetensors`: at the end of a stage, after a step if `every` seconds have
      passed since the last checkpoint, and after the step in which Ctrl-C is pressed or SIGTERM
      comes. The checkpoint is deleted when the weights are written.
    - `NAME.log.csv` and the TensorBoard folder `NAME.tensorboard`: the figures of the steps.
    - `NAME.best.safetensors`: the weights with the best PSNR of all validations.

    Raises:
        InputError: an existing file is damaged or belongs to a different training, an image cannot
            be used, the recipe fails, or the learned weights do not fit the method.
        KeyboardInterrupt: Ctrl-C was pressed, or SIGTERM came; the checkpoint is written.
    """
    progress = TrainingProgress(quiet=not options.processes.is_first)
    # The first process alone reads, and deletes leftovers: the others get its result.
    past, saved = options.processes.first(lambda: _found(training, options, progress))
    if past is None:
        return LearnedWeights(path=options.out / f"{training.name}.safetensors", computed=False)
    record = _History(past)
    steps = _steps(training, options, saved, progress)
    if not options.processes.is_first:
        for _ in steps:  # the first process alone shows progress and writes files
            pass
        options.processes.wait()
        return LearnedWeights(path=options.out / f"{training.name}.safetensors", computed=True)
    try:
        learned = _learn(training, steps, record, progress, options)
    except KeyboardInterrupt:
        if options.anew:
            progress.say("Leave out --anew to continue from here.")
        raise
    files = _Files(options.out, training.name)
    state = _fitted(training, learned, files.weights)
    write_whole({files.weights: tensor_file.file_of(state, _provenance(training, record, options))})
    files.checkpoint.unlink(missing_ok=True)
    options.processes.wait()
    return LearnedWeights(path=files.weights, computed=True)


class _Files:
    """Paths of a training's files."""

    def __init__(self, out: Path, name: str) -> None:
        self.weights = out / f"{name}.safetensors"
        self.checkpoint = out / f"{name}.checkpoint.safetensors"
        self.best = out / f"{name}.best.safetensors"
        self.log = out / f"{name}.log.csv"
        self.events = out / f"{name}.tensorboard"


def _found(
    training: Training, options: RunOptions, progress: TrainingProgress
) -> tuple[dict[str, str] | None, dict[str, Tensor]]:
    """Facts and state of the checkpoint to continue from, after leftovers are deleted.

    Returns:
        Facts, and tensors in the shapes of the recipe's state. Both are empty without a checkpoint.
        Facts are None if the weights are already learned.

    Raises:
        InputError: an existing file is damaged, or belongs to a different training, or the path
            of the folder is no UTF-8.
    """
    if spelled(str(options.out)) != str(options.out):
        raise InputError(
            f"{options.out}: safetensors opens only paths that are UTF-8; give another --out"
        )
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
            progress.say(f"{training.name} continues at: {past['at']}")
        elif there:
            tensor_file.refuse_other(files.weights, training.facts, there)
        else:
            for line in _not_continued(training, options.out):
                progress.say(line)
    for path in (files.weights, files.checkpoint, files.best):
        for left in options.out.glob(f".{path.name}.*"):  # left by a process killed while writing
            left.unlink(missing_ok=True)
    return past, saved


def _not_continued(training: Training, out: Path) -> Iterator[str]:
    """A line for each file in the folder whose training differs in the number of updates only.

    Such a training is another one: rates and batches depend on the number of all updates, and the
    file of weights keeps no state of the optimiser.
    """
    for path in sorted(out.glob("*.safetensors")):
        with contextlib.suppress(InputError):  # another program's file
            found = tensor_file.differences(training.facts, tensor_file.facts_and_tensors(path)[0])
            if found and all(each.startswith("recipe settings updates ") for each in found):
                yield (
                    f"{training.name} starts from the beginning: {path} cannot be continued, "
                    f"because it was made with {found[0].removeprefix('recipe settings ')}"
                )


def _provenance(training: Training, record: _History, options: RunOptions) -> dict[str, str]:
    """The facts in the file of weights: the training, the machine, the history, the validation."""
    facts = machine.facts(options.device)
    del facts["precision"]  # of measuring; the training's precision is in `training.facts`
    facts |= training.facts | record.facts() | {"command": options.command}
    facts["citation"] = training.recipe.citation
    facts["processes"] = str(options.processes.count)
    # The recipe as the method's file states it, before any changes.
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
    progress: TrainingProgress,
    options: RunOptions,
) -> dict[str, Tensor]:
    """The recipe's result: a state dict with the shapes of the method's module.

    Steps are shown, logged and saved.

    Raises:
        InputError: the recipe fails, or a file cannot be written.
        KeyboardInterrupt: Ctrl-C was pressed; the checkpoint is written.
    """
    files = _Files(options.out, training.name)
    written = time.monotonic()
    with (
        Logbook(files.log, files.events, record.curve) as log,
        _asked_to_stop() as stop,
        progress.work(),
    ):
        recorded = _Recorded(steps)
        for step in recorded:
            progress.show(step.stage, step.done, step.total, step.note)
            if step.remark:
                progress.say(step.remark)
            if step.figures:
                log.write(record.row(step.figures))
            if step.learned:
                facts = _provenance(training, record, options)
                write_whole({files.best: tensor_file.file_of(step.learned, facts)})
            due = step.done >= step.total or time.monotonic() - written >= options.every
            if due or stop:
                at = {"at": f"{step.stage}, {step.done} of {step.total}"}
                facts = training.facts | record.facts() | at
                write_whole({files.checkpoint: tensor_file.file_of(step.state, facts)})
                written = time.monotonic()
            if stop:  # only now, because the checkpoint had to be written first
                break
    if stop:
        signal.raise_signal(stop[0])  # what it does without the checkpoint
        raise KeyboardInterrupt
    return dict(recorded.returned)


class _Recorded:
    """A generator's steps, and the value that it returned when they are over."""

    def __init__(self, steps: Generator[Step, None, Any]) -> None:
        self._steps = steps
        self.returned: Any = None

    def __iter__(self) -> Iterator[Step]:
        self.returned = yield from self._steps


def _steps(
    training: Training, options: RunOptions, saved: dict[str, Tensor], progress: TrainingProgress
) -> Generator[Step, None, dict[str, Tensor]]:
    """The recipe's steps and result, checked by the contract of `zoo.method.Recipe`.

    `saved` has the shapes of a step's state; the result has the shapes of the method's module.

    Raises:
        InputError: the recipe raised an error, or a step or the result breaks the contract.
    """
    name = f"recipe {training.recipe.name} of {training.method.name}"
    try:
        learn = training.recipe.learn
        if isinstance(learn, Descent):
            steps = descend(learn, _descent_inputs(training, learn, options, saved, progress))
        else:
            steps = learn(_learning_inputs(training, options, saved, progress))
        recorded = _Recorded(steps)
        for step in recorded:
            if not isinstance(step, Step):
                raise InputError(f"{name} yielded a {type(step).__name__}; expected a Step")
            if not all(isinstance(x, Tensor) for x in step.state.values()):
                raise InputError(f"{name} keeps more than tensors in a step's state; keep tensors")
            yield step
        learned = recorded.returned
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a recipe of the user's own may raise anything
        if options.processes.count > 1 and "gloo" in str(error):  # torch has no class for it
            raise InputError("another process has ended; see its message") from error
        raise InputError(
            f"{name} raised {one_line(error, 160)}; fix the recipe or its data"
        ) from error
    if not isinstance(learned, dict) or not all(isinstance(x, Tensor) for x in learned.values()):
        raise InputError(f"{name} returned a {type(learned).__name__}; expected a state dict")
    return learned


def _learning_inputs(
    training: Training, options: RunOptions, saved: Mapping[str, Tensor], progress: TrainingProgress
) -> LearningInputs:
    """The inputs of a recipe that is a function; `saved` has the shapes of a step's state."""
    start = training.start
    return LearningInputs(
        method=training.method,
        scale=training.scale,
        images=luma_of(pictures_of(training, progress)),
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
    progress: TrainingProgress,
) -> DescentInputs:
    """The inputs of gradient descent; `saved` has the shapes of a step's state.

    Raises:
        InputError: the start weights do not fit the method, or an image cannot be used.
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
        pictures=pictures_of(training, progress),
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
    """Download a feature network if this machine does not have the file.

    Raises:
        FetchError: the file cannot be downloaded; the message names a stand-in.
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
    """The learned weights as a state dict of the method's module, with the module's shapes.

    Raises:
        InputError: the learned weights do not fit the module, or are not finite.
    """
    module = weights.fresh(training.method, training.scale)
    try:
        weight_file.load_strictly(module, learned, target, training.method.name)
    except InputError as error:
        raise InputError(f"{error} or written; fix the recipe or its data") from error
    state: Mapping[str, Tensor] = module.state_dict()
    return state


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """While open, Ctrl-C and SIGTERM join the list, so that the current step can end.

    A second one interrupts. An interrupted step may have changed part of the state, and so could
    not be saved.
    """
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        # Not print: the signal may have interrupted a print, which must not be entered again.
        os.write(2, b"\nStopping when this step is done; Ctrl-C again stops at once.\n")

    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread gets signals
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
