"""Classical methods on Set5: seconds per image, beside the papers' own, bicubic and SRCNN.

    pytest tests/speed/test_classical.py -s

All threads work on one image, the five images one after the other; what is told is the fastest of
the rounds, per image, and its ratio to bicubic interpolation and to SRCNN 9-1-5 in the same run.
ANR and A+ are also held to their own matrix products: the convolution that makes features, the
product with all anchors, and those of blocks of 16 patches with their anchors' regressors, blocks
and regressors laid out beforehand. A stricter floor is told beside it: one regressor for all
patches, as many multiplies in a single product.
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
from bench import datasets, images, protocol, published
from bench.cli.main import keep_freed_memory
from bench.evaluate import hr_and_lr, interpolate
from bench.files import weights
from bench.progress import Progress
from zoo.anchored import AnchoredRegression

CPU = torch.device("cpu")
RULES = protocol.load("srcnn2014")
FAST = ("bicubic", "gr", "anr", "a-plus", "k-svd", "srcnn-9-1-5", "srcnn-9-5-5")
SLOW = ("ne-lle", "ne-nnls", "sc")


@pytest.fixture(scope="module", autouse=True)
def freed_memory_is_kept() -> Iterator[None]:
    keep_freed_memory()
    with torch.no_grad():
        yield


def inputs(name: str, scale: int) -> list[Tensor]:
    """What the method is given for each image of Set5."""
    method, _ = zoo.load(name)
    given = []
    for file in datasets.load("set5", Progress()).images:
        hr, lr = hr_and_lr(images.decode(file.path), scale, RULES, method.channels, CPU)
        if method.takes == "interpolated" and name != "bicubic":
            size = (hr.shape[-2], hr.shape[-1])
            lr = interpolate(lr, size, "bicubic", RULES, eight_bit=False)
        given.append((lr[None] / 255).float())
    return given


def module(name: str, scale: int) -> nn.Module:
    method, _ = zoo.load(name)
    chosen = weights.of_tag(method, "", scale)
    weights.download(method, chosen, Progress())
    return weights.build(method, chosen, scale, CPU)


def interpolated(scale: int) -> Callable[[Tensor], Tensor]:
    return lambda lr: interpolate(
        lr[0], (lr.shape[2] * scale, lr.shape[3] * scale), "bicubic", RULES, eight_bit=False
    )


def products(network: nn.Module, scale: int, x: Tensor, strict: bool) -> Callable[[], None]:
    """The matrix products of ANR or A+ alone; strictly, with one regressor for all."""
    assert isinstance(network, AnchoredRegression)
    anchors = network.anchors.T.contiguous()
    described = conv2d(x, network.features, stride=scale)
    vectors = described.permute(0, 2, 3, 1).reshape(-1, described.shape[1])
    anchor = torch.cat([network.nearest(part) for part in torch.split(vectors, 1024)])
    blocks = (torch.bincount(anchor, minlength=len(network.anchors)) + 15) // 16
    regressors = network.regressors[torch.repeat_interleave(blocks)]
    filled = torch.rand(len(regressors), 16, vectors.shape[1])

    def work() -> None:
        conv2d(x, network.features, stride=scale)
        for part in torch.split(vectors, 1024):
            torch.mm(part, anchors)
        if strict:
            torch.mm(vectors, network.regressors[0])
        else:
            torch.bmm(filled, regressors)

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
    anchored = ("anr", "a-plus")
    for name in anchored:
        network = module(name, scale)
        for floor in ("products", "strictly"):
            each = [products(network, scale, x, floor == "strictly") for x in inputs(name, scale)]
            works[f"{name}, {floor}"] = lambda each=each: [work() for work in each]  # type: ignore[misc]
    seconds = fastest({name: work for name, work in works.items() if name not in SLOW}, 5)
    seconds |= fastest({name: works[name] for name in SLOW}, 1)
    papers = printed(scale)
    print(f"\nSet5 x{scale}, {torch.get_num_threads()} threads: seconds per image, the paper's, "
          "times bicubic, times SRCNN 9-1-5")  # fmt: skip
    for name, took in seconds.items():
        ratios = (took / seconds[peer] for peer in ("bicubic", "srcnn-9-1-5"))
        said = papers.get(name, "")
        print(f"{name:18} {took / 5:8.4f} {said:8}", *(f"{ratio:8.2f}" for ratio in ratios))
    for name in anchored:
        ratio, strict = (seconds[name] / seconds[f"{name}, {floor}"]
                         for floor in ("products", "strictly"))  # fmt: skip
        print(f"{name}: {ratio:.2f} times its matrix products, {strict:.2f} times the strict floor")
        assert seconds[name] < seconds["srcnn-9-5-5"]
        assert ratio < 3
