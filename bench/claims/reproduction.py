"""From paper tables to units: the measurements that claims need, and reasons for missing ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import torch

import zoo
from bench import costs, datasets, metrics, plan
from bench import protocol as protocols
from bench.claims.verdicts import SubstituteWeights
from bench.datasets import Dataset
from bench.files import weights
from bench.files.fetch import FetchError, RemoteFile
from bench.files.weights import ResolvedWeights
from bench.inference import Inference
from bench.plan import AccuracyRequest, CostRequest, Unit
from bench.progress import Progress
from bench.protocol import Protocol
from bench.published import Claim, PaperTable
from bench.result import Result
from bench.timing.clock import Timing
from bench.training.provenance import TrainedWeights
from zoo.errors import InputError
from zoo.method import Method

COST_PROTOCOL = "srcnn2014"
"""Protocol of a method's input if a claim about costs names no protocol."""
_NO_WEIGHTS: Mapping[tuple[str, int], TrainedWeights] = MappingProxyType({})


class Reproduction:
    """A plan to measure paper tables: the units, and a reason for each claim without a unit.

    Args:
        tables: the paper tables.
        rules: a protocol for every claim; None for each claim's own.
        device: where methods run.
        timing: how long each time is measured.
        inference: how networks run.
        progress: shows downloads.
        trained: weights by method and scale, measured instead of the weights that claims name.
    """

    def __init__(
        self,
        tables: Iterable[PaperTable],
        rules: Protocol | None,
        device: torch.device,
        timing: Timing,
        inference: Inference,
        progress: Progress,
        trained: Mapping[tuple[str, int], TrainedWeights] = _NO_WEIGHTS,
    ) -> None:
        self._claims = [claim for table in tables for claim in table.claims]
        self._rules = rules
        self._device, self._timing, self._inference = device, timing, inference
        self._progress = progress
        self._trained = trained
        self.substitutes: dict[tuple[str, int], SubstituteWeights] = {}
        """(method, scale) to the weights that are measured instead of the claims' weights."""
        # Each method, dataset and file is looked up once; a text is the reason for a failure.
        self._methods: dict[str, Method | str] = {}
        self._sets: dict[str, Dataset | str] = {}
        self._weights: dict[tuple[str, str, int], str] = {}
        self._files: dict[RemoteFile | None, str] = {}
        self._unmeasured: dict[str, str] = {}

    def plan(self, *, timed: bool = False) -> list[Unit]:
        """The units to measure; missing images and weights are downloaded first.

        A claim of a time has the time measured. `timed` has the time of every method measured.
        `why_not` gives the reason for each claim without a unit.
        """
        known = metrics.quantities()
        of_machine = {name for name, quantity in costs.quantities().items() if quantity.of_machine}
        requests, costed = [], []
        for claim in self._claims:
            result = claim.result
            for name in claim.methods:
                method = self._method(name)
                if isinstance(method, str):
                    continue
                if result.quantity in known:
                    requests += self._requests(result, method)
                elif not result.dataset and result.scale:  # a cost; scale 0 names no scale
                    costed.append(
                        CostRequest(
                            method,
                            result.scale,
                            self._rules or protocols.load(COST_PROTOCOL),
                            self._device,
                            self._inference,
                            timed=timed or result.quantity in of_machine,
                        )
                    )
        quantities = {claim.result.quantity for claim in self._claims}
        claimed = {known[name].metric for name in quantities if name in known}
        names, self._unmeasured = metrics.available(claimed, self._progress)
        units = plan.accuracy_units(requests, self._device, names, self._inference)
        costed += plan.costs_of(units, timed=timed)
        return units + plan.cost_units(costed, self._timing)

    def why_not(self, claim: Claim) -> str:
        """The reason why a claim has no measurement."""
        wanted = claim.result
        for name in claim.methods:
            method = self._method(name)
            if isinstance(method, str):
                return method
        quantity = metrics.quantities().get(wanted.quantity)
        if quantity is None:
            return wanted.note or f"sisrbench does not measure {wanted.quantity}"
        if quantity.metric in self._unmeasured:
            return self._unmeasured[quantity.metric]
        dataset = self._dataset(wanted.dataset)
        if isinstance(dataset, str):
            return dataset
        reasons = (
            self._weights.get((name, wanted.weights, wanted.scale), "") for name in claim.methods
        )
        return next(filter(None, reasons), f"no image {wanted.image!r} in {wanted.dataset}")

    def _method(self, name: str) -> Method | str:
        """The method of a claim, or the reason why the method cannot be used."""
        if name not in self._methods:
            try:
                self._methods[name] = zoo.load(name)[0]
            except InputError as error:
                known = name in zoo.names()
                # For an unknown name, the error lists every method, too long for a verdict.
                self._methods[name] = str(error) if known else f"sisrbench has no method {name!r}"
        return self._methods[name]

    def _dataset(self, name: str) -> Dataset | str:
        """The dataset of a claim, or the reason why the dataset cannot be used."""
        if name not in self._sets:
            try:
                self._sets[name] = datasets.load(name, self._progress)
            except FetchError as error:
                self._sets[name] = f"{name}: {error}"
            except InputError as error:
                known = name in datasets.names()
                self._sets[name] = str(error) if known else f"sisrbench has no dataset {name!r}"
        return self._sets[name]

    def _requests(self, claim: Result, method: Method) -> list[AccuracyRequest]:
        """The request for a claim's method; empty without the dataset's images or the weights."""
        dataset = self._dataset(claim.dataset)
        if isinstance(dataset, str):
            return []
        tag, trained = claim.weights, self._trained_for(method, claim.scale)
        if trained is not None:
            tag = str(trained.path)
            substitute = SubstituteWeights(trained.label, trained.remark(method))
            self.substitutes[method.name, claim.scale] = substitute
        if self._lacks_weights(method, tag, claim):
            return []
        rules = self._rules or protocols.load(claim.protocol)
        return [AccuracyRequest(method, tag, claim.scale, dataset, rules)]

    def _trained_for(self, method: Method, scale: int) -> TrainedWeights | None:
        """Trained weights for a method; a self-ensemble uses the weights of the plain method."""
        plain = method.name.replace("+", "", 1) if method.wrap else method.name
        return self._trained.get((plain, scale))

    def _lacks_weights(self, method: Method, tag: str, claim: Result) -> bool:
        """Whether the weights for a claim are missing; the reason is kept for `why_not`."""
        place = (method.name, claim.weights, claim.scale)
        if place not in self._weights:
            try:
                resolved = weights.resolve(method, tag, claim.scale)
            except InputError as error:
                self._weights[place] = str(error)
            else:
                self._weights[place] = self._fetched(method, resolved)
        return bool(self._weights[place])

    def _fetched(self, method: Method, resolved: ResolvedWeights) -> str:
        """The reason why weights cannot be downloaded, or ''; each file is tried once."""
        if resolved.file not in self._files:
            self._files[resolved.file] = ""
            try:
                weights.download(method, resolved, self._progress)
            except InputError as error:
                self._files[resolved.file] = str(error)
        return self._files[resolved.file]
