"""Imports point one way: a package, or a room of `bench`, may import only what stands before it.

Rooms are the files directly under `bench/` (the doors) and its folders (wings and registries).
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("zoo", "bench", "reports", "sisrbench")
ORDER = (
    "zoo",
    "bench.result",
    "bench.progress",
    "bench.protocol",
    "bench.inference",
    "bench.files",
    "bench.images",
    "bench.datasets",
    "bench.metrics",
    "bench.published",
    "bench.experiments",
    "bench.graph",
    "bench.timing",
    "bench.machine",
    "bench.tiles",
    "bench.network",
    "bench.evaluate",
    "bench.costs",
    "bench.hints",
    "bench.runtimes",
    "bench.sources",
    "bench.foreign",
    "bench.plan",
    "bench.measure",
    "bench.store",
    "bench.engine",
    "bench.training",
    "bench.claims",
    "reports",
    "bench.session",
    "bench.cli",
    "sisrbench",
)
"""From what imports nothing of ours to what may import everything."""
ONLY = {
    "zoo": set(),
    "reports": {"bench.result"},
    "bench.result": {"zoo"},
    "sisrbench": {
        "bench.claims",
        "bench.evaluate",
        "bench.images",
        "bench.inference",
        "bench.metrics",
        "bench.progress",
        "bench.protocol",
        "bench.published",
        "bench.session",
        "bench.sources",
        "bench.store",
        "bench.timing",
        "reports",
        "zoo",
    },
}
"""Rooms that may import less than the order allows."""
USERS_OF_REPORTS = {"bench.session", "bench.cli", "sisrbench"}
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def _room(module: str) -> str:
    """The package, or the door or wing of `bench`, that a module is in."""
    package, *rest = module.split(".")
    return ".".join([package, *rest[:1]]) if package == "bench" else package


def _exists(module: str) -> bool:
    place = ROOT.joinpath(*module.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


@cache
def _imported(path: Path) -> frozenset[str]:
    """Modules of ours that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if _exists(inner) else str(node.module))
    return frozenset(name for name in found if name.split(".")[0] in PACKAGES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    own = _room(_module(path))
    if own == "bench":  # the package's own __init__ imports nothing
        assert not _imported(path)
        return
    rooms = {_room(module) for module in _imported(path)} - {own}
    allowed = ONLY.get(own, set(ORDER[: ORDER.index(own)]))
    if own not in USERS_OF_REPORTS:
        allowed = allowed - {"reports"}
    assert rooms <= allowed


def test_no_circle_of_modules() -> None:
    graph = {_module(path): _imported(path) - {_module(path)} for path in FILES}
    assert list(TopologicalSorter(graph).static_order())


def test_every_room_has_its_place() -> None:
    assert {_room(_module(path)) for path in FILES} == {*ORDER, "bench"}


def test_at_most_15_files_stand_under_bench() -> None:
    assert len(list((ROOT / "bench").glob("*.py"))) <= 15


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    found = {_module(path) for path in FILES if path.name == "__init__.py"}
    assert set(listed["setuptools"]["packages"]) == found


def _loaded(code: str, *modules: str) -> list[str]:
    """Which of the modules a fresh interpreter has loaded after the code."""
    code = f"{code}\nimport sys; print(*(m for m in {modules!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("module", ["reports.page", "reports.notebook"])
def test_pages_work_without_torch(module: str) -> None:
    assert not _loaded(f"import {module}", "torch")


def test_listing_methods_imports_none_of_them() -> None:
    methods = ("zoo.srcnn", "zoo.espcn", "zoo.interpolation")
    assert not _loaded("import zoo; zoo.names()", *methods)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("--help", 0),
        ("--version", 0),
        ("run --help", 0),
        ("train --help", 0),
        ("check --help", 0),
        ("run -m bicubik", 2),
        ("cost ./nowhere.py", 2),
        ("run -d set6", 2),
        ("run --metric psn", 2),
        ("run --protocol x", 2),
        ("run -s 1", 2),
        ("run --memory much", 2),
        ("reproduce srcnn", 2),
        ("list method", 2),
        ("runn", 2),
        ("check nowhere.csv", 2),
    ],
)
def test_help_and_errors_of_usage_load_neither_torch_nor_pandas(
    arguments: str, status: int
) -> None:
    code = f"from bench.cli import main\nassert main.status({arguments.split()!r}) == {status}"
    assert not _loaded(code, "torch", "pandas")


def test_check_loads_neither_torch_nor_pandas(tmp_path: Path) -> None:
    columns = "method,weights,scale,dataset,image,protocol,inference,quantity,value,unit,spread"
    rows = "mine,,2,set5,,srcnn2014,,psnr_y,36.5,dB,,measured,,\n"
    for name in ("baseline.csv", "results.csv"):
        (tmp_path / name).write_text(f"{columns},source,run,note\n{rows}")
    arguments = ["check", str(tmp_path / "baseline.csv"), "--out", str(tmp_path)]
    code = f"from bench.cli import main\nassert main.status({arguments!r}) == 0"
    assert not _loaded(code, "torch", "pandas")
