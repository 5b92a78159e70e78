"""Runs of experiments: train every arm from every seed, measure the arms, and judge the claims."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

import zoo
from bench import datasets, metrics, plan
from bench import protocol as protocols
from bench.claims import verdicts
from bench.experiments import Arm, ArmComparison, Experiment
from bench.files import weights
from bench.inference import DEFAULT
from bench.plan import AccuracyRequest, Unit
from bench.progress import Progress, TrainingProgress
from bench.result import Result, VerdictRow, metric_and_channel
from bench.training import recipes, session
from zoo.errors import InputError, unknown
from zoo.method import Recipe
from zoo.recipe import Descent


@dataclass(frozen=True, kw_only=True)
class ArmWeights:
    """The file of weights for an arm and a seed."""

    arm: Arm
    seed: int
    path: Path


def refuse_untrainable(experiment: Experiment) -> None:
    """Refuse an experiment that cannot be trained or measured, before the first training.

    Raises:
        InputError: a method, scale, recipe, choice, dataset, protocol or quantity does not exist,
            or a recipe cannot start from the weights of the arm's `start`.
    """
    rules = protocols.load(experiment.protocol)
    for name in (*experiment.data, experiment.dataset):
        datasets.require(name)
    for arm in experiment.arms:
        where = f"experiment {experiment.name}, arm {arm.name}"
        try:
            method, tag = zoo.load(arm.method)
            weights.resolve(method, weights.NONE, experiment.scale_of(arm))
            recipe = _recipe(arm)
            if tag or method.wrap is not None:
                raise InputError(f"{arm.method} names weights or an ensemble; give the method only")
            if not arm.start:
                recipes.start_of(method, recipe, "", experiment.scale_of(arm))
            else:
                _check_start(experiment, arm, recipe)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    for claim in experiment.claims:
        if claim.quantity not in metrics.quantities():
            raise unknown("quantity", claim.quantity, metrics.quantities())
        metric, channel = metric_and_channel(claim.quantity)
        if channel != rules.channel:
            raise InputError(
                f"experiment {experiment.name} claims {claim.quantity}, but protocol {rules.name} "
                f"measures {metric}_{rules.channel}; claim this quantity, or take another protocol"
            )


def _recipe(arm: Arm) -> Recipe:
    """The recipe of an arm, with the changes that the arm makes."""
    method, _ = zoo.load(arm.method)
    return recipes.changed(recipes.recipe_of(method, arm.recipe), arm.changes, with_lr=False)


def _check_start(experiment: Experiment, arm: Arm, recipe: Recipe) -> None:
    """Refuse an arm's `start` that the recipe does not accept, before any weights are trained.

    Raises:
        InputError: the recipe starts from another method or scale, or does not start from weights.
    """
    other = experiment.arm(arm.start)
    given = (zoo.split(other.method)[0], experiment.scale_of(other))
    wanted = (recipe.starts_from, recipe.starts_at or experiment.scale_of(arm))
    if given != wanted:
        takes = f"takes weights of {wanted[0]} x{wanted[1]}" if wanted[0] else "takes no weights"
        raise InputError(
            f"the arm starts from weights of {given[0]} x{given[1]}, but recipe {recipe.name} "
            f"{takes}; fix `start`"
        )


def train_arms(experiment: Experiment, options: session.RunOptions) -> list[ArmWeights]:
    """The weights of every arm and seed, trained below `options.out` unless trained already.

    Args:
        experiment: the arms, the training data and the number of seeds.
        options: folder, device and checkpoints of the trainings.

    Raises:
        InputError: an arm cannot be trained.
    """
    refuse_untrainable(experiment)
    progress, found = Progress(), []
    data = tuple(datasets.load(name, progress) for name in experiment.data)
    validation = session.Validation(
        dataset=datasets.load(experiment.dataset, progress),
        protocol=protocols.load(experiment.protocol),
        every=0,
    )
    for seed in range(experiment.seeds):
        paths: dict[str, Path] = {}  # an arm may start from an arm listed before
        for arm in experiment.arms:
            method, _ = zoo.load(arm.method)
            recipe, scale = _recipe(arm), experiment.scale_of(arm)
            start = None
            if arm.start:
                other, _ = zoo.load(experiment.arm(arm.start).method)
                at = recipe.starts_at or scale
                start = recipes.Start(other, weights.resolve(other, str(paths[arm.start]), at))
            training = recipes.Training(
                method=method,
                scale=scale,
                recipe=recipe,
                data=data,
                start=start,
                seed=seed,
                changes=arm.changes,
            )
            TrainingProgress().say(f"{experiment.name}: {arm.name}, seed {seed}")
            place = options.out / "trained" / experiment.name / f"{arm.name}.seed{seed}"
            outcome = session.train(training, replace(options, out=place, validation=validation))
            # Results name weights by the file's name, so each arm and seed needs another name.
            paths[arm.name] = place.parent / f"{experiment.name}.{place.name}.safetensors"
            shutil.copyfile(outcome.path, paths[arm.name])
            found.append(ArmWeights(arm=arm, seed=seed, path=paths[arm.name]))
    return found


def units_of(
    experiment: Experiment, trained: Iterable[ArmWeights], options: session.RunOptions
) -> list[Unit]:
    """Units for all arms of the experiment's scale: the default metrics and the claimed metrics."""
    progress = Progress()
    dataset = datasets.load(experiment.dataset, progress)
    rules = protocols.load(experiment.protocol)
    requests = [
        AccuracyRequest(
            zoo.load(one.arm.method)[0], str(one.path), experiment.scale, dataset, rules
        )
        for one in trained
        if experiment.scale_of(one.arm) == experiment.scale
    ]
    claimed = {metric_and_channel(claim.quantity)[0] for claim in experiment.claims}
    for name in claimed:
        metrics.download(name, progress)
    wanted = sorted({*metrics.default_names(), *claimed})
    return plan.accuracy_units(requests, options.device, wanted, DEFAULT)


def findings(
    experiment: Experiment, trained: Sequence[ArmWeights], measured: Iterable[Result]
) -> pd.DataFrame:
    """Verdicts on an experiment: a row for each claim, with `VERDICT_COLUMNS`.

    A claim is reproduced if the claim holds for every seed. In the returned rows, `measured` is the
    mean difference over seeds and `tolerance` is the standard deviation.

    Args:
        experiment: the claims.
        trained: the weights of every arm and seed.
        measured: Results of these weights.

    Raises:
        InputError: a claimed quantity was not measured for an arm and a seed.
    """
    table = _measured(trained, measured)
    rows = []
    for claim in experiment.claims:
        differences = _differences(claim, trained, table)
        mean = statistics.fmean(differences)
        # A single seed has no standard deviation.
        spread = statistics.stdev(differences) if len(differences) > 1 else math.nan
        holds = all(difference > claim.above for difference in differences)
        unit = metrics.quantities()[claim.quantity].unit
        each = ", ".join(f"{difference:+.3f}" for difference in differences)
        facts = (f"{each} {unit}".rstrip() + " by seed", budget(experiment, claim), experiment.note)
        rows.append(
            VerdictRow(
                table=experiment.name,
                title=experiment.title,
                source=experiment.source,
                label=claim.text,
                method=claim.left,
                operation="-",
                other=claim.right,
                weights="",
                scale=experiment.scale,
                dataset=table["dataset"].iloc[0],
                image="",
                protocol=experiment.protocol,
                quantity=claim.quantity,
                unit=unit,
                printed=f"> {claim.above:.3f}",  # three digits, as in the differences by seed
                claimed=claim.above,
                measured=mean,
                difference=mean - claim.above,
                tolerance=spread,
                verdict="reproduced" if holds else "deviates",
                reason="; ".join(filter(None, facts)),
            )
        )
    return verdicts.frame(rows)


def _measured(trained: Iterable[ArmWeights], measured: Iterable[Result]) -> pd.DataFrame:
    """The averages over images, with columns dataset, arm, seed, quantity, value."""
    known = {one.path.name: (one.arm.name, one.seed) for one in trained}
    rows = [
        (found.dataset, *known[found.weights], found.quantity, found.value)
        for found in measured
        if found.weights in known and found.dataset and not found.image
    ]
    return pd.DataFrame(rows, columns=["dataset", "arm", "seed", "quantity", "value"])


def _differences(
    claim: ArmComparison, trained: Iterable[ArmWeights], table: pd.DataFrame
) -> list[float]:
    """The left arm's value minus the right arm's value, for each seed in order.

    Raises:
        InputError: a value was not measured.
    """
    rows = table[table["quantity"] == claim.quantity]
    values = rows.set_index(["arm", "seed"])["value"].to_dict()
    found = []
    for seed in sorted({one.seed for one in trained}):
        for arm in (claim.left, claim.right):
            if (arm, seed) not in values:
                raise InputError(f"{claim.quantity} of {arm}, seed {seed}, was not measured")
        found.append(values[claim.left, seed] - values[claim.right, seed])
    return found


def budget(experiment: Experiment, claim: ArmComparison) -> str:
    """The number of updates of both arms of a claim, in words; '' if recipes count no updates."""
    sides = [experiment.arm(name) for name in (claim.left, claim.right)]
    return ", ".join(filter(None, (_updates(experiment, arm) for arm in sides)))


def _updates(experiment: Experiment, arm: Arm) -> str:
    """The number of updates of an arm and of the arms before, in words."""
    learn = _recipe(arm).learn
    own = f"{learn.updates} updates of {arm.name}" if isinstance(learn, Descent) else ""
    before = _updates(experiment, experiment.arm(arm.start)) if arm.start else ""
    return " after ".join(filter(None, (own, before)))


def averages(
    experiment: Experiment, trained: Sequence[ArmWeights], measured: Iterable[Result]
) -> pd.DataFrame:
    """A row for each arm and quantity, with columns arm, quantity, mean, std, count (of seeds)."""
    grouped = _measured(trained, measured).groupby(["arm", "quantity"], sort=False)["value"]
    return grouped.agg(["mean", "std", "count"]).reset_index()
