"""Trainings: method, scale, recipe and changes to the recipe, images, start weights, seed."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from bench.datasets import Dataset
from bench.files import weight_file, weights
from bench.files.identity import EXEMPT, code_of, files_of
from bench.files.weights import ResolvedWeights, resolve
from bench.progress import Progress
from bench.training import degradations, losses, optimisation
from zoo.errors import InputError, unknown
from zoo.method import Method, Recipe
from zoo.recipe import Descent

_PICTURES, _DESCENT = (Path(__file__).with_name(f"{part}.py") for part in ("pictures", "descent"))
_EXEMPT = {**EXEMPT, "bench/training/recipes.py": "its choices are facts of the training"}
"""Files that learned weights do not depend on, or that are known by other means."""


@dataclass(frozen=True)
class Start:
    """The weights to start from, and the method that they belong to."""

    method: Method
    weights: ResolvedWeights

    def state(self, scale: int, progress: Progress) -> dict[str, Tensor]:
        """The state dict of the start weights, with the names and shapes of their method's module.

        Missing files are downloaded.

        Raises:
            InputError: the weights cannot be downloaded or read, or do not fit the method at the
                scale.
        """
        weights.download(self.method, self.weights, progress)
        return dict(
            weights.build(self.method, self.weights, scale, torch.device("cpu")).state_dict()
        )


@dataclass(frozen=True, kw_only=True)
class Training:
    """All choices that can change the learned weights."""

    method: Method
    scale: int
    recipe: Recipe
    data: tuple[Dataset, ...]
    start: Start | None = None
    """None to learn everything from the initialisation."""
    seed: int = 0
    changes: Mapping[str, str] = field(default_factory=dict)
    """Changed choices of the recipe, for names and facts; `recipe` contains the changes already."""
    precision: str = "fp32"
    lr: tuple[Dataset, ...] = ()
    """LR images of the data; empty if the recipe makes LR from HR."""
    skip_bad: bool = False
    """Whether images that cannot be used are left out and reported."""

    @property
    def name(self) -> str:
        """The name of the training's files, without an ending."""
        method = self.method.name.replace(":", "-")
        changed = "".join(f",{key}={value}" for key, value in self.changes.items())
        # Settings and texts of a recipe hold characters that not every file name may have.
        return re.sub(r"[^\w.,=-]+", "-", f"{method}-x{self.scale}-{self.recipe.name}{changed}")

    @cached_property
    def facts(self) -> dict[str, str]:
        """The training's identity: two trainings with the same facts learn the same weights."""
        start = [f"{self.start.method.name}@{self.start.weights.label}"] if self.start else []
        learn = self.recipe.learn
        entries = [_PICTURES, *files_of(self.method)]
        choices = dict(self.recipe.settings)
        if isinstance(learn, Descent):
            entries.append(_DESCENT)
            choices = learn.settings() | {"precision": self.precision}
            choices["lr"] = [[dataset.name, dataset.sha256] for dataset in self.lr]
        facts: dict[str, Any] = {
            "method": self.method.name,
            "settings": dict(self.method.settings),
            "scale": self.scale,
            "recipe": self.recipe.name,
            "recipe settings": choices,
            "data": [[dataset.name, dataset.sha256] for dataset in self.data],
            "start": [*start, self.start.weights.sha256] if self.start else [],
            "seed": self.seed,
            "code": code_of(*entries, exempt=_EXEMPT),
        }
        return {key: v if isinstance(v, str) else json.dumps(v) for key, v in facts.items()}


def recipe_of(method: Method, name: str) -> Recipe:
    """The method's recipe with this name; for '', the method's first recipe.

    Raises:
        InputError: the method has no recipe, or no recipe with this name.
    """
    recipes = {recipe.name: recipe for recipe in method.recipes}
    if not recipes:
        can = ", ".join(_trainable()) or "none yet"
        raise InputError(f"{method.name} has no recipe to train it; methods with a recipe: {can}")
    if name and name not in recipes:
        raise unknown(f"recipe of {method.name}", name, recipes)
    return recipes[name] if name else method.recipes[0]


def changes_of(texts: Iterable[str], updates: int | None) -> dict[str, str]:
    """Changes to a recipe, key to value, from texts KEY=VALUE and a number of updates.

    Raises:
        InputError: a text is not KEY=VALUE, or a key is given twice.
    """
    found = {"updates": str(updates)} if updates is not None else {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set {text}: give KEY=VALUE")
        if key in found:
            raise InputError(f"--set {text}: {key} is {found[key]} already; give it once")
        found[key] = value
    return found


def changed(recipe: Recipe, changes: Mapping[str, str], *, with_lr: bool) -> Recipe:
    """The recipe with some choices changed.

    Args:
        recipe: the recipe.
        changes: key to value, as `changes_of` returns.
        with_lr: whether LR images are given, so that the recipe makes no LR.

    Raises:
        InputError: the recipe lacks a choice, a value cannot be used, or LR images are given but
            not used, or are used but not given.
    """
    learn = recipe.learn
    if not isinstance(learn, Descent):
        if changes or with_lr:
            raise InputError(
                f"recipe {recipe.name} is no gradient descent, so nothing in it can be changed; "
                "leave out --set, --updates and --lr"
            )
        return recipe
    made = learn.changed(changes)
    if with_lr:
        made = replace(made, degradation=degradations.PAIRS)
    elif not degradations.parse(made.degradation):
        raise InputError(f"recipe {recipe.name} takes LR from files; give --lr DIR")
    losses.parse(made.loss)
    optimisation.refuse_bad_choices(made)
    return replace(recipe, learn=made)


def _trainable() -> Iterator[str]:
    """Names of all methods with a recipe."""
    for name in zoo.names():
        with contextlib.suppress(InputError):  # a broken file breaks only itself
            if zoo.load(name)[0].recipes:
                yield name


def start_of(method: Method, recipe: Recipe, spec: str, scale: int) -> Start | None:
    """The start weights for a recipe.

    Args:
        method: the method to train. A file of start weights is assumed to have its settings.
        recipe: the recipe, which says which method's weights it starts from.
        spec: `METHOD[@WEIGHTS]`, the path of a file, or '' for no start weights.
        scale: the scale to train.

    Returns:
        The start weights; None if `spec` is empty and the recipe needs none.

    Raises:
        InputError: the recipe needs start weights but `spec` is empty, takes no start weights or
            those of another method, or the weights do not exist.
    """
    if not spec and recipe.needs_start:
        at = f" of x{recipe.starts_at}" if recipe.starts_at else ""
        raise InputError(
            f"recipe {recipe.name} starts from weights of {recipe.starts_from}{at}; give --from "
            f"{recipe.starts_from}[@WEIGHTS], or a file of them"
        )
    if not spec:
        return None
    if not recipe.starts_from:
        raise InputError(f"recipe {recipe.name} learns everything; leave out --from {spec}")
    if weight_file.is_named(spec) and "@" not in spec:
        _, colon, settings = method.name.partition(":")
        spec = f"{recipe.starts_from}{colon}{settings}@{spec}"
    other, tag = zoo.load(spec)
    if other.name.partition(":")[0] != recipe.starts_from:
        raise InputError(
            f"recipe {recipe.name} starts from {recipe.starts_from}, not from {other.name}; give "
            f"--from {recipe.starts_from}[@WEIGHTS], or a file of its weights"
        )
    return Start(other, resolve(other, tag, recipe.starts_at or scale))
