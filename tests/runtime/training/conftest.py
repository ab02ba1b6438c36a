"""A champion and a better candidate that the tests of the gate share."""

import pytest

from lifecycle.models.bundle import Bundle
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.settings import Settings
from lifecycle.training import evidence
from lifecycle.training.gate import Case
from lifecycle.training.train import train
from support.gate import weak
from support.teams import order_team, settings_in


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Bundle, Bundle]:
    """A storage with a champion in `local`, and a better candidate that was compared with it."""
    settings, team = settings_in(tmp_path_factory.mktemp("gate")), order_team(rows=4000)
    first = train(weak(team, max_iter=5, max_depth=2), settings, settings.storage)
    deployments.swap(settings.store, "local", None, Deployed(first.version, 0.5), action="promote", who="ana", why="")
    return settings, first, train(team, settings, settings.storage)


@pytest.fixture
def case(trained: tuple[Settings, Bundle, Bundle]) -> Case:
    """The better candidate against the champion."""
    return Case(trained[2], evidence.read(trained[2]), trained[1])
