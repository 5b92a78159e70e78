"""What a stored number is known by: every file of code that it may depend on."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

import zoo
from bench import costs, metrics
from bench.files.identity import EXEMPT, NO_COST, NO_METRIC, ROOT, code_of, files_of

MEASURE = ROOT / "bench" / "measure.py"
OF_METRICS = {**EXEMPT, **NO_COST}
OF_COSTS = {**EXEMPT, **NO_METRIC}


def of(spec: str, *entries: Path, exempt: dict[str, str] | None = None) -> dict[str, str]:
    method, _ = zoo.load(spec)
    return code_of(MEASURE, *entries, *files_of(method), exempt=exempt or EXEMPT)


BEHIND_PSNR = {
    "bench/__init__.py",
    "bench/evaluate.py",
    "bench/files/__init__.py",
    "bench/files/matlab.py",
    "bench/files/packed.py",
    "bench/files/weight_file.py",
    "bench/files/weights.py",
    "bench/graph/__init__.py",
    "bench/graph/counting.py",
    "bench/graph/field.py",
    "bench/graph/trace.py",
    "bench/hints/__init__.py",
    "bench/hints/output.py",
    "bench/hints/repeat.py",
    "bench/images.py",
    "bench/inference.py",
    "bench/machine.py",
    "bench/measure.py",
    "bench/metrics/psnr.py",
    "bench/network.py",
    "bench/protocol.py",
    "bench/tiles.py",
    "zoo/method.py",
    "zoo/resample.py",
    "zoo/vdsr.py",
}


def test_the_code_behind_a_metric_is_found_by_following_imports() -> None:
    found = of("vdsr", metrics.FOLDER / "psnr.py", exempt=OF_METRICS)
    assert found.keys() == BEHIND_PSNR


def test_the_code_behind_a_cost_has_the_size_for_which_costs_are_stated() -> None:
    found = of("vdsr", costs.FOLDER / "seconds.py", exempt=OF_COSTS)
    assert "bench/hints/output.py" not in found
    assert found.keys() - BEHIND_PSNR == {
        "bench/costs/__init__.py",
        "bench/costs/seconds.py",
        "bench/graph/growth.py",
        "bench/timing/__init__.py",
        "bench/timing/clock.py",
        "bench/timing/roofline.py",
    }


def test_a_self_ensemble_has_the_code_of_its_wrapper() -> None:
    assert "zoo/ensemble.py" in of("vdsr+", exempt=OF_METRICS)
    assert "zoo/ensemble.py" not in of("vdsr", exempt=OF_METRICS)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module `identity`, with a copy of the project as the project's folder."""
    for package in ("zoo", "bench"):
        large = shutil.ignore_patterns("*.safetensors", "__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=large)
    place = ROOT / "bench" / "files" / "identity.py"
    spec = importlib.util.spec_from_file_location("copied_identity", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "copied_identity", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


@pytest.mark.parametrize("kind", ["metric", "cost"])
def test_an_edit_of_any_file_behind_a_number_changes_its_code(
    copied: ModuleType, kind: str
) -> None:
    root = copied.ROOT
    own = "bench/metrics/ssim.py" if kind == "metric" else "bench/costs/seconds.py"
    exempt = OF_METRICS if kind == "metric" else OF_COSTS
    entries = [root / "bench/measure.py", root / own, root / "zoo/scsr.py"]
    before = copied.code_of(*entries, exempt=exempt)
    assert len(before) > 15
    for name in before:
        text = (root / name).read_bytes()
        (root / name).write_bytes(text + b"\n# edited\n")
        assert copied.code_of(*entries, exempt=exempt) != before, name
        (root / name).write_bytes(text)
    assert copied.code_of(*entries, exempt=exempt) == before


@pytest.mark.parametrize("name", EXEMPT)
def test_a_file_that_is_no_longer_exempt_counts(name: str) -> None:
    entries = [MEASURE, *(metrics.FOLDER / f"{metric}.py" for metric in metrics.names())]
    entries += [costs.FOLDER / f"{cost}.py" for cost in costs.names()]
    assert name in code_of(*entries, exempt=[other for other in EXEMPT if other != name])
