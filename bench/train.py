"""Training: a method's weights, learned by a recipe of its card, and resumed where it stopped.

The recipe is a generator of steps (`zoo.method.Recipe`); what is around it is here: its images, a
checkpoint that is replaced whole, and the file of weights that says how they were made. Checkpoint
and weights carry what they were made from. The same again continues the one and is done at the
other; anything else is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

import zoo
from bench import images, machine, weights
from bench.datasets import Dataset
from bench.folder import code_of
from bench.plan import choose
from bench.progress import Progress, Stages
from bench.result import write_whole
from bench.weights import Chosen
from zoo.errors import InputError, one_line, unknown
from zoo.method import Lesson, Method, Recipe, Step
from zoo.resample import round_half_up

if sys.platform != "win32":
    import resource

_CPU = torch.device("cpu")
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

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.method.name.replace(':', '-')}-x{self.scale}-{self.recipe.name}"

    @cached_property
    def facts(self) -> dict[str, str]:
        """What it is known by: two with the same facts learn the same weights."""
        start = [f"{self.start.method.name}@{self.start.chosen.label}"] if self.start else []
        facts: dict[str, Any] = {
            "method": self.method.name,
            "settings": dict(self.method.settings),
            "scale": self.scale,
            "recipe": self.recipe.name,
            "recipe settings": dict(self.recipe.settings),
            "data": [[dataset.name, dataset.sha256] for dataset in self.data],
            "start": [*start, self.start.chosen.sha256] if self.start else [],
            "seed": self.seed,
            "code": {path.name: images.sha256_of(path) for path in code_of(self.method.source)},
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


def _trainable() -> Iterator[str]:
    for name in zoo.names():
        with contextlib.suppress(InputError):  # a broken file breaks only itself
            if zoo.load(name)[0].recipes:
                yield name


def start_of(recipe: Recipe, spec: str, scale: int) -> Start:
    """The weights of `METHOD[@WEIGHTS]`, or of a file, that the recipe is to start from.

    Raises:
        InputError: it starts from nothing, or from another method's; or there are no such weights.
    """
    if not recipe.starts_from:
        raise InputError(f"recipe {recipe.name} learns everything; leave out --from {spec}")
    if Path(spec).suffix in _WEIGHT_FILES and "@" not in spec:
        spec = f"{recipe.starts_from}@{spec}"
    method, tag = zoo.load(spec)
    if method.name.partition(":")[0] != recipe.starts_from:
        raise InputError(
            f"recipe {recipe.name} starts from {recipe.starts_from}, not from {method.name}; give "
            f"--from {recipe.starts_from}[@WEIGHTS], or a file of its weights"
        )
    return Start(method, choose(method, tag, scale))


def luma_of(data: Iterable[Dataset], scale: int) -> list[Tensor]:
    """HR luma of every image, in order: (H, W), float64 in [0, 1], whole levels of 1/255.

    RGB goes through BT.601 and is rounded; a grayscale file is taken as luma.

    Raises:
        InputError: an image that cannot be read, or that has a side below the scale.
    """
    found = []
    for image in (image for dataset in data for image in dataset.images):
        hr = images.to_tensor(images.decode(image.path), _CPU)
        height, width = hr.shape[-2:]
        if min(height, width) < scale:
            raise InputError(
                f"{image.path}: {width}x{height} px leave nothing at x{scale}; take it out, or "
                "give a larger image"
            )
        y = hr if hr.shape[0] == 1 else round_half_up(images.luma(hr))
        found.append(y[0] / 255)
    return found


# Files that say what they were made from


def _file_of(state: Mapping[str, Tensor], facts: Mapping[str, str]) -> bytes:
    """A safetensors file of tensors and facts, to which a hash of the tensors is added."""
    own = {  # none may share memory
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
    }
    return safetensors.torch.save(own, {**facts, "tensors": _sha256_of(own)})


def _sha256_of(state: dict[str, Tensor]) -> str:
    return hashlib.sha256(safetensors.torch.save(state)).hexdigest()


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Facts and tensors of a file that `_file_of` made.

    Raises:
        InputError: it is damaged, or another's.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        whole = facts.get("tensors") == _sha256_of(state)
    except Exception:  # a damaged file makes the reader raise nearly anything
        whole = False
    if not whole:
        raise InputError(
            f"{path} is damaged, or was not written by sisrbench train; give another --out, or "
            "--anew to start again in its place"
        )
    return facts, state


def _differences(asked: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """What a file was made from that is not what is asked for, in words."""
    found = []
    for key, text in asked.items():
        if there.get(key) == text:
            continue
        ours, theirs = _parsed(text), _parsed(there.get(key, ""))
        if isinstance(ours, dict) and isinstance(theirs, dict):
            both = [(f"{key} {k}", theirs.get(k, ""), ours.get(k, "")) for k in {**theirs, **ours}]
        else:
            both = [(key, theirs, ours)]
        found += [f"{what} {_short(a)[:60]}, not {_short(b)[:60]}" for what, a, b in both if a != b]
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _short(value: Any) -> str:
    """A fact for people: lists with spaces, hashes by their first digits."""
    if isinstance(value, list):
        return " ".join(map(_short, value)) or "none"
    text = str(value)
    is_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:12] if is_hash else text or "none"


def _refuse_other(path: Path, asked: Mapping[str, str], there: Mapping[str, str]) -> None:
    """Refuse a file that was made from anything else than what is asked for.

    Raises:
        InputError: it was; what differs, first things first.
    """
    found = _differences(asked, there)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise InputError(
            f"{path} was made with {'; '.join(found[:3])}{more}; give another --out, or --anew to "
            "start again in its place"
        )


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

    def facts(self) -> dict[str, str]:
        """As of now; the peak is that of the largest process."""
        return {
            "began": self._began,
            "ended": _now(),
            "seconds": f"{self._seconds + time.perf_counter() - self._clock:.1f}",
            "peak memory MiB": f"{max(self._peak, _peak_memory()):.0f}",
            "resumed": str(self._resumed),
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _peak_memory() -> float:
    """MiB that this process held at most; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def train(
    training: Training, out: Path, device: torch.device, *, every: float, anew: bool, command: str
) -> Outcome:
    """Learn the weights, or go on learning them, and write `out/NAME.safetensors`.

    Beside it, `NAME.checkpoint.safetensors` is written at the end of each stage, of a step where
    `every` seconds have passed, and of the step in which Ctrl-C is pressed; it goes when the
    weights are written.

    Args:
        training: what to learn.
        out: folder of both files.
        device: where to compute.
        every: seconds between two checkpoints.
        anew: whether files that are there are left out of account, and replaced.
        command: the command line, for the provenance.

    Raises:
        InputError: a file that is there is damaged or was made from something else, an image
            cannot be used, the recipe fails, what it learned does not fit, or a file cannot be
            written.
        KeyboardInterrupt: Ctrl-C was pressed; the checkpoint is written.
    """
    target = out / f"{training.name}.safetensors"
    checkpoint = out / f"{training.name}.checkpoint.safetensors"
    past: dict[str, str] = {}
    saved: dict[str, Tensor] = {}
    stages = Stages()
    if anew:
        checkpoint.unlink(missing_ok=True)
    else:
        there = _read(target)[0] if target.is_file() else {}
        if there and not _differences(training.facts, there):
            return Outcome(path=target, computed=False)
        if checkpoint.is_file():
            past, saved = _read(checkpoint)
            _refuse_other(checkpoint, training.facts, past)
            stages.say(f"{training.name} continues at: {past['at']}")
        elif there:
            _refuse_other(target, training.facts, there)
    for path in (target, checkpoint):
        for left in out.glob(f".{path.name}.*"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
    start = training.start
    lesson = Lesson(
        method=training.method,
        scale=training.scale,
        images=luma_of(training.data, training.scale),
        settings=training.recipe.settings,
        start=start.state(training.scale, Progress()) if start else {},
        saved=saved,
        seed=training.seed,
        device=device,
    )
    record = _Past(past)
    try:
        learned = _learn(training, lesson, checkpoint, record, stages, every)
    except KeyboardInterrupt:
        if anew:
            stages.say("Leave out --anew to go on from here.")
        raise
    facts = machine.facts(device)
    del facts["precision"]  # speaks of measuring
    facts |= training.facts | record.facts() | {"command": command}
    facts["citation"] = training.recipe.citation
    state = _fitted(training, learned, target)
    write_whole({target: _file_of(state, facts)})
    checkpoint.unlink(missing_ok=True)
    return Outcome(path=target, computed=True)


def _learn(
    training: Training,
    lesson: Lesson,
    checkpoint: Path,
    record: _Past,
    stages: Stages,
    every: float,
) -> dict[str, Tensor]:
    """What the recipe returns, its steps shown and kept."""
    written = time.monotonic()
    steps = _steps(training, lesson)
    with _asked_to_stop() as stop, stages.work():
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return dict(end.value)
            stages.show(step.stage, step.done, step.total, step.note)
            due = step.done >= step.total or time.monotonic() - written >= every
            if due or stop.is_set():
                at = {"at": f"{step.stage}, {step.done} of {step.total}"}
                facts = training.facts | record.facts() | at
                write_whole({checkpoint: _file_of(step.state, facts)})
                written = time.monotonic()
            if stop.is_set():
                raise KeyboardInterrupt


def _steps(training: Training, lesson: Lesson) -> Generator[Step, None, dict[str, Tensor]]:
    """The recipe's steps, held to the contract.

    Raises:
        InputError: it raised something, or gave something else.
    """
    name = f"recipe {training.recipe.name} of {training.method.name}"
    try:
        steps = training.recipe.learn(lesson)
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
