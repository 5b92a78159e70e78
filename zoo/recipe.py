"""Gradient descent as data: every choice that the training of a network depends on.

A method's file fills in a `Descent`. The code that runs the training is `bench.training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from zoo.errors import InputError, unknown

ADVERSARY: Mapping[str, type] = {"loss": str, "dropout": float, "place": str, "rate": float}
"""Choices of an adversarial loss, with the type of each value."""


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Training of a network by gradient descent: examples, loss, optimizer, schedule.

    Degradation, loss, schedule and clipping are short texts. A reader can compare two recipes, and
    a command-line option can change a recipe. `bench.training` documents the allowed texts, in
    `degradations`, `losses` and `optimisation`.
    """

    # Examples
    patch: int
    """Side of a patch, in pixels of the network's input."""
    stride: int = 0
    """Distance in pixels between patches of a grid; an epoch uses each patch once. 0 takes patches
    at random places."""
    border: int = 0
    """Pixels of SR that the loss ignores on each side, because the network sees padding there."""
    draw: Literal["images", "places"] = "images"
    """Random places only. `images` draws every image equally often. `places` draws every place
    equally often, so large images are drawn more often."""
    augment: Literal["none", "flips", "flips and turns"] = "none"
    """`flips` mirrors a patch left to right with probability 1/2. `flips and turns` draws one of
    all eight flips and rotations."""
    degradation: str = "matlab:bicubic"
    """How LR is made from HR. Several degradations, separated by `|`, are drawn patch by patch."""
    scales: tuple[int, ...] = ()
    """Scales that are learned together; empty for only the scale that the user asks for."""
    mixing: Literal["patches", "updates"] = "patches"
    """Whether the scale is drawn for each patch of a batch or for each update."""

    # What is minimised
    loss: str = "l2"
    """Weighted sum of terms: `l1`, `l2 + 0.001 adversarial`, `vgg16:relu2_2`."""
    adversary: Mapping[str, Any] = field(default_factory=dict)
    """Choices of an adversarial loss: `loss` (`log` or `linear`), `dropout`, `place`, `rate`."""

    # How
    initialise: Literal["as built", "he", "pass"] = "as built"
    """`as built` keeps the module's own initialisation. `he` is He initialisation. `pass` starts
    the network as plain interpolation, or as nearest neighbour if its input is LR."""
    optimizer: Literal["adam", "sgd"] = "adam"
    rate: float
    """Learning rate before schedule and warm-up."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Factors on the learning rate, by a pattern of parameter names, for example `conv3.*`. If
    several patterns match a parameter, the last counts."""
    momentum: float = 0.9
    """Momentum of SGD, or the first beta of Adam."""
    beta2: float = 0.999
    """Second beta of Adam."""
    epsilon: float = 1e-8
    """Epsilon of Adam."""
    weight_decay: float = 0.0
    schedule: str = "constant"
    """`constant`, `cosine`, `steps of 200000 by 0.5`, or `at 100000 by 0.1`, in updates."""
    warmup: int = 0
    """Updates during which the learning rate rises linearly to the schedule's value."""
    clip: str = ""
    """Gradient clipping: `norm 0.4`, `value 0.4`, empty for none. With `/rate`, the limit is
    divided by the learning rate of the update."""
    skip: float = 0.0
    """Skip an update if its loss is more than `skip` times the loss before; 0 for never."""
    batch: int
    """Patches per update, summed over all processes."""
    updates: int
    """Number of updates in all."""

    silent: Mapping[str, str] = field(default_factory=dict)
    """Reasons for values that the source does not state, by field."""

    def settings(self) -> dict[str, Any]:
        """Every choice by field name, without the reasons in `silent`."""
        return {key: value for key, value in asdict(self).items() if key != "silent"}

    def changed(self, changes: Mapping[str, str]) -> Descent:
        """A copy with some choices changed.

        Args:
            changes: new values as text, by field; `adversary.NAME` and `rates.PATTERN` reach into
                the two mappings.

        Raises:
            InputError: an unknown choice, or a text that is not a valid value.
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
                # `rates` accepts any pattern as a key; its values are factors
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
