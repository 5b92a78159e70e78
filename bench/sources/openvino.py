"""Files that OpenVINO computes: its own `.xml`, TensorFlow's `.tflite` and `.pb`, ONNX."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.runtimes import openvino_graph
from bench.runtimes.external import External, Layout, Port
from bench.sources.card import Card
from zoo.errors import InputError, one_line
from zoo.method import Method

FIELD = "openvino"
SUFFIXES = (".xml", ".tflite", ".pb")
EXTRA = "openvino"
MODULES = ("openvino",)
EXAMPLE = "net.tflite"

_SIDES = (96, 64)
"""Rows and columns of the image that shows what a file takes; multiples of usual windows."""
_LARGEST = 16
"""Most that an output may be larger than the input, per side."""


def method(card: Card) -> Method:
    """The method of a card with a file that OpenVINO reads.

    Raises:
        InputError: the file cannot be read, or does not tell what it takes.
    """
    scales = card.scales or card.scales_found()
    path = card.path(scales[0] if scales else 1)
    network = OpenVINO(path, card)
    takes = card.takes or ("interpolated" if network.factor == 1 else "LR")
    if takes == "LR":
        scales = scales or (network.factor,)
    made = card.method("luma" if network.takes.channels == 1 else "RGB", network.white, scales)
    if path.suffix.lower() == ".xml":
        beside = [str(card.folder / card.source)[: -len(".xml")] + ".bin"]
    else:
        data = (each for scale in scales or (1,) for each in _data_of(card.path(scale)))
        beside = [str(each.resolve()) for each in data]
    return replace(
        made,
        takes=takes,
        opener=functools.partial(_opened, card, takes),
        default_weights=str(card.folder / card.source),
        files=tuple(beside),
        libraries=("openvino",),
    )


def _opened(card: Card, takes: str, path: Path, scale: int) -> nn.Module:
    """The network of a file.

    Raises:
        InputError: as `OpenVINO`, or the network enlarges by another scale.
    """
    network = OpenVINO(path, card)
    factor = scale if takes == "LR" else 1
    if network.factor != factor:
        raise InputError(
            f"{path} enlarges by {network.factor}, not by {factor}; give another scale"
        )
    return network


@functools.cache
def _library() -> Any:
    """The package `openvino`, imported without its telemetry.

    On import it would write to the user's home and send events to Google Analytics; it does neither
    where the package `openvino_telemetry` cannot be imported.
    """
    telemetry = "openvino_telemetry"
    before = sys.modules.get(telemetry)
    sys.modules[telemetry] = None  # type: ignore[assignment]
    try:
        import openvino
        import openvino.passes  # what folds constants
    finally:
        if before is None:
            del sys.modules[telemetry]
        else:
            sys.modules[telemetry] = before
    return openvino


@functools.cache
def _core() -> Any:
    """What reads and compiles models; one for the process."""
    return _library().Core()


class _Form(NamedTuple):
    """How a file may be read: layouts, planes, and the ratio of the output's sides."""

    takes: Layout
    gives: Layout
    channels: int
    factor: int
    size: tuple[int, int] | None
    """Rows and columns that the file is made for; None for any size."""


class OpenVINO(External):
    """A file that OpenVINO computes, in float32 where the file has floats."""

    def __init__(self, path: Path, card: Card) -> None:
        """Read a file.

        Args:
            path: the file; the weights of an `.xml` are beside it, in a `.bin`.
            card: says the channels and the layout, where the file does not.

        Raises:
            InputError: the file cannot be read, is no network that enlarges images, or does not
                tell its layout or channels.
        """
        ov = _library()
        model, files = _read(path)
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise InputError(
                f"{path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; expected "
                "one image in and one out"
            )
        form = _form(path, model, card)
        stated = _stated(model.inputs[0].partial_shape)
        model = _shaped(model, form, form.size or (-1, -1))
        with _explained(path):
            takes, gives = (
                openvino_graph.dtype_of(port.element_type.get_type_name())
                for port in (model.inputs[0], model.outputs[0])
            )
            described = _described(ov, model)
        given, made = _levels(described)
        notes = []
        rows, columns = stated[1:3] if form.takes == "NHWC" else stated[2:]
        if form.size is None and rows and columns:
            notes.append(f"made for {columns}x{rows} px, reshaped to each image's size")
        if takes in (torch.float16, torch.bfloat16):
            notes.append(f"a file in {str(takes).removeprefix('torch.')}, computed in float32")
        super().__init__(
            program=f"OpenVINO {ov.__version__.partition('-')[0]}",
            file_bytes=sum(each.stat().st_size for each in files),
            takes=Port(
                name="input", channels=form.channels, layout=form.takes, dtype=takes,
                step=given.step, zero=given.zero,
            ),
            gives=Port(
                name="output", channels=form.channels, layout=form.gives, dtype=gives,
                step=made.step, zero=made.zero,
            ),
            factor=form.factor,
            size=form.size,
            notes=tuple(notes),
        )  # fmt: skip
        self.path = path
        whites = _bound(described), round(made.white), round(given.white)
        self.white: Literal[1, 255] = 255 if 255 in whites else 1
        self._model = model
        self._nodes = described.nodes
        for name, weight in described.weights.items():
            self.register_parameter(name, nn.Parameter(weight, requires_grad=False))

    def open(self, threads: int) -> Any:
        """A session on so many threads.

        Raises:
            InputError: OpenVINO cannot compile the file.
        """
        # On one thread, each calling thread needs a stream: a stream runs one image at a time.
        streams = max(os.cpu_count() or 1, 1) if threads == 1 else 1
        settings = {
            "INFERENCE_NUM_THREADS": max(threads, streams),
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "f32",
            "EXECUTION_MODE_HINT": "ACCURACY",
        }
        with _explained(self.path):
            return _Session(_core().compile_model(self._model, "CPU", settings))

    def run(self, session: Any, image: NDArray[Any]) -> NDArray[Any]:
        """The output for an image, both as the file stores them.

        Raises:
            InputError: OpenVINO cannot compute it.
        """
        with _explained(self.path):
            made: NDArray[Any] = session.infer(image)
        return made

    def on_meta(self, stored: Tensor) -> Tensor:
        """The same by torch operators, for shapes alone; images as the file stores them.

        Raises:
            InputError: an operator that is not known.
        """
        return openvino_graph.run(self._nodes, dict(self.named_parameters()), stored)


class _Session:
    """A compiled model, with a request for each thread."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self.local = threading.local()

    def infer(self, image: NDArray[Any]) -> NDArray[Any]:
        if not hasattr(self.local, "request"):
            self.local.request = self.compiled.create_infer_request()
        made: NDArray[Any] = self.local.request.infer({0: image})[0]
        return made


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """A context in which OpenVINO's errors become InputErrors that name the file."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # OpenVINO raises RuntimeError, and TypeError for other images
        raise InputError(f"{path}: OpenVINO cannot use it: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What OpenVINO says, without the places in its own source."""
    lines = [line.strip() for line in str(error).splitlines()]
    places = ("Exception from ", "Check '", "While validating", "[CPU]")
    said = [line for line in lines if line and not line.startswith(places)]
    return one_line(RuntimeError(" ".join(said or lines)), 200).removeprefix("RuntimeError: ")


def _read(path: Path) -> tuple[Any, list[Path]]:
    """The model in a file, and the files that it is made of.

    Raises:
        InputError: the file cannot be read.
    """
    files = [path]
    if path.suffix.lower() == ".xml":
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise InputError(f"{path} has its weights in {weights}, which does not exist; add it")
        files.append(weights)
    _refuse_another_kind(path)
    files += _data_of(path)
    with _explained(path):
        return _core().read_model(path), files


def _data_of(path: Path) -> tuple[Path, ...]:
    """The files beside an ONNX file that hold its external data; none for other files.

    Raises:
        InputError: a file is outside the folder, missing, or too short, or cannot be looked for.
    """
    # The name of the entry that names a file.
    if path.suffix.lower() != ".onnx" or b"location" not in path.read_bytes():
        return ()
    if find_spec("onnx") is None or find_spec("onnxruntime") is None:
        raise InputError(
            f"{path} keeps weights in other files, which need onnx to be found; run: pip install "
            "'sisrbench[onnx]'"
        )
    from bench.sources.onnx import data_of

    return data_of(path)


def _refuse_another_kind(path: Path) -> None:
    """Refuse a file that is not what its ending says, or that is cut short.

    OpenVINO refuses these too, but its parser of `.pb` writes many lines to the terminal first.

    Raises:
        InputError: the file is of another kind, or is cut short.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"no file {path}: {error.strerror}; give a path that exists") from error
    kind = path.suffix.lower()
    if kind == ".xml" and not re.search(rb"<net\s[^>]*version=", content[:4096]):
        raise InputError(f"{path} is no network; give what openvino.save_model writes")
    if kind == ".tflite" and content[4:8] != b"TFL3":
        raise InputError(f"{path} is no file of TensorFlow Lite; give what its converter writes")
    if kind == ".pb" and not _is_graph(content):
        raise InputError(
            f"{path} is no TensorFlow graph, or is cut short ({len(content):,} bytes); get it again"
        )


def _is_graph(content: bytes) -> bool:
    """Whether bytes are a whole `GraphDef`: fields, numbers 1 to 6, each within the file."""
    place = 0

    def number() -> int:
        nonlocal place
        found = shift = 0
        while True:
            byte = content[place]
            place += 1
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128 or shift > 63:
                return found

    try:
        while place < len(content):
            field, wire = divmod(number(), 8)
            if field not in range(1, 7) or wire not in (0, 2):
                return False
            length = number()
            place += length if wire == 2 else 0
    except IndexError:
        return False
    return place == len(content) > 0


def _shaped(model: Any, form: _Form, sides: tuple[int, int]) -> Any:
    """The model for images of these rows and columns, each -1 for any."""
    made = model.clone()
    shape = (form.channels, *sides) if form.takes == "NCHW" else (*sides, form.channels)
    made.reshape([1, *shape])
    return made


def _form(path: Path, model: Any, card: Card) -> _Form:
    """How a file is read.

    Raises:
        InputError: there is no way, or more than one.
    """
    stated = _stated(model.inputs[0].partial_shape)
    found = list(_forms(model, stated, card, _SIDES, None))
    if found and _is_free(model, found[0]):
        return _only(path, found)
    found = []
    for layout, sides in (("NCHW", stated[2:]), ("NHWC", stated[1:3])):
        if len(sides) == 2 and all(sides):
            size = sides[0], sides[1]
            found += [f for f in _forms(model, stated, card, size, size) if f.takes == layout]
    if not found:
        raise InputError(
            f"{path} takes {model.inputs[0].partial_shape} and gives "
            f"{model.outputs[0].partial_shape}; expected an image with 1 or 3 channels and its "
            "enlargement"
        )
    return _only(path, found)


def _stated(shape: Any) -> list[int]:
    """The lengths of a shape of OpenVINO; 0 for a length that is free."""
    if shape.rank.is_dynamic:
        return [0] * 4
    return [each.get_length() if each.is_static else 0 for each in shape]


def _only(path: Path, found: list[_Form]) -> _Form:
    """The form, if there is one.

    Raises:
        InputError: there are several.
    """
    if len({(form.takes, form.channels) for form in found}) == 1:
        return found[0]
    if len({form.channels for form in found}) > 1:
        raise InputError(
            f'{path} does not tell its channels; say channels = "luma" or channels = "RGB"'
        )
    raise InputError(f'{path} does not tell its layout; say layout = "NCHW" or layout = "NHWC"')


def _forms(
    model: Any,
    stated: list[int],
    card: Card,
    sides: tuple[int, int],
    size: tuple[int, int] | None,
) -> Iterator[_Form]:
    """The ways to read a file under which an image of so many rows and columns is enlarged."""
    if len(stated) != 4:
        return
    rows, columns = sides
    of_layout = {"NCHW": stated[1], "NHWC": stated[3]}
    # Where the file states the channels of one layout only, it is that layout.
    telling = [layout for layout, planes in of_layout.items() if planes in (1, 3)]
    for channels in {"luma": (1,), "RGB": (3,)}.get(card.channels, (3, 1)):
        for layout in get_args(Layout):
            if (
                card.layout not in ("", layout)
                or of_layout[layout] not in (0, channels)
                or (telling and layout not in telling)
            ):
                continue
            try:
                made = _shaped(model, _Form(layout, layout, channels, 1, None), sides)
                out = tuple(made.outputs[0].shape)
            except RuntimeError:  # this layout does not go through the graph
                continue
            for factor in range(1, _LARGEST + 1):
                if out == (1, channels, factor * rows, factor * columns):
                    yield _Form(layout, "NCHW", channels, factor, size)
                elif out == (1, factor * rows, factor * columns, channels):
                    yield _Form(layout, "NHWC", channels, factor, size)


def _is_free(model: Any, form: _Form) -> bool:
    """Whether the graph allows images of any size."""
    try:
        shape = _shaped(model, form, (-1, -1)).outputs[0].partial_shape
    except RuntimeError:
        return False
    axes = (1, 2) if form.gives == "NHWC" else (2, 3)
    return all(shape[axis].is_dynamic for axis in axes)


def _described(ov: Any, model: Any) -> openvino_graph.Described:
    """The graph of a model, constants folded; the model itself does not change."""
    folded = model.clone()
    manager = ov.passes.Manager()
    manager.register_pass(ov.passes.ConstantFolding())
    manager.run_passes(folded)
    return openvino_graph.describe(folded)


class _Levels(NamedTuple):
    """Values of an integer type: (q - zero) * step."""

    step: float = 1.0
    zero: int = 0
    white: float = 0.0
    """The largest value, if the file states it; else 0."""


def _levels(described: openvino_graph.Described) -> tuple[_Levels, _Levels]:
    """What the integers at the input and at the output stand for, from the quantisation there."""
    nodes = described.nodes
    start = next(place for place, node in enumerate(nodes) if node.kind == "Parameter")
    given = _Levels()
    for _ in nodes:
        users = [n for n in nodes if any(source == start for source, _ in n.inputs)]
        if len(users) != 1:
            break
        user = users[0]
        if user.kind == "FakeQuantize":
            given = _of_limits(_limits(nodes, user), stored_first=True)
            break
        if user.kind in ("Subtract", "Multiply"):
            number = _number(nodes, user)
            if number is None:
                break
            given = (
                given._replace(zero=round(number))
                if user.kind == "Subtract"
                else given._replace(step=number)
            )
        elif user.kind not in (*_MOVES, "Convert"):
            break
        start = nodes.index(user)
    made = _Levels()
    for node in _backwards(nodes, (*_MOVES, "Convert")):
        if node.kind == "FakeQuantize":
            made = _of_limits(_limits(nodes, node), stored_first=False)
    return given, made


_MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "DepthToSpace")
"""Operators that only move values."""


def _backwards(
    nodes: tuple[openvino_graph.Node, ...], passed: tuple[str, ...]
) -> Iterator[openvino_graph.Node]:
    """The operators before the output, up to and with the first that is none of `passed`."""
    node = next(node for node in nodes if node.kind == "Result")
    while node.inputs:
        node = nodes[node.inputs[0][0]]
        yield node
        if node.kind not in passed:
            return


def _number(nodes: tuple[openvino_graph.Node, ...], node: openvino_graph.Node) -> float | None:
    """The single number that an operator applies, if it is one."""
    for place, _ in node.inputs:
        constant = nodes[place].constant
        if constant is not None and constant.numel() == 1:
            return float(constant)
    return None


def _limits(nodes: tuple[openvino_graph.Node, ...], node: openvino_graph.Node) -> list[float]:
    """Input low and high, output low and high of a quantisation; nan if they differ by channel."""
    values = [nodes[place].constant for place, _ in node.inputs[1:]]
    return [
        float(value) if value is not None and value.numel() == 1 else float("nan")
        for value in values
    ]


def _of_limits(limits: list[float], *, stored_first: bool) -> _Levels:
    """Levels from the limits of a quantisation between stored integers and values."""
    pairs = limits[:2], limits[2:]
    (low, high), (least, most) = pairs if stored_first else pairs[::-1]
    if not np.isfinite(limits).all() or high <= low or most <= least:
        return _Levels()
    step = (most - least) / (high - low)
    # Limits are float32: a step of 1 or 1/255 comes back to about 7 digits.
    step = float(f"{step:.6g}")
    return _Levels(step, round(low - least / step), most)


def _bound(described: openvino_graph.Described) -> float | None:
    """The number that the output is clipped to, from the last operators; None if it is not."""
    passed = (*_MOVES, "Convert", "Relu", "Maximum", "FakeQuantize")
    for node in _backwards(described.nodes, passed):
        if node.kind == "Minimum":
            return _number(described.nodes, node)
        if node.kind == "Clamp":
            return float(node.attributes["max"])
    return None
