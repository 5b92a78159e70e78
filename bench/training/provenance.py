"""Provenance: the facts in weight files that `sisrbench train` wrote, and how to find the files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors

from bench.files import fetch
from bench.files.weights import ResolvedWeights
from bench.plan import Unit
from bench.result import WeightsName
from zoo.errors import InputError, one_line
from zoo.method import Method
from zoo.recipe import Descent

OWN = "this project"
"""Citation of a recipe that has no source."""
_WRITTEN = frozenset({"method", "scale", "recipe", "recipe settings", "data", "seed", "seconds"})
"""Facts that every file of `sisrbench train` has."""
_BESIDE = (".checkpoint.safetensors", ".best.safetensors")
"""Endings of a training's other files, which lie beside the final weights."""


def facts_of(path: Path) -> dict[str, str]:
    """The facts of the training in a file of weights; empty if `train` did not write the file.

    Raises:
        InputError: a `.safetensors` file cannot be read.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = file.metadata() or {}
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        raise InputError(
            f"{path} cannot be read as weights: {one_line(error)}; get it again, or remove it"
        ) from error
    return dict(facts) if facts.keys() >= _WRITTEN else {}


def of_units(units: Iterable[Unit]) -> dict[WeightsName, dict[str, str]]:
    """The facts of each training whose weights the units measure on images, by weights."""
    found: dict[WeightsName, dict[str, str]] = {}
    for unit in units:
        chosen = unit.weights
        name = (chosen.sha256, unit.method.name, chosen.label, unit.scale)
        if unit.dataset is not None and name not in found:
            found[name] = _facts_of_chosen(chosen)
    return {name: facts for name, facts in found.items() if facts}


def _facts_of_chosen(chosen: ResolvedWeights) -> dict[str, str]:
    """The facts of the training of some weights; empty if the file is missing or damaged."""
    path = fetch.local_path(chosen.file) if chosen.file is not None else chosen.path
    with contextlib.suppress(InputError):  # loading the weights reports the same error
        if path is not None and path.is_file():
            return facts_of(path)
    return {}


@dataclass(frozen=True)
class TrainedWeights:
    """A file of weights that `sisrbench train` wrote."""

    path: Path
    facts: Mapping[str, str]

    @property
    def label(self) -> str:
        """The name of the weights in Results."""
        return self.path.name

    @property
    def scales(self) -> tuple[int, ...]:
        """All scales that the weights were trained for, sorted."""
        together = json.loads(self.facts["recipe settings"]).get("scales") or ()
        return tuple(sorted({int(self.facts["scale"]), *together}))

    @property
    def updates(self) -> int:
        """Number of updates done; 0 for a training without gradient descent."""
        curve = json.loads(self.facts.get("curve", "[]"))
        return int(curve[-1]["update"]) if curve else int(self.facts.get("updates", 0))

    def remark(self, method: Method) -> str:
        """The remark for a verdict with these weights: how much training, compared with the paper.

        If the recipe has a source, the paper's updates are the recipe's. Otherwise they are the
        largest number among all recipes of the method that have a source.
        """
        own = self.facts.get("citation", OWN) == OWN
        cited = [
            recipe.learn.updates
            for recipe in method.recipes
            if isinstance(recipe.learn, Descent) and recipe.citation != OWN
        ]
        wanted = max(cited, default=0) if own else int(self.facts.get("updates of the source", 0))
        of = f" of {wanted:,}" if wanted else ""
        by = f" by {self.updates:,}{of} updates" if self.updates else ""
        data = " ".join(name for name, _ in json.loads(self.facts["data"]))
        features = f"; features {self.facts['features']}" if "features" in self.facts else ""
        return f"trained here{by} ({self.facts['recipe']}, {data}{features})"


def in_folder(folder: Path) -> dict[tuple[str, int], TrainedWeights]:
    """The final weights of all trainings in a folder, by method and scale.

    Checkpoints, the best weights before the end, hidden files, and files not written by
    `sisrbench train` are skipped.

    Raises:
        InputError: the folder has no weights, has two files for the same method and scale, or has a
            file that cannot be read.
    """
    found: dict[tuple[str, int], TrainedWeights] = {}
    for path in sorted(folder.glob("*.safetensors")):
        skipped = path.name.startswith(".") or path.name.endswith(_BESIDE)
        facts = {} if skipped else facts_of(path)
        if not facts:
            continue
        trained = TrainedWeights(path, facts)
        for scale in trained.scales:
            other = found.setdefault((facts["method"], scale), trained)
            if other is not trained:
                raise InputError(
                    f"{other.path} and {path} are both weights of {facts['method']} x{scale}; take "
                    "one of them out of the folder"
                )
    if not found:
        raise InputError(
            f"{folder} holds no weights that sisrbench train wrote; give the --out of a training"
        )
    return found
