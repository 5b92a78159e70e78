"""What turns LR into SR: every method by its name.

A method is a file of this folder, a file of the user's own (`./mine.py`), or an installed module
under the entry-point group `sisrbench.methods`. Each holds two things:

    NAMES = ("my-method",)            # a literal: names are listed without importing the file
    def method(name: str) -> Method:  # the card of one of them

Any name with a trailing `+` is that method's geometric self-ensemble.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
from dataclasses import replace
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import CodeType, ModuleType

from zoo.errors import InputError, one_line, unknown
from zoo.method import Method

ENTRY_POINTS = "sisrbench.methods"


def _names_in(path: Path) -> tuple[str, ...]:
    """The literal NAMES of a file, () without one; the file's own name where it does not parse."""
    return _parsed_names(path, path.stat().st_mtime_ns)


@lru_cache
def _parsed_names(path: Path, _: int) -> tuple[str, ...]:
    """The names in a file that was last changed then."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return (path.stem,)
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "NAMES" for target in node.targets
        ):
            try:
                found = ast.literal_eval(node.value)
            except ValueError:
                return (path.stem,)
            return tuple(found) if isinstance(found, list | tuple) else (path.stem,)
    return ()


def _files() -> dict[str, Path]:
    folder = Path(__file__).parent
    return {name: path for path in sorted(folder.glob("*.py")) for name in _names_in(path)}


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def names() -> list[str]:
    """Names of all methods, sorted; none of their files is imported."""
    return sorted({*_files(), *_entry_points()})


def _is_file(name: str) -> bool:
    return name.endswith(".py")


def split(spec: str) -> tuple[str, dict[str, str], str]:
    """`NAME[+][:KEY=VALUE,...][@WEIGHTS]` as (name, settings, weights).

    >>> split("srcnn-9-1-5:n1=32,n2=16@none")
    ('srcnn-9-1-5', {'n1': '32', 'n2': '16'}, 'none')
    """
    file = re.match(r".*?\.py\+?(?=$|[:@])", spec)
    rest = spec[file.end() :] if file else spec
    head, _, weights = rest.partition("@")
    name, _, tail = head.partition(":")
    name = file.group() if file else name
    settings = {}
    for part in filter(None, tail.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"{spec!r}: settings are KEY=VALUE, joined by commas; given {part!r}")
        settings[key] = value
    return name, settings, weights


def require(spec: str) -> None:
    """Refuse a name that is no method's; no method's file is imported, nor torch.

    Raises:
        InputError: no such method, no such file, or settings that are not KEY=VALUE.
    """
    name, _, _ = split(spec)
    known = names()
    base = _base(name, known)
    if _is_file(base):
        if not Path(base).is_file():
            raise InputError(f"no method file {base!r}; give the path of a .py file that exists")
    elif base not in known:
        raise unknown("method", base, known)


def _base(name: str, known: list[str]) -> str:
    """The method that a name's self-ensemble is made of; the name itself where it is none."""
    return name.removesuffix("+") if name not in known else name


def load(spec: str) -> tuple[Method, str]:
    """The method of `NAME[+][:KEY=VALUE,...][@WEIGHTS]`, and what stands behind the `@`, or ''.

    Raises:
        InputError: no such method, a file that does not import or keep the contract, or a
            setting that the method does not have.
    """
    name, settings, weights = split(spec)
    known = names()
    base = _base(name, known)
    method = _find(base, known)
    if base != name:
        from zoo.ensemble import self_ensemble

        method = self_ensemble(method)
    return method.with_settings(settings), weights


def _find(name: str, known: list[str]) -> Method:
    if _is_file(name):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"no method file {name!r}; give the path of a .py file that exists")
        offered = _names_in(path) or (path.stem,)
        method = _card(_import_file(path), path.stem if path.stem in offered else offered[0], path)
        if method.name in known:
            raise InputError(
                f"{path} calls itself {method.name!r}, which is a method already; rename it"
            )
        return method
    files, points = _files(), _entry_points()
    if name in files:
        path = files[name]
        return _card(_import(f"zoo.{path.stem}", path), name, path)
    if name in points:
        module = _import(points[name].module, Path(points[name].module))
        return _card(module, name, Path(module.__file__ or ""))
    raise unknown("method", name, known)


def _import(module: str, path: Path) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise InputError(f"{path} does not import: {one_line(error)}; mend the file") from error


class _Source(SourceFileLoader):
    """Compiles what the file holds now: kept bytecode is told apart by whole seconds only."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        """The file's code."""
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _import_file(path: Path) -> ModuleType:
    unique = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"sisrbench_{path.stem}_{unique}"
    loader = _Source(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None:
        raise InputError(f"{path} is not a Python file; give a .py file that holds a method")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its own module up while it is defined
    try:
        loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise InputError(f"{path} does not import: {one_line(error)}; mend the file") from error
    return module


def _card(module: ModuleType, name: str, path: Path) -> Method:
    from zoo.resample import KERNELS

    function = getattr(module, "method", None)
    if not callable(function):
        raise InputError(f"{path} has no function method(name); see CONTRIBUTING.md, 'A method'")
    try:
        card = function(name)
    except Exception as error:
        raise InputError(f"{path}: method({name!r}) raised {one_line(error)}; mend it") from error
    if not isinstance(card, Method):
        raise InputError(
            f"{path}: method({name!r}) gave a {type(card).__name__}; expected a zoo.method.Method"
        )
    for value, allowed in (
        (card.takes, ("LR", "interpolated")),
        (card.channels, ("luma", "RGB", "any")),
        (card.kernel, tuple(KERNELS)),
    ):
        if value not in allowed:
            raise InputError(f"{path}: the card says {value!r}; expected one of {allowed}")
    if not re.fullmatch(r"[\w.+-]+", card.name):
        raise InputError(
            f"{path}: {card.name!r} is no name; take letters, digits, and any of _ . + -"
        )
    return replace(card, source=path)
