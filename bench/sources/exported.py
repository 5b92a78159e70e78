"""Networks that `torch.export.save` wrote, `.pt2`.

The file is read as data: its graph is a list of operators of torch by name, its weights are bytes.
`torch.export.load` is not used, because it runs what a file says: it looks up operators anywhere
below `torch` (`torch.os.system` is one), evaluates expressions of sizes as Python, generates Python
from names, and unpickles objects of any kind (`torch.load` with `weights_only=False` for samples of
the input, custom objects and some weights). Here an operator must be one of aten's, or arithmetic
on sizes.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import operator
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.files import packed
from bench.graph.trace import SIDE
from bench.runtimes.external import Fit, fit_for
from bench.sources.card import Card
from zoo.errors import InputError, one_line
from zoo.method import Channels, Method

FIELD = "exported"
SUFFIXES = (".pt2", ".pte")
EXTRA = ""
MODULES = ()
EXAMPLE = "net.pt2"

_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_REFUSED = frozenset(("from_file", "save"))
"""Operators that open files."""
_ON_SIZES: dict[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in (
            *("eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "mul", "add", "sub"),
            *("floordiv", "mod", "pow", "truediv", "and_", "or_"),
        )
    },
    "math.trunc": math.trunc,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "torch.sym_int": torch.sym_int,
    "torch.sym_float": torch.sym_float,
    "torch.sym_max": torch.sym_max,
    "torch.sym_min": torch.sym_min,
    "torch.sym_not": torch.sym_not,
}
"""Functions of whole numbers that a graph may call to compute sizes."""
_UNUSED = re.compile(
    r"torch\.ops\.aten\.(_assert_tensor_metadata|sym_constrain_range(_for_size)?)\.default"
)
"""Operators that compute nothing: they check types, or tell a compiler of sizes."""
_ASSERTION = "torch.ops.aten._assert_scalar.default"
# The numbers by which torch's export schema names dtypes, layouts and memory formats
# (torch/_export/serde/schema.py, version 8).
_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_STRIDED = 7
_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_SCHEMA = 8
"""Major version of the schema that is read; torch has written it since 2.5."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A value that an operator of the graph made before, or an input, by name."""

    name: str


_DEVICE = _Name("")
"""Stands for the image's device, in place of the device that the network was exported on."""


@dataclass(frozen=True, slots=True)
class _Call:
    """An operator call of the graph."""

    function: Callable[..., Any]
    positional: tuple[Any, ...]
    """Values, with a `_Name` for a value that is known by name."""
    named: Mapping[str, Any]
    outputs: tuple[Any, ...]
    """Names of the returned values; None for a value that is not used, a tuple for a list."""
    released: tuple[str, ...]
    """Names that no later call uses."""


@dataclass(frozen=True, slots=True)
class _Side:
    """What a file says of the rows or columns that the network takes."""

    fixed: int = 0
    """The only length, in pixels; 0 if the length is free."""
    smallest: int = 1
    largest: int | None = None
    multiple: int = 1
    """What divides the length."""
    symbol: str = ""
    """The file's name of the length. Sides of one name have equal lengths."""


_PLANES: Mapping[int, Channels] = {1: "luma", 3: "RGB"}


def method(card: Card) -> Method:
    """The method of a card with an exported network.

    Raises:
        InputError: the file is of another kind, is damaged, or holds what is not computed here.
    """
    scales = card.scales or card.scales_found()
    network = Exported(card.path(scales[0] if scales else 1))
    channels = _PLANES.get(network.planes, "any")
    if network.planes and card.channels not in ("", channels):
        raise InputError(
            f"{network.path} takes {network.planes} channels, so channels is {channels!r}, not "
            f"{card.channels!r}"
        )
    takes = card.takes or ("interpolated" if network.factor == 1 else "LR")
    if takes == "LR":
        scales = scales or (network.factor,)
    return replace(
        card.method(channels, scales=scales),
        takes=takes,
        opener=partial(_opened, takes),
        default_weights=str(card.folder / card.source),
    )


def _opened(takes: str, path: Path, scale: int) -> nn.Module:
    """The network of a file.

    Raises:
        InputError: as `Exported`, or the network enlarges by another scale.
    """
    network = Exported(path)
    factor = scale if takes == "LR" else 1
    if network.factor != factor:
        raise InputError(
            f"{path} enlarges by {network.factor}, not by {factor}; give another scale"
        )
    return network


class Exported(nn.Module):
    """An exported graph: images (N, C, h, w) to (N, C, h', w'), by torch's operators.

    Parameters, buffers and constants have their names in the network that was exported.
    """

    def __init__(self, path: Path) -> None:
        """Read a file.

        Args:
            path: what `torch.export.save` wrote.

        Raises:
            InputError: the file is of another kind, is damaged, or holds what is not computed here.
        """
        super().__init__()
        self.path = path
        self.fit: Fit | None = None
        with _explained(path):
            program, tensors = _read(path)
            graph = program["graph_module"]["graph"]
            image, self._weights = _inputs(path, program["graph_module"]["signature"], graph)
            self._image = image
            for target, held in self._weights.values():
                _register(self, target, tensors[target], held)
            self._result = _output(path, program["graph_module"]["signature"], graph)
            self._calls = _calls(path, graph, self._result)
            described = graph["tensor_values"][image]
            self._dtype = _DTYPES[described["dtype"]]
            sizes = [_size(size, program["range_constraints"]) for size in described["sizes"]]
        if len(sizes) != 4:
            raise InputError(
                f"{path} takes {len(sizes)} dimensions, not an image (N, C, h, w); export the "
                "network with such an image"
            )
        batch, planes, self.rows, self.columns = sizes
        self._batch, self.planes = batch.fixed, planes.fixed
        if self._batch > 1:
            raise InputError(
                f"{path} takes {self._batch} images at once; export the network with one image"
            )
        if bool(self.rows.fixed) != bool(self.columns.fixed):
            raise InputError(
                f"{path} has a fixed number of rows or of columns, but not of both; export the "
                "network with both free"
            )
        self.factor = self._enlargement()
        if self.rows.fixed:
            size = self.rows.fixed, self.columns.fixed
            self.fit = fit_for(self, self.planes, size, self.image_dtype)

    @property
    def image_dtype(self) -> torch.dtype:
        """The type of the images that the module is given."""
        return self._dtype if self._dtype.is_floating_point else torch.float32

    @property
    def remarks(self) -> tuple[str, ...]:
        """Short clauses for the note of every average, each without "; "."""
        return (self.fit.remark,) if self.fit is not None else ()

    def _enlargement(self) -> int:
        """Ratio of the output's sides to the input's.

        Raises:
            InputError: the output is no image whose sides are a multiple of the input's.
        """
        sides = [
            side.fixed or side.multiple * math.ceil(max(side.smallest, SIDE) / side.multiple)
            for side in (self.rows, self.columns)
        ]
        sides = [max(sides)] * 2 if self.rows.symbol == self.columns.symbol != "" else sides
        shape = (1, self.planes or 3, *sides)
        with torch.no_grad():
            given = torch.empty(shape, dtype=self.image_dtype, device="meta")
            made = tuple(copy.deepcopy(self).to("meta")(given).shape)
        factor = made[-1] // shape[-1] if len(made) == 4 else 0
        if factor < 1 or made != (1, shape[1], *(factor * side for side in sides)):
            raise InputError(
                f"{self.path} makes {made} of an image {shape}; export a network that enlarges "
                "images (N, C, h, w)"
            )
        return factor

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, C, factor * h, factor * w) for images x (N, C, h, w), in the dtype of x.

        Raises:
            InputError: the file does not allow images of this size.
        """
        if self._batch and len(x) > self._batch:
            return torch.cat([self.forward(image[None]) for image in x])
        if self.fit is not None and not x.is_meta:
            return self.fit(self._computed, x, self.factor)
        self._refuse_other_sizes(*x.shape[2:])
        return self._computed(x)

    def _refuse_other_sizes(self, rows: int, columns: int) -> None:
        """Refuse an image of a size that a file with free sides does not allow.

        Raises:
            InputError: the size is not allowed.
        """
        for side, length, noun in (
            (self.rows, rows, "rows"),
            (self.columns, columns, "columns"),
        ):
            if side.fixed:
                continue
            if length % side.multiple:
                raise InputError(
                    f"{self.path} takes {noun} in multiples of {side.multiple}, not {length}; "
                    f"say multiple = {side.multiple}"
                )
            most = math.inf if side.largest is None else side.largest
            if not side.smallest <= length <= most:
                raise InputError(
                    f"{self.path} takes {side.smallest} to {most} {noun}, not {length}; export "
                    "the network with a wider range"
                )
        if self.rows.symbol and self.rows.symbol == self.columns.symbol and rows != columns:
            raise InputError(
                f"{self.path} takes square images only, not {columns}x{rows}; export the network "
                "with one dimension for rows and one for columns"
            )

    def _computed(self, x: Tensor) -> Tensor:
        """The graph's output for an image (N, C, h, w) of a size that it takes, in x's dtype."""
        values: dict[str, Any] = {_DEVICE.name: x.device, self._image: x.to(self._dtype)}
        for name, (target, _) in self._weights.items():
            owner, _, last = target.rpartition(".")
            values[name] = getattr(self.get_submodule(owner), last)
        for call in self._calls:
            given = partial(_filled, values=values)
            out = call.function(
                *map(given, call.positional),
                **{name: given(value) for name, value in call.named.items()},
            )
            # One output stands alone, also as a list of tensors; several come as a tuple.
            _keep(call.outputs, (out,) if len(call.outputs) == 1 else out, values)
            del out  # or its memory stays taken during the next call
            for name in call.released:
                values.pop(name, None)
        result: Tensor = values[self._result]
        return result.to(x.dtype)


def _keep(outputs: tuple[Any, ...], made: Any, values: dict[str, Any]) -> None:
    """Add what a call returned to the values, under the names of `_Call.outputs`."""
    for names, value in zip(outputs, made or (), strict=True):  # an assertion returns None
        if isinstance(names, tuple):
            values.update(zip(names, value, strict=True))
        elif names is not None:
            values[names] = value


def _filled(argument: Any, values: Mapping[str, Any]) -> Any:
    """An argument with values in place of names; tensors of any shape."""
    if isinstance(argument, _Name):
        return values[argument.name]
    if isinstance(argument, list):
        return [_filled(item, values) for item in argument]
    return argument


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """A context in which the errors of reading a file become InputErrors that name the file."""
    try:
        yield
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors, or is damaged; nothing of it was executed: export "
            "the network again, without custom objects"
        ) from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path} is damaged: {one_line(error, 80)}; get it again") from error
    except Exception as error:  # what is read was written by others: anything may be missing in it
        raise InputError(
            f"{path} cannot be read as an exported network: {one_line(error, 120)}; write it with "
            "torch.export.save"
        ) from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description of a program, and its weights and constants by name, each in any shape.

    Raises:
        InputError: the file is of another kind.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            head = file.read(8)
        if head[4:6] == b"ET":
            raise InputError(f"{path} is a program of ExecuTorch, which is not read; {_GIVE}")
        raise InputError(f"{path} is no zip file, as torch.export.save writes; {_GIVE}")
    packed.check_zip(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any("data/aotinductor/" in name or name.endswith(".so") for name in names):
            raise InputError(f"{path} holds machine code of AOTInductor, which is not run; {_GIVE}")
        old = "serialized_exported_program.json"
        if old in names:  # as torch before 2.8 writes
            program = json.loads(archive.read(old))
            tensors = {
                **_unpickled(archive.read("serialized_state_dict.pt")),
                **_unpickled(archive.read("serialized_constants.pt")),
            }
        else:
            program, tensors = _read_archive(path, archive, names)
    major = program["schema_version"]["major"]
    if major != _SCHEMA:
        raise InputError(
            f"{path} has version {major} of torch's export schema, expected {_SCHEMA}; export the "
            f"network again with torch {torch.__version__}"
        )
    return program, tensors


_GIVE = "give what torch.export.save writes for the network"


def _read_archive(
    path: Path, archive: zipfile.ZipFile, names: list[str]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """As `_read`, of the archive that torch 2.8 and later write."""
    models = [name for name in names if re.search(r"(^|/)models/[^/]+\.json$", name)]
    if len(models) != 1:
        raise InputError(f"{path} holds {len(models)} exported networks, expected one; {_GIVE}")
    folder, _, file = models[0].rpartition("models/")
    model = file.removesuffix(".json")
    tensors: dict[str, Tensor] = {}
    for kind in ("weights", "constants"):
        base = f"{folder}data/{kind}/"
        if f"{base}{model}.pt" in names:
            tensors |= _unpickled(archive.read(f"{base}{model}.pt"))
            continue
        config = json.loads(archive.read(f"{base}{model}_{kind}_config.json"))["config"]
        for name, payload in config.items():
            data = archive.read(base + payload["path_name"])
            tensors[name] = _tensor(path, name, payload, data)
    return json.loads(archive.read(models[0])), tensors


def _unpickled(data: bytes) -> dict[str, Tensor]:
    """Tensors of any shape by name; the unpickler refuses code."""
    if not data:
        return {}
    loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {name: value for name, value in loaded.items() if isinstance(value, Tensor)}


def _tensor(path: Path, name: str, payload: Mapping[str, Any], data: bytes) -> Tensor:
    """A tensor of the shape that the file states, from its bytes.

    Raises:
        InputError: the payload is no tensor.
    """
    described = payload["tensor_meta"]
    if payload["use_pickle"] and described is None:
        raise InputError(
            f"{path} holds the object {name!r}, which is no tensor and was not loaded; export a "
            "network of tensors"
        )
    if payload["use_pickle"]:
        tensor: Tensor = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return tensor
    dtype = _DTYPES[described["dtype"]]
    sizes, strides = ([size["as_int"] for size in described[of]] for of in ("sizes", "strides"))
    if not data:
        return torch.zeros(sizes, dtype=dtype)
    held = torch.frombuffer(bytearray(data), dtype=dtype)
    return held.as_strided(sizes, strides, described["storage_offset"]["as_int"]).clone()


def _register(module: nn.Module, name: str, tensor: Tensor, kind: str) -> None:
    """Give a module a parameter or buffer of any shape, under a dotted name."""
    *owners, last = name.split(".")
    for owner in owners:
        if owner not in module._modules:  # noqa: SLF001
            module.add_module(owner, nn.Module())
        module = module.get_submodule(owner)
    tensor = tensor.detach()
    if kind == "parameter":
        module.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
    else:
        module.register_buffer(last, tensor, persistent=False)


def _inputs(
    path: Path, signature: Mapping[str, Any], graph: Mapping[str, Any]
) -> tuple[str, dict[str, tuple[str, str]]]:
    """The name of the image in the graph, and name -> (weight's name, kind) of every weight.

    Raises:
        InputError: the network takes something else than an image, or none or several.
    """
    names = {
        "parameter": "parameter_name",
        "buffer": "buffer_name",
        "tensor_constant": "tensor_constant_name",
    }
    images, weights = [], {}
    for spec in signature["input_specs"]:
        ((kind, held),) = spec.items()
        if kind in names:
            weights[held["arg"]["name"]] = held[names[kind]], kind
        elif kind == "user_input" and "as_tensor" in held["arg"]:
            images.append(held["arg"]["as_tensor"]["name"])
        else:
            raise InputError(f"{path} takes an input of kind {kind}; export a network of one image")
    if len(images) != 1:
        raise InputError(f"{path} takes {len(images)} tensors; export a network of one image")
    return images[0], weights


def _output(path: Path, signature: Mapping[str, Any], graph: Mapping[str, Any]) -> str:
    """The name of the output in the graph.

    Raises:
        InputError: the network gives something else than one tensor, or changes its buffers.
    """
    kinds = [next(iter(spec)) for spec in signature["output_specs"]]
    if any(kind != "user_output" for kind in kinds):
        raise InputError(
            f"{path} changes its buffers, as in training; call .eval() before torch.export.export"
        )
    named = [out["as_tensor"]["name"] for out in graph["outputs"] if "as_tensor" in out]
    if len(kinds) != 1 or len(named) != 1:
        raise InputError(
            f"{path} gives {len(kinds)} outputs; export a network that gives one image"
        )
    return str(named[0])


def _size(size: Mapping[str, Any], ranges: Mapping[str, Any]) -> _Side:
    """A dimension of the image, from a number, a symbol such as `s0`, or a multiple such as `8*s0`.

    Raises:
        InputError: the dimension is another expression.
    """
    if "as_int" in size:
        return _Side(fixed=size["as_int"])
    text = size["as_expr"]["expr_str"]
    # torch 2.13 writes "Mul(Integer(8), Symbol('s0', positive=True))" for what was "8*s0" in 2.6.
    text = re.sub(r"Symbol\('(\w+)'[^()]*\)", r"\1", text)
    text = re.sub(r"Mul\(Integer\((\d+)\), (\w+)\)", r"\1*\2", text)
    found = re.fullmatch(r"(?:(\d+)\*)?(\w+)", text)
    if found is None:
        raise InputError(f"an image's side of {text} is not understood; export with plain sides")
    times, symbol = int(found[1] or 1), found[2]
    limits = ranges.get(symbol, {})
    least, most = limits.get("min_val"), limits.get("max_val")
    return _Side(
        smallest=times * max(1, least or 1),
        # torch writes its largest integers where a dimension has no limit.
        largest=times * most if most is not None and most < 1 << 31 else None,
        multiple=times,
        symbol=text,
    )


def _calls(path: Path, graph: Mapping[str, Any], result: str) -> tuple[_Call, ...]:
    """The operator calls of a graph, in order.

    Raises:
        InputError: an operator that is not computed here.
    """
    found, used = [], {result}
    for node in reversed(graph["nodes"]):
        if _UNUSED.fullmatch(node["target"]):
            continue
        function = _function(path, node["target"])
        given = [
            (item["name"], item.get("kind"), _argument(item["arg"])) for item in node["inputs"]
        ]
        schema = getattr(function, "_schema", None)
        # Normalisation that has kept no statistics takes those of the image in every mode.
        keeps = "batch_norm" not in node["target"] or any(
            name == "running_mean" and value is not None for name, _, value in given
        )
        for name, _, value in given:
            if name in ("train", "training") and value is True and keeps:
                raise InputError(
                    f"{path} was exported in training mode ({node['target']}); call .eval() before "
                    "torch.export.export"
                )
        # By name if the operator has a schema: an older torch has written no kind of argument.
        positional = () if schema else tuple(value for _, _, value in given)
        named = {name: value for name, _, value in given} if schema else {}
        outputs = tuple(map(_names, node["outputs"]))
        last = {name.name for _, _, value in given for name in _mentioned(value)} - used - {""}
        unused = {name for out in outputs for name in _flat(out)} - used
        used |= last
        found.append(_Call(function, positional, named, outputs, (*last, *unused)))
    return tuple(reversed(found))


def _function(path: Path, target: str) -> Callable[..., Any]:
    """The function that a graph names.

    Raises:
        InputError: a function that is not computed here.
    """
    if target in _ON_SIZES:
        return _ON_SIZES[target]
    if target == _ASSERTION:
        return partial(_assert, path)
    found = _ATEN.fullmatch(target)
    if found is not None and found[1] not in _REFUSED:
        name = f"aten::{found[1]}" + ("" if found[2] == "default" else f".{found[2]}")
        # Operators outside the dispatcher belong to TorchScript and may do more than compute.
        if torch._C._dispatch_has_kernel(name):  # noqa: SLF001
            function: Callable[..., Any] = getattr(getattr(torch.ops.aten, found[1]), found[2])
            return function
    raise InputError(
        f"{path} uses {target[:80]!r}, which is not computed here; export the network with aten's "
        "operators only"
    )


def _assert(path: Path, holds: Any, said: str) -> None:
    """Refuse an image for which a condition of the graph does not hold.

    Raises:
        InputError: the condition does not hold.
    """
    if not holds:
        raise InputError(f"{path} does not take an image of this size: {said[:120]}")


def _argument(given: Mapping[str, Any]) -> Any:
    """An argument of a call, with a `_Name` for what is known by name.

    Raises:
        InputError: an argument of another kind.
    """
    ((kind, value),) = given.items()
    if kind == "as_none":
        return None
    if kind == "as_tensor":
        return _Name(value["name"])
    if kind in ("as_int", "as_bool", "as_string", "as_ints", "as_bools"):
        return value
    if kind == "as_float":
        return float(value)  # infinity is written as a word
    if kind == "as_floats":
        return [float(item) for item in value]
    if kind == "as_tensors":
        return [_Name(item["name"]) for item in value]
    if kind in ("as_sym_int", "as_sym_bool", "as_sym_float"):
        return _symbol(value)
    if kind in ("as_sym_ints", "as_sym_bools", "as_sym_floats"):
        return [_symbol(item) for item in value]
    if kind in ("as_optional_tensors", "as_optional_tensor"):
        return [_argument(item) for item in value] if isinstance(value, list) else _argument(value)
    if kind == "as_scalar_type":
        return _DTYPES[value]
    if kind == "as_memory_format":
        return _FORMATS[value]
    if kind == "as_layout" and value == _STRIDED:
        return torch.strided
    if kind == "as_device":
        return _DEVICE
    raise InputError(f"an argument of kind {kind} is not understood; export a plain network")


def _symbol(given: Mapping[str, Any]) -> Any:
    ((kind, value),) = given.items()
    return _Name(value) if kind == "as_name" else value


def _names(given: Mapping[str, Any]) -> Any:
    """The name of an output; None if it is not kept, a tuple of names for a list of tensors."""
    ((kind, value),) = given.items()
    if kind == "as_none":
        return None
    if kind in ("as_sym_int", "as_sym_bool", "as_sym_float"):
        return value["as_name"]
    if kind in ("as_tensors", "as_optional_tensors"):
        return tuple(item.get("name") or item["as_tensor"]["name"] for item in value)
    return value["name"]


def _flat(names: Any) -> tuple[str, ...]:
    """The names in an item of `_Call.outputs`."""
    return names if isinstance(names, tuple) else (names,) if names else ()


def _mentioned(argument: Any) -> Iterator[_Name]:
    """The names in an argument."""
    if isinstance(argument, _Name):
        yield argument
    for item in argument if isinstance(argument, list) else ():
        yield from _mentioned(item)
