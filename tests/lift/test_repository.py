"""A lifted notebook in a rendered repository: every command works, and no edited file is lost."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from looseleaf import cli
from looseleaf.project import StepFailed, make, post, service
from support import notebooks
from support.notebooks import MEAN, PREDICT, READ, SEX, SPLIT
from support.rendering import ROOT, run

CHEAP = 'df = df[df["fare"] < 60]'
FOREST = """from sklearn.ensemble import RandomForestClassifier
model = RandomForestClassifier(n_estimators=10, min_samples_leaf=10, random_state=0)
model.fit(X_train, y_train)"""
# As `make train promote score monitor`, in one process.
COMMANDS = """
import sys
from lifecycle import cli
for each in ("train", "promote", "score", "monitor"):
    cli.main([each]) and sys.exit(each)
"""


def table() -> pd.DataFrame:
    """Return passengers whose label no linear model can predict."""
    found, random = notebooks.passengers(800), np.random.default_rng(3)
    found["survived"] = (((found["sex"] == "female") != (found["fare"] > 20)) ^ (random.random(800) < 0.15)).astype(int)
    return found


@pytest.fixture(scope="module")
def lifted(render: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with a lifted notebook and the environment of the template."""
    work = tmp_path_factory.mktemp("lifted")
    folder = work / "repository"
    subprocess.run(["cp", "-r", str(render()), str(folder)], check=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    # `make setup` installs the repository itself.
    distribution = work / "site/churn_model-0.1.0.dist-info"
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: churn-model\nVersion: 0.1.0\n")
    path = notebooks.write(work / "notebook", READ, CHEAP, MEAN, SEX, SPLIT, FOREST, PREDICT, table=table())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["lift", str(path), "--defaults"]) == 0
    return folder


@pytest.mark.slow
def test_every_command_works_after_a_lift(lifted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{lifted}/src:{lifted.parent}/site"
    tests = "tests/test_gates.py::test_a_good_version_is_promoted", "tests/test_data.py"
    for command in (make("-s", "check"), [".venv/bin/python", "-c", COMMANDS], [".venv/bin/pytest", "-q", *tests]):
        done = run(*command, folder=lifted, PYTHONPATH=path, LIFECYCLE_TRACKING__ENABLED="false")
        assert done.returncode == 0, done.stdout
    (bundle,) = (lifted / "storage/bundles").glob("*/bundle.json")
    assert json.loads(bundle.read_text())["class"] == "model.lifted_model:LiftedModel"
    monkeypatch.setattr("looseleaf.project.REMOVED", ())
    monkeypatch.setenv("PYTHONPATH", path)
    with service(lifted, tmp_path / "log") as address:
        row = {"age": None, "fare": 10.0, "sex": "male"}
        assert post(f"{address}/predict", row)["prediction"] == "0"
        with pytest.raises(StepFailed, match="422") as refused:
            post(f"{address}/predict", row | {"fare": 99.0})
        assert "The notebook does not predict this row: df[df['fare'] < 60]" in refused.value.tail
