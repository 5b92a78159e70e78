"""What several tests of methods measure in the same way."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from torch import Tensor

import zoo.nonnegative
from zoo.nonnegative import MeanWork


@pytest.fixture
def check_mean_work(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[ModuleType, MeanWork, Callable[[], object]], None]:
    """Whether `solve`, as a module calls it while something runs, takes the mean_work stated."""

    def check(module: ModuleType, mean_work: MeanWork, run: Callable[[], object]) -> None:
        steps: list[tuple[int, ...]] = []
        patches: list[int] = []
        bag, solve = zoo.nonnegative.embedding_bag, zoo.nonnegative.solve

        def seen(index: Tensor, *rest: Any, **named: Any) -> Tensor:
            steps.append(tuple(index.shape))
            return bag(index, *rest, **named)

        def given(gram: Tensor, linear: Tensor, *rest: Any, **named: Any) -> Tensor:
            patches.append(len(linear))
            return solve(gram, linear, *rest, **named)

        monkeypatch.setattr(zoo.nonnegative, "embedding_bag", seen)
        monkeypatch.setattr(module, "solve", given)
        run()
        rows = sum(count for count, _ in steps)
        slots = sum(count * width for count, width in steps)
        assert round(rows / sum(patches)) == mean_work.steps
        assert round(slots / rows) == mean_work.slots
        assert mean_work.steps * mean_work.slots == pytest.approx(slots / sum(patches), rel=0.03)

    return check
