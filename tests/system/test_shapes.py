"""Each usage alone, installed and run: on the sample, then on another table."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import yaml

from looseleaf.project import make, post, service
from looseleaf.snapshot import git
from maintenance.demo import readme_request
from support.rendering import PRESETS, Template, run
from support.workflows import FEW_TESTS

LEFT_OUT = {"online": "score", "batch": "serve"}


@dataclass(frozen=True)
class Shape:
    """A repository of one usage, set up and committed, and the output of its commands."""

    usage: str
    folder: Path
    output: str


def prediction_of(usage: str, folder: Path, log: Path, request: dict[str, Any]) -> str:
    """Return a prediction of the service, or the output of batch scoring."""
    if usage == "online":
        with service(folder, log) as address:
            return str(post(f"{address}/predict", request)["prediction"])
    done = run(*make("score"), folder=folder)
    assert done.returncode == 0, done.stdout
    return done.stdout


def each() -> Iterator[Any]:
    for usage in LEFT_OUT:
        yield pytest.param(usage, marks=[pytest.mark.slow, pytest.mark.xdist_group(f"shape-{usage}")])


@pytest.fixture(scope="module", params=list(each()))
def shape(request: pytest.FixtureRequest, template: Template, tmp_path_factory: pytest.TempPathFactory) -> Shape:
    """Render with recorded choices, and run `make setup check test smoke`."""
    choices = yaml.safe_load((PRESETS / f"{request.param}.yml").read_text(encoding="utf-8"))
    folder = template.copy(tmp_path_factory.mktemp(request.param) / "project", **choices)
    git("init", "--quiet", folder=folder)
    done = run(*make("setup", "check", "test", "smoke"), folder=folder)
    assert done.returncode == 0, done.stdout
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", "First", folder=folder)
    return Shape(request.param, folder, done.stdout)


def test_smoke_leads_from_training_to_a_prediction(shape: Shape, tmp_path: Path) -> None:
    assert "is deployed in local" in shape.output
    assert ("scores.parquet" in shape.output) == (shape.usage == "batch")
    request = readme_request(shape.folder) if shape.usage == "online" else {}
    result = prediction_of(shape.usage, shape.folder, tmp_path / "log", request)
    assert result in ("churns", "stays") if shape.usage == "online" else "scores.parquet" in result


def test_the_command_of_the_other_usage_is_missing(shape: Shape) -> None:
    command = LEFT_OUT[shape.usage]
    done = run(*make(command), folder=shape.folder)
    assert done.returncode == 2
    assert f"{command} is not available: this repository was rendered without" in done.stdout


def test_a_defect_is_rejected(shape: Shape, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git("clone", "--quiet", str(shape.folder), str(clone), folder=shape.folder)
    (clone / ".venv").symlink_to(shape.folder / ".venv")
    with (clone / "src/model/data.py").open("a", encoding="utf-8") as file:
        file.write("import math\n")
    assert "F401" in run(*make("check"), folder=clone).stdout


def test_make_contract_describes_the_usage(shape: Shape, tmp_path: Path) -> None:
    """Last, because it changes the repository."""
    frame = sklearn.datasets.load_breast_cancer(as_frame=True)
    table = frame.data.assign(diagnosis=np.array(["malignant", "benign"])[frame.target])
    table.to_csv(tmp_path / "breast_cancer.csv", index=False)
    goals = (
        "contract",
        f"DATA={tmp_path / 'breast_cancer.csv'}",
        "LABEL=diagnosis",
        "check",
        "test",
        "train",
        "promote",
    )
    # All tests of a repository about a table of one's own run in tests/inference/test_own_table.py.
    done = run(*make(*goals), folder=shape.folder, PYTEST_ADDOPTS=FEW_TESTS)
    assert done.returncode == 0, done.stdout
    next_ = "next: make check test train promote" + (" score" if shape.usage == "batch" else "")
    assert next_ in done.stdout.splitlines()
    page = (shape.folder / "README.md").read_text(encoding="utf-8")
    assert ("curl" in page, "make score" in page) == (shape.usage == "online", shape.usage == "batch")
    assert "meal box" not in page
    request = readme_request(shape.folder) if shape.usage == "online" else {}
    result = prediction_of(shape.usage, shape.folder, tmp_path / "log", request)
    assert result in ("benign", "malignant") if shape.usage == "online" else "scores.parquet" in result
