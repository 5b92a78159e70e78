"""What can stand after `-m`: methods of this project, and cards of what others made.

Each source is a file in this folder with the constants FIELD (its field in a card), SUFFIXES (files
that are this source as a short form), EXTRA (the extra to install, '' for none), MODULES (what the
extra brings) and EXAMPLE, and with `method(card)`. Listing the sources imports none of them.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol as Interface
from typing import TypeAlias, cast

import zoo
from bench.files import registry
from bench.sources import card as cards
from bench.sources.card import KINDS, Card
from bench.sources.python_file import classes_in, defines
from zoo.errors import InputError, listed
from zoo.method import SCALE, Method, at_scale

FOLDER = Path(__file__).parent
Spec: TypeAlias = str | Card
"""A method as a user names it: `NAME[:KEY=VALUE,...][@WEIGHTS]`, a file, a card."""
_FACTS = ("FIELD", "SUFFIXES", "EXTRA", "MODULES", "EXAMPLE")
_COMMAND = "cmd:"
_TRIED = range(2, 17)


class Source(Interface):
    """The contents of a source's file."""

    FIELD: str
    SUFFIXES: tuple[str, ...]
    EXTRA: str
    MODULES: tuple[str, ...]
    EXAMPLE: str

    def method(self, card: Card) -> Method:
        """The card's method.

        Raises:
            InputError: the card's file cannot be used.
        """


@dataclass(frozen=True)
class SourceFacts:
    """What a source's file states, read without importing it."""

    module: str
    field: str
    suffixes: tuple[str, ...]
    extra: str
    modules: tuple[str, ...]
    example: str

    @property
    def missing(self) -> list[str]:
        """Modules of the extra that are not installed."""
        return [name for name in self.modules if find_spec(name) is None]


@lru_cache(maxsize=1)
def known() -> tuple[SourceFacts, ...]:
    """The sources, in the order of `KINDS`."""
    found = []
    for name in registry.module_names(FOLDER):
        if "FIELD" in registry.literals(FOLDER, name):
            facts = registry.facts("source", FOLDER, name, _FACTS)
            found.append(SourceFacts(name, *(facts[fact] for fact in _FACTS)))
    return tuple(sorted(found, key=lambda source: KINDS.index(source.field)))


def _of_field(field: str) -> SourceFacts:
    return next(source for source in known() if source.field == field)


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
    if zoo.is_known(spec):
        return None
    found = _file_form().fullmatch(spec)
    # NAME@FILE has a file's ending too.
    if found and ("@" not in found["path"] or _exists(found["path"])):
        return _of_form("", found)
    found = _FOLDER_FORM.fullmatch(spec)
    if found and found["path"] and _exists(found["path"], folder=True):
        return _of_form("images", found, name=_name_of_folder(found["path"]))
    return None


def _exists(name: str, *, folder: bool = False) -> bool:
    """Whether there is a file, or a folder, of this name at any scale."""
    paths = (Path(at_scale(name, scale)) for scale in _TRIED)
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
    """
    scaled = rf"[xX_-]*(?:{re.escape(SCALE)}|[2-9])$"
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
        raise InputError(f"{kind}: names no source; give {_of_field(kind).example}")
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


def require(spec: Spec) -> None:
    """Refuse what cannot stand for a method, before torch is loaded.

    Raises:
        InputError: an unknown name, a missing file or extra, or a card that is not valid.
    """
    found = chosen(spec)
    if found is None:
        name = cast("str", spec)
        _refuse_other_files(name)
        zoo.require(name)
        return
    card = found.card
    _refuse_missing_extra(card)
    if card.kind == "class":
        file = card.source.rpartition(":")[0]
        if file.endswith(".py") and not card.code and not (card.folder / file).is_file():
            raise InputError(f"no file {str(card.folder / file)!r}; give the path of a .py file")
    elif card.kind != "command":
        scales = card.scales_found()
        path = card.file
        for place in [card.file_at(scale) for scale in scales] or [path]:
            if card.kind != "images" and place.is_dir():
                raise InputError(
                    f"{card.label}: {str(place)!r} is a folder; give the path of a file"
                )
        if SCALE not in card.source and not path.exists():
            raise InputError(f"{card.label}: no {card.kind} {str(path)!r}; give a path that exists")
    card.scales_of_weights()


def _refuse_missing_extra(card: Card) -> None:
    source = _of_field(card.kind)
    if source.missing:
        raise InputError(
            f"{card.source}: {source.field} needs {listed(source.missing)}, which is not "
            f"installed; run: pip install 'sisrbench[{source.extra}]'"
        )


def _refuse_other_files(spec: str) -> None:
    """Refuse a path that is neither a method's file nor a source's.

    Raises:
        InputError: what may stand there instead.
    """
    head = spec.partition("@")[0]
    name = head if Path(head).exists() else head.partition(":")[0]
    path = Path(name)
    if path.suffix == ".py" and path.is_file():
        _refuse_without_method(path)
    if path.suffix == ".py" or zoo.is_known(spec):
        return
    if "/" in name or path.is_file() or re.search(r"\.[A-Za-z]\w*$", name):
        endings = sorted({ending for source in known() for ending in source.suffixes} | {".toml"})
        state = "has no known ending" if path.exists() else "does not exist"
        raise InputError(
            f"{name} {state}; a method is a name, a folder of SR images, or a file that ends in "
            f"{', '.join(endings)} or .py; see `sisrbench list sources`"
        )


def _refuse_without_method(path: Path) -> None:
    """Refuse a Python file that describes no method, if it defines classes.

    Raises:
        InputError: how a class of the file is named.
    """
    classes = classes_in(path)
    if classes and not defines(path, "method"):
        raise InputError(
            f"{path} has no function method(name); to measure a class of it, give "
            f"{path}:{classes[-1]}, with :ARGUMENT=VALUE,... and @WEIGHTS where it needs them"
        )


def is_foreign(spec: Spec) -> bool:
    """Whether code or a library that is not this project's computes the method."""
    found = chosen(spec)
    if found is None:
        return zoo.is_foreign(cast("str", spec))
    return found.card.kind != "images"


def label(spec: Spec) -> str:
    """The method for messages: as the user named it, or the card's name."""
    return spec if isinstance(spec, str) else spec.name


def refuse_untrusted(spec: Spec, *, trusted: bool) -> None:
    """Refuse code of a public repository, unless the user trusts it.

    Raises:
        InputError: what would run.
    """
    found = chosen(spec)
    if found is not None and found.card.code and not trusted:
        files = listed(list(found.card.files), 4)
        raise InputError(
            f"{found.card.label} would run code from {found.card.code}: {files}; read it, then add "
            "--trust-code (in Python trust_code=True)"
        )


def find_modules_beside(spec: Spec) -> None:
    """Let Python find the modules that stand beside a Python file of the user's own.

    They come before installed packages, and after the standard library.
    """
    root = _folder_of_modules(spec)
    if root is not None and str(root) not in sys.path:
        installed = sysconfig.get_path("purelib")
        place = sys.path.index(installed) if installed in sys.path else len(sys.path)
        sys.path.insert(place, str(root))


def _folder_of_modules(spec: Spec) -> Path | None:
    """The folder in which a Python file of the user's own finds its modules; None for no file."""
    found = chosen(spec)
    if found is None:
        file = zoo.file_of(cast("str", spec))
        return file.parent.resolve() if file is not None else None
    if found.card.kind != "class":
        return None
    from bench.sources.python_class import root_of  # imports torch

    return root_of(found.card)


def load(spec: Spec) -> tuple[Method, str]:
    """(method, weights) of a spec.

    Returns:
        The method, and the text after the `@` ('' if there is none, or if the card holds it).

    Raises:
        InputError: an unknown method, a file that cannot be used, or a card that is not valid.
    """
    found = chosen(spec)
    if found is None:
        require(spec)
        return zoo.load(cast("str", spec))
    require(spec)
    card = found.card
    source = cast(
        "Source",
        registry.load_module("source", FOLDER, _of_field(card.kind).module, (*_FACTS, "method")),
    )
    method = source.method(card)
    if method.name in zoo.names():
        raise InputError(
            f"{card.label} has the name of a method of this project; give it another, as "
            f'name = "{method.name}-mine"'
        )
    if found.ensemble:
        from zoo.ensemble import self_ensemble  # imports torch, which naming methods must not

        method = self_ensemble(method)
    return method, ""


def load_network(spec: Spec, *, trusted: bool) -> tuple[Method, str]:
    """(method, weights) of a spec that is loaded into this process, to run or show its network.

    Args:
        spec: the method.
        trusted: whether code of a public repository may run.

    Raises:
        InputError: as `load`, code that is not trusted, or SR files, which hold no network.
    """
    refuse_untrusted(spec, trusted=trusted)
    find_modules_beside(spec)
    method, tag = load(spec)
    if method.outputs is not None:
        raise InputError(
            f"{method.name} is a folder of SR images and holds no network; measure it with `run` "
            "or `score`"
        )
    return method, tag
