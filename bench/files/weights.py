"""Weights of a method: from the name `METHOD@WEIGHTS` to the file and the loaded module.

Published weights keep the authors' formats: PyTorch pickles, MATLAB files of version 5 or 7.3,
safetensors. They are converted in memory at each load, so that no file but the original, which is
known by its hash, decides the weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor, nn

import zoo
from bench.files import fetch
from bench.files.fetch import RemoteFile
from bench.files.identity import is_own
from bench.files.weight_file import load_strictly, matched, read_state_dict
from bench.files.whole import sha256_of
from bench.progress import Progress
from bench.protocol import SEED
from zoo.errors import InputError, one_line, spelled
from zoo.method import SCALE, Method, Weights, at_scale, located

NONE = "none"
"""Tag of a fresh initialisation from a seed, as in `METHOD@none`."""
BUILT_IN = "built-in"
"""Default tag of a method whose `build` returns a module with weights."""
_USUAL_SCALES = (2, 3, 4, 8)
"""Scales to try for a hint, if a method accepts any scale."""


@dataclass(frozen=True)
class ResolvedWeights:
    """The weights that a method uses at a scale."""

    label: str
    """The name in results: a tag, a file's name, or '' for a method without weights."""
    sha256: str
    """In hex; for a published file as many first digits as the card states."""
    file: RemoteFile | None = None
    card: Weights | None = None
    """The card of a published file."""
    path: Path | None = None
    """The path of the user's own file."""
    key: str = ""
    """The state dict inside the user's own file, as in `FILE#params`; '' to find it."""

    def read_again(self) -> ResolvedWeights:
        """The same weights, with the hash that their file has now.

        Raises:
            InputError: the file cannot be read.
        """
        path = fetch.local_path(self.file) if self.file is not None else self.path
        if path is None:
            return self
        try:
            found = sha256_of(path)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; get it again") from error
        # A card may state only the first digits.
        return self if found.startswith(self.sha256) else replace(self, sha256=found)


def remote(card: Weights) -> RemoteFile:
    """The remote file of published weights.

    Raises:
        InputError: the card's origin, path or hash is not valid.
    """
    return RemoteFile(card.origin, card.path, card.sha256)


def of_tag(method: Method, tag: str, scale: int) -> ResolvedWeights:
    """The weights that `METHOD@tag` means at a scale.

    Args:
        method: the method.
        tag: a tag of published weights, `none`, `built-in`, or the path of a file, in which
            `{scale}` stands for the scale, and after which `#KEY` may choose a state dict in the
            file. The empty tag means the method's default, the weights of the paper's main table.
        scale: the enlargement.

    Raises:
        InputError: no tag or file has this name, the weights are not published at this scale, or
            the method has no published weights.
    """
    published = {weights.tag: weights for weights in method.weights if weights.scale == scale}
    tags = sorted({weights.tag for weights in method.weights})
    is_default = tag in ("", method.default_weights)
    tag = tag or method.default_weights
    if method.opener is not None and not is_default:
        raise InputError(
            f"{method.name} is a file that holds its own weights; leave out @{tag}, or name "
            "another file as the method"
        )
    if tag == NONE:
        return ResolvedWeights(tag, f"seed {SEED}")
    if tag == BUILT_IN:
        return ResolvedWeights(tag, _sha256_of(fresh(method, scale).state_dict()))
    if not tag:
        if not has_parameters(method, scale):  # an interpolation, for example
            return ResolvedWeights("", "")
        raise InputError(
            f"{method.name} has no published weights; add @FILE to its name, or @{NONE} for a "
            "fresh initialisation"
        )
    if tag in published:
        card = published[tag]
        return ResolvedWeights(tag, card.sha256, remote(card), card)
    if tag in tags:
        scales = ", ".join(f"x{w.scale}" for w in method.weights if w.tag == tag)
        raise InputError(
            f"{method.name}@{tag} is published at {scales} only, not at x{scale}; choose another "
            f"scale or other weights"
        )
    path, key = located(at_scale(tag, scale))
    if path.is_dir():
        raise InputError(f"{path} is a folder, not weights; give the path of a file in it")
    if not path.is_file():
        if SCALE in tag:
            raise InputError(
                f"{method.name}: no file {str(path)!r} for x{scale}; give another scale"
            )
        if is_default and method.default_weights:
            raise InputError(f"{method.name}: no file {str(path)!r}; {_hint_for(path)}")
        offered = ", ".join([*tags, NONE])
        raise InputError(
            f"{method.name} has no weights {tag!r} and there is no such file; "
            f"choose from: {offered}, or the path of a file"
        )
    if path.suffix == ".safetensors" and spelled(tag) != tag:
        raise InputError(f"{tag}: safetensors opens only paths that are UTF-8; rename the file")
    # A method that is known by a name of the user's own needs no name for its weights.
    label = "" if is_default else spelled(located(tag)[0].name)
    label += f"#{spelled(key)}" if label and key else ""
    return ResolvedWeights(label, sha256_of(path), path=path, key=key)


def _hint_for(path: Path) -> str:
    """What to give instead of a file of weights that does not exist."""
    if re.search(r"[:,]\w+=", path.name):
        return "settings stand before the @, as NAME:KEY=VALUE@FILE"
    if not path.parent.is_dir():
        return f"there is no folder {str(path.parent)!r} either; give a path that exists"
    try:
        close = get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1)
    except OSError:
        close = []
    hint = f"did you mean {spelled(str(path.parent / close[0]))!r}? " if close else ""
    return f"{hint}give a path that exists"


def fresh(method: Method, scale: int, seed: int = SEED) -> nn.Module:
    """The method's module, as `build` makes the module with a seed; `wrap` is not applied.

    Raises:
        InputError: `build` raises an exception, or returns no module.
    """
    try:
        with torch.random.fork_rng(devices=[]):  # leaves the caller's random numbers unchanged
            torch.manual_seed(seed)
            module = method.build(scale, method.settings)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{method.name}: build raised {one_line(error, 160)}; fix the method"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"{method.name}: build gave a {type(module).__name__}; expected a torch.nn.Module"
        )
    return module


def built(method: Method, scale: int) -> str:
    """SHA-256, in hex, of what `build` puts into a module; '' for a method of this project.

    All parameters and buffers count, persistent or not. The code of this project's methods decides
    their values, and the code has a hash already; the user's own `build` may read files.

    Raises:
        InputError: `build` raises an exception, or returns no module.
    """
    if is_own(method.source) or method.opener is not None:
        return ""
    module = fresh(method, scale)
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    return _sha256_of(dict(sorted(state.items())))


def of_costs(method: Method, scale: int) -> ResolvedWeights:
    """Weights for costs that no weight's value changes: fresh ones, or the method's own file.

    Raises:
        InputError: as `resolve`.
    """
    return resolve(method, "" if method.opener is not None else NONE, scale)


def has_parameters(method: Method, scale: int) -> bool:
    """Whether the method's module has any, so that the setting of a network applies to it.

    Raises:
        InputError: `build` raises an exception, or returns no module.
    """
    if method.opener is not None:
        return True
    return next(fresh(method, scale).parameters(), None) is not None


def _sha256_of(state: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, of names, shapes, dtypes and values of tensors of any shape."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def download(method: Method, chosen: ResolvedWeights, progress: Progress) -> None:
    """Download the published file, unless the weights are not published or are here already.

    Raises:
        FetchError: the file cannot be downloaded.
    """
    if chosen.file is not None:
        name = f"{method.name}@{chosen.label} {Path(chosen.file.path).name}"
        fetch.fetch_missing(name, [chosen.file], progress)


def build(method: Method, chosen: ResolvedWeights, scale: int, device: torch.device) -> nn.Module:
    """The method's module with weights, in evaluation mode, on the device.

    Published weights must have been downloaded before. The method's `wrap` is applied after the
    weights are loaded. The module's attribute `remarks`, a tuple of clauses, says what was done to
    find the weights in the user's own file, after the remarks that the module itself has.

    Raises:
        InputError: the file has another hash, cannot be read, or does not fit the module.
    """
    path = fetch.local_path(chosen.file) if chosen.file is not None else chosen.path
    if path is not None:
        _refuse_changed(path, chosen)
    said: tuple[str, ...] = ()
    if method.opener is not None and path is not None:
        module = method.opener(path, scale)
    else:
        module = fresh(method, scale)
        if path is not None:
            said = _load(module, method, chosen, scale, path)
    if method.wrap is not None:
        module = method.wrap(module)
    vars(module)["remarks"] = (*getattr(module, "remarks", ()), *said)
    return module.eval().requires_grad_(False).to(device)


def _refuse_changed(path: Path, resolved: ResolvedWeights) -> None:
    """Refuse a file that changed since its hash was taken.

    Raises:
        InputError: the file has another hash.
    """
    if not sha256_of(path).startswith(resolved.sha256):
        raise InputError(
            f"{path} has changed: its SHA-256 is not {resolved.sha256[:12]}...; get it again"
        )


def _load(
    module: nn.Module, method: Method, resolved: ResolvedWeights, scale: int, path: Path
) -> tuple[str, ...]:
    """Load a file into a module, and return what was done to find the weights in the file.

    Nothing is said of a published file: its hash is known, and so is what is in it.

    Raises:
        InputError: the file cannot be read, or does not fit the module.
    """
    published = resolved.card is not None
    read = read_state_dict(path, method, key=resolved.key, verified=published)
    state, stripped = matched(read.state, module.state_dict(), path)
    try:
        load_strictly(module, state, path, method.name)
    except InputError as error:
        raise InputError(f"{error}{_resemblance(state, method, scale)}") from None
    return () if published else read.remarks + stripped


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Name to shape of the tensors of a state dict."""
    return {key: value.shape for key, value in state.items()}


def _resemblance(state: Mapping[str, Tensor], method: Method, scale: int) -> str:
    """A hint about weights that did not fit: shapes of another scale, of another method, or ''."""
    given = _shapes(state)
    if given == _outline(method, scale):
        return ""  # the fault is in the values
    for other in method.scales or _USUAL_SCALES:
        if other != scale and given == _outline(method, other):
            return f": these look like x{other} weights"
    found = alike(state, scale)
    return f": these look like weights of {' or '.join(found[:3])}" if found else ""


def alike(state: Mapping[str, Tensor], scale: int) -> list[str]:
    """Names of this project's methods, at a scale, whose weights have these names and shapes."""
    given, found = _shapes(state), []
    for name in zoo.names():
        with contextlib.suppress(InputError):
            card = zoo.load(name)[0]
            if (not card.scales or scale in card.scales) and given == _outline(card, scale):
                found.append(name)
    return found


def _outline(method: Method, scale: int) -> dict[str, torch.Size]:
    """Keys and shapes of a method's weights, found on the meta device without allocating memory."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return _shapes(method.build(scale, method.settings).state_dict())
    except Exception:  # only a hint is lost; using a broken method gives the error message
        return {}


def resolve(method: Method, tag: str, scale: int) -> ResolvedWeights:
    """The weights that `METHOD@tag` means at a scale, after a check of the scale.

    Args:
        method: the method.
        tag: as for `of_tag`.
        scale: the enlargement.

    Raises:
        InputError: the method does not have the scale, or the weights do not exist.
    """
    if scale < 2:
        raise InputError(f"scale {scale} does not enlarge; give an integer of at least 2")
    if method.scales and scale not in method.scales:
        scales = ", ".join(f"x{s}" for s in method.scales)
        raise InputError(f"{method.name} has no x{scale}; choose from: {scales}")
    return of_tag(method, tag, scale)
