"""Trials: an experiment's arms trained from every seed, measured, and held to what is claimed."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

import zoo
from bench import compare, datasets, metrics, plan, train
from bench import protocol as protocols
from bench.experiments import Arm, Claim, Experiment
from bench.inference import DEFAULT
from bench.plan import Unit, Wish
from bench.progress import Progress, Stages
from bench.result import Result
from zoo.errors import InputError
from zoo.recipe import Descent


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The weights of one arm and seed."""

    arm: Arm
    seed: int
    path: Path


def train_arms(experiment: Experiment, around: train.Surroundings) -> list[Trained]:
    """Train every arm from every seed, or take what is trained already, below `around.out`.

    Raises:
        InputError: an arm that cannot be trained.
    """
    progress, found = Progress(), []
    rules = protocols.load(experiment.protocol)
    for seed in range(experiment.seeds):
        paths: dict[str, Path] = {}
        for arm in experiment.arms:
            method, _ = zoo.load(arm.method)
            scale = arm.scale or experiment.scale
            recipe = train.changed(train.recipe_of(method, arm.recipe), arm.changes, with_lr=False)
            start = str(paths[arm.start]) if arm.start else ""
            training = train.Training(
                method=method,
                scale=scale,
                recipe=recipe,
                data=tuple(datasets.load(name, progress) for name in experiment.data),
                start=train.start_of(method, recipe, start, scale),
                seed=seed,
                changes=arm.changes,
            )
            validation = train.Validation(
                dataset=datasets.load(experiment.dataset, progress), protocol=rules, every=0
            )
            Stages().say(f"{experiment.name}: {arm.name}, seed {seed}")
            place = around.out / "trained" / experiment.name / f"{arm.name}.seed{seed}"
            outcome = train.train(training, replace(around, out=place, validation=validation))
            # under a name of its own, by which the Results of each seed are told apart
            paths[arm.name] = place.with_name(f"{place.name}.safetensors")
            shutil.copyfile(outcome.path, paths[arm.name])
            found.append(Trained(arm=arm, seed=seed, path=paths[arm.name]))
    return found


def units_of(
    experiment: Experiment, trained: Iterable[Trained], around: train.Surroundings
) -> list[Unit]:
    """What measures the arms at the experiment's scale, by its metrics."""
    dataset = datasets.load(experiment.dataset, Progress())
    rules = protocols.load(experiment.protocol)
    wishes = [
        Wish(zoo.load(one.arm.method)[0], str(one.path), experiment.scale, dataset, rules)
        for one in trained
        if (one.arm.scale or experiment.scale) == experiment.scale
    ]
    wanted = sorted({*metrics.default_names(), *experiment.metrics})
    return plan.accuracy_units(wishes, around.device, wanted, DEFAULT)


def verdicts(
    experiment: Experiment, trained: Sequence[Trained], measured: Iterable[Result]
) -> pd.DataFrame:
    """A row a claim, of `compare.COLUMNS`: it holds where it does from every seed.

    `measured` is the mean difference over seeds, `tolerance` its standard deviation.
    """
    values = {
        (found.weights, found.quantity): found.value
        for found in measured
        if not found.image and found.dataset == experiment.dataset
    }
    rows = []
    for claim in experiment.claims:
        differences = list(_differences(claim, trained, values))
        mean = statistics.fmean(differences)
        spread = statistics.stdev(differences) if len(differences) > 1 else math.nan
        holds = all(difference > claim.above for difference in differences)
        unit = metrics.load(claim.quantity.rpartition("_")[0]).UNIT
        each = ", ".join(f"{difference:+.3f}" for difference in differences)
        rows.append(
            {
                "table": experiment.name,
                "title": experiment.title,
                "source": experiment.source,
                "label": claim.text,
                "method": f"{claim.left} - {claim.right}",
                "weights": "",
                "scale": experiment.scale,
                "dataset": experiment.dataset,
                "image": "",
                "protocol": experiment.protocol,
                "quantity": claim.quantity,
                "unit": unit,
                "printed": f"> {claim.above:g}",
                "claimed": claim.above,
                "measured": mean,
                "difference": mean - claim.above,
                "tolerance": spread,
                "verdict": "reproduced" if holds else "deviates",
                "reason": f"{each} {unit} by seed; {budget(experiment, claim)}; {experiment.note}",
            }
        )
    return pd.DataFrame(rows, columns=list(compare.COLUMNS))


def _differences(
    claim: Claim, trained: Sequence[Trained], values: dict[tuple[str, str], float | None]
) -> Iterator[float]:
    paths = {(one.arm.name, one.seed): one.path.name for one in trained}
    for seed in sorted({one.seed for one in trained}):
        sides = [
            values.get((paths[arm, seed], claim.quantity)) for arm in (claim.left, claim.right)
        ]
        if None in sides:
            raise InputError(f"{claim.left} - {claim.right}: {claim.quantity} was not measured")
        left, right = sides
        yield (left or 0.0) - (right or 0.0)


def budget(experiment: Experiment, claim: Claim) -> str:
    """How many updates the arms of a claim were given, in words."""
    found = []
    for arm in experiment.arms:
        if arm.name in (claim.left, claim.right):
            learn = train.changed(
                train.recipe_of(zoo.load(arm.method)[0], arm.recipe), arm.changes, with_lr=False
            ).learn
            if isinstance(learn, Descent):
                found.append(f"{learn.updates} updates of {arm.name}")
    return ", ".join(found)


def averages(
    experiment: Experiment, trained: Sequence[Trained], measured: Iterable[Result]
) -> pd.DataFrame:
    """By arm and quantity: mean, standard deviation, seeds."""
    arms = {one.path.name: one.arm.name for one in trained}
    rows = [
        (arms[found.weights], found.quantity, found.value)
        for found in measured
        if found.weights in arms and not found.image and found.dataset == experiment.dataset
    ]
    table = pd.DataFrame(rows, columns=["arm", "quantity", "value"])
    grouped = table.groupby(["arm", "quantity"], sort=False)["value"]
    return grouped.agg(["mean", "std", "count"]).reset_index()
