"""Gradient descent as data: every choice of a recipe that a network is trained by.

Methods' files fill this in; what carries it out is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from zoo.errors import InputError, unknown

ADVERSARY: Mapping[str, type] = {"loss": str, "dropout": float, "place": str, "rate": float}
"""Choices of an adversary, and what each is."""


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How a network is trained, from the images to the last update.

    Degradation, loss, schedule and clipping are short texts, so that a recipe can be read, compared
    and changed by a word; `bench.descent` says what each may be.
    """

    # Examples
    patch: int
    """Side of a patch, in pixels of the network's input."""
    stride: int = 0
    """Pixels from patch to patch of a grid, each used once an epoch; 0 for random places."""
    border: int = 0
    """Pixels of SR that the loss leaves out on each side, where the network sees padding."""
    draw: Literal["images", "places"] = "images"
    """At random places: every image as often, or every place, so that large images come more."""
    augment: Literal["none", "flips", "flips and turns"] = "none"
    """Each patch as it is, flipped left to right or not, or in one of all eight positions."""
    degradation: str = "matlab:bicubic"
    """How LR is made; several, `|` between them, are drawn patch by patch."""
    scales: tuple[int, ...] = ()
    """Enlargements that are learned together; empty for the one asked for."""
    mixing: Literal["patches", "updates"] = "patches"
    """Whether each patch of a batch, or each update, has a scale of its own."""

    # What is minimised
    loss: str = "l2"
    """Terms with weights: `l1`, `l2 + 0.001 adversarial`, `vgg16:relu2_2`."""
    adversary: Mapping[str, Any] = field(default_factory=dict)
    """Of an adversarial loss: `loss` (`log` or `linear`), `dropout`, `place`, `rate`."""

    # How
    initialise: Literal["as built", "he", "pass"] = "as built"
    """As the module draws itself; as He et al. do; or so that it starts by passing its input."""
    optimizer: Literal["adam", "sgd"] = "adam"
    rate: float
    """Learning rate of the first update."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """What the rate is multiplied with, by a pattern of parameters' names; the last that fits."""
    momentum: float = 0.9
    """Of SGD; of Adam, the first beta."""
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    schedule: str = "constant"
    """`constant`, `cosine`, `steps of 200000 by 0.5`, or `at 100000 by 0.1`."""
    warmup: int = 0
    """Updates in which the rate rises to what the schedule says."""
    clip: str = ""
    """`norm 0.4`, `value 0.4`, or either with `/rate`: divided by the rate of the update."""
    skip: float = 0.0
    """Leave an update out whose loss is so many times the last one's; 0 for never."""
    batch: int
    """Patches an update, over all processes together."""
    updates: int

    silent: Mapping[str, str] = field(default_factory=dict)
    """By field, where the source is silent: why this value was taken."""

    def settings(self) -> dict[str, Any]:
        """Every choice by its name, without the reasons."""
        return {key: value for key, value in asdict(self).items() if key != "silent"}

    def changed(self, changes: Mapping[str, str]) -> Descent:
        """The same with some choices changed, given as text.

        Raises:
            InputError: there is no such choice, or a text is no value of it.
        """
        known = [entry.name for entry in fields(self) if entry.name != "silent"]
        values: dict[str, Any] = {}
        for key, text in changes.items():
            whole, _, part = key.partition(".")
            if whole not in known:
                raise unknown("choice of a recipe", key, known)
            current = values.get(whole, getattr(self, whole))
            if isinstance(current, Mapping):
                if not part:
                    raise InputError(f"{key}={text}: give {whole}.NAME=VALUE")
                if whole == "adversary" and part not in ADVERSARY:
                    raise unknown("choice of an adversary", part, ADVERSARY)
                kind = ADVERSARY[part] if whole == "adversary" else float
                values[whole] = {**current, part: _value(key, text, kind)}
            elif part:
                raise unknown("choice of a recipe", key, known)
            else:
                values[whole] = _value(key, text, get_type_hints(type(self))[whole])
        return replace(self, **values)


def _value(key: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise InputError(f"{key}={text}: choose from: {', '.join(get_args(kind))}")
        return text
    try:
        if get_origin(kind) is tuple:
            return tuple(int(part) for part in text.split(",") if part)
        return kind(text)
    except ValueError:
        wanted = {int: "an integer", float: "a number"}.get(kind, "integers, a comma between them")
        raise InputError(f"{key}={text}: give {wanted}") from None
