"""OpenVINO: equal to PyTorch in outputs and costs; layouts, levels, sizes; refused files."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import zoo
from bench import datasets, protocol
from bench.graph.counting import elementwise, products, refuse_unknown, total
from bench.graph.field import field
from bench.graph.trace import trace
from bench.progress import Progress
from bench.sources import openvino
from bench.sources.card import Card
from bench.sources.openvino import OpenVINO, method
from bench.training.session import Validation
from zoo.errors import InputError

if find_spec("openvino") is None:  # imported below, without its telemetry
    pytest.skip(
        "openvino is not installed: pip install 'sisrbench[openvino]'", allow_module_level=True
    )
ov = openvino._library()
from openvino import opset13 as ops  # noqa: E402 -- after it was imported without telemetry

ESPCN = "github/fannymonori/TF-ESPCN/5c628eca82028161a53e1265cc3a5b571ab8625f/export/ESPCN_x{}.pb"
EDSR = (
    "github/mlcommons/mobile_models/1f9963316b81a63fdef1040133ae64f6e8879c5b/v3_0/tflite/edsr_{}"
    ".tflite"
)


def _card(path: Path | str, **fields: Any) -> Card:
    return Card(name="Ours", kind="openvino", source=str(path), **fields)


def _espcn() -> nn.Module:
    torch.manual_seed(0)
    return zoo.load("espcn")[0].build(2, {"n1": 8, "n2": 4}).eval()


def _conv(x: Any, layer: Any, dtype: Any = np.float32) -> Any:
    """A convolution as a file stores it: the bias is added after it."""
    weight = ops.constant(layer.weight.detach().numpy().astype(dtype))
    bias = ops.constant(layer.bias.detach().numpy().reshape(1, -1, 1, 1))
    side = layer.padding[0]
    if dtype != np.float32:
        weight = ops.convert(weight, "f32")
    y = ops.convolution(x, weight, [1, 1], [side, side], [side, side], [1, 1])
    return ops.add(y, bias)


def _graph(x: Any, network: Any, dtype: Any = np.float32) -> Any:
    for layer in (network.conv1, network.conv2):
        x = ops.tanh(_conv(x, layer, dtype))
    return ops.depth_to_space(_conv(x, network.conv3, dtype), "depth_first", 2)


def _saved(path: Path, out: Any, *inputs: Any) -> Path:
    outs = out if isinstance(out, list) else [out]
    ov.save_model(ov.Model(outs, list(inputs), "net"), path, compress_to_fp16=False)
    return path


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x = ops.parameter([-1, 1, -1, -1], np.float32)
    return _saved(tmp_path_factory.mktemp("free") / "net.xml", _graph(x, _espcn()), x)


def _close(found: Tensor, expected: Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def test_the_file_computes_and_counts_as_the_network_does(free: Path) -> None:
    network, expected = OpenVINO(free, _card(free)), _espcn()
    with torch.no_grad():
        for x in (torch.rand(1, 1, 31, 17), torch.rand(2, 1, 8, 9)):
            _close(network(x), expected(x))
    found, graph = (trace(each, torch.empty(1, 1, 31, 17)) for each in (network, expected))
    assert [op.overload for op in found.operators] == [op.overload for op in graph.operators]
    assert found.peak_bytes <= graph.peak_bytes
    sizes = sorted(parameter.numel() for parameter in network.parameters())
    assert sizes == sorted(parameter.numel() for parameter in expected.parameters())
    assert network.file_bytes == free.stat().st_size + free.with_suffix(".bin").stat().st_size
    assert network.remarks == ()
    assert network.program.startswith("OpenVINO 20")


def test_the_card_gets_what_the_file_says(free: Path) -> None:
    made = method(_card(free))
    assert (made.channels, made.takes, made.scales, made.range) == ("luma", "LR", (2,), 1)
    assert made.files == (str(free.with_suffix(".bin")),)
    assert made.libraries == ("openvino",)
    assert made.opener is not None
    assert made.opener(free, 2)(torch.rand(1, 1, 9, 8)).shape == (1, 1, 18, 16)
    with pytest.raises(InputError, match="enlarges by 2, not by 3; give another scale"):
        made.opener(free, 3)


def test_copies_compute_in_threads_with_one_session(free: Path) -> None:
    network, x = OpenVINO(free, _card(free)), torch.rand(1, 1, 40, 40)
    expected, found = network(x), []

    def work(each: nn.Module) -> None:
        torch.set_num_threads(1)
        found.extend(each(x) for _ in range(3))

    threads = [threading.Thread(target=work, args=(copy.deepcopy(network),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    for each in found:
        _close(each, expected)


def _shuffle(x: Any, torch_way: bool) -> Any:
    """A pixel shuffle by 2 of (N, 4, h, w), as PyTorch's exporter writes it, or TensorFlow's."""
    shape = ops.shape_of(x, "i64")
    zero = ops.constant(np.int64(0))
    rows, columns = (
        ops.gather(shape, ops.constant(np.array([place], np.int64)), zero) for place in (2, 3)
    )

    def joined(*parts: Any) -> Any:
        wrapped = [
            ops.constant(np.array([p], np.int64)) if isinstance(p, int) else p for p in parts
        ]
        return ops.concat(wrapped, 0)

    two = ops.constant(np.array([2], np.int64))
    y = ops.reshape(x, joined(1, -1, 2, 2, rows, columns), special_zero=False)
    y = ops.transpose(y, ops.constant(np.array([0, 1, 4, 2, 5, 3])))
    sides = (ops.multiply(rows, two), ops.multiply(columns, two))
    return ops.reshape(y, joined(1, 1, *sides), special_zero=False)


def test_a_shuffle_that_is_written_as_reshapes(tmp_path: Path) -> None:
    x = ops.parameter([1, 1, -1, -1], np.float32)
    expected = _espcn()
    y = x
    for layer in (expected.conv1, expected.conv2):
        y = ops.tanh(_conv(y, layer))
    path = _saved(tmp_path / "net.xml", _shuffle(_conv(y, expected.conv3), True), x)
    network = OpenVINO(path, _card(path))
    image = torch.rand(1, 1, 12, 14)
    with torch.no_grad():
        _close(network(image), expected(image))
    graph = trace(network, image)
    assert [op.name for op in graph.operators][-1] == "pixel_shuffle"
    assert field(graph).margin == 4


@pytest.mark.parametrize("shape", [[-1, -1, -1, 1], [-1, -1, -1, -1], [1, 30, 40, 1]])
def test_channels_last(shape: list[int], tmp_path: Path) -> None:
    x = ops.parameter(shape, np.float32)
    first = ops.transpose(x, ops.constant(np.array([0, 3, 1, 2])))
    last = ops.transpose(_graph(first, _espcn()), ops.constant(np.array([0, 2, 3, 1])))
    path = _saved(tmp_path / "net.xml", last, x)
    network = OpenVINO(path, _card(path))
    assert (network.takes.layout, network.gives.layout) == ("NHWC", "NHWC")
    image = torch.rand(1, 1, 20, 24)
    with torch.no_grad():
        _close(network(image), _espcn()(image))
    reshaped = ("made for 40x30 px, reshaped to each image's size",)
    assert network.remarks == (reshaped if shape[1] == 30 else ())


def _fixed(x: Any) -> Any:
    """A graph for 20 rows and 24 columns only."""
    y = _graph(x, _espcn())
    return ops.reshape(y, ops.constant(np.array([1, 1, 40, 48])), special_zero=False)


def test_a_fixed_size_is_padded_or_cut_into_tiles(tmp_path: Path) -> None:
    x = ops.parameter([1, 1, 20, 24], np.float32)
    path = _saved(tmp_path / "net.xml", _fixed(x), x)
    network, whole = OpenVINO(path, _card(path)), _espcn()
    assert network.size == (20, 24)
    assert network.remarks[0].startswith("made for 24x20 px: a smaller image is padded")
    for size in ((20, 24), (50, 61), (9, 10)):
        image = torch.rand(1, 1, *size)
        with torch.no_grad():
            out, expected = network(image), whole(image)
        assert out.shape == expected.shape
        rows, columns = (2 * (side - 5) for side in size)  # padding is not zero, as a network's is
        _close(out[..., :rows, :columns], expected[..., :rows, :columns])


@pytest.mark.parametrize(
    ("cards", "fault"),
    [
        ({}, 'does not tell its channels; say channels = "luma" or channels = "RGB"'),
        ({"channels": "RGB"}, 'does not tell its layout; say layout = "NCHW" or layout = "NHWC"'),
    ],
)
def test_a_file_that_does_not_tell(cards: dict[str, Any], fault: str, tmp_path: Path) -> None:
    x = ops.parameter([-1, -1, -1, -1], np.float32)
    path = _saved(tmp_path / "net.xml", ops.relu(x), x)
    with pytest.raises(InputError, match=fault):
        OpenVINO(path, _card(path, **cards))
    told = OpenVINO(path, _card(path, channels="RGB", layout="NHWC"))
    assert (told.takes.layout, told.takes.channels, told.factor) == ("NHWC", 3, 1)


def test_levels_and_white_are_read_from_the_graph(tmp_path: Path) -> None:
    def quantised(x: Any, low: float, high: float, least: float, most: float) -> Any:
        limits = [
            ops.constant(np.full((1, 1, 1, 1), v, np.float32)) for v in (low, high, least, most)
        ]
        return ops.fake_quantize(x, *limits, 256)

    torch.manual_seed(0)
    layer = nn.Conv2d(3, 3, 1)
    for step, white in ((1.0, 255), (1 / 255, 1)):
        x = ops.parameter([1, 3, -1, -1], np.int8)
        y = quantised(ops.convert(x, "f32"), -128, 127, 0, 255 * step)
        y = quantised(_conv(y, layer), 0, 255 * step, 0, 255 * step)
        y = ops.convert(quantised(y, 0, 255 * step, -128, 127), "i8")
        path = _saved(tmp_path / f"net{white}.xml", y, x)
        network = OpenVINO(path, _card(path))
        for port in (network.takes, network.gives):
            assert (port.dtype, port.zero) == (torch.int8, -128)
            assert port.step == pytest.approx(step, rel=1e-5)
        made = method(_card(path))
        assert (made.range, network.white) == (white, white)
        image = white * torch.randint(0, 256, (1, 3, 9, 8)) / 255
        with torch.no_grad():
            expected = layer(image).clamp(0, white)
        _close(network(image), expected, atol=1.01 * white / 255)
        graph = trace(network, image)
        refuse_unknown(graph)
        assert total(products)(graph) == 9 * 8 * 9


def test_uint8_without_quantisation_has_whole_levels(tmp_path: Path) -> None:
    x = ops.parameter([1, 3, -1, -1], np.uint8)
    y = ops.clamp(ops.multiply(ops.convert(x, "f32"), ops.constant(np.float32(1))), 0.0, 255.0)
    path = _saved(tmp_path / "net.xml", ops.convert(y, "u8"), x)
    network = OpenVINO(path, _card(path))
    image = torch.randint(0, 256, (1, 3, 9, 8)).float()
    assert torch.equal(network(image + 0.3), image)
    assert network.white == 255


def test_weights_in_half_precision_keep_their_names_and_number(tmp_path: Path) -> None:
    x = ops.parameter([1, 1, -1, -1], np.float32)
    path = _saved(tmp_path / "net.xml", _graph(x, _espcn(), np.float16), x)
    network, expected = OpenVINO(path, _card(path)), _espcn()
    image = torch.rand(1, 1, 9, 8)
    with torch.no_grad():
        _close(network(image), expected(image), atol=1e-3)
    found, graph = trace(network, image), trace(expected, image)
    assert [op.name for op in found.operators] == [op.name for op in graph.operators]
    assert len(found.parameters) == 6


def _vector(*numbers: int) -> Any:
    return ops.constant(np.array(numbers, np.int64))


def _weight(*shape: int) -> Any:
    return ops.constant(np.ones(shape, np.float32))


GRAPHS: dict[str, Callable[[Any], Any]] = {
    "group_convolution": lambda x: ops.group_convolution(
        x, _weight(2, 3, 2, 3, 3), [2, 1], [0, 0], [0, 0], [1, 2], "same_upper"
    ),
    "convolution": lambda x: ops.convolution(
        x, _weight(3, 4, 4, 4), [2, 2], [1, 2], [1, 1], [1, 1]
    ),
    "transposed": lambda x: ops.convolution_backprop_data(
        x, _weight(4, 2, 5, 5), [2, 2], pads_begin=[1, 1], pads_end=[1, 1], output_padding=[1, 1]
    ),
    "transposed_same": lambda x: ops.convolution_backprop_data(
        x, _weight(4, 2, 5, 5), [2, 2], auto_pad="same_upper"
    ),
    "transposed_to_shape": lambda x: ops.convolution_backprop_data(
        x, _weight(4, 2, 4, 4), [3, 3], _vector(18, 24)
    ),
    "split": lambda x: ops.split(x, ops.constant(np.int64(1)), 2).output(1),
    "variadic_split": lambda x: ops.variadic_split(
        x, ops.constant(np.int64(2)), _vector(2, -1)
    ).output(1),
    "strided_slice": lambda x: ops.strided_slice(
        x, _vector(0, 1, 0, 3), _vector(0, 3, 0, 1), _vector(1, 1, 1, 2), [1, 0, 1, 0], [1, 0, 1, 1]
    ),
    "shrinking_slice": lambda x: ops.strided_slice(
        x, _vector(0, 1, 0), _vector(0, 2, 0), _vector(1, 1, 1),
        [1, 0, 1], [1, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0],
    ),
    "slice": lambda x: ops.slice(x, _vector(1), _vector(-1), _vector(2), _vector(3)),
    "gather": lambda x: ops.gather(x, _vector(2, 0, 1), ops.constant(np.int64(1))),
    "gather_one": lambda x: ops.gather(x, ops.constant(np.int64(-1)), ops.constant(np.int64(1))),
    "pad": lambda x: ops.pad(x, _vector(0, 0, 1, 2), _vector(0, 0, 3, 1), "reflect"),
    "pad_with": lambda x: ops.pad(
        x, _vector(0, 1, 1, 2), _vector(0, 0, 3, 1), "constant", ops.constant(np.float32(0))
    ),
    "interpolate": lambda x: ops.interpolate(
        x, ops.constant(np.array([2.0, 1.5], np.float32)), "linear_onnx", "scales",
        axes=_vector(2, 3),
    ),
    "cubic": lambda x: ops.interpolate(x, _vector(12, 9), "cubic", "sizes", axes=_vector(2, 3)),
    "nearest": lambda x: ops.interpolate(x, _vector(12, 9), "nearest", "sizes", axes=_vector(2, 3)),
    "matmul": lambda x: ops.matmul(x, _weight(5, 8), False, True),
    "reduce": lambda x: ops.reduce_mean(x, _vector(2, 3), False),
    "reduce_max": lambda x: ops.reduce_max(x, _vector(1), True),
    "softmax": lambda x: ops.softmax(x, 1),
    "squeeze": lambda x: ops.squeeze(ops.unsqueeze(x, _vector(0, 2)), _vector(0)),
    "concat": lambda x: ops.concat([x, ops.relu(x)], 1),
    "prelu": lambda x: ops.prelu(x, ops.constant(np.float32(0.1))),
    "prelu_each": lambda x: ops.prelu(x, _weight(4)),
    "clamp": lambda x: ops.clamp(ops.sigmoid(ops.elu(ops.swish(x), 1.0)), 0.0, 1.0),
    "gelu": lambda x: ops.gelu(x, "erf"),
    "power": lambda x: ops.power(x, ops.constant(np.float32(2))),
    "arithmetic": lambda x: ops.divide(
        ops.multiply(ops.subtract(x, ops.constant(np.float32(1))), x),
        ops.maximum(ops.minimum(ops.abs(x), ops.constant(np.float32(4))), ops.sqrt(x)),
    ),
    "space_to_depth": lambda x: ops.space_to_depth(x, "depth_first", 2),
    "pool": lambda x: ops.avg_pool(x, [2, 2], [0, 1], [0, 1], [3, 3], False, "floor"),
    "roll": lambda x: ops.roll(x, _vector(1, 2), _vector(2, 3)),
    "tile": lambda x: ops.tile(x, _vector(1, 1, 2, 2)),
    "mvn": lambda x: ops.mvn(x, _vector(3), True, 1e-5, "inside_sqrt"),
    "batch_norm": lambda x: ops.batch_norm_inference(
        x, _weight(4), _weight(4), _weight(4), _weight(4), 1e-5
    ),
    "select": lambda x: ops.select(ops.greater(x, ops.constant(np.float32(0))), x, ops.negative(x)),
    "shape": lambda x: ops.reshape(
        x,
        ops.concat([ops.gather(ops.shape_of(x), _vector(0, 1), _vector(0)), _vector(-1)], 0),
        special_zero=True,
    ),
}  # fmt: skip
"""Graphs of an image (1, 4, 6, 8)."""


@pytest.mark.parametrize("name", GRAPHS)
def test_operators_give_the_shapes_of_openvino(name: str) -> None:
    from bench.runtimes import openvino_graph

    x = ops.parameter([1, 4, 6, 8], np.float32)
    out = GRAPHS[name](x)
    model = ov.Model([out], [x], "net")
    described = openvino._described(ov, model)
    weights = {key: value.to("meta") for key, value in described.weights.items()}

    class Meta(nn.Module):
        def forward(self, stored: Tensor) -> Tensor:
            return openvino_graph.run(described.nodes, weights, stored)

    graph = trace(Meta(), torch.empty(1, 4, 6, 8))
    assert graph.outputs[0].shape == tuple(model.outputs[0].shape)
    refuse_unknown(graph)


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    x = ops.parameter([1, 1, -1, -1], np.float32)
    path = _saved(tmp_path / "net.xml", ops.hsigmoid(ops.sin(x)), x)
    network = OpenVINO(path, _card(path))
    assert network(torch.rand(1, 1, 8, 9)).shape == (1, 1, 8, 9)
    with pytest.raises(InputError, match=r"^not counted: OpenVINO operator Sin$"):
        trace(network, torch.empty(1, 1, 8, 9))


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.xml", b"hello", "is no network; give what openvino.save_model writes"),
        ("b.tflite", b"hello", "is no file of TensorFlow Lite; give what its converter writes"),
        ("c.tflite", b"\x1c\x00\x00\x00TFL3....", "OpenVINO cannot use it: .*corrupted"),
        ("d.pb", b"hello", "is no TensorFlow graph, or is cut short"),
        ("e.pb", b"\x0a\x05abc", "is no TensorFlow graph, or is cut short"),
        ("f.pb", b"", "is no TensorFlow graph, or is cut short"),
        ("g.xml", b"<?xml version='1.0'?><net version='11'><a", "OpenVINO cannot use it"),
    ],
)
def test_files_of_another_kind(
    name: str, content: bytes, fault: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / name).with_suffix(".bin").write_bytes(b"")
    with pytest.raises(InputError, match=fault) as error:
        OpenVINO(tmp_path / name, _card(name))
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_missing_or_cut_short(free: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.xml"
    path.write_bytes(free.read_bytes())
    with pytest.raises(InputError, match=r"has its weights in .*net\.bin, which does not exist"):
        OpenVINO(path, _card(path))
    path.with_suffix(".bin").write_bytes(free.with_suffix(".bin").read_bytes()[:99])
    with pytest.raises(InputError, match="OpenVINO cannot use it: Incorrect weights in bin file"):
        OpenVINO(path, _card(path))


def test_graphs_of_another_kind(tmp_path: Path) -> None:
    x, y = (ops.parameter([1, 1, -1, -1], np.float32) for _ in range(2))
    two = _saved(tmp_path / "two.xml", ops.add(x, y), x, y)
    with pytest.raises(InputError, match="has 2 inputs and 1 outputs; expected one image in"):
        OpenVINO(two, _card(two))
    x = ops.parameter([1, 10], np.float32)
    flat = _saved(tmp_path / "flat.xml", ops.relu(x), x)
    with pytest.raises(InputError, match=r"takes \[1,10\] and gives \[1,10\]; expected an image"):
        OpenVINO(flat, _card(flat))


def test_nothing_is_sent_and_no_file_is_left(free: Path, tmp_path: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path; from bench.sources.openvino import OpenVINO; "
        "from bench.sources.card import Card; "
        f"path = Path({str(free)!r}); card = Card(name='x', kind='openvino', source='x'); "
        "OpenVINO(path, card)(torch.rand(1, 1, 8, 8)); "
        "print([name for name in sys.modules if 'openvino_telemetry' in name])"
    )
    home = {**os.environ, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=home, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def _psnr(path: Path, scale: int, rules: str, **fields: Any) -> float:
    made = method(_card(path, **fields))
    assert made.opener is not None
    validation = Validation(
        dataset=datasets.load("set5", Progress()), protocol=protocol.load(rules), every=0
    )
    with torch.no_grad():
        judge = validation.judge(made, scale, torch.device("cpu"))
        return judge(made.opener(path, scale))


@pytest.mark.parametrize(("luma", "psnr"), [("full", 34.7655), ("studio", 34.7109)])
def test_espcn_of_opencv(luma: str, psnr: float, mirror: Path) -> None:
    path = mirror / ESPCN.format(2)
    assert _psnr(path, 2, "srcnn2014", luma=luma) == pytest.approx(psnr, abs=1e-3)
    graph = trace(OpenVINO(path, _card(path)), torch.empty(1, 1, 48, 48))
    assert total(products)(graph) == 21184 * 48**2


@pytest.mark.parametrize(
    ("name", "psnr", "per_pixel"),
    [("f32b5_fp32", 37.3773, 105_696), ("f32b5_full_qint8", 37.2307, 105_696)],
)
def test_edsr_of_mlperf_mobile(name: str, psnr: float, per_pixel: int, mirror: Path) -> None:
    path = mirror / EDSR.format(name)
    network = OpenVINO(path, _card(path))
    assert network.white == 255  # the graph clips to it
    assert network.remarks == ("made for 960x540 px, reshaped to each image's size",)
    assert sum(parameter.numel() for parameter in network.parameters()) == 106_092
    graph = trace(network, torch.empty(1, 3, 48, 48))
    assert total(products)(graph) == per_pixel * 48**2
    assert (total(elementwise)(graph) > 0) == ("int8" in name)
    # Integers are summed by other instructions on other machines.
    assert _psnr(path, 2, "rcan2018") == pytest.approx(psnr, abs=0.01 if "int8" in name else 1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's older exporter
def test_external_data_of_an_onnx_file_is_known_and_stays_in_its_folder(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="pip install 'sisrbench[onnx]'")
    folder = tmp_path / "inside"
    folder.mkdir()
    torch.onnx.export(
        _espcn(),
        (torch.rand(1, 1, 24, 32),),
        folder / "whole.onnx",
        input_names=["x"],
        dynamic_axes={"x": {2: "h", 3: "w"}},
        dynamo=False,
    )
    model = onnx.load(folder / "whole.onnx")
    net, data = folder / "net.onnx", folder / "net.data"
    onnx.save(model, net, save_as_external_data=True, location="net.data", size_threshold=0)
    made = method(_card(net))
    assert made.files == (str(data),)
    sizes = {path.name: path.stat().st_size for path in (net, data)}
    assert OpenVINO(net, _card(net)).file_bytes == sum(sizes.values())
    data.rename(tmp_path / "net.data")
    model = onnx.load(net, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../net.data"
    net.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="outside its folder"):
        method(_card(net))
