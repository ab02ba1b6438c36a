"""Fixtures for the tests of the lifecycle where it lies."""

from pathlib import Path

import pytest

from lifecycle.store import Store
from storages import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty storage, and what jobs do to it."""
    return Storage(Store(tmp_path / "storage"), tmp_path / "drafts")
