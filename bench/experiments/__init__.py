"""Experiments: what a source says of training, as arms that are trained and then compared.

One TOML file each, named as the experiment. Arms are trained from each seed, in order, so that one
may start from another's weights; a claim compares two of them, seed by seed. `title`, `source`,
`scale`, `dataset`, `protocol`, `seeds` and `data` say how, `note` what is other than in the source.
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
    """One way to train."""

    name: str
    method: str
    """`NAME[:KEY=VALUE,...]`, slim where a processor is to train it."""
    recipe: str
    changes: Mapping[str, str] = field(default_factory=dict)
    """Choices of the recipe that are made otherwise."""
    start: str = ""
    """Arm whose weights it starts from."""
    scale: int = 0
    """0 for the experiment's."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """That one arm ends higher than another."""

    left: str
    right: str
    text: str
    """As the source has it."""
    quantity: str
    """`METRIC_y` or `METRIC_rgb`, as the protocol compares; it is measured where it is claimed."""
    above: float = 0.0
    """By how much at least; below 0, how much lower it may be."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is trained, from how many seeds, and what is said of it."""

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
    claims: tuple[Comparison, ...]

    def arm(self, name: str) -> Arm:
        """The arm of that name, which there is."""
        return next(arm for arm in self.arms if arm.name == name)

    def scale_of(self, arm: Arm) -> int:
        """The scale that an arm is trained at."""
        return arm.scale or self.scale


def names() -> list[str]:
    """Names of all experiments, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        InputError: there is none, its file is no TOML, an entry is missing, surplus or of another
            kind, or an arm is named that there is not.
    """
    if name not in names():
        raise unknown("experiment", name, names())
    path = FOLDER / f"{name}.toml"
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}; mend the file") from error
    own = {
        "name": name,
        "arms": tuple(_filled(Arm, "arm", arm, path) for arm in _tables(written, "arm", path)),
        "claims": tuple(
            _filled(Comparison, "claim", claim, path) for claim in _tables(written, "claim", path)
        ),
    }
    clash = [key for key in own if key in written]
    if clash:
        raise InputError(f"{path}, experiment: surplus {', '.join(clash)}; mend the file")
    found: Experiment = _filled(Experiment, "experiment", {**written, **own}, path)
    if found.seeds < 1:
        raise InputError(f"{path}: seeds = {found.seeds}; give at least 1")
    known: list[str] = []
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
    """The tables under `[[key]]`, taken out of what is written.

    Raises:
        InputError: there is none, or something else.
    """
    found = written.pop(key, [])
    if not found or not isinstance(found, list) or not all(isinstance(x, dict) for x in found):
        raise InputError(f"{path}: no table [[{key}]]; give one or more")
    return found


def _filled(kind: Any, entry_name: str, values: Mapping[str, Any], path: Path) -> Any:
    """A dataclass of these values, lists made tuples.

    Raises:
        InputError: one is missing, surplus or of another kind.
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
            f"{', '.join(surplus) or 'nothing'}; mend the file"
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
"""What a value of another kind is answered."""


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind, as a dataclass's field states it."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if get_origin(kind) is None:
        return type(value) is kind
    parts = value.values() if isinstance(value, Mapping) else value
    return isinstance(value, get_origin(kind)) and all(_is_a(x, get_args(kind)[0]) for x in parts)
