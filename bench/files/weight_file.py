"""Weight files: read without running code in the file, and loaded strictly into a network.

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

from bench.files import matlab, packed
from zoo.errors import InputError, one_line
from zoo.method import Method

WRAPPINGS = ("state_dict", "model", "params", "params_ema")
"""Keys of a file under which training programs save the state dict."""


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Load a state dict into a module if all keys and shapes match and all values are finite.

    Args:
        module: receives the weights.
        state: name to tensor, of the shape in the module.
        path: the file, for the message.
        name: the method, for the message.

    Raises:
        InputError: the state dict does not fit, and nothing was loaded. The exception is a module
            that refuses tensors of the right shapes: then do not use the module.
    """
    fit = fitting(module.state_dict(), state, path, name)
    try:
        module.load_state_dict(fit, strict=True)
    except RuntimeError as error:
        # PyTorch's message begins "Error(s) in loading state_dict for NAME:".
        reason = one_line(error, 300).partition(":")[2].partition(":")[2].strip()
        raise InputError(f"{path} does not fit {name}: {reason}; nothing was loaded") from error


def fitting(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path, name: str
) -> dict[str, Tensor]:
    """A state dict cast to the dtypes of `wanted`, with its keys and shapes, all values finite.

    Floats of any width are cast. The prefix `module.` of data-parallel training is removed if every
    key has the prefix. PyTorch before 0.4.1 saved no counters of batch normalisation
    (`num_batches_tracked`); missing ones are 0, as `load_state_dict` leaves them.

    Args:
        wanted: the network's state dict; may be on the meta device.
        state: name to tensor, as read from a file.
        path: the file, for the message.
        name: the network, for the message.

    Raises:
        InputError: a key is missing or surplus, or a tensor has another shape, another kind of
            number (float or not), or values that are not finite.
    """
    state = _with_counters(without_prefix(state, wanted), wanted)
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


def _with_counters(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The state dict with a 0, int64 scalar, for each missing counter of batch normalisation."""
    counters = {
        key: torch.zeros((), dtype=torch.int64)
        for key in wanted
        if key.endswith("num_batches_tracked")
        and key not in state
        and f"{key.removesuffix('num_batches_tracked')}running_mean" in state
    }
    return {**state, **counters} if counters else state


def _as(given: Tensor, wanted: Tensor) -> tuple[Tensor, str]:
    """A tensor cast to the dtype of `wanted`, and the fault; '' if the tensor fits.

    Args:
        given: a tensor of any shape, from a file.
        wanted: the network's tensor; `given` must have the same shape.
    """
    if given.shape != wanted.shape:
        return given, f"is {tuple(given.shape)}, expected {tuple(wanted.shape)}"
    if given.layout != torch.strided or given.is_quantized or given.is_meta:
        return given, "is no plain tensor; save it dense and not quantised"
    if given.dtype != wanted.dtype and not (
        given.is_floating_point() and wanted.is_floating_point()
    ):
        return given, f"holds {_word(given)}, expected {_word(wanted)}"
    # Checked after the cast, because a float64 value may overflow in float32.
    given = given.detach().to(wanted.dtype)
    if given.is_floating_point() and not bool(given.isfinite().all()):
        return given, f"holds NaN or infinity in {_word(given)}"
    return given, ""


def _word(tensor: Tensor) -> str:
    """The dtype of a tensor of any shape, for example `float32`."""
    return str(tensor.dtype).removeprefix("torch.")


def without_prefix(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The state dict without the prefix `module.`, which data-parallel training adds to each key.

    The result is the same state dict if a key lacks the prefix, or if the network's own keys have
    the prefix. The shape of each tensor stays the same.
    """
    prefix = "module."
    if not state or not all(key.startswith(prefix) for key in state):
        return state
    if any(key.startswith(prefix) for key in wanted):
        return state
    return {key.removeprefix(prefix): value for key, value in state.items()}


# Reading
def read_state_dict(path: Path, method: Method, *, verified: bool = False) -> dict[str, Tensor]:
    """The state dict of a weight file, in the method's layout; each tensor has the stored shape.

    Nothing in the file is executed: a pickle may contain tensors and plain containers only. If a
    training program saved more than the state dict, the state dict is found by a key of
    `WRAPPINGS`; there must not be a second state dict.

    Args:
        path: a `.safetensors`, `.pt`, `.pth` or `.mat` file.
        method: converts `.mat` files, and files with the layouts that the method names.
        verified: whether the file's hash is known, as a published file's is.

    Raises:
        InputError: the file is of another kind, damaged, or has no state dict.
    """
    with _explained(path):
        if path.suffix == ".mat":
            return _convert(matlab.load(path, verified=verified), method, path)
        state = read_tensors(path)
        return _convert(state, method, path) if set(state) in method.converts else state


def _convert(arrays: Mapping[str, Any], method: Method, path: Path) -> dict[str, Tensor]:
    """The method's state dict, made from arrays of any shape in another layout.

    Raises:
        InputError: the method converts no files, or not this layout.
    """
    if method.convert is None:
        raise InputError(f"{method.name} reads no .mat files; give .safetensors, .pt or .pth")
    try:
        return method.convert(arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict of a `.safetensors`, `.pt` or `.pth` file; each tensor has the stored shape.

    Raises:
        InputError: the file is of another kind, damaged, or has no state dict.
    """
    with _explained(path):
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix in (".pt", ".pth"):
            packed.check_zip(path)
            # weights_only: the unpickler refuses code.
            return _state_dict(torch.load(path, map_location="cpu", weights_only=True), path)
    raise InputError(f"{path}: weights end in .safetensors, .pt, .pth or .mat, not {path.suffix!r}")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """A context in which the readers' errors become InputErrors that name the file."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors, or is damaged; nothing of it was executed or "
            f"loaded: give a plain state dict"
        ) from error
    except InputError:
        raise
    except Exception as error:  # for a damaged file, the readers may raise almost any exception
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path} cannot be read as weights: {reason}; get it again") from error


def _is_state_dict(value: Any) -> bool:
    """Whether a value is a mapping, not empty, of names to tensors."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(x, Tensor) for key, x in value.items())
    )


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in a loaded file: the file's whole content, or the only state dict by key.

    Tensors have any shape.

    Raises:
        InputError: the file has no state dict, several, or a single one under an unknown key.
    """
    if _is_state_dict(loaded):
        return dict(loaded)
    inner = []
    if isinstance(loaded, Mapping) and not any(isinstance(x, Tensor) for x in loaded.values()):
        inner = [str(key) for key, value in loaded.items() if _is_state_dict(value)]
    if len(inner) > 1:
        raise InputError(
            f"{path} holds several state dicts: {', '.join(inner[:5])}; save only one of them"
        )
    if inner and inner[0] in WRAPPINGS:
        return dict(loaded[inner[0]])
    raise InputError(f"{path} is no state dict of names and tensors; save module.state_dict()")
