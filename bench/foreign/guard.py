"""What a process computes with: settings and functions, compared with an earlier moment.

A method that sets PyTorch's default dtype, or replaces a function, changes its own numbers and
those of all other methods. No number that was made under such a change may be stored.
"""

from __future__ import annotations

import decimal
import os
import signal
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from zoo.errors import one_line

_OURS = ("zoo", "bench", "reports", "sisrbench")
_WATCHED = (
    *_OURS,
    "builtins",
    "cv2",
    "hashlib",
    "io",
    "json",
    "math",
    "numpy",
    "os",
    "PIL",
    "psutil",
    "random",
    "scipy",
    "statistics",
    "time",
    "torch",
)
"""Packages whose functions and classes numbers depend on."""
_WITH_CLASSES = (*_OURS, "torch.nn")
"""Packages whose classes are watched method by method; `torch.Tensor` is watched too."""
_FUNCTION_PARTS = ("__code__", "__defaults__", "__kwdefaults__")


def settings() -> dict[str, object]:
    """The settings of the process that may change a number or the end of a command, by name."""
    found: dict[str, object] = {
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_default_device()": torch.get_default_device(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.are_deterministic_algorithms_enabled()": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "torch.is_autocast_enabled()": tuple(
            (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
            for kind in ("cpu", "cuda")
        ),
        # Modes and hooks of all modules see, and may change, every result.
        "modes of torch functions": tuple(
            map(id, _get_current_function_mode_stack())  # type: ignore[no-untyped-call]
        ),
        "modes of torch dispatch": tuple(map(id, _get_current_dispatch_mode_stack())),
        "hooks of all torch.nn modules": tuple(
            (name, tuple(map(id, hooks.values())))
            for name, hooks in vars(torch.nn.modules.module).items()
            if name.startswith("_global_") and isinstance(hooks, dict)
        ),
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.is_inference_mode_enabled()": torch.is_inference_mode_enabled(),
        # PyTorch tells this setting by its effect only.
        "torch.set_flush_denormal()": _flushes(),
        "torch.get_float32_matmul_precision()": _matmul_precision(),
        "torch.backends.cudnn.flags()": tuple(
            getattr(torch.backends.cudnn, name)
            for name in ("enabled", "benchmark", "deterministic")
        ),
        "torch.backends.mkldnn.enabled": torch.backends.mkldnn.enabled,
        "fp32_precision of torch.backends": tuple(_precisions()),
        "numpy.geterr()": tuple(np.geterr().items()),
        "the working folder": os.getcwd(),  # noqa: PTH109  (a deleted folder raises in both)
        "sys.path": tuple(sys.path),
        "sys.getrecursionlimit()": sys.getrecursionlimit(),
        "decimal.getcontext()": repr(decimal.getcontext()),
        "sys.stdout": id(sys.stdout),
        "sys.stderr": id(sys.stderr),
    }
    for number in (signal.SIGINT, signal.SIGTERM):
        found[f"the handler of {number.name}"] = signal.getsignal(number)
    # PyTorch adds variables of its own, but changes none.
    found |= {f"the variable {name}": value for name, value in os.environ.items()}
    return found


def _matmul_precision() -> str:
    """The precision of float32 products; PyTorch's refusal if backends state different ones."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError as error:
        return one_line(error)


def _flushes() -> bool:
    """Whether PyTorch computes 0 for the smallest numbers."""
    tiny = torch.full((1,), 1e-40, dtype=torch.float32, device="cpu")
    return bool((tiny == 0).item())


def _precisions() -> Iterator[str]:
    """The precision of float32 products that each backend of PyTorch states, and each operator."""
    backends = (torch.backends, torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn)
    for backend in backends:
        for holder in (
            backend,
            *(getattr(backend, name, None) for name in ("matmul", "conv", "rnn")),
        ):
            yield str(getattr(holder, "fp32_precision", ""))


@dataclass(frozen=True)
class State:
    """Settings, functions and constants of the process at a moment."""

    settings: dict[str, object]
    attributes: dict[tuple[int, str], tuple[object, str, object]]
    """(id of the holder, name) to the holder, its name in words, and the value or its text."""
    names: dict[int, tuple[object, frozenset[str]]]
    """Id of each holder in which no new name may appear, to the holder and all its names."""

    @classmethod
    def now(cls) -> Self:
        """The state of this process at this moment."""
        attributes = {
            (id(holder), key): (holder, said, value) for holder, key, said, value in _attributes()
        }
        names = {
            id(holder): (holder, frozenset(vars(holder)))
            for holder, _, _ in attributes.values()
            if _closed(holder)
        }
        return cls(settings(), attributes, names)

    def changes(self) -> list[str]:
        """What has changed since: names of settings, functions, classes and constants.

        Modules that were imported since are no change.
        """
        present = settings()
        found = [name for name, value in self.settings.items() if present.get(name) != value]
        for (_, key), (holder, said, value) in self.attributes.items():
            if isinstance(holder, types.FunctionType):
                now = getattr(holder, key)
            else:
                now = vars(holder).get(key)
            if isinstance(value, str):  # the text of a constant
                now = _text(now)
            if not _same(now, value):
                found.append(said)
        for holder, names in self.names.values():
            new = vars(holder).keys() - names if len(vars(holder)) != len(names) else ()
            found += [f"{_named(holder)}.{key}" for key in new if _counts(vars(holder)[key])]
        return list(dict.fromkeys(found))


_TORCH = str(Path(torch.__file__).parent)


def _same(now: object, before: object) -> bool:
    """Whether a value, or a constant's text, is the same as before.

    PyTorch wraps some of its functions when they are first needed; a function that its own code
    wraps keeps its name.
    """
    if now is before or (isinstance(now, str) and now == before):
        return True
    names = {getattr(each, "__qualname__", None) for each in (now, before)}
    code = getattr(now, "__code__", None)
    return len(names) == 1 and code is not None and code.co_filename.startswith(_TORCH)


def _closed(holder: object) -> bool:
    """Whether a new name in a module or class may hide an older one.

    Modules look built-in functions up, and classes look inherited methods up, after their own.
    """
    if isinstance(holder, types.ModuleType):
        return holder.__name__ == "builtins" or holder.__name__.split(".")[0] in _OURS
    return isinstance(holder, type)


def _named(holder: Any) -> str:
    """The name of a module or class."""
    if isinstance(holder, types.ModuleType):
        return holder.__name__
    return f"{holder.__module__}.{holder.__qualname__}"


def _counts(value: object) -> bool:
    """Whether a value under a new name may hide a function, a method or a property."""
    return callable(value) or isinstance(value, property | classmethod | staticmethod)


def _attributes() -> Iterator[tuple[object, str, str, object]]:
    """Holder, key, name in words, and value of everything that is watched.

    The value of a constant of this project is its text, because its content may change in place.
    """
    for name, module in list(sys.modules.items()):
        top = name.split(".")[0]
        if top not in _WATCHED or not isinstance(module, types.ModuleType):
            continue
        for key, value in list(vars(module).items()):
            said = f"{name}.{key}"
            # Not isinstance: some objects of PyTorch warn when asked for their class.
            if issubclass(type(value), type):
                yield module, key, said, value
                if _methods_matter(name, value):
                    yield from _of_class(value)
            elif callable(value):
                yield module, key, said, value
                if top in _OURS or name.startswith("torch.nn"):
                    yield from _of_function(value)
            elif top in _OURS and key.isupper():
                yield module, key, said, _text(value)


def _methods_matter(module: str, value: type) -> bool:
    """Whether a class is watched method by method: defined in this module, or `torch.Tensor`."""
    if value is torch.Tensor:
        return module == "torch"
    return value.__module__ == module and module.startswith(_WITH_CLASSES)


def _of_class(value: type) -> Iterator[tuple[object, str, str, object]]:
    for key, inner in list(vars(value).items()):
        said = f"{_named(value)}.{key}"
        if _counts(inner):
            yield value, key, said, inner
            yield from _of_function(inner)


def _of_function(value: object) -> Iterator[tuple[object, str, str, object]]:
    if isinstance(value, types.FunctionType):
        # By its own name, because a function is found in every module that imports it.
        own = f"{value.__module__}.{value.__qualname__}"
        for part in _FUNCTION_PARTS:
            yield value, part, own, getattr(value, part)


def _text(value: object) -> str:
    """A constant as text; of a dataclass and of what it holds, every field."""
    if is_dataclass(value) and not isinstance(value, type):
        # A dataclass with slots has no __dict__.
        held = {each.name: getattr(value, each.name, None) for each in fields(value)}
        return f"{type(value).__qualname__} {_text(held | getattr(value, '__dict__', {}))}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(_text, value))) + "}"
    return repr(value) if isinstance(value, str | int | float | bytes | Path | None) else ""
