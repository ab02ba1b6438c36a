"""A storage with two trained versions, and a repository that uses it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.storage import Store
from lifecycle.training.train import train
from support.approving import OWNERS, PAGE, Repository, filled
from support.owned import commit, repository
from support.teams import order_team, settings_in


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a storage with two versions; the second was compared with the first and is better."""
    folder = tmp_path_factory.mktemp("trained")
    settings, team = settings_in(folder), order_team()
    shallow = HistGradientBoostingClassifier(max_iter=4, max_depth=2)
    weak = SimpleNamespace(candidate=lambda inputs, seed: shallow, baselines=team.estimator.baselines)
    first = train(replace(team, estimator=weak), settings, folder)
    deployments.swap(settings.store, "local", None, Deployed(first.version, 0.5), action="promote", who="ana", why="")
    train(team, settings, folder)
    return settings.storage


@pytest.fixture
def here(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Repository:
    """Return a repository of three people with a filled agreement and nothing deployed; ana works in it."""
    root = repository(tmp_path / "churn", OWNERS)
    (root / "docs/agreement.md").write_text(filled(PAGE), encoding="utf-8")
    commit(root)
    store = Store(tmp_path / "storage")
    store.root.mkdir()
    store.bundles.symlink_to(trained / "bundles")
    monkeypatch.chdir(root)
    monkeypatch.setenv("LIFECYCLE_STORAGE", str(store.root))
    made = Repository(root, store, monkeypatch, capsys.readouterr)
    made.git("ana@example.org")
    return made
