"""The code that a number depends on: the files of a method and of the harness, as hashes."""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

import zoo

_ZOO = Path(zoo.__file__).parent
_CONTRACT = (_ZOO / "method.py", _ZOO / "recipe.py", _ZOO / "errors.py")
"""Code that every method imports and no number depends on."""


def code_of(source: Path) -> list[Path]:
    """A method's file and all files of `zoo` imported from there, directly or not; sorted."""
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path in found or path in _CONTRACT or not path.is_file():
            continue
        found.add(path)
        # Read as text, because importing a user's file would run the file.
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                # `from zoo import patches` names a file, like `from zoo.patches import ...`.
                names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            waiting += [_ZOO / f"{name[4:]}.py" for name in names if name.startswith("zoo.")]
    return sorted(found)


_BENCH = Path(__file__).parents[1]
SHARED_CODE = (
    _ZOO / "resample.py",
    _ZOO / "ensemble.py",
    _BENCH / "images.py",
    _BENCH / "evaluate.py",
    _BENCH / "inference.py",
    _BENCH / "network.py",
    _BENCH / "tiles.py",
    _BENCH / "machine.py",
    _BENCH / "graph" / "trace.py",
    _BENCH / "graph" / "field.py",
    _BENCH / "measure.py",
)
"""Code that may change any number: after an edit, every result is measured again."""
COST_CODE = (
    _BENCH / "graph" / "counting.py",
    _BENCH / "graph" / "growth.py",
    _BENCH / "timing" / "clock.py",
    _BENCH / "timing" / "roofline.py",
    _BENCH / "costs" / "__init__.py",
)
"""Code that several costs share: after an edit, every cost is measured again."""


@lru_cache
def method_code(source: Path) -> str:
    """SHA-256, in hex, of a method's file and of the files of `zoo` imported from there."""
    return hash_of(tuple(code_of(source)))


@lru_cache
def hash_of(paths: tuple[Path, ...]) -> str:
    """SHA-256, in hex, of the bytes of several files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
