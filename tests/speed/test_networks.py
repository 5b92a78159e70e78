"""EDSR-baseline x2 on a 510x339 image: against the processor's own peak, and against two peers.

    pytest tests/speed/test_networks.py -s

The peak is what one 3x3 convolution of 64 features reaches in the same run. ONNX Runtime and OpenCV
run the same weights on the same threads. The harness is held to the bare forward pass on Set14.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

import zoo
from bench import datasets, measure, plan, protocol
from bench.cli.main import keep_freed_memory
from bench.evaluate import hr_and_lr
from bench.files import weights
from bench.inference import DEFAULT, Inference
from bench.network import prepare as ready
from bench.progress import Progress

WIDTH, HEIGHT = 510, 339
CPU = torch.device("cpu")
seconds: dict[str, float] = {}
outputs: dict[str, np.ndarray] = {}


@pytest.fixture(scope="module", autouse=True)
def freed_memory_is_kept() -> Iterator[None]:
    keep_freed_memory()
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def network() -> nn.Module:
    method, _ = zoo.load("edsr-baseline")
    return weights.fresh(method, 2).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def onnx_file(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("onnx") / "edsr.onnx"
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(network, (image(),), str(path), opset_version=18, external_data=False,
                          dynamo=True, verbose=False)  # fmt: skip
    return path


def image() -> Tensor:
    return torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def run(name: str, work: Callable[[], object], benchmark: BenchmarkFixture, rounds: int) -> None:
    out = benchmark.pedantic(work, rounds=rounds, warmup_rounds=1)
    assert benchmark.stats is not None
    seconds[name] = benchmark.stats.stats.min
    outputs[name] = np.asarray(out)


def test_the_peak_of_a_convolution(benchmark: BenchmarkFixture) -> None:
    layer = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(1, 64, HEIGHT, WIDTH).contiguous(memory_format=torch.channels_last)
    run("one convolution", lambda: layer(x), benchmark, 10)


def test_the_peak_of_a_matrix_product(benchmark: BenchmarkFixture) -> None:
    left, right = torch.rand(2048, 2048), torch.rand(2048, 2048)
    run("one product", lambda: left @ right, benchmark, 10)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("default", DEFAULT),
        ("contiguous", Inference(memory_format="contiguous")),
        ("bf16", Inference(precision="bf16")),
        ("compiled", Inference(compiled=True)),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_this_harness(
    name: str, setting: Inference, network: nn.Module, benchmark: BenchmarkFixture
) -> None:
    prepared = ready(network, setting, 2, CPU)
    run(name, lambda: prepared(image()), benchmark, 4)


def test_onnx_runtime(onnx_file: Path, benchmark: BenchmarkFixture) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        str(onnx_file), options, providers=["CPUExecutionProvider"]
    )
    given = {session.get_inputs()[0].name: image().numpy()}
    run("ONNX Runtime", lambda: session.run(None, given)[0], benchmark, 4)


def test_opencv(onnx_file: Path, benchmark: BenchmarkFixture) -> None:
    cv2.setNumThreads(torch.get_num_threads())
    net = cv2.dnn.readNetFromONNX(str(onnx_file))
    pixels = image().numpy()

    def work() -> object:
        net.setInput(pixels)
        return net.forward()

    run("OpenCV", work, benchmark, 2)


def test_all_agree_and_the_ratios_are_told() -> None:
    for name in ("contiguous", "compiled", "ONNX Runtime", "OpenCV"):
        if name in outputs:
            np.testing.assert_allclose(outputs[name], outputs["default"], rtol=0, atol=1e-5)
    network = 1372608 * WIDTH * HEIGHT
    per_convolution = 9 * 64 * 64 * WIDTH * HEIGHT
    rate = network / seconds["default"]
    default = (
        f"default: {seconds['default']:.2f} s, {rate / 1e9:.0f} G multiplies/s, "
        f"{rate * seconds['one convolution'] / per_convolution:.2f} of one convolution's rate, "
        f"{rate * seconds['one product'] / 2048**3:.2f} of a matrix product's"
    )
    lines = [
        f"{name}: {seconds[name]:.2f} s, {seconds[name] / seconds['default']:.2f} of the default"
        for name in ("contiguous", "bf16", "compiled", "ONNX Runtime", "OpenCV")
        if name in seconds
    ]
    print("\n" + "\n".join([default, *lines]))


def test_the_harness_takes_little_beside_the_forward_pass(network: nn.Module) -> None:
    if "SISRBENCH_MIRROR" not in os.environ:
        pytest.skip("SISRBENCH_MIRROR is not set: this needs Set14")
    method, _ = zoo.load("edsr-baseline")
    rules = protocol.load("rcan2018")
    dataset = datasets.load("set14", Progress())
    wish = plan.AccuracyRequest(method, weights.NONE, 2, dataset, rules)
    (unit,) = plan.accuracy_units([wish], CPU, ["psnr", "ssim"])
    inputs = []
    for file in dataset.images:
        _, lr = hr_and_lr(measure.decoded(file.path, file.sha256), 2, rules, method.channels, CPU)
        inputs.append((lr.expand(3, -1, -1)[None] / 255).float())
    own = threading.local()

    def each_thread() -> None:
        torch.set_num_threads(1)
        own.run = ready(network, DEFAULT, 2, CPU)

    def bare(x: Tensor) -> None:
        with torch.no_grad():
            own.run(x)

    def whole() -> None:
        measure.decoded.cache_clear()
        measure.measure(unit, Progress())

    def passes() -> None:
        with ThreadPoolExecutor(torch.get_num_threads(), initializer=each_thread) as pool:
            list(pool.map(bare, inputs))

    times: dict[str, list[float]] = {"whole": [], "passes": []}
    for _ in range(4):  # in turn, so that a busy machine slows both
        for name, work in (("whole", whole), ("passes", passes)):
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    share = min(times["whole"][1:]) / min(times["passes"][1:]) - 1
    print(f"\nSet14 x2: {min(times['whole'][1:]):.2f} s, forward passes alone "
          f"{min(times['passes'][1:]):.2f} s: {share:.1%} more")  # fmt: skip
