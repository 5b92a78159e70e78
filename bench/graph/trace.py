"""A network's operators, recorded while its forward pass runs on shapes alone.

A cost that depends on no pixel is read off the graph: nothing is computed, and no image, however
large, takes memory.
"""

from __future__ import annotations

import copy
import itertools
import math
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from zoo.errors import InputError, one_line
from zoo.method import Method

SIDE = 48
"""Side of the LR image of `trace_method`, in pixels."""
SIDES = (16, 24, 32)
"""Sides of the LR images of `trace_growing`: equally far apart."""
_SELECTIONS = frozenset(("index", "index_select", "gather", "embedding"))
"""Operators that give entries of their first tensor, chosen by others."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph, without its numbers."""

    number: int
    """Which tensor it is: one that is changed in place keeps its number, a view has its own."""
    storage: int
    """Which memory it lies in: a view shares its base's."""
    shape: tuple[int, ...]
    dtype: torch.dtype
    parameter: str = ""
    """Dotted name of the parameter that it is, or is a view of, or holds entries of."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator that ran."""

    name: str
    """As aten calls it, without the overload: `convolution`, `add_`."""
    overload: str
    """In full: `aten.add_.Tensor`."""
    layer: str
    """Dotted path of the innermost module that ran it; empty at the top."""
    arguments: Mapping[str, Any]
    """Every argument by its name in the schema, in order, defaults filled in; tensors as Value."""
    outputs: tuple[Value, ...]
    """The tensors that it gave."""

    @property
    def out(self) -> Value:
        """The first of its outputs."""
        return self.outputs[0]

    @property
    def tensors(self) -> list[Value]:
        """The tensors among its arguments, those in lists included."""
        return list(_values(self.arguments.values()))


def _values(arguments: Any) -> Iterator[Value]:
    for argument in arguments:
        if isinstance(argument, Value):
            yield argument
        elif isinstance(argument, list | tuple):
            yield from _values(argument)


@dataclass(frozen=True)
class Graph:
    """What ran during one forward pass, in order."""

    input: Value
    outputs: tuple[Value, ...]
    operators: tuple[Operator, ...]
    parameters: Mapping[str, tuple[int, ...]]
    """Shape of each parameter that the forward pass used, by its dotted name; shared ones once."""
    peak_bytes: int
    """Most memory that tensors took at once: the input and all that the pass made, at the time;
    not parameters and buffers, and not what an operator needs while it runs."""


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, records operators and follows which memory is alive."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: list[Operator] = []
        self.parameters: dict[str, tuple[int, ...]] = {}
        self.peak_bytes = 0
        self._live_bytes = 0
        self._layers = [""]
        self._count = itertools.count()
        self._numbers = WeakTensorKeyDictionary()
        self._storages: dict[int, tuple[int, weakref.ref[UntypedStorage]]] = {}
        self._names: dict[int, str] = {}
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
        """Number of the memory that a tensor lies in; its bytes are alive until it is freed."""
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
        """The tensor as the graph describes it."""
        number = self._numbers.get(tensor)  # type: ignore[no-untyped-call]
        if number is None:
            number = self._numbers[tensor] = next(self._count)
        storage = self._storage(tensor)
        name = self._names.get(storage, "")
        return Value(number, storage, tuple(tensor.shape), tensor.dtype, name)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        arguments: dict[str, Any] = {}
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
        self.parameters |= {v.parameter: () for v in operator.tensors if v.parameter}
        return out


def _on_meta(module: nn.Module, image_dtype: torch.dtype | None) -> nn.Module:
    """A copy whose parameters and buffers have shapes only; no weight is copied on the way.

    Where the dtype of images is given, modules that have a `receptive_field_proxy` are replaced by it.
    """
    memo: dict[int, Any] = {}
    for part in module.modules() if image_dtype else ():
        proxy = getattr(part, "receptive_field_proxy", None)
        if proxy is not None:
            memo[id(part)] = proxy().to("meta", image_dtype)
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        shape = torch.empty_like(tensor, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(shape, requires_grad=False) if is_parameter else shape
    return copy.deepcopy(module, memo).to("meta")


def trace(module: nn.Module, x: Tensor, *, proxies: bool = False) -> Graph:
    """What a module's forward pass does to an input like x, of which shape and dtype matter.

    The module itself is left as it is, and where it is.

    Args:
        module: what is run.
        x: its input.
        sight: whether only how far it looks is asked for: modules that cannot be followed there
            and have a `receptive_field_proxy` (`zoo.method.Method`) are then traced as the network that it gives.

    Raises:
        InputError: the forward pass needs values, leaves torch, or fails.
    """
    given = torch.empty_like(x, device="meta", requires_grad=False)
    try:
        copied = _on_meta(module, x.dtype if proxies else None)
        tracer = _Tracer(copied)
        described = tracer.value(given)
        with torch.no_grad(), tracer:
            out = copied(given)
        outputs = [tracer.value(leaf) for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
    except InputError:
        raise
    except (Exception, SystemExit) as error:
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
    """The graph of a method's module, given LR of `size` (rows, columns), interpolated if it is.

    Raises:
        InputError: as `trace`.
    """
    planes = 3 if method.channels == "RGB" else 1
    factor = scale if method.takes == "interpolated" else 1
    shape = (1, planes, *(factor * side for side in size))
    return trace(
        module, torch.empty(shape, dtype=computing_dtype(module), device="meta"), proxies=proxies
    )


def trace_growing(method: Method, module: nn.Module, scale: int) -> tuple[Graph, Graph, Graph]:
    """The graphs of a method's module, given square LR of SIDES, for `per_pixel`.

    Raises:
        InputError: as `trace`.
    """
    first, second, third = (trace_method(method, module, scale, (n, n)) for n in SIDES)
    return first, second, third


def per_pixel(counts: Iterable[int]) -> float:
    """What an LR pixel adds to a count, inside an image: that of SIDES, in order.

    A count on n x n pixels is a n^2 + b n + c, where b and c are the borders', on which some
    methods compute less: what works on patches of 5x5 pixels has (n - 4)^2 of them, one for each
    pixel. This is a, by the second difference, and so the count's limit on large images.

    >>> per_pixel(7 * (n - 4) ** 2 for n in SIDES)
    7.0
    """
    first, second, third = counts
    return (first - 2 * second + third) / (2 * (SIDES[1] - SIDES[0]) ** 2)


_SIDE = 256
"""Side of the image of `bytes_per_pixel`: sparse coding's 31 chunks take seconds to trace."""


def bytes_per_pixel(module: nn.Module, channels: int, dtype: torch.dtype) -> float:
    """Bytes that the forward pass takes at its peak for each pixel of its input.

    The input and the output are among them; weights are not, nor is a convolution's workspace. On
    a processor that is mostly one feature map laid out anew: VDSR took 1.5 times what is said here,
    EDSR-baseline 1.1 times. It is that of an image of 256x256 pixels: exact for networks; for
    methods that compare some patches at once with a dictionary up to 4 times what it is on large
    images, since what such a chunk takes is shared out among more pixels there.

    Args:
        module: what is run.
        channels: planes of its input.
        dtype: of its input.

    Raises:
        InputError: the forward pass cannot be traced.
    """
    x = torch.empty(1, channels, _SIDE, _SIDE, dtype=dtype, device="meta")
    return trace(module, x).peak_bytes / _SIDE**2


def computing_dtype(module: nn.Module) -> torch.dtype:
    """The dtype that a module computes in; double where it has nothing of its own."""
    parameter = next(module.parameters(), None)
    return torch.float64 if parameter is None else parameter.dtype
