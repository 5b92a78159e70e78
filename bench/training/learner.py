"""One update: a batch, forward, backward, and a step of the optimizer; an adversary's likewise."""

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

"""What convolutions and products compute in, where that is not float32."""
_INITIAL, _DROPPED = 2, 3
"""Streams of a seed: what initialisation draws, and what dropout does; batches have 0 and 1."""


class Learner:
    """A network with all that trains it."""

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
        """Initialise the network where it is fresh, and prepare images, losses and optimizers.

        Raises:
            InputError: a choice of the recipe that there is not, or images that do not do.
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
            side = descent.patch * method.factor(scale) - 2 * descent.border
            self._adversary = losses.Adversary(descent.adversary, side).to(device)
        objective = losses.Objective(network, terms, descent.border, self._adversary, device)
        self._objective = processes.share(objective, unused=self._select is not None)
        self._optimizer, self._factors = optimisation.optimizer(network, descent, descent.rate)
        if self._adversary is not None:
            plain = replace(descent, rates={}, weight_decay=0.0)
            self._judging, _ = optimisation.optimizer(self._adversary, plain, descent.rate)
            self._judge = processes.share(self._adversary)
        self.rate = descent.rate
        """Of the last update."""
        self.feeding = self.seconds = 0.0
        """Seconds spent in making batches, and in all."""

    def update(self, number: int, latest: float) -> tuple[Tensor, bool]:
        """Do the update of this number, counted from 0.

        Returns:
            Its loss, the mean over the processes, a scalar on the device; and whether it was taken:
            it is not where the loss is `skip` times `latest`, the last one's.
        """
        began = time.perf_counter()
        batch = self._feed.batch(number, self._part)
        self.feeding += time.perf_counter() - began
        self.rate = optimisation.rate_at(self._descent, number)
        # what dropout draws, in each process by itself
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
        """An update of the discriminator."""
        own = float(self._descent.adversary.get("rate", 0.0)) or self._descent.rate
        self._judging.param_groups[0]["lr"] = own * self.rate / self._descent.rate
        with self._autocast():
            loss = self._judge(sr, hr)
        self._judging.zero_grad(set_to_none=True)
        loss.backward()
        self._judging.step()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, self._dtype or torch.bfloat16, enabled=self._dtype is not None
        )

    def tensors(self) -> dict[str, Tensor]:
        """Weights, and all that the optimizers keep, the live ones: what `restore` goes on from."""
        found = {f"network.{key}": value for key, value in self._network.state_dict().items()}
        found |= optimisation.flat(self._optimizer, "optimizer.")
        if self._adversary is not None:
            judged = self._adversary.state_dict().items()
            found |= {f"adversary.{key}": value for key, value in judged}
            found |= optimisation.flat(self._judging, "judging.")
        return found

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self._network.load_state_dict(_under("network.", saved))
        optimisation.restore(self._optimizer, saved, "optimizer.")
        if self._adversary is not None:
            self._adversary.load_state_dict(_under("adversary.", saved))
            optimisation.restore(self._judging, saved, "judging.")


def _seed(device: torch.device, value: int) -> None:
    """Seed what a device draws by itself.

    Not `torch.manual_seed`, which keeps a traceback at each call for GPUs that nobody has used yet.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
    else:
        torch.default_generator.manual_seed(value)


def selecting(network: nn.Module) -> Callable[[int], None] | None:
    """How a network with a path for each scale is told which to take; None where it has one."""
    select = getattr(network, "select", None)
    return select if callable(select) else None


def _refuse_other_scales(descent: Descent, method: Method, scale: int) -> None:
    """Refuse scales that a network without a path for each does not enlarge by.

    Raises:
        InputError: there is one.
    """
    if method.takes == "LR" and {*descent.scales, scale} != {scale}:
        asked = ",".join(map(str, descent.scales))
        raise InputError(f"scales={asked}: {method.name} enlarges x{scale} alone; leave them out")


def _under(prefix: str, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
