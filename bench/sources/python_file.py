"""What a Python file defines, read without importing it."""

from __future__ import annotations

import ast
from pathlib import Path


def classes_in(path: Path) -> list[str]:
    """Names of the classes that a file defines at its top; () if it cannot be parsed."""
    return [node.name for node in _parsed(path) if isinstance(node, ast.ClassDef)]


def defines(path: Path, name: str) -> bool:
    """Whether a file may define a name at its top; yes if it cannot be told."""
    nodes = _parsed(path)
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return True
        if isinstance(node, ast.ImportFrom | ast.Import):
            if {alias.asname or alias.name for alias in node.names} & {name, "*"}:
                return True
        elif not isinstance(node, ast.FunctionDef | ast.ClassDef) and any(
            isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(node)
        ):
            return True
    return not nodes


def _parsed(path: Path) -> list[ast.stmt]:
    """The statements of a file; none if it cannot be parsed."""
    try:
        return ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, UnicodeDecodeError, ValueError):
        return []
