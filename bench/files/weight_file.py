"""Weight files: read without running anything in them, and loaded strictly into a network.

Published weights come as PyTorch pickles, MATLAB files of version 5 or 7.3, or safetensors.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from bench.files import matlab
from zoo.errors import InputError, one_line
from zoo.method import Method

WRAPPINGS = ("state_dict", "model", "params", "params_ema")
"""Names under which training programs keep the state dict beside other things."""


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Put a state dict into a module: every key, every shape, finite values; or nothing.

    Raises:
        InputError: it does not fit. Where the module itself refuses what fits by shape, it is not
            to be used.
    """
    fit = fitting(module.state_dict(), state, path, name)
    try:
        module.load_state_dict(fit, strict=True)
    except RuntimeError as error:
        reason = one_line(error, 300).partition(":")[2].partition(":")[2].strip()
        raise InputError(f"{path} does not fit {name}: {reason}; nothing was loaded") from error


def fitting(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path, name: str
) -> dict[str, Tensor]:
    """A state dict in the dtypes of `wanted`, whose keys and shapes it has, all values finite.

    Floats of any width are cast. The prefix `module.` that data-parallel training leaves is taken
    off where every key has it. `wanted` may be on the meta device.

    Raises:
        InputError: it does not fit `name`.
    """
    state = without_prefix(state, wanted)
    faults = [
        *(f"missing {key}" for key in wanted if key not in state),
        *(f"surplus {key}" for key in state if key not in wanted),
    ]
    cast = {}
    for key in wanted:
        if key in state:
            cast[key], fault = _as(state[key], wanted[key])
            faults += [f"{key} {fault}"] * bool(fault)
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            f"{path} does not fit {name}: {'; '.join(faults[:3])}{more}; nothing was loaded"
        )
    return cast


def _as(given: Tensor, wanted: Tensor) -> tuple[Tensor, str]:
    """A tensor in another's dtype, and why it cannot stand in its place, '' where it can."""
    if given.shape != wanted.shape:
        return given, f"is {tuple(given.shape)}, expected {tuple(wanted.shape)}"
    if given.layout != torch.strided or given.is_quantized or given.is_meta:
        return given, "is no plain tensor; save it dense and not quantised"
    if given.dtype != wanted.dtype and not (
        given.is_floating_point() and wanted.is_floating_point()
    ):
        return given, f"holds {_word(given)}, expected {_word(wanted)}"
    given = given.detach().to(wanted.dtype)
    if given.is_floating_point() and not bool(given.isfinite().all()):
        return given, f"holds NaN or infinity in {_word(given)}"
    return given, ""


def _word(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def without_prefix(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The state dict without the prefix `module.` that data-parallel training puts on every key.

    Unchanged where some key lacks the prefix, or where the network's own keys have it.
    """
    prefix = "module."
    if not state or not all(key.startswith(prefix) for key in state):
        return state
    if any(key.startswith(prefix) for key in wanted):
        return state
    return {key.removeprefix(prefix): value for key, value in state.items()}


# Reading
def read_state_dict(path: Path, method: Method) -> dict[str, Tensor]:
    """State dict of a `.safetensors`, `.pt` or `.pth` file, or of another layout that is converted.

    Nothing in the file is executed: a pickle may hold tensors and plain containers only. Of what a
    training program saved, the state dict under one of `WRAPPINGS` is taken, if it is the only one.

    Raises:
        InputError: not such a file, damaged, or holding anything else.
    """
    with _explained(path):
        if path.suffix == ".mat":
            return _convert(matlab.load(path), method, path)
        state = read_tensors(path)
        return _convert(state, method, path) if set(state) in method.converts else state


def _convert(arrays: Mapping[str, Any], method: Method, path: Path) -> dict[str, Tensor]:
    """Another layout's arrays as the method's state dict."""
    if method.convert is None:
        raise InputError(f"{method.name} reads no .mat files; give .safetensors, .pt or .pth")
    try:
        return method.convert(arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """State dict of a `.safetensors`, `.pt` or `.pth` file, as `read` gives it.

    Raises:
        InputError: not such a file, damaged, or holding anything else.
    """
    with _explained(path):
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix in (".pt", ".pth"):
            return _state_dict(torch.load(path, map_location="cpu", weights_only=True), path)
    raise InputError(f"{path}: weights end in .safetensors, .pt, .pth or .mat, not {path.suffix!r}")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors, or is damaged; nothing of it was executed or "
            f"loaded: give a plain state dict"
        ) from error
    except InputError:
        raise
    except Exception as error:  # a damaged file makes the readers raise nearly anything
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path} cannot be read as weights: {reason}; get it again") from error


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(x, Tensor) for key, x in value.items())
    )


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    if _is_state_dict(loaded):
        return dict(loaded)
    inner = []
    if isinstance(loaded, Mapping) and not any(isinstance(x, Tensor) for x in loaded.values()):
        inner = [str(key) for key, value in loaded.items() if _is_state_dict(value)]
    if len(inner) > 1:
        raise InputError(
            f"{path} holds several state dicts: {', '.join(inner[:5])}; save the one that is meant"
        )
    if inner and inner[0] in WRAPPINGS:
        return dict(loaded[inner[0]])
    raise InputError(f"{path} is no state dict of names and tensors; save module.state_dict()")
