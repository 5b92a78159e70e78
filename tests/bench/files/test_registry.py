"""A folder as a registry: a broken file says what is wrong with it, and breaks only itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import costs, metrics
from bench.files.registry import load_module, module_names
from zoo.errors import InputError


def test_names_are_file_names_and_private_files_are_left_out(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "__init__.py", "_helper.py", "notes.txt"):
        (tmp_path / name).write_text("")
    assert module_names(tmp_path) == ["a", "b"]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no metric 'ssin'; did you mean 'ssim'"):
        metrics.load("ssin")


def test_a_file_that_does_not_import_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("")  # listed here, but not in the package bench.<folder>
    with pytest.raises(InputError, match=r"broken\.py does not import: ModuleNotFoundError"):
        load_module("metric", tmp_path, "broken", ())


def test_a_file_that_lacks_an_attribute_is_named() -> None:
    with pytest.raises(InputError, match=r"psnr\.py lacks SPEED, COLOUR"):
        load_module("metric", metrics.FOLDER, "psnr", ("measure", "SPEED", "COLOUR"))


@pytest.mark.parametrize("name", metrics.names())
def test_every_metric_keeps_the_contract(name: str) -> None:
    metric = metrics.load(name)
    assert isinstance(metric.UNIT, str)
    assert metric.HIGHER_IS_BETTER in (True, False, None)


@pytest.mark.parametrize("name", costs.names())
def test_every_cost_keeps_the_contract(name: str) -> None:
    cost = costs.load(name)
    assert isinstance(cost.TIMED, bool)
    assert cost.UNITS
