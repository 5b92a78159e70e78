"""A folder as a registry: a broken file says what is wrong with it, and breaks only itself."""

from __future__ import annotations

import types
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


def written(folder: Path, kind: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric or cost of one's own, in a folder that stands for the registry."""
    module = {"metric": metrics, "cost": costs}[kind]
    (folder / "mine.py").write_text(text)
    monkeypatch.setattr(module, "FOLDER", folder)
    loaded = types.ModuleType("mine")
    exec(text, vars(loaded))
    monkeypatch.setattr("bench.files.registry.load_module", lambda *_: loaded)


@pytest.mark.parametrize("better", ["True", "False", "None", "not False"])
def test_a_metric_may_say_which_way_is_better_in_any_way(
    better: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"UNIT = 'dB'\nHIGHER_IS_BETTER = {better}\nmeasure = None\n"
    written(tmp_path, "metric", text, monkeypatch)
    assert metrics.quantities()["mine_y"].higher_is_better is eval(better)


@pytest.mark.parametrize("tolerance", ["-1", "'0.1'", "None", "True", "1e999"])
def test_a_metric_has_a_finite_tolerance(
    tolerance: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"UNIT = ''\nHIGHER_IS_BETTER = True\nTOLERANCE = {tolerance}\nmeasure = None\n"
    written(tmp_path, "metric", text, monkeypatch)
    with pytest.raises(InputError, match=r"mine\.py: TOLERANCE is not a finite number"):
        metrics.quantities()


@pytest.mark.parametrize("better", ["1", "'yes'", "()"])
def test_a_metric_says_nothing_else(
    better: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"UNIT = 'dB'\nHIGHER_IS_BETTER = {better}\nmeasure = None\n"
    written(tmp_path, "metric", text, monkeypatch)
    with pytest.raises(InputError, match=r"mine\.py: HIGHER_IS_BETTER is not True, False or None"):
        metrics.quantities()


@pytest.mark.parametrize(
    ("better", "found"), [("('px_per_s',)", True), ("tuple(UNITS)[:1]", True), ("()", False)]
)
def test_a_cost_names_what_is_better_where_more(
    better: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"TIMED = True\nUNITS = {{'px_per_s': '', 's': 's'}}\nHIGHER_IS_BETTER = {better}\n"
    written(tmp_path, "cost", text, monkeypatch)
    assert costs.quantities()["px_per_s"].higher_is_better is found
    assert costs.quantities()["s"].higher_is_better is False


@pytest.mark.parametrize("better", ["('px_per_s')", "True", "('other',)"])
def test_a_cost_that_names_no_quantity_is_refused(
    better: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"TIMED = True\nUNITS = {{'px_per_s': '', 's': 's'}}\nHIGHER_IS_BETTER = {better}\n"
    written(tmp_path, "cost", text, monkeypatch)
    with pytest.raises(InputError, match=r"mine\.py: HIGHER_IS_BETTER is not a tuple of"):
        costs.quantities()
