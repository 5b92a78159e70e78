"""The data that a method's file fills in: the method, its published weights, its recipes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from zoo.errors import InputError
from zoo.recipe import Descent

if TYPE_CHECKING:  # listing the methods must not load torch
    import torch
    from torch import Tensor, nn

Channels: TypeAlias = Literal["luma", "RGB", "any"]
"""Planes that a method takes: 1 (luma), 3 (RGB), or either."""
Settings: TypeAlias = Mapping[str, Any]
"""Values by setting name: integers or words for a method, any plain value for a recipe."""


SCALE = "{scale}"
"""What stands for the scale in the name of a file."""


def at_scale(name: str, scale: int) -> str:
    """The name of a file at a scale: `{scale}` is replaced.

    >>> at_scale("net_x{scale}.pth", 3)
    'net_x3.pth'
    """
    return name.replace(SCALE, str(scale))


def located(name: str) -> tuple[Path, str]:
    """(file, key) of `FILE` or `FILE#KEY`; the key is '' if the whole name is a file's.

    The key chooses a state dict inside the file, `params_ema` or `model.state_dict` for example.
    """
    path, hash_, key = name.rpartition("#")
    if hash_ and not Path(name).is_file():
        return Path(path), key
    return Path(name), ""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A published file of weights: address, SHA-256, licence and citation."""

    tag: str
    """Name after the `@`, for example `imagenet`."""
    scale: int
    origin: str
    """`github:owner/repository@commit`, the commit in full, or an `https://` address."""
    path: str
    """Path inside the origin."""
    sha256: str
    """All 64 hex digits, or at least the first eight if the publisher states no more."""
    licence: str
    citation: str
    remark: str = ""
    """What the note of every average says of the weights, in a short sentence without "; ".

    Stated where the weights are 0.1 dB or more from their literature on Set5, with the number.
    """


def learned_here(tag: str, scale: int, owner: str, sha256: str, citation: str) -> Weights:
    """Weights that this project learned from T91 and ships as `weights/OWNER-xSCALE.safetensors`.

    Args:
        tag: name after the `@`.
        scale: enlargement per side.
        owner: the method that was trained; other methods may convert the same file.
        sha256: hash of the file, in full.
        citation: source of the network or the recipe.
    """
    return Weights(
        tag=tag,
        scale=scale,
        origin="package:zoo",
        path=f"weights/{owner}-x{scale}.safetensors",
        sha256=sha256,
        licence="as this project; learned from T91, 91 images for research",
        citation=f"this project, {citation}",
    )


@dataclass(frozen=True, kw_only=True)
class Step:
    """Progress of training after one step, with the state needed to resume from this step."""

    stage: str
    """Part of the training, in a word or two, for example `PCA`; stages do not interleave."""
    done: int
    """Steps of the stage completed so far."""
    total: int
    """Steps of the stage in all."""
    state: Mapping[str, Tensor]
    """Tensors that resume training after this step, passed as `LearningInputs.saved`.

    A resumed training ends with the same bits as an uninterrupted one.
    """
    note: str = ""
    """Short text for the progress display: an error, a count."""
    remark: str = ""
    """Message to print for this step, for example that the loss jumped; empty for none."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Row of the training log, by column. Column `psnr` (dB) selects the best weights."""
    learned: Mapping[str, Tensor] = field(default_factory=dict)
    """State dict of the module if its PSNR is the best so far; otherwise empty."""


def _processor() -> torch.device:
    import torch

    return torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class LearningInputs:
    """Everything that a recipe's `learn` function receives: method, images, settings, seed.

    Recipes of gradient descent (`Descent`) are data and do not use this class.
    """

    method: Method
    """Method whose weights are learned, with its settings applied."""
    scale: int
    """Enlargement per side."""
    images: Sequence[Tensor]
    """HR luma of each training image, (H, W), float64 in [0, 1], whole levels of 1/255."""
    settings: Settings
    """Settings of the recipe (`Recipe.settings`), not of the method."""
    start: Mapping[str, Tensor] = field(default_factory=dict)
    """Start weights, a state dict; empty if training starts without any."""
    saved: Mapping[str, Tensor] = field(default_factory=dict)
    """`Step.state` of the last completed step; empty if training begins from the first step."""
    seed: int = 0
    """The only source of randomness: `learn` draws from generators seeded with this number."""
    device: torch.device = field(default_factory=_processor)
    """Device to compute on; `images` may be on another device."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a method's weights are learned. Every choice that can change the weights is data here."""

    name: str
    citation: str
    data: tuple[str, ...]
    """Names of the training sets, in order."""
    learn: Callable[[LearningInputs], Generator[Step, None, dict[str, Tensor]]] | Descent
    """Gradient descent as data, or a generator that yields steps and returns the state dict."""
    settings: Settings = field(default_factory=dict)
    """Numbers that the source states, or that this project chose where the source is silent. Empty
    for gradient descent: all its choices are fields of `Descent`."""
    starts_from: str = ""
    """Method whose weights training may start from; empty for none."""
    needs_start: bool = False
    """Whether start weights are required."""
    starts_at: int = 0
    """Scale of the start weights; 0 for the scale being trained."""
    adapt: Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]] | None = None
    """Function (start weights, fresh module) -> initial state dict. None: the start weights load
    as they are."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method: its input, how its module is built, its weights and recipes.

    `build(scale, settings)` returns a module that maps float tensors (N, C, h, w) in [0, 1] to
    (N, C, scale*h, scale*w). If the method takes interpolated LR, the output has the input's size.
    The module accepts any h, w >= `smallest`, runs on the device of its parameters and reads no
    global state.

    Large images are split into tiles, and the receptive field gives the overlap of tiles. The
    receptive field is computed from the traced graph. If a module unfolds the image into a list of
    patches, its receptive field cannot be traced. Give the module a method
    `receptive_field_proxy()` that returns a convolutional network with the same receptive field.
    """

    name: str
    citation: str
    varies: bool = False
    """Whether the amount of computation depends on pixel values and weights, as the number of a
    solver's steps does. If so, time is measured with the method's own weights, and counted costs
    are for a mean amount, which the method's file states."""
    takes: Literal["LR", "interpolated"]
    """Input of the module: LR, or LR that the protocol has interpolated to the HR size."""
    channels: Channels
    """Number of channels C: 1 (luma), 3 (RGB), or either."""
    build: Callable[[int, Settings], nn.Module]
    """Function (scale, settings) -> module."""
    kernel: str = "bicubic"
    """Kernel of the protocol's interpolation; used only if the method takes interpolated LR."""
    settings: Settings = field(default_factory=dict)
    """Every setting with its value; a name such as `srcnn-9-1-5:n1=32` changes a setting."""
    choices: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    """Allowed values by setting; a setting not listed here may be any integer >= 1."""
    scales: tuple[int, ...] = ()
    """Supported scales; empty for every scale."""
    smallest: int = 1
    """Least side of LR, in pixels; the module raises an InputError for smaller images."""
    weights: tuple[Weights, ...] = ()
    """Published weights, by tag and scale."""
    default_weights: str = ""
    """Tag used if the user names no weights; empty if no weights are published."""
    convert: Callable[[Mapping[str, Any]], dict[str, Tensor]] | None = None
    """Function (arrays of the authors' `.mat` or of a layout in `converts`) -> state dict."""
    converts: tuple[frozenset[str], ...] = ()
    """Other layouts that `convert` accepts, each as the set of its tensors' names."""
    recipes: tuple[Recipe, ...] = ()
    """Ways to learn the weights; the first is the default."""
    wrap: Callable[[nn.Module], nn.Module] | None = None
    """Wrapper for the module, applied after the weights are loaded. `zoo.load` sets `wrap` for a
    trailing `+`."""
    multiplies: Callable[[int, Settings], float] | None = None
    """Function (scale, settings) -> multiplies per LR pixel, in closed form. Cross-check for the
    multiplies counted on the traced graph."""
    files: tuple[str, ...] = ()
    """Files that the module reads when it computes; relative paths are beside the method's file.
    `{scale}` stands for the scale. Files that are read on import or by `build` need not be named.
    """
    range: Literal[1, 255] = 1
    """White in the module's input and output."""
    luma: Literal["studio", "full"] = "studio"
    """Range of a luma method's luma: `studio` has black at 16/255 and white at 235/255, as
    MATLAB's `rgb2ycbcr`; `full` has black at 0 and white at `range`, as OpenCV's YCrCb."""
    opener: Callable[[Path, int], nn.Module] | None = None
    """Function (file, scale) -> module, for a method whose file holds the network and its weights.
    `build` is then not called, and `default_weights` is the path of the file."""
    outputs: Callable[[int], Path] | None = None
    """Function (scale) -> folder of SR files, for a method that another program has computed.
    Nothing is built or costed then."""
    libraries: tuple[str, ...] = ()
    """Installed packages that compute the output, beside those that every number depends on."""
    card: str = ""
    """Fields of the user's card that can change a number; empty for a method without a card."""
    source: Path = field(default=Path(), compare=False)
    """The file that defines the method."""
    imported: str = field(default="", compare=False)
    """SHA-256, in hex, of the user's own file as it was imported; empty for other methods."""

    def read_from(self, scale: int) -> list[Path]:
        """The paths of `files` at a scale."""
        return [self.source.parent / at_scale(name, scale) for name in self.files]

    def refuse_if_edited(self) -> None:
        """Refuse a file of the user's own that was edited since it was imported.

        Raises:
            InputError: the file has other bytes now, or is gone.
        """
        if not self.imported:
            return
        now = hashlib.sha256(self.source.read_bytes()).hexdigest() if self.source.is_file() else ""
        if now != self.imported:
            raise InputError(f"{self.source} was edited after it was imported; run again")

    def factor(self, scale: int) -> int:
        """Ratio per side of the module's output size to its input size: `scale`, or 1."""
        return scale if self.takes == "LR" else 1

    def with_settings(self, changes: Mapping[str, str]) -> Method:
        """The same method with some settings changed and added to its name.

        Changed settings drop the published weights, which would not fit.

        Args:
            changes: new values as text, by setting.

        Raises:
            InputError: a setting that the method does not have, or a value that is not allowed.
        """
        if not changes:
            return self
        values = dict(self.settings)
        for key, text in changes.items():
            if key not in values:
                known = ", ".join(values) or "none"
                raise InputError(f"{self.name} has no setting {key!r}; it has: {known}")
            values[key] = self._value(key, text)
        label = ",".join(f"{key}={values[key]}" for key in changes)
        changed = values != dict(self.settings)
        return replace(
            self,
            name=f"{self.name}:{label}" if changed else self.name,
            settings=values,
            weights=() if changed else self.weights,
            default_weights="" if changed else self.default_weights,
        )

    def _value(self, key: str, text: str) -> int | str:
        allowed = {str(choice): choice for choice in self.choices.get(key, ())}
        if allowed:
            if text not in allowed:
                raise InputError(f"{self.name}:{key}={text}: choose from: {', '.join(allowed)}")
            return allowed[text]
        if not text.isdecimal() or int(text) < 1:
            raise InputError(f"{self.name}:{key}={text}: give an integer of at least 1")
        return int(text)
