"""Fixtures that every test may use: where downloads are kept, and the real images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

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
