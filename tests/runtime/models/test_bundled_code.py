"""A `python` bundle contains its code: what is in `src/` later changes neither a deployed version nor a rollback."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sklearn.dummy import DummyClassifier

from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle, BundleError, open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.serving.deployed import DeploymentFollower
from lifecycle.settings import Settings
from lifecycle.training import evidence
from lifecycle.training.train import train
from support.teams import order_team, settings_in

ROW = {"order_id": "x", "order amount €": 1.0, "items": 1, "gift": None, "class": None, "city": "Bonn"}
# The package is imported in every way: absolute, as a module, relative, and later, when it predicts.
RATES = '''
import json
from pathlib import Path

import numpy as np

import ownmodel.parts.rate
import ownmodel.settings as settings
from ownmodel import settings as same
from .parts import nothing

TEXT = json.loads(Path(__file__).with_name("words.json").read_text())


class Rates:
    """The same probability for every row."""

    def fit(self, frame, label):
        return self

    def save(self, directory):
        (directory / "made.txt").write_text(TEXT)

    @classmethod
    def load(cls, directory):
        assert settings is same
        assert (directory / "made.txt").read_text() == TEXT
        return cls()

    def predict(self, frame):
        from ownmodel.parts.rate import RATE

        {body}
        assert RATE == ownmodel.parts.rate.RATE == settings.RATE
        return np.full(len(frame), RATE)
'''


class Repository:
    """A repository whose package `ownmodel` is the team's, with a storage."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.package = folder, folder / "src/ownmodel"
        self.settings: Settings = settings_in(folder)
        monkeypatch.syspath_prepend(folder / "src")
        self.forget()

    def forget(self) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "ownmodel"]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def write(self, rate: float, body: str = "pass") -> None:
        parts = self.package / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        # A folder without __init__.py is a package, too.
        (parts / "rate.py").write_text("from ..settings import RATE\n")
        (parts / "nothing.py").write_text("")
        (self.package / "__init__.py").write_text("")
        (self.package / "settings.py").write_text(f"RATE = {rate}\n")
        (self.package / "words.json").write_text('"a text"')
        (self.package / "rates.py").write_text(RATES.replace("{body}", body))
        self.forget()

    def train(self, rate: float, body: str = "pass") -> Bundle:
        self.write(rate, body)
        made = importlib.import_module("ownmodel.rates").Rates
        baselines = {
            "trivial": DummyClassifier(strategy="prior"),
            "linear": DummyClassifier(strategy="constant", constant=0),
        }
        estimator = SimpleNamespace(candidate=lambda inputs, seed: made(), baselines=lambda inputs, seed: baselines)
        team = order_team(name="looseleaf-lifecycle", estimator=estimator)
        return train(team, self.settings, self.folder)

    def deploy(self, bundle: Bundle, action: str = "promote") -> Any:
        store = self.settings.store
        seen = deployments.read(store, "local")
        deployments.swap(store, "local", seen, Deployed(bundle.version, 0.5), action=action, who="ana", why="")
        return DeploymentFollower(store, "local", 1000).deployed.predict([ROW])[0]["probability"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Repository(tmp_path, monkeypatch)
    yield made
    made.forget()


def test_an_edit_of_src_changes_no_deployed_prediction_and_no_rollback(repository: Repository) -> None:
    old = repository.train(0.4)
    assert repository.deploy(old) == 0.4
    new = repository.train(0.42)
    # Training compared both versions in one process.
    compared = evidence.read(new).predictions
    assert (set(compared["candidate"]), set(compared[old.version])) == ({0.42}, {0.4})
    assert repository.deploy(new) == 0.42
    repository.write(0.1)
    path, modules = [*sys.path], {name: each for name, each in sys.modules.items() if "lifecycle_bundle_" not in name}
    assert repository.deploy(open_version(repository.settings.store, old.version), "rollback") == 0.4
    assert Predictor(new).predict([ROW], 0.5)[0]["probability"] == 0.42
    assert sys.path == path
    assert modules == {name: each for name, each in sys.modules.items() if "lifecycle_bundle_" not in name}
    # Nothing was written into a bundle, such as byte code.
    assert [open_version(repository.settings.store, each.version).version for each in (old, new)]


def test_changed_code_in_a_bundle_is_refused(repository: Repository) -> None:
    bundle = repository.train(0.4)
    (bundle.path / "source/ownmodel/settings.py").write_text("RATE = 0.9\n")
    with pytest.raises(BundleError, match=r"holds a changed source/ownmodel/settings\.py"):
        open_version(repository.settings.store, bundle.version)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import elsewhere", "No module named 'elsewhere'"),
        ("import importlib; importlib.import_module('ownmodel.settings')", "ModuleNotFoundError: .*ownmodel"),
        ("Path(__file__).with_name('table.csv').read_text()", r"FileNotFoundError: .*table\.csv"),
    ],
)
def test_what_the_bundle_lacks_is_found_in_training(body: str, reason: str, repository: Repository) -> None:
    repository.package.mkdir(parents=True)
    (repository.package.with_name("elsewhere.py")).write_text("")
    (repository.package / "table.csv").write_text("1")
    with pytest.raises(LifecycleError, match=rf"does not load from the code in its bundle: .*{reason}"):
        repository.train(0.4, body)
    assert repository.settings.store.versions() == []


def test_the_bundle_holds_code_and_text_alone(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.write(0.4)
    for name in (
        ".env",
        "__pycache__/rates.pyc",
        "table.csv",
        "notes.md",
        ".secrets/key.txt",
        "query.sql",
        "deep/own.yaml",
    ):
        (repository.package / name).parent.mkdir(exist_ok=True)
        (repository.package / name).write_text("x")
    bundle = repository.train(0.4)
    names = {name.removeprefix("source/ownmodel/") for name in bundle.facts["files"] if name.startswith("source/")}
    code = {"__init__.py", "settings.py", "rates.py", "parts/rate.py", "parts/nothing.py"}
    assert names == code | {"words.json", "query.sql", "deep/own.yaml"}
    monkeypatch.setattr("lifecycle.models.bundle.LARGEST", 500)
    with pytest.raises(LifecycleError, match=r"holds 0\.0 MB of code and text, most of it in ownmodel/rates\.py"):
        repository.train(0.4)


def test_a_class_of_another_distribution_is_required_and_not_copied(repository: Repository) -> None:
    info = repository.folder / "src/acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("ownmodel\n")
    bundle = repository.train(0.4)
    assert bundle.facts["requires"]["acme"] == "1.0"
    assert not [name for name in bundle.facts["files"] if name.startswith("source/")]
    assert Predictor(bundle).predict([ROW], 0.5)[0]["probability"] == 0.4
