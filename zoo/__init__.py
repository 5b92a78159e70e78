"""Super-resolution methods by name: list the names, check a name, load a method.

A method is a file in this folder, a file of the user's own (`./mine.py`), or an installed module
under the entry-point group `sisrbench.methods`. The file defines two names:

    NAMES = ("my-method",)            # a literal: names are listed without importing the file
    def method(name: str) -> Method:  # describes the method of that name

A file with several names needs the name after the path: `./mine.py:NAME`. A trailing `+` after any
name selects the geometric self-ensemble of the method.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
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
_NAME = r"[\w.+-]+"
_OWN_FILE = re.compile(rf".*?\.py(?::{_NAME}|\+)?(?=$|[:@])")
"""A file's path, then `:NAME` or `+`. What follows is a setting if it goes on with `=`."""


def _names_in(path: Path) -> tuple[str, ...]:
    """The literal NAMES of a file; () without NAMES, the file's stem if NAMES cannot be read."""
    return _parsed_names(path, path.stat().st_mtime_ns)


@lru_cache
def _parsed_names(path: Path, _: int) -> tuple[str, ...]:
    """The literal NAMES of a file, cached by path and modification time in ns."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        # A broken file keeps a name, so that `load` can report the error of that file alone.
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


def names_in(path: Path) -> tuple[str, ...]:
    """The methods that a file of the user's own says it holds; () if it has no literal NAMES."""
    return _names_in(path) if path.is_file() else ()


def _files() -> dict[str, Path]:
    folder = Path(__file__).parent
    return {name: path for path in sorted(folder.glob("*.py")) for name in _names_in(path)}


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def installed_packages() -> list[str]:
    """The packages that hold installed methods, sorted. None is imported."""
    return sorted({point.module.split(".")[0] for point in _entry_points().values()})


def names() -> list[str]:
    """Names of all methods, sorted. No method's file is imported."""
    return sorted({*_files(), *_entry_points()})


def _is_file(name: str) -> bool:
    return _OWN_FILE.fullmatch(name) is not None


def _chosen(name: str) -> tuple[Path, str]:
    """(file, name of the method in it) of `FILE.py` or `FILE.py:NAME`; the file is not imported.

    Raises:
        InputError: a missing file, a name that is not in the file's NAMES, or several NAMES, none
            of them the file's own name, and no choice.
    """
    stem, _, wanted = name.partition(".py:")
    given = f"{stem}.py" if wanted else name
    path = Path(given)
    if not path.is_file():
        raise InputError(f"no method file {given!r}; give the path of a .py file that exists")
    offered = _names_in(path) or (path.stem,)
    if wanted and wanted not in offered:
        raise InputError(f"{path} has no method {wanted!r}; its NAMES are {', '.join(offered)}")
    if not wanted and len(offered) > 1 and path.stem not in offered:
        raise InputError(
            f"{path} holds several methods: {', '.join(offered)}; choose one, for example "
            f"{path}:{offered[0]}"
        )
    return path, wanted or (path.stem if path.stem in offered else offered[0])


def split(spec: str) -> tuple[str, dict[str, str], str]:
    """(name, settings, weights) of `NAME[+][:KEY=VALUE,...][@WEIGHTS]`; weights '' if absent.

    NAME is a method's name, a file `FILE.py`, or a method in a file, `FILE.py:NAME`.

    Raises:
        InputError: a setting without `=`.

    >>> split("srcnn-9-1-5:n1=32,n2=16@none")
    ('srcnn-9-1-5', {'n1': '32', 'n2': '16'}, 'none')
    >>> split("./mine.py:deep:n1=32")
    ('./mine.py:deep', {'n1': '32'}, '')
    """
    # A path may itself contain ':' or '@', so a file name ends at '.py' and not before.
    file = _OWN_FILE.match(spec)
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
    """Refuse a name that no method has. Imports neither the method's file nor torch.

    Raises:
        InputError: an unknown method, a missing file, no choice among a file's methods, or settings
            that are not KEY=VALUE.
    """
    name, _, _ = split(spec)
    known = names()
    base = _base(name, known)
    if _is_file(base):
        _chosen(base)
    elif base not in known:
        raise unknown("method", base, known)


def file_of(spec: str) -> Path | None:
    """The Python file that a spec begins with; None if it begins with a method's name.

    Raises:
        InputError: settings that are not KEY=VALUE.
    """
    base = _base(split(spec)[0], names())
    return Path(f"{base.partition('.py')[0]}.py") if _is_file(base) else None


def is_known(spec: str) -> bool:
    """Whether a spec begins with a method's name, or with the path of a Python file.

    Raises:
        InputError: settings that are not KEY=VALUE.
    """
    known = names()
    base = _base(split(spec)[0], known)
    return _is_file(base) or base in known


def is_foreign(spec: str) -> bool:
    """Whether the method is not this project's: a file of the user's own, or an installed module.

    Raises:
        InputError: settings that are not KEY=VALUE.
    """
    base = _base(split(spec)[0], names())
    return _is_file(base) or base not in _files()


def _base(name: str, known: list[str]) -> str:
    """The name without the `+` of a self-ensemble; unchanged without a `+`."""
    # A plug-in's own name may end in '+', so known names are left whole.
    stem, _, inner = name.partition(".py:")
    path = Path(f"{stem}.py")
    if inner and path.is_file() and inner in _names_in(path):
        return name
    return name.removesuffix("+") if name not in known else name


def load(spec: str) -> tuple[Method, str]:
    """(method, weights) of `NAME[+][:KEY=VALUE,...][@WEIGHTS]`.

    Returns:
        The method with its settings applied, and the text after the `@` ('' if there is none).

    Raises:
        InputError: an unknown method, a file that does not import or does not keep the contract,
            or a setting that the method does not have.
    """
    name, settings, weights = split(spec)
    known = names()
    base = _base(name, known)
    method = _find(base, known)
    if base != name:
        from zoo.ensemble import self_ensemble  # imports torch, which listing names must not

        method = self_ensemble(method)
    return method.with_settings(settings), weights


def _find(name: str, known: list[str]) -> Method:
    if _is_file(name):
        path, inner = _chosen(name)
        module, sha256 = import_file(path)
        method = replace(_card(module, inner, path), imported=sha256)
        if method.name in known:
            raise InputError(
                f"{path} calls itself {method.name!r}, which is a method already; rename yours"
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
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} does not import: {one_line(error)}; fix the file") from error


class _Source(SourceFileLoader):
    """Loader that compiles the file's current text and ignores cached bytecode.

    Cached bytecode is compared by modification time in whole seconds, so two edits within one
    second would run the older code.
    """

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        """The compiled code of the file."""
        text = self.get_data(self.path)
        self.sha256 = hashlib.sha256(text).hexdigest()
        code: CodeType = self.source_to_code(text, self.path)
        return code


ALONE = "sisrbench_"
"""How the names of modules begin that `import_file` makes."""


def import_file(path: Path) -> tuple[ModuleType, str]:
    """The module of a file of the user's own, and the SHA-256 of the text that was compiled."""
    unique = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]
    name = f"{ALONE}{path.stem}_{unique}"  # two files called mine.py are two modules
    loader = _Source(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None:
        raise InputError(f"{path} is not a Python file; give a .py file that holds a method")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its own module up while it is defined
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise InputError(f"{path} does not import: {one_line(error)}; fix the file") from error
    return module, loader.sha256


def _card(module: ModuleType, name: str, path: Path) -> Method:
    from zoo.resample import KERNELS  # imports torch, which listing names must not

    function = getattr(module, "method", None)
    if not callable(function):
        raise InputError(f"{path} has no function method(name); see CONTRIBUTING.md, 'A method'")
    try:
        card = function(name)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{path}: method({name!r}) raised {one_line(error)}; fix the function"
        ) from error
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
            raise InputError(f"{path}: the Method has {value!r}; expected one of {allowed}")
    if not re.fullmatch(_NAME, card.name):
        raise InputError(
            f"{path}: {card.name!r} is not a valid name; use letters, digits, and any of _ . + -"
        )
    return replace(card, source=path)
