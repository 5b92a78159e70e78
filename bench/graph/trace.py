"""Traced graphs: a network's operators, recorded while the forward pass runs on shapes alone.

No value is computed, and an image takes no memory, however large. So the graph gives every cost
that does not depend on pixels.
"""

from __future__ import annotations

import copy
import itertools
import math
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, UntypedStorage, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from zoo.errors import InputError, one_line
from zoo.method import Method

SIDE = 48
"""Side of the LR image of `trace_method`, in pixels."""
_SELECTIONS = frozenset(("index", "index_select", "gather", "embedding"))
"""Operators that return entries of their first tensor, selected by other tensors."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph: identity, memory, shape and dtype, but no numbers."""

    number: int
    """Identity of the tensor. A change in place keeps the number; a view has a new number."""
    storage: int
    """Identity of the memory. A view and the viewed tensor have the same."""
    shape: tuple[int, ...]
    dtype: torch.dtype
    parameter: str = ""
    """Dotted name of the parameter that the tensor is, views, or holds entries of; else empty."""
    constant: int = field(default=0, compare=False)
    """Hash of the numbers, if the forward pass wrote them in Python; else 0."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator call in the forward pass."""

    name: str
    """The aten name without the overload: `convolution`, `add_`."""
    overload: str
    """The aten name in full: `aten.add_.Tensor`."""
    layer: str
    """Dotted path of the innermost module that made the call; empty for the network itself."""
    arguments: Mapping[str, Any]
    """All arguments by schema name, in order, with defaults filled in; tensors as Value."""
    outputs: tuple[Value, ...]
    """The returned tensors."""

    @property
    def out(self) -> Value:
        """The first output."""
        return self.outputs[0]

    @property
    def tensors(self) -> list[Value]:
        """All tensors among the arguments, including tensors in lists."""
        return list(_values(self.arguments.values()))


def _hash(tensor: Tensor) -> int:
    """A hash of a tensor's numbers, not 0."""
    numbers = tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8)
    return hash(numbers.numpy().tobytes()) or 1


def _values(arguments: Any) -> Iterator[Value]:
    """Every Value among nested lists and tuples of arguments."""
    for argument in arguments:
        if isinstance(argument, Value):
            yield argument
        elif isinstance(argument, list | tuple):
            yield from _values(argument)


@dataclass(frozen=True)
class Graph:
    """The operator calls of a single forward pass, in order."""

    input: Value
    outputs: tuple[Value, ...]
    operators: tuple[Operator, ...]
    parameters: Mapping[str, tuple[int, ...]]
    """Shape of each parameter that the forward pass used, by dotted name; shared ones once."""
    peak_bytes: int
    """Most bytes alive at once: the input and the tensors that the forward pass made.

    Parameters, buffers and the operators' workspaces are not included.
    """


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operator calls, and which memory is alive, while active as a dispatch mode."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: list[Operator] = []
        self.parameters: dict[str, tuple[int, ...]] = {}
        self.peak_bytes = 0
        self._live_bytes = 0
        self._layers = [""]
        self._count = itertools.count()
        # Weak references: the tracer must not keep tensors alive whose release it waits for.
        self._numbers = WeakTensorKeyDictionary()
        self._storages: dict[int, tuple[int, weakref.ref[UntypedStorage]]] = {}
        self._names: dict[int, str] = {}
        self.constants = WeakTensorKeyDictionary()
        # Names go by storage, so that a view of a parameter has the parameter's name.
        # Size 0, because parameters and buffers do not count in peak_bytes.
        for name, parameter in module.named_parameters():
            self._names[self._storage(parameter, 0)] = name
        for buffer in module.buffers():
            self._storage(buffer, 0)
        for name, layer in module.named_modules():
            layer.register_forward_pre_hook(partial(self._enter, name))
            layer.register_forward_hook(self._leave)

    def _enter(self, name: str, *_: object) -> None:
        self._layers.append(name)

    def _leave(self, *_: object) -> None:
        self._layers.pop()

    def _storage(self, tensor: Tensor, size: int | None = None) -> int:
        """Identity of the memory that holds a tensor of any shape.

        Args:
            tensor: on the meta device.
            size: bytes that count as alive until the memory is freed; None for all of the memory.
        """
        storage = tensor.untyped_storage()
        key = id(storage)
        if key not in self._storages:
            taken = storage.nbytes() if size is None else size
            released = weakref.ref(storage, partial(self._release, key, taken))
            self._storages[key] = next(self._count), released
            self._live_bytes += taken
            self.peak_bytes = max(self.peak_bytes, self._live_bytes)
        return self._storages[key][0]

    def _release(self, key: int, taken: int, _: object) -> None:
        del self._storages[key]
        self._live_bytes -= taken

    def value(self, tensor: Tensor) -> Value:
        """The tensor, of any shape, as the graph describes it."""
        number = self._numbers.get(tensor)  # type: ignore[no-untyped-call]
        if number is None:
            number = self._numbers[tensor] = next(self._count)
        storage = self._storage(tensor)
        name = self._names.get(storage, "")
        constant = self.constants.get(tensor, 0) if tensor.is_meta else _hash(tensor)  # type: ignore[no-untyped-call]
        return Value(number, storage, tuple(tensor.shape), tensor.dtype, name, constant)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        arguments: dict[str, Any] = {}
        # torch passes only the given arguments, so defaults come from the schema.
        for place, argument in enumerate(func._schema.arguments):  # noqa: SLF001
            given = args[place] if place < len(args) else argument.default_value
            arguments[argument.name] = options.get(argument.name, given)
        arguments = tree_map_only(Tensor, self.value, arguments)
        out = func(*args, **options)
        name = func.overloadpacket.__name__
        if name in _SELECTIONS:
            chosen_from = next(_values(arguments.values())).parameter
            self._names[self._storage(out)] = chosen_from
        outputs = [self.value(leaf) for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        operator = Operator(
            name=name,
            overload=str(func),
            layer=self._layers[-1],
            arguments=arguments,
            outputs=tuple(outputs),
        )
        self.operators.append(operator)
        # An ordered set of names; `trace` adds the shapes.
        self.parameters |= {v.parameter: () for v in operator.tensors if v.parameter}
        return out


class _Constants(TorchFunctionMode):
    """Keeps what numbers a tensor is made of, where torch calls no operator for it.

    `torch.tensor(numbers, device=x.device)` makes a tensor without numbers on the meta device.
    """

    _MAKERS: ClassVar = {torch.tensor: 0, torch.as_tensor: 0, Tensor.new_tensor: 1}
    """Functions, and the place of the numbers among their arguments."""

    def __init__(self, tracer: _Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        place = self._MAKERS.get(func, len(args))
        if place < len(args) and not isinstance(args[place], Tensor) and out.is_meta:
            self._tracer.constants[out] = _hash(torch.as_tensor(args[place]))
        return out


def _on_meta(module: nn.Module, image_dtype: torch.dtype | None) -> nn.Module:
    """A copy of a module on the meta device; no weight is copied on the way.

    If `image_dtype` is given, each module with a `receptive_field_proxy` is replaced by the network
    that this method returns, in that dtype.
    """
    memo: dict[int, Any] = {}
    for part in module.modules() if image_dtype else ():
        proxy = getattr(part, "receptive_field_proxy", None)
        if proxy is not None:
            memo[id(part)] = proxy().to("meta", image_dtype)
    # deepcopy takes these from the memo, and so copies no weight.
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        shape = torch.empty_like(tensor, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(shape, requires_grad=False) if is_parameter else shape
    return copy.deepcopy(module, memo).to("meta")


def trace(module: nn.Module, x: Tensor, *, proxies: bool = False) -> Graph:
    """The graph of a module's forward pass for an input like x.

    The module itself does not change and stays on its device.

    Args:
        module: the network to trace.
        x: the input, of which only shape and dtype are read.
        proxies: True to find a receptive field: a module that has a `receptive_field_proxy`
            (`zoo.method.Method`) is then traced as the network that this method returns.

    Raises:
        InputError: the forward pass reads values, leaves torch, or fails.
    """
    given = torch.empty_like(x, device="meta", requires_grad=False)
    try:
        copied = _on_meta(module, x.dtype if proxies else None)
        tracer = _Tracer(copied)
        described = tracer.value(given)
        with torch.no_grad(), tracer, _Constants(tracer):  # autograd would keep feature maps alive
            out = copied(given)
        outputs = [tracer.value(leaf) for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a method's code may raise anything
        raise InputError(
            f"{type(module).__name__} cannot be traced: {one_line(error, 160)}; "
            "keep its forward pass in torch operators that do not read values"
        ) from error
    shapes = {name: tuple(p.shape) for name, p in copied.named_parameters()}
    return Graph(
        input=described,
        outputs=tuple(outputs),
        operators=tuple(tracer.operators),
        parameters={name: shapes[name] for name in tracer.parameters},
        peak_bytes=tracer.peak_bytes,
    )


def trace_method(
    method: Method,
    module: nn.Module,
    scale: int,
    size: tuple[int, int] = (SIDE, SIDE),
    *,
    proxies: bool = False,
) -> Graph:
    """The graph of a method's module for an LR image of `size` (rows, columns).

    The module's input has 3 planes for an RGB method, else 1. For a method that takes interpolated
    LR, the input has `scale` times the rows and columns.

    Raises:
        InputError: as `trace`.
    """
    planes = 3 if method.channels == "RGB" else 1
    factor = scale if method.takes == "interpolated" else 1
    shape = (1, planes, *(factor * side for side in size))
    return trace(
        module, torch.empty(shape, dtype=computing_dtype(module), device="meta"), proxies=proxies
    )


_SIDE = 256
"""Side of the image of `bytes_per_pixel`, in pixels.

No larger, because sparse coding's chunks of patches already take seconds to trace.
"""


def bytes_per_pixel(module: nn.Module, channels: int, dtype: torch.dtype) -> float:
    """Bytes that the forward pass takes at the peak, for each pixel of the input.

    Included are the input, the output and feature maps; not included are weights and the workspace
    of a convolution. On a processor the workspace is mostly a feature map in another layout: VDSR
    took 1.5 times the memory returned here, EDSR-baseline 1.1 times.

    The value holds for an image of 256x256 pixels. For networks, the value is exact at any size.
    Methods that compare patches with a dictionary, a chunk at a time, have up to 4 times the value
    of large images: there, the memory of a chunk is divided by more pixels.

    Args:
        module: the network.
        channels: planes of the input.
        dtype: dtype of the input.

    Raises:
        InputError: the forward pass cannot be traced.
    """
    x = torch.empty(1, channels, _SIDE, _SIDE, dtype=dtype, device="meta")
    return trace(module, x).peak_bytes / _SIDE**2


def computing_dtype(module: nn.Module) -> torch.dtype:
    """The dtype of a module's input; float64 if the module has no parameters.

    A module whose parameters do not tell, for example because they are quantised, says it by its
    attribute `image_dtype`.
    """
    for part in module.modules():
        dtype = getattr(part, "image_dtype", None)
        if isinstance(dtype, torch.dtype):
            return dtype
    parameter = next(module.parameters(), None)
    return torch.float64 if parameter is None else parameter.dtype
