"""From what was asked for to units: the smallest pieces that are measured, stored and resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch

from bench import costs, metrics, weights
from bench.datasets import Dataset
from bench.folder import code_of
from bench.inference import DEFAULT, Inference
from bench.machine import device_name
from bench.protocol import Protocol
from bench.weights import Chosen
from zoo.errors import InputError
from zoo.method import Method

BENCH = Path(__file__).parent
_SHARED_CODE = (
    BENCH.parent / "zoo" / "resample.py",
    BENCH.parent / "zoo" / "ensemble.py",
    BENCH / "images.py",
    BENCH / "evaluate.py",
    BENCH / "inference.py",
    BENCH / "network.py",
    BENCH / "tiles.py",
    BENCH / "graph.py",
    costs.FOLDER / "receptive_field.py",
    BENCH / "measure.py",
)
"""Code whose change may change any number, so that what it measured is measured anew."""
_COST_CODE = (BENCH / "roofline.py", costs.FOLDER / "multiplies.py")
"""Code that costs share."""


@lru_cache
def _method_code(source: Path) -> str:
    return _hash_of(tuple(code_of(source)))


@lru_cache
def _hash_of(paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One method with its weights, at one scale: the metrics of a dataset, or one cost."""

    method: Method
    chosen: Chosen
    scale: int
    protocol: Protocol
    device: torch.device
    dataset: Dataset | None = None
    """None for a cost."""
    names: tuple[str, ...]
    """Names of the metrics, or of the one cost."""
    repetitions: int = 1
    inference: Inference = DEFAULT

    @property
    def is_timed(self) -> bool:
        """Whether it measures time, which belongs to one machine."""
        return self.dataset is None and costs.load(self.names[0]).TIMED

    @property
    def label(self) -> str:
        """The unit in one line for people."""
        named = self.dataset is not None and self.chosen.label
        method = self.method.name + (f"@{self.chosen.label}" if named else "")
        what = self.dataset.name if self.dataset else " ".join(self.names)
        return f"{method} x{self.scale} {what} {self.inference.label}".rstrip()

    @cached_property
    def key(self) -> str:
        """SHA-256 of everything that can change the unit's numbers."""
        folder = costs.FOLDER if self.dataset is None else metrics.FOLDER
        own = tuple(folder / f"{name}.py" for name in self.names)
        own += _COST_CODE if self.dataset is None else ()
        facts = {
            "method": self.method.name,
            "settings": dict(self.method.settings),
            "method code": _method_code(self.method.source),
            "weights": [self.chosen.label, self.chosen.sha256],
            "scale": self.scale,
            "dataset": [self.dataset.name, self.dataset.sha256] if self.dataset else [],
            "protocol": [self.protocol.name, self.protocol.sha256],
            "names": self.names,
            "code": _hash_of(_SHARED_CODE + own),
            "inference": self.inference.label,
            "device kind": self.device.type,
        }
        if self.is_timed:
            facts["machine"] = [device_name(self.device), torch.get_num_threads()]
            facts["repetitions"] = self.repetitions
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Wish:
    """What one unit of accuracy is asked for by: a method's name and weights' tag, and where."""

    method: Method
    tag: str
    scale: int
    dataset: Dataset
    protocol: Protocol


def accuracy_units(
    wishes: Iterable[Wish],
    device: torch.device,
    names: Sequence[str],
    inference: Inference = DEFAULT,
) -> list[Unit]:
    """One unit a wish, those of the same dataset next to each other, none twice.

    What has no weights is run in the default way: it computes in double, whatever a network does.

    Raises:
        InputError: a method has no such scale or weights.
    """
    units: dict[str, Unit] = {}
    for wish in wishes:
        chosen = choose(wish.method, wish.tag, wish.scale)
        unit = Unit(
            method=wish.method,
            chosen=chosen,
            scale=wish.scale,
            protocol=wish.protocol,
            device=device,
            dataset=wish.dataset,
            names=tuple(names),
            inference=inference if chosen.sha256 else DEFAULT,
        )
        units.setdefault(unit.key, unit)
    return sorted(units.values(), key=lambda unit: unit.dataset.name if unit.dataset else "")


def refuse_namesakes(units: Iterable[Unit]) -> None:
    """Refuse two units that differ but whose Results would bear the same names.

    Raises:
        InputError: two methods, weights or folders of one name.
    """
    known: dict[tuple[object, ...], Unit] = {}
    for unit in units:
        dataset = unit.dataset.name if unit.dataset else ""
        names = (unit.method.name, unit.chosen.label, unit.scale, dataset, unit.protocol.name)
        if known.setdefault(names, unit).key != unit.key:
            raise InputError(
                f"two different things are called {unit.label}; rename a method, weights or folder"
            )


@dataclass(frozen=True)
class CostWish:
    """What a method's costs are asked for by: where it runs and how, and the rules that feed it."""

    method: Method
    scale: int
    protocol: Protocol
    device: torch.device
    inference: Inference = DEFAULT
    timed: bool = True
    """Whether to measure time too, which takes a run of the network."""
    chosen: Chosen | None = None
    """Its weights, which the time of a method that varies needs."""


def costs_of(units: Iterable[Unit]) -> list[CostWish]:
    """The costs of what the units measure."""
    return [
        CostWish(u.method, u.scale, u.protocol, u.device, u.inference, chosen=u.chosen)
        for u in units
    ]


def cost_units(wishes: Iterable[CostWish], repetitions: int) -> list[Unit]:
    """Every cost of every method, scale and, for a time, inference, each once.

    No cost depends on what the weights are, so that a fresh initialisation stands in for them, but
    for the time of a method that varies, which is left out where a wish names no weights; only a
    time needs a protocol. Weights and protocol are those of the first wish for the method.

    Raises:
        InputError: a method has no such scale, or cannot be built.
    """
    found: dict[tuple[str, int, str, str], Unit] = {}
    built: dict[tuple[str, int], bool] = {}
    for wish in wishes:
        stand_in = choose(wish.method, weights.NONE, wish.scale)
        place = (wish.method.name, wish.scale)
        if place not in built:
            fresh = weights.fresh(wish.method, wish.scale)
            built[place] = next(fresh.parameters(), None) is not None
        has_weights = built[place]
        for name in costs.names():
            timed = costs.load(name).TIMED
            if timed and not wish.timed:
                continue
            own = timed and wish.method.varies
            if own and wish.chosen is None:
                continue
            inference = wish.inference if timed and has_weights else DEFAULT
            found.setdefault(
                (wish.method.name, wish.scale, name, inference.label),
                Unit(
                    method=wish.method,
                    chosen=wish.chosen if own and wish.chosen else stand_in,
                    scale=wish.scale,
                    protocol=wish.protocol,
                    device=wish.device,
                    names=(name,),
                    repetitions=repetitions,
                    inference=inference,
                ),
            )
    return list(found.values())


def choose(method: Method, tag: str, scale: int) -> Chosen:
    """The weights that a method uses at a scale, where it has the scale.

    Raises:
        InputError: it does not, or there are no such weights.
    """
    if scale < 2:
        raise InputError(f"scale {scale} does not enlarge; give an integer of at least 2")
    if method.scales and scale not in method.scales:
        scales = ", ".join(f"x{s}" for s in method.scales)
        raise InputError(f"{method.name} has no x{scale}; choose from: {scales}")
    return weights.choose(method, tag, scale)
