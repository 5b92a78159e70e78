"""Weights that `sisrbench train` wrote: what their files say, and what they can stand in for."""

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
"""Facts that every file has which `sisrbench train` wrote."""
_BESIDE = (".checkpoint.safetensors", ".best.safetensors")
"""Endings of what lies beside the weights that a training ended with."""


def facts_of(path: Path) -> dict[str, str]:
    """What a file of weights says of its training; nothing of one that `train` did not write.

    Raises:
        InputError: a `.safetensors` file that cannot be read.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = file.metadata() or {}
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        raise InputError(
            f"{path} cannot be read as weights: {one_line(error)}; get it again, or take it away"
        ) from error
    return dict(facts) if facts.keys() >= _WRITTEN else {}


def of_units(units: Iterable[Unit]) -> dict[WeightsName, dict[str, str]]:
    """The facts of every training whose weights the units measure on images."""
    found: dict[WeightsName, dict[str, str]] = {}
    for unit in units:
        chosen = unit.weights
        name = (chosen.sha256, unit.method.name, chosen.label, unit.scale)
        if unit.dataset is not None and name not in found:
            found[name] = _facts_of_chosen(chosen)
    return {name: facts for name, facts in found.items() if facts}


def _facts_of_chosen(chosen: ResolvedWeights) -> dict[str, str]:
    path = fetch.local_path(chosen.file) if chosen.file is not None else chosen.path
    with contextlib.suppress(InputError):  # what is wrong with it, loading says
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
        """As Results name the weights."""
        return self.path.name

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales that it serves: those learned together, or the one."""
        together = json.loads(self.facts["recipe settings"]).get("scales") or ()
        return tuple(sorted({int(self.facts["scale"]), *together}))

    @property
    def updates(self) -> int:
        """Updates done; 0 of what is not learned by gradient descent."""
        curve = json.loads(self.facts.get("curve", "[]"))
        return int(curve[-1]["update"]) if curve else int(self.facts.get("updates", 0))

    def remark(self, method: Method) -> str:
        """What a verdict by these weights has to say: how far short of the paper they were trained.

        Those of the paper are the updates of the recipe where it has a source, otherwise the most
        of all recipes of the method that have one.
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
    """The weights that trainings left in a folder, by method and scale.

    Checkpoints, the weights that were best on the way, and files of others are passed over.

    Raises:
        InputError: there are none, two for the same method and scale, or one cannot be read.
    """
    found: dict[tuple[str, int], TrainedWeights] = {}
    for path in sorted(folder.glob("*.safetensors")):
        facts = {} if path.name.endswith(_BESIDE) else facts_of(path)
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
