"""Fixtures of the tests of jobs."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from lifecycle import sample, timestamps
from lifecycle.models.bundle import Bundle
from lifecycle.settings import Settings
from lifecycle.training.train import train
from support.gate import own
from support.teams import sample_team, settings_in


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Bundle]:
    """A storage with one version trained on the sample as of 2026-01-01."""
    settings = settings_in(tmp_path_factory.mktemp("sample"))
    sample.write(settings.data)
    return settings, train(sample_team(), settings, Path(), timestamps.midnight(date(2026, 1, 1)))


@pytest.fixture
def settings(trained: tuple[Settings, Bundle], tmp_path: Path) -> Settings:
    """The same bundles and data, with deployments of the test's own."""
    return own(trained[0], tmp_path)


@pytest.fixture
def copied(trained: tuple[Settings, Bundle], tmp_path: Path) -> Settings:
    """A storage of the test's own with a copy of that version, for tests that train others or change it."""
    storage = tmp_path / "storage"
    shutil.copytree(trained[0].storage / "bundles", storage / "bundles")
    return trained[0].model_copy(update={"storage": storage})
