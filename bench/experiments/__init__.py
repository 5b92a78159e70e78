"""Experiments: what a source says of training, as arms that are trained and then compared.

One TOML file each, named as the experiment. Arms are trained from each seed, in order, so that one
may start from another's weights; a claim compares two of them, seed by seed. `title`, `source`,
`scale`, `dataset`, `protocol`, `seeds`, `data` and `metrics` say how, `note` what is other than in
the source.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

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
class Claim:
    """That one arm ends higher than another."""

    left: str
    right: str
    text: str
    """As the source has it."""
    quantity: str
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
    metrics: tuple[str, ...]
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]


def names() -> list[str]:
    """Names of all experiments, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        InputError: there is none, its file is no TOML, or an entry is missing, surplus, or names an
            arm that there is not.
    """
    if name not in names():
        raise unknown("experiment", name, names())
    path = FOLDER / f"{name}.toml"
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise InputError(f"{path}: {error}; mend the file") from error
    arms = [_filled(Arm, arm, path) for arm in written.pop("arm", [])]
    claims = [_filled(Claim, claim, path) for claim in written.pop("claim", [])]
    lists = {key: tuple(written.get(key, ())) for key in ("data", "metrics")}
    found: Experiment = _filled(
        Experiment,
        {**written, **lists, "name": name, "arms": tuple(arms), "claims": tuple(claims)},
        path,
    )
    known: list[str] = []
    for arm in found.arms:
        if arm.start and arm.start not in known:
            raise InputError(f"{path}: arm {arm.name} starts from {arm.start!r}, no arm before it")
        known.append(arm.name)
    for claim in found.claims:
        for side in (claim.left, claim.right):
            if side not in known:
                raise unknown(f"arm in {path}", side, known)
    return found


def _filled(kind: Any, values: Mapping[str, Any], path: Path) -> Any:
    """A dataclass of these values.

    Raises:
        InputError: one is missing or surplus.
    """
    known = {entry.name: entry for entry in fields(kind)}
    surplus = [key for key in values if key not in known]
    missing = [
        key
        for key, entry in known.items()
        if key not in values and entry.default is MISSING and entry.default_factory is MISSING
    ]
    if surplus or missing:
        raise InputError(
            f"{path}, {kind.__name__.lower()}: missing {', '.join(missing) or 'nothing'}, surplus "
            f"{', '.join(surplus) or 'nothing'}; mend the file"
        )
    return kind(**values)
