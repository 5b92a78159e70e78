"""Imports point one way: zoo <- bench, reports apart, all three only in bench/cli.py."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {"zoo": {"zoo"}, "bench": {"zoo", "bench"}, "reports": {"reports"}}
FILES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


def _ours(path: Path) -> set[str]:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    return imported & set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = ALLOWED[package] | ({"reports"} if path == ROOT / "bench" / "cli.py" else set())
    assert _ours(path) <= allowed


def test_pages_work_without_torch() -> None:
    code = "import reports.page, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_listing_methods_imports_none_of_them() -> None:
    code = (
        "import sys, zoo; zoo.names(); "
        "sys.exit(any(m in sys.modules for m in ('zoo.srcnn', 'zoo.espcn', 'zoo.interpolation')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
