from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import zoo
from bench import datasets, images, measure, plan, protocol
from bench.files import weights
from bench.inference import DEFAULT, Inference, switches
from bench.network import layout, prepare, refuse_unsupported
from bench.progress import Progress
from zoo.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture
def network() -> nn.Module:
    method, _ = zoo.load("espcn")
    return weights.fresh(method, 2).eval().requires_grad_(False)


def picture(height: int = 21, width: int = 30) -> Tensor:
    return torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(1))


def spy(layer: nn.Module) -> list[Tensor]:
    """What the layer gives, each time that it computes something."""
    seen: list[Tensor] = []

    def look(_: nn.Module, __: object, out: Tensor) -> None:
        if out.device == CPU:
            seen.append(out)

    layer.register_forward_hook(look)
    return seen


@pytest.mark.parametrize(
    ("setting", "label"),
    [
        (Inference(), ""),
        (Inference(precision="fp16"), "fp16"),
        (Inference(memory_format="contiguous", compiled=True), "contiguous compiled"),
        (Inference(batch=4, tile=64, memory=2**30), "batch=4 tile=64 memory=1073741824"),
    ],
)
def test_the_label_says_what_is_not_the_default(setting: Inference, label: str) -> None:
    assert setting.label == label


@pytest.mark.parametrize(
    ("setting", "tolerance"),
    [
        (DEFAULT, 0),
        (Inference(memory_format="contiguous"), 1e-6),
        (Inference(batch=3), 1e-6),
        (Inference(tile=8), 1e-6),
        (Inference(precision="bf16"), 2e-2),
        (Inference(precision="fp16"), 2e-3),
    ],
    ids=lambda value: getattr(value, "label", None),
)
def test_every_setting_gives_the_same_picture(
    setting: Inference, tolerance: float, network: nn.Module
) -> None:
    expected = network(picture())
    found = prepare(network, setting, 2, CPU)(picture())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance + 1e-6)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.half)])
def test_convolutions_compute_in_the_precision_that_was_asked_for(
    precision: str, dtype: torch.dtype, network: nn.Module
) -> None:
    seen = spy(network.get_submodule("conv2"))
    prepare(network, Inference(precision=precision), 2, CPU)(picture())
    prepare(network, DEFAULT, 2, CPU)(picture())
    assert [out.dtype for out in seen] == [dtype, torch.float32]


def test_a_batch_is_really_run(network: nn.Module) -> None:
    seen = spy(network.get_submodule("conv1"))
    prepare(network, Inference(batch=5), 2, CPU)(picture())
    assert [len(out) for out in seen] == [5]


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_a_compiled_network_gives_the_same_picture(network: nn.Module) -> None:
    found = prepare(network, Inference(compiled=True), 2, CPU)(picture())
    torch.testing.assert_close(found, network(picture()), rtol=0, atol=1e-6)


def test_feature_maps_lie_channels_last_on_a_processor(network: nn.Module) -> None:
    seen = spy(network.get_submodule("conv1"))
    prepare(network, DEFAULT, 2, CPU)(picture())
    prepare(network, Inference(memory_format="contiguous"), 2, CPU)(picture())
    last = [out.is_contiguous(memory_format=torch.channels_last) for out in seen]
    assert last == [True, False]
    assert layout(DEFAULT, torch.device("cuda")) == torch.contiguous_format


def test_tf32_is_refused_where_there_is_none() -> None:
    with pytest.raises(InputError, match=r"tf32 is a precision of NVIDIA GPUs, not of cpu; give"):
        refuse_unsupported(Inference(precision="tf32"), CPU)


def test_tf32_is_on_only_while_it_is_asked_for() -> None:
    def states() -> tuple[str, ...]:
        backends = torch.backends
        of_gpu = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
        of_processor = (backends.mkldnn.matmul, backends.mkldnn.conv)
        return tuple(each.fp32_precision for each in (*of_gpu, *of_processor))

    before = states()
    with switches(Inference(precision="tf32")):
        assert states() == ("tf32",) * 3 + ("ieee",) * 2
        with switches(DEFAULT):
            assert states() == ("ieee",) * 5
        assert states() == ("tf32",) * 3 + ("ieee",) * 2
    assert states() == before


def test_a_precision_set_for_all_does_not_reach_a_network() -> None:
    convolutions = torch.backends.mkldnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "bf16"
    try:
        with switches(DEFAULT):
            assert convolutions.fp32_precision == "ieee"
        assert convolutions.fp32_precision == "bf16"
    finally:
        convolutions.fp32_precision = before


@pytest.fixture
def photos(tmp_path: Path) -> datasets.Dataset:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (72, 88), dtype=np.uint8)
        (folder / f"{name}.png").write_bytes(images.encode_png(pixels))
    return datasets.load(str(folder), Progress())


def unit(photos: datasets.Dataset, setting: Inference, spec: str = "espcn@none") -> plan.Unit:
    method, tag = zoo.load(spec)
    request = plan.AccuracyRequest(method, tag, 2, photos, protocol.load("srcnn2014"))
    return plan.accuracy_units([request], CPU, ["psnr"], setting)[0]


def test_results_carry_the_setting_and_each_setting_is_its_own_unit(
    photos: datasets.Dataset,
) -> None:
    plain, tiled = unit(photos, DEFAULT), unit(photos, Inference(tile=8))
    assert plain.key != tiled.key
    assert tiled.label.endswith("photos tile=8")
    first, second = (measure.measure(each, Progress()) for each in (plain, tiled))
    assert {result.inference for result in first} == {""}
    assert {result.inference for result in second} == {"tile=8"}
    for one, other in zip(first, second, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-9)


def test_what_has_no_weights_is_run_the_default_way(photos: datasets.Dataset) -> None:
    found = unit(photos, Inference(precision="bf16"), "bicubic")
    assert found.inference == DEFAULT
    assert found.key == unit(photos, DEFAULT, "bicubic").key


def test_memory_that_runs_out_is_noted_beside_the_image(
    photos: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type(weights.fresh(zoo.load("espcn")[0], 2))
    forward = module.forward

    def small(self: nn.Module, x: Tensor) -> Tensor:
        if x.device == CPU and x.shape[-1] > 40:
            raise torch.OutOfMemoryError("the image is too large")
        out: Tensor = forward(self, x)
        return out

    whole = {r.image: r for r in measure.measure(unit(photos, DEFAULT), Progress())}
    monkeypatch.setattr(module, "forward", small)
    found = {r.image: r for r in measure.measure(unit(photos, DEFAULT), Progress())}
    assert "out of memory: 44x36 px in tiles of 22 px" in found["a"].note
    assert found["a"].value == pytest.approx(whole["a"].value, abs=1e-6)


def test_costs_that_are_counted_do_not_depend_on_the_setting_but_a_time_does() -> None:
    method, _ = zoo.load("espcn")
    rules = protocol.load("srcnn2014")
    requests = [
        plan.CostRequest(method, 2, rules, CPU, setting, timed=True)
        for setting in (DEFAULT, Inference(precision="bf16"))
    ]
    units = plan.cost_units(requests)
    found = [(each.names[0], each.inference.label) for each in units]
    assert found.count(("multiplies", "")) == 1
    assert {("seconds", ""), ("seconds", "bf16")} <= set(found)
    untimed = plan.cost_units([plan.CostRequest(method, 2, rules, CPU)])
    assert "seconds" not in {each.names[0] for each in untimed}
