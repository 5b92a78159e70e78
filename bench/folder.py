"""A folder as a registry: a thing's name is its file's name, and listing imports nothing."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

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
