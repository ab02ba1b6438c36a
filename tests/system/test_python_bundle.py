"""A `python` bundle, from the team's code to a service in the environment that the bundle requires."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from looseleaf.project import make, post, readme_request, service
from support import PATIENCE
from support.rendering import run, tool

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]

# The team's model: the churn rate by the number of complaints, stored as JSON, in a module that imports pandas only.
RATES = '''
import json
from pathlib import Path
from typing import Any

import pandas as pd


class Rates:
    """The churn rate by the number of complaints in the last 90 days."""

    def __init__(self, rates: dict[str, float] | None = None) -> None:
        self.rates = rates or {}

    def fit(self, frame: pd.DataFrame, label: Any) -> None:
        complaints = frame.complaints_90d.clip(upper=4).astype(str)
        self.rates = pd.Series(label, index=frame.index).groupby(complaints).mean().to_dict()

    def save(self, directory: Path) -> None:
        (directory / "rates.json").write_text(json.dumps(self.rates))

    @classmethod
    def load(cls, directory: Path) -> "Rates":
        return cls(json.loads((directory / "rates.json").read_text()))

    def predict(self, frame: pd.DataFrame) -> Any:
        return frame.complaints_90d.clip(upper=4).astype(str).map(self.rates).to_numpy()
'''
# The linear baseline ignores its inputs, because a real one would beat this candidate and replace it.
ESTIMATOR = """
from sklearn.dummy import DummyClassifier

from lifecycle.contract.rows import Inputs
from model.rates import Rates


def candidate(inputs: Inputs, seed: int) -> Rates:
    return Rates()


def baselines(inputs: Inputs, seed: int) -> dict[str, DummyClassifier]:
    return {"trivial": DummyClassifier(strategy="prior"), "linear": DummyClassifier(strategy="uniform")}
"""


def lifecycle(folder: Path, storage: Path, *arguments: str) -> str:
    """Run a `lifecycle` command of the repository on another storage."""
    done = run(str(folder / ".venv/bin/lifecycle"), *arguments, folder=folder, LIFECYCLE_STORAGE=str(storage))
    assert done.returncode == 0, done.stdout
    return str(done.stdout)


@pytest.fixture(scope="module")
def own(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Yield the project with a `python` model promoted in its own storage, and restore the project afterwards."""
    storage = tmp_path_factory.mktemp("python") / "storage"
    before = {name: (project / name).read_bytes() for name in ("src/model/estimator.py", "pyproject.toml", "uv.lock")}
    try:
        (project / "src/model/rates.py").write_text(RATES, encoding="utf-8")
        (project / "src/model/estimator.py").write_text(ESTIMATOR, encoding="utf-8")
        done = run(tool("uv"), "add", "--quiet", "pandas", folder=project)
        assert done.returncode == 0, done.stdout
        lifecycle(project, storage, "train")
        lifecycle(project, storage, "promote", "--override", "the rates of a test")
        yield project, storage
    finally:
        (project / "src/model/rates.py").unlink()
        for name, content in before.items():
            (project / name).write_bytes(content)
        assert run(*make("setup"), folder=project).returncode == 0


def installed(project: Path, into: Path, *arguments: str) -> Path:
    """Create an environment as a server would, and return its folder."""
    done = run(tool("uv"), "sync", "--quiet", "--locked", *arguments, folder=project, UV_PROJECT_ENVIRONMENT=str(into))
    assert done.returncode == 0, done.stdout
    return into


def test_a_python_bundle_is_served_in_the_environment_that_it_requires(own: tuple[Path, Path], tmp_path: Path) -> None:
    project, storage = own
    there = tmp_path / "server"
    there.mkdir()
    installed(project, there / ".venv", "--all-packages", "--no-default-groups", "--extra", "serve")
    assert run(str(there / ".venv/bin/python"), "-c", "import mlflow", folder=there).returncode == 1
    shutil.copytree(storage, there / "storage")
    with service(there, tmp_path / "log", there / "storage") as address:
        response = post(f"{address}/predict", readme_request(project))
    assert response["prediction"] in ("churns", "stays")
    assert 0 < response["probability"] < 1


def test_an_environment_without_the_teams_dependencies_refuses_a_python_bundle(
    own: tuple[Path, Path], tmp_path: Path
) -> None:
    project, storage = own
    arguments = ["--no-default-groups", "--package", "looseleaf-lifecycle", "--extra", "serve", "--extra", "skops"]
    environment = installed(project, tmp_path / ".venv", *arguments)
    done = subprocess.run(
        [str(environment / "bin/lifecycle"), "serve", "--storage", str(storage), "--port", "0"],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 1
    assert "of kind python needs" in done.stderr
    assert "pandas" in done.stderr
    # The code itself is in the bundle.
    assert "churn-model" not in done.stderr
    assert "--all-packages" in done.stderr
    assert "Traceback" not in done.stderr
