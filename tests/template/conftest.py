"""What the tests of several workflows share."""

import pytest

from support.workflows import Runner


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Return the runner of GitHub's workflows; tests with it belong into the group `ci`."""
    return Runner.build(tmp_path_factory.mktemp("tools") / "gha_run")
