"""Several processes that train together, as `torchrun` starts them; one where it does not."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from zoo.errors import InputError, one_line

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """How many there are, and which one this is."""

    count: int = 1
    rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """This process's part of a global batch.

        Raises:
            InputError: the batch cannot be shared out evenly.
        """
        if batch % self.count:
            raise InputError(
                f"a batch of {batch} cannot be shared by {self.count} processes; give --set "
                "batch=N, a multiple of them"
            )
        share = batch // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def share(self, module: nn.Module, *, unused: bool = False) -> nn.Module:
        """The module with gradients averaged over the processes; `unused` where some get none."""
        if self.count == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=unused)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over the processes."""
        if self.count > 1:
            distributed.all_reduce(value)
            value /= self.count
        return value

    def first(self, compute: Callable[[], T]) -> T:
        """What the first process computes, in all of them.

        Raises:
            InputError: it raised that; then all of them do, and none waits for it.
        """
        if self.count == 1:
            return compute()
        told: list[Any] = [None, None]
        if self.is_first:
            try:
                told[0] = compute()
            except InputError as error:
                told[1] = str(error)
        distributed.broadcast_object_list(told)
        if told[1] is not None:
            raise InputError(told[1])
        return cast("T", told[0])

    def wait(self) -> None:
        """Until all have come here, so that none leaves while another still talks to it.

        Raises:
            InputError: one of them has ended.
        """
        if self.count > 1:
            try:
                distributed.barrier()
            except RuntimeError as error:
                raise InputError(
                    f"another process has ended: {one_line(error)}; see what it said"
                ) from error


def join(device: torch.device) -> tuple[Processes, torch.device]:
    """The processes that `torchrun` has started, joined, and the device of this one.

    NCCL on NVIDIA GPUs, each process its own, and gloo elsewhere.

    Raises:
        InputError: a GPU was named where each process takes its own, or the others are not there.
    """
    if "WORLD_SIZE" not in os.environ:
        return Processes(), device
    if device.type == "cuda":
        if device.index is not None:
            raise InputError(
                f"--device {device} under torchrun; give cuda: each process has its own"
            )
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        try:
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"WORLD_SIZE is set, but the other processes cannot be joined: {one_line(error)}; "
                "start with torchrun, or unset it"
            ) from error
    return Processes(distributed.get_world_size(), distributed.get_rank()), device


def leave() -> None:
    """Part from the other processes, if there are any."""
    if distributed.is_initialized():
        gc.collect()  # what still holds the group would end its threads after the interpreter
        distributed.destroy_process_group()
