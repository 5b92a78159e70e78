"""Fixtures that every test may use: where downloads are kept, and the real images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests, so that a file is fetched and verified once."""
    given = os.environ.get("SISRBENCH_TEST_CACHE")
    return Path(given) if given else tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test's downloads out of the user's own cache."""
    monkeypatch.setenv("SISRBENCH_CACHE", str(session_cache))
    return session_cache


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real images and weights; a test that asks for it is skipped without one."""
    given = os.environ.get("SISRBENCH_MIRROR")
    if not given:
        pytest.skip("SISRBENCH_MIRROR is not set: this needs the real images")
    folder = REPOSITORY / given
    monkeypatch.setenv("SISRBENCH_MIRROR", str(folder))
    return folder
