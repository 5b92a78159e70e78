from __future__ import annotations

from pathlib import Path

import pytest
import torch

import zoo
from bench.files import identity
from bench.files.weights import ResolvedWeights
from bench.plan import Unit
from bench.protocol import load

METHOD = """
from torch import nn
from zoo.method import Method
from zoo.helper import AMOUNT

NAMES = ("mine",)

def method(name):
    return Method(name=name, citation="", takes="interpolated", channels="any",
                  build=lambda scale, settings: nn.Identity())
"""


def test_an_edit_to_what_a_method_imports_makes_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_ZOO", tmp_path)
    source, helper, other = (tmp_path / f"{name}.py" for name in ("mine", "helper", "other"))
    source.write_text(METHOD.replace("from zoo.helper import AMOUNT", ""))
    method, _ = zoo.load(str(source))
    source.write_text(METHOD)
    helper.write_text("AMOUNT = 1")

    def key() -> str:
        for cached in (identity.hash_of, identity.method_code):
            cached.cache_clear()
        return Unit(
            method=method,
            weights=ResolvedWeights("", ""),
            scale=2,
            protocol=load("srcnn2014"),
            device=torch.device("cpu"),
            names=("parameters",),
        ).key

    before = key()
    other.write_text("AMOUNT = 3")
    assert key() == before
    helper.write_text("AMOUNT = 2")
    assert key() != before
