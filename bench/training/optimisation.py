"""Optimisation: initialisation, optimizers, learning rates and gradient clipping, from a recipe."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.recipe import Descent

_LEAST = {
    "patch": 1,
    "stride": 0,
    "border": 0,
    "batch": 1,
    "updates": 1,
    "warmup": 0,
    "skip": 0,
    "momentum": 0,
    "weight_decay": 0,
    "beta2": 0,
    "epsilon": 0,
}
"""Least value of each number of a recipe."""
_BELOW = {"momentum": 1, "beta2": 1}
"""Values that a number of a recipe must stay below."""
_SCHEDULES = "constant, cosine, 'steps of N by F', 'at N by F'"


def refuse_bad_choices(descent: Descent) -> None:
    """Refuse numbers out of range, and texts that are no schedule or no clipping.

    Raises:
        InputError: a choice of the recipe cannot be used.
    """
    for key, least in _LEAST.items():
        value = getattr(descent, key)
        below = _BELOW.get(key, math.inf)
        if not least <= value < below:
            limit = f" and less than {below}" if key in _BELOW else ""
            raise InputError(f"{key}={value}: give at least {least}{limit}")
    if any(scale < 2 for scale in descent.scales):
        raise InputError(f"scales={descent.scales}: give enlargements of at least 2")
    for pattern, factor in descent.rates.items():
        if not 0 <= factor < math.inf:
            raise InputError(f"rates.{pattern}={factor}: give a factor of at least 0")
    if not 0 < descent.rate < math.inf:
        raise InputError(f"rate={descent.rate}: give a learning rate above 0")
    # Both parse their text, and raise if it has another form.
    rate_at(descent, 0)
    clip([], descent.clip, descent.rate)


def rate_at(descent: Descent, update: int) -> float:
    """The learning rate of an update, counted from 0.

    Raises:
        InputError: the schedule is unknown.
    """
    rising = min(1.0, (update + 1) / descent.warmup) if descent.warmup else 1.0
    return descent.rate * rising * _scheduled(descent, update)


def _scheduled(descent: Descent, update: int) -> float:
    """The factor in [0, 1] by which the schedule multiplies the first learning rate."""
    if descent.schedule == "constant":
        return 1.0
    if descent.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * update / descent.updates))
    match = re.fullmatch(
        r"(?:steps of ([1-9]\d*)|at ([1-9]\d*(?:,[1-9]\d*)*)) by (\d*\.?\d+)", descent.schedule
    )
    if not match or not 0 < float(match[3]) < 1:
        raise InputError(f"schedule {descent.schedule!r}; give one of: {_SCHEDULES}")
    step, places, factor = match.groups()
    passed = update // int(step) if step else sum(update >= int(p) for p in places.split(","))
    return float(factor) ** passed


def optimizer(
    module: nn.Module, descent: Descent, rate: float
) -> tuple[torch.optim.Optimizer, list[float]]:
    """The optimizer of a module, with a parameter group for each factor of `rates`.

    Returns:
        The optimizer, and the factor of the learning rate of each parameter group.

    Raises:
        InputError: a pattern of `rates` fits no parameter.
    """
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    factors = [1.0] * len(named)
    for pattern, factor in descent.rates.items():
        fitting = [k for k, (name, _) in enumerate(named) if fnmatch.fnmatch(name, pattern)]
        if not fitting:
            raise InputError(f"rates.{pattern}: no parameter of that name; see sisrbench show")
        for k in fitting:  # the last pattern that fits a name decides
            factors[k] = factor
    distinct = sorted(set(factors))
    groups = [
        {"params": [p for (_, p), own in zip(named, factors, strict=True) if own == factor]}
        for factor in distinct
    ]
    if descent.optimizer == "sgd":
        return (
            torch.optim.SGD(
                groups, rate, descent.momentum, weight_decay=descent.weight_decay, fused=True
            ),
            distinct,
        )
    betas = (descent.momentum, descent.beta2)
    return (
        torch.optim.Adam(
            groups, rate, betas, descent.epsilon, weight_decay=descent.weight_decay, fused=True
        ),
        distinct,
    )


def clip(parameters: Iterable[nn.Parameter], text: str, rate: float) -> None:
    """Clip gradients in place, by the norm of all gradients or each element by value.

    `norm 0.4/rate` divides the limit by the learning rate, as VDSR and MemNet do. Then the limit
    bounds the step, not the gradient.

    Args:
        parameters: with gradients, of any shape.
        text: `norm LIMIT` or `value LIMIT`, with or without `/rate`; '' for no clipping.
        rate: the learning rate of the update.

    Raises:
        InputError: the text has another form.
    """
    if not text:
        return
    match = re.fullmatch(r"(norm|value) (\d*\.?\d+)(/rate)?", text)
    if not match or not float(match[2]):
        raise InputError(
            f"clip {text!r}; give 'norm LIMIT' or 'value LIMIT', with /rate or without"
        )
    limit = float(match[2]) / (rate if match[3] else 1.0)
    given = list(parameters)
    if match[1] == "norm":
        nn.utils.clip_grad_norm_(given, limit)
    elif given:
        nn.utils.clip_grad_value_(given, limit)


def initialise(network: nn.Module, how: str, generator: torch.Generator) -> None:
    """Initialise the weights of all convolutions, and set biases to 0.

    - `as built` changes nothing.
    - `he` draws the weights by He et al., 2015, for ReLU.
    - `pass` does the same, except for a path that passes the input through the centre taps of the
      first channels. The last layer adds little to the passed input. So SR starts as the
      interpolated input, or as the nearest neighbour if the network takes LR. The passed input is
      halved at each layer and restored at the last layer, which keeps the values where tanh is
      nearly linear.

    Raises:
        InputError: `how` is `pass`, and the first layer does not take luma.
    """
    if how == "as built":
        return
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for layer in layers:
            fan = layer.weight[0].numel()
            # He et al., 2015: variance 2 / fan-in.
            layer.weight.normal_(0, math.sqrt(2 / fan), generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
        if how == "pass":
            if layers[0].in_channels != 1:
                raise InputError("initialise=pass is for chains of convolutions on luma; give he")
            layers[-1].weight.mul_(0.05)
            for layer in layers:
                row, column = (side // 2 for side in layer.kernel_size)
                is_last = layer is layers[-1]
                own = slice(None) if is_last else slice(0, 1)
                layer.weight[own, 0 if is_last else slice(None)] = 0
                # The last layer restores what all layers before it have halved.
                layer.weight[own, 0, row, column] = 2.0 ** (len(layers) - 1) if is_last else 0.5


def flat(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """An optimizer's state: the live tensors, of any shape, by parameter number and state name."""
    found = {}
    # By number, because an optimizer does not know the names of parameters.
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, parameter in enumerate(parameters):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                found[f"{prefix}{number}.{key}"] = value
    return found


def restore(optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor], prefix: str) -> None:
    """Restore an optimizer's state from the result of `flat`, in the same shapes.

    Each moment gets the memory layout of the parameter, because fused steps expect this layout.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        if key.startswith(prefix):
            number, _, name = key.removeprefix(prefix).partition(".")
            state.setdefault(int(number), {})[name] = value.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)
