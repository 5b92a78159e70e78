from __future__ import annotations

from pathlib import Path

import pytest
import torch

import zoo
from bench.datasets import Dataset
from bench.files.identity import IN_EVERY_KEY, ROOT, code_of
from bench.files.weights import ResolvedWeights
from bench.plan import AccuracyRequest, Unit, accuracy_units
from bench.protocol import load
from zoo.method import Method

METHOD = """
from torch import nn
from zoo.method import Method
from helper import AMOUNT

NAMES = ("mine",)

def method(name):
    return Method(name=name, citation="", takes="interpolated", channels="any",
                  build=lambda scale, settings: nn.Identity())
"""


def unit(method: Method) -> Unit:
    return Unit(
        method=method,
        weights=ResolvedWeights("", ""),
        scale=2,
        protocol=load("srcnn2014"),
        device=torch.device("cpu"),
        names=("parameters",),
    )


def test_an_edit_to_what_a_method_imports_makes_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source, helper, other = (tmp_path / f"{name}.py" for name in ("mine", "helper", "other"))
    helper.write_text("AMOUNT = 1")
    source.write_text(METHOD)
    method, _ = zoo.load(str(source))
    before = unit(method).key
    other.write_text("AMOUNT = 3")
    assert unit(method).key == before
    helper.write_text("AMOUNT = 2")
    assert unit(method).key != before


def test_every_key_holds_the_libraries_that_no_methods_code_is_followed_into() -> None:
    method, _ = zoo.load("bicubic")
    assert set(IN_EVERY_KEY.values()) <= unit(method).facts["libraries"].keys()


def test_units_keep_the_order_in_which_datasets_are_asked_for() -> None:
    method, _ = zoo.load("bicubic")
    requests = [
        AccuracyRequest(method, "", scale, Dataset(name, ()), load("srcnn2014"))
        for scale in (2, 3)
        for name in ("set5", "set14", "b100")
    ]
    units = accuracy_units(requests, torch.device("cpu"), ("psnr",))
    found = [(unit.dataset.name, unit.scale) for unit in units if unit.dataset]
    assert found == [(name, scale) for name in ("set5", "set14", "b100") for scale in (2, 3)]


def test_a_module_that_is_imported_by_a_text_is_part_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "entry_of_mine.py").write_text("import importlib")
    helper = tmp_path / "helper_of_mine.py"
    helper.write_text("AMOUNT = 1")
    exempt = ROOT / "bench" / "plan.py"
    found = code_of(tmp_path / "entry_of_mine.py", exempt, modules=["helper_of_mine"])
    assert found.keys() == {"entry_of_mine.py", "helper_of_mine.py"}
