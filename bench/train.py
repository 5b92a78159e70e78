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
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo
from bench import checkpoint, fetch, images, machine, metrics, weights
from bench.datasets import Dataset, ImageFile
from bench.descent import Course, degradations, descend, features, losses, optimisation
from bench.descent.feed import Picture, refuse_small
from bench.evaluate import evaluate
from bench.fetch import FetchError
from bench.folder import code_of
from bench.logbook import Logbook
from bench.measure import pooled
from bench.plan import choose
from bench.processes import Processes
from bench.progress import Progress, Stages
from bench.protocol import Protocol
from bench.result import write_whole
from bench.weights import Chosen
from zoo.errors import InputError, one_line, unknown
from zoo.method import Lesson, Method, Recipe, Step
from zoo.recipe import Descent

if sys.platform != "win32":
    import resource

_CPU = torch.device("cpu")
_DESCENT = sorted(Path(__file__).with_name("descent").glob("*.py"))
_MANY = 200
"""Images whose decoding takes so long that it is shown."""
_ROWS = 500
"""Rows that a log has at most, beside those of validations."""
_WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".mat")


@dataclass(frozen=True)
class Start:
    """Weights to start from, and whose they are."""

    method: Method
    chosen: Chosen

    def state(self, scale: int, progress: Progress) -> dict[str, Tensor]:
        """Their state dict, fetched where it is missing, loaded strictly.

        Raises:
            InputError: they cannot be had or read, or do not fit their method at the scale.
        """
        weights.fetch_missing(self.method, self.chosen, progress)
        return dict(weights.build(self.method, self.chosen, scale, _CPU).state_dict())


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is to be learned: all that can change the weights that come out."""

    method: Method
    scale: int
    recipe: Recipe
    data: tuple[Dataset, ...]
    start: Start | None = None
    """None where everything is learned."""
    seed: int = 0
    changes: Mapping[str, str] = field(default_factory=dict)
    """Choices of the recipe that were made otherwise than it says; they are in it already."""
    precision: str = "fp32"
    lr: tuple[Dataset, ...] = ()
    """LR images of the data, where the recipe does not make them."""
    skip_bad: bool = False
    """Whether images that cannot be used are left out, and named."""

    @property
    def name(self) -> str:
        """What its files are called."""
        method = self.method.name.replace(":", "-")
        changed = "".join(f",{key}={value}" for key, value in self.changes.items())
        return re.sub(r"[^\w.,=-]+", "-", f"{method}-x{self.scale}-{self.recipe.name}{changed}")

    @cached_property
    def facts(self) -> dict[str, str]:
        """What it is known by: two with the same facts learn the same weights."""
        start = [f"{self.start.method.name}@{self.start.chosen.label}"] if self.start else []
        learn = self.recipe.learn
        code = code_of(self.method.source)
        choices = dict(self.recipe.settings)
        if isinstance(learn, Descent):
            code = [*code, *_DESCENT]
            choices = learn.settings() | {"precision": self.precision}
            choices["lr"] = [[dataset.name, dataset.sha256] for dataset in self.lr]
        facts: dict[str, Any] = {
            "method": self.method.name,
            "settings": dict(self.method.settings),
            "scale": self.scale,
            "recipe": self.recipe.name,
            "recipe settings": choices,
            "data": [[dataset.name, dataset.sha256] for dataset in self.data],
            "start": [*start, self.start.chosen.sha256] if self.start else [],
            "seed": self.seed,
            "code": {path.name: images.sha256_of(path) for path in code},
        }
        return {key: v if isinstance(v, str) else json.dumps(v) for key, v in facts.items()}


def recipe_of(method: Method, name: str) -> Recipe:
    """The method's recipe of that name; its first where the name is ''.

    Raises:
        InputError: it has none, or none of that name.
    """
    recipes = {recipe.name: recipe for recipe in method.recipes}
    if not recipes:
        can = ", ".join(_trainable()) or "none yet"
        raise InputError(f"{method.name} has no recipe to be trained by; methods that have: {can}")
    if name and name not in recipes:
        raise unknown(f"recipe of {method.name}", name, recipes)
    return recipes[name] if name else method.recipes[0]


def changes_of(texts: Iterable[str], updates: int | None) -> dict[str, str]:
    """Changes to a recipe, from texts KEY=VALUE and a number of updates.

    Raises:
        InputError: a text that is none, or a choice that is made twice.
    """
    found = {"updates": str(updates)} if updates is not None else {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set {text}: give KEY=VALUE")
        if key in found:
            raise InputError(f"--set {text}: {key} is {found[key]} already; give it once")
        found[key] = value
    return found


def changed(recipe: Recipe, changes: Mapping[str, str], *, with_lr: bool) -> Recipe:
    """The recipe with some choices made otherwise; with LR images, it makes none itself.

    Raises:
        InputError: a choice that it does not have, or LR images that nothing takes.
    """
    learn = recipe.learn
    if not isinstance(learn, Descent):
        if changes or with_lr:
            raise InputError(
                f"recipe {recipe.name} is no gradient descent, and is followed as it stands; leave "
                "out --set, --updates and --lr"
            )
        return recipe
    made = learn.changed(changes)
    if with_lr:
        made = replace(made, degradation=degradations.PAIRS)
    elif not degradations.parse(made.degradation):
        raise InputError(f"recipe {recipe.name} takes LR from files; give --lr DIR")
    losses.parse(made.loss)
    optimisation.check(made)
    return replace(recipe, learn=made)


def _trainable() -> Iterator[str]:
    for name in zoo.names():
        with contextlib.suppress(InputError):  # a broken file breaks only itself
            if zoo.load(name)[0].recipes:
                yield name


def start_of(method: Method, recipe: Recipe, spec: str, scale: int) -> Start | None:
    """The weights of `METHOD[@WEIGHTS]`, or of a file, that the recipe is to start from.

    None where the spec is empty, and the recipe can do without. A file is taken to be of the
    settings that `method` has.

    Raises:
        InputError: it starts from nothing, from another method's, or has to start from some; or
            there are no such weights.
    """
    if not spec and recipe.needs_start:
        at = f" of x{recipe.starts_at}" if recipe.starts_at else ""
        raise InputError(
            f"recipe {recipe.name} starts from weights of {recipe.starts_from}{at}; give --from "
            f"{recipe.starts_from}[@WEIGHTS], or a file of them"
        )
    if not spec:
        return None
    if not recipe.starts_from:
        raise InputError(f"recipe {recipe.name} learns everything; leave out --from {spec}")
    if Path(spec).suffix in _WEIGHT_FILES and "@" not in spec:
        _, colon, settings = method.name.partition(":")
        spec = f"{recipe.starts_from}{colon}{settings}@{spec}"
    other, tag = zoo.load(spec)
    if other.name.partition(":")[0] != recipe.starts_from:
        raise InputError(
            f"recipe {recipe.name} starts from {recipe.starts_from}, not from {other.name}; give "
            f"--from {recipe.starts_from}[@WEIGHTS], or a file of its weights"
        )
    return Start(other, choose(other, tag, recipe.starts_at or scale))


def pictures_of(training: Training, stages: Stages) -> list[Picture]:
    """Every training image, decoded, in order.

    Gray and colour together are said, since they are not learned from in the same way: a grayscale
    file is taken as luma, and by an RGB method in three equal channels.

    Raises:
        InputError: an image that cannot be read or is smaller than is learned from, unless
            `skip_bad` leaves it out; or none is left.
    """
    given = {image.name: image for dataset in training.lr for image in dataset.images}
    files = [image for dataset in training.data for image in dataset.images]
    found, left_out = [], []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        readings = pool.map(lambda image: _picture(image, given, training), files)
        for done, picture in enumerate(readings, start=1):
            if len(files) > _MANY:
                stages.show("decoding", done, len(files), "")
            if isinstance(picture, Picture):
                found.append(picture)
                continue
            if not training.skip_bad:
                raise InputError(f"{picture}; --skip-bad leaves such images out")
            left_out.append(picture)
            stages.say(f"left out: {picture}")
    if left_out:
        stages.say(f"{len(left_out)} of {len(files)} images are left out")
    if not found:
        names = ", ".join(dataset.name for dataset in training.data)
        raise InputError(f"{names}: no image is left to learn from; give --data other images")
    gray = sum(picture.hr.shape[0] == 1 for picture in found)
    if 0 < gray < len(found):
        stages.say(f"{gray} of {len(found)} images are grayscale, the others are in colour")
    return found


def _picture(
    image: ImageFile, given: Mapping[str, ImageFile], training: Training
) -> Picture | InputError:
    """The image decoded, or what is wrong with it."""
    learn = training.recipe.learn
    try:
        hr = images.to_tensor(images.decode(image.path), _CPU).to(torch.uint8)
        lr = None
        if training.lr:
            if image.name not in given:
                raise InputError(f"{image.path} has no LR image of its name in --lr")
            lr = images.to_tensor(images.decode(given[image.name].path), _CPU).to(torch.uint8)
        if isinstance(learn, Descent):
            refuse_small(hr, str(image.path), training.method, learn, training.scale)
        elif min(hr.shape[-2:]) < training.scale:
            raise InputError(
                f"{image.path}: {hr.shape[-1]}x{hr.shape[-2]} px leave nothing at "
                f"x{training.scale}; take it out, or give a larger image"
            )
    except InputError as error:
        return error
    return Picture(name=str(image.path), hr=hr, lr=lr)


def luma_of(pictures: Iterable[Picture]) -> list[Tensor]:
    """HR luma of every picture, in order: (H, W), float64 in [0, 1], whole levels of 1/255.

    RGB goes through BT.601 and is rounded; a grayscale file is taken as luma.
    """
    return [images.as_luma(picture.hr.to(torch.float64))[0] / 255 for picture in pictures]


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


class _Past:
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
class Surroundings:
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


def train(training: Training, around: Surroundings) -> Outcome:
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
    stages = Stages(quiet=not around.processes.is_first)
    past, saved = around.processes.first(lambda: _found(training, around, stages))
    if past is None:
        return Outcome(path=around.out / f"{training.name}.safetensors", computed=False)
    record = _Past(past)
    steps = _steps(training, around, saved, stages)
    if not around.processes.is_first:
        for _ in steps:
            pass
        around.processes.wait()
        return Outcome(path=around.out / f"{training.name}.safetensors", computed=True)
    try:
        learned = _learn(training, steps, record, stages, around)
    except KeyboardInterrupt:
        if around.anew:
            stages.say("Leave out --anew to go on from here.")
        raise
    files = _Files(around.out, training.name)
    state = _fitted(training, learned, files.weights)
    write_whole({files.weights: checkpoint.file_of(state, _provenance(training, record, around))})
    files.checkpoint.unlink(missing_ok=True)
    around.processes.wait()
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
    training: Training, around: Surroundings, stages: Stages
) -> tuple[dict[str, str] | None, dict[str, Tensor]]:
    """Facts and state of the checkpoint that is there; None where the weights are learned already.

    Raises:
        InputError: a file that is there is damaged, or was made from something else.
    """
    files = _Files(around.out, training.name)
    past: dict[str, str] = {}
    saved: dict[str, Tensor] = {}
    if around.anew:
        files.checkpoint.unlink(missing_ok=True)
        files.best.unlink(missing_ok=True)
    else:
        there = checkpoint.read(files.weights)[0] if files.weights.is_file() else {}
        if there and not checkpoint.differences(training.facts, there):
            return None, {}
        if files.checkpoint.is_file():
            past, saved = checkpoint.read(files.checkpoint)
            checkpoint.refuse_other(files.checkpoint, training.facts, past)
            stages.say(f"{training.name} continues at: {past['at']}")
        elif there:
            checkpoint.refuse_other(files.weights, training.facts, there)
    for path in (files.weights, files.checkpoint, files.best):
        for left in around.out.glob(f".{path.name}.*"):  # by a process that was killed in writing
            left.unlink(missing_ok=True)
    return past, saved


def _provenance(training: Training, record: _Past, around: Surroundings) -> dict[str, str]:
    """What the weights' file says of itself."""
    facts = machine.facts(around.device)
    del facts["precision"]  # speaks of measuring
    facts |= training.facts | record.facts() | {"command": around.command}
    facts["citation"] = training.recipe.citation
    facts["processes"] = str(around.processes.count)
    source = {recipe.name: recipe for recipe in training.method.recipes}[training.recipe.name].learn
    if isinstance(training.recipe.learn, Descent) and isinstance(source, Descent):
        facts["updates"] = str(training.recipe.learn.updates)
        facts["updates of the source"] = str(source.updates)
        terms = losses.parse(training.recipe.learn.loss)
        seen = [features.parse(term.name).title for term in terms if term.is_features]
        facts |= {"features": ", ".join(seen)} if seen else {}
    if around.validation is not None:
        facts["validated on"] = around.validation.dataset.name
        facts["validated by"] = around.validation.protocol.name
    return facts


def _learn(
    training: Training,
    steps: Generator[Step, None, dict[str, Tensor]],
    record: _Past,
    stages: Stages,
    around: Surroundings,
) -> dict[str, Tensor]:
    """What the recipe returns, its steps shown and kept."""
    files = _Files(around.out, training.name)
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
                facts = _provenance(training, record, around)
                write_whole({files.best: checkpoint.file_of(step.learned, facts)})
            due = step.done >= step.total or time.monotonic() - written >= around.every
            if due or stop.is_set():
                at = {"at": f"{step.stage}, {step.done} of {step.total}"}
                facts = training.facts | record.facts() | at
                write_whole({files.checkpoint: checkpoint.file_of(step.state, facts)})
                written = time.monotonic()
            if stop.is_set():
                raise KeyboardInterrupt


def _steps(
    training: Training, around: Surroundings, saved: dict[str, Tensor], stages: Stages
) -> Generator[Step, None, dict[str, Tensor]]:
    """The recipe's steps, held to the contract.

    Raises:
        InputError: it raised something, or gave something else.
    """
    name = f"recipe {training.recipe.name} of {training.method.name}"
    try:
        learn = training.recipe.learn
        if isinstance(learn, Descent):
            steps = descend(learn, _course(training, learn, around, saved, stages))
        else:
            steps = learn(_lesson(training, around, saved, stages))
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


def _lesson(
    training: Training, around: Surroundings, saved: Mapping[str, Tensor], stages: Stages
) -> Lesson:
    """What a recipe of its own is given."""
    start = training.start
    return Lesson(
        method=training.method,
        scale=training.scale,
        images=luma_of(pictures_of(training, stages)),
        settings=training.recipe.settings,
        start=start.state(training.scale, Progress()) if start else {},
        saved=saved,
        seed=training.seed,
        device=around.device,
    )


def _course(
    training: Training,
    descent: Descent,
    around: Surroundings,
    saved: Mapping[str, Tensor],
    stages: Stages,
) -> Course:
    """What gradient descent is given.

    Raises:
        InputError: the weights to start from do not fit.
    """
    recipe, start, validation = training.recipe, training.start, around.validation
    for term in losses.parse(descent.loss):
        if term.is_features:
            _fetch_features(term.name)
    module = weights.fresh(training.method, training.scale, training.seed)
    if start is not None:
        state = start.state(recipe.starts_at or training.scale, Progress())
        if recipe.adapt is not None:
            state = recipe.adapt(state, module)
        weights.load_strictly(module, state, Path(start.chosen.label), training.method.name)
    every = validation.every or max(1, descent.updates // 20) if validation else 0
    return Course(
        method=training.method,
        scale=training.scale,
        pictures=pictures_of(training, stages),
        network=module.to(around.device),
        device=around.device,
        seed=training.seed,
        precision=training.precision,
        saved=saved,
        validate=(
            validation.judge(training.method, training.scale, around.device) if validation else None
        ),
        every=every,
        log=max(1, descent.updates // _ROWS),
        fresh=start is None,
        processes=around.processes,
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
        weights.load_strictly(module, learned, target, training.method.name)
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
