"""Gradient descent: a network trained as a recipe's data say.

Update by update, what happens is a function of the seed, the update's number and the state: batches
and everything else that is drawn have generators of their own. So a state that was kept is all that
it takes to go on to the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bench.descent import losses, optimisation
from bench.descent.feed import Feed, Picture, generator, mixed
from bench.inference import Inference
from bench.processes import Processes
from zoo.errors import InputError
from zoo.method import Method, Step
from zoo.recipe import Descent

PRECISIONS = {"fp32": None, "tf32": None, "bf16": torch.bfloat16}
"""What convolutions and products compute in, where that is not float32."""
_INITIAL, _DROPPED = 2, 3
"""Streams of a seed: what initialisation draws, and what dropout does; batches have 0 and 1."""
_SPIKE = 10.0
"""A loss so many times the running mean is said."""
_MEMORY = 0.99
"""Of the running mean: the weight of what was."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """All that a descent is given besides its recipe."""

    method: Method
    scale: int
    pictures: Sequence[Picture]
    network: nn.Module
    """Built at the scale, with the weights to start from or as drawn; on the device."""
    device: torch.device
    seed: int = 0
    precision: str = "fp32"
    saved: Mapping[str, Tensor] = field(default_factory=dict)
    validate: Callable[[nn.Module], float] | None = None
    """PSNR of the network on a set, in dB."""
    every: int = 0
    """Updates between two validations; 0 for never."""
    log: int = 1
    """Updates between two rows of the log."""
    fresh: bool = True
    """Whether nothing was given to start from, so that the recipe's initialisation applies."""
    processes: Processes = field(default_factory=Processes)


class _Clock:
    """Seconds spent in feeding, in updating and in all, while training."""

    def __init__(self) -> None:
        self.feeding = self.updating = 0.0

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return self.feeding + self.updating

    @property
    def share(self) -> float:
        """Of feeding, in the time of a step."""
        return self.feeding / (self.total or 1.0)


def descend(descent: Descent, course: Course) -> Generator[Step, None, dict[str, Tensor]]:
    """Train the network; yields a step an update and returns its state dict.

    Now and then a step has figures: `update`, `loss` (the mean since the last row), `rate`,
    `updates_per_second`, `feeding` (its share of a step's time) and, where it was validated,
    `psnr`; where that is the best so far, the step holds what was learned.

    Raises:
        InputError: a choice of the recipe that there is not, images that do not do, or a loss that
            is not finite.
    """
    device, network = course.device, course.network
    processes = course.processes
    part = processes.part(descent.batch)
    drawn = generator(course.seed, 0, stream=_INITIAL)
    torch.manual_seed(course.seed)
    if course.fresh:
        optimisation.initialise(network, descent.initialise, drawn)
    terms = losses.parse(descent.loss)
    feed = Feed(course.pictures, course.method, descent, course.scale, course.seed, device)
    adversary = None
    if any(term.name == "adversarial" for term in terms):
        side = descent.patch * course.method.factor(course.scale) - 2 * descent.border
        adversary = losses.Adversary(descent.adversary, side).to(device)
    objective = losses.Objective(network, terms, descent.border, adversary, device)
    layout = Inference().layout(device)
    network.to(memory_format=layout)  # type: ignore[call-overload]
    trainer, factors = optimisation.optimizer(network, descent, descent.rate)
    judging = None
    if adversary is not None:
        plain = Descent(**{**descent.settings(), "rates": {}, "weight_decay": 0.0})
        judging = optimisation.optimizer(adversary, plain, descent.rate)[0]
    select = _selecting(network)
    if select is None:
        _refuse_other_scales(descent, course)
    state = _State(network, trainer, adversary, judging)
    done, best, level, before, total, count = 0, -math.inf, 0.0, 0.0, 0.0, 0.0
    if course.saved:
        done, best, level, before, total, count = state.restore(course.saved)
    shared = processes.share(objective, unused=select is not None)
    shared_judge = processes.share(adversary) if adversary is not None else None
    ratio = float(descent.adversary.get("rate", 0.0)) or descent.rate
    clock, latest = _Clock(), ""
    first = done
    summed = torch.tensor(total, device=device)
    network.train()
    while done < descent.updates:
        at = time.perf_counter()
        batch = feed.batch(done, part)
        clock.feeding += time.perf_counter() - at
        at = time.perf_counter()
        rate = optimisation.rate_at(descent, done)
        for group, factor in zip(trainer.param_groups, factors, strict=True):
            group["lr"] = rate * factor
        torch.manual_seed(mixed(course.seed, _DROPPED, done, processes.rank))  # what dropout draws
        if select is not None:
            select(batch.scale)
        x = batch.x.contiguous(memory_format=layout)
        with _autocast(course.precision, device):
            loss, sr = shared(x, batch.hr)
        trainer.zero_grad(set_to_none=True)
        loss.backward()
        value = processes.mean(loss.detach())
        if _is_spike(descent, value, before):
            note = f"update {done + 1} left out: loss {float(value):.4g} after {before:.4g}"
        else:
            note = ""
            optimisation.clip(network.parameters(), descent.clip, rate)
            trainer.step()
        if judging is not None and shared_judge is not None:
            judging.param_groups[0]["lr"] = ratio * rate / descent.rate
            with _autocast(course.precision, device):
                verdict = shared_judge(sr, batch.hr)
            judging.zero_grad(set_to_none=True)
            verdict.backward()
            judging.step()
        summed += value
        count += 1
        done += 1
        if device.type == "cpu" or descent.skip or done % 50 == 0 or done == descent.updates:
            before = float(value)
            _refuse_infinite(before, done, descent)
            if level and before > _SPIKE * level:
                note = note or f"update {done}: loss {before:.4g}, usually {level:.4g}"
            level = _MEMORY * level + (1 - _MEMORY) * before if level else before
        elif done != descent.updates:
            clock.updating += time.perf_counter() - at
            continue
        clock.updating += time.perf_counter() - at
        figures: dict[str, float] = {}
        learned: Mapping[str, Tensor] = {}
        last = done == descent.updates
        validated = course.validate and course.every and (done % course.every == 0 or last)
        if validated or done % course.log == 0 or last:
            figures = {
                "update": done,
                "loss": float(summed) / count,
                "rate": rate,
                "updates_per_second": (done - first) / clock.total,
                "feeding": clock.share,
            }
            summed.zero_()
            count = 0
        if validated:
            figures["psnr"] = _validated(course)
            if figures["psnr"] > best:
                best, learned = figures["psnr"], network.state_dict()
        latest = _line(figures, best) if figures else latest
        state.note(done, best, level, before, float(summed), count)
        yield Step(
            stage="training",
            done=done,
            total=descent.updates,
            state=state.tensors,
            note=latest,
            remark=note,
            figures=figures,
            learned=learned,
        )
    return dict(network.state_dict())


def _selecting(network: nn.Module) -> Callable[[int], None] | None:
    """How a network with a path for each scale is told which to take; None where it has one."""
    select = getattr(network, "select", None)
    return select if callable(select) else None


def _refuse_other_scales(descent: Descent, course: Course) -> None:
    """Refuse scales that a network without a path for each does not enlarge by.

    Raises:
        InputError: there is one.
    """
    scales = sorted({*descent.scales, course.scale})
    if course.method.takes == "LR" and len(scales) > 1:
        asked = ",".join(map(str, descent.scales))
        raise InputError(
            f"scales={asked}: {course.method.name} enlarges x{course.scale} alone; leave them out"
        )


def _validated(course: Course) -> float:
    """PSNR of the network at the course's scale, in all processes."""
    network, validate = course.network, course.validate
    if validate is None:
        return math.nan
    select = _selecting(network)
    if select is not None:
        select(course.scale)
    network.eval()
    with torch.no_grad():
        psnr = course.processes.first(lambda: validate(network))
    network.train()
    return psnr


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def _is_spike(descent: Descent, value: Tensor, before: float) -> bool:
    return bool(descent.skip and before and float(value) > descent.skip * before)


def _refuse_infinite(loss: float, done: int, descent: Descent) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"the loss is {loss} at update {done}; the last checkpoint and the best weights are "
            f"kept: give --set rate=, less than {descent.rate:g}, or --set clip='norm 0.4'"
        )


def _line(figures: Mapping[str, float], best: float) -> str:
    parts = [f"loss {figures['loss']:.4g}"]
    if math.isfinite(best):
        parts.append(f"best {best:.2f} dB")
    return ", ".join([*parts, f"{figures['updates_per_second']:.1f} updates/s"])


class _State:
    """The tensors from which a training goes on, always those that are in use."""

    def __init__(
        self,
        network: nn.Module,
        trainer: torch.optim.Optimizer,
        adversary: nn.Module | None,
        judging: torch.optim.Optimizer | None,
    ) -> None:
        self._network, self._trainer = network, trainer
        self._adversary, self._judging = adversary, judging
        self._done = torch.zeros((), dtype=torch.int64)
        self._levels = torch.zeros(5, dtype=torch.float64)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name."""
        found = {f"network.{key}": value for key, value in self._network.state_dict().items()}
        found |= optimisation.flat(self._trainer, "optimizer.")
        if self._adversary is not None and self._judging is not None:
            judged = self._adversary.state_dict().items()
            found |= {f"adversary.{key}": value for key, value in judged}
            found |= optimisation.flat(self._judging, "judging.")
        return {**found, "done": self._done, "levels": self._levels}

    def note(self, done: int, *levels: float) -> None:
        """Keep the updates done, and what else the next ones go on from.

        Args:
            done: the updates done.
            levels: the best PSNR, the running mean of the loss, the last loss, and the sum and
                number of losses since the last row of the log.
        """
        self._done.fill_(done)
        self._levels.copy_(torch.tensor(levels, dtype=torch.float64))

    def restore(self, saved: Mapping[str, Tensor]) -> tuple[int, float, float, float, float, float]:
        """Put a state back; what `note` was given."""
        self._network.load_state_dict(_under("network.", saved))
        optimisation.restore(self._trainer, saved, "optimizer.")
        _lay_out(self._trainer)
        if self._adversary is not None and self._judging is not None:
            self._adversary.load_state_dict(_under("adversary.", saved))
            optimisation.restore(self._judging, saved, "judging.")
            _lay_out(self._judging)
        best, level, before, total, count = saved["levels"].tolist()
        return int(saved["done"]), best, level, before, total, count


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Lay every moment out in memory as its parameter is, which fused steps take for granted."""
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            if value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)


def _under(prefix: str, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
