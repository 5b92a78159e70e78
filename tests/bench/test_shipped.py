"""Networks that this project trained and ships: what their files say is what they reach."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import zoo
from bench import datasets, protocol
from bench.files import fetch, weights
from bench.progress import Progress
from bench.training import provenance, session

SHIPPED = [
    (name, scale) for name in ("srcnn-9-1-5@sisrbench", "espcn@sisrbench") for scale in (2, 3, 4)
]
PRINTED = {  # Set5: SRCNN, ECCV 2014, and ESPCN, CVPR 2016, learned from 91 images
    ("srcnn-9-1-5@sisrbench", 2): 36.34,
    ("srcnn-9-1-5@sisrbench", 3): 32.39,
    ("srcnn-9-1-5@sisrbench", 4): 30.09,
    ("espcn@sisrbench", 3): 32.55,
}
LIMIT = 30 * 2**20
"""Bytes that the package may take."""


def facts(spec: str, scale: int) -> dict[str, str]:
    method, tag = zoo.load(spec)
    chosen = weights.resolve(method, tag, scale)
    assert chosen.file is not None
    return provenance.facts_of(fetch.local_path(chosen.file))


def psnr(spec: str, scale: int, name: str, rules: str) -> float:
    method, tag = zoo.load(spec)
    module = weights.build(method, weights.resolve(method, tag, scale), scale, torch.device("cpu"))
    dataset = datasets.load(name, Progress())
    validation = session.Validation(dataset=dataset, protocol=protocol.load(rules), every=0)
    with torch.no_grad():
        return validation.judge(method, scale, torch.device("cpu"))(module)


@pytest.mark.parametrize(("spec", "scale"), SHIPPED)
def test_a_file_says_how_it_was_made_and_what_it_reaches(spec: str, scale: int) -> None:
    known = facts(spec, scale)
    assert known["recipe"] == "sisrbench"
    assert [name for name, _ in json.loads(known["data"])] == ["t91"]
    assert int(known["updates"]) > 0
    assert float(known["seconds"]) > 0
    assert known["device"]
    assert {"psnr set5", "psnr set14", "psnr b100"} <= known.keys()
    curve = json.loads(known["curve"])
    assert curve[-1]["update"] == int(known["updates"])
    assert math.isclose(curve[-1]["psnr"], float(known["psnr set5"]), abs_tol=1e-4)
    assert curve[-1]["psnr"] > curve[0]["psnr"]


@pytest.mark.parametrize(("spec", "scale"), SHIPPED)
def test_it_reaches_what_it_says(spec: str, scale: int, mirror: Path) -> None:
    known = facts(spec, scale)
    measured = psnr(spec, scale, "set5", known["validated by"])
    assert math.isclose(measured, float(known["psnr set5"]), abs_tol=1e-3)


@pytest.mark.parametrize(("spec", "scale"), PRINTED)
def test_it_is_at_most_a_tenth_below_what_the_paper_prints(spec: str, scale: int) -> None:
    known = facts(spec, scale)
    assert known["validated by"] == "srcnn2014"
    assert float(known["psnr set5"]) >= PRINTED[spec, scale] - 0.10


def test_the_weights_leave_the_package_small() -> None:
    folder = Path(zoo.__file__).parent / "weights"
    assert sum(path.stat().st_size for path in folder.iterdir()) < LIMIT
