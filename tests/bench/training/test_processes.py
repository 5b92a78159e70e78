"""Several processes: what each takes of a batch, and how they are joined."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.training.processes import Processes, join, leave
from zoo.errors import InputError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what `torchrun` sets."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_one_process_is_all_of_them() -> None:
    processes, device = join(torch.device("cpu"))
    assert processes == Processes(count=1, rank=0)
    assert device == torch.device("cpu")
    assert processes.is_first
    assert processes.part(5) == slice(0, 5)
    module = torch.nn.Linear(2, 2)
    assert processes.share(module) is module
    assert float(processes.mean(torch.tensor(3.0))) == 3
    assert processes.first(lambda: "computed") == "computed"
    leave()  # from nothing


@pytest.mark.parametrize(("batch", "count"), [(16, 1), (16, 2), (16, 4), (6, 3)])
def test_the_parts_make_up_the_batch(batch: int, count: int) -> None:
    parts = [Processes(count, rank).part(batch) for rank in range(count)]
    taken = [np.arange(batch)[part] for part in parts]
    assert np.concatenate(taken).tolist() == list(range(batch))
    assert {len(part) for part in taken} == {batch // count}


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(InputError, match="a batch of 5 cannot be shared by 2 processes; give"):
        Processes(2, 1).part(5)


def test_only_the_first_writes_and_speaks() -> None:
    assert [Processes(3, rank).is_first for rank in range(3)] == [True, False, False]


def test_a_gpu_of_its_own_cannot_be_named_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="--device cuda:1 with several processes; give cuda"):
        join(torch.device("cuda:1"))


def test_processes_that_nobody_has_started_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"cannot be joined: .*; start with torchrun, or unset it"):
        join(torch.device("cpu"))
