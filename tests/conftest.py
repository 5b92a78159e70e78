"""Fixtures that every test may use: where downloads are kept, and the real images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:
    # Each worker of pytest-xdist has its share of the cores: threads that wait for each other's
    # core make small tests ten times as slow. Read by torch when it is imported, also by children.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // WORKERS)))
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for all tests, apart from the user's own, so that a file is fetched once."""
    given = os.environ.get("SISRBENCH_TEST_CACHE")
    folder = Path(given) if given else tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SISRBENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def mirror() -> Iterator[Path]:
    """The folder of real images and weights; a test that asks for it is skipped without one."""
    given = os.environ.get("SISRBENCH_MIRROR")
    if not given:
        pytest.skip("SISRBENCH_MIRROR is not set: this needs the real images")
    folder = REPOSITORY / given
    if not folder.is_dir():
        pytest.fail(f"SISRBENCH_MIRROR is {given!r}, which is no folder; mend or unset it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SISRBENCH_MIRROR", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def graphs() -> Iterator[None]:
    """Keep the graphs of all methods: many tests count the same ones."""
    from bench.graph import growth

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth, "_KEPT", 1000)
        yield
