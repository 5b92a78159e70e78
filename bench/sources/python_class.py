"""A class or function of a Python file or of an installed package, as a network."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

import zoo
from bench.files import fetch
from bench.files.fetch import RemoteFile
from bench.files.identity import IN_EVERY_KEY
from bench.progress import Progress
from bench.sources.card import FIELDS, TAGS, TRIED, Card
from bench.sources.probe import probe
from bench.sources.python_file import classes_in
from zoo.errors import InputError, listed, one_line
from zoo.method import SCALE, Channels, Method, Settings

FIELD = "class"
SUFFIXES = ()
EXTRA = ""
MODULES = ()
EXAMPLE = "models/net.py:Net:upscale={scale}@net_x{scale}.pth"


def method(card: Card) -> Method:
    """The method of a card with a class.

    Raises:
        InputError: the file or package does not import, has no such class or function, or what it
            builds is no network that enlarges images.
    """
    module, target, sha256 = _target(card)
    card = _with_fields(card, target)
    build = partial(_build, card, target)
    scales = card.scales or card.scales_of_weights()
    asked = any(value == SCALE for value in card.arguments.values())
    channels: Channels = card.channels or "RGB"
    if not card.channels or not (scales or asked):
        channels, found = _probed(card, build, scales)
        scales = scales or (() if asked else (found,))
    default = ""
    if card.weights in TAGS:
        default = card.weights
    elif card.weights:
        default = str(_weights(card))
    return replace(
        card.method(channels, scales=scales),
        build=build,
        settings=dict(card.arguments),
        default_weights=default,
        source=Path(module.__file__ or ""),
        imported=sha256,
    )


def _with_fields(card: Card, target: Callable[..., Any]) -> Card:
    """The card, with arguments that the class lacks and that are fields of a card set as fields.

    A short form writes both after a colon.
    """
    try:
        taken = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return card
    moved = {
        key: value for key, value in card.arguments.items() if key in FIELDS and key not in taken
    }
    if not moved:
        return card
    kept = {key: value for key, value in card.arguments.items() if key not in moved}
    return replace(card, arguments=kept, **moved)


def root_of(card: Card) -> Path | None:
    """The folder in which Python finds the file's own modules; None for an installed package."""
    place = _file(card)
    if place is None:
        return None
    if card.code:
        return _checkout(card)
    folder = place.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder.resolve()


def _checkout(card: Card) -> Path:
    """The folder in the cache that holds a card's `code`."""
    first = RemoteFile(card.code, next(iter(card.files)), next(iter(card.files.values())))
    place = fetch.local_path(first)
    for _ in Path(first.path).parts:
        place = place.parent
    return place


def _file(card: Card) -> Path | None:
    """The Python file that a card names; None if it names an installed package's module."""
    name = card.source.rpartition(":")[0]
    if not name.endswith(".py"):
        return None
    return (_checkout(card) if card.code else card.folder) / name


def _weights(card: Card) -> Path:
    """The weights, among the files of `code` if they are listed there."""
    if card.weights in card.files or any(
        card.weights == path.replace(str(scale), SCALE) for path in card.files for scale in TRIED
    ):
        return _checkout(card) / card.weights
    return card.folder / card.weights


def _target(card: Card) -> tuple[ModuleType, Callable[..., Any], str]:
    """The module, the class or function in it, and the SHA-256 of a file that was imported alone.

    Raises:
        InputError: it does not import, or has no such class or function.
    """
    place, _, name = card.source.rpartition(":")
    if not place or not name:
        raise InputError(
            f"{card.label}: class is {card.source!r}; give FILE.py:CLASS or PACKAGE.MODULE:CLASS"
        )
    path = _file(card)
    if card.code:
        files = [RemoteFile(card.code, each, sha256) for each, sha256 in card.files.items()]
        fetch.fetch_missing(card.name, files, Progress())
    module, sha256 = _imported(card, path, place)
    target = getattr(module, name, None)
    if not callable(target):
        offered = classes_in(path) if path is not None else []
        offered = offered or [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise InputError(
            f"{place} has no class or function {name!r}; it has {listed(offered) or 'none'}"
        )
    _refuse_what_makes_no_network(card, target, place if path is None else "")
    return module, target, sha256


def _refuse_what_makes_no_network(card: Card, target: Callable[..., Any], installed: str) -> None:
    """Refuse to call what is no class of networks, because a call may do anything.

    A function of the user's own file, or of a package that is made for networks, may return one.

    Args:
        card: names the class or function.
        target: the class or function.
        installed: module of an installed package; '' for a file.

    Raises:
        InputError: another class, or a function of the standard library or of a library that
            computes here.
    """
    if inspect.isclass(target):
        makes = issubclass(target, nn.Module)
    else:
        homes = {installed, getattr(target, "__module__", None) or installed} if installed else ()
        tops = {name.partition(".")[0] for name in homes}
        makes = not tops & {*sys.stdlib_module_names, *IN_EVERY_KEY}
    if not makes:
        raise InputError(
            f"{card.label}: {card.source} makes no network, and was not called; name a class that "
            "derives from torch.nn.Module, or a function that returns one"
        )


def _imported(card: Card, path: Path | None, place: str) -> tuple[ModuleType, str]:
    sys.dont_write_bytecode = True  # nothing is left in the user's folders
    if path is None:
        try:
            return importlib.import_module(place), ""
        except (Exception, SystemExit) as error:
            raise InputError(
                f"{card.label}: {place} does not import: {one_line(error, 160)}; install the "
                "package, or give the path of a .py file"
            ) from error
    if not path.is_file():
        raise InputError(f"no file {str(path)!r}; give the path of a .py file that exists")
    root = root_of(card) or path.parent
    if (path.parent / "__init__.py").is_file() or card.code:
        inside = Path(place) if card.code else path.resolve().relative_to(root.resolve())
        dotted = ".".join(inside.with_suffix("").parts)
        if card.code:
            _OnlyListed.watch(root, card.files)
        try:
            module = importlib.import_module(dotted)
        except (Exception, SystemExit) as error:
            raise InputError(
                f"{path} does not import as {dotted}: {one_line(error, 160)}; fix the file, or "
                "install what it needs"
            ) from error
        if Path(module.__file__ or "").resolve() != path.resolve():
            raise InputError(
                f"{path} does not import as {dotted}, because {module.__file__ or 'Python'} has "
                "that name; give the file another name"
            )
        return module, ""
    return zoo.import_file(path)


class _OnlyListed:
    """A finder of modules that refuses files of a card's `code` whose hash the card does not say.

    Such a file may be there because another card needed it, in another process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.allowed: set[Path] = set()

    @classmethod
    def watch(cls, folder: Path, files: Iterable[str]) -> None:
        """Import of a folder's files only these, and those of earlier calls."""
        found = [each for each in sys.meta_path if isinstance(each, cls)]
        finder = next((each for each in found if each.folder == folder), cls(folder))
        if finder not in found:
            sys.meta_path.insert(0, finder)
        finder.allowed |= {folder / each for each in files}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        """None, so that the next finder finds the module.

        Raises:
            ImportError: the module's file is not listed.
        """
        spec = PathFinder.find_spec(name, path, target)
        file = Path(spec.origin) if spec is not None and spec.origin else None
        if file is not None and file.is_relative_to(self.folder) and file not in self.allowed:
            raise ImportError(f"{file.relative_to(self.folder)} is not among the card's files")


def _build(card: Card, target: Callable[..., Any], scale: int, settings: Settings) -> nn.Module:
    """The network that a class makes at a scale.

    Raises:
        InputError: the class needs other arguments, raises an exception, or makes no network.
    """
    arguments = {key: scale if value == SCALE else value for key, value in settings.items()}
    _refuse_other_arguments(card, target, arguments)
    try:
        module = target(**arguments)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{card.source} raised {one_line(error, 160)} with {_shown(arguments)}; give other "
            "arguments"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"{card.source} gave a {type(module).__name__}; expected a torch.nn.Module: name a "
            "class of networks, or a function that returns one"
        )
    return module


def _shown(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "no arguments"


def _refuse_other_arguments(
    card: Card, target: Callable[..., Any], arguments: Mapping[str, Any]
) -> None:
    """Refuse arguments that a class does not have, and name those that it needs.

    Raises:
        InputError: an argument is missing or unknown.
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return  # a class that does not tell
    taken = signature.parameters
    open_ended = any(each.kind == inspect.Parameter.VAR_KEYWORD for each in taken.values())
    unknown = [key for key in arguments if key not in taken]
    if unknown and not open_ended:
        raise InputError(
            f"{card.source} has no argument {listed(unknown)}; it has: {listed(list(taken), 20)}"
        )
    missing = [
        name
        for name, each in taken.items()
        if each.default is inspect.Parameter.empty
        and each.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        and name not in arguments
    ]
    if missing:
        shown = ",".join(f"{name}=VALUE" for name in missing)
        raise InputError(
            f"{card.source} needs {listed(missing)}; add :{shown} to the method, or "
            f"arguments = {{{', '.join(f'{name} = VALUE' for name in missing)}}} to the card; "
            "{scale} stands for the scale"
        )


def _probed(
    card: Card, build: Callable[[int, Settings], nn.Module], scales: tuple[int, ...]
) -> tuple[Channels, int]:
    """Channels and scale of a network, found by running it on an image of zeros.

    Raises:
        InputError: it runs on neither three channels nor one, or does not enlarge.
    """
    at = scales[0] if scales else 2
    with torch.random.fork_rng(devices=[]):
        network = build(at, card.arguments).eval()
    found = probe(network, card.label, card.channels, padded_to=card.multiple)
    if card.takes == "interpolated":
        return found.channels, at
    if found.factor < 2:
        raise InputError(
            f"{card.label}: gives an image of the size that it takes; if it takes interpolated LR, "
            'add takes = "interpolated" and scales'
        )
    return found.channels, found.factor
