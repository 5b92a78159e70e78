"""ONNX files, computed by ONNX Runtime on the processor.

A session has as many threads as torch has in the calling thread, one thread between operators, and
the runtime's default optimisation of graphs. Two runs give equal bits. Files in half precision and
quantised files are computed as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path, PureWindowsPath
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from bench.machine import out_of_memory
from bench.runtimes.external import External, Layout, Port
from bench.runtimes.onnx_graph import Interpreter
from bench.sources.card import Card
from zoo.errors import InputError, listed, one_line
from zoo.method import Channels, Method

FIELD = "onnx"
SUFFIXES = (".onnx",)
EXTRA = "onnx"
MODULES = ("onnx", "onnxruntime")
EXAMPLE = "net.onnx"

_PROGRAM = f"ONNX Runtime {onnxruntime.__version__}"
_PLANES: dict[int, Channels] = {1: "luma", 3: "RGB"}
_IMAGES = {
    "FLOAT": torch.float32,
    "FLOAT16": torch.float16,
    "DOUBLE": torch.float64,
    "UINT8": torch.uint8,
    "INT8": torch.int8,
}
"""Types in which a file may store an image."""
_TRIED = ((48, 64), (64, 64), (64, 128), (128, 128), (256, 256))
"""Height and width of images that show how much a file enlarges; not all windows fit the first."""
_OTHERS = ((-13, -7), (6, 10))
"""Rows and columns more than a file is made for, on which it has to work if it is reshaped."""


def method(card: Card) -> Method:
    """The card's method: planes, white and scale are the file's, unless the card says them.

    Raises:
        InputError: a file that cannot be used, or that contradicts the card.
    """
    scales = card.scales_found() or card.scales
    files = [_read(card.path(scale)) for scale in scales or (1,)]
    network = _network(card, files[0])
    takes = card.takes or ("interpolated" if network.factor == 1 else "LR")
    if takes == "LR":
        scales = scales or (network.factor,)
    made = card.method(_PLANES[network.takes.channels], network.white, scales)
    return replace(
        made,
        takes=takes,
        opener=partial(_opened, card, takes),
        default_weights=str(card.folder / card.source),
        files=tuple(str(data.resolve()) for file in files for data in file.data),
        libraries=("onnxruntime",),
    )


def _opened(card: Card, takes: str, path: Path, scale: int) -> nn.Module:
    """The module of a file at a scale.

    Raises:
        InputError: a file that cannot be used, or that enlarges by another factor.
    """
    network = _network(card, _read(path))
    factor = scale if takes == "LR" else 1
    if network.factor != factor:
        raise InputError(
            f"{path} enlarges by {network.factor}, not by {factor}; "
            f"give -s {network.factor}, or another file"
        )
    return network.eval()


@dataclass(frozen=True)
class _File:
    """A model as it was read; its external data is not loaded."""

    path: Path
    model: onnx.ModelProto
    size: int
    """Bytes of the file, with those of its external data."""
    data: tuple[Path, ...]
    """Files that hold its external data."""

    @cached_property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """Inputs that the file has no values for."""
        held = {each.name for each in self.model.graph.initializer}
        return [each for each in self.model.graph.input if each.name not in held]


def _read(path: Path) -> _File:
    """The model in a file.

    Raises:
        InputError: it cannot be read, is no model, or needs data that is not there.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"no ONNX file {path}: {error.strerror}; give a path") from error
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # of the library that parses it
        raise InputError(
            f"{path} is no ONNX file, or is cut short ({len(content)} bytes); export it again"
        ) from error
    if not model.ir_version or not model.graph.node or not model.graph.output:
        raise InputError(f"{path} is no ONNX file: it holds no graph; give an exported network")
    _refuse_training(path, model.graph)
    data = _external_data(path, model.graph)
    size = len(content) + sum(each.stat().st_size for each in data)
    return _File(path, model, size, data)


def _refuse_training(path: Path, graph: onnx.GraphProto) -> None:
    """Refuse a graph with a layer that is training.

    Raises:
        InputError: such a layer.
    """
    held = _constants(graph)
    for node in graph.node:
        mode = [each.i for each in node.attribute if each.name == "training_mode"]
        if (
            node.op_type == "Dropout"
            and len(node.input) > _TRAINING
            and (node.input[_TRAINING] in held)
        ):
            mode = [int(numpy_helper.to_array(held[node.input[_TRAINING]]).item())]
        if node.op_type in ("BatchNormalization", "Dropout") and any(mode):
            raise InputError(
                f"{path} was exported in training mode ({node.op_type}); call .eval() before "
                "torch.onnx.export"
            )


_TRAINING = 2
"""The input of Dropout that says whether it is training."""


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Tensors that a graph holds, by name: its initializers and Constant nodes."""
    held = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            held[node.output[0]] = node.attribute[0].t
    return held


def data_of(path: Path) -> tuple[Path, ...]:
    """The files beside a model that hold its external data.

    Raises:
        InputError: the model cannot be read, or a file is elsewhere, missing, or too short.
    """
    return _read(path).data


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All tensors that a graph holds, also in the graphs of its nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _tensors(inner)


def _external_data(path: Path, graph: onnx.GraphProto) -> tuple[Path, ...]:
    """The files beside a model that hold its external data, in order.

    Raises:
        InputError: a file is elsewhere, missing, or too short.
    """
    folder = path.parent.resolve()
    found: dict[Path, None] = {}
    for tensor in _tensors(graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        stated = {each.key: each.value for each in tensor.external_data}
        name = stated.get("location", "")
        place = folder / name
        outside = PureWindowsPath(name).is_absolute() or not place.resolve().is_relative_to(folder)
        if not name or outside:
            raise InputError(
                f"{path} keeps weights in {name!r}, outside its folder; that is not read: put the "
                "data beside the file and export it again"
            )
        if not place.is_file():
            raise InputError(f"{path} keeps weights in {name}, which is missing; put it beside")
        try:
            end = int(stated.get("offset", "0")) + int(stated.get("length", "0"))
        except ValueError as error:
            raise InputError(f"{path}: {one_line(error)} in external data; export again") from error
        if end > place.stat().st_size:
            raise InputError(
                f"{path} keeps weights in {name}, which is cut short: {end} bytes are needed, and "
                f"{place.stat().st_size} are there"
            )
        found[place] = None
    return tuple(found)


# Ports: how a file stores an image


def _only(file: _File) -> tuple[onnx.ValueInfoProto, onnx.ValueInfoProto]:
    """The file's only input and its only output.

    Raises:
        InputError: there are more or none.
    """
    for what, found in (("input", file.inputs), ("output", list(file.model.graph.output))):
        if len(found) != 1:
            names = listed([each.name for each in found]) or "none"
            raise InputError(
                f"{file.path} has {len(found)} {what}s ({names}); expected one, an image: export "
                "the network alone"
            )
    return file.inputs[0], file.model.graph.output[0]


def _shape(info: onnx.ValueInfoProto) -> list[int]:
    """Sides of an input or output; 0 where any will do."""
    sides = info.type.tensor_type.shape.dim
    return [side.dim_value if side.HasField("dim_value") else 0 for side in sides]


def _image_type(file: _File, info: onnx.ValueInfoProto) -> torch.dtype:
    kind = onnx.TensorProto.DataType.Name(info.type.tensor_type.elem_type)
    if kind not in _IMAGES:
        known = ", ".join(_IMAGES).lower()
        raise InputError(f"{file.path}: {info.name} is of type {kind.lower()}; an image is {known}")
    return _IMAGES[kind]


def _place_of_image(card: Card, file: _File, info: onnx.ValueInfoProto) -> tuple[Layout, int]:
    """Layout and channels of an input.

    Raises:
        InputError: the file does not tell, or they are no image's.
    """
    shape = _shape(info)
    shown = "x".join(str(side or "?") for side in shape)
    if len(shape) != 4:
        raise InputError(
            f"{file.path}: {info.name} has the shape {shown or '()'}; expected four sides, NCHW or "
            "NHWC"
        )
    if shape[0] > 1:
        raise InputError(f"{file.path}: {info.name} is {shown}, for {shape[0]} images at once; "
                         "export it for one")  # fmt: skip
    first, last = shape[1] in _PLANES, shape[3] in _PLANES
    layout: Layout
    if card.layout:
        layout = card.layout
    elif first != last:
        layout = "NCHW" if first else "NHWC"
    elif first or not (shape[1] and shape[3]):
        raise InputError(
            f"{file.path}: {info.name} is {shown}, whose channels may be first or last; say layout "
            '= "NCHW" or "NHWC"'
        )
    else:
        layout = "NCHW"
    channels = shape[1 if layout == "NCHW" else 3]
    if not channels:
        channels = {"luma": 1, "RGB": 3}.get(card.channels, 0)
        if not channels:
            raise InputError(
                f"{file.path}: {info.name} is {shown}, whose channels are not stated; say channels "
                '= "luma" or "RGB"'
            )
    if channels not in _PLANES:
        raise InputError(
            f"{file.path}: {info.name} is {shown}, with {channels} channels; expected 1 or 3"
        )
    if card.channels and card.channels != _PLANES[channels]:
        raise InputError(
            f"{file.path} takes {channels} channels, so channels is {_PLANES[channels]!r}, not "
            f"{card.channels!r}"
        )
    return layout, channels


class _Levels(NamedTuple):
    """Step between levels and the level of 0, which an integer type has."""

    step: float
    zero: int


def _levels(file: _File, name: str, operator: str) -> _Levels | None:
    """Step and zero of the operator that reads an input or makes an output; None without it.

    Operators that only move values may stand between.

    Raises:
        InputError: the step differs between channels, or is not in the file.
    """
    graph = file.model.graph
    reads = operator == "DequantizeLinear"
    held = _constants(graph)
    ends = {name}
    for node in graph.node if reads else reversed(graph.node):
        near, far = (node.input, node.output) if reads else (node.output, node.input)
        if not ends & set(near[:1]):
            continue
        if node.op_type in _MOVES:
            ends.add(far[0])
        if node.op_type == operator:
            numbers = [held[each] for each in node.input[1:] if each in held]
            if len(numbers) < len(node.input) - 1 or any(
                math.prod(each.dims) != 1 or each.data_location == onnx.TensorProto.EXTERNAL
                for each in numbers
            ):
                raise InputError(
                    f"{file.path}: {operator} of {name} has no single step in the file; export it "
                    "with one step for all channels of the image"
                )
            step, *zero = (numpy_helper.to_array(each).item() for each in numbers)
            return _Levels(float(step), int(zero[0]) if zero else 0)
    return None


_MOVES = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "DepthToSpace")
"""Operators whose output holds values of their input."""


def _white(card: Card, dtype: torch.dtype, levels: _Levels | None) -> Literal[1, 255]:
    """White in an input, unless the card says it."""
    if card.range:
        return card.range
    if dtype.is_floating_point:
        return 1
    if levels is None:
        return 255
    # Of the two whites, that which is nearer the largest value that the type can store.
    most = (torch.iinfo(dtype).max - levels.zero) * levels.step
    return 1 if most < math.sqrt(255) else 255


def _port(
    info: onnx.ValueInfoProto,
    channels: int,
    layout: Layout,
    dtype: torch.dtype,
    levels: _Levels | None,
    white: int,
) -> Port:
    if not dtype.is_floating_point and levels is None:  # 0 to 255, or less 128
        levels = _Levels(white / 255, 0 if dtype == torch.uint8 else -128)
    step, zero = levels or (1.0, 0)
    return Port(name=info.name, channels=channels, layout=layout, dtype=dtype, step=step, zero=zero)


def _cut(takes: Port, white: int) -> tuple[str, ...]:
    """A remark on an input that cannot store all of an image's values, if it cannot."""
    if takes.dtype.is_floating_point:
        return ()
    limits = torch.iinfo(takes.dtype)
    low, high = ((level - takes.zero) * takes.step for level in (limits.min, limits.max))
    # What is rounded to the last level is not cut.
    if low <= takes.step / 2 and high >= white - takes.step / 2:
        return ()
    return (f"the input stores {low:.4g} to {high:.4g} of [0, {white}], and the rest is cut",)


# The module


class Network(External):
    """A network in an ONNX file."""

    def __init__(
        self,
        file: _File,
        model: bytes,
        *,
        takes: Port,
        gives: Port,
        factor: int,
        size: tuple[int, int] | None,
        white: Literal[1, 255],
        notes: tuple[str, ...],
    ) -> None:
        super().__init__(
            program=_PROGRAM,
            file_bytes=file.size,
            takes=takes,
            gives=gives,
            factor=factor,
            size=size,
            notes=notes,
        )
        self.white = white
        self._path, self._model = file.path, model
        self._graph = Interpreter(onnx.load_model_from_string(model), file.path.parent)
        self._names: dict[str, str] = {}
        for name, proto in self._graph.parameters.items():
            value = nn.Parameter(self._graph.tensor(proto), requires_grad=False)
            self.register_parameter(self._named(name), value)
        for name, proto in self._graph.buffers.items():
            self.register_buffer(self._named(name), self._graph.tensor(proto))
        for name, table in self._graph.tables.items():
            value = nn.Parameter(table, requires_grad=False)
            self.register_parameter(self._named(f"{name}/table"), value)

    def _named(self, name: str) -> str:
        """A tensor's name, as a module may have it; kept for the way back."""
        plain = name.replace(".", "/")
        while hasattr(self, plain):
            plain += "_"
        self._names[name] = plain
        return plain

    def open(self, threads: int) -> onnxruntime.InferenceSession:
        """A session of so many threads."""
        return _session(self._path, self._model, threads)

    def run(self, session: onnxruntime.InferenceSession, image: NDArray[Any]) -> NDArray[Any]:
        """The output for an image, both as the file stores them.

        Raises:
            InputError: the file does not run on an image of this size.
        """
        return _run(session, self._path, self.takes, image)

    def on_meta(self, stored: Tensor) -> Tensor:
        """The same by torch operators.

        Raises:
            InputError: the file has an operator that is not known.
        """
        tensors = {name: getattr(self, plain) for name, plain in self._names.items()}
        return self._graph.run(stored, tensors)


def _session(path: Path, model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A session of the runtime.

    Raises:
        InputError: the runtime does not read the model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is said in one line, below
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.parent.resolve())
    )
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"{path}: {_reason(error)}") from error


_REASONS = (
    (
        r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
        "has IR version {0}, and {program} reads up to {1}; install a newer onnxruntime",
    ),
    (
        r"Opset (\d+) is under development.*?domain (\S*) is till opset (\d+)",
        "has opset {0} of {1}, and {program} knows up to {2}; export it with an older opset",
    ),
    (
        r"No Op registered for (\S+) with domain_version of (\d+)",
        "operator {0} does not exist in opset {1} of {program}; export it with another opset",
    ),
    (
        r"(\S+)\(-?\d+\) is not a registered function/op",
        "operator {0} is unknown to {program}; export the network without custom operators",
    ),
    (
        r"Could not find an implementation for (\S+?)\((\d+)\)",
        "{program} does not compute operator {0} of opset {1} on these types; export it in others",
    ),
)
"""What the runtime says, and the same as a line for people."""


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    for pattern, said in _REASONS:
        if found := re.search(pattern, text):
            return said.format(*found.groups(), program=_PROGRAM)
    return f"{_PROGRAM} does not read it: {one_line(error, 200)}; export it again"


def _run(
    session: onnxruntime.InferenceSession, path: Path, takes: Port, image: NDArray[Any]
) -> NDArray[Any]:
    try:
        (made,) = session.run(None, {takes.name: image})
    except Exception as error:
        if out_of_memory(error) or "allocate" in str(error):
            raise MemoryError(one_line(error, 160)) from error
        height, width = image.shape[2:] if takes.layout == "NCHW" else image.shape[1:3]
        raise InputError(
            f"{path} does not run on {width}x{height} px: {one_line(error, 160)}; if its sides "
            "must be multiples of a number, say multiple = N"
        ) from error
    return np.asarray(made)


# From a file to a module


class _Probed(NamedTuple):
    """What an image shows of a file."""

    factor: int
    layout: Layout


def _network(card: Card, file: _File) -> Network:
    """The module of a file.

    Raises:
        InputError: a file that cannot be used, or that contradicts the card.
    """
    given, made = _only(file)
    layout, channels = _place_of_image(card, file, given)
    dtypes = _image_type(file, given), _image_type(file, made)
    levels = _levels(file, given.name, "DequantizeLinear")
    white = _white(card, dtypes[0], levels)
    takes = _port(given, channels, layout, dtypes[0], levels, white)
    rows, columns = (2, 3) if layout == "NCHW" else (1, 2)
    shape = _shape(given)
    size = (shape[rows], shape[columns])
    notes: tuple[str, ...] = ()
    if any(size):
        model, notes = _reshaped(file, takes, (size[0] or 64, size[1] or 64))
        fixed = None if notes else (size[0] or 64, size[1] or 64)
    else:
        model, fixed = file.model.SerializeToString(), None
    session = _session(file.path, model, torch.get_num_threads())
    found = _probed(session, file, takes, fixed, card.multiple)
    gives = _port(
        made, channels, found.layout, dtypes[1], _levels(file, made.name, "QuantizeLinear"), white
    )
    notes += _cut(takes, white)
    return Network(
        file,
        model,
        takes=takes,
        gives=gives,
        factor=found.factor,
        size=fixed,
        white=white,
        notes=notes,
    )


def _image(takes: Port, height: int, width: int) -> NDArray[Any]:
    """An image of noise, as the file stores it."""
    noise = torch.rand(1, takes.channels, height, width, generator=torch.Generator().manual_seed(0))
    return np.ascontiguousarray(takes.stored(noise).numpy())


def _probed(
    session: onnxruntime.InferenceSession,
    file: _File,
    takes: Port,
    fixed: tuple[int, int] | None,
    multiple: int,
) -> _Probed:
    """How much a file enlarges, and the layout of its output.

    Raises:
        InputError: it does not run, or its output is no image of a multiple of the size.
    """
    first: InputError | None = None
    tried = [[math.ceil(side / multiple) * multiple for side in size] for size in _TRIED]
    for height, width in [fixed] if fixed else tried:
        try:
            out = _run(session, file.path, takes, _image(takes, height, width))
        except InputError as error:
            first = first or error
            continue
        layouts: tuple[Layout, Layout] = ("NCHW", "NHWC")
        for layout in sorted(layouts, key=lambda each: each != takes.layout):
            sides = out.shape[2:] if layout == "NCHW" else out.shape[1:3]
            planes = out.shape[1 if layout == "NCHW" else -1]
            if out.ndim == 4 and planes == takes.channels and sides[0] % height == 0:
                factor = sides[0] // height
                if factor and sides[1] == factor * width:
                    return _Probed(factor, layout)
        raise InputError(
            f"{file.path} gave {'x'.join(map(str, out.shape))} for {takes.channels} channels of "
            f"{width}x{height} px; expected as many channels and a whole multiple of the size"
        )
    assert first is not None  # noqa: S101 -- at least one size was tried
    raise first


def _reshaped(file: _File, takes: Port, size: tuple[int, int]) -> tuple[bytes, tuple[str, ...]]:
    """A model for images of any size, made of one for a single size; as it was, if that fails.

    Returns:
        The model, and a remark if it was reshaped.
    """
    original = file.model.SerializeToString()
    if _knows_its_pixels(file.model.graph, size):
        return original, ()
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    rows, columns = (2, 3) if takes.layout == "NCHW" else (1, 2)
    given = next(each for each in model.graph.input if each.name == takes.name)
    _size_by_ratio(model)
    for place in (rows, columns):
        given.type.tensor_type.shape.dim[place].dim_param = f"side{place}"
    for info in model.graph.output:  # shapes are inferred anew
        info.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    free = model.SerializeToString()
    try:
        whole = _run(_session(file.path, original, 1), file.path, takes, _image(takes, *size))
        session = _session(file.path, free, 1)
        for more in _OTHERS:
            other = [max(side + extra, 1) for side, extra in zip(size, more, strict=True)]
            out = _run(session, file.path, takes, _image(takes, *other))
            shape = list(whole.shape)
            for place, side, old in zip((rows, columns), other, size, strict=True):
                shape[place] = whole.shape[place] // old * side
            if list(out.shape) != shape:
                return original, ()
    except InputError:
        return original, ()
    width, height = size[::-1]
    return free, (f"made for {width}x{height} px, and reshaped for images of any size",)


def _knows_its_pixels(graph: onnx.GraphProto, size: tuple[int, int]) -> bool:
    """Whether a graph sums over an image, or holds the number of its pixels.

    An exporter writes the number of pixels as a constant, which is wrong for every other size.

    Args:
        graph: of a fixed size.
        size: rows and columns of the image.
    """
    pixels = math.prod(size)
    held = _constants(graph)
    for node in graph.node:
        if node.op_type in _SUMS:
            axes = [list(each.ints) for each in node.attribute if each.name == "axes"]
            if len(node.input) > 1 and node.input[1] in held:
                axes = [numpy_helper.to_array(held[node.input[1]]).reshape(-1).tolist()]
            if not axes or len(axes[0]) != 1 or axes[0][0] not in _OF_CHANNELS:
                return True
        for tensor in (held[name] for name in node.input if name in held):
            if (
                math.prod(tensor.dims) == 1
                and tensor.data_location != onnx.TensorProto.EXTERNAL
                and node.op_type in _SCALES
            ):
                number = float(numpy_helper.to_array(tensor).item())
                if any(math.isclose(number, pixels**power, rel_tol=1e-6) for power in _POWERS):
                    return True
    return False


_SUMS = ("ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")
"""Operators whose result grows with the number of values."""
_OF_CHANNELS = (1, -1)
"""Axes of channels, in NCHW and in NHWC or in sequences of pixels."""
_SCALES = ("Mul", "Div")
_POWERS = (1.0, -1.0, 0.5, -0.5)


def _size_by_ratio(model: onnx.ModelProto) -> None:
    """Change Resize operators to a stated size, where it is a whole multiple, to the multiple.

    Exporters write sizes in numbers if the image's size is fixed.

    Args:
        model: of a fixed size; changed in place.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        each.name: _shape(each)
        for each in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    }
    held = _constants(model.graph)
    for place, node in enumerate(model.graph.node):
        if node.op_type != "Resize" or len(node.input) != _INPUTS_WITH_SIZES:
            continue
        sides, sizes = shapes.get(node.input[0], []), held.get(node.input[3])
        if sizes is None or not sides or not all(sides):
            continue
        wanted = numpy_helper.to_array(sizes)
        if len(wanted) != len(sides) or any(
            size % side for size, side in zip(wanted, sides, strict=True)
        ):
            continue
        name = f"sisrbench_ratio_{place}"
        ratio = np.array(wanted // sides, dtype=np.float32)
        model.graph.initializer.append(numpy_helper.from_array(ratio, name))
        node.input[2] = name
        del node.input[3]


_INPUTS_WITH_SIZES = 4
"""Inputs of a Resize operator that is given sizes, not ratios."""
