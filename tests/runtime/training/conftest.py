"""A champion and a better candidate that the tests of the gate share."""

import pytest

from lifecycle.models.bundle import Bundle
from lifecycle.settings import Settings
from lifecycle.training import evidence
from lifecycle.training.gate import Case
from support.gate import trained_pair


@pytest.fixture(scope="session")
def trained() -> tuple[Settings, Bundle, Bundle]:
    """A storage with a champion in `local`, and a better candidate that was compared with it."""
    return trained_pair()


@pytest.fixture
def case(trained: tuple[Settings, Bundle, Bundle]) -> Case:
    """The better candidate against the champion."""
    return Case(trained[2], evidence.read(trained[2]), trained[1])
