"""Networks as TorchScript, which `torch.jit.save` wrote: `.ts`, `.torchscript`, `.jit`.

A TorchScript archive holds a program, which cannot reach Python, but could write and read files, or
call other machines. Its code is read before any of it runs, and such calls are refused. torch then
gets an archive that was written here, of what was read.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from bench.files import packed
from bench.sources.card import Card
from bench.sources.probe import probe
from zoo.errors import InputError, one_line
from zoo.method import Method

FIELD = "script"
SUFFIXES = (".ts", ".torchscript", ".jit")
EXTRA = ""
MODULES = ()
EXAMPLE = "net.ts"

_REFUSED = re.compile(r"(torch|ops\.aten)\.(save|from_file)|ops\.prim\.rpc_\w+")
"""Functions of TorchScript that open files or call other machines."""
_OPERATORS = frozenset(("aten", "prim", "prims", "quantized", "prepacked", "inductor"))
"""Families of operators that compute."""
_CLASSES = re.compile(rb"torch\.classes\.(?!quantized\b|sparse\b|xnnpack\b)(\w+)")
"""Built-in classes that hold more than weights."""


def method(card: Card) -> Method:
    """The method of a card with a TorchScript archive.

    Raises:
        InputError: the file is of another kind, is damaged, holds what is not run, or is no network
            that enlarges images.
    """
    scales = card.scales or card.scales_found()
    path = card.path(scales[0] if scales else 1)
    found = probe(Script(path), str(path), card.channels, padded_to=card.multiple)
    takes = card.takes or ("interpolated" if found.factor == 1 else "LR")
    if takes == "LR":
        scales = scales or (found.factor,)
    return replace(
        card.method(found.channels, scales=scales),
        takes=takes,
        opener=functools.partial(_opened, card, takes),
        default_weights=str(card.folder / card.source),
    )


def _opened(card: Card, takes: str, path: Path, scale: int) -> nn.Module:
    """The network of a file.

    Raises:
        InputError: as `Script`, or the network enlarges by another scale.
    """
    network = Script(path)
    found = probe(network, str(path), card.channels, padded_to=card.multiple).factor
    factor = scale if takes == "LR" else 1
    if found != factor:
        raise InputError(f"{path} enlarges by {found}, not by {factor}; give another scale")
    return network


class Script(nn.Module):
    """A TorchScript program: images (N, C, h, w) to (N, C, h', w').

    Parameters and buffers have their names in the program, which computes with them: where they are
    moved, the program follows.
    """

    def __init__(self, path: Path) -> None:
        """Read a file.

        Args:
            path: what `torch.jit.save` wrote.

        Raises:
            InputError: the file is of another kind, is damaged, or holds what is not run.
        """
        super().__init__()
        self.path = path
        self._archive = _checked(path)
        self._held = _Held()
        try:
            program = _loaded(self._archive, torch.device("cpu")).eval()
        except (
            Exception
        ) as error:  # what is read was written by others: anything may be wrong in it
            raise InputError(
                f"{path} cannot be read as TorchScript: {one_line(error, 120)}; write it with "
                "torch.jit.save"
            ) from error
        for name, parameter in program.named_parameters():
            owner, last = self._owner(name)
            owner.register_parameter(last, nn.Parameter(parameter.detach(), requires_grad=False))
        for name, buffer in program.named_buffers():
            owner, last = self._owner(name)
            owner.register_buffer(last, buffer.detach(), persistent=False)

    def _owner(self, name: str) -> tuple[nn.Module, str]:
        """The module, made if it is missing, that holds a dotted name, and the name's last part."""
        module: nn.Module = self
        *owners, last = name.split(".")
        for owner in owners:
            if owner not in dict(module.named_children()):
                module.add_module(owner, nn.Module())
            module = module.get_submodule(owner)
        return module, last

    def forward(self, x: Tensor) -> Tensor:
        """The program's output for images x, (N, C, h, w).

        Raises:
            InputError: the program failed, or gave no image.
        """
        program = self._program(x.device)
        try:
            with _Named() if x.is_meta else contextlib.nullcontext():  # type: ignore[no-untyped-call]
                out = program(x)
        except RuntimeError as error:
            # The reason stands at the end, after a traceback of TorchScript.
            lines = str(error).partition("\n\nAt:")[0].rstrip().splitlines() or [""]
            reason = lines[-1].replace("RuntimeError:", "").strip()[:160] or "it states no reason"
            if "out of memory" in reason or "DefaultCPUAllocator" in reason:
                raise
            raise InputError(
                f"{self.path} failed for {x.shape[1]} channels of {x.shape[3]}x{x.shape[2]} px: "
                f"{reason}; if torch.jit.trace made it for one size, use torch.jit.script"
            ) from error
        if not isinstance(out, Tensor):
            raise InputError(f"{self.path} gave a {type(out).__name__}; expected one image")
        return out

    def _program(self, device: torch.device) -> Any:
        """The program on a device, with this module's parameters and buffers."""
        held = self._held
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        now = (device, *map(id, tensors.values()))
        if held.program is None or held.place != now:
            with _disable_current_modes():  # loading is no part of a forward pass that is traced
                held.program, held.place = _loaded(self._archive, device).eval(), now
            for name, tensor in tensors.items():
                *owners, last = name.split(".")
                setattr(functools.reduce(getattr, owners, held.program), last, tensor)
        return held.program


class _Held:
    """A loaded program, which a copy of the module does not share but loads for itself."""

    def __init__(self) -> None:
        self.program: Any = None
        self.place: tuple[Any, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()


class _Named(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives a convolution the name that it has in a network that is no TorchScript.

    `torch.jit.trace` writes `_convolution`, which has the arguments of `convolution` and four flags
    of backends.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten._convolution.default and not kwargs:  # noqa: SLF001
            return torch.ops.aten.convolution.default(*args[:9])
        return func(*args, **(kwargs or {}))


def _loaded(archive: bytes, device: torch.device) -> Any:
    """The program in an archive, as a ScriptModule on a device.

    `torch.jit.load` does this too, but warns that TorchScript is deprecated.
    """
    load: Any = torch._C.import_ir_module_from_buffer  # noqa: SLF001
    wrap: Any = torch.jit._recursive.wrap_cpp_module  # noqa: SLF001
    return wrap(load(torch._C.CompilationUnit(), archive, device, {}, False))  # noqa: SLF001


def _checked(path: Path) -> bytes:
    """An archive with the members of a file, once its code is known to compute only.

    Raises:
        InputError: the file is no TorchScript, is damaged, or its code does more.
    """
    packed.check_zip(path)
    try:
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise InputError(
            f"{path} is no TorchScript archive, or is damaged: {one_line(error, 80)}; write it "
            "with torch.jit.save"
        ) from error
    code = [name for name in members if name.lower().endswith(".py")]
    if not code or not any(name.endswith("/constants.pkl") for name in members):
        raise InputError(
            f"{path} is no TorchScript archive: it holds no code; give a file of torch.jit.save"
        )
    for name in code:
        tree = _parsed(path, members[name])
        _refuse_training(path, tree)
        for used in _used(tree):
            family = re.match(r"ops\.(\w+)", used)
            if _REFUSED.fullmatch(used) or (family and family[1] not in _OPERATORS):
                raise InputError(
                    f"{path} was not run, because it calls {used}, which does more than compute; "
                    "leave it out of the network"
                )
    for name, content in members.items():
        found = _CLASSES.search(content) if name.lower().endswith((".pkl", ".py")) else None
        if found:
            raise InputError(
                f"{path} was not run, because it holds a class of torch.classes."
                f"{found[1].decode()}; save the network without it"
            )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        for name, content in members.items():
            written.writestr(name, content)
    return archive.getvalue()


def _parsed(path: Path, code: bytes) -> ast.Module:
    """The code as a tree.

    Raises:
        InputError: the code cannot be parsed.
    """
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(
            f"{path} holds code that cannot be read: {one_line(error, 80)}; write it with "
            "torch.jit.save"
        ) from error


_TRAINED = re.compile(r"(?:torch|__torch__\.torch\.nn\.functional)\.(\w*dropout\w*?|batch_norm)_?")
"""Functions that do something else in training."""
_PLACES = {"dropout": 2, "batch_norm": 5}
"""Where such a function takes whether it is training."""


def _refuse_training(path: Path, tree: ast.Module) -> None:
    """Refuse a program in which a layer is training, whatever mode the program is in.

    `torch.jit.trace` writes the mode of the moment as a constant.

    Raises:
        InputError: such a layer.
    """
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        named = {
            target.id: _dotted(node.value)  # `_0 = torch.dropout`
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                dotted = _dotted(node.func)
                _refuse_training_call(path, named.get(dotted) or dotted, node.args)


def _refuse_training_call(path: Path, called: str, given: Sequence[ast.expr]) -> None:
    """As `_refuse_training`, of a call of a function by its dotted name."""
    found = _TRAINED.fullmatch(called)
    if found is None:
        return
    constants = [each.value if isinstance(each, ast.Constant) else ... for each in given]
    normalises = found[1] == "batch_norm"
    # Normalisation that has kept no statistics takes those of the image in every mode, and in a
    # scripted module they are not known to be None before it runs.
    if normalises and (not called.startswith("torch.") or None in constants[3:4]):
        return
    place = _PLACES["batch_norm" if normalises else "dropout"]
    if len(constants) > place and constants[place] is True:
        raise InputError(
            f"{path} was traced in training mode ({found[1]}); call .eval() before torch.jit.trace"
        )


def _used(tree: ast.Module) -> Iterator[str]:
    """Dotted names in code, such as `torch.conv2d`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (dotted := _dotted(node)):
            yield dotted


def _dotted(node: ast.expr) -> str:
    """The name that a tree of attributes spells; '' if it starts with no name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""
