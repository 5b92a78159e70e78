"""From requests to units: the smallest pieces of work that are measured, stored and resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bench import costs, machine, metrics
from bench.datasets import LR_MARK, Dataset
from bench.datasets.matching import Paired, paired
from bench.files import weights
from bench.files.identity import EXEMPT, NO_COST, NO_METRIC, code_of, files_of
from bench.files.weights import ResolvedWeights, resolve
from bench.files.whole import sha256_of
from bench.foreign import reads
from bench.inference import DEFAULT, Inference
from bench.protocol import Protocol
from bench.timing.clock import DEFAULT_TIMING, Timing
from zoo.errors import InputError
from zoo.method import Method


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A method with weights at a scale: the metrics to measure on a dataset, or a single cost."""

    method: Method
    weights: ResolvedWeights
    scale: int
    protocol: Protocol
    device: torch.device
    dataset: Dataset | None = None
    """None for a cost."""
    sr: Paired | None = None
    """SR files of another program, for a method with `outputs`."""
    lr: Paired | None = None
    """LR files; None for LR that the protocol makes."""
    names: tuple[str, ...]
    """Names of the metrics, or of the single cost."""
    timing: Timing = DEFAULT_TIMING
    inference: Inference = DEFAULT

    @property
    def is_timed(self) -> bool:
        """Whether the unit measures a time, which depends on the machine."""
        return self.dataset is None and costs.is_timed(self.names[0])

    @property
    def on(self) -> str:
        """What Results call the dataset: with the label of LR files, if any; '' for a cost.

        The same HR images with other LR images are another dataset.
        """
        if self.dataset is None:
            return ""
        return self.dataset.name + (f"{LR_MARK}{self.lr.label}" if self.lr is not None else "")

    @property
    def label(self) -> str:
        """The unit as a line of text: method, scale, dataset or cost, and setting."""
        named = self.dataset is not None and self.weights.label
        method = self.method.name + (f"@{self.weights.label}" if named else "")
        subject = self.on or " ".join(self.names)
        return f"{method} x{self.scale} {subject} {self.inference.label}".rstrip()

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Everything that can change the unit's numbers, by name, as JSON can hold it.

        Raises:
            InputError: a file of code cannot be read, or the method's file changed since it was
                imported.
        """
        self.method.refuse_if_edited()
        folder = costs.FOLDER if self.dataset is None else metrics.FOLDER
        # Only the files of the unit's own metrics or cost: an edit elsewhere leaves the unit valid.
        own = (folder / f"{name}.py" for name in self.names)
        exempt = {**EXEMPT, **(NO_METRIC if self.dataset is None else NO_COST)}
        facts: dict[str, Any] = {
            "method": self.method.name,
            "weights": self.weights.label,
            "scale": self.scale,
            "dataset": self.on,
            "names": list(self.names),
            "protocol": self.protocol.name,
            "inference": self.inference.label,
            "device": self.device.type,
            "settings": dict(self.method.settings),
            "card": self.method.card,
            "weights' bytes": self.weights.sha256
            + (f"#{self.weights.key}" * bool(self.weights.key)),
            "images": self.dataset.sha256 if self.dataset else "",
            "rules": self.protocol.sha256,
            "code": code_of(
                _MEASURE,
                *own,
                *files_of(self.method),
                modules=reads.imported(),
                exempt=exempt,
            ),
            "module": weights.built(self.method, self.scale),
            "files": reads.hashes(self.method.read_from(self.scale)),
            "libraries": machine.libraries(self.device, self.method.libraries),
        }
        if self.sr is not None:
            facts["SR files"] = self.sr.hashes
        if self.lr is not None:
            facts["LR files"] = self.lr.hashes
        if self.is_timed:  # other numbers depend on the kind of device, but not on the machine
            facts["machine"] = [machine.device_name(self.device), torch.get_num_threads()]
            facts["timing"] = [self.timing.repetitions, self.timing.budget]
        return facts

    @cached_property
    def key(self) -> str:
        """SHA-256, in hex, of the facts."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()

    def read_again(self) -> Unit:
        """The same unit with the hashes that its images, SR and LR files, and weights have now.

        Raises:
            InputError: a file cannot be read.
        """
        dataset = self.dataset
        if dataset is not None:
            images = (replace(each, sha256=sha256_of(each.path)) for each in dataset.images)
            dataset = replace(dataset, images=tuple(images))
        sr = self.sr.read_again() if self.sr is not None else None
        lr = self.lr.read_again() if self.lr is not None else None
        return replace(self, dataset=dataset, sr=sr, lr=lr, weights=self.weights.read_again())


PLACE = ("method", "weights", "scale", "dataset", "names", "protocol", "inference", "device")
"""The facts by which people know a unit: two units that agree in these measure the same."""
_MEASURE = Path(__file__).with_name("measure.py")
"""Everything that computes a number is imported from here, or is named beside it in `facts`."""


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between the facts of two units, each in a few words.

    >>> differences({"code": {"a.py": "1"}, "images": "x"}, {"code": {"a.py": "2"}, "images": "x"})
    ['a.py']
    """
    found = []
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name), after.get(name)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            inner = [key for key in {**one, **other} if one.get(key) != other.get(key)]
            # A version says more than that it differs; a hash does not.
            found += [
                f"{key} {one.get(key, 'none')} -> {other.get(key, 'none')}"
                if name == "libraries"
                else key
                for key in inner
            ]
        else:
            found.append(name)
    return found


@dataclass(frozen=True)
class AccuracyRequest:
    """A request for metrics: a method, the tag of the weights, a scale, a dataset, a protocol.

    `lr` are LR files to take instead of the LR that the protocol makes.
    """

    method: Method
    tag: str
    scale: int
    dataset: Dataset
    protocol: Protocol
    lr: Paired | None = None


def accuracy_units(
    requests: Iterable[AccuracyRequest],
    device: torch.device,
    names: Sequence[str],
    inference: Inference = DEFAULT,
) -> list[Unit]:
    """A unit for each distinct request; units of the same dataset follow each other.

    Datasets keep the order of their first requests.

    A method without weights gets the default setting, because such a method computes in float64
    in every setting.

    Args:
        requests: methods, weights, scales, datasets and protocols.
        device: where the methods run.
        names: the metrics.
        inference: how networks run.

    Raises:
        InputError: a method does not have the scale or the weights of a request, or an image has
            no SR file or more than one.
    """
    units: dict[str, Unit] = {}
    for request in requests:
        resolved = resolve(request.method, request.tag, request.scale)
        unit = Unit(
            method=request.method,
            weights=resolved,
            scale=request.scale,
            protocol=request.protocol,
            device=device,
            dataset=request.dataset,
            sr=_sr_files(request),
            lr=request.lr,
            names=tuple(names),
            inference=inference if resolved.sha256 else DEFAULT,
        )
        units.setdefault(unit.key, unit)
    # In this order a dataset's files are decoded once: `measure.decoded` keeps the last files.
    asked = list(dict.fromkeys(unit.dataset.name for unit in units.values() if unit.dataset))
    return sorted(
        units.values(), key=lambda unit: asked.index(unit.dataset.name) if unit.dataset else -1
    )


def _sr_files(request: AccuracyRequest) -> Paired | None:
    """The SR files of a method that another program has computed; None for all others.

    Raises:
        InputError: an image has no SR file or more than one, or the method is a self-ensemble.
    """
    method, dataset = request.method, request.dataset
    if method.outputs is None:
        return None
    if method.wrap is not None:
        raise InputError(f"{method.name}: SR files have no self-ensemble; leave out the +")
    names = [image.name for image in dataset.images]
    return paired(method.outputs(request.scale), names, request.scale, "SR", dataset.name)


def refuse_namesakes(units: Iterable[Unit]) -> None:
    """Refuse two different units if the Results of both would have the same names.

    Raises:
        InputError: two methods, two files of weights or two folders have the same name.
    """
    known: dict[tuple[object, ...], Unit] = {}
    for unit in units:
        names = (unit.method.name, unit.weights.label, unit.scale, unit.on, unit.protocol.name)
        if known.setdefault(names, unit).key != unit.key:
            raise namesakes(unit.label)


def namesakes(called: str) -> InputError:
    """InputError for two methods, files of weights or folders that have the same name."""
    return InputError(
        f"two different methods, files of weights or folders are called {called}; give one another "
        'name, as name = "Ours" in a card, :name=Ours after a file or class, or --name'
    )


@dataclass(frozen=True)
class CostRequest:
    """A request for a method's costs: the device, the setting, and the protocol of the input."""

    method: Method
    scale: int
    protocol: Protocol
    device: torch.device
    inference: Inference = DEFAULT
    timed: bool = False
    """Whether to measure time too; only time needs a run of the network."""
    weights: ResolvedWeights | None = None
    """The method's weights; needed for the time of a method with `varies`."""


def costs_of(units: Iterable[Unit], *, timed: bool) -> list[CostRequest]:
    """A request for the costs of each unit's method, in the unit's setting."""
    return [
        CostRequest(u.method, u.scale, u.protocol, u.device, u.inference, timed, u.weights)
        for u in units
    ]


def cost_units(requests: Iterable[CostRequest], timing: Timing = DEFAULT_TIMING) -> list[Unit]:
    """A unit for each cost of each method and scale; for a time, also for each setting.

    Costs do not depend on the values of the weights, so a fresh initialisation is measured. The
    exception is the time of a method with `varies`: this time needs the weights of the request, and
    is left out if the request has none. Only a time needs a protocol. If several requests are for
    the same unit, the weights and the protocol of the first are used.

    Args:
        requests: methods, scales, protocols, devices and settings.
        timing: how long each time is measured.

    Raises:
        InputError: a method does not have the scale, or cannot be built.
    """
    found: dict[tuple[str, int, str, str], Unit] = {}
    built: dict[tuple[str, int], bool] = {}
    for request in requests:
        if request.method.outputs is not None:
            continue  # computed elsewhere
        stand_in = weights.of_costs(request.method, request.scale)
        place = (request.method.name, request.scale)
        if place not in built:
            built[place] = weights.has_parameters(request.method, request.scale)
        has_weights = built[place]
        for name in costs.names():
            timed = costs.is_timed(name)
            if timed and not request.timed:
                continue
            own = timed and request.method.varies
            if own and request.weights is None:
                continue
            # Only a network's time depends on the setting; every other cost is measured once.
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
                    timing=timing,
                    inference=inference,
                ),
            )
    return list(found.values())
