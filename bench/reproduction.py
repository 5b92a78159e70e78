"""From paper tables to units: what has to be measured, and why the rest cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import torch

import zoo
from bench import compare, costs, datasets, metrics, plan, weights
from bench import protocol as protocols
from bench.compare import StandIn
from bench.datasets import Dataset
from bench.fetch import FetchError, RemoteFile
from bench.inference import Inference
from bench.plan import CostWish, Wish
from bench.progress import Progress
from bench.protocol import Protocol
from bench.published import Claim, PaperTable
from bench.result import Result
from bench.trained import Trained
from bench.weights import Chosen
from zoo.errors import InputError
from zoo.method import Method

COST_PROTOCOL = "srcnn2014"
"""The rules that feed a method whose cost is claimed without a protocol."""
_NO_WEIGHTS: Mapping[tuple[str, int], Trained] = MappingProxyType({})


class Reproduction:
    """The units that some paper tables ask for; what cannot be had is left out, with a reason."""

    def __init__(
        self,
        tables: Iterable[PaperTable],
        rules: Protocol | None,
        device: torch.device,
        repetitions: int,
        inference: Inference,
        progress: Progress,
        trained: Mapping[tuple[str, int], Trained] = _NO_WEIGHTS,
    ) -> None:
        """Plan the tables, by the claims' own protocols or by `rules`; fetch what is missing.

        Where `trained` has weights for a claim's method and scale, they are measured instead of
        those that the claim names.
        """
        self._rules = rules
        self._trained = trained
        self.stand_ins: dict[tuple[str, int], StandIn] = {}
        """By a claim's method and scale: the weights that are measured instead."""
        self._progress = progress
        self._methods: dict[str, Method | str] = {}
        self._sets: dict[str, Dataset | str] = {}
        self._weights: dict[tuple[str, str, int], str] = {}
        self._files: dict[RemoteFile | None, str] = {}
        claims = [claim.result for table in tables for claim in table.claims]
        sides = [(claim, name) for claim in claims for name in compare.operands(claim.method)]
        quantities = metrics.quantities()
        wishes, costed = [], []
        for claim, name in sides:
            method = self._method(name)
            if isinstance(method, str):
                continue
            if claim.quantity in quantities:
                wishes += self._wish(claim, method)
            elif not claim.dataset and claim.scale:
                rules_here = self._rules or protocols.load(COST_PROTOCOL)
                timed = claim.quantity in costs.timed_quantities()
                costed.append(CostWish(method, claim.scale, rules_here, device, inference, timed))
        claimed = {c.quantity.rpartition("_")[0] for c in claims if c.quantity in quantities}
        names, self._unmeasured = metrics.available(claimed, progress)
        self.units = plan.accuracy_units(wishes, device, names, inference)
        self.units += plan.cost_units([*plan.costs_of(self.units), *costed], repetitions)

    def why_not(self, claim: Claim) -> str:
        """Why a claim has no measurement."""
        wanted = claim.result
        for name in compare.operands(wanted.method):
            method = self._method(name)
            if isinstance(method, str):
                return method
        if wanted.quantity not in metrics.quantities():
            return wanted.note or f"nothing here measures {wanted.quantity}"
        metric = wanted.quantity.rpartition("_")[0]
        if metric in self._unmeasured:
            return self._unmeasured[metric]
        dataset = self._dataset(wanted.dataset)
        if isinstance(dataset, str):
            return dataset
        reasons = (
            self._weights.get((name, wanted.weights, wanted.scale), "")
            for name in compare.operands(wanted.method)
        )
        return next(filter(None, reasons), f"no image {wanted.image!r} in {wanted.dataset}")

    def _method(self, name: str) -> Method | str:
        if name not in self._methods:
            try:
                self._methods[name] = zoo.load(name)[0]
            except InputError as error:
                known = name in zoo.names()
                self._methods[name] = str(error) if known else f"no method {name!r} in zoo"
        return self._methods[name]

    def _dataset(self, name: str) -> Dataset | str:
        if name not in self._sets:
            try:
                self._sets[name] = datasets.load(name, self._progress)
            except FetchError as error:
                self._sets[name] = f"{name}: {error}"
            except InputError as error:
                known = name in datasets.names()
                self._sets[name] = str(error) if known else f"no dataset {name!r}"
        return self._sets[name]

    def _lacks_weights(self, method: Method, claim: Result) -> bool:
        place = (method.name, claim.weights, claim.scale)
        if place not in self._weights:
            try:
                chosen = plan.choose(method, self._tag(method, claim), claim.scale)
            except InputError as error:
                self._weights[place] = str(error)
            else:
                self._weights[place] = self._fetched(method, chosen)
        return bool(self._weights[place])

    def _fetched(self, method: Method, chosen: Chosen) -> str:
        """Why the weights cannot be had, '' where they can; a file is asked for once."""
        if chosen.file not in self._files:
            self._files[chosen.file] = ""
            try:
                weights.fetch_missing(method, chosen, self._progress)
            except InputError as error:
                self._files[chosen.file] = str(error)
        return self._files[chosen.file]

    def _wish(self, claim: Result, method: Method) -> list[Wish]:
        dataset = self._dataset(claim.dataset)
        if isinstance(dataset, str) or self._lacks_weights(method, claim):
            return []
        rules = self._rules or protocols.load(claim.protocol)
        return [Wish(method, self._tag(method, claim), claim.scale, dataset, rules)]

    def _tag(self, method: Method, claim: Result) -> str:
        """What says which weights to measure for a claim: its own tag, or trained weights' path."""
        plain = method.name.replace("+", "", 1) if method.wrap else method.name
        trained = self._trained.get((plain, claim.scale))
        if trained is None:
            return claim.weights
        stand_in = StandIn(trained.label, trained.remark(method))
        self.stand_ins[method.name, claim.scale] = stand_in
        return str(trained.path)
