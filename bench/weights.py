"""Weights: which file a name stands for, read without running anything, loaded strictly.

Published weights come as the authors left them: PyTorch pickles, MATLAB files of version 5 or 7.3,
safetensors. What was read once is kept as safetensors under `converted/` in the cache, named after
the hash of the original and of all that reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

import zoo
from bench import fetch, matlab
from bench.fetch import RemoteFile
from bench.folder import code_of
from bench.images import sha256_of
from bench.progress import Progress
from bench.result import write_whole
from zoo.errors import InputError, one_line
from zoo.method import Method, Weights

NONE = "none"
"""`METHOD@none`: a fresh initialisation, seeded."""
BUILT_IN = "built-in"
"""Default tag of a method whose `build` brings its own weights."""
SEED = 0
WRAPPINGS = ("state_dict", "model", "params", "params_ema")
"""Names under which training programs keep the state dict beside other things."""
_USUAL_SCALES = (2, 3, 4, 8)


@dataclass(frozen=True)
class Chosen:
    """The weights that one unit uses."""

    label: str
    """As results name them: a tag, a file's name, or '' for a method that has none."""
    sha256: str
    """Of a published file as much as its card gives."""
    file: RemoteFile | None = None
    card: Weights | None = None
    """Of a published file."""
    path: Path | None = None
    """Of a file of the user's own."""


def remote(card: Weights) -> RemoteFile:
    """The file of published weights: where it lies in the cache, and its public address.

    Raises:
        InputError: the card's origin, path or hash is none.
    """
    return RemoteFile(card.origin, card.path, card.sha256)


def choose(method: Method, tag: str, scale: int) -> Chosen:
    """The weights that `METHOD@tag` means at a scale; the tag '' means the paper's main table's.

    Raises:
        InputError: no such tag or file, not published at this scale, or nothing published.
    """
    published = {weights.tag: weights for weights in method.weights if weights.scale == scale}
    tags = sorted({weights.tag for weights in method.weights})
    tag = tag or method.default_weights
    if tag == NONE:
        return Chosen(tag, f"seed {SEED}")
    if tag == BUILT_IN:
        return Chosen(tag, _sha256_of(fresh(method, scale).state_dict()))
    if not tag:
        if next(fresh(method, scale).parameters(), None) is None:
            return Chosen("", "")
        raise InputError(
            f"{method.name} has no published weights; give {method.name}@FILE, or "
            f"{method.name}@{NONE} for a fresh initialisation"
        )
    if tag in published:
        card = published[tag]
        return Chosen(tag, card.sha256, remote(card), card)
    if tag in tags:
        scales = ", ".join(f"x{w.scale}" for w in method.weights if w.tag == tag)
        raise InputError(
            f"{method.name}@{tag} is published at {scales} only, not at x{scale}; choose a scale "
            f"or weights that exist"
        )
    path = Path(tag)
    if path.is_dir():
        raise InputError(f"{tag} is a folder, not weights; give the path of a file in it")
    if not path.is_file():
        offered = ", ".join([*tags, NONE])
        raise InputError(
            f"{method.name} has no weights {tag!r} and there is no such file; "
            f"choose from: {offered}, or the path of a file"
        )
    return Chosen(path.name, sha256_of(path), path=path)


def fresh(method: Method, scale: int, seed: int = SEED) -> nn.Module:
    """The method's module as `build` makes it from a seed; nothing is put around it.

    Raises:
        InputError: `build` fails, or gives no module.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = method.build(scale, method.settings)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{method.name}: build raised {one_line(error, 160)}; mend the method"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"{method.name}: build gave a {type(module).__name__}; expected a torch.nn.Module"
        )
    return module


def _sha256_of(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fetch_missing(method: Method, chosen: Chosen, progress: Progress) -> None:
    """Have the published file, if one was chosen, on this machine.

    Raises:
        FetchError: it cannot be had.
    """
    if chosen.file is not None:
        name = f"{method.name}@{chosen.label} {Path(chosen.file.path).name}"
        fetch.fetch_missing(name, [chosen.file], progress)


def build(method: Method, chosen: Chosen, scale: int, device: torch.device) -> nn.Module:
    """The method's module with its weights, fetched before, in evaluation mode, on the device.

    What the card wraps around the module is put there once the weights are in.

    Raises:
        InputError: the file is not what was published, cannot be read, or does not fit.
    """
    module = fresh(method, scale)
    path = fetch.local_path(chosen.file) if chosen.file is not None else chosen.path
    if path is not None:
        _load(module, method, chosen, scale, path)
    if method.wrap is not None:
        module = method.wrap(module)
    return module.eval().requires_grad_(False).to(device)


def _load(module: nn.Module, method: Method, chosen: Chosen, scale: int, path: Path) -> None:
    sha256 = sha256_of(path)
    if not sha256.startswith(chosen.sha256):
        raise InputError(
            f"{path} has changed: its SHA-256 is not {chosen.sha256[:12]}...; get it again"
        )
    place = _place_of_converted(method, scale, path, sha256)
    kept = _converted(place, sha256)
    if kept is not None:
        with contextlib.suppress(InputError):  # a method may build other layers than it did then
            load_strictly(module, kept, path, method.name)
            return
    state = _bare(read(path, method), module.state_dict())
    try:
        load_strictly(module, state, path, method.name)
    except InputError as error:
        raise InputError(f"{error}{_resemblance(state, method, scale)}") from None
    if place is not None:
        _keep(module, place, method, chosen, scale, path, sha256)


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
    state = _bare(state, wanted)
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


def _bare(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    prefix = "module."
    if not state or not all(key.startswith(prefix) for key in state):
        return state
    if any(key.startswith(prefix) for key in wanted):
        return state
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items()}


def _resemblance(state: Mapping[str, Tensor], method: Method, scale: int) -> str:
    """What weights that did not fit look like: another scale's, else another method's, else ''."""
    given = _shapes(state)
    if given == _outline(method, scale):
        return ""  # the fault is in the values
    for other in method.scales or _USUAL_SCALES:
        if other != scale and given == _outline(method, other):
            return f": these look like x{other} weights"
    alike = []
    for name in zoo.names():
        with contextlib.suppress(InputError):
            card = zoo.load(name)[0]
            if (not card.scales or scale in card.scales) and given == _outline(card, scale):
                alike.append(name)
    return f": these look like weights of {' or '.join(alike[:3])}" if alike else ""


def _outline(method: Method, scale: int) -> dict[str, torch.Size]:
    """The keys and shapes of a method's weights; nothing is allocated."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return _shapes(method.build(scale, method.settings).state_dict())
    except Exception:  # a hint only; what is wrong with a method is said where it is used
        return {}


# Kept as safetensors


def _place_of_converted(method: Method, scale: int, path: Path, sha256: str) -> Path | None:
    """Where the converted form of a file is kept; None where it needs none, or is no weights."""
    if path.suffix not in (".mat", ".pt", ".pth") or not method.source.is_file():
        return None
    facts = [
        method.name.replace("+", "", 1) if method.wrap else method.name,  # the same weights
        dict(method.settings),
        scale,
        [sha256_of(source) for source in code_of(method.source)],
        sha256_of(Path(__file__)),
    ]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return fetch.cache_folder() / "converted" / f"{sha256[:16]}-{key[:16]}.safetensors"


def _converted(place: Path | None, sha256: str) -> dict[str, Tensor] | None:
    """The weights that were kept for an original of this hash; None without, or if damaged."""
    if place is None or not place.is_file():
        return None
    try:
        with safetensors.safe_open(place, "pt") as file:
            facts = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except Exception:  # a damaged file makes the reader raise nearly anything
        return None
    whole = facts.get("tensors") == _sha256_of(dict(sorted(state.items())))
    return state if whole and facts.get("source sha256") == sha256 else None


def _keep(
    module: nn.Module,
    place: Path,
    method: Method,
    chosen: Chosen,
    scale: int,
    path: Path,
    sha256: str,
) -> None:
    """Keep a module's weights beside whose they are; a cache that cannot be written is left."""
    state = {
        key: value.detach().clone(memory_format=torch.contiguous_format)  # none may share memory
        for key, value in sorted(module.state_dict().items())
    }
    facts = {
        "method": method.name,
        "scale": str(scale),
        "origin": chosen.file.url if chosen.file else str(path),
        "source sha256": sha256,
        "licence": chosen.card.licence if chosen.card else "",
        "citation": chosen.card.citation if chosen.card else "",
        "tensors": _sha256_of(state),
    }
    with contextlib.suppress(InputError):
        write_whole({place: safetensors.torch.save(state, facts)})


# Reading


def read(path: Path, method: Method) -> dict[str, Tensor]:
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
