"""From what was asked for to units: the smallest pieces that are measured, stored and resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from bench import costs, metrics
from bench.datasets import Dataset
from bench.files import weights
from bench.files.identity import COST_CODE, SHARED_CODE, hash_of, method_code
from bench.files.weights import ResolvedWeights, resolve
from bench.inference import DEFAULT, Inference
from bench.machine import device_name
from bench.protocol import Protocol
from zoo.errors import InputError
from zoo.method import Method


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One method with its weights, at one scale: the metrics of a dataset, or one cost."""

    method: Method
    weights: ResolvedWeights
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
        return self.dataset is None and costs.is_timed(self.names[0])

    @property
    def label(self) -> str:
        """The unit in one line for people."""
        named = self.dataset is not None and self.weights.label
        method = self.method.name + (f"@{self.weights.label}" if named else "")
        what = self.dataset.name if self.dataset else " ".join(self.names)
        return f"{method} x{self.scale} {what} {self.inference.label}".rstrip()

    @cached_property
    def key(self) -> str:
        """SHA-256 of everything that can change the unit's numbers."""
        folder = costs.FOLDER if self.dataset is None else metrics.FOLDER
        own = tuple(folder / f"{name}.py" for name in self.names)
        own += COST_CODE if self.dataset is None else ()
        facts = {
            "method": self.method.name,
            "settings": dict(self.method.settings),
            "method code": method_code(self.method.source),
            "weights": [self.weights.label, self.weights.sha256],
            "scale": self.scale,
            "dataset": [self.dataset.name, self.dataset.sha256] if self.dataset else [],
            "protocol": [self.protocol.name, self.protocol.sha256],
            "names": self.names,
            "code": hash_of(SHARED_CODE + own),
            "inference": self.inference.label,
            "device kind": self.device.type,
        }
        if self.is_timed:
            facts["machine"] = [device_name(self.device), torch.get_num_threads()]
            facts["repetitions"] = self.repetitions
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class AccuracyRequest:
    """What one unit of accuracy is asked for by: a method's name and weights' tag, and where."""

    method: Method
    tag: str
    scale: int
    dataset: Dataset
    protocol: Protocol


def accuracy_units(
    requests: Iterable[AccuracyRequest],
    device: torch.device,
    names: Sequence[str],
    inference: Inference = DEFAULT,
) -> list[Unit]:
    """One unit a request, those of the same dataset next to each other, none twice.

    What has no weights is run in the default way: it computes in double, whatever a network does.

    Raises:
        InputError: a method has no such scale or weights.
    """
    units: dict[str, Unit] = {}
    for request in requests:
        chosen = resolve(request.method, request.tag, request.scale)
        unit = Unit(
            method=request.method,
            weights=chosen,
            scale=request.scale,
            protocol=request.protocol,
            device=device,
            dataset=request.dataset,
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
        names = (unit.method.name, unit.weights.label, unit.scale, dataset, unit.protocol.name)
        if known.setdefault(names, unit).key != unit.key:
            raise InputError(
                f"two different things are called {unit.label}; rename a method, weights or folder"
            )


@dataclass(frozen=True)
class CostRequest:
    """What a method's costs are asked for by: where it runs and how, and the rules that feed it."""

    method: Method
    scale: int
    protocol: Protocol
    device: torch.device
    inference: Inference = DEFAULT
    timed: bool = True
    """Whether to measure time too, which takes a run of the network."""
    weights: ResolvedWeights | None = None
    """Its weights, which the time of a method that varies needs."""


def costs_of(units: Iterable[Unit]) -> list[CostRequest]:
    """The costs of what the units measure."""
    return [
        CostRequest(u.method, u.scale, u.protocol, u.device, u.inference, weights=u.weights)
        for u in units
    ]


def cost_units(requests: Iterable[CostRequest], repetitions: int) -> list[Unit]:
    """Every cost of every method, scale and, for a time, inference, each once.

    No cost depends on what the weights are, so that a fresh initialisation stands in for them, but
    for the time of a method that varies, which is left out where a request names no weights; only a
    time needs a protocol. Weights and protocol are those of the first request for the method.

    Raises:
        InputError: a method has no such scale, or cannot be built.
    """
    found: dict[tuple[str, int, str, str], Unit] = {}
    built: dict[tuple[str, int], bool] = {}
    for request in requests:
        stand_in = resolve(request.method, weights.NONE, request.scale)
        place = (request.method.name, request.scale)
        if place not in built:
            fresh = weights.fresh(request.method, request.scale)
            built[place] = next(fresh.parameters(), None) is not None
        has_weights = built[place]
        for name in costs.names():
            timed = costs.is_timed(name)
            if timed and not request.timed:
                continue
            own = timed and request.method.varies
            if own and request.weights is None:
                continue
            inference = request.inference if timed and has_weights else DEFAULT
            found.setdefault(
                (request.method.name, request.scale, name, inference.label),
                Unit(
                    method=request.method,
                    weights=request.weights if own and request.weights else stand_in,
                    scale=request.scale,
                    protocol=request.protocol,
                    device=request.device,
                    names=(name,),
                    repetitions=repetitions,
                    inference=inference,
                ),
            )
    return list(found.values())
