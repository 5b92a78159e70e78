"""What can stand after `-m`: methods of this project, and cards of what others made.

Each source is a file in this folder with the constants FIELD (its field in a card), SUFFIXES (files
that are this source as a short form), EXTRA (the extra to install, '' for none), MODULES (what the
extra brings) and EXAMPLE, and with `method(card)`. Listing the sources imports none of them.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol as Interface
from typing import cast

import zoo
from bench.files import registry
from bench.sources.card import Card
from bench.sources.kinds import FACTS, FOLDER, known, of_field
from bench.sources.python_file import classes_in, defines
from bench.sources.words import Spec, chosen
from zoo.errors import InputError, listed, spelled
from zoo.method import SCALE, Method


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
    source = of_field(card.kind)
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
            f"{', '.join(endings)} or .py; {_hint_for(name)}see `sisrbench list sources`"
        )


def _hint_for(name: str) -> str:
    """What a user may have meant by a path that is no method, as a clause; '' if unknown."""
    words = name.split()
    if words and ((os.access(words[0], os.X_OK) and Path(words[0]).is_file()) or "{lr" in name):
        return f'a program is given as "cmd:{words[0]} ..."; '
    folder = Path(name).parent
    try:
        close = get_close_matches(Path(name).name, [other.name for other in folder.iterdir()], n=1)
    except OSError:
        close = []
    return f"did you mean {spelled(str(folder / close[0]))!r}? " if close else ""


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


def is_of_user(spec: Spec) -> bool:
    """Whether the method, or the SR files, are the user's own."""
    found = chosen(spec)
    return found is not None or zoo.is_foreign(cast("str", spec))


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
        registry.load_module("source", FOLDER, of_field(card.kind).module, (*FACTS, "method")),
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
