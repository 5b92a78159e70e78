"""The graph of an ONNX file by torch operators, so that it can be traced and counted.

Only shapes and types matter: the interpreter runs on the meta device, and a runtime computes the
values. Numbers that say how an operator works (shapes, axes, sizes) stay numpy arrays, so that
arithmetic with them is no operator of the network.

How a quantised file counts: products of integers count as products; QuantizeLinear is a division
of each element, DequantizeLinear a multiplication, and an operator that does both in one, as
QLinearConv, rescales each element of its output once. Weights are dequantised when a file is
loaded, which counts nothing.

`_OPERATORS` holds the operators of ONNX and of ONNX Runtime by name. Another one raises an error.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator
from torch import Tensor
from torch.nn import functional

from zoo.errors import InputError

Value: TypeAlias = Tensor | NDArray[Any] | None
"""A value of the graph: data of the network, numbers that say how operators work, or left out."""
_TYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.BFLOAT16: torch.bfloat16,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.BOOL: torch.bool,
}
_FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
)
_WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "FusedConv": (1, 2),
    "ConvInteger": (1,),
    "QLinearConv": (3, 8),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "FusedMatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "QGemm": (0, 3, 6),
    "PRelu": (1,),
    "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "QLinearAdd": (0, 3),
    "QLinearMul": (0, 3),
}
"""Operands that are learned, by operator; even of a single value, and of any type."""
_NOT_LEARNED: Mapping[str, tuple[int, ...]] = {
    "BatchNormalization": (3, 4),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
}
"""Operands that are data of the network, but no parameters of it: statistics, steps of levels."""
_NUMBERS: Mapping[str, tuple[int, ...]] = {
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "Clip": (1, 2),
    "Pad": (1, 2, 3),
    "Dropout": (1, 2),
}
"""Operands that say how an operator works, though they are floating-point."""


@dataclass(frozen=True)
class Call:
    """A node of the graph with the values of its inputs."""

    operator: str
    inputs: Sequence[Value]
    attributes: Mapping[str, Any]
    outputs: int
    opset: int

    def tensor(self, place: int) -> Tensor:
        """An input as data of the network."""
        value = self.inputs[place]
        return value if isinstance(value, Tensor) else _as_tensor(value)

    def optional(self, place: int) -> Tensor | None:
        """An input as data of the network; None if it is left out."""
        return self.tensor(place) if self.has(place) else None

    def has(self, place: int) -> bool:
        """Whether an input is given."""
        return place < len(self.inputs) and self.inputs[place] is not None

    def numbers(self, place: int, attribute: str = "") -> list[Any] | None:
        """Numbers of an input, or of an attribute in older operator sets; None if left out.

        Raises:
            InputError: the numbers depend on the image's values.
        """
        if not self.has(place):
            given = self.attributes.get(attribute)
            return [given] if isinstance(given, int | float) else given
        value = self.inputs[place]
        if isinstance(value, Tensor):
            raise InputError(
                f"not counted: ONNX operator {self.operator} takes numbers that depend on the image"
            )
        numbers: list[Any] = np.asarray(value).reshape(-1).tolist()
        return numbers

    def get(self, attribute: str, default: Any) -> Any:
        """An attribute; `default` if it is left out."""
        return self.attributes.get(attribute, default)


def _as_tensor(value: Value) -> Tensor:
    """Numbers as data of the network, whose hash a trace keeps."""
    return torch.tensor(np.array(value), device="meta")


def _scalar_or_tensor(value: Value) -> Any:
    """Data as it is, a single number as a plain one, several numbers as data."""
    if isinstance(value, Tensor):
        return value
    numbers = np.asarray(value)
    return numbers.item() if numbers.size == 1 else _as_tensor(value)


class Interpreter:
    """The graph of a model, to be run on the meta device.

    Args:
        model: its external data is not loaded.
        folder: where its external data is.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        self._folder = str(folder)
        graph = inline_local_functions(model).graph if model.functions else model.graph
        self._opsets = {each.domain or "ai.onnx": each.version for each in model.opset_import}
        self._nodes = _with_shuffles(list(graph.node), {each.name for each in graph.output})
        self._output = graph.output[0].name
        names = {each.name for each in graph.initializer}
        self._input = next(each.name for each in graph.input if each.name not in names)
        self._protos = {each.name: each for each in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                proto = onnx.TensorProto()
                proto.CopyFrom(node.attribute[0].t)
                self._protos[node.output[0]] = proto
        uses = defaultdict(set)
        for node in graph.node:
            for place, name in enumerate(node.input):
                uses[name].add((node.op_type, place))
        for node in reversed(graph.node):
            if node.op_type == "DequantizeLinear":  # a weight in levels is used as its values are
                uses[node.input[0]] |= uses[node.output[0]]
        held = frozenset(self._protos)
        shifts = _shifts(graph.node, self._input, self._output, held)
        attended = _attended(graph.node, held)
        self.parameters: dict[str, onnx.TensorProto] = {}
        """What the file has learned, by name."""
        self.buffers: dict[str, onnx.TensorProto] = {}
        """Other data of the network that the file holds, by name."""
        self.tables: dict[str, Tensor] = {}
        """Distinct values of what is added to attention, by name."""
        for name, proto in self._protos.items():
            used = uses[name]
            is_data = proto.data_type in _FLOATS or ("DequantizeLinear", 0) in used
            several = is_data and math.prod(proto.dims) > 1
            learned = _any_in(used, _WEIGHTS) or (
                several and name in names and not _any_in(used, _NOT_LEARNED)
            )
            if several and used and all(_any_in({use}, _NUMBERS) for use in used):
                continue
            if several and name in attended:
                self.buffers[name] = proto
                self._spread(name, proto)
            elif learned and name not in shifts:
                self.parameters[name] = proto
            elif several or learned:
                self.buffers[name] = proto

    def _spread(self, name: str, proto: onnx.TensorProto) -> None:
        """Note the distinct values of a matrix that is added to attention.

        Exporters spread a table of relative positions to such a matrix, in which each value of the
        table stands many times. A mask has two values, and nothing in it is learned.
        """
        distinct = np.unique(self.tensor(proto).float().numpy())
        if len(distinct) > _OF_A_MASK:
            self.tables[name] = torch.from_numpy(distinct)

    @cached_property
    def _numbers(self) -> dict[str, NDArray[Any]]:
        """Values of what the file holds beside parameters and buffers."""
        held = self.parameters | self.buffers
        return {
            name: numpy_helper.to_array(proto, self._folder)
            for name, proto in self._protos.items()
            if name not in held
        }

    def tensor(self, proto: onnx.TensorProto) -> Tensor:
        """The values of a parameter or buffer."""
        array = numpy_helper.to_array(proto, self._folder)
        if proto.data_type == onnx.TensorProto.BFLOAT16:  # numpy has no such type
            return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
        if proto.data_type in _TYPES:
            return torch.from_numpy(array.copy())
        return torch.from_numpy(array.astype(np.float32))  # fewer bits than torch has types for

    def run(self, x: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """The output for an image, as the file stores both.

        Args:
            x: the image, on the meta device.
            tensors: parameters and buffers by name, on the meta device.

        Raises:
            InputError: the graph has an operator that is not known, or numbers that depend on the
                image's values.
        """
        values: dict[str, Value] = {"": None, self._input: x, **self._numbers, **tensors}
        last = {name: place for place, node in enumerate(self._nodes) for name in node.input}
        for place, node in enumerate(self._nodes):
            if node.output[0] in values:
                continue  # a constant
            values |= zip(node.output, self._called(node, values), strict=False)
            for name in node.input:  # a tensor that is read no more is freed, as runtimes do
                if name and last[name] == place and name not in tensors and name != self._output:
                    values.pop(name, None)
        found = values[self._output]
        if not isinstance(found, Tensor):
            raise InputError(
                "not counted: the output of the ONNX graph does not depend on the image"
            )
        return found

    def _called(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> Sequence[Value]:
        inputs = [values[name] for name in node.input]
        of_numbers = not any(isinstance(value, Tensor) for value in inputs)
        if of_numbers and node.op_type not in _OF_DATA:
            return self._computed(node, inputs)
        operator = _OPERATORS.get(node.op_type)
        if operator is None or node.domain not in ("", "ai.onnx", "com.microsoft"):
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise InputError(f"not counted: ONNX operator {name}")
        attributes = {each.name: _attribute(each) for each in node.attribute}
        opset = self._opsets.get(node.domain or "ai.onnx", 1)
        made = operator(Call(node.op_type, inputs, attributes, len(node.output), opset))
        return made if isinstance(made, list | tuple) else [made]

    def _computed(self, node: onnx.NodeProto, inputs: Sequence[Value]) -> Sequence[Value]:
        """The outputs of a node that takes numbers only."""
        given = {name: value for name, value in zip(node.input, inputs, strict=True) if name}
        infos = [onnx.helper.make_tensor_value_info(x, 0, None) for x in given]
        outputs = [onnx.helper.make_tensor_value_info(x, 0, None) for x in node.output if x]
        graph = onnx.helper.make_graph([node], "numbers", infos, outputs)
        imports = [
            onnx.helper.make_opsetid("" if domain == "ai.onnx" else domain, version)
            for domain, version in self._opsets.items()
        ]
        found = iter(
            ReferenceEvaluator(
                onnx.helper.make_model(graph, opset_imports=imports)
            ).run(None, given)
        )  # fmt: skip
        return [np.asarray(next(found)) if name else None for name in node.output]


def _any_in(used: set[tuple[str, int]], operands: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether one of the uses (operator, place) is among the operands."""
    return any(place in operands.get(operator, ()) for operator, place in used)


def _shifts(
    nodes: Sequence[onnx.NodeProto], given: str, made: str, held: frozenset[str]
) -> set[str]:
    """Constants that shift or scale the image, as EDSR's mean of the training images.

    They meet the image before its first other operator, or after its last, and are no parameters
    in the papers' counts. A sum right after a product without bias is a bias.

    Args:
        nodes: in order.
        given: the input's name.
        made: the output's name.
        held: names of constants.
    """
    origin = _origins(nodes, held)
    makers = {name: node for node in nodes for name in node.output}
    found: set[str] = set()
    reached = {given}
    for node in nodes:
        data = [name for name in node.input if name in reached]
        constants = {origin[name] for name in _operands(node) if name in origin}
        if data and (node.op_type in _OF_ONE or (node.op_type in _SHIFTS and constants)):
            found |= constants if node.op_type in _SHIFTS else set()
            reached |= set(node.output)
    name = made
    while name in makers:
        node = makers[name]
        constants = {origin[each] for each in _operands(node) if each in origin}
        others = [each for each in _operands(node) if each not in origin]
        if node.op_type not in (*_SHIFTS, *_OF_ONE) or len(others) != 1:
            break
        if node.op_type in _SHIFTS:
            before = makers.get(others[0])
            if not constants or (before is not None and _lacks_bias(before)):
                break
            found |= constants
        name = others[0]
    return found


def _attended(nodes: Sequence[onnx.NodeProto], held: frozenset[str]) -> set[str]:
    """Constants that are added to attention: between a product and its Softmax."""
    origin = _origins(nodes, held)
    makers = {name: node for node in nodes for name in node.output}
    found: set[str] = set()
    for softmax in nodes:
        name = softmax.input[0] if softmax.op_type == "Softmax" else ""
        while name in makers and makers[name].op_type in ("Add", *_OF_ONE):
            operands = _operands(makers[name])
            found |= {origin[each] for each in operands if each in origin}
            name = next((each for each in operands if each not in origin), "")
    return found


def _origins(nodes: Sequence[onnx.NodeProto], held: frozenset[str]) -> dict[str, str]:
    """The constant that a name stands for, also in levels or in another shape."""
    origin = {name: name for name in held}
    for node in nodes:
        if node.op_type in _OF_ONE and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
    return origin


_OF_A_MASK = 2
"""Distinct values of a mask."""


def _operands(node: onnx.NodeProto) -> list[str]:
    """Inputs that are data, in an operator of one or two of them."""
    if node.op_type in _OF_ONE:
        return [node.input[0]]
    if node.op_type.startswith("QLinear"):
        return [node.input[place] for place in (0, 3) if place < len(node.input)]
    return list(node.input)


def _lacks_bias(node: onnx.NodeProto) -> bool:
    return node.op_type in ("MatMul", "FusedMatMul") or (
        node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.input) < _WITH_BIAS
    )


_WITH_BIAS = 3
"""Inputs of a product with a bias."""
_SHIFTS = ("Add", "Sub", "Mul", "Div", "QLinearAdd", "QLinearMul")
_OF_ONE = (
    "Cast",
    "Identity",
    "Reshape",
    "Unsqueeze",
    "Transpose",
    "QuantizeLinear",
    "DequantizeLinear",
)
"""Operators whose output holds the numbers of their first input."""


def _attribute(given: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(given)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return list(value) if given.type in _LISTS else value


_OF_DATA = ("If", "Loop", "Scan", "QuantizeLinear", "DequantizeLinear")
"""Operators that are the network's even if they take numbers only."""
_SOFTMAX_OF_ONE_AXIS = 13
"""Operator set from which Softmax takes an axis, where it took all from that axis on."""
_LISTS = (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS)
_SHUFFLED = "Reshape, Transpose, Reshape"
"""Three nodes in one, which exporters write for pixel shuffle and unshuffle."""


def _with_shuffles(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes, with each chain of Reshape, Transpose and Reshape as one node."""
    readers: dict[str, list[int]] = defaultdict(list)
    for place, node in enumerate(nodes):
        for name in node.input:
            readers[name].append(place)

    def follower(node: onnx.NodeProto, operator: str) -> int | None:
        """Place of the only reader of a node's output, if it is such an operator."""
        read = readers[node.output[0]]
        alone = len(read) == 1 and node.output[0] not in outputs
        return read[0] if alone and nodes[read[0]].op_type == operator else None

    gone: set[int] = set()
    made: dict[int, onnx.NodeProto] = {}
    for place, first in enumerate(nodes):
        if first.op_type != "Reshape" or place in gone or len(first.input) < 2:
            continue
        second = follower(first, "Transpose")
        third = None if second is None else follower(nodes[second], "Reshape")
        if second is None or third is None or len(nodes[third].input) < 2:
            continue
        inputs = [first.input[0], first.input[1], nodes[third].input[1]]
        node = onnx.helper.make_node(_SHUFFLED, inputs, [nodes[third].output[0]])
        node.attribute.extend(nodes[second].attribute)
        gone |= {place, second}
        made[third] = node
    return [made.get(place, node) for place, node in enumerate(nodes) if place not in gone]


# Layout


def _shuffled(call: Call) -> Tensor:
    """Reshape, Transpose and Reshape: pixel shuffle or unshuffle where they are that."""
    x = call.tensor(0)
    split, joined = _target(x.shape, call.numbers(1) or [], 0), call.numbers(2) or []
    order = call.get("perm", list(range(len(split)))[::-1])
    if len(split) == 6 and len(x.shape) == 4 and len(joined) == 4:
        _, channels, *sides = split
        if order == [0, 1, 4, 2, 5, 3] and sides[0] == sides[1] and tuple(sides[2:]) == x.shape[2:]:
            return functional.pixel_shuffle(x, sides[0])
        if order == [0, 1, 3, 5, 2, 4] and sides[1] == sides[3] and channels == x.shape[1]:
            return functional.pixel_unshuffle(x, sides[1])
    x = x.reshape(split).permute(order)
    return x.reshape(_target(x.shape, joined, 0))


def _target(shape: Sequence[int], target: Sequence[int], allow_zero: int) -> list[int]:
    """The shape of Reshape's output, whose 0 copies and whose -1 is worked out."""
    sides = [
        shape[place] if side == 0 and not allow_zero else side for place, side in enumerate(target)
    ]
    if -1 in sides:
        known = math.prod(side for side in sides if side != -1)
        sides[sides.index(-1)] = math.prod(shape) // max(known, 1)
    return sides


def _reshape(call: Call) -> Tensor:
    x = call.tensor(0)
    target = call.numbers(1, "shape") or []
    return x.reshape(_target(x.shape, target, call.get("allowzero", 0)))


def _flatten(call: Call) -> Tensor:
    x = call.tensor(0)
    axis = call.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _squeeze(call: Call) -> Tensor:
    x = call.tensor(0)
    axes = call.numbers(1, "axes")
    return x.squeeze() if axes is None else x.squeeze([int(axis) for axis in axes])


def _unsqueeze(call: Call) -> Tensor:
    x = call.tensor(0)
    axes = call.numbers(1, "axes") or []
    rank = x.dim() + len(axes)
    for axis in sorted(int(axis) % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _transpose(call: Call) -> Tensor:
    x = call.tensor(0)
    return x.permute(call.get("perm", list(range(x.dim()))[::-1]))


def _concat(call: Call) -> Tensor:
    return torch.cat([call.tensor(place) for place in range(len(call.inputs))], call.get("axis", 0))


def _split(call: Call) -> list[Tensor]:
    x = call.tensor(0)
    axis = call.get("axis", 0)
    parts = call.numbers(1, "split")
    if parts is None:
        return list(torch.split(x, math.ceil(x.shape[axis] / call.outputs), axis))
    return list(torch.split(x, [int(part) for part in parts], axis))


def _slice(call: Call) -> Tensor:
    x = call.tensor(0)
    starts, ends = call.numbers(1, "starts") or [], call.numbers(2, "ends") or []
    axes = call.numbers(3, "axes") or list(range(len(starts)))
    steps = call.numbers(4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        chosen = range(*slice(start, end, step).indices(x.shape[axis]))
        if step < 0:
            # Python reads an end of -1 as the last index, ONNX as the last index too: the same.
            x, chosen = x.flip(axis), range(*_flipped(chosen, x.shape[axis]))
        if len(chosen) == x.shape[axis]:
            continue
        place = [slice(None)] * (axis % x.dim())
        last = chosen.start + (len(chosen) - 1) * chosen.step + 1
        x = x[(*place, slice(chosen.start, max(last, chosen.start), chosen.step))]
    return x


def _flipped(chosen: range, length: int) -> tuple[int, int, int]:
    """Indices that go down, as counted from the other end, where they go up."""
    return length - 1 - chosen.start, length - 1 - chosen.stop, -chosen.step


def _gather(call: Call) -> Tensor:
    x = call.tensor(0)
    axis = call.get("axis", 0) % x.dim()
    index = call.inputs[1]
    if not isinstance(index, Tensor):
        numbers = np.asarray(index)
        if numbers.ndim == 0:
            return x.select(axis, int(numbers))
        numbers = np.where(numbers < 0, numbers + x.shape[axis], numbers)
        found = x.index_select(axis, _as_tensor(numbers.reshape(-1)))
        shape = numbers.shape
    else:
        found, shape = x.index_select(axis, index.reshape(-1)), tuple(index.shape)
    return found.reshape((*x.shape[:axis], *shape, *x.shape[axis + 1 :]))


def _gather_elements(call: Call) -> Tensor:
    return call.tensor(0).gather(call.get("axis", 0), call.tensor(1))


def _expand(call: Call) -> Tensor:
    x = call.tensor(0)
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(call.numbers(1) or [])))


def _tile(call: Call) -> Tensor:
    return call.tensor(0).repeat([int(count) for count in call.numbers(1) or []])


def _pad(call: Call) -> Tensor:
    x = call.tensor(0)
    rank = x.dim()
    widths = [int(width) for width in call.numbers(1, "pads") or []]
    axes = call.numbers(3) or list(range(rank))
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = widths[place], widths[len(axes) + place]
    mode = {"edge": "replicate", "reflect": "reflect", "wrap": "circular"}.get(
        call.get("mode", "constant"), "constant"
    )
    padded = [axis for axis in range(rank) if before[axis] or after[axis]]
    if not padded:
        return x
    # torch lists widths from the last dimension on, and pads by the edge only the last ones.
    first = min(padded) if mode == "constant" else rank - 2
    sides = [
        width for axis in reversed(range(first, rank)) for width in (before[axis], after[axis])
    ]
    if mode == "constant":
        return functional.pad(x, sides)
    if min(padded) >= rank - 2:
        return functional.pad(x, sides, mode=mode)
    order = [axis for axis in range(rank) if axis not in padded] + padded
    sides = [width for axis in reversed(padded) for width in (before[axis], after[axis])]
    if len(padded) > 2 or rank != 4:
        raise InputError(f"not counted: ONNX operator Pad of {len(padded)} axes by {mode}")
    if len(padded) == 1:
        sides += [0, 0]
    moved = functional.pad(x.permute(order), sides, mode=mode)
    return moved.permute([order.index(axis) for axis in range(rank)])


def _depth_to_space(call: Call) -> Tensor:
    x, side = call.tensor(0), call.get("blocksize", 1)
    batch, channels, *sides = x.shape
    if call.get("mode", "DCR") == "DCR" and channels != side**2:
        # The same pixels with the channels in the order of pixel_shuffle.
        x = x.reshape(batch, side**2, channels // side**2, *sides).transpose(1, 2)
        x = x.reshape(batch, channels, *sides)
    return functional.pixel_shuffle(x, side)


def _space_to_depth(call: Call) -> Tensor:
    x, side = call.tensor(0), call.get("blocksize", 1)
    batch, channels = x.shape[:2]
    x = functional.pixel_unshuffle(x, side)
    if channels == 1:
        return x
    made = x.reshape(batch, channels, side**2, *x.shape[2:]).transpose(1, 2)
    return made.reshape(x.shape)


def _resize(call: Call) -> Tensor:
    x = call.tensor(0)
    old_form = call.operator == "Upsample" or call.opset < 11
    scales = call.numbers(1 if old_form else 2, "scales") or []
    sizes = None if old_form else call.numbers(3)
    axes = [axis % x.dim() for axis in call.get("axes", list(range(x.dim())))]
    if call.get("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        raise InputError("not counted: ONNX operator Resize with tf_crop_and_resize")
    if call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise InputError("not counted: ONNX operator Resize with keep_aspect_ratio_policy")
    shape = list(x.shape)
    for place, axis in enumerate(axes):
        shape[axis] = int(sizes[place]) if sizes else math.floor(shape[axis] * scales[place])
    changed = [axis for axis in range(x.dim()) if shape[axis] != x.shape[axis]]
    if not changed:
        return x
    if x.dim() != 4 or len(changed) > 2:
        raise InputError(f"not counted: ONNX operator Resize of {len(changed)} axes")
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(call.get("mode", "nearest"), "nearest")
    if len(changed) == 1:
        changed = sorted({changed[0], 3 if changed[0] != 3 else 2})
    order = [axis for axis in range(4) if axis not in changed] + changed
    moves = order != [0, 1, 2, 3]
    x = x.permute(order) if moves else x
    made = functional.interpolate(
        x if x.dtype.is_floating_point or x.dtype == torch.uint8 else x.to(torch.float32),
        [shape[axis] for axis in changed],
        mode=mode,
        align_corners=False if mode != "nearest" else None,
        antialias=bool(call.get("antialias", 0)),
    ).to(x.dtype)
    return made.permute([order.index(axis) for axis in range(4)]) if moves else made


# Convolutions, products, pooling


def _paddings(
    call: Call, sides: Sequence[int], taps: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Padding before and after each side, as `pads` or `auto_pad` say."""
    dilations = call.get("dilations", [1] * len(taps))
    auto = call.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        pads = call.get("pads", [0] * 2 * len(taps))
        return list(zip(pads[: len(taps)], pads[len(taps) :], strict=True))
    if auto == "VALID":
        return [(0, 0)] * len(taps)
    found = []
    for side, tap, stride, dilation in zip(sides, taps, strides, dilations, strict=True):
        width = max((math.ceil(side / stride) - 1) * stride + (tap - 1) * dilation + 1 - side, 0)
        less, more = width // 2, width - width // 2
        found.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return found


def _evened(
    x: Tensor, paddings: Sequence[tuple[int, int]], value: float = 0.0
) -> tuple[Tensor, list[int]]:
    """The image and what to pad on both sides: uneven padding is done beforehand."""
    if all(before == after for before, after in paddings):
        return x, [before for before, _ in paddings]
    sides = [width for pair in reversed(paddings) for width in pair]
    return functional.pad(x, sides, value=value), [0] * len(paddings)


def _convolved(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    taps = list(weight.shape[2:])
    strides = call.get("strides", [1] * len(taps))
    x, padding = _evened(x, _paddings(call, x.shape[2:], taps, strides))
    run = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[len(taps)]
    dilations = call.get("dilations", [1] * len(taps))
    return run(x, weight, bias, strides, padding, dilations, call.get("group", 1))


def _conv(call: Call) -> Tensor:
    return _convolved(call, call.tensor(0), call.tensor(1), call.optional(2))


def _fused_conv(call: Call) -> Tensor:
    x = _conv(call)
    if call.has(3):
        x = x + call.tensor(3)
    return _activated(call, x)


def _activated(call: Call, x: Tensor) -> Tensor:
    """The activation that a fused operator names."""
    name = call.get("activation", "")
    if not name:
        return x
    first = (call.get("activation_params", None) or [0.01])[0]
    made = _OPERATORS[name](Call(name, [x], {"alpha": first}, 1, call.opset))
    assert isinstance(made, Tensor)  # noqa: S101 -- activations have one output
    return made


def _conv_transpose(call: Call) -> Tensor:
    x, weight = call.tensor(0), call.tensor(1)
    taps = list(weight.shape[2:])
    count = len(taps)
    strides, dilations = call.get("strides", [1] * count), call.get("dilations", [1] * count)
    extra = call.get("output_padding", [0] * count)
    full = [
        (side - 1) * stride + (tap - 1) * dilation + 1 + more
        for side, stride, tap, dilation, more in zip(
            x.shape[2:], strides, taps, dilations, extra, strict=True
        )
    ]
    auto = call.get("auto_pad", "NOTSET")
    target = call.get("output_shape", None)
    if target is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        target = [side * stride for side, stride in zip(x.shape[2:], strides, strict=True)]
    if target:
        widths = [max(a - b, 0) for a, b in zip(full, target[-count:], strict=True)]
        small = [(width // 2, width - width // 2) for width in widths]
        paddings = [pair[::-1] if auto != "SAME_UPPER" else pair for pair in small]
    else:
        paddings = _paddings(call, x.shape[2:], taps, strides)
    run = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d}.get(
        count, functional.conv_transpose3d
    )
    even = all(before == after for before, after in paddings)
    inner = [before for before, _ in paddings] if even else [0] * count
    group = call.get("group", 1)
    out = run(x, weight, call.optional(2), strides, inner, extra, group, dilations)
    if even:
        return out
    cut = [slice(before, full[i] - after) for i, (before, after) in enumerate(paddings)]
    return out[(slice(None), slice(None), *cut)]


def _pool(call: Call) -> Tensor:
    x = call.tensor(0)
    taps = call.get("kernel_shape", [])
    strides = call.get("strides", [1] * len(taps))
    paddings = _paddings(call, x.shape[2:], taps, strides)
    ceil = bool(call.get("ceil_mode", 0))
    x, padding = _evened(x, paddings)
    if len(taps) != 2:
        raise InputError(f"not counted: ONNX operator {call.operator} of {len(taps)} sides")
    if call.operator == "MaxPool":
        dilations = call.get("dilations", [1, 1])
        return functional.max_pool2d(x, taps, strides, padding, dilations, ceil_mode=ceil)
    includes = bool(call.get("count_include_pad", 0))
    return functional.avg_pool2d(x, taps, strides, padding, ceil, includes)


def _global_pool(call: Call) -> Tensor:
    x = call.tensor(0)
    dims = list(range(2, x.dim()))
    if call.operator == "GlobalMaxPool":
        return x.amax(dims, keepdim=True)
    return x.mean(dims, keepdim=True)


def _matmul(call: Call) -> Tensor:
    a, b = call.tensor(0), call.tensor(1)
    a = a.transpose(-1, -2) if call.get("transA", 0) else a
    b = b.transpose(-1, -2) if call.get("transB", 0) else b
    out = torch.matmul(a, b)
    alpha = call.get("alpha", 1.0)
    return out * alpha if alpha != 1 else out


def _gemm(call: Call) -> Tensor:
    a, b = call.tensor(0), call.tensor(1)
    a, b = a.t() if call.get("transA", 0) else a, b.t() if call.get("transB", 0) else b
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    if not call.has(2):
        return a @ b * alpha if alpha != 1 else a @ b
    return torch.addmm(call.tensor(2), a, b, alpha=alpha, beta=beta)


def _einsum(call: Call) -> Tensor:
    return torch.einsum(call.get("equation", ""), *map(call.tensor, range(len(call.inputs))))


# Quantised operators


def _dequantized(x: Tensor, zero: Value, step: Value, axis: int = 1) -> Tensor:
    """Values of levels: one multiplication an element, but none for weights."""
    dtype = step.dtype if isinstance(step, Tensor) else _as_tensor(step).dtype
    if isinstance(x, torch.nn.Parameter):
        return x.to(dtype)
    x = x.to(dtype)
    if zero is not None and not _is_zero(zero):
        x = x - _along(zero, x, axis)
    made: Tensor = x * _along(step, x, axis)
    return made


def _is_zero(value: Value) -> bool:
    return not isinstance(value, Tensor) and not np.any(np.asarray(value))


def _along(value: Value, x: Tensor, axis: int) -> Any:
    """A number a channel, in the shape that meets the image; a single number as it is."""
    made = _scalar_or_tensor(value)
    if not isinstance(made, Tensor) or made.dim() != 1 or made.numel() == 1:
        return made
    shape = [1] * x.dim()
    shape[axis % x.dim()] = -1
    return made.reshape(shape)


def _quantized(x: Tensor, step: Value, zero: Value, dtype: torch.dtype, axis: int = 1) -> Tensor:
    """Levels of values: one division an element."""
    limits = torch.iinfo(dtype)
    x = (x / _along(step, x, axis)).round()
    if zero is not None and not _is_zero(zero):
        x = x + _along(zero, x, axis)
    return x.clamp(limits.min, limits.max).to(dtype)


def _level_type(zero: Value, attributes: Mapping[str, Any]) -> torch.dtype:
    """Type of the levels, which is the zero point's."""
    if zero is None:
        return _TYPES.get(attributes.get("output_dtype", 0), torch.uint8)
    return zero.dtype if isinstance(zero, Tensor) else torch.from_numpy(np.zeros_like(zero)).dtype


def _quantize(call: Call) -> Tensor:
    zero = call.inputs[2] if call.has(2) else None
    dtype = _level_type(zero, call.attributes)
    return _quantized(call.tensor(0), call.inputs[1], zero, dtype, call.get("axis", 1))


def _dequantize(call: Call) -> Tensor:
    zero = call.inputs[2] if call.has(2) else None
    return _dequantized(call.tensor(0), zero, call.inputs[1], call.get("axis", 1))


def _dynamic_quantize(call: Call) -> list[Tensor]:
    x = call.tensor(0)
    step = (x.amax() - x.amin()) / 255
    zero = (x.amin() / step).round().clamp(0, 255)
    levels = (x / step).round() + zero
    return [levels.clamp(0, 255).to(torch.uint8), step, zero.to(torch.uint8)]


def _levels(x: Tensor, zero: Value) -> Tensor:
    """Levels as floats, less the zero point: what integer products multiply."""
    x = x.to(torch.float32)
    if zero is None or _is_zero(zero):
        return x
    made = _scalar_or_tensor(zero)
    return x - (made.to(torch.float32) if isinstance(made, Tensor) else made)


def _rescaled(x: Tensor, zero: Value) -> Tensor:
    """Levels of the output of a product of levels: one multiplication an element."""
    x = (x * 0.5).round()  # by whatever factor
    dtype = _level_type(zero, {})
    limits = torch.iinfo(dtype)
    if not _is_zero(zero):
        x = x + _scalar_or_tensor(zero)
    return x.clamp(limits.min, limits.max).to(dtype)


def _qlinear_conv(call: Call) -> Tensor:
    x, weight = _levels(call.tensor(0), call.inputs[2]), call.tensor(3).to(torch.float32)
    bias = call.optional(8)
    if call.get("channels_last", 0):
        raise InputError("not counted: ONNX operator QLinearConv with channels_last")
    bias = None if bias is None else bias.to(torch.float32)
    return _rescaled(_convolved(call, x, weight, bias), call.inputs[7])


def _conv_integer(call: Call) -> Tensor:
    x = _levels(call.tensor(0), call.inputs[2] if call.has(2) else None)
    return _convolved(call, x, call.tensor(1).to(torch.float32), None).to(torch.int32)


def _matmul_integer(call: Call) -> Tensor:
    zeros = [call.inputs[place] if call.has(place) else None for place in (2, 3)]
    a, b = (_levels(call.tensor(place), zero) for place, zero in enumerate(zeros))
    return torch.matmul(a, b).to(torch.int32)


def _qlinear_matmul(call: Call) -> Tensor:
    a, b = _levels(call.tensor(0), call.inputs[2]), _levels(call.tensor(3), call.inputs[5])
    return _rescaled(torch.matmul(a, b), call.inputs[7])


def _qgemm(call: Call) -> Tensor:
    a, b = _levels(call.tensor(0), call.inputs[2]), _levels(call.tensor(3), call.inputs[5])
    a, b = a.t() if call.get("transA", 0) else a, b.t() if call.get("transB", 0) else b
    bias = call.optional(6)
    out = a @ b if bias is None else torch.addmm(bias.to(torch.float32), a, b)
    return _rescaled(out, call.inputs[8]) if call.has(8) else out * 0.5


def _qlinear_pair(call: Call) -> Tensor:
    a = _dequantized(call.tensor(0), call.inputs[2], call.inputs[1])
    b = _dequantized(call.tensor(3), call.inputs[5], call.inputs[4])
    made = a + b if call.operator == "QLinearAdd" else a * b
    zero = call.inputs[7] if call.has(7) else None
    return _quantized(made, call.inputs[6], zero, _level_type(zero, {}))


def _qlinear_single(call: Call) -> Tensor:
    x = _dequantized(call.tensor(0), call.inputs[2], call.inputs[1])
    inner = call.operator.removeprefix("QLinear")
    made = _OPERATORS[inner](Call(inner, [x], call.attributes, 1, _SOFTMAX_OF_ONE_AXIS))
    assert isinstance(made, Tensor)  # noqa: S101 -- these operators have one output
    zero = call.inputs[4] if call.has(4) else None
    return _quantized(made, call.inputs[3], zero, _level_type(zero, {}))


def _qlinear_concat(call: Call) -> Tensor:
    parts = [
        _dequantized(call.tensor(place), call.inputs[place + 2], call.inputs[place + 1])
        for place in range(2, len(call.inputs), 3)
    ]
    zero = call.inputs[1]
    made = torch.cat(parts, call.get("axis", 1))
    return _quantized(made, call.inputs[0], zero, _level_type(zero, {}))


# Normalisation, reduction, elements


def _batch_norm(call: Call) -> Tensor:
    scale, shift, mean, variance = (call.tensor(place) for place in range(1, 5))
    return functional.batch_norm(
        call.tensor(0), mean, variance, scale, shift, eps=call.get("epsilon", 1e-5)
    )


def _layer_norm(call: Call) -> Tensor:
    x = call.tensor(0)
    shape = list(x.shape[call.get("axis", -1) % x.dim() :])
    scale, shift = call.optional(1), call.optional(2)
    return functional.layer_norm(x, shape, scale, shift, call.get("epsilon", 1e-5))


def _instance_norm(call: Call) -> Tensor:
    x = call.tensor(0)
    return functional.group_norm(
        x, x.shape[1], call.tensor(1), call.tensor(2), call.get("epsilon", 1e-5)
    )


def _group_norm(call: Call) -> Tensor:
    x, groups = call.tensor(0), call.get("num_groups", 1)
    scale, shift = call.tensor(1), call.tensor(2)
    if scale.shape[0] == groups != x.shape[1]:  # before operator set 21: a number a group
        scale, shift = (y.repeat_interleave(x.shape[1] // groups) for y in (scale, shift))
    return functional.group_norm(x, groups, scale, shift, call.get("epsilon", 1e-5))


def _softmax(call: Call) -> Tensor:
    x = call.tensor(0)
    run = functional.log_softmax if call.operator == "LogSoftmax" else functional.softmax
    axis = call.get("axis", -1 if call.opset >= _SOFTMAX_OF_ONE_AXIS else 1) % x.dim()
    if call.opset >= _SOFTMAX_OF_ONE_AXIS or axis == x.dim() - 1:
        return run(x, axis)
    return run(x.reshape(*x.shape[:axis], -1), axis).reshape(x.shape)


def _reduce(call: Call) -> Tensor:
    x = call.tensor(0)
    axes = call.numbers(1, "axes")
    if not axes and call.get("noop_with_empty_axes", 0):
        return x
    dims = [int(axis) for axis in axes] if axes else list(range(x.dim()))
    keeps = bool(call.get("keepdims", 1))
    name = call.operator.removeprefix("Reduce")
    if name in ("SumSquare", "L2"):
        total = (x**2).sum(dims, keepdim=keeps)
        return total.sqrt() if name == "L2" else total
    if name == "L1":
        return x.abs().sum(dims, keepdim=keeps)
    run = {"Mean": torch.mean, "Sum": torch.sum, "Max": torch.amax, "Min": torch.amin}[name]
    made: Tensor = run(x, dims, keepdim=keeps)  # type: ignore[operator]
    return made


def _pow(call: Call) -> Tensor:
    x, power = call.tensor(0), _scalar_or_tensor(call.inputs[1])
    return x.sqrt() if not isinstance(power, Tensor) and power == 0.5 else x**power


def _clip(call: Call) -> Tensor:
    low, high = call.numbers(1, "min"), call.numbers(2, "max")
    least, most = low[0] if low else None, high[0] if high else None
    if call.operator == "Clip" and least is None and most is None:
        return call.tensor(0)
    return call.tensor(0).clamp(least, most)


def _prelu(call: Call) -> Tensor:
    x, slope = call.tensor(0), call.tensor(1)
    if slope.numel() in (1, x.shape[1]) and math.prod(slope.shape[-2:]) in (1, slope.numel()):
        return functional.prelu(x, slope.reshape(-1))
    return torch.where(x > 0, x, x * slope)


def _cast(call: Call) -> Tensor:
    like = call.operator == "CastLike"
    dtype = call.tensor(1).dtype if like else _TYPES.get(call.get("to", 1))
    if dtype is None:
        raise InputError(f"not counted: ONNX operator Cast to type {call.get('to', 1)}")
    return call.tensor(0).to(dtype)


def _where(call: Call) -> Tensor:
    a, b = _scalar_or_tensor(call.inputs[1]), _scalar_or_tensor(call.inputs[2])
    made: Tensor = torch.where(call.tensor(0), a, b)
    return made


def _shape(call: Call) -> NDArray[np.int64]:
    sides = list(call.tensor(0).shape)
    return np.array(sides[call.get("start", 0) : call.get("end", None)], dtype=np.int64)


def _size(call: Call) -> NDArray[np.int64]:
    return np.array(call.tensor(0).numel(), dtype=np.int64)


def _pairwise(call: Call, run: Callable[[Any, Any], Any]) -> Tensor:
    made: Tensor = reduce(run, map(_scalar_or_tensor, call.inputs))
    return made


def _extreme(call: Call) -> Tensor:
    run = torch.maximum if call.operator == "Max" else torch.minimum
    return reduce(run, [call.tensor(place) for place in range(len(call.inputs))])


def _mean(call: Call) -> Tensor:
    return _pairwise(call, lambda a, b: a + b) / len(call.inputs)


def _gelu(call: Call) -> Tensor:
    x = call.tensor(0)
    if call.has(1):
        x = x + call.tensor(1)  # BiasGelu, FastGelu
    tanh = call.operator == "FastGelu" or call.get("approximate", "none") == "tanh"
    return functional.gelu(x, approximate="tanh" if tanh else "none")


def _argmost(call: Call) -> Tensor:
    run = torch.argmax if call.operator == "ArgMax" else torch.argmin
    return run(call.tensor(0), call.get("axis", 0), bool(call.get("keepdims", 1)))


def _alone(run: Callable[[Tensor], Tensor]) -> Callable[[Call], Tensor]:
    """An operator of a single tensor."""
    return lambda call: run(call.tensor(0))


def _paired(run: Callable[[Any, Any], Any]) -> Callable[[Call], Tensor]:
    """An operator of two tensors or more, of which some may be plain numbers."""
    return partial(_pairwise, run=run)


_OPERATORS: dict[str, Callable[[Call], Any]] = {
    _SHUFFLED: _shuffled,
    # layout
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Resize": _resize,
    "Upsample": _resize,
    "Shape": _shape,
    "Size": _size,
    "Identity": _alone(lambda x: x),
    "Dropout": _alone(lambda x: x),
    "Cast": _cast,
    "CastLike": _cast,
    "Where": _where,
    # products and pooling
    "Conv": _conv,
    "FusedConv": _fused_conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "FusedMatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    # quantised
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "QLinearConv": _qlinear_conv,
    "ConvInteger": _conv_integer,
    "QLinearMatMul": _qlinear_matmul,
    "MatMulInteger": _matmul_integer,
    "QGemm": _qgemm,
    "QLinearConcat": _qlinear_concat,
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), _qlinear_pair),
    **dict.fromkeys(
        (
            "QLinearLeakyRelu",
            "QLinearSigmoid",
            "QLinearSoftmax",
            "QLinearAveragePool",
            "QLinearGlobalAveragePool",
        ),
        _qlinear_single,
    ),
    # normalisation and reduction
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(
        (
            "ReduceMean",
            "ReduceSum",
            "ReduceMax",
            "ReduceMin",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
        ),
        _reduce,
    ),
    **dict.fromkeys(("ArgMax", "ArgMin"), _argmost),
    # elements
    "Add": _paired(lambda a, b: a + b),
    "Sub": _paired(lambda a, b: a - b),
    "Mul": _paired(lambda a, b: a * b),
    "Div": _paired(lambda a, b: a / b),
    "Sum": _paired(lambda a, b: a + b),
    "Equal": _paired(lambda a, b: a == b),
    "Greater": _paired(lambda a, b: a > b),
    "GreaterOrEqual": _paired(lambda a, b: a >= b),
    "Less": _paired(lambda a, b: a < b),
    "LessOrEqual": _paired(lambda a, b: a <= b),
    "Max": _extreme,
    "Min": _extreme,
    "Mean": _mean,
    "Pow": _pow,
    "Clip": _clip,
    "PRelu": _prelu,
    "Relu": _alone(torch.relu),
    "LeakyRelu": lambda call: functional.leaky_relu(call.tensor(0), call.get("alpha", 0.01)),
    "Elu": lambda call: functional.elu(call.tensor(0), call.get("alpha", 1.0)),
    "Sigmoid": _alone(torch.sigmoid),
    "Tanh": _alone(torch.tanh),
    "Erf": _alone(torch.erf),
    "Exp": _alone(torch.exp),
    "Log": _alone(torch.log),
    "Sqrt": _alone(torch.sqrt),
    "Abs": _alone(torch.abs),
    "Neg": _alone(torch.neg),
    "Sign": _alone(torch.sign),
    "Floor": _alone(torch.floor),
    "Ceil": _alone(torch.ceil),
    "Round": _alone(torch.round),
    "Sin": _alone(torch.sin),
    "Cos": _alone(torch.cos),
    "Reciprocal": _alone(torch.reciprocal),
    "Not": _alone(torch.logical_not),
    "Softplus": _alone(functional.softplus),
    "Mish": _alone(functional.mish),
    "HardSigmoid": _alone(functional.hardsigmoid),
    "HardSwish": _alone(functional.hardswish),
    **dict.fromkeys(("Gelu", "BiasGelu", "FastGelu"), _gelu),
    "QuickGelu": _alone(functional.silu),
}
