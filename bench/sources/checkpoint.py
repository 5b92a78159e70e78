"""Checkpoints: architecture, scale, channels and sizes are found from a state dict, by spandrel.

The file is read by this project's reader, which executes nothing. spandrel then gets the tensors.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils._python_dispatch import TorchDispatchMode

from bench.files import packed, weight_file
from bench.files.weights import alike
from bench.runtimes.absent import standing_in
from bench.sources.card import Card
from bench.sources.probe import probe
from zoo.errors import InputError, listed, one_line, plain
from zoo.method import SCALE, Channels, Method, located

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor, SizeRequirements

FIELD = "checkpoint"
SUFFIXES = (".pth", ".pt", ".ckpt", ".tar", ".safetensors", ".bin", ".npz")
EXTRA = "checkpoints"
MODULES = ("spandrel",)
EXAMPLE = "net_x4.pth"

_CHANNELS: Mapping[int, Channels] = {1: "luma", 3: "RGB"}
_SCALES = (2, 3, 4, 8)
"""Scales to look for networks of this project that fit."""
_INDICES = 16
"""Layers that a network may have for each tensor of the file; activations have no tensor."""


def method(card: Card) -> Method:
    """The method of a card with a checkpoint.

    Raises:
        InputError: the file holds no state dict, or none of a network for super-resolution that
            spandrel knows, or the card says something else than the file.
    """
    scales = card.scales_found()
    path, key = located(str(card.path((card.scales or scales or (0,))[0])))
    found = _detected(path, key)
    channels = _CHANNELS[found.input_channels]
    if card.channels not in ("", channels):
        raise InputError(
            f"{card.label}: channels is {card.channels}, but {path.name} takes {channels}; leave "
            "channels out"
        )
    if card.takes == "interpolated":
        raise InputError(f"{card.label}: {path.name} takes LR; leave takes out")
    _refuse_misfit(found, path)
    made = card.method(channels, scales=scales or (found.scale,))
    return replace(
        made,
        citation=card.citation or _description(found),
        opener=partial(_opened, key=key),
        default_weights=str(card.folder / card.source),
        libraries=("spandrel",),
        source=Path(__file__),
    )


def _opened(path: Path, scale: int, key: str) -> nn.Module:
    """The network of a file, with its weights.

    Raises:
        InputError: as `method`, or the network enlarges by another scale.
    """
    read = _read(path, key)
    found, said = _of_tensors(read.state, path)
    if found.scale != scale:
        raise InputError(
            f"{path} is {_description(found)} for x{found.scale}, not for x{scale}; give -s "
            f"{found.scale}, or a name with {SCALE}"
        )
    return Detected(found, (*read.remarks, *said, f"found by spandrel: {_description(found)}"))


def _detected(path: Path, key: str) -> ImageModelDescriptor[nn.Module]:
    return _of_tensors(_read(path, key).state, path)[0]


def _refuse_misfit(found: ImageModelDescriptor[nn.Module], path: Path) -> None:
    """Run a network on a small image, and refuse it if it does not do what spandrel says of it.

    Raises:
        InputError: it fails, enlarges by another scale, or its output depends on chance.
    """
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        factor = probe(Detected(found, ()), str(path), _CHANNELS[found.input_channels]).factor
        drew = not torch.equal(torch.get_rng_state(), before)
    if factor != found.scale:
        raise InputError(
            f"{path} is {_description(found)} and enlarges by {factor}, where spandrel says "
            f"{found.scale}; give -m FILE.py:Net@{path}"
        )
    if drew:
        raise InputError(
            f"{path} is {_description(found)}, which draws random numbers for each image; give a "
            "network whose output is the same each time"
        )


class Detected(nn.Module):
    """A network that spandrel built, in evaluation mode.

    LR is padded to the sizes that the network takes, as spandrel pads it: at the right and at the
    bottom, by reflection without the edge pixel, and by repeating the edge pixel where the image
    is too small for that. SR is cropped.
    """

    def __init__(self, found: ImageModelDescriptor[nn.Module], remarks: tuple[str, ...]) -> None:
        super().__init__()
        self.network = found.model.float().eval()
        self.scale = found.scale
        # What the network's own output is, of several, and the range that it computes in. The
        # descriptor's call would also clip SR, which hides a mistake in the range.
        self._call: Callable[[nn.Module, Tensor], Tensor] = found._call_fn  # noqa: SLF001
        self._sizes = found.size_requirements
        self.remarks = (*remarks, *_remark_of(self._sizes))

    def forward(self, x: Tensor) -> Tensor:
        """SR of x, (N, C, h, w) in [0, 1]."""
        height, width = x.shape[-2:]
        right, below = self._sizes.get_padding(width, height)
        if not right and not below:
            return self._call(self.network, x)
        mirrored = min(right, width - 1), min(below, height - 1)
        x = pad(x, (0, mirrored[0], 0, mirrored[1]), mode="reflect")
        x = pad(x, (0, right - mirrored[0], 0, below - mirrored[1]), mode="replicate")
        out = self._call(self.network, x)
        return out[..., : self.scale * height, : self.scale * width]


def _remark_of(sizes: SizeRequirements) -> tuple[str, ...]:
    """What is said of the sizes that a network takes."""
    if sizes.none:
        return ()
    kinds = (
        f"smaller than {sizes.minimum} px padded to it" * bool(sizes.minimum),
        f"padded to a multiple of {sizes.multiple_of} px" * (sizes.multiple_of > 1),
        "padded to a square" * sizes.square,
    )
    done = ", ".join(filter(None, kinds))
    return (f"LR {done}, by reflection at the right and the bottom",)


def _description(found: ImageModelDescriptor[nn.Module]) -> str:
    """Architecture and sizes, for example `DAT, 60nf, 3g`."""
    return plain(", ".join([found.architecture.name, *found.tags])).replace(";", ",")


# Finding the network
def _read(path: Path, key: str) -> weight_file.Reading:
    """The state dict of a file, of which nothing is executed.

    Raises:
        InputError: the file holds none, its tensors are far larger than the file, or its names
            count more layers than a network has.
    """
    if path.suffix.lower() == ".mat":
        raise InputError(f"{path}: a .mat file names no architecture; give NAME@{path.name}")
    read = weight_file.read_tensors(path, key)
    # A tensor may repeat a number that the file has only once.
    packed.refuse_bomb(path, sum(x.numel() * x.element_size() for x in read.state.values()))
    most = _INDICES * (len(read.state) + _INDICES)
    for name, tensor in read.state.items():
        if any(len(index) > 9 or int(index) > most for index in re.findall(r"\d+", name)):
            raise InputError(
                f"{path} has {len(read.state)} tensors, and one of them is called "
                f"{plain(name)[:80]}; give a state dict whose layers are counted from 0"
            )
        if tensor.is_floating_point() and not bool(tensor.float().isfinite().all()):
            raise InputError(f"{path}: {plain(name)[:80]} holds NaN or infinity; get it again")
    return read


def _of_tensors(
    state: Mapping[str, Tensor], path: Path
) -> tuple[ImageModelDescriptor[nn.Module], tuple[str, ...]]:
    """The network that a state dict belongs to, with weights, and what was taken off the names.

    Raises:
        InputError: spandrel knows no such network, or it is not for super-resolution.
    """
    for candidate in _candidates(state):
        found = _built(candidate.state, path)
        if found is not None:
            return found, candidate.remarks
    state = weight_file.without_common(state).state
    names = [plain(name) for name in state]
    ours = list(dict.fromkeys(name for scale in _SCALES for name in alike(state, scale)))
    fit = f"it fits {listed(ours, 3)}, so give -m {ours[0]}@{path}" if ours else ""
    raise InputError(
        f"{path}: spandrel knows no network with tensors {listed(names, 3)}; "
        + (fit or f'give -m FILE.py:Net@{path}, or class = "FILE.py:Net" and weights in a card')
    )


def _candidates(state: Mapping[str, Tensor]) -> list[weight_file.Reading]:
    """The state dict as it is, without common prefixes, and the networks beside others in it."""
    found = [weight_file.Reading(dict(state)), weight_file.without_common(state)]
    found += (
        weight_file.part_of(state, prefix)
        for prefix in weight_file.PREFIXES
        if 0 < sum(name.startswith(prefix) for name in state) < len(state)
    )
    return found


def _built(state: dict[str, Tensor], path: Path) -> ImageModelDescriptor[nn.Module] | None:
    """The network of a state dict, with weights; None if spandrel knows none.

    Raises:
        InputError: the network is not for super-resolution of one image, or does not fit.
    """
    spandrel = _spandrel()
    architectures = spandrel.MAIN_REGISTRY.architectures("detection")
    support = next((each for each in architectures if each.detect(state)), None)
    if support is None:
        return None
    name = support.architecture.name
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), _Bounded(path):
            warnings.simplefilter("ignore")  # old functions that the architectures call
            found = support.architecture.load(dict(state))
    except InputError:
        raise
    except Exception as error:  # spandrel's architectures may raise anything
        raise InputError(
            f"{path} looks like {name}, but does not fit it: {one_line(error, 160)}; give "
            f"-m FILE.py:Net@{path}"
        ) from error
    if found.purpose != "SR" or found.scale < 2:
        raise InputError(
            f"{path} is {name}, a network for {found.purpose} at x{found.scale}; give one for "
            "super-resolution"
        )
    if found.input_channels != found.output_channels or found.input_channels not in _CHANNELS:
        raise InputError(
            f"{path} is {name} with {found.input_channels} channels to {found.output_channels}; "
            "give one for 1 (luma) or 3 (RGB)"
        )
    return found


class _Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that refuses to make tensors far larger than a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path = path
        self.made = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and not any(isinstance(x, Tensor) for x in args):
            self.made += out.numel() * out.element_size()
            packed.refuse_bomb(self.path, self.made)
        return out


@lru_cache(maxsize=1)
def _spandrel() -> Any:
    """spandrel, imported also where torchvision, which few of its networks need, is not.

    Raises:
        InputError: spandrel does not import.
    """
    try:
        with standing_in("torchvision", "torchvision.transforms.functional"):
            return importlib.import_module("spandrel")
    except Exception as error:  # a package of others may raise anything
        raise InputError(
            f"spandrel does not import: {one_line(error, 160)}; run: pip install "
            "'sisrbench[checkpoints]'"
        ) from error
