"""Weights: which file a name stands for, read without running anything, loaded strictly.

Published weights come as the authors left them: PyTorch pickles, MATLAB files of version 5 or 7.3,
safetensors. What was read once is kept as safetensors under `converted/` in the cache, named after
the hash of the original and of all that reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

import zoo
from bench.files import fetch
from bench.files.fetch import RemoteFile
from bench.files.identity import code_of
from bench.files.weight_file import load_strictly, read_state_dict, without_prefix
from bench.files.whole import sha256_of, write_whole
from bench.progress import Progress
from bench.protocol import SEED
from zoo.errors import InputError, one_line
from zoo.method import Method, Weights

NONE = "none"
"""`METHOD@none`: a fresh initialisation, seeded."""
BUILT_IN = "built-in"
"""Default tag of a method whose `build` brings its own weights."""
_USUAL_SCALES = (2, 3, 4, 8)


@dataclass(frozen=True)
class ResolvedWeights:
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


def of_tag(method: Method, tag: str, scale: int) -> ResolvedWeights:
    """The weights that `METHOD@tag` means at a scale; the tag '' means the paper's main table's.

    Raises:
        InputError: no such tag or file, not published at this scale, or nothing published.
    """
    published = {weights.tag: weights for weights in method.weights if weights.scale == scale}
    tags = sorted({weights.tag for weights in method.weights})
    tag = tag or method.default_weights
    if tag == NONE:
        return ResolvedWeights(tag, f"seed {SEED}")
    if tag == BUILT_IN:
        return ResolvedWeights(tag, _sha256_of(fresh(method, scale).state_dict()))
    if not tag:
        if next(fresh(method, scale).parameters(), None) is None:
            return ResolvedWeights("", "")
        raise InputError(
            f"{method.name} has no published weights; give {method.name}@FILE, or "
            f"{method.name}@{NONE} for a fresh initialisation"
        )
    if tag in published:
        card = published[tag]
        return ResolvedWeights(tag, card.sha256, remote(card), card)
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
    return ResolvedWeights(path.name, sha256_of(path), path=path)


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


def download(method: Method, chosen: ResolvedWeights, progress: Progress) -> None:
    """Have the published file, if one was chosen, on this machine.

    Raises:
        FetchError: it cannot be had.
    """
    if chosen.file is not None:
        name = f"{method.name}@{chosen.label} {Path(chosen.file.path).name}"
        fetch.fetch_missing(name, [chosen.file], progress)


def build(method: Method, chosen: ResolvedWeights, scale: int, device: torch.device) -> nn.Module:
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


def _load(
    module: nn.Module, method: Method, chosen: ResolvedWeights, scale: int, path: Path
) -> None:
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
    state = without_prefix(read_state_dict(path, method), module.state_dict())
    try:
        load_strictly(module, state, path, method.name)
    except InputError as error:
        raise InputError(f"{error}{_resemblance(state, method, scale)}") from None
    if place is not None:
        _keep(module, place, method, chosen, scale, path, sha256)


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
    chosen: ResolvedWeights,
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


def resolve(method: Method, tag: str, scale: int) -> ResolvedWeights:
    """The weights that a method uses at a scale, where it has the scale.

    Raises:
        InputError: it does not, or there are no such weights.
    """
    if scale < 2:
        raise InputError(f"scale {scale} does not enlarge; give an integer of at least 2")
    if method.scales and scale not in method.scales:
        scales = ", ".join(f"x{s}" for s in method.scales)
        raise InputError(f"{method.name} has no x{scale}; choose from: {scales}")
    return of_tag(method, tag, scale)
