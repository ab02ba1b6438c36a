"""A deployed model that the tests of batch prediction share."""

from pathlib import Path

import pytest

from lifecycle.settings import Settings
from support.scoring import deployed


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a deployed binary model; tests do not change them."""
    return deployed(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def settings(sound: Settings, tmp_path: Path) -> Settings:
    """The same model and deployment, with scores and logs of the test's own."""
    own = sound.model_copy(update={"storage": tmp_path / "storage"})
    own.storage.mkdir()
    for name in ("bundles", "deployments"):
        (own.storage / name).symlink_to(sound.storage / name)
    return own
