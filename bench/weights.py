"""Weights: which file a name stands for, read without running anything, loaded strictly."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import scipy.io
import torch
from torch import Tensor, nn

from bench import fetch
from bench.fetch import RemoteFile
from bench.images import sha256_of
from bench.progress import Progress
from zoo.errors import InputError, one_line
from zoo.method import Method

NONE = "none"
"""`METHOD@none`: a fresh initialisation, seeded."""
BUILT_IN = "built-in"
"""Default tag of a method whose `build` brings its own weights."""
SEED = 0


@dataclass(frozen=True)
class Chosen:
    """The weights that one unit uses."""

    label: str
    """As results name them: a tag, a file's name, or '' for a method that has none."""
    sha256: str
    file: RemoteFile | None = None
    path: Path | None = None


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
        return Chosen(tag, _sha256_of_state(fresh(method, scale)))
    if not tag:
        if next(fresh(method, scale).parameters(), None) is None:
            return Chosen("", "")
        raise InputError(
            f"{method.name} has no published weights; give {method.name}@FILE, or "
            f"{method.name}@{NONE} for a fresh initialisation"
        )
    if tag in published:
        weights = published[tag]
        return Chosen(tag, weights.sha256, RemoteFile(weights.origin, weights.path, weights.sha256))
    if tag in tags:
        scales = ", ".join(f"x{w.scale}" for w in method.weights if w.tag == tag)
        raise InputError(
            f"{method.name}@{tag} is published at {scales} only, not at x{scale}; choose a scale "
            f"or weights that exist"
        )
    path = Path(tag)
    if not path.is_file():
        offered = ", ".join([*tags, NONE])
        raise InputError(
            f"{method.name} has no weights {tag!r} and there is no such file; "
            f"choose from: {offered}, or the path of a file"
        )
    return Chosen(path.name, sha256_of(path), path=path)


def fresh(method: Method, scale: int) -> nn.Module:
    """The method's module as `build` makes it, seeded.

    Raises:
        InputError: `build` fails, or gives no module.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
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


def _sha256_of_state(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
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

    Raises:
        InputError: the file is not what was published, cannot be read, or does not fit.
    """
    module = fresh(method, scale)
    path = fetch.local_path(chosen.file) if chosen.file is not None else chosen.path
    if path is not None:
        if sha256_of(path) != chosen.sha256:
            raise InputError(
                f"{path} has changed: its SHA-256 is not {chosen.sha256[:12]}...; get it again"
            )
        load_strictly(module, read(path, method), path, method.name)
    return module.eval().requires_grad_(False).to(device)


def read(path: Path, method: Method) -> dict[str, Tensor]:
    """State dict of a `.safetensors`, `.pt` or `.pth` file, or of the authors' `.mat`.

    Nothing in the file is executed: a pickle may hold tensors and plain containers only.

    Raises:
        InputError: not such a file, damaged, or holding anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix in (".pt", ".pth"):
            return _state_dict(torch.load(path, map_location="cpu", weights_only=True), path)
        if path.suffix == ".mat":
            return _converted(path, method)
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
    raise InputError(f"{path}: weights end in .safetensors, .pt, .pth or .mat, not {path.suffix!r}")


def _converted(path: Path, method: Method) -> dict[str, Tensor]:
    if method.convert is None:
        raise InputError(f"{method.name} reads no .mat files; give .safetensors, .pt or .pth")
    arrays = scipy.io.loadmat(path)
    try:
        return method.convert({k: v for k, v in arrays.items() if not k.startswith("__")})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
    ):
        raise InputError(f"{path} is no state dict of names and tensors; save module.state_dict()")
    return dict(loaded)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Put a state dict into a module: every key, every shape, finite values; or nothing.

    Raises:
        InputError: it does not fit; the module is unchanged.
    """
    wanted = module.state_dict()
    faults = [
        *(f"missing {key}" for key in wanted if key not in state),
        *(f"surplus {key}" for key in state if key not in wanted),
        *(
            f"{key} is {tuple(state[key].shape)}, expected {tuple(wanted[key].shape)}"
            for key in wanted
            if key in state and state[key].shape != wanted[key].shape
        ),
        *(
            f"{key} holds NaN or infinity"
            for key in wanted
            if key in state and not bool(state[key].isfinite().all())
        ),
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            f"{path} does not fit {name}: {'; '.join(faults[:3])}{more}; nothing was loaded"
        )
    module.load_state_dict(dict(state), strict=True)
