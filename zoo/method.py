"""What a method file fills in: its card, where its published weights are, how they are learned."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from zoo.errors import InputError
from zoo.recipe import Descent

if TYPE_CHECKING:  # so that naming the methods does not load torch
    import torch
    from torch import Tensor, nn

Settings: TypeAlias = Mapping[str, Any]
"""Every setting's value: a method's are integers or words, a recipe's any plain value."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One published file of weights: where it lies, what it must hash to, whose it is."""

    tag: str
    """Name behind the `@`, for example `imagenet`."""
    scale: int
    origin: str
    """`github:owner/repository@commit`, the commit in full, or an `https://` address."""
    path: str
    """Path inside the origin."""
    sha256: str
    """In full, or the first eight digits or more where the publisher gives no others."""
    licence: str
    citation: str


def learned_here(tag: str, scale: int, owner: str, sha256: str, citation: str) -> Weights:
    """Weights that this project learned from T91, and that lie in `weights/` under their owner."""
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
    """How far learning is, and all that it takes to go on from here."""

    stage: str
    """What is being learned, in a word or two; a stage's steps follow each other."""
    done: int
    total: int
    """Of the stage's steps."""
    state: Mapping[str, Tensor]
    """What `LearningInputs.saved` has to hold for learning to go on after this step, to the same bits."""
    note: str = ""
    """What people would watch: an error, a count."""
    remark: str = ""
    """What has to be said of this step, such as that its loss leapt."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """A row of the log, by its columns; `psnr` is what the best is chosen by."""
    learned: Mapping[str, Tensor] = field(default_factory=dict)
    """The module's state dict where its PSNR is the best so far."""


def _processor() -> torch.device:
    import torch

    return torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class LearningInputs:
    """What a recipe is given."""

    method: Method
    """With its settings."""
    scale: int
    images: Sequence[Tensor]
    """HR luma of each training image, (H, W), float64 in [0, 1], whole levels of 1/255."""
    settings: Settings
    """The recipe's."""
    start: Mapping[str, Tensor] = field(default_factory=dict)
    """Weights to start from; empty where everything is learned."""
    saved: Mapping[str, Tensor] = field(default_factory=dict)
    """The state of the step to go on after; empty at the beginning."""
    seed: int = 0
    device: torch.device = field(default_factory=_processor)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How weights are learned: all that can change them, as data."""

    name: str
    citation: str
    data: tuple[str, ...]
    """Names of the training sets, in order."""
    learn: Callable[[LearningInputs], Generator[Step, None, dict[str, Tensor]]] | Descent
    """Yields its steps and returns the module's state dict; or what gradient descent is to do."""
    settings: Settings = field(default_factory=dict)
    """Every number that the source states, or that was taken where it is silent; none of gradient
    descent, whose choices are in it."""
    starts_from: str = ""
    """Method whose weights it may start from; empty where none."""
    needs_start: bool = False
    """Whether it has to start from them."""
    starts_at: int = 0
    """Scale of the weights that it starts from; 0 for the one that is learned."""
    adapt: Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]] | None = None
    """From these weights and the fresh module to the state dict it starts with; else they fit."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method's card: what it takes, how it is built, where its weights come from.

    `build(scale, settings)` gives a module that maps float tensors (N, C, h, w) in [0, 1] to
    (N, C, scale*h, scale*w), or to the same size where it takes interpolated LR, for any
    h, w >= `smallest`, on the device that its parameters are on, and reads no global state.

    Tiles find on the graph how far it looks. Where they cannot, since it makes a list of patches of
    the image, the module has a method `receptive_field_proxy()`, which gives a network that looks as far.
    """

    name: str
    citation: str
    varies: bool = False
    """Whether what it computes depends on pixels and weights, as a solver's steps do. Then its time
    is measured with its own weights, and what is counted is a mean that its file states."""
    takes: Literal["LR", "interpolated"]
    """LR, or LR that the protocol has interpolated to the HR size."""
    channels: Literal["luma", "RGB", "any"]
    """What C is: 1 (luma), 3 (RGB), or either."""
    build: Callable[[int, Settings], nn.Module]
    kernel: str = "bicubic"
    """Where LR is taken interpolated: the kernel that the protocol interpolates with."""
    settings: Settings = field(default_factory=dict)
    """Every setting with its value; a name such as `srcnn-9-1-5:n1=32` changes one."""
    choices: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    """What a setting may be; one that is not named here may be any integer >= 1."""
    scales: tuple[int, ...] = ()
    """The scales that the method has; empty where it has them all."""
    smallest: int = 1
    """Least side of LR, in pixels; of smaller ones the module raises an InputError."""
    weights: tuple[Weights, ...] = ()
    default_weights: str = ""
    """Tag that the name alone stands for; empty where nothing is published."""
    convert: Callable[[Mapping[str, Any]], dict[str, Tensor]] | None = None
    """From the arrays of the authors' `.mat`, or of another layout, to the module's state dict."""
    converts: tuple[frozenset[str], ...] = ()
    """Other layouts that `convert` takes too, each by the names of its tensors."""
    recipes: tuple[Recipe, ...] = ()
    """How its weights can be learned; the first is what is meant where none is named."""
    wrap: Callable[[nn.Module], nn.Module] | None = None
    """Put around the module once its weights are in; `zoo.load` sets it for a trailing `+`."""
    multiplies: Callable[[int, Settings], float] | None = None
    """Closed form: multiplies per LR pixel at a scale, the cross-check of the counted ones."""
    source: Path = field(default=Path(), compare=False)
    """The file that the card was read from."""

    def factor(self, scale: int) -> int:
        """How much larger, per side, the module's output is than its input at a scale."""
        return scale if self.takes == "LR" else 1

    def with_settings(self, changes: Mapping[str, str]) -> Method:
        """The same method with some settings changed, its name saying which.

        Raises:
            InputError: a setting that the method does not have, or a value that it cannot be.
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
