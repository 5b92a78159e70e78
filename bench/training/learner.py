"""An update: batch, forward, backward, and a step of the optimizer and of the discriminator's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.inference import DEFAULT
from bench.network import AUTOCAST, layout
from bench.training import losses, optimisation
from bench.training.feed import Feed, Picture, generator, mixed
from bench.training.processes import Processes
from zoo.errors import InputError
from zoo.method import Method
from zoo.recipe import Descent

_INITIAL, _DROPPED = 2, 3
"""Streams of a seed for initialisation and for dropout; batches have the streams 0 and 1."""


class Learner:
    """A network with the images, losses and optimizers that train the network."""

    def __init__(
        self,
        descent: Descent,
        method: Method,
        scale: int,
        pictures: Sequence[Picture],
        network: nn.Module,
        device: torch.device,
        *,
        seed: int,
        precision: str,
        fresh: bool,
        processes: Processes,
    ) -> None:
        """Prepare images, losses and optimizers; initialise the network if `fresh`.

        Raises:
            InputError: a choice of the recipe is unknown, or an image cannot be used.
        """
        self._descent, self._network, self._device = descent, network, device
        self._seed, self._processes = seed, processes
        self._dtype = AUTOCAST[precision]
        self._part = processes.part(descent.batch)
        self._select = selecting(network)
        if self._select is None:
            _refuse_other_scales(descent, method, scale)
        if fresh:
            drawn = generator(seed, 0, stream=_INITIAL)
            optimisation.initialise(network, descent.initialise, drawn)
        terms = losses.parse(descent.loss)
        self._feed = Feed(pictures, method, descent, scale, seed, device)
        self._layout = layout(DEFAULT, device)
        network.to(memory_format=self._layout)  # type: ignore[call-overload]
        self._adversary: losses.Adversary | None = None
        if any(term.name == "adversarial" for term in terms):
            # The discriminator sees SR and HR without the border.
            side = descent.patch * method.factor(scale) - 2 * descent.border
            self._adversary = losses.Adversary(descent.adversary, side).to(device)
        objective = losses.Objective(network, terms, descent.border, self._adversary, device)
        # An update trains the path of a single scale; the other paths get no gradient.
        self._objective = processes.share(objective, unused=self._select is not None)
        self._optimizer, self._factors = optimisation.optimizer(network, descent, descent.rate)
        if self._adversary is not None:
            # `rates` and weight decay are choices for the network, not for the discriminator.
            plain = replace(descent, rates={}, weight_decay=0.0)
            self._judging, _ = optimisation.optimizer(self._adversary, plain, descent.rate)
            self._judge = processes.share(self._adversary)
        self.rate = descent.rate
        """Learning rate of the last update."""
        self.feeding = self.seconds = 0.0
        """Seconds spent on making batches, and on updates in total."""

    def update(self, number: int, latest: float) -> tuple[Tensor, bool]:
        """Do an update: returns the loss, and whether the network was changed.

        Args:
            number: number of the update, counted from 0.
            latest: the last update's loss; 0 if there is none.

        Returns:
            The loss, averaged over the processes, a scalar on the device; and False if the network
            was left unchanged because the loss is more than `skip` times `latest`.
        """
        began = time.perf_counter()
        batch = self._feed.batch(number, self._part)
        self.feeding += time.perf_counter() - began
        self.rate = optimisation.rate_at(self._descent, number)
        # Dropout draws from the device's own generator, differently in each process.
        _seed(self._device, mixed(self._seed, _DROPPED, number, self._processes.rank))
        if self._select is not None:
            self._select(batch.scale)
        with self._autocast():
            loss, sr = self._objective(batch.x.contiguous(memory_format=self._layout), batch.hr)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        value = self._processes.mean(loss.detach())
        skip = self._descent.skip
        taken = not (skip and latest and float(value) > skip * latest)
        if taken:
            for group, factor in zip(self._optimizer.param_groups, self._factors, strict=True):
                group["lr"] = self.rate * factor
            optimisation.clip(self._network.parameters(), self._descent.clip, self.rate)
            self._optimizer.step()
        if self._adversary is not None:
            self._judge_once(sr, batch.hr)
        self.seconds += time.perf_counter() - began
        return value, taken

    def _judge_once(self, sr: Tensor, hr: Tensor) -> None:
        """Do an update of the discriminator on patches (N, 3, P, P) in [0, 1]."""
        own = float(self._descent.adversary.get("rate", 0.0)) or self._descent.rate
        # The discriminator follows the recipe's schedule from a first rate of its own.
        self._judging.param_groups[0]["lr"] = own * self.rate / self._descent.rate
        with self._autocast():
            loss = self._judge(sr, hr)
        self._judging.zero_grad(set_to_none=True)
        loss.backward()
        self._judging.step()

    def _autocast(self) -> torch.autocast:
        # autocast takes a dtype even when off, and AUTOCAST has none for fp32 and tf32.
        return torch.autocast(
            self._device.type, self._dtype or torch.bfloat16, enabled=self._dtype is not None
        )

    def tensors(self) -> dict[str, Tensor]:
        """Weights and optimizer states by name, for `restore`, in their shapes.

        The tensors are live: the next update changes them.
        """
        found = {f"network.{key}": value for key, value in self._network.state_dict().items()}
        found |= optimisation.flat(self._optimizer, "optimizer.")
        if self._adversary is not None:
            judged = self._adversary.state_dict().items()
            found |= {f"adversary.{key}": value for key, value in judged}
            found |= optimisation.flat(self._judging, "judging.")
        return found

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Restore weights and optimizer states, names and shapes as in the result of `tensors`."""
        self._network.load_state_dict(_under("network.", saved))
        optimisation.restore(self._optimizer, saved, "optimizer.")
        if self._adversary is not None:
            self._adversary.load_state_dict(_under("adversary.", saved))
            optimisation.restore(self._judging, saved, "judging.")


def _seed(device: torch.device, value: int) -> None:
    """Seed a device's default random generator.

    `torch.manual_seed` would keep a traceback at each call, for GPUs that are not in use yet.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
    else:
        torch.default_generator.manual_seed(value)


def selecting(network: nn.Module) -> Callable[[int], None] | None:
    """The network's function to select the path of a scale; None if all scales have the same."""
    select = getattr(network, "select", None)
    return select if callable(select) else None


def _refuse_other_scales(descent: Descent, method: Method, scale: int) -> None:
    """Refuse further scales for a network that has no path for each scale.

    Raises:
        InputError: the network takes LR, and the recipe names a scale other than the network's.
    """
    if method.takes == "LR" and {*descent.scales, scale} != {scale}:
        asked = ",".join(map(str, descent.scales))
        raise InputError(f"scales={asked}: {method.name} enlarges x{scale} only; leave them out")


def _under(prefix: str, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with the prefix, with the prefix removed and shapes kept."""
    return {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
