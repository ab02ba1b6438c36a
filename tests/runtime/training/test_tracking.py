"""MLflow shows the runs where it is installed, and training does not need it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle.models.predictor import Predictor
from lifecycle.training.train import mirror, train
from support.rendering import TEMPLATE
from support.teams import order_team, settings_in

LOADED = """
import json, sys
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(f"runs:/{sys.argv[2]}/model")
rows = [json.loads(line)["row"] for line in open(sys.argv[3], encoding="utf-8")]
frame = pandas.DataFrame(rows)[model.metadata.get_input_schema().input_names()]
print(json.dumps(model.predict(frame).to_dict("records")))
"""


@pytest.fixture(autouse=True)
def _in_a_render(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools are below the working folder, as in a repository."""
    monkeypatch.chdir(TEMPLATE)


def test_a_run_is_mirrored_with_metrics_files_and_a_model_that_returns_the_golden_outputs(tmp_path: Path) -> None:
    # Here, because the import takes seconds, which each collection of the suite would take.
    import mlflow

    settings = settings_in(tmp_path, tracking={"enabled": True})
    bundle = train(order_team(rows=500), settings, tmp_path)
    uri = mirror(settings, bundle)
    assert uri == f"sqlite:///{settings.storage / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    [run] = mlflow.search_runs(experiment_names=["orders"], output_format="list")
    assert run.data.tags["version"] == bundle.version
    assert run.data.metrics["candidate.log_loss"] == pytest.approx(bundle.facts["metrics"]["candidate"]["log_loss"])
    assert run.data.params["training"] == str(bundle.facts["rows"]["training"])
    [copied] = settings.storage.glob("mlruns/*/artifacts/bundle/bundle.json")
    assert copied.read_bytes() == (bundle.path / "bundle.json").read_bytes()
    golden = bundle.path / "golden.jsonl"
    command = [sys.executable, "-c", LOADED, uri, run.info.run_id, str(golden)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line)["row"] for line in golden.read_bytes().splitlines()]
    assert json.loads(done.stdout.splitlines()[-1]) == Predictor(bundle).predict(rows, bundle.facts["threshold"])


def test_nothing_is_written_when_tracking_is_off(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, tracking={"enabled": False})
    bundle = train(order_team(rows=500), settings, tmp_path)
    assert mirror(settings, bundle) is None
    assert not (settings.storage / "mlflow.db").exists()


def test_a_tracking_server_that_fails_costs_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_in(tmp_path, tracking={"enabled": True, "uri": "http://127.0.0.1:9"})
    bundle = train(order_team(rows=500), settings, tmp_path)
    assert mirror(settings, bundle) is None
    assert "warning: the run is not mirrored at http://127.0.0.1:9" in capsys.readouterr().err


def test_without_mlflow_runs_are_not_mirrored_and_only_a_tracking_server_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else find_spec(name))
    monkeypatch.setitem(sys.modules, "mlflow", None)
    settings = settings_in(tmp_path, tracking={"enabled": True})
    bundle = train(order_team(rows=500), settings, tmp_path)
    assert mirror(settings, bundle) is None
    assert not (settings.storage / "mlflow.db").exists()
    assert capsys.readouterr().err == ""
    assert mirror(settings_in(tmp_path, tracking={"enabled": True, "uri": "http://127.0.0.1:9"}), bundle) is None
    assert "warning: the run is not mirrored at http://127.0.0.1:9: import of mlflow" in capsys.readouterr().err
