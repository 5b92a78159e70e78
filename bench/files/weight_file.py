"""Weight files: read without running code in the file, and loaded strictly into a network.

Published weights come as PyTorch pickles, MATLAB files of version 5 or 7.3, safetensors, or NumPy
archives. A training program wraps the state dict in other things that it saves, and its wrappers
put prefixes before the names. Both are taken off, and said in `remarks`.
"""

from __future__ import annotations

import contextlib
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from bench.files import matlab, packed
from zoo.errors import InputError, listed, one_line, plain
from zoo.method import Method, located

PICKLES = (".pt", ".pth", ".ckpt", ".tar", ".bin")
"""Endings of files that `torch.save` writes; `.pth.tar` is one of them."""
SUFFIXES = (".safetensors", *PICKLES, ".npz", ".mat")
"""Endings of weight files."""
WRAPPINGS = (
    "state_dict",
    "model_state_dict",
    "model",
    "params",
    "ema",
    "net",
    "network",
    "generator",
    "net_g",
    "netG",
    "weights",
)
"""Keys of a file under which training programs save the state dict, also one inside another."""
PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "net_g.",
    "netG.",
    "generator.",
    "net.",
    "network.",
)
"""Prefixes that data-parallel training, `torch.compile` and the like put before every name."""
_COUNTER = "num_batches_tracked"
_DEEPEST = 4  # mappings one inside another that are searched for state dicts
_PROGRAMS = (
    ("TorchScript", "script", "constants.pkl"),
    ("torch.export", "exported", "archive_format"),
    ("torch.export", "exported", "serialized_exported_program.json"),  # by PyTorch before 2.8
)
"""Archives of whole networks: what writes them, a card's field for them, and a member's name."""
_REFUSED = re.compile(r"(?:GLOBAL|unrecognized function) ([\w.<>]+)")
"""How PyTorch's unpickler names the class or function that it refuses."""


class Reading(NamedTuple):
    """A state dict, with what was done to find it."""

    state: dict[str, Tensor]
    remarks: tuple[str, ...] = ()
    """Short clauses without "; ", for the note of every average."""


def is_named(name: str) -> bool:
    """Whether `FILE` or `FILE#KEY` has the ending of a weight file."""
    return located(name)[0].suffix.lower() in SUFFIXES


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], path: Path, name: str
) -> tuple[str, ...]:
    """Load a state dict into a module if all keys and shapes match and all values are finite.

    Args:
        module: receives the weights.
        state: name to tensor, of the shape in the module.
        path: the file, for the message.
        name: the method, for the message.

    Returns:
        Remarks: what was taken off the names.

    Raises:
        InputError: the state dict does not fit, and nothing was loaded. The exception is a module
            that refuses tensors of the right shapes: then do not use the module.
    """
    fit = fitting(module.state_dict(), state, path, name)
    try:
        module.load_state_dict(fit.state, strict=True)
    except RuntimeError as error:
        # PyTorch's message begins "Error(s) in loading state_dict for NAME:".
        reason = one_line(error, 300).partition(":")[2].partition(":")[2].strip()
        raise InputError(f"{path} does not fit {name}: {reason}; nothing was loaded") from error
    return fit.remarks


def fitting(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path, name: str
) -> Reading:
    """A state dict cast to the dtypes of `wanted`, with its keys and shapes, all values finite.

    Floats of any width are cast. Prefixes are taken off as `matched` does. PyTorch before 0.4.1
    saved no counters of batch normalisation (`num_batches_tracked`); missing ones are 0, as
    `load_state_dict` leaves them.

    Args:
        wanted: the network's state dict; may be on the meta device.
        state: name to tensor, as read from a file.
        path: the file, for the message.
        name: the network, for the message.

    Raises:
        InputError: a key is missing or surplus, or a tensor has another shape, another kind of
            number (float or not), or values that are not finite.
    """
    state, remarks = matched(state, wanted, path)
    state = _with_counters(state, wanted)
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
    return Reading(cast, remarks)


def _with_counters(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The state dict with a 0, int64 scalar, for each missing counter of batch normalisation."""
    counters = {
        key: torch.zeros((), dtype=torch.int64)
        for key in wanted
        if key.endswith(_COUNTER)
        and key not in state
        and f"{key.removesuffix(_COUNTER)}running_mean" in state
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


def matched(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> Reading:
    """The part of a state dict that is the network's, under the network's names.

    A prefix of names is taken off if the rest then has exactly the network's names and shapes.
    Tensors without the prefix belong to other networks, a discriminator for example, and are left
    out. If no prefix fits, the `PREFIXES` that all names share are taken off, so that the message
    of the misfit has the network's names. Shapes stay the same.

    Args:
        state: name to tensor, as read from a file.
        wanted: the network's state dict; may be on the meta device.
        path: the file, for the message.

    Raises:
        InputError: two parts of the file are this network.
    """
    if _with_counters(state, wanted).keys() == wanted.keys():
        return Reading(dict(state))
    name = next((key for key in wanted if not key.endswith(_COUNTER)), "")
    found = {}
    for key in state:
        prefix = key.removesuffix(name)
        if prefix != key and prefix.endswith("."):
            part = without_prefix(state, prefix)
            given = _with_counters(part, wanted)
            if _shapes(given) == _shapes(wanted):
                found[prefix] = part
    if len(found) > 1:
        raise InputError(
            f"{path} holds this network {len(found)} times, under "
            f"{listed([prefix[:-1] for prefix in found])}; choose one, for example "
            f"{path.name}#{next(iter(found))[:-1]}"
        )
    for prefix, part in found.items():
        return Reading(part, (_prefix_remark(prefix, state),))
    own = [prefix for prefix in PREFIXES if any(key.startswith(prefix) for key in wanted)]
    return without_common(state, own)


def without_common(state: Mapping[str, Tensor], own: Collection[str] = ()) -> Reading:
    """The state dict without the `PREFIXES` that all its names share; shapes stay the same.

    Args:
        state: name to tensor.
        own: prefixes that stay, because the network's own names have them.
    """
    names, taken = dict(state), ""
    usual = [prefix for prefix in PREFIXES if prefix not in own]
    while names and (
        prefix := next((p for p in usual if all(key.startswith(p) for key in names)), "")
    ):
        names, taken = without_prefix(names, prefix), taken + prefix
    return Reading(names, (_prefix_remark(taken, state),) if taken else ())


def without_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names have a prefix, without it; shapes stay the same."""
    return {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }


def part_of(state: Mapping[str, Tensor], prefix: str) -> Reading:
    """`without_prefix`, with what is said of it."""
    return Reading(without_prefix(state, prefix), (_prefix_remark(prefix, state),))


def _prefix_remark(prefix: str, state: Mapping[str, Tensor]) -> str:
    """What is said of a prefix that was taken off: how many tensors of which prefixes lack it."""
    others = Counter(key.partition(".")[0] for key in state if not key.startswith(prefix))
    out = listed([f"{count} of {plain(name)}" for name, count in others.items()], most=4)
    return f"prefix `{plain(prefix)}` stripped" + (f", tensors left out: {out}" if others else "")


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Name to shape of the tensors of a state dict."""
    return {key: value.shape for key, value in state.items()}


# Reading
def read_state_dict(
    path: Path, method: Method, *, key: str = "", verified: bool = False
) -> Reading:
    """The state dict of a weight file, in the method's layout; each tensor has the stored shape.

    Args:
        path: a file that ends as one of `SUFFIXES`.
        method: converts `.mat` files, and files with the layouts that the method names.
        key: chooses a state dict inside the file, as for `read_tensors`.
        verified: whether the file's hash is known, as a published file's is.

    Raises:
        InputError: the file is of another kind, damaged, or has no state dict.
    """
    if path.suffix.lower() != ".mat":
        read = read_tensors(path, key)
        if set(read.state) not in method.converts:
            return read
        with _explained(path):
            return Reading(_convert(read.state, method, path), read.remarks)
    if key:
        raise InputError(f"{path} has no state dicts to choose from; leave out #{key}")
    with _explained(path):
        return Reading(_convert(matlab.load(path, verified=verified), method, path))


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


def read_tensors(path: Path, key: str = "") -> Reading:
    """The state dict of a weight file other than `.mat`; each tensor has the stored shape.

    Nothing in the file is executed: a pickle may contain tensors and plain containers only. If a
    training program saved more than the state dict, the state dict is found by a key of
    `WRAPPINGS`. Of `params` and its moving average `params_ema`, the average is taken.

    Args:
        path: a file that ends as one of `SUFFIXES`, except `.mat`.
        key: path of keys to a state dict in the file, joined by dots, as `model.state_dict`. The
            last part may be a prefix that a network's names have. '' to find the state dict.

    Raises:
        InputError: the file is of another kind, damaged, has no state dict, or several.
    """
    suffix = path.suffix.lower()
    with _explained(path):
        if suffix == ".safetensors":
            return _state_dict(safetensors.torch.load_file(path), path, key)
        if suffix == ".npz":
            packed.check_zip(path)
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            # PyTorch knows this machine's order of bytes only.
            state = {
                name: torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
                for name, array in arrays.items()
            }
            return _state_dict(state, path, key)
        if suffix in PICKLES:
            packed.check_zip(path)
            _refuse_program(path)
            # weights_only: the unpickler refuses code.
            with torch.serialization.safe_globals(_BESIDE):
                loaded = torch.load(path, map_location="cpu", weights_only=True)
            return _state_dict(loaded, path, key)
    raise InputError(f"{path}: weights end in {listed(SUFFIXES, 9)}, not {path.suffix!r}")


class _Unread:
    """Stands for what training programs keep beside weights; nothing of it is made or called."""

    def __init__(self, *arguments: object) -> None:
        """The object of an unpickler, which gives the arguments of the real one."""

    def __setstate__(self, state: object) -> None:
        """The state is dropped."""


_BESIDE: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Unread, name)
    for name in (
        "argparse.Namespace",
        "numpy.dtype",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray.scalar",  # as NumPy 1 writes it
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "pathlib._local.PosixPath",  # as Python 3.13 writes it
        "pathlib._local.WindowsPath",
    )
]
"""Numbers of NumPy, arguments and paths, by the names that files give them."""


def _refuse_program(path: Path) -> None:
    """Refuse an archive that holds a network and not only its weights.

    Raises:
        InputError: the file is an archive of TorchScript or of `torch.export`.
    """
    try:
        with zipfile.ZipFile(path) as file:
            names = {name.rpartition("/")[2]: name for name in file.namelist()}
    except zipfile.BadZipFile:
        return
    for kind, field, mark in _PROGRAMS:
        if mark in names:
            raise InputError(
                f"{path} is an archive of {kind}, a network and not only weights; measure it as "
                f"-m {field}:{path}, or {field} = {str(path)!r} in a card"
            )


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """A context in which the readers' errors become InputErrors that name the file."""
    try:
        yield
    except pickle.UnpicklingError as error:
        found = _REFUSED.search(str(error))
        what = f"more than tensors, {found[1]}," if found else "more than tensors,"
        raise InputError(
            f"{path} holds {what} or is damaged; nothing of it was executed or loaded: save the "
            "state dict alone, torch.save(module.state_dict(), FILE)"
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


def _state_dict(loaded: Any, path: Path, key: str) -> Reading:
    """The state dict in a loaded file: the whole content, the chosen one, or the one to be found.

    Tensors have any shape.

    Raises:
        InputError: the file has no state dict, no such one, several, or one under an unknown key.
    """
    if key:
        return Reading(_chosen(loaded, path, key), (f"`{plain(key)}` taken",))
    if _is_state_dict(loaded):
        return Reading(dict(loaded))
    inner = dict(_inner(loaded))
    names = [plain(name) for name in inner]
    usual = [name for name in inner if _is_usual(name)]
    # Beside the weights, a training program keeps their moving average, which is to be used.
    raw = {_without_average(name) for name in usual if name != _without_average(name)}
    kept = [name for name in usual if name not in raw]
    if len(kept) == 1:
        state = inner.pop(kept[0])
        inner.pop(_without_average(kept[0]), None)
        # Another one of the same shapes might be meant as well.
        if not any(_shapes(other) == _shapes(state) for other in inner.values()):
            of = f", of {listed(names, 5)}" if len(names) > 1 else ""
            return Reading(state, (f"`{plain(kept[0])}` taken{of}",))
    if names:
        raise InputError(
            f"{path} holds state dicts under {listed(names, 5)}; choose one, for example "
            f"{path.name}#{names[0]}"
        )
    raise InputError(f"{path} is no state dict of names and tensors; save module.state_dict()")


def _is_usual(name: str) -> bool:
    """Whether a path of keys consists of `WRAPPINGS` or their moving averages."""
    return all(part in WRAPPINGS for part in _without_average(name).split("."))


def _without_average(name: str) -> str:
    """The key of the weights whose moving average is under a key; the key itself if none is."""
    return ".".join(re.sub(r"[-_]ema$", "", part) for part in name.split("."))


def _inner(
    loaded: Any, before: str = "", depth: int = 1
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The state dicts inside a mapping by the path of their keys, joined by dots.

    A mapping that holds tensors itself is searched no further; its numbers are no such tensors.
    """
    if not isinstance(loaded, Mapping) or depth > _DEEPEST:
        return
    if any(isinstance(value, Tensor) and value.ndim for value in loaded.values()):
        return
    for key, value in loaded.items():
        if not isinstance(key, str):
            continue
        if _is_state_dict(value):
            yield f"{before}{key}", dict(value)
        else:
            yield from _inner(value, f"{before}{key}.", depth + 1)


def _chosen(loaded: Any, path: Path, key: str) -> dict[str, Tensor]:
    """The state dict in a loaded file under a path of keys, of which the last may be a prefix.

    Raises:
        InputError: there is none; the message names those that the file has.
    """
    waiting: list[tuple[Any, str]] = [(loaded, key)]
    while waiting:
        value, rest = waiting.pop()
        if _is_state_dict(value):
            part = without_prefix(value, f"{rest}.") if rest else dict(value)
            if part:
                return part
        elif isinstance(value, Mapping):
            for name, inner in value.items():
                if isinstance(name, str) and (rest == name or rest.startswith(f"{name}.")):
                    waiting.append((inner, rest.removeprefix(name).removeprefix(".")))
    names = [*dict(_inner(loaded))]
    if _is_state_dict(loaded):
        names = list(dict.fromkeys(name.partition(".")[0] for name in loaded if "." in name))
    there = f"choose from: {listed([plain(name) for name in names])}" if names else "leave it out"
    raise InputError(f"{path} has no state dict {plain(key)}; {there}")
