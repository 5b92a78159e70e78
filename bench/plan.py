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
from bench.machine import device_name
from bench.protocol import Protocol
from bench.weights import Chosen
from zoo.errors import InputError
from zoo.method import Method

BENCH = Path(__file__).parent
_SHARED_CODE = (
    BENCH.parent / "zoo" / "resample.py",
    BENCH / "images.py",
    BENCH / "evaluate.py",
    BENCH / "measure.py",
)
"""Code whose change may change any number, so that what it measured is measured anew."""


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

    @property
    def is_timed(self) -> bool:
        """Whether it measures time, which belongs to one machine."""
        return self.dataset is None and costs.load(self.names[0]).TIMED

    @property
    def label(self) -> str:
        """The unit in one line for people."""
        method = self.method.name + (f"@{self.chosen.label}" if self.chosen.label else "")
        what = self.dataset.name if self.dataset else " ".join(self.names)
        return f"{method} x{self.scale} {what}"

    @cached_property
    def key(self) -> str:
        """SHA-256 of everything that can change the unit's numbers."""
        folder = costs.FOLDER if self.dataset is None else metrics.FOLDER
        own = tuple(folder / f"{name}.py" for name in self.names)
        facts = {
            "method": self.method.name,
            "settings": dict(self.method.settings),
            "method code": _hash_of((self.method.source,)),
            "weights": [self.chosen.label, self.chosen.sha256],
            "scale": self.scale,
            "dataset": [self.dataset.name, self.dataset.sha256] if self.dataset else [],
            "protocol": [self.protocol.name, self.protocol.sha256],
            "names": self.names,
            "code": _hash_of(_SHARED_CODE + own),
            "precision": "float32",
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
    wishes: Iterable[Wish], device: torch.device, names: Sequence[str]
) -> list[Unit]:
    """One unit a wish, those of the same dataset next to each other, none twice.

    Raises:
        InputError: a method has no such scale or weights.
    """
    units: dict[str, Unit] = {}
    for wish in wishes:
        unit = Unit(
            method=wish.method,
            chosen=choose(wish.method, wish.tag, wish.scale),
            scale=wish.scale,
            protocol=wish.protocol,
            device=device,
            dataset=wish.dataset,
            names=tuple(names),
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


def cost_units(units: Iterable[Unit], repetitions: int) -> list[Unit]:
    """Every cost of every method and scale among the units, each once.

    Only a time needs weights and a protocol; they are those of the first unit that has the method.
    """
    found: dict[tuple[str, int, str], Unit] = {}
    for unit in units:
        for name in costs.names():
            found.setdefault(
                (unit.method.name, unit.scale, name),
                Unit(
                    method=unit.method,
                    chosen=unit.chosen,
                    scale=unit.scale,
                    protocol=unit.protocol,
                    device=unit.device,
                    names=(name,),
                    repetitions=repetitions,
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
