"""ONNX files: what they take, what they compute, how they count, and why one cannot be used."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

import zoo
from bench import datasets, images, metrics
from bench.evaluate import compare_images, hr_and_lr, super_resolve
from bench.files import weights
from bench.graph.counting import PRODUCTS, elementwise, products, refuse_unknown, total
from bench.graph.field import field
from bench.graph.trace import trace
from bench.inference import Inference
from bench.network import prepare
from bench.progress import Progress
from bench.protocol import load as protocol
from bench.runtimes.onnx_graph import Interpreter
from bench.sources.card import Card
from bench.sources.onnx import Network, method
from zoo.errors import InputError
from zoo.method import Method

FLOAT, OPSET = TensorProto.FLOAT, 20
Sides = Sequence[int | str]


def _save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    shape: Sides = (1, 1, "h", "w"),
    held: Mapping[str, NDArray[Any]] | None = None,
    *,
    takes: int = FLOAT,
    gives: int = FLOAT,
    opset: int = OPSET,
    out: Sides | None = None,
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
) -> Path:
    """A file with the nodes from `x` to `y`."""
    graph = helper.make_graph(
        list(nodes),
        "network",
        [helper.make_tensor_value_info(name, takes, list(shape)) for name in inputs],
        [helper.make_tensor_value_info(name, gives, out and list(out)) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (held or {}).items()],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(domain, 1) for domain in ("com.microsoft", "my.ops")]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def _node(operator: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    domain = attributes.pop("domain", "")
    return helper.make_node(
        operator, inputs.split(" "), outputs.split(" "), domain=domain, **attributes
    )


def _weight(*shape: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    return generator.normal(size=shape).astype(np.float32) / 10


def _card(path: Path, **given: Any) -> Card:
    return Card(name="Ours", kind="onnx", source=str(path), **given)


def _opened(path: Path, **given: Any) -> tuple[Method, Network]:
    made = method(_card(path, **given))
    assert made.opener is not None
    scale = made.scales[0] if made.scales else 2
    network = made.opener(Path(made.default_weights), scale)
    assert isinstance(network, Network)
    return made, network


def _twice(path: Path, **given: Any) -> Path:
    """A file that repeats every pixel of luma, of any size."""
    return _save(
        path,
        [_node("Resize", "x  scales", mode="nearest")],
        held={"scales": np.array([1, 1, 2, 2], dtype=np.float32)},
        **given,
    )


def _enlarger(channels: int = 1, shape: Sides | None = None) -> dict[str, Any]:
    """Nodes and weights of a convolution and DepthToSpace, x2."""
    return {
        "nodes": [
            _node("Conv", "x w b", "c", pads=[2, 2, 2, 2]),
            _node("DepthToSpace", "c", blocksize=2, mode="CRD"),
        ],
        "shape": shape or (1, channels, "h", "w"),
        "held": {"w": _weight(4 * channels, channels, 5, 5), "b": _weight(4 * channels)},
    }


def _image(channels: int, height: int, width: int) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))


# What a file takes


def test_planes_scale_and_libraries_are_read_from_the_file(tmp_path: Path) -> None:
    made, network = _opened(_save(tmp_path / "net.onnx", **_enlarger(3)))
    assert (made.channels, made.scales, made.range, made.luma) == ("RGB", (2,), 1, "studio")
    assert (made.takes, made.libraries, made.files) == ("LR", ("onnxruntime",), ())
    assert made.default_weights == str(tmp_path / "net.onnx")
    assert network.program == f"ONNX Runtime {onnxruntime.__version__}"
    assert network.file_bytes == (tmp_path / "net.onnx").stat().st_size
    assert network.remarks == ()
    y = network(_image(3, 9, 8).double())
    assert (y.shape, y.dtype) == ((1, 3, 18, 16), torch.float64)


@pytest.mark.parametrize(
    ("shape", "given", "channels"),
    [
        ((1, 3, "h", "w"), {}, "RGB"),
        (("n", 1, "h", "w"), {}, "luma"),
        ((1, "h", "w", 3), {}, "RGB"),
        (("n", "c", "h", "w"), {"layout": "NCHW", "channels": "luma"}, "luma"),
        ((1, 3, 3, 3), {"layout": "NHWC"}, "RGB"),
    ],
)
def test_layouts(tmp_path: Path, shape: Sides, given: Mapping[str, Any], channels: str) -> None:
    path = _save(tmp_path / "net.onnx", [_node("Identity", "x")], shape)
    made, network = _opened(path, takes="interpolated", **given)
    assert (made.channels, made.scales) == (channels, ())
    x = _image(3 if channels == "RGB" else 1, 7, 9)
    assert torch.equal(network(x), x)


@pytest.mark.parametrize(
    ("shape", "given", "message"),
    [
        (
            (1, 3, "h", 3),
            {},
            'is 1x3x?x3, whose channels may be first or last; say layout = "NCHW"',
        ),
        (("n", "c", "h", "w"), {}, "whose channels may be first or last; say layout"),
        ((1, "c", "h", "w"), {"layout": "NCHW"}, 'are not stated; say channels = "luma" or "RGB"'),
        ((1, 4, "h", "w"), {"layout": "NCHW"}, "with 4 channels; expected 1 or 3"),
        ((1, 4, 8, 8), {}, "with 4 channels; expected 1 or 3"),
        ((2, 3, "h", "w"), {}, "for 2 images at once; export it for one"),
        ((3, "h", "w"), {}, "has the shape 3x?x?; expected four sides"),
        (
            (1, 3, "h", "w"),
            {"channels": "luma"},
            "takes 3 channels, so channels is 'RGB', not 'luma'",
        ),
    ],
)
def test_shapes_that_are_no_image(
    tmp_path: Path, shape: Sides, given: Mapping[str, Any], message: str
) -> None:
    path = _save(tmp_path / "net.onnx", [_node("Identity", "x")], shape)
    with pytest.raises(InputError) as error:
        _opened(path, **given)
    assert message in str(error.value)


def test_several_inputs_or_outputs_are_named(tmp_path: Path) -> None:
    path = _save(tmp_path / "two.onnx", [_node("Add", "x z")], inputs=("x", "z"))
    with pytest.raises(InputError, match=r"has 2 inputs \(x, z\); expected one, an image"):
        _opened(path)
    nodes = [_node("Relu", "x"), _node("Neg", "x", "z")]
    path = _save(tmp_path / "many.onnx", nodes, outputs=("y", "z"))
    with pytest.raises(InputError, match=r"has 2 outputs \(y, z\); expected one"):
        _opened(path)


def test_an_input_that_the_file_has_a_value_for_is_none(tmp_path: Path) -> None:
    held = {"gain": np.array(2, dtype=np.float32)}
    path = _save(tmp_path / "net.onnx", [_node("Mul", "x gain")], held=held)
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("gain", FLOAT, []))
    onnx.save(model, path)
    _, network = _opened(path, takes="interpolated")
    assert torch.equal(network(_image(1, 5, 4)), 2 * _image(1, 5, 4))


def test_a_file_of_another_scale_or_no_scale_is_refused(tmp_path: Path) -> None:
    made, _ = _opened(_twice(tmp_path / "net.onnx"), scales=(2,))
    assert made.opener is not None
    with pytest.raises(InputError, match="enlarges by 2, not by 3; give -s 2, or another file"):
        made.opener(tmp_path / "net.onnx", 3)
    path = _save(tmp_path / "mean.onnx", [_node("GlobalAveragePool", "x")])
    with pytest.raises(InputError, match="gave 1x1x1x1 for 1 channels of 64x48 px; expected"):
        _opened(path)


def test_a_file_that_keeps_the_size_takes_interpolated_lr(tmp_path: Path) -> None:
    made, network = _opened(_save(tmp_path / "net.onnx", [_node("Relu", "x")]))
    assert (made.takes, made.scales, network.factor) == ("interpolated", (), 1)
    with pytest.raises(InputError, match="enlarges by 1, not by 2"):
        _opened(tmp_path / "net.onnx", takes="LR", scales=(2,))


def test_levels_of_whole_numbers(tmp_path: Path) -> None:
    identity = [_node("Identity", "x")]
    for name, kind, zero in (("u", TensorProto.UINT8, 0), ("i", TensorProto.INT8, -128)):
        path = _save(tmp_path / f"{name}.onnx", identity, takes=kind, gives=kind)
        made, network = _opened(path, takes="interpolated")
        assert made.range == 255
        assert (network.takes.step, network.takes.zero) == (1.0, zero)
        levels = (255 * _image(1, 9, 8)).round()
        assert torch.equal(network(levels), levels)
        assert torch.equal(network(levels + 0.4), levels)
        assert torch.equal(network(levels + 1000), torch.full_like(levels, 255))


def test_levels_are_those_of_the_quantizing_operator(tmp_path: Path) -> None:
    nodes = [
        _node("DequantizeLinear", "x step zero", "f"),
        _node("QuantizeLinear", "f step zero", "y"),
    ]
    held = {"step": np.array(1 / 255, dtype=np.float32), "zero": np.array(-128, dtype=np.int8)}
    path = _save(
        tmp_path / "net.onnx", nodes, held=held, takes=TensorProto.INT8, gives=TensorProto.INT8
    )
    made, network = _opened(path, takes="interpolated")
    assert made.range == 1
    levels = (255 * _image(1, 9, 8)).round() / 255
    assert torch.allclose(network(levels), levels, atol=1e-6)


@pytest.mark.parametrize("as_nodes", [False, True])
def test_levels_are_read_from_nodes_and_past_what_moves_values(
    tmp_path: Path, as_nodes: bool
) -> None:
    numbers = {"step": np.array(0.02, dtype=np.float32), "zero": np.array(7, dtype=np.uint8)}
    given = [_node("Constant", "", name, value=numpy_helper.from_array(number))
             for name, number in numbers.items()]  # fmt: skip
    for node in given:
        del node.input[:]
    path = _save(
        tmp_path / "net.onnx",
        [
            *(given if as_nodes else ()),
            _node("Transpose", "x", "planes", perm=[0, 3, 1, 2]),
            _node("DequantizeLinear", "planes step zero", "f"),
            _node("Mul", "f f", "squared"),
            _node("QuantizeLinear", "squared step zero", "levels"),
            _node("Transpose", "levels", "y", perm=[0, 2, 3, 1]),
        ],
        (1, "h", "w", 1),
        None if as_nodes else numbers,
        takes=TensorProto.UINT8,
        gives=TensorProto.UINT8,
    )
    made, network = _opened(path, takes="interpolated")
    assert made.range == 1
    levels = (_image(1, 9, 8) * 50).round() / 50
    assert float((network(levels) - levels**2).abs().max()) < 0.01 + 1e-6  # the nearest level


def test_a_step_for_each_channel_of_the_image_is_refused(tmp_path: Path) -> None:
    held = {
        "step": np.array([0.004, 0.005, 0.006], dtype=np.float32),
        "zero": np.zeros(3, dtype=np.uint8),
    }
    nodes = [_node("DequantizeLinear", "x step zero", axis=1)]
    path = _save(tmp_path / "net.onnx", nodes, (1, 3, "h", "w"), held, takes=TensorProto.UINT8)
    with pytest.raises(InputError, match="DequantizeLinear of x has no single step in the file"):
        _opened(path, takes="interpolated")


@pytest.mark.parametrize(
    ("step", "zero", "kind", "said"),
    [
        (1 / 255, 0, np.uint8, ()),
        (1 / 255, -128, np.int8, ()),
        (1 / 300, 0, np.uint8, ("the input stores 0 to 0.85 of [0, 1], and the rest is cut",)),
        (1 / 255, 0, np.int8, ("the input stores -0.502 to 0.498 of [0, 1], and the rest is cut",)),
        (1.0, 20, np.uint8, ("the input stores -20 to 235 of [0, 255], and the rest is cut",)),
    ],
)
def test_what_an_input_cannot_store_is_said(
    tmp_path: Path, step: float, zero: int, kind: Any, said: tuple[str, ...]
) -> None:
    held = {"step": np.array(step, dtype=np.float32), "zero": np.array(zero, dtype=kind)}
    takes = TensorProto.UINT8 if kind is np.uint8 else TensorProto.INT8
    nodes = [_node("DequantizeLinear", "x step zero")]
    path = _save(tmp_path / "net.onnx", nodes, held=held, takes=takes)
    assert _opened(path, takes="interpolated")[1].remarks == said


@pytest.mark.parametrize(
    ("nodes", "held"),
    [
        (
            [_node("Dropout", "x ratio training")],
            {"ratio": np.array(0.5, dtype=np.float32), "training": np.array(True)},
        ),
        (
            [_node("BatchNormalization", "x a b b a", "y c d", training_mode=1)],
            {"a": np.ones(1, dtype=np.float32), "b": np.zeros(1, dtype=np.float32)},
        ),
    ],
)
def test_a_file_in_training_mode_is_refused(
    tmp_path: Path, nodes: Sequence[onnx.NodeProto], held: Mapping[str, NDArray[Any]]
) -> None:
    path = _save(tmp_path / "net.onnx", nodes, held=held)
    with pytest.raises(InputError, match=r"was exported in training mode .* call \.eval\(\)"):
        _opened(path, takes="interpolated")


def test_half_precision_is_computed_as_it_is(tmp_path: Path) -> None:
    kind = TensorProto.FLOAT16
    path = _save(tmp_path / "net.onnx", [_node("Identity", "x")], takes=kind, gives=kind)
    made, network = _opened(path, takes="interpolated")
    x = _image(1, 8, 8)
    assert made.range == 1
    assert torch.equal(network(x), x.half().float())
    path = _save(tmp_path / "int.onnx", [_node("Identity", "x")], takes=6, gives=6)
    with pytest.raises(InputError, match="x is of type int32; an image is float, float16"):
        _opened(path)


# Sizes


def test_a_file_for_one_size_is_reshaped_where_the_graph_allows(tmp_path: Path) -> None:
    _, free = _opened(_save(tmp_path / "free.onnx", **_enlarger()))
    path = _save(tmp_path / "net.onnx", **_enlarger(shape=(1, 1, 24, 32)), out=(1, 1, 48, 64))
    _, network = _opened(path)
    assert network.remarks == ("made for 32x24 px, and reshaped for images of any size",)
    for size in ((24, 32), (50, 41), (7, 9)):
        assert torch.equal(network(_image(1, *size)), free(_image(1, *size)))


def test_a_resize_to_a_stated_size_is_reshaped_by_its_ratio(tmp_path: Path) -> None:
    nodes = [_node("Conv", "x w", "c", pads=[2, 2, 2, 2]), _node("Resize", "c   sizes")]
    held = {"w": _weight(1, 1, 5, 5), "sizes": np.array([1, 1, 48, 64])}
    path = _save(tmp_path / "net.onnx", nodes, (1, 1, 24, 32), held, out=(1, 1, 48, 64))
    _, network = _opened(path)
    assert network.remarks == ("made for 32x24 px, and reshaped for images of any size",)
    x = _image(1, 30, 41)
    expected = conv2d(x, torch.from_numpy(held["w"]), padding=2)
    assert torch.allclose(network(x), interpolate(expected, scale_factor=2), atol=1e-6)
    assert trace(network, x).outputs[0].shape == (1, 1, 60, 82)


@pytest.mark.parametrize(
    ("nodes", "held"),
    [
        (
            [_node("ReduceSum", "x axes", "s"), _node("Mul", "s tiny", "m"), _node("Add", "x m")],
            {"axes": np.array([2, 3]), "tiny": np.array(1e-3, dtype=np.float32)},
        ),
        (
            [
                _node("GlobalAveragePool", "x", "s"),
                _node("Div", "s pixels", "m"),
                _node("Add", "x m"),
            ],
            {"pixels": np.array(32 * 48, dtype=np.float32)},
        ),
    ],
)
def test_a_file_that_knows_its_number_of_pixels_is_not_reshaped(
    tmp_path: Path, nodes: Sequence[onnx.NodeProto], held: Mapping[str, NDArray[Any]]
) -> None:
    path = _save(tmp_path / "net.onnx", nodes, (1, 1, 32, 48), held)
    remarks = _opened(path, takes="interpolated")[1].remarks
    assert len(remarks) == 1
    assert remarks[0].endswith("where seams may differ from the whole image")


def test_else_images_are_padded_or_cut(tmp_path: Path) -> None:
    _, free = _opened(_save(tmp_path / "free.onnx", **_enlarger()))
    parts = _enlarger(shape=(1, 1, 24, 32))
    parts["nodes"][1] = _node("DepthToSpace", "c", "d", blocksize=2, mode="CRD")
    parts["nodes"].append(_node("Reshape", "d shape"))
    parts["held"]["shape"] = np.array([1, 1, 48, 64])
    _, network = _opened(_save(tmp_path / "net.onnx", **parts))
    (remark,) = network.remarks
    assert remark == (
        "made for 32x24 px: a smaller image is padded by its edge, a larger one cut into tiles "
        "with a margin of 2 px"
    )
    for size in ((24, 32), (50, 81)):
        assert torch.equal(network(_image(1, *size)), free(_image(1, *size)))
    assert network(_image(1, 10, 40)).shape == (1, 1, 20, 80)
    assert _counts(network, _image(1, 24, 32))["multiplies"] == 100 * 24 * 32
    with pytest.raises(InputError, match=r"^not counted: the file is made for 32x24 px only$"):
        trace(network, _image(1, 48, 64))


# Faults of a file


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    whole = _save(tmp_path / "net.onnx", **_enlarger()).read_bytes()
    for name, content, message in (
        ("cut.onnx", whole[: len(whole) // 2], "is no ONNX file, or is cut short"),
        ("text.onnx", b"not a network at all\n" * 40, "is no ONNX file"),
        ("empty.onnx", b"", "is no ONNX file: it holds no graph"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} {message}"):
            _opened(tmp_path / name)
    with pytest.raises(InputError, match=r"no ONNX file .*none\.onnx: No such file"):
        _opened(tmp_path / "none.onnx")


def test_what_the_runtime_does_not_know_is_named(tmp_path: Path) -> None:
    version = onnxruntime.__version__
    path = _save(tmp_path / "opset.onnx", [_node("Relu", "x")], opset=99)
    with pytest.raises(InputError, match=rf"has opset 99 of ai.onnx, and ONNX Runtime {version}"):
        _opened(path)
    model = onnx.load(_twice(tmp_path / "ir.onnx"))
    model.ir_version = 99
    onnx.save(model, tmp_path / "ir.onnx")
    with pytest.raises(InputError, match=rf"IR version 99, and ONNX Runtime {version} reads up to"):
        _opened(tmp_path / "ir.onnx")
    path = _save(tmp_path / "none.onnx", [_node("Reluu", "x")])
    with pytest.raises(InputError, match=r"operator \S*Reluu \S+ .*ONNX Runtime"):
        _opened(path)
    path = _save(tmp_path / "own.onnx", [_node("MyUpscale", "x", domain="my.ops")])
    with pytest.raises(InputError, match=r"operator my.ops:MyUpscale is unknown to ONNX Runtime"):
        _opened(path)


def _with_data(path: Path, location: str, length: int = 100) -> Path:
    """A file whose weight is in another file."""
    model = onnx.load(_save(path, **_enlarger()))
    weight = model.graph.initializer[0]
    content = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(content)))):
        weight.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    if "/" not in location and length:
        (path.parent / location).write_bytes(content[:length] if length < 0 else content)
    return path


def test_external_data_is_read_and_known(tmp_path: Path) -> None:
    _, whole = _opened(_save(tmp_path / "whole.onnx", **_enlarger()))
    made, network = _opened(_with_data(tmp_path / "net.onnx", "net.data"))
    assert made.files == (str(tmp_path / "net.data"),)
    assert network.file_bytes == sum(
        (tmp_path / x).stat().st_size for x in ("net.onnx", "net.data")
    )
    assert torch.equal(network(_image(1, 9, 9)), whole(_image(1, 9, 9)))
    assert sum(p.numel() for p in network.parameters()) == 104


def test_external_data_elsewhere_missing_or_short(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1000))
    folder = tmp_path / "inner"
    folder.mkdir()
    for location in ("../secret", str(tmp_path / "secret")):
        path = _with_data(folder / "net.onnx", location)
        with pytest.raises(InputError, match="outside its folder; that is not read"):
            _opened(path)
    (folder / "link").symlink_to(tmp_path / "secret")
    path = _with_data(folder / "net.onnx", "link", 0)
    with pytest.raises(InputError, match="outside its folder; that is not read"):
        _opened(path)
    path = _with_data(folder / "net.onnx", "net.data", 0)
    with pytest.raises(InputError, match=r"keeps weights in net.data, which is missing"):
        _opened(path)
    path = _with_data(folder / "net.onnx", "net.data", -8)
    with pytest.raises(InputError, match="cut short: 400 bytes are needed, and 392 are there"):
        _opened(path)


def test_a_size_that_the_graph_refuses_is_said(tmp_path: Path) -> None:
    nodes = [
        _node("Conv", "x w", "c"),
        _node("SpaceToDepth", "c", "a", blocksize=4),
        _node("DepthToSpace", "a", blocksize=8, mode="CRD"),
    ]
    held = {"w": _weight(4, 1, 1, 1)}
    _, network = _opened(_save(tmp_path / "net.onnx", nodes, held=held))
    assert network(_image(1, 12, 8)).shape == (1, 1, 24, 16)
    with pytest.raises(InputError, match=r"does not run on 9x12 px.*say multiple = N"):
        network(_image(1, 12, 9))


# What is computed


def test_a_program_takes_no_setting_of_torch(tmp_path: Path) -> None:
    _, network = _opened(_save(tmp_path / "net.onnx", **_enlarger()))
    for inference, option in (
        (Inference(batch=2), "--batch 2"),
        (Inference(precision="bf16"), "--precision bf16"),
    ):
        with pytest.raises(InputError, match=f"runs the file as it is; leave out {option}"):
            prepare(network, inference, 2, torch.device("cpu"))


def test_two_runs_give_equal_bits_and_sessions_follow_the_threads(tmp_path: Path) -> None:
    path = _save(tmp_path / "net.onnx", **_enlarger(3))
    x = _image(3, 60, 70)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            first, second = (_opened(path)[1] for _ in range(2))
            assert torch.equal(first(x), second(x))
            (session,) = first._shared.sessions.items()
            assert session[0] == threads
            options = session[1].get_session_options()
            assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)
    finally:
        torch.set_num_threads(before)


# What is counted


def _counts(module: nn.Module, x: Tensor) -> dict[str, object]:
    graph = trace(module, x)
    refuse_unknown(graph)
    try:
        reach: object = field(graph)
    except InputError as error:
        reach = str(error).partition(" in ")[0].partition(" lets")[0]
    return {
        "multiplies": total(products)(graph),
        "elementwise": total(elementwise)(graph),
        "activations": sum(each.out.size for each in graph.operators if each.name in PRODUCTS),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "field": reach,
        "output": graph.outputs[0].shape,
    }


def _on_any_size(path: Path, channels: int, **given: Any) -> Network:
    """The module, after its graph gave the runtime's shapes on several sizes."""
    _, network = _opened(path, **given)
    for size in ((48, 64), (33, 50), (61, 47)):
        x = _image(channels, *size)
        (out,) = trace(network, x).outputs
        assert out.shape == tuple(network(x).shape)
    return network


def _networks() -> Iterator[tuple[str, nn.Module, int, str]]:
    """ESPCN, EDSR with 2 blocks, VDSR, PAN with 3 blocks: name, network, planes, input."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from networks import pan

    for name, settings, scale in (
        ("espcn", {"n1": 16, "n2": 8}, 3),
        ("edsr-baseline", {"blocks": 2, "features": 16}, 2),
        ("vdsr", {}, 2),
    ):
        card, _ = zoo.load(name)
        assert set(settings) <= set(card.settings), card.settings
        network = card.build(scale, {**card.settings, **settings})
        yield name, network, 3 if card.channels == "RGB" else 1, card.takes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pan, "_BLOCKS", 3)
        network = pan.build(4, {})
    yield "pan", network, 3, "LR"


def _trained(network: nn.Module) -> nn.Module:
    """The network with values of its own in every bias, as trained weights have."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 20
    return network


def _export(network: nn.Module, planes: int, path: Path, dynamo: bool) -> None:
    """Export for images of any size."""
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"]}
    if dynamo:
        sizes = {"dynamic_shapes": ({2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},)}
        names = {"external_data": False, "verbose": False}
    else:
        sizes = {"dynamic_axes": {"x": {2: "h", 3: "w"}, "y": {2: "H", 3: "W"}}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        x = torch.rand(1, planes, 24, 32)
        opset = 18 if dynamo else 17
        torch.onnx.export(
            network.eval(), (x,), str(path), dynamo=dynamo, opset_version=opset, **names, **sizes
        )


@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])
@pytest.mark.parametrize("which", range(4), ids=["espcn", "edsr", "vdsr", "pan"])
def test_an_exported_network_counts_as_in_torch(tmp_path: Path, which: int, dynamo: bool) -> None:
    _, network, planes, takes = list(_networks())[which]
    _export(_trained(network), planes, tmp_path / "net.onnx", dynamo)
    x = _image(planes, 40, 36)
    found = _on_any_size(tmp_path / "net.onnx", planes, takes=takes)
    assert _counts(found, x) == _counts(network, x)
    with torch.no_grad():
        assert torch.allclose(found(x), network(x), atol=1e-4)


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Images that the range of each tensor is taken from."""

    def __init__(self, pictures: Sequence[Tensor]) -> None:
        self._left = [{"x": each.numpy()} for each in pictures]

    def get_next(self) -> dict[str, Any] | None:
        return self._left.pop() if self._left else None


def _quantize(path: Path, to: Path, pictures: Sequence[Tensor], form: str) -> None:
    """A file in int8, with a step for each channel of a weight."""
    quiet = logging.getLogger()
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        quantize_static(
            str(path), str(to), _Pictures(pictures), QuantFormat[form], per_channel=True
        )
    finally:
        quiet.setLevel(before)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_a_quantized_network_counts_as_in_torch(tmp_path: Path, form: str) -> None:
    _, network, planes, _ = list(_networks())[1]
    _export(_trained(network), planes, tmp_path / "net.onnx", dynamo=False)
    _quantize(tmp_path / "net.onnx", tmp_path / "int8.onnx", [_image(planes, 24, 32)], form)
    x = _image(planes, 40, 36)
    found = _on_any_size(tmp_path / "int8.onnx", planes)
    assert found.file_bytes < 0.6 * (tmp_path / "net.onnx").stat().st_size
    counts, expected = _counts(found, x), _counts(network, x)
    # Quantising divides each element, dequantising multiplies it: counted as elementwise only.
    assert counts.pop("elementwise") > expected.pop("elementwise")  # type: ignore[operator]
    assert counts == expected


def test_steps_of_levels_and_statistics_are_no_parameters(tmp_path: Path) -> None:
    nodes = [
        _node("DequantizeLinear", "w step zero", "f", axis=0),
        _node("Conv", "x f", "c", pads=[1, 1, 1, 1]),
        _node("BatchNormalization", "c scale shift mean variance", "n"),
        _node("Mul", "n gain", "m"),
        _node("Mul", "m half"),
    ]
    held = {
        "w": np.ones((1, 1, 3, 3), dtype=np.int8),
        "step": np.array([0.1], dtype=np.float32),
        "zero": np.array([0], dtype=np.int8),
        "half": np.array(0.5, dtype=np.float32),
        "gain": _weight(1, 1, 1, 1),
        **{name: np.ones(1, dtype=np.float32) for name in ("scale", "shift", "mean", "variance")},
    }
    path = _save(tmp_path / "net.onnx", nodes, held=held)
    _, network = _opened(path, takes="interpolated")
    sizes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert sizes == {"w": (1, 1, 3, 3), "scale": (1,), "shift": (1,)}
    assert _counts(network, _image(1, 10, 10))["multiplies"] == 900


def test_a_table_of_positions_counts_once_and_a_mask_not_at_all(tmp_path: Path) -> None:
    table = _weight(31)
    spread = table[np.arange(16)[:, None] - np.arange(16)[None, :] + 15]
    mask = np.where(np.arange(16) < 8, 0, -100).astype(np.float32)
    nodes = [
        _node("MatMul", "x w", "p"),
        _node("Add", "p spread", "b"),
        _node("Add", "b mask", "m"),
        _node("Softmax", "m"),
    ]
    held = {"w": _weight(16, 16), "spread": spread, "mask": mask}
    path = _save(tmp_path / "net.onnx", nodes, (1, 1, 16, 16), held)
    _, network = _opened(path, takes="interpolated")
    assert sum(parameter.numel() for parameter in network.parameters()) == 256 + 31
    assert _counts(network, _image(1, 16, 16))["multiplies"] == 16**3


@pytest.mark.parametrize("control", ["If", "Loop"])
def test_control_flow_runs_and_is_not_counted(tmp_path: Path, control: str) -> None:
    one = helper.make_graph(
        [_node("Add", "x x", "t")], "twice", [], [helper.make_tensor_value_info("t", FLOAT, None)]
    )
    true = np.array(True)
    if control == "If":
        nodes = [_node("If", "true", "y", then_branch=one, else_branch=one)]
        held = {"true": true}
    else:
        body = helper.make_graph(
            [_node("Identity", "go", "on"), _node("Add", "s s", "t")],
            "body",
            [
                helper.make_tensor_value_info("i", TensorProto.INT64, []),
                helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                helper.make_tensor_value_info("s", FLOAT, None),
            ],
            [
                helper.make_tensor_value_info("on", TensorProto.BOOL, []),
                helper.make_tensor_value_info("t", FLOAT, None),
            ],
        )
        nodes = [_node("Loop", "count true x", "y", body=body)]
        held = {"true": true, "count": np.array(1)}
    path = _save(tmp_path / "net.onnx", nodes, held=held)
    _, network = _opened(path, takes="interpolated")
    x = _image(1, 8, 8)
    assert torch.equal(network(x), 2 * x)
    with pytest.raises(InputError, match=f"^not counted: ONNX operator {control}$"):
        trace(network, x)


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    _, network = _opened(_save(tmp_path / "net.onnx", [_node("Celu", "x")]), takes="interpolated")
    with pytest.raises(InputError, match=r"^not counted: ONNX operator Celu$"):
        trace(network, _image(1, 8, 8))


# Operators: each on a small graph, whose shape and type have to be the runtime's


def _ints(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def _floats(*numbers: float) -> NDArray[np.float32]:
    return np.array(numbers, dtype=np.float32)


def _levels(*shape: int) -> NDArray[np.int8]:
    return (100 * _weight(*shape)).astype(np.int8)


_STEP, _ZERO = np.array(0.1, dtype=np.float32), np.array(3, dtype=np.uint8)
_QUANTIZED = {"s": _STEP, "z": _ZERO, "ws": _STEP, "wz": np.array(0, dtype=np.int8)}
_MS = {"domain": "com.microsoft"}
_Q = _node("QuantizeLinear", "x s z", "q")
_D = _node("DequantizeLinear", "r s z", "y")
_CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, NDArray[Any]]]] = {
    **{
        operator: ([_node(operator, "x")], {})
        for operator in (
            "Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Log", "Sqrt", "Abs", "Neg", "Sign", "Floor",
            "Ceil", "Round", "Sin", "Cos", "Reciprocal", "Softplus", "Mish", "HardSigmoid",
            "HardSwish", "LeakyRelu", "Elu", "Gelu", "Softmax", "LogSoftmax", "Identity",
            "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Transpose", "Dropout",
            "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
            "ReduceSumSquare",
        )
    },
    **{
        f"{operator} of numbers": ([_node(operator, "x a")], {"a": _floats(2)})
        for operator in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu")
    },
    **{
        f"{operator} of data": ([_node(operator, "x a")], {"a": _weight(1, 4, 1, 1)})
        for operator in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")
    },
    "PRelu of channels": ([_node("PRelu", "x a")], {"a": _weight(4, 1, 1)}),
    "Pow, root": ([_node("Pow", "x a")], {"a": _floats(0.5)}),
    "Clip": ([_node("Clip", "x a b")], {"a": np.float32(0.1), "b": np.float32(0.9)}),
    "Clip below": ([_node("Clip", "x  b")], {"b": np.float32(0.9)}),
    "Conv": ([_node("Conv", "x w b", pads=[1, 1, 1, 1])],
             {"w": _weight(6, 4, 3, 3), "b": _weight(6)}),
    "Conv, uneven": ([_node("Conv", "x w", pads=[0, 1, 2, 1], strides=[2, 1])],
                     {"w": _weight(6, 4, 3, 3)}),
    "Conv, SAME_UPPER": ([_node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2])],
                         {"w": _weight(6, 4, 3, 4)}),
    "Conv, SAME_LOWER": ([_node("Conv", "x w", auto_pad="SAME_LOWER", strides=[3, 2])],
                         {"w": _weight(6, 4, 5, 4)}),
    "Conv, VALID": ([_node("Conv", "x w", auto_pad="VALID", dilations=[2, 1])],
                    {"w": _weight(6, 4, 3, 3)}),
    "Conv, groups": ([_node("Conv", "x w", group=4)], {"w": _weight(4, 1, 3, 3)}),
    "ConvTranspose": (
        [_node("ConvTranspose", "x w b", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])],
        {"w": _weight(4, 6, 3, 3), "b": _weight(6)}),
    "ConvTranspose, uneven": (
        [_node("ConvTranspose", "x w", strides=[2, 3], pads=[0, 1, 1, 0])],
        {"w": _weight(4, 6, 3, 4)}),
    "ConvTranspose, SAME_UPPER": (
        [_node("ConvTranspose", "x w", strides=[2, 2], auto_pad="SAME_UPPER")],
        {"w": _weight(4, 6, 5, 5)}),
    "ConvTranspose, groups": ([_node("ConvTranspose", "x w", group=2)], {"w": _weight(4, 3, 3, 3)}),
    "DepthToSpace, DCR": ([_node("DepthToSpace", "x", blocksize=2)], {}),
    "DepthToSpace, CRD": ([_node("DepthToSpace", "x", blocksize=2, mode="CRD")], {}),
    "SpaceToDepth": ([_node("SpaceToDepth", "x", blocksize=2)], {}),
    "MaxPool": (
        [_node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "MaxPool, uneven": ([_node("MaxPool", "x", kernel_shape=[3, 3], pads=[0, 0, 1, 1])], {}),
    "AveragePool": ([_node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2])], {}),
    "AveragePool, ceil": (
        [_node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}),
    "Reshape": ([_node("Reshape", "x a")], {"a": _ints(0, 2, 2, -1)}),
    "Reshape by Shape": (
        [_node("Shape", "x", "s"), _node("Gather", "s i", "side"), _node("Mul", "side two", "t"),
         _node("Concat", "ones half t", "a", axis=0), _node("Reshape", "x a")],
        {"i": _ints(3), "two": _ints(2), "ones": _ints(1, 2), "half": _ints(-1)}),
    "pixel shuffle": (
        [_node("Reshape", "x a", "r"), _node("Transpose", "r", "t", perm=[0, 1, 4, 2, 5, 3]),
         _node("Reshape", "t b")],
        {"a": _ints(1, 1, 2, 2, 12, 16), "b": _ints(1, 1, 24, 32)}),
    "pixel unshuffle": (
        [_node("Reshape", "x a", "r"), _node("Transpose", "r", "t", perm=[0, 1, 3, 5, 2, 4]),
         _node("Reshape", "t b")],
        {"a": _ints(1, 4, 6, 2, 8, 2), "b": _ints(1, 16, 6, 8)}),
    "windows": (
        [_node("Reshape", "x a", "r"), _node("Transpose", "r", "t", perm=[0, 2, 4, 3, 5, 1]),
         _node("Reshape", "t b")],
        {"a": _ints(1, 4, 3, 4, 4, 4), "b": _ints(12, 16, 4)}),
    "Squeeze, Unsqueeze": (
        [_node("Squeeze", "x a", "s"), _node("Unsqueeze", "s b")],
        {"a": _ints(0), "b": _ints(0, -1)}),
    "Concat": ([_node("Concat", "x x", axis=1)], {}),
    "Split": ([_node("Split", "x", "a b", axis=1, num_outputs=2), _node("Add", "a b")], {}),
    "Split by sizes": ([_node("Split", "x n", "a y", axis=1)], {"n": _ints(1, 3)}),
    "Slice": ([_node("Slice", "x a b c d")],
              {"a": _ints(1, 2), "b": _ints(-1, 2**62), "c": _ints(2, 3), "d": _ints(2, 3)}),
    "Slice, backwards": ([_node("Slice", "x a b c d")],
                         {"a": _ints(-1), "b": _ints(-(2**62)), "c": _ints(3), "d": _ints(-2)}),
    "Gather": ([_node("Gather", "x i", axis=2)], {"i": np.array([[1, -1], [0, 3]])}),
    "Gather one": ([_node("Gather", "x i", axis=1)], {"i": np.array(-1)}),
    "Expand": ([_node("Expand", "x a")], {"a": _ints(3, 1, 1, 1)}),
    "Tile": ([_node("Tile", "x a")], {"a": _ints(1, 2, 1, 3)}),
    "Pad": ([_node("Pad", "x a")], {"a": _ints(0, 1, 2, 0, 0, 0, 1, 3)}),
    "Pad, axes": ([_node("Pad", "x a  c", mode="reflect")],
                  {"a": _ints(2, 1, 0, 3), "c": _ints(2, 3)}),
    "Pad, edge": ([_node("Pad", "x a", mode="edge")], {"a": _ints(0, 0, 1, 1, 0, 0, 1, 2)}),
    "Pad, edge of channels": ([_node("Pad", "x a", mode="edge")],
                              {"a": _ints(0, 1, 0, 0, 0, 0, 0, 2)}),
    **{
        f"Resize, {mode}": ([_node("Resize", "x  a", mode=mode)], {"a": _floats(1, 1, 2, 1.5)})
        for mode in ("nearest", "linear", "cubic")
    },
    "Resize, sizes": ([_node("Resize", "x   a", mode="linear")], {"a": _ints(1, 4, 30, 20)}),
    "Resize, axes": ([_node("Resize", "x  a", mode="cubic", axes=[2, 3])], {"a": _floats(2, 2)}),
    "Resize, channels last": ([_node("Resize", "x  a", mode="linear")],
                              {"a": _floats(1, 2, 3, 1)}),
    "Cast": ([_node("Cast", "x", "h", to=10), _node("Cast", "h", to=1)], {}),
    "CastLike": ([_node("CastLike", "x a")], {"a": np.array([1], dtype=np.float16)}),
    "Where": ([_node("Greater", "x a", "g"), _node("Where", "g x a")], {"a": _floats(0.5)}),
    "Not": ([_node("LessOrEqual", "x a", "g"), _node("Not", "g", "n"), _node("Cast", "n", to=1)],
            {"a": _floats(0.5)}),
    "ConstantOfShape": (
        [_node("Shape", "x", "s"), _node("ConstantOfShape", "s", "o"), _node("Add", "x o")], {}),
    "Constant": ([_node("Constant", "", "a", value=numpy_helper.from_array(_weight(4, 1, 1))),
                  _node("Mul", "x a")], {}),
    "MatMul": ([_node("MatMul", "x w")], {"w": _weight(16, 5)}),
    "MatMul of data": (
        [_node("Transpose", "x", "t", perm=[0, 1, 3, 2]), _node("MatMul", "x t")], {}),
    "Gemm": ([_node("Flatten", "x", "f", axis=3), _node("Gemm", "f w b", transB=1)],
             {"w": _weight(5, 16), "b": _weight(5)}),
    "Einsum": ([_node("Einsum", "x x", equation="nchw,ncHw->ncHh")], {}),
    "BatchNormalization": ([_node("BatchNormalization", "x a b c d")],
                           {name: np.ones(4, dtype=np.float32) for name in "abcd"}),
    "LayerNormalization": ([_node("LayerNormalization", "x a b", axis=-1)],
                           {"a": _weight(16), "b": _weight(16)}),
    "InstanceNormalization": ([_node("InstanceNormalization", "x a b")],
                              {"a": _weight(4), "b": _weight(4)}),
    "ReduceMean, axes": ([_node("ReduceMean", "x a", keepdims=0)], {"a": _ints(1, -1)}),
    "ArgMax": ([_node("ArgMax", "x", "a", axis=1), _node("Cast", "a", to=1)], {}),
    "FusedConv": ([_node("FusedConv", "x w b", activation="Relu", **_MS)],
                  {"w": _weight(6, 4, 3, 3), "b": _weight(6)}),
    "FusedMatMul": ([_node("FusedMatMul", "x x", transB=1, alpha=0.5, **_MS)], {}),
    "BiasGelu": ([_node("BiasGelu", "x b", **_MS)], {"b": _weight(16)}),
    "FastGelu": ([_node("FastGelu", "x", **_MS)], {}),
    "com.microsoft Gelu": ([_node("Gelu", "x", **_MS)], {}),
    "QuickGelu": ([_node("QuickGelu", "x", **_MS)], {}),
    "Quantize, Dequantize": ([_Q, _node("DequantizeLinear", "q s z")], _QUANTIZED),
    "QLinearConv": (
        [_Q, _node("QLinearConv", "q s z w ws wz s z b", "r"), _D],
        {**_QUANTIZED, "w": _levels(6, 4, 3, 3), "b": np.ones(6, dtype=np.int32)}),
    "QLinearMatMul": ([_Q, _node("QLinearMatMul", "q s z w ws wz s z", "r"), _D],
                      {**_QUANTIZED, "w": _levels(16, 5)}),
    "ConvInteger": ([_Q, _node("ConvInteger", "q w z", "r"), _node("Cast", "r", to=1)],
                    {**_QUANTIZED, "w": _levels(6, 4, 3, 3)}),
    "MatMulInteger": ([_Q, _node("MatMulInteger", "q w z", "r"), _node("Cast", "r", to=1)],
                      {**_QUANTIZED, "w": _levels(16, 5)}),
    "DynamicQuantizeLinear": (
        [_node("DynamicQuantizeLinear", "x", "q d e"), _node("DequantizeLinear", "q d e")], {}),
    "QLinearAdd": ([_Q, _node("QLinearAdd", "q s z q s z s z", "r", **_MS), _D], _QUANTIZED),
    "QLinearMul": ([_Q, _node("QLinearMul", "q s z q s z s z", "r", **_MS), _D], _QUANTIZED),
    "QLinearLeakyRelu": (
        [_Q, _node("QLinearLeakyRelu", "q s z s z", "r", alpha=0.1, **_MS), _D], _QUANTIZED),
    "QLinearSigmoid": ([_Q, _node("QLinearSigmoid", "q s z s z", "r", **_MS), _D], _QUANTIZED),
    "QLinearConcat": ([_Q, _node("QLinearConcat", "s z q s z q s z", "r", axis=1, **_MS), _D],
                      _QUANTIZED),
    "QLinearGlobalAveragePool": (
        [_Q, _node("QLinearGlobalAveragePool", "q s z s z", "r", channels_last=0, **_MS), _D],
        _QUANTIZED),
}  # fmt: skip


@pytest.mark.parametrize("case", _CASES)
def test_an_operator_gives_the_shape_that_the_runtime_gives(tmp_path: Path, case: str) -> None:
    nodes, held = _CASES[case]
    for node in nodes:
        if node.op_type == "Constant":
            del node.input[:]
    shape = (1, 4, 12, 16)
    gives = TensorProto.FLOAT16 if case == "CastLike" else FLOAT
    path = _save(tmp_path / "net.onnx", nodes, shape, held, gives=gives)
    x = 0.1 + _image(4, 12, 16)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})
    graph = Interpreter(onnx.load(path), tmp_path)
    tensors = {
        **{name: nn.Parameter(graph.tensor(p).to("meta"), requires_grad=False)
           for name, p in graph.parameters.items()},
        **{name: graph.tensor(p).to("meta") for name, p in graph.buffers.items()},
    }  # fmt: skip

    class Module(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return graph.run(image, tensors)

    traced = trace(Module(), x)
    refuse_unknown(traced)
    (out,) = traced.outputs
    assert out.shape == tuple(expected.shape)
    assert out.dtype == torch.from_numpy(expected).dtype


# On real images


def _psnr(card: Method, module: nn.Module, scale: int, name: str) -> dict[str, float]:
    rules, psnr = protocol(name), metrics.load("psnr")
    found = {}
    for image in datasets.load("set5", Progress()).images:
        hr, lr = hr_and_lr(
            images.decode(image.path), scale, rules, card.channels, torch.device("cpu")
        )
        size = (scale * lr.shape[-2], scale * lr.shape[-1])
        with torch.no_grad():
            sr = super_resolve(lr, size, card, module, rules)
        found[image.name] = compare_images(sr, hr, scale, rules, {"psnr": psnr})["psnr_y"]
    return found


@pytest.mark.usefixtures("mirror")
def test_espcn_has_the_same_psnr_as_in_torch(tmp_path: Path) -> None:
    card, _ = zoo.load("espcn")
    chosen = weights.of_tag(card, card.default_weights, 3)
    weights.download(card, chosen, Progress())
    network = weights.build(card, chosen, 3, torch.device("cpu")).eval()
    _export(network, 1, tmp_path / "net.onnx", dynamo=False)
    made, module = _opened(tmp_path / "net.onnx")
    expected = _psnr(card, network, 3, "srcnn2014")
    found = _psnr(made, module, 3, "srcnn2014")
    assert round(sum(expected.values()) / 5, 4) == 32.5451
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.usefixtures("mirror")
def test_srcnn_in_int8_loses_half_a_decibel(tmp_path: Path) -> None:
    card, _ = zoo.load("srcnn-9-1-5")
    chosen = weights.of_tag(card, card.default_weights, 3)
    weights.download(card, chosen, Progress())
    network = weights.build(card, chosen, 3, torch.device("cpu")).eval()
    _export(network, 1, tmp_path / "net.onnx", dynamo=False)
    rules = protocol("srcnn2014")
    pictures = []
    for image in list(datasets.load("t91", Progress()).images)[:16]:
        hr, _ = hr_and_lr(images.decode(image.path), 3, rules, "luma", torch.device("cpu"))
        pictures.append((hr[None, :, :60, :60] / 255).float())
    _quantize(tmp_path / "net.onnx", tmp_path / "int8.onnx", pictures, "QDQ")
    found = {}
    for name in ("net", "int8"):
        made, module = _opened(tmp_path / f"{name}.onnx", takes="interpolated")
        found[name] = sum(_psnr(made, module, 3, "srcnn2014").values()) / 5
    assert found["net"] == pytest.approx(32.394, abs=1e-3)
    assert 0.2 < found["net"] - found["int8"] < 0.8
