"""Experiments: a source's claims about training, as arms to train and to compare.

Each TOML file in this folder is an experiment of the same name. All arms are trained from each
seed, in the order of the file, so that an arm may start from an earlier arm's weights. A claim
compares two arms, seed by seed. The keys `title`, `source`, `scale`, `dataset`, `protocol`, `seeds`
and `data` describe the experiment; `note` states the differences from the source.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from zoo.errors import InputError, unknown

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to train."""

    name: str
    method: str
    """`NAME[:KEY=VALUE,...]`; a small network if a processor is to train it."""
    recipe: str
    changes: Mapping[str, str] = field(default_factory=dict)
    """Changed choices of the recipe, key to value."""
    start: str = ""
    """Name of an earlier arm, whose weights this arm starts from; empty for none."""
    scale: int = 0
    """0 for the experiment's scale."""


@dataclass(frozen=True, kw_only=True)
class ArmComparison:
    """The claim that the arm `left` ends higher than the arm `right`."""

    left: str
    right: str
    text: str
    """The claim in the source's words."""
    quantity: str
    """`METRIC_y` or `METRIC_rgb`, as the protocol compares; measured because a claim names it."""
    above: float = 0.0
    """Least difference, in the quantity's unit; below 0, `left` may be lower by so much."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The arms to train, the number of seeds, and the claims to check."""

    name: str
    title: str
    source: str
    note: str
    scale: int
    dataset: str
    protocol: str
    data: tuple[str, ...]
    seeds: int
    arms: tuple[Arm, ...]
    claims: tuple[ArmComparison, ...]

    def arm(self, name: str) -> Arm:
        """The arm with this name, which must exist."""
        return next(arm for arm in self.arms if arm.name == name)

    def scale_of(self, arm: Arm) -> int:
        """The scale at which an arm is trained."""
        return arm.scale or self.scale


def names() -> list[str]:
    """Names of all experiments, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Experiment:
    """The experiment with this name.

    Raises:
        InputError: no experiment has this name, the file is no TOML, an entry is missing, unknown
            or of another type, or a claim or a start names an unknown arm.
    """
    if name not in names():
        raise unknown("experiment", name, names())
    path = FOLDER / f"{name}.toml"
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}; fix the file") from error
    own = {
        "name": name,
        "arms": tuple(_filled(Arm, "arm", arm, path) for arm in _tables(written, "arm", path)),
        "claims": tuple(
            _filled(ArmComparison, "claim", claim, path)
            for claim in _tables(written, "claim", path)
        ),
    }
    clash = [key for key in own if key in written]
    if clash:
        raise InputError(f"{path}, experiment: surplus {', '.join(clash)}; fix the file")
    found: Experiment = _filled(Experiment, "experiment", {**written, **own}, path)
    if found.seeds < 1:
        raise InputError(f"{path}: seeds = {found.seeds}; give at least 1")
    known: list[str] = []  # only earlier arms, so that no arm starts from itself or a later arm
    for arm in found.arms:
        if not re.fullmatch(r"[\w.,=-]+", arm.name):
            raise InputError(
                f"{path}: {arm.name!r} names files; take letters, digits, and any of _ . , = -"
            )
        if arm.start and arm.start not in known:
            raise InputError(f"{path}: arm {arm.name} starts from {arm.start!r}, no arm before it")
        if arm.name in known:
            raise InputError(f"{path}: two arms are called {arm.name}; rename one")
        known.append(arm.name)
    for claim in found.claims:
        for side in (claim.left, claim.right):
            if side not in known:
                raise unknown(f"arm in {path}", side, known)
            if found.scale_of(found.arm(side)) != found.scale:
                raise InputError(
                    f"{path}: a claim compares {side}, which is not trained at x{found.scale}; "
                    "compare arms of the experiment's scale"
                )
    return found


def _tables(written: dict[str, Any], key: str, path: Path) -> list[Mapping[str, Any]]:
    """The tables under `[[key]]`, which are removed from `written`.

    Raises:
        InputError: there are no tables under the key.
    """
    found = written.pop(key, [])
    if not found or not isinstance(found, list) or not all(isinstance(x, dict) for x in found):
        raise InputError(f"{path}: no table [[{key}]]; give one or more")
    return found


def _filled(kind: Any, entry_name: str, values: Mapping[str, Any], path: Path) -> Any:
    """A dataclass filled with values; lists become tuples.

    Raises:
        InputError: a value is missing, unknown or of another type.
    """
    known = {entry.name: entry for entry in fields(kind)}
    where = f"{path}, {entry_name}"
    surplus = [key for key in values if key not in known]
    missing = [
        key
        for key, entry in known.items()
        if key not in values and entry.default is MISSING and entry.default_factory is MISSING
    ]
    if surplus or missing:
        raise InputError(
            f"{where}: missing {', '.join(missing) or 'nothing'}, surplus "
            f"{', '.join(surplus) or 'nothing'}; fix the file"
        )
    hints = get_type_hints(kind)
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    for key, value in given.items():
        if not _is_a(value, hints[key]):
            raise InputError(f"{where}: {key} = {values[key]!r}; {_WANTED[hints[key]]}")
    return kind(**given)


_WANTED: Mapping[Any, str] = {
    str: "give a text",
    int: "give an integer",
    float: "give a number",
    tuple[str, ...]: "give a list of texts",
    Mapping[str, str]: "give a table of texts",
}
"""Type to the request in the error message for a value of another type."""


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value has a type, as a field of a dataclass states the type."""
    if kind is float:  # TOML writes 1 as an integer; a bool is an int in Python
        return isinstance(value, int | float) and not isinstance(value, bool)
    if get_origin(kind) is None:
        return type(value) is kind
    parts = value.values() if isinstance(value, Mapping) else value
    return isinstance(value, get_origin(kind)) and all(_is_a(x, get_args(kind)[0]) for x in parts)
