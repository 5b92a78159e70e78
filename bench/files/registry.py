"""A folder as a registry: a thing's name is its file's name, and listing imports nothing."""

from __future__ import annotations

import ast
import contextlib
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.errors import InputError, one_line, unknown


def module_names(folder: Path) -> list[str]:
    """Names of the Python files in a package's folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def load_module(kind: str, folder: Path, name: str, required: tuple[str, ...]) -> ModuleType:
    """The module `name` of a folder of `bench`, holding all the `required` attributes.

    Raises:
        InputError: no such file, one that does not import, or one that lacks an attribute.
    """
    if name not in module_names(folder):
        raise unknown(kind, name, module_names(folder))
    path = folder / f"{name}.py"
    try:
        module = importlib.import_module(f"bench.{folder.name}.{name}")
    except Exception as error:
        raise InputError(f"{path} does not import: {one_line(error)}; mend the file") from error
    missing = [attribute for attribute in required if not hasattr(module, attribute)]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; see CONTRIBUTING.md, 'A {kind}'")
    return module


def literals(folder: Path, name: str) -> dict[str, Any]:
    """The constants of the file `name` that are written as literals; the file is not imported.

    Empty where the file cannot be parsed: importing it says what is wrong.
    """
    try:
        tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return {}
    found: dict[str, Any] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        with contextlib.suppress(ValueError):  # it is computed
            value = ast.literal_eval(node.value)
            found |= {target.id: value for target in targets if isinstance(target, ast.Name)}
    return found


def facts(
    kind: str, folder: Path, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What a file states of itself, read without importing it where it is written as literals.

    `optional` constants that the file does not have are left out.

    Raises:
        InputError: as `load_module`, where the file has to be imported.
    """
    known = literals(folder, name)
    if not all(constant in known for constant in required):
        known = vars(load_module(kind, folder, name, required))
    return {key: known[key] for key in (*required, *optional) if key in known}
