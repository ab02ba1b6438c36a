"""A version trained on the sample, and settings whose log and labels belong to one test."""

from pathlib import Path

import pytest

from lifecycle.settings import Settings
from support.gate import own
from support.monitored import Sample, deploy, train_sample


@pytest.fixture(scope="package")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return train_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def settings(sample: Sample, tmp_path: Path) -> Settings:
    """Return settings with the same bundles and data, and with an empty log and no labels."""
    settings = own(sample.settings, tmp_path)
    deploy(settings.store, sample.bundle)
    return settings
