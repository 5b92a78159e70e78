"""Sessions: from names and settings to stored results, tables and the page.

The command and the Python API both call a Session, so both measure, store and report in the same
way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd
import torch
from torch import Tensor

import zoo
from bench import (
    costs,
    datasets,
    experiments,
    machine,
    metrics,
    network,
    plan,
    published,
    sources,
    store,
)
from bench import protocol as protocols
from bench.claims import experiment_run, verdicts
from bench.claims.reproduction import Reproduction
from bench.datasets import lr as lr_files
from bench.engine import raised, run_inline, waiting
from bench.evaluate import super_resolve
from bench.experiments import Experiment
from bench.files import weights
from bench.files.whole import write_whole
from bench.foreign import reads
from bench.foreign.alone import Answer, Request, answer, ask, received
from bench.foreign.guard import State
from bench.inference import DEFAULT, Inference, switches
from bench.network import remarks_of
from bench.plan import AccuracyRequest, CostRequest, Unit
from bench.progress import Progress, tell_warnings
from bench.protocol import Protocol
from bench.published import Claim
from bench.result import Cell, Failure, Quantity, Result, WeightsName, cell, to_csv
from bench.sources.words import Spec
from bench.store import Store, StoreFile
from bench.timing.clock import DEFAULT_TIMING, Timing
from bench.training import provenance
from bench.training.session import RunOptions
from reports import page
from zoo.errors import InputError, unknown
from zoo.method import Method
from zoo.resample import round_half_up

SCALES = (2, 3, 4)
"""Default scales."""
CHECKPOINT_SECONDS = 60
"""Seconds from a checkpoint to the next in an experiment's trainings."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results of a request, measured now or read from the store."""

    title: str
    results: list[Result]
    verdicts: pd.DataFrame
    """Columns `bench.result.VERDICT_COLUMNS`; without rows unless claims were compared."""
    runs: pd.DataFrame
    trainings: pd.DataFrame
    trained: tuple[WeightsName, ...] = ()
    """Names of the weights in `trainings`."""
    keys: tuple[str, ...] = ()
    """Keys of the units whose Results these are."""
    units: int = 0
    """Units that were requested."""
    computed: int = 0
    """Units that were measured now, because the store did not have the Results."""
    substituted: bool = False
    """Whether trained weights were measured instead of the weights that claims name."""
    trials: tuple[Trial, ...] = ()
    elsewhere: int = 0
    """Results in the store of cells that were not requested; the page and the CSV lack them."""
    failures: tuple[Failure, ...] = ()
    """What was requested and could not be measured."""
    file: StoreFile | None = None
    """The store that holds the results."""

    @property
    def table(self) -> pd.DataFrame:
        """The results as a DataFrame; columns `bench.result.COLUMNS`."""
        return store.table(self.results)

    def write(self, out: Path) -> tuple[Path, Path]:
        """The paths of the page `index.html` and of `results.csv`; both files are written, or none.

        Raises:
            InputError: the folder cannot be written, or the store is gone; then both files are
                written nevertheless.
        """
        html = page.render(
            self.title,
            self.table,
            self.verdicts,
            self.runs,
            self.trainings,
            quantities(),
            self.elsewhere,
            self.failures,
        )
        places = out / "index.html", out / "results.csv"
        write_whole(dict(zip(places, (html, to_csv(self.results)), strict=True)))
        if self.file is not None:
            self.file.refuse_if_moved()
        return places


@dataclass(frozen=True, kw_only=True)
class Trial:
    """An experiment with trained and measured arms."""

    experiment: Experiment
    averages: pd.DataFrame
    """A row for each arm and quantity: mean, standard deviation, number of seeds."""
    findings: pd.DataFrame
    """Columns `bench.result.VERDICT_COLUMNS`."""


def quantities() -> dict[str, Quantity]:
    """All quantities of metrics and costs, by name."""
    return metrics.quantities() | costs.quantities()


def is_experiment(name: str) -> bool:
    """Whether the name is of an experiment, not of a paper table.

    Raises:
        InputError: the name is of neither.
    """
    tried, tables = experiments.names(), published.names()
    if name not in tried and name not in tables:
        raise unknown("table or experiment", name, [*tables, *tried])
    return name in tried


def _scales_of(method: Method, scales: Sequence[int]) -> Sequence[int]:
    """The scales that were asked for; else those of `SCALES` that a method has, or all its own.

    Of scales that were asked for, those that the method has, or all if it has none of them: then
    the method is refused.
    """
    if scales:
        return [scale for scale in scales if scale in (method.scales or scales)] or scales
    return [scale for scale in SCALES if scale in (method.scales or SCALES)] or method.scales


def _lacking(methods: Iterable[Method], scales: Sequence[int]) -> list[Failure]:
    """The scales that were asked for, and that a method lacks that has others of them."""
    return [
        Failure(
            f"{method.name} x{scale}",
            f"it has {', '.join(f'x{own}' for own in method.scales)} only; without -s, a method "
            "is measured at the scales that it has",
        )
        for method in methods
        for scale in scales
        if scale not in _scales_of(method, scales)
    ]


@dataclass(kw_only=True)
class Session:
    """A folder of results, a device, and a setting for networks.

    Use a session in a `with` statement. Inside, the number of threads and PyTorch's determinism are
    set; afterwards both are restored.

    Raises:
        InputError: on entering, if the machine does not have the device, the device does not
            support the setting, or there are far more threads than cores.
    """

    out: Path
    """Folder of the store, the page and the CSV."""
    command: str
    """The command line or call, kept with the run."""
    device_name: str = "cpu"
    threads: int | None = None
    """Processor threads; None for all."""
    timing: Timing = DEFAULT_TIMING
    """How long each time is measured."""
    again: bool = False
    """Whether times that are in the store are measured again."""
    inference: Inference = DEFAULT
    trust_code: bool = False
    """Whether a card's code from a public repository may run."""
    progress: Progress = field(default_factory=Progress)
    watch: State | None = None
    """In a process of its own for a method that is not this project's: the process's state before
    the method was imported. Otherwise None, and such methods get processes of their own."""

    def __enter__(self) -> Self:
        if not isinstance(self.inference, Inference):
            raise InputError(f"inference {self.inference!r}; give an Inference")
        for name, count in (("repeat", self.timing.repetitions), ("threads", self.threads)):
            if count is not None and not (type(count) is int and count >= 1):
                raise InputError(f"{name} {count!r}; give an integer of at least 1")
        budget = self.timing.budget
        if type(budget) not in (int, float) or not 0 < budget < math.inf:
            raise InputError(f"budget {budget!r}; give a number of seconds above 0")
        if self.threads is not None:
            machine.refuse_too_many(self.threads)
        self._before = torch.get_num_threads(), torch.backends.cudnn.deterministic
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        # cuDNN may otherwise choose algorithms that sum in another order from call to call.
        torch.backends.cudnn.deterministic = True
        try:
            self.device = machine.device(self.device_name)
            network.refuse_unsupported(self.inference, self.device)
        except BaseException:  # Python does not call __exit__ if __enter__ raises
            self._restore()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        threads, torch.backends.cudnn.deterministic = self._before
        torch.set_num_threads(threads)

    def measure(
        self,
        specs: Iterable[Spec],
        sets: Iterable[str],
        scales: Sequence[int],
        protocol: str | Protocol,
        metric_names: Iterable[str] = (),
        *,
        timed: bool = False,
        lr: str = "",
    ) -> Outcome:
        """Metrics of methods on datasets, and the costs of the methods.

        Args:
            specs: methods: `NAME[:KEY=VALUE,...][@WEIGHTS]`, files, cards.
            sets: names of datasets, or folders of HR images.
            scales: enlargements; empty for the scales in `SCALES` that a method has. A method that
                has none of `SCALES` gets all its own scales.
            protocol: the rules, by name or as a value.
            metric_names: metrics; empty for the default metrics.
            timed: whether to measure time too.
            lr: LR files instead of the protocol's LR: a folder or an LR set, see
                `bench.datasets.lr`; empty for the protocol's. Results then carry the dataset as
                `NAME lr=LABEL`.

        Raises:
            InputError: a method, dataset, scale, protocol, metric or LR file does not exist or
                cannot be used.
            FetchError: a file cannot be downloaded.
        """
        rules = protocols.named(protocol)
        names = list(dict.fromkeys(sets))
        own, others = self._split(specs)
        loaded = [sources.load(spec) for spec in own]
        wanted = sorted(set(metric_names)) or metrics.default_names()
        for name in wanted:
            metrics.load(name)
        for name in names:
            datasets.require(name)
        if lr:
            lr_files.require(lr)
        for method, _ in loaded:
            if lr and method.outputs is not None:
                raise InputError(
                    f"{method.name}: SR files take no LR; leave out --lr, or measure them without "
                    "it"
                )
        # Every name is checked before the first download.
        for method, tag in loaded:
            for scale in _scales_of(method, scales):
                weights.resolve(method, tag, scale)
        for name in wanted:
            metrics.download(name, self.progress)
        images_of = {name: datasets.load(name, self.progress) for name in names}
        needed = {scale for method, _ in loaded for scale in _scales_of(method, scales)}
        lr_of = {
            (name, scale): lr_files.load(lr, dataset, scale, self.progress)
            for name, dataset in images_of.items()
            for scale in sorted(needed)
            if lr
        }
        for (name, scale), files in lr_of.items():
            for remark in files.remarks:
                self.progress.tell(f"{images_of[name].name} x{scale}: {remark}")
        requests = [
            AccuracyRequest(method, tag, scale, dataset, rules, lr_of.get((name, scale)))
            for name, dataset in images_of.items()
            for method, tag in loaded
            for scale in _scales_of(method, scales)
        ]
        units = plan.accuracy_units(requests, self.device, wanted, self.inference)
        plan.refuse_namesakes(units)
        for unit in units:
            weights.download(unit.method, unit.weights, self.progress)
        # The page shows the costs beside the quality, so the costs are measured too.
        units += plan.cost_units(plan.costs_of(units, timed=timed), self.timing)
        title = "sisrbench: " + ", ".join(images_of)
        return self._run(title, units, [
            self._request(
                spec, "measure", (names, scales, rules, wanted), {"timed": timed, "lr": lr}
            )
            for spec in others
        ], _lacking((method for method, _ in loaded), scales))  # fmt: skip

    def cost(
        self,
        specs: Iterable[Spec],
        scales: Sequence[int],
        protocol: str | Protocol,
        *,
        timed: bool = True,
    ) -> Outcome:
        """The costs of methods, without images.

        Args:
            specs: methods: `NAME[:KEY=VALUE,...][@WEIGHTS]`, files, cards.
            scales: enlargements; empty for the scales in `SCALES` that a method has. A method that
                has none of `SCALES` gets all its own scales.
            protocol: the rules that make the methods' input, by name or as a value.
            timed: whether to measure time too.

        Raises:
            InputError: a method, scale, protocol or file of weights does not exist or cannot be
                used.
        """
        rules = protocols.named(protocol)
        own, others = self._split(specs)
        requests = []
        loaded = [sources.load(spec) for spec in own]
        for method, tag in loaded:
            if method.outputs is not None:
                raise InputError(
                    f"{method.name}: SR files do not tell what it costs to compute them; leave "
                    "them out"
                )
            for scale in _scales_of(method, scales):
                needs_weights = method.varies and timed
                if tag or needs_weights:
                    resolved = weights.resolve(method, tag, scale)
                else:
                    resolved = weights.of_costs(method, scale)
                if needs_weights:
                    weights.download(method, resolved, self.progress)
                requests.append(
                    CostRequest(method, scale, rules, self.device, self.inference, timed, resolved)
                )
        units = plan.cost_units(requests, self.timing)
        return self._run("sisrbench: costs", units, [
            self._request(spec, "cost", (scales, rules), {"timed": timed})
            for spec in others
        ], _lacking((method for method, _ in loaded), scales))  # fmt: skip

    def reproduce(
        self,
        names: Iterable[str],
        protocol: str | Protocol | None = None,
        trained_folder: Path | None = None,
        *,
        anew: bool = False,
        timed: bool = False,
    ) -> Outcome:
        """Verdicts on the claims of paper tables and experiments, all claims measured first.

        Args:
            names: paper tables and experiments.
            protocol: rules for every claim; None for each claim's own.
            trained_folder: folder of weights from `sisrbench train`, measured instead of the
                weights that claims name.
            anew: whether to train an experiment's arms again.
            timed: whether to measure the time of every method, not only where a claim needs it.

        Raises:
            InputError: a table, an experiment, a protocol or a folder does not exist or cannot be
                used, or an experiment is combined with a protocol or a setting.
        """
        names = list(dict.fromkeys(names))
        tried = [experiments.load(name) for name in names if is_experiment(name)]
        tables = [published.load(name) for name in names if not is_experiment(name)]
        rules = protocols.named(protocol) if protocol is not None else None
        trained = provenance.in_folder(trained_folder) if trained_folder else {}
        if tried and (rules is not None or self.inference != DEFAULT):
            raise InputError(
                "an experiment is measured by its own protocol, in fp32 and on whole images; leave "
                "out --protocol, --precision, --memory-format, --compile, --batch, --tile, --memory"
            )
        options = RunOptions(
            out=self.out,
            device=self.device,
            every=CHECKPOINT_SECONDS,
            anew=anew,
            command=self.command,
        )
        # Every experiment is checked before the first training, which can take hours.
        for experiment in tried:
            experiment_run.refuse_untrainable(experiment)
        arms = [experiment_run.train_arms(experiment, options) for experiment in tried]
        reproduction = Reproduction(
            tables,
            rules,
            self.device,
            self.timing,
            self.inference,
            self.progress,
            trained,
        )
        units = reproduction.plan(timed=timed)
        for experiment, weights_of_arms in zip(tried, arms, strict=True):
            units += experiment_run.units_of(experiment, weights_of_arms, options)
        outcome = self._run("sisrbench: " + ", ".join(names), units)
        judged = [
            verdicts.all_tables(
                tables,
                outcome.results,
                lambda claim: _failure_of(claim, outcome.failures) or reproduction.why_not(claim),
                reproduction.substitutes,
            )
        ]
        trials = []
        for experiment, weights_of_arms in zip(tried, arms, strict=True):
            trial = Trial(
                experiment=experiment,
                averages=experiment_run.averages(experiment, weights_of_arms, outcome.results),
                findings=experiment_run.findings(experiment, weights_of_arms, outcome.results),
            )
            trials.append(trial)
            judged.append(trial.findings)
        # An empty table would change the column types of the joined table.
        with_rows = [found for found in judged if len(found)] or judged[:1]
        return Outcome(
            title=outcome.title,
            results=outcome.results,
            verdicts=pd.concat(with_rows, ignore_index=True),
            runs=outcome.runs,
            trainings=outcome.trainings,
            units=outcome.units,
            computed=outcome.computed,
            substituted=bool(reproduction.substitutes),
            trials=tuple(trials),
            elsewhere=outcome.elsewhere,
            failures=outcome.failures,
            file=outcome.file,
        )

    def _split(self, specs: Iterable[Spec]) -> tuple[list[Spec], list[Spec]]:
        """Methods that this process measures, and methods that get a process of their own.

        Raises:
            InputError: a method is code of a repository that is not trusted.
        """
        own: list[Spec] = []
        others: list[Spec] = []
        for spec in specs:
            sources.refuse_untrusted(spec, trusted=self.trust_code)
            here = self.watch is not None or not sources.is_foreign(spec)
            group = own if here else others
            if spec not in group:
                group.append(spec)
        return own, others

    def _request(
        self,
        spec: Spec,
        call: str,
        arguments: tuple[object, ...],
        options: Mapping[str, object],
    ) -> Request:
        """A request to a process of its own, for a method that is not this project's."""
        fields = ("out", "command", "device_name", "threads", "timing", "again", "inference")
        return Request(
            spec=spec,
            call=call,
            arguments=arguments,
            options=options,
            session={name: getattr(self, name) for name in (*fields, "trust_code")},
            quiet=self.progress.quiet,
        )

    def _run(
        self,
        title: str,
        units: Sequence[Unit],
        requests: Sequence[Request] = (),
        lacking: Sequence[Failure] = (),
    ) -> Outcome:
        """The Results of all units; units that are not in the store are measured first.

        Args:
            title: the page's heading.
            units: measured in this process.
            requests: measured in a process each.
            lacking: what was asked for, and cannot be measured.

        Raises:
            InputError: nothing could be measured, no time is asked for that could be measured
                again, or the store cannot be used.
        """
        if self.again and not (requests or any(unit.is_timed for unit in units)):
            raise InputError(
                "--again measures times again, but no time is asked for; ask for times (`run "
                "--time`, `reproduce --time`, `cost`), or leave out --again"
            )
        found = Store(self.out)
        try:
            facts = machine.facts(self.device)
            run_id = machine.run_id(facts)
            # A command that computes nothing is not recorded as a run.
            if waiting(units, found, again=self.again):
                found.begin(run_id, facts, self.command)
            learned = provenance.of_units(units)
            found.note(learned)
            ran = run_inline(
                units, found, run_id, self.progress, again=self.again, watch=self.watch
            )
            answers = [ask(request) for request in requests]
            keys = [unit.key for unit in units if found.has(unit.key)]
            keys += [key for answer in answers for key in answer.keys]
            # Two paths may name one file, whose units are the same.
            by_unit = {key: found.results([key]) for key in keys}
            failures = [*ran.failures, *lacking]
            failures += (each for answer in answers for each in answer.failures)
            results = [result for of_unit in by_unit.values() for result in of_unit]
            # If values on images were asked for, costs alone are no answer.
            calls = {request.call for request in requests}
            on_images = "measure" in calls or any(unit.dataset for unit in units)
            if failures and not any(result.dataset or not on_images for result in results):
                raise InputError(failures[0].reason)
            requested = _refuse_namesakes(by_unit)
            found.renew(by_unit)
            elsewhere = sum(cell(result) not in requested for result in found.newest())
            trained = [*learned, *(name for answer in answers for name in answer.trained)]
            runs, trainings = found.runs(), found.trainings(trained)
        finally:
            found.close()
        return Outcome(
            title=title,
            results=results,
            verdicts=verdicts.frame([]),
            runs=runs[runs["run"].isin({result.run for result in results})],
            trainings=trainings,
            trained=tuple(trained),
            keys=tuple(by_unit),
            units=len(by_unit) + len(failures),
            computed=ran.computed + sum(answer.computed for answer in answers),
            elsewhere=elsewhere,
            failures=tuple(failures),
            file=found.file,
        )


def _refuse_namesakes(by_unit: Mapping[str, Sequence[Result]]) -> set[Cell]:
    """The cells of some units, no two of which have a cell in common.

    Args:
        by_unit: the Results of each unit, by the unit's key.

    Raises:
        InputError: two different methods, files of weights or folders have the same name.
    """
    owners: dict[Cell, str] = {}
    for key, results in by_unit.items():
        for result in results:
            if owners.setdefault(cell(result), key) != key:
                called = f"{result.method} x{result.scale} {result.dataset}".rstrip()
                raise plan.namesakes(called)
    return set(owners)


def _failure_of(claim: Claim, failures: Sequence[Failure]) -> str:
    """Why the unit that a claim on a dataset needs could not be measured; '' if it could."""
    place = f"x{claim.result.scale} {claim.result.dataset}"
    for failure in failures if claim.result.dataset else ():
        method, _, rest = failure.subject.partition(" ")
        if method.partition("@")[0] in claim.methods and rest.startswith(place):
            return failure.reason
    return ""


def serve(folder: str) -> None:
    """Measure what the request in a folder asks for, and leave the answer there.

    The process that runs this function was started for a method that is not this project's.
    """
    request = received(folder)
    tell_warnings()
    for name in metrics.names():
        metrics.load(name)
    for name in costs.names():
        costs.load(name)
    progress = Progress(quiet=request.quiet)
    try:
        with Session(**request.session, progress=progress) as session:
            sources.find_modules_beside(request.spec)
            # All modules that compute numbers are imported by now, and the method is not.
            session.watch = State.now()
            reads.watch(zoo.installed_packages())
            outcome = getattr(session, request.call)(
                [request.spec], *request.arguments, **request.options
            )
    except InputError as error:
        answer(folder, Answer(failures=(Failure(sources.label(request.spec), str(error)),)))
        return
    except BaseException as error:  # a method may raise anything, anywhere
        answer(folder, Answer(failures=(Failure(sources.label(request.spec), raised(error)),)))
        return
    answer(
        folder,
        Answer(
            keys=outcome.keys,
            computed=outcome.computed,
            failures=outcome.failures,
            trained=outcome.trained,
        ),
    )


OWN_PICTURES = "rcan2018"
"""The protocol for the user's own pictures: 8-bit RGB in and out."""


class Upscaler:
    """A method with weights, ready to enlarge pictures; for a luma method, chroma is interpolated.

    Args:
        spec: `NAME[:KEY=VALUE,...][@WEIGHTS]`, a file, or a card.
        scale: the enlargement, per side.
        device_name: where the method runs.
        inference: how the network runs.
        progress: shows a download, and what is to be said of the weights.
        trust_code: whether a card's code from a public repository may run.

    Raises:
        InputError: the method, scale, weights or device do not exist.
        FetchError: the weights cannot be downloaded.
    """

    def __init__(
        self,
        spec: Spec,
        scale: int,
        rules: Protocol,
        device_name: str,
        inference: Inference,
        progress: Progress,
        *,
        trust_code: bool = False,
    ) -> None:
        self.method, tag = sources.load_network(spec, trusted=trust_code)
        self.label = self.method.name + (f"@{Path(tag).name}" if tag else "")
        self.scale = scale
        self.device = machine.device(device_name)
        network.refuse_unsupported(inference, self.device)
        resolved = weights.resolve(self.method, tag, scale)
        weights.download(self.method, resolved, progress)
        module = weights.build(self.method, resolved, scale, self.device)
        for remark in remarks_of(module):
            progress.tell(f"{self.method.name}: {remark}")
        self._inference, self._rules = inference, rules
        self._module = network.prepare(module, inference, self.method.factor(scale), self.device)

    def __call__(self, lr: Tensor) -> Tensor:
        """SR (1 or 3, H, W) of an image (1 or 3, h, w) in [0, 255], as whole levels in [0, 255].

        Raises:
            InputError: the method cannot enlarge the image.
        """
        size = (lr.shape[-2] * self.scale, lr.shape[-1] * self.scale)
        with torch.no_grad(), switches(self._inference):
            sr = super_resolve(lr.to(self.device), size, self.method, self._module, self._rules)
        return round_half_up(sr)

    def fallbacks(self) -> list[str]:
        """A line for each image since the last call that was cut into tiles for lack of memory."""
        lines, self._module.fallbacks = self._module.fallbacks, []
        return lines


def stored(out: Path, tables: Iterable[str] = ()) -> Outcome:
    """All results in a folder's store, compared with paper tables; nothing is measured.

    Raises:
        InputError: the folder has no store, or a paper table does not exist.
    """
    if not (out / store.FILE).is_file():
        raise InputError(
            f"no store {out / store.FILE}; run or reproduce something with --out {out} first"
        )
    names = list(dict.fromkeys(tables))
    loaded = [published.load(name) for name in names]
    found = Store(out)
    try:
        results = found.newest({name for name, known in quantities().items() if known.of_machine})
        runs, trainings = found.runs(), found.trainings()
    finally:
        found.close()
    judged = verdicts.all_tables(
        loaded, results, lambda claim: claim.result.note or f"no result for this claim in {out}"
    )
    return Outcome(
        title="sisrbench: " + (", ".join(names) or "all results"),
        results=results,
        verdicts=judged,
        runs=runs,
        trainings=trainings,
        file=found.file,
    )
