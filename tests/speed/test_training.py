"""Training: updates per second against the machine's roofline, and what a step spends elsewhere.

    pytest tests/speed/test_training.py -s

Three times the multiplies of the forward pass are the arithmetic of an update: one for SR, two for
the gradients. The share outside is measured in the same run, against a bare loop of forward,
backward and optimizer on one batch that never changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

import zoo
from bench.cli.main import keep_freed_memory
from bench.files import weights
from bench.inference import DEFAULT
from bench.network import layout
from bench.timing import roofline
from bench.training import losses, optimisation
from bench.training.descent import DescentInputs, descend
from bench.training.feed import Feed, Picture
from zoo.method import Method
from zoo.recipe import Descent

CPU = torch.device("cpu")
SHARE = {"srcnn-9-1-5": 0.10, "espcn": 0.20}
"""Of a step's time, outside forward, backward and optimizer, by our own recipes."""
PAPERS = 0.05
"""The same with the batches of the papers."""
CASES = {
    "EDSR-baseline x2, 16 of 48x48": ("edsr-baseline", "cvprw2017", 2, "fp32", 1),
    "the same in bf16": ("edsr-baseline", "cvprw2017", 2, "bf16", 1),
    "SRCNN 9-1-5 x3, 128 of 33x33": ("srcnn-9-1-5", "eccv2014", 3, "fp32", 12),
    "SRCNN 9-1-5 x3, 12 of 75x75": ("srcnn-9-1-5", "sisrbench", 3, "fp32", 20),
    "ESPCN x3, 32 of 17x17": ("espcn", "sisrbench", 3, "fp32", 150),
}
"""Method, recipe, scale, precision, updates that are timed."""


@pytest.fixture(scope="module", autouse=True)
def freed_memory_is_kept() -> None:
    keep_freed_memory()


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    images = (skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea())
    planes = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in images]
    return [Picture(name=str(k), hr=hr) for k, hr in enumerate(planes)]


def multiplies(method: Method, descent: Descent, scale: int) -> float:
    """Of the forward pass of one update."""
    assert method.multiplies is not None
    pixels = descent.batch * descent.patch**2 / (1 if method.takes == "LR" else scale**2)
    return method.multiplies(scale, method.settings) * pixels


def steps(
    method: Method, descent: Descent, scale: int, precision: str, pictures: list[Picture]
) -> Iterator[object]:
    """The updates of the harness itself."""
    return descend(
        descent,
        DescentInputs(
            method=method,
            scale=scale,
            pictures=pictures,
            network=weights.fresh(method, scale),
            device=CPU,
            precision=precision,
            log=10**9,
        ),
    )


def bare(
    method: Method, descent: Descent, scale: int, precision: str, pictures: list[Picture]
) -> Iterator[None]:
    """Forward, backward and optimizer on the first batch, again and again."""
    lies = layout(DEFAULT, CPU)
    network: nn.Module = weights.fresh(method, scale).to(memory_format=lies)  # type: ignore[call-overload]
    network.train()
    batch = Feed(pictures, method, descent, scale, 0, CPU).batch(0, slice(0, descent.batch))
    objective = losses.Objective(network, losses.parse(descent.loss), descent.border, None, CPU)
    trainer, _ = optimisation.optimizer(network, descent, descent.rate)
    x: Tensor = batch.x.contiguous(memory_format=lies)
    while True:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss, _ = objective(x, batch.hr)
        trainer.zero_grad(set_to_none=True)
        loss.backward()
        trainer.step()
        yield


@pytest.mark.parametrize("case", CASES)
def test_training(case: str, pictures: list[Picture], benchmark: BenchmarkFixture) -> None:
    name, recipe, scale, precision, count = CASES[case]
    method, _ = zoo.load(name)
    learn = next(found.learn for found in method.recipes if found.name == recipe)
    assert isinstance(learn, Descent)
    descent = replace(learn, updates=10**6, skip=0.0)
    ours = steps(method, descent, scale, precision, pictures)
    peer = bare(method, descent, scale, precision, pictures)
    next(ours), next(peer)
    ratios = []

    def rounds() -> None:  # side by side, so that a busy machine is as busy for both
        spent = [0.0, 0.0]
        for _ in range(count):
            for k, work in enumerate((ours, peer)):
                began = time.perf_counter()
                next(work)
                spent[k] += time.perf_counter() - began
        ratios.append((spent[0] / count, spent[1] / count))

    benchmark.pedantic(rounds, rounds=3, warmup_rounds=0)
    full, alone = min(ratios)
    share = float(np.median([1 - b / a for a, b in ratios]))
    ceiling = roofline.ceilings(CPU, torch.bfloat16 if precision == "bf16" else torch.float32)
    done = 3 * multiplies(method, descent, scale) / full
    print(
        f"\n{case}: {1 / full:.2f} updates/s (bare loop {1 / alone:.2f}), "
        f"{done / 1e9:.1f} G multiplies/s, {done / ceiling.multiplies_per_second:.2f} of a matrix "
        f"product, outside {share:.1%}"
    )
    assert share < (SHARE[name] if recipe == "sisrbench" else PAPERS)
