"""Gradient descent: the loop over updates that trains a network by a recipe's choices.

The seed, the update's number and the saved state determine each update: batches and all other
random draws have separate generators. So training continues from a saved state to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bench.training.feed import Picture
from bench.training.learner import Learner, selecting
from bench.training.processes import Processes
from zoo.errors import InputError
from zoo.method import Method, Step
from zoo.recipe import Descent

_SPIKE = 10.0
"""A loss of more than so many times the running mean is reported."""
_MEMORY = 0.99
"""Weight of the past in the running mean of the loss."""
_STRETCH = {"cpu": 1}
"""Updates between two looks at the loss, by device type; on a GPU, each look waits for the GPU."""


@dataclass(frozen=True, kw_only=True)
class DescentInputs:
    """All inputs of gradient descent except the recipe."""

    method: Method
    scale: int
    pictures: Sequence[Picture]
    network: nn.Module
    """Built at the scale, on the device, with the weights to start from or newly initialised."""
    device: torch.device
    seed: int = 0
    precision: str = "fp32"
    saved: Mapping[str, Tensor] = field(default_factory=dict)
    """State of the step to continue after; empty at the beginning."""
    validate: Callable[[nn.Module], float] | None = None
    """PSNR of the network on a data set, in dB; None to skip validation."""
    every: int = 0
    """Updates between two validations; 0 for never."""
    log: int = 1
    """Updates between two rows of the log."""
    fresh: bool = True
    """Whether there are no start weights, so that the recipe's initialisation applies."""
    processes: Processes = field(default_factory=Processes)


def descend(descent: Descent, inputs: DescentInputs) -> Generator[Step, None, dict[str, Tensor]]:
    """Train the network: yields steps, and returns a state dict with the network's shapes.

    On a processor, or with `skip`, there is a step for each update; on a GPU, for every 50th update
    and every row of the log. A step with a row of the log has figures: `update`, `loss` (the mean
    since the last row), `rate`, `updates_per_second`, `feeding` (the share of time spent on making
    batches) and, after a validation, `psnr`. If this PSNR is the best so far, the step also holds
    the weights.

    Raises:
        InputError: a choice of the recipe is unknown, an image cannot be used, or the loss is not
            finite.
    """
    torch.manual_seed(inputs.seed)
    learner = Learner(
        descent,
        inputs.method,
        inputs.scale,
        inputs.pictures,
        inputs.network,
        inputs.device,
        seed=inputs.seed,
        precision=inputs.precision,
        fresh=inputs.fresh,
        processes=inputs.processes,
    )
    tally = _Tally(descent, inputs.device)
    if inputs.saved:
        learner.restore(inputs.saved)
        tally.restore(inputs.saved)
    first, note = tally.done, ""  # updates per second count only updates of this process
    # `skip` compares each loss with the last loss, so every loss has to be read.
    stretch = 1 if descent.skip else _STRETCH.get(inputs.device.type, 50)
    while tally.done < descent.updates:
        number = tally.done
        loss, taken = learner.update(number, tally.latest)
        tally.take(loss)
        last = tally.done == descent.updates
        judged = inputs.validate and inputs.every and (tally.done % inputs.every == 0 or last)
        row = judged or last or tally.done % inputs.log == 0
        if not row and tally.done % stretch:
            continue
        remark = tally.look()
        if not taken:
            remark = f"update {tally.done} left out: loss {tally.latest:.4g}"
        figures: dict[str, float] = {}
        learned: Mapping[str, Tensor] = {}
        if row:
            figures = {
                "update": tally.done,
                "loss": tally.mean(),
                "rate": learner.rate,
                "updates_per_second": (tally.done - first) / learner.seconds,
                "feeding": learner.feeding / learner.seconds,
            }
        if judged:
            figures["psnr"] = _validated(inputs)
            if figures["psnr"] > tally.best:
                tally.best, learned = figures["psnr"], inputs.network.state_dict()
        note = _line(figures, tally.best) if figures else note
        yield Step(
            stage="training",
            done=tally.done,
            total=descent.updates,
            state=learner.tensors() | tally.tensors(),
            note=note,
            remark=remark,
            figures=figures,
            learned=learned,
        )
    return dict(inputs.network.state_dict())


class _Tally:
    """Running totals over the updates, saved and restored with the state."""

    def __init__(self, descent: Descent, device: torch.device) -> None:
        self._descent = descent
        self._sum = torch.zeros((), dtype=torch.float64, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._count = 0
        self._level = 0.0
        self.done = 0
        """Number of updates done."""
        self.latest = 0.0
        """The loss at the last look."""
        self.best = -math.inf
        """The best PSNR of a validation, in dB."""

    def take(self, loss: Tensor) -> None:
        """Count an update with this loss, a scalar on the device, without waiting for the value."""
        self._loss.copy_(loss)
        self._sum += self._loss
        self._count += 1
        self.done += 1

    def look(self) -> str:
        """A remark if the latest loss leapt, else ''.

        Raises:
            InputError: the latest loss is not finite.
        """
        self.latest = float(self._loss)
        if not math.isfinite(self.latest):
            raise InputError(
                f"the loss is {self.latest} at update {self.done}; the last checkpoint and the "
                f"best weights are kept: give --set rate=, less than {self._descent.rate:g}, or "
                "--set clip='norm 0.4'"
            )
        usual = self._level or self.latest  # the first look has no running mean yet
        self._level = _MEMORY * usual + (1 - _MEMORY) * self.latest
        leapt = self.latest > _SPIKE * usual
        return f"update {self.done}: loss {self.latest:.4g}, usually {usual:.4g}" if leapt else ""

    def mean(self) -> float:
        """The mean loss since the last call."""
        mean = float(self._sum) / self._count
        self._sum.zero_()
        self._count = 0
        return mean

    def tensors(self) -> dict[str, Tensor]:
        """All totals, as tensors of shapes () and (5,), for `restore`."""
        kept = (self.best, self._level, self.latest, float(self._sum), self._count)
        return {
            "done": torch.tensor(self.done),
            "tally": torch.tensor(kept, dtype=torch.float64),
        }

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Restore the totals from the result of `tensors`, shapes () and (5,)."""
        self.done = int(saved["done"])
        self.best, self._level, self.latest, total, count = saved["tally"].tolist()
        self._sum.fill_(total)
        self._count = int(count)


def _validated(inputs: DescentInputs) -> float:
    """PSNR in dB of the network at the scale of `inputs`, the same in all processes."""
    network, validate = inputs.network, inputs.validate
    if validate is None:
        return math.nan
    select = selecting(network)
    if select is not None:  # the last update may have selected another scale
        select(inputs.scale)
    network.eval()
    with torch.no_grad():
        psnr = inputs.processes.first(lambda: validate(network))
    network.train()
    return psnr


def _line(figures: Mapping[str, float], best: float) -> str:
    """A row of the log as a short note for the progress display; `best` is a PSNR in dB."""
    parts = [f"loss {figures['loss']:.4g}"]
    if math.isfinite(best):
        parts.append(f"best {best:.2f} dB")
    return ", ".join([*parts, f"{figures['updates_per_second']:.1f} updates/s"])
