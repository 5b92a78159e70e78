"""A folder as a registry: each Python file is an entry with the file's name.

Listing the names imports no file.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.errors import InputError, one_line, unknown


def module_names(folder: Path) -> list[str]:
    """Names of the Python files in a package's folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def load_module(kind: str, folder: Path, name: str, required: tuple[str, ...]) -> ModuleType:
    """The module `name` of a folder of `bench`, with all `required` attributes.

    Args:
        kind: the noun for an entry, for example `metric`.
        folder: the package's folder.
        name: the file's name, without `.py`.
        required: names of attributes.

    Raises:
        InputError: the file does not exist, does not import, or lacks an attribute.
    """
    if name not in module_names(folder):
        raise unknown(kind, name, module_names(folder))
    path = folder / f"{name}.py"
    try:
        module = importlib.import_module(f"bench.{folder.name}.{name}")
    except (Exception, SystemExit) as error:  # a file that anybody may add can raise anything
        raise InputError(f"{path} does not import: {one_line(error)}; fix the file") from error
    missing = [attribute for attribute in required if not hasattr(module, attribute)]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; see CONTRIBUTING.md, 'A {kind}'")
    return module


def _constants(folder: Path, name: str) -> tuple[dict[str, Any], set[str]]:
    """Constants of the file `name` that are written as literals, and names of computed ones.

    The file is not imported. Both are empty if the file cannot be parsed: the error message comes
    from importing the file.
    """
    try:
        tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return {}, set()
    found: dict[str, Any] = {}
    computed: set[str] = set()
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        try:
            found |= dict.fromkeys(names, ast.literal_eval(node.value))
        except ValueError:  # a computed value, which literal_eval refuses
            computed |= names
    return found, computed


def literals(folder: Path, name: str) -> dict[str, Any]:
    """Constants that the file `name` writes as literals, by name; the file is not imported."""
    return _constants(folder, name)[0]


def facts(
    kind: str, folder: Path, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Constants that a file states, by name; the file is imported only if a literal is missing.

    Args:
        kind: the noun for an entry, for example `metric`.
        folder: the package's folder.
        name: the file's name, without `.py`.
        required: constants that the file must have.
        optional: constants that are left out of the result if the file does not have them.

    Raises:
        InputError: as `load_module`, if the file is imported.
    """
    known, computed = _constants(folder, name)
    if any(constant not in known for constant in required) or computed & {*required, *optional}:
        known = vars(load_module(kind, folder, name, required))
    return {key: known[key] for key in (*required, *optional) if key in known}


def refuse_unless(kind: str, folder: Path, name: str, constant: str, wanted: str, ok: bool) -> None:
    """Refuse a constant of a file that is not what is wanted.

    Raises:
        InputError: `ok` is false.
    """
    if not ok:
        raise InputError(
            f"{folder / name}.py: {constant} is not {wanted}; see CONTRIBUTING.md, 'A {kind}'"
        )
