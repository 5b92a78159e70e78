"""What a stored number is known by: every file of code that it may depend on."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from bench import costs, metrics
from bench.files.identity import COST_CODE, SHARED_CODE

ROOT = Path(__file__).parents[3]
EXEMPT = {
    "bench/datasets/__init__.py": "a data set is known by the hashes of its images",
    "bench/files/annotated_csv.py": "reads manifests, whose images are known by their hashes",
    "bench/files/fetch.py": "downloads are known by their hashes",
    "bench/files/identity.py": "makes the key",
    "bench/files/matlab.py": "reads weights, which are known by their hashes",
    "bench/files/registry.py": "finds the files of metrics and costs, which are in the key",
    "bench/files/weight_file.py": "reads weights, which are known by their hashes",
    "bench/files/weights.py": "reads weights, which are known by their hashes",
    "bench/files/whole.py": "hashes and writes",
    "bench/hints/output.py": "remarks on numbers, makes none",
    "bench/metrics/__init__.py": "finds metrics, whose files are in the key",
    "bench/plan.py": "makes the key",
    "bench/progress.py": "tells people",
    "bench/protocol.py": "a protocol is known by the hash of its rules",
    "bench/result.py": "holds numbers, makes none",
    "zoo/__init__.py": "finds methods, whose files are in the key",
    "zoo/errors.py": "errors",
    "zoo/method.py": "what a method fills in",
    "zoo/recipe.py": "what a recipe fills in",
}
"""Code that a number does not depend on, or that is known by other means."""


def _file(module: str) -> Path | None:
    place = ROOT.joinpath(*module.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


def _reached(sources: Iterable[Path]) -> set[str]:
    """Every file of ours that these import, directly or through others, and themselves."""
    found: set[Path] = set()
    waiting = list(sources)
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if len(tree.body) <= 1:  # a package's docstring
            found.discard(path)
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{a.name}" for a in node.names)]
            waiting += [inner for name in names if (inner := _file(name)) is not None]
    ours = {path.relative_to(ROOT) for path in found}
    return {str(path) for path in ours if path.parts[0] in ("bench", "zoo")}


def _known(*code: tuple[Path, ...]) -> set[str]:
    return {str(path.relative_to(ROOT)) for part in code for path in part} | EXEMPT.keys()


MEASURE = ROOT / "bench" / "measure.py"


@pytest.mark.parametrize("name", metrics.names())
def test_all_code_behind_a_metric_is_in_its_key(name: str) -> None:
    own = metrics.FOLDER / f"{name}.py"
    behind_costs = _known(COST_CODE)  # a metric's unit runs none of it
    assert _reached([MEASURE, own]) - behind_costs <= _known(SHARED_CODE, (own,))


@pytest.mark.parametrize("name", costs.names())
def test_all_code_behind_a_cost_is_in_its_key(name: str) -> None:
    own = costs.FOLDER / f"{name}.py"
    assert _reached([MEASURE, own]) <= _known(SHARED_CODE, COST_CODE, (own,))


def test_the_key_names_no_code_that_nothing_runs() -> None:
    own = [costs.FOLDER / f"{name}.py" for name in costs.names()]
    named = {str(path.relative_to(ROOT)) for path in SHARED_CODE + COST_CODE}
    assert named <= _reached([MEASURE, *own])
    assert not named & EXEMPT.keys()
