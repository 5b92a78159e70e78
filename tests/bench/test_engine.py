"""From units to the store: failures are named, and others are measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import zoo
from bench import engine, plan
from bench.datasets import Dataset, ImageFile
from bench.engine import Ran, run_inline
from bench.files.whole import sha256_of
from bench.plan import AccuracyRequest, Unit, accuracy_units
from bench.progress import Progress
from bench.protocol import load
from bench.result import Result
from bench.store import Store
from zoo.errors import InputError

CPU = torch.device("cpu")
QUIET = Progress(quiet=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def units(tmp_path: Path) -> list[Unit]:
    """An accuracy at x2 and at x3, and a cost."""
    image = tmp_path / "a.png"
    image.write_bytes(b"pixels")
    method, tag = zoo.load("bicubic")
    dataset = Dataset("mine", (ImageFile("a", image, sha256_of(image)),))
    requests = [AccuracyRequest(method, tag, scale, dataset, load("srcnn2014")) for scale in (2, 3)]
    made = accuracy_units(requests, CPU, ("psnr",))
    return made + [unit for unit in plan.cost_units(plan.costs_of(made[:1], timed=False))
                   if unit.names == ("parameters",)]  # fmt: skip


def value(unit: Unit) -> Result:
    quantity = "psnr_y" if unit.dataset else "parameters"
    return Result(method="bicubic", scale=unit.scale, quantity=quantity, value=1.0)


def run(units: list[Unit], store: Store, **options: bool) -> Ran:
    return run_inline(units, store, "r1", QUIET, **options)


def measuring(patch: pytest.MonkeyPatch, fail: dict[int, Exception]) -> list[str]:
    """Replace `measure`: it fails at these scales; the labels of all units that it got."""
    asked = []

    def measure(unit: Unit, *_: object) -> list[Result]:
        asked.append(unit.label)
        if unit.dataset and unit.scale in fail:
            raise fail[unit.scale]
        return [value(unit)]

    patch.setattr(engine, "measure", measure)
    return asked


def test_a_unit_that_fails_is_named_and_the_others_are_measured(
    units: list[Unit], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring(monkeypatch, {2: InputError("too small")})
    assert run(units, store) == Ran(2, [("bicubic x2 mine", "too small")])
    assert [found.scale for found in store.results()] == [3, 2]
    measuring(monkeypatch, {})
    assert run(units, store) == Ran(1, [])  # only what failed is measured


def test_any_exception_is_one_line(
    units: list[Unit], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring(monkeypatch, {2: KeyError("x"), 3: ZeroDivisionError("by\nzero")})
    reasons = [failure.reason for failure in run(units, store).failures]
    assert reasons[0].startswith("raised KeyError: 'x'; set SISRBENCH_TRACEBACK=1")
    assert reasons[1].startswith("raised ZeroDivisionError: by zero; set")
    monkeypatch.setenv("SISRBENCH_TRACEBACK", "1")
    with pytest.raises(KeyError):
        run(units, store)


def test_costs_are_not_measured_where_no_image_can_be(
    units: list[Unit], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = measuring(monkeypatch, {2: InputError("bad"), 3: InputError("bad")})
    assert len(run(units, store).failures) == 2
    assert asked == ["bicubic x2 mine", "bicubic x3 mine"]
    assert store.results() == []


def test_a_file_that_changes_while_it_is_measured_leaves_no_number(
    units: list[Unit], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(unit: Unit, *_: object) -> list[Result]:
        (tmp_path / "a.png").write_bytes(b"other pixels")
        return [value(unit)]

    monkeypatch.setattr(engine, "measure", measure)
    failures = run(units[:1], store).failures
    assert failures == [
        ("bicubic x2 mine", "images changed while it was measured, so nothing is kept; run again")
    ]
    assert store.results() == []


def test_times_are_measured_again_where_asked(
    units: list[Unit], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = replace(units[2], names=("seconds",))
    asked = measuring(monkeypatch, {})
    for again in (False, False, True):
        run([*units, timed], store, again=again)
    assert asked.count(timed.label) == 2
    assert len(asked) == 5


def test_what_is_measured_again_says_why(
    units: list[Unit],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measuring(monkeypatch, {})
    run(units, store)
    newer = {**units[0].facts["libraries"], "torch": "99.0"}
    monkeypatch.setattr(plan.machine, "libraries", lambda *_: newer)
    changed = [replace(unit) for unit in units]  # a copy has no cached facts
    run_inline(changed, store, "r1", Progress())
    reason = f"torch {torch.__version__} -> 99.0"
    assert f"measured again: 3 of 3, since this changed: {reason}" in capsys.readouterr().err
