"""A folder as a registry: a thing's name is its file's name, and listing imports nothing.

And the other way round: which files a method's code is in.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import zoo
from zoo.errors import InputError, one_line, unknown

_ZOO = Path(zoo.__file__).parent
_CONTRACT = (_ZOO / "method.py", _ZOO / "recipe.py", _ZOO / "errors.py")
"""Code that no number depends on."""


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


def code_of(source: Path) -> list[Path]:
    """A method's file, and every file of `zoo` that it imports or that these do, sorted."""
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path in found or path in _CONTRACT or not path.is_file():
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            waiting += [_ZOO / f"{name[4:]}.py" for name in names if name.startswith("zoo.")]
    return sorted(found)
