"""What the tests of paper tables share: a table re-measured, and no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from bench import costs, engine
from bench.claims import verdicts
from bench.claims.reproduction import Reproduction
from bench.files import fetch
from bench.inference import DEFAULT
from bench.progress import Progress
from bench.published import PaperTable
from bench.store import Store


def _verdicts(tables: list[PaperTable], out: Path) -> pd.DataFrame:
    reproduction = Reproduction(tables, None, torch.device("cpu"), 1, DEFAULT, Progress())
    units = reproduction.plan()
    store = Store(out)
    engine.run_inline(units, store, "run", Progress())
    measured = store.results(unit.key for unit in units)
    store.close()
    return verdicts.all_tables(tables, measured, reproduction.why_not)


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[PaperTable]], pd.DataFrame]:
    """Measures paper tables, and gives the verdicts."""
    return lambda tables: _verdicts(tables, tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="session")
def judged_on_images(
    judged: Callable[[list[PaperTable]], pd.DataFrame],
) -> Callable[[list[PaperTable]], pd.DataFrame]:
    """As `judged`, without costs: for tables that claim none but times of other machines."""

    def on_images(tables: list[PaperTable]) -> pd.DataFrame:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(costs, "names", list)
            return judged(tables)

    return on_images


@pytest.fixture(scope="module")
def offline() -> Iterator[pytest.MonkeyPatch]:
    """What has no mirror is as far away as a closed port of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch.RemoteFile, "url", "http://127.0.0.1:9/nothing")
        yield patch
