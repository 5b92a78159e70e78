"""The word after `-m`: from what a user types to a card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import zoo
from bench.sources import card as cards
from bench.sources.card import KINDS, TRIED, Card
from bench.sources.kinds import known, of_field
from zoo.errors import InputError
from zoo.method import SCALE, at_scale

Spec: TypeAlias = str | Card
"""A method as a user names it: `NAME[:KEY=VALUE,...][@WEIGHTS]`, a file, a card."""
_COMMAND = "cmd:"


@lru_cache(maxsize=1)
def _file_form() -> re.Pattern[str]:
    """A file of a source, with what may follow."""
    endings = sorted(
        {".toml", *(suffix for source in known() for suffix in source.suffixes)}, key=len
    )[::-1]
    # A path may itself contain ':', '@' or '+', so a file's name ends at its ending.
    return re.compile(
        rf"(?P<path>.*?(?P<ending>{'|'.join(map(re.escape, endings))})(?:#[\w.]+)?)"
        r"(?P<twice>\+?)(?P<tail>:[^@]*)?(?:@(?P<weights>.*))?",
        re.IGNORECASE | re.DOTALL,
    )


_CLASS_FORM = re.compile(
    r"(?P<path>.*?\.py:[A-Za-z_]\w*)(?P<twice>\+?)(?P<tail>:[^@]*)?(?:@(?P<weights>.*))?", re.DOTALL
)
_FOLDER_FORM = re.compile(r"(?P<path>[^@]*?)(?P<tail>:\w+=[^@]*)?", re.DOTALL)


@dataclass(frozen=True)
class Chosen:
    """A card, and whether its geometric self-ensemble is meant."""

    card: Card
    ensemble: bool = False


def chosen(spec: Spec) -> Chosen | None:
    """The card that a spec means; None if it is a method's name or file, which `zoo` knows.

    No file is opened but cards.

    Raises:
        InputError: a card or short form that is not valid, or a file that does not exist.
    """
    if isinstance(spec, Card):
        return Chosen(spec)
    if spec.startswith(_COMMAND):
        command = spec.removeprefix(_COMMAND)
        return Chosen(_short("command", command, cards.program_of(command), {}))
    kind, colon, rest = spec.partition(":")
    if colon and kind in KINDS:
        return _prefixed(kind, rest)
    if found := _CLASS_FORM.fullmatch(spec):
        path, _, inner = found["path"].rpartition(":")
        if inner not in zoo.names_in(Path(path)):
            return _of_form("class", found)
    found = _file_form().fullmatch(spec)
    if found and _exists(found["path"]):
        return _of_form("", found)
    if zoo.is_known(spec):
        return None
    if found and "@" not in found["path"]:  # NAME@FILE has a file's ending too
        return _of_form("", found)
    found = _FOLDER_FORM.fullmatch(spec)
    if found and found["path"] and _exists(found["path"], folder=True):
        return _of_form("images", found, name=_name_of_folder(found["path"]))
    return None


def _exists(name: str, *, folder: bool = False) -> bool:
    """Whether there is a file, or a folder, of this name at any scale."""
    paths = (Path(at_scale(name, scale)) for scale in TRIED)
    return any(path.is_dir() if folder else path.exists() for path in paths)


def images_in(folder: str, name: str | None = None) -> Card:
    """The card of SR files in a folder, in whose name `{scale}` may stand for the scale.

    Args:
        folder: path of the folder.
        name: the method's name; None for the folder's.

    Raises:
        InputError: the name is no plain text.
    """
    return _short("images", folder, name if name is not None else _name_of_folder(folder), {})


def _name_of_folder(path: str) -> str:
    """The name of a folder of SR files: its last part that says more than the scale.

    >>> _name_of_folder("out/espcn/x{scale}"), _name_of_folder("out_x{scale}"), _name_of_folder(".")
    ('espcn', 'out', 'images')
    >>> _name_of_folder("runs/net_4"), _name_of_folder("netx4"), _name_of_folder("runs/run2")
    ('net', 'net', 'run2')
    """
    scaled = rf"[xX_-]*{re.escape(SCALE)}$|(?:[_-]+[xX]?|[xX]|^)[2-9]$"
    named = (re.sub(scaled, "", part) for part in reversed(Path(path).parts))
    return next((name for name in named if name.strip("./")), "images")


def _prefixed(kind: str, rest: str) -> Chosen:
    """The card of `KIND:SOURCE[:KEY=VALUE,...][@WEIGHTS]`."""
    if kind == "command":
        return Chosen(_short(kind, rest, cards.program_of(rest), {}))
    form = re.compile(
        r"(?P<path>.+?)(?P<twice>\+?)(?P<tail>:\w+=[^@]*)?(?:@(?P<weights>.*))?", re.DOTALL
    )
    found = form.fullmatch(rest)
    if found is None:
        raise InputError(f"{kind}: names no source; give {of_field(kind).example}")
    # Two programs may compute one file in the same run.
    return _of_form(kind, found, name=f"{Path(found['path']).name} ({kind})")


def _of_form(kind: str, found: re.Match[str], name: str = "") -> Chosen:
    """The card of a short form.

    Args:
        kind: the source's field; '' to tell by the file's ending.
        found: path, tail, weights.
        name: the method's name; by default the file's.
    """
    groups = found.groupdict()
    path, ensemble = groups["path"], bool(groups.get("twice"))
    _refuse_late_plus(path, groups.get("tail") or "", groups.get("weights") or "")
    given = _settings(groups.get("tail") or "", found.string)
    if not kind and groups["ending"].lower() == ".toml":
        if groups.get("weights"):
            # The card's own paths start from its folder, the user's from the working folder.
            given["weights"] = cards.absolute(groups["weights"])
        return Chosen(cards.read(Path(path), given), ensemble)
    if not kind:
        ending = groups["ending"].lower()
        kind = next(source.field for source in known() if ending in source.suffixes)
    if groups.get("weights"):
        given["weights"] = groups["weights"]
    if kind == "class":
        own = {key: given.pop(key) for key in ("weights",) if key in given}
        arguments = dict(given)
        label = path.rpartition(":")[2]
        if arguments:
            label += ":" + ",".join(f"{key}={value}" for key, value in arguments.items())
        return Chosen(
            cards.of_fields(
                {kind: path, "arguments": arguments, **own}, Path(), found.string, label
            ),
            ensemble,
        )
    return Chosen(_short(kind, path, name or Path(path).name, given), ensemble)


def _refuse_late_plus(path: str, tail: str, weights: str) -> None:
    """Refuse a `+` after settings or weights, where it would be a part of them.

    Raises:
        InputError: where it belongs.
    """
    at = f"@{weights}" if weights else ""
    if tail.endswith("+") or (weights.endswith("+") and not _exists(weights)):
        meant = f"{path}+{tail.removesuffix('+')}{at.removesuffix('+')}"
        raise InputError(
            f"{path + tail + at!r}: the + of the self-ensemble stands right after the file or "
            f"class; give {meant}"
        )


def _short(kind: str, source: str, name: str, given: Mapping[str, object]) -> Card:
    return cards.of_fields({kind: source, **given}, Path(), source, name)


def _settings(tail: str, spec: str) -> dict[str, object]:
    """Values of `:KEY=VALUE,...` by key."""
    found: dict[str, object] = {}
    for part in filter(None, tail.removeprefix(":").split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"{spec!r}: settings are KEY=VALUE, joined by commas; given {part!r}")
        found[key] = cards.value_of(value)
    return found
