"""Classical methods on Set5: seconds per image, beside the papers' own, bicubic and SRCNN.

    pytest tests/speed/test_classical.py -s

All threads work on one image, the five images one after the other; what is told is the fastest of
the rounds, per image, and its ratio to bicubic interpolation and to SRCNN 9-1-5 in the same run.
ANR and A+ are also held to their own floor: the convolution that makes their features, one matrix
product with all anchors, and one of features with a single regressor, which is as many multiplies
as they need without any search, gathering or averaging.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

import zoo
from bench import datasets, images, machine, protocol, published, weights
from bench.evaluate import interpolate, prepare
from bench.progress import Progress
from zoo.anchored import AnchoredRegression

CPU = torch.device("cpu")
RULES = protocol.load("srcnn2014")
FAST = ("bicubic", "gr", "anr", "a-plus", "k-svd", "srcnn-9-1-5", "srcnn-9-5-5")
SLOW = ("ne-lle", "ne-nnls", "sc")


@pytest.fixture(scope="module", autouse=True)
def freed_memory_is_kept() -> Iterator[None]:
    machine.keep_freed_memory()
    with torch.no_grad():
        yield


def inputs(name: str, scale: int) -> list[Tensor]:
    """What the method is given for each image of Set5."""
    method, _ = zoo.load(name)
    given = []
    for file in datasets.load("set5", Progress()).images:
        hr, lr = prepare(images.decode(file.path), scale, RULES, method, CPU)
        if method.takes == "interpolated" and name != "bicubic":
            size = (hr.shape[-2], hr.shape[-1])
            lr = interpolate(lr, size, "bicubic", RULES, eight_bit=False)
        given.append((lr[None] / 255).float())
    return given


def module(name: str, scale: int) -> nn.Module:
    method, _ = zoo.load(name)
    chosen = weights.choose(method, "", scale)
    weights.fetch_missing(method, chosen, Progress())
    return weights.build(method, chosen, scale, CPU)


def interpolated(scale: int) -> Callable[[Tensor], Tensor]:
    return lambda lr: interpolate(
        lr[0], (lr.shape[2] * scale, lr.shape[3] * scale), "bicubic", RULES, eight_bit=False
    )


def floor(network: nn.Module, scale: int) -> Callable[[Tensor], None]:
    """The matrix products of ANR or A+ alone."""
    assert isinstance(network, AnchoredRegression)
    anchors = network.anchors.T.contiguous()
    regressor = network.regressors[0].contiguous()

    def work(x: Tensor) -> None:
        described = conv2d(x, network.features, stride=scale)
        vectors = described.permute(0, 2, 3, 1).reshape(-1, described.shape[1])
        for part in torch.split(vectors, 1024):
            torch.mm(part, anchors)
        torch.mm(vectors, regressor)

    return work


def fastest(works: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Seconds of each, the least of rounds in turn, so that a busy machine slows all."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            found[name].append(time.perf_counter() - began)
    return {name: min(times[1:]) for name, times in found.items()}


def over_set5(run: Callable[[Tensor], object], given: list[Tensor]) -> Callable[[], None]:
    def work() -> None:
        for x in given:
            run(x)

    return work


def printed(scale: int) -> dict[str, float]:
    """The paper's seconds per image, averaged over Set5."""
    rows = [claim.result for claim in published.load("srcnn2014_set5").claims]
    return {
        row.method: row.value
        for row in rows
        if row.quantity == "seconds" and row.scale == scale and not row.image
    }


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_seconds_per_image(scale: int, mirror: Path) -> None:
    works = {}
    for name in (*FAST, *SLOW):
        run = interpolated(scale) if name == "bicubic" else module(name, scale)
        works[name] = over_set5(run, inputs(name, scale))
    anchored = {name: module(name, scale) for name in ("anr", "a-plus")}
    for name, network in anchored.items():
        works[f"floor of {name}"] = over_set5(floor(network, scale), inputs(name, scale))
    seconds = fastest({name: work for name, work in works.items() if name not in SLOW}, 5)
    seconds |= fastest({name: works[name] for name in SLOW}, 1)
    papers = printed(scale)
    print(f"\nSet5 x{scale}, {torch.get_num_threads()} threads: seconds per image, the paper's, "
          "times bicubic, times SRCNN 9-1-5")  # fmt: skip
    for name, took in seconds.items():
        ratios = (took / seconds[peer] for peer in ("bicubic", "srcnn-9-1-5"))
        said = papers.get(name, "")
        print(f"{name:16} {took / 5:8.4f} {said:8}", *(f"{ratio:8.2f}" for ratio in ratios))
    for name in anchored:
        ratio = seconds[name] / seconds[f"floor of {name}"]
        print(f"{name}: {ratio:.2f} times its matrix products")
        assert seconds[name] < seconds["srcnn-9-5-5"]
        assert ratio < 3
