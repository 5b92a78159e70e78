"""What several tests of methods measure in the same way."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from torch import Tensor

import zoo.nonnegative
from zoo.nonnegative import Effort


@pytest.fixture
def check_effort(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[ModuleType, Effort, Callable[[], object]], None]:
    """Whether `solve`, as a module calls it while something runs, takes the effort stated."""

    def check(module: ModuleType, effort: Effort, run: Callable[[], object]) -> None:
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
        assert round(rows / sum(patches)) == effort.steps
        assert round(slots / rows) == effort.slots
        assert effort.steps * effort.slots == pytest.approx(slots / sum(patches), rel=0.03)

    return check
