"""Training by several processes, started here or by `torchrun`: batches, gradients, results."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from zoo.errors import InputError, one_line

T = TypeVar("T")
_PARENT = "SISRBENCH_PARENT"
"""Environment variable: the process that started this one to train together with others."""
_LOOK = 0.05  # seconds between two looks at processes that run


@dataclass(frozen=True)
class Processes:
    """The number of processes that train together, and this process's rank, from 0."""

    count: int = 1
    rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """This process's part of a global batch.

        Raises:
            InputError: the batch cannot be divided evenly among the processes.
        """
        if batch % self.count:
            raise InputError(
                f"a batch of {batch} cannot be shared by {self.count} processes; give --set "
                "batch=N, a multiple of them"
            )
        share = batch // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def share(self, module: nn.Module, *, unused: bool = False) -> nn.Module:
        """The module, with gradients averaged over the processes.

        Args:
            module: the module to train.
            unused: whether an update may leave some parameters without a gradient.
        """
        if self.count == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=unused)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over the processes; `value` is overwritten."""
        if self.count > 1:
            distributed.all_reduce(value)
            value /= self.count
        return value

    def first(self, compute: Callable[[], T]) -> T:
        """The result that `compute` has in the first process, returned in all processes.

        Raises:
            InputError: `compute` raised an InputError in the first process. All processes raise
                the same error, so none waits for another.
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
        """Wait until all processes are here, so that none ends while another still needs it.

        Raises:
            InputError: another process has ended.
        """
        if self.count > 1:
            try:
                distributed.barrier()
            except RuntimeError as error:
                raise InputError(
                    f"another process has ended: {one_line(error)}; see what it said"
                ) from error


def join(device: torch.device, count: int = 1) -> tuple[Processes, torch.device]:
    """Join the processes that `start` or `torchrun` has started.

    Processes talk by NCCL on NVIDIA GPUs, where each process has a separate GPU, and by gloo
    elsewhere.

    Args:
        device: the device asked for; `cuda` without a number for several processes.
        count: the number of processes asked for; 1 to accept any number.

    Returns:
        The processes, and the device of this process.

    Raises:
        InputError: the device has a number, although each process has a separate GPU; the other
            processes cannot be reached; or `count` is not the number of processes.
    """
    if not is_one_of_several():
        return Processes(), device
    size = os.environ["WORLD_SIZE"]
    if not size.isdecimal():
        raise InputError(f"WORLD_SIZE is {size!r}, no number of processes; unset it")
    _end_with_parent()
    if count not in (1, int(size)):
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
    """End the connection to the other processes, if there are any."""
    if distributed.is_initialized():
        gc.collect()  # garbage that holds the group would end its threads after the interpreter
        distributed.destroy_process_group()


def is_one_of_several() -> bool:
    """Whether this process was started to train together with others."""
    return "WORLD_SIZE" in os.environ


def start(count: int, command: Sequence[str], *, threads: int | None = None) -> int:
    """Run a command in several processes that train together: returns the exit status.

    The first process speaks for all. Of another one, the messages are shown only if that process
    fails first. Ctrl-C reaches the first process, which keeps a checkpoint and stops. If a process
    fails, or this one is terminated, the others are terminated too.

    Args:
        count: number of processes.
        command: the command of every process. Environment variables give each process a rank, as
            `torchrun` does.
        threads: processor threads of each process; None for an equal share of the cores.

    Returns:
        0 if all processes succeeded, else the exit status of the first process that failed; 130
        after Ctrl-C, 143 if this process was terminated.
    """
    # Port 0 lets the system choose a free port, for the processes to meet at.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    share = threads or max(1, (os.cpu_count() or 1) // count)
    shared = {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(share),
        _PARENT: str(os.getpid()),
    }
    with contextlib.ExitStack() as stack:
        running, said = [], []
        for rank in range(count):
            said.append(stack.enter_context(tempfile.TemporaryFile()))
            running.append(
                subprocess.Popen(
                    command,
                    env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stderr=said[rank] if rank else None,
                    start_new_session=True,  # the terminal's Ctrl-C comes by way of this process
                )
            )
        for number, action in (
            (signal.SIGINT, lambda *_: running[0].send_signal(signal.SIGINT)),
            (signal.SIGTERM, _raise_termination),
        ):
            stack.callback(signal.signal, number, signal.signal(number, action))
        try:
            rank, code = _first_failure(running)
        except _TerminationError:
            rank, code = 0, 128 + signal.SIGTERM
        finally:
            for process in running:
                if process.poll() is None:
                    process.terminate()
            for process in running:
                process.wait()
        if rank and code:
            said[rank].seek(0)
            sys.stderr.write(said[rank].read().decode(errors="replace"))
        if code < 0:
            sys.stderr.write(
                f"Error: process {rank + 1} of {count} was ended by signal {-code}; the same "
                "command goes on from the last checkpoint\n"
            )
        return code if code >= 0 else 128 - code


class _TerminationError(Exception):
    """This process was asked to end."""


def _raise_termination(*_: object) -> None:
    raise _TerminationError


def _first_failure(running: Sequence[subprocess.Popen[bytes]]) -> tuple[int, int]:
    """Wait until all processes have succeeded or one has failed: its rank and exit status."""
    while True:
        codes = [process.poll() for process in running]
        for rank, code in enumerate(codes):
            if code:
                return rank, code
        if None not in codes:
            return 0, 0
        time.sleep(_LOOK)


def _end_with_parent() -> None:
    """End this process soon after the process that started it has gone, even if it was killed."""
    parent = os.environ.get(_PARENT)

    def watch() -> None:
        while os.getppid() == int(parent or 0):
            time.sleep(1)
        os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()
