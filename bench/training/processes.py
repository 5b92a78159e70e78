"""Several processes that train together: started here or by `torchrun`, and what they share."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from zoo.errors import InputError, one_line

T = TypeVar("T")
_LOOK = 0.05  # seconds between two looks at processes that run


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


def join(device: torch.device, count: int = 1) -> tuple[Processes, torch.device]:
    """The processes that `start` or `torchrun` has started, joined, and the device of this one.

    NCCL on NVIDIA GPUs, each process its own, and gloo elsewhere.

    Raises:
        InputError: a GPU was named where each process takes its own, the others are not there, or
            `count` (where it is not 1) is not how many there are.
    """
    if not is_one_of_several():
        return Processes(), device
    if count not in (1, int(os.environ["WORLD_SIZE"])):
        raise InputError(
            f"--processes {count}, but {os.environ['WORLD_SIZE']} were started; leave out "
            "--processes under torchrun"
        )
    if device.type == "cuda":
        if device.index is not None:
            raise InputError(
                f"--device {device} with several processes; give cuda: each process has its own"
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


def is_one_of_several() -> bool:
    """Whether this process was started as one of several that train together."""
    return "WORLD_SIZE" in os.environ


def start(count: int, command: Sequence[str]) -> int:
    """Run a command in several processes that train together; returns the exit status.

    Where one fails, the others are ended. Ctrl-C reaches all of them from the terminal.

    Args:
        count: how many.
        command: the same for each; the environment tells them apart, as `torchrun` does it.

    Returns:
        0 where all ended well, else the status of the first that did not.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = [
        subprocess.Popen(command, env=os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in map(str, range(count))
    ]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return _waited(running)
    finally:
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            process.wait()
        signal.signal(signal.SIGINT, before)


def _waited(running: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait until all have ended well, or one has not: its exit status."""
    while True:
        codes = [process.poll() for process in running]
        for code in codes:
            if code:
                # A killed process has a negative code; shells report 128 + signal.
                return code if code > 0 else 128 - code
        if None not in codes:
            return 0
        time.sleep(_LOOK)
