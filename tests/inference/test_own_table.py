"""A rendered repository about a real table, by one command: `make contract check test train promote score`.

The tests of the sample's repository (test_project.py) run here on real rows: telco-churn.csv has two classes and a key,
bike-sharing-hour.csv a number and a time, california-housing.csv a number and neither. Without these files, a table of
scikit-learn is used.
"""

import itertools
import json
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import sklearn.datasets

from looseleaf.project import make, service
from looseleaf.snapshot import git
from support import plain
from support.rendering import Template, run, tool
from support.waiting import eventually

DATA = os.environ.get("LOOSELEAF_DATA")
HOOKS = ("ruff check", "ruff format", "contract, features, config, owners and template files")
GOALS = ("check", "test", "train", "promote", "score")
# Runs in the repository's environment: the labelled rows as training reads them, and which of them are held out.
HELD = """
import json, sys
from pathlib import Path
from lifecycle import settings
from lifecycle.contract import team
from lifecycle import features
from lifecycle.training import dataset
project, config = team.load(Path.cwd()), settings.load(Path.cwd()).settings
connection = features.connect(project.data, config.data)
features.training_rows(connection, project, features.latest(connection, project.data))
frame = connection.execute(f"FROM {features.ROWS}").df()
found = dataset.split(frame, project.contract, config.train.holdout)
held = found.holdout
names = [column.name for column in project.contract.request]
rows = frame.loc[held, names].head(100)
# 0: fitted by the plain script, too; 1: held out; 2: neither, for it chose the model.
Path(sys.argv[1]).write_text(json.dumps((held + 2 * found.selection).tolist()))
print(json.dumps({"rows": json.loads(rows.to_json(orient="records", double_precision=15)),
                  "keys": [column.name for column in project.contract.keys]}))
"""
# The linear baseline on ten random splits.
AREAS = """
from pathlib import Path
import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from lifecycle import settings
from lifecycle.contract import team
from lifecycle import features
from lifecycle.contract.rows import Encoder, learn_levels
from lifecycle.training.train import codes
project, config = team.load(Path.cwd()), settings.load(Path.cwd()).settings
connection = features.connect(project.data, config.data)
features.training_rows(connection, project, features.latest(connection, project.data))
frame = connection.execute(f"FROM {features.ROWS}").df()
label = codes(frame.pop(project.contract.target.label), project.contract.target)
encoder = Encoder(project.contract, learn_levels(project.contract, frame))
areas = []
for seed in range(10):
    rows, held, known, actual = train_test_split(encoder.frame(frame), label, test_size=0.2, random_state=seed)
    linear = project.estimator.baselines(encoder.inputs, seed)["linear"].fit(rows, known)
    areas.append(roc_auc_score(actual, linear.predict_proba(held)[:, 1]))
print(np.mean(areas))
"""
SCORES = """
import sys, duckdb
print(duckdb.sql(f"FROM read_parquet('{sys.argv[1]}', hive_partitioning = false)").df().to_json(
    orient="records", double_precision=15))
"""


@dataclass(frozen=True)
class Own:
    """A rendered repository that was set up and adapted to a table."""

    folder: Path
    file: Path
    label: str
    output: str
    commit_output: str

    @cached_property
    def report(self) -> str:
        return (self.folder / "docs/contract-report.md").read_text(encoding="utf-8")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Contents of the newest version's bundle.json."""
        newest = max((self.folder / "storage/bundles").iterdir())
        return dict(json.loads((newest / "bundle.json").read_text(encoding="utf-8")))

    @property
    def loss(self) -> str:
        return "root_mean_squared_error" if "root_mean_squared_error" in self.facts["metrics"]["linear"] else "log_loss"

    def python(self, code: str, *arguments: str) -> Any:
        """Run a script in the repository's environment; returns the JSON that it prints."""
        done = run(str(self.folder / ".venv/bin/python"), "-c", code, *arguments, folder=self.folder)
        assert done.returncode == 0, done.stdout
        return json.loads(done.stdout)


TABLES = {
    "cancer": ("breast_cancer.csv", "diagnosis"),
    "bikes": ("bike-sharing-hour.csv", "cnt"),
    "telco": ("telco-churn.csv", "Churn"),
    "housing": ("california-housing.csv", "median_house_value"),
}


# A table with two classes.
CLASSES = "telco" if DATA else "cancer"


def parameters(*names: str) -> Iterator[Any]:
    missing = pytest.mark.skipif(not DATA, reason="LOOSELEAF_DATA does not name the folder of the real tables")
    for name in names:
        marks = [pytest.mark.slow, pytest.mark.xdist_group(f"own-{name}")]
        if name != "cancer":
            marks.append(missing)
        # The two other tables lead through the same steps, in a minute and a half each.
        if name == "housing" or (name == "cancer" and DATA):
            marks.append(pytest.mark.proof)
        yield pytest.param(name, marks=marks)


def only(*names: str) -> pytest.MarkDecorator:
    """Run a test for these tables only, in the order of TABLES; others add no coverage."""
    return pytest.mark.parametrize("own", list(parameters(*names)), indirect=True)


def cancer(folder: Path) -> Path:
    """Write a table of scikit-learn with a line of column names."""
    frame = sklearn.datasets.load_breast_cancer(as_frame=True)
    table = frame.data.assign(diagnosis=np.array(["malignant", "benign"])[frame.target])
    path = folder / "breast_cancer.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module", params=list(parameters(*TABLES)))
def own(request: pytest.FixtureRequest, template: Template, tmp_path_factory: pytest.TempPathFactory) -> Own:
    """Follow the README: copy, git init, make setup, make contract and the steps after it."""
    file, label = TABLES[request.param]
    folder = tmp_path_factory.mktemp("own")
    path = cancer(folder) if request.param == "cancer" else Path(DATA or "", file)
    project = template.copy(folder / "project")
    git("init", "--quiet", folder=project)
    done = run(*make("setup"), folder=project)
    assert done.returncode == 0, done.stdout
    done = run(*make("contract", f"DATA={path}", f"LABEL={label}", *GOALS), folder=project)
    assert done.returncode == 0, done.stdout
    git("add", "--all", folder=project)
    committed = run("git", "commit", "--message=An own table", folder=project)
    assert committed.returncode == 0, committed.stdout
    return Own(project, path, label, done.stdout, committed.stdout)


def test_one_command_leads_from_a_file_to_scores(own: Own) -> None:
    assert "make check test train promote score" in own.output
    assert len(list(own.folder.glob("storage/scores/local/*/scores.parquet"))) == 1


def test_the_first_commit_prints_each_hook_and_passes(own: Own) -> None:
    for hook in HOOKS:
        assert re.search(rf"^{re.escape(hook)}\.+Passed$", own.commit_output, re.MULTILINE), own.commit_output
    assert not git("status", "--porcelain", folder=own.folder)


@only(CLASSES)
def test_a_defect_is_rejected_by_the_commit_hooks(own: Own) -> None:
    path = own.folder / "src/model/data.py"
    path.write_text(path.read_text(encoding="utf-8") + "import math\n", encoding="utf-8")
    git("add", "--all", folder=own.folder)
    try:
        done = run("git", "commit", "--message", "Planted", folder=own.folder)
    finally:
        git("reset", "--quiet", "--hard", folder=own.folder)
    assert done.returncode == 1
    assert "F401" in done.stdout


@only(CLASSES)
def test_promotion_and_rollback_under_traffic_fail_no_request(own: Own, tmp_path: Path) -> None:
    storage = Path(shutil.copytree(own.folder / "storage", tmp_path / "storage"))
    lifecycle = str(own.folder / ".venv/bin/lifecycle")
    there = {"LIFECYCLE_STORAGE": str(storage)}
    # Promoting an equal model is refused, except with a new version of the contract.
    path = own.folder / "src/model/contract.py"
    before = path.read_text(encoding="utf-8")
    assert before.count("VERSION = 1") == 1
    path.write_text(before.replace("VERSION = 1", "VERSION = 2"), encoding="utf-8")
    try:
        done = run(lifecycle, "train", folder=own.folder, **there)
    finally:
        path.write_text(before, encoding="utf-8")
    assert done.returncode == 0, done.stdout
    rows = own.python(HELD, str(tmp_path / "held.json"))["rows"]
    over, responses, failed = threading.Event(), Counter[str](), list[str]()

    def send(address: str) -> None:
        with httpx.Client(base_url=address) as client:
            for row in itertools.cycle(rows):
                response = client.post("/predict", json=row)
                responses[response.headers.get("x-model-version", "")] += 1
                failed.extend([response.text] if response.status_code != 200 else [])
                if over.is_set():
                    return

    with service(own.folder, tmp_path / "log", storage) as address, ThreadPoolExecutor() as pool:
        sending = pool.submit(send, address)
        for command in (("promote", "--override", "callers accept the new version"), ("rollback",)):
            done = run(lifecycle, *command, folder=own.folder, **there)
            if done.returncode:
                break
            # The promoted version and, after the rollback, the first one again.
            eventually(lambda: len(responses) == 2 or sending.done())
            eventually(partial(lambda least: responses.total() > least or sending.done(), responses.total() + 20))
        over.set()
        sending.result()
    assert done.returncode == 0, done.stdout
    assert not failed
    assert len(responses) == 2, responses
    done = run(lifecycle, "collect", folder=own.folder, **there)
    assert f"{responses.total()} rows of " in done.stdout, done.stdout
    done = run(lifecycle, "monitor", folder=own.folder, **there)
    # The rows are valid; a hundred of them, repeated, may look like drift.
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith(("ok", "watch", "retrain")), done.stdout


def test_the_model_beats_the_trivial_baseline_and_is_not_worse_than_the_linear_one(own: Own) -> None:
    metrics = {name: each[own.loss] for name, each in own.facts["metrics"].items()}
    print(own.file.name, own.loss, metrics, own.facts["estimator"])
    assert metrics[own.facts["estimator"]] <= metrics["linear"]
    assert metrics[own.facts["estimator"]] < metrics["trivial"]
    if own.label == "cnt":
        for name in ("casual", "registered"):
            assert f"| {name} | a leak: casual + registered is the label (correlation 1.0000" in own.report
    if own.facts["estimator"] == "linear":
        assert "the candidate did not beat the linear baseline, which is the model of this bundle" in own.output
    if own.label == "Churn":
        area = own.python(AREAS)
        print(f"{own.file.name}: linear baseline, mean ROC AUC of ten splits {area:.4f}")
        assert area >= 0.835


def test_the_loss_is_within_1_percent_of_a_plain_script(own: Own, tmp_path: Path) -> None:
    held = tmp_path / "held.json"
    own.python(HELD, str(held))
    listed = re.findall(r"^\| (\S+) \| (?:a leak|an id)", own.report, re.MULTILINE)
    left_out = [*listed, *re.findall(r"^\| (\S+) \| key", own.report, re.MULTILINE)]
    left_out += re.findall(r"the later part, by (\w+)", own.report)
    script = str(Path(plain.__file__))
    done = run(tool("python"), script, str(own.file), own.label, str(held), *left_out, folder=tmp_path)
    assert done.returncode == 0, done.stdout
    baseline, ours = json.loads(done.stdout), own.facts["metrics"][own.facts["estimator"]][own.loss]
    print(f"{own.file.name}: {own.loss} {ours:.4f}, of a plain script {baseline:.4f} ({ours / baseline - 1:+.2%})")
    assert ours <= 1.01 * baseline


def test_100_held_out_rows_sent_one_by_one_get_the_predictions_of_the_batch(own: Own, tmp_path: Path) -> None:
    held = own.python(HELD, str(tmp_path / "held.json"))
    (file,) = own.folder.glob("storage/scores/local/*/scores.parquet")
    scores = own.python(SCORES, str(file))
    # Without a key, rows are identified by the fields that were sent.
    names = held["keys"] or list(held["rows"][0])
    batch = {tuple(score[name] for name in names): score for score in scores}
    assert len(held["rows"]) == 100 or own.file.name == "breast_cancer.csv"
    with service(own.folder, tmp_path / "log") as address, httpx.Client(base_url=address) as client:
        for row in held["rows"]:
            response = client.post("/predict", json=row).raise_for_status().json()
            expected = batch[tuple(row[name] for name in names)]
            for name, value in response.items():
                assert value == (
                    pytest.approx(expected[name], rel=1e-5, abs=1e-6) if isinstance(value, float) else expected[name]
                )
        assert client.get("/info").json()["label"] == own.label
        schema = client.get("/openapi.json").json()["components"]["schemas"]["Row"]
        assert schema["properties"].keys() == held["rows"][0].keys()


def test_the_curl_command_of_the_readme_returns_a_prediction(own: Own, tmp_path: Path) -> None:
    readme = (own.folder / "README.md").read_text(encoding="utf-8")
    command = re.search(r"^(curl .*?)\n```$", readme, re.MULTILINE | re.DOTALL)
    assert command
    assert "Row(**row)).prediction" in readme
    assert "c-00890" not in readme
    with service(own.folder, tmp_path / "log") as address:
        there = command[1].replace("http://127.0.0.1:8000", address)
        done = run("bash", "-c", f"{there} --fail --silent --show-error", folder=own.folder)
    assert done.returncode == 0, done.stdout
    assert "prediction" in json.loads(done.stdout)


@only(CLASSES)
def test_the_service_needs_only_its_own_environment_and_the_storage(own: Own, tmp_path: Path) -> None:
    environment = tmp_path / ".venv"
    extras = ["--extra", "serve", "--extra", "skops"]
    done = run(
        tool("uv"), "sync", "--locked", "--no-default-groups", "--package", "looseleaf-lifecycle", *extras,
        folder=own.folder, UV_PROJECT_ENVIRONMENT=str(environment),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    held = own.python(HELD, str(tmp_path / "held.json"))
    storage = shutil.copytree(own.folder / "storage", tmp_path / "storage")
    with service(tmp_path, tmp_path / "log", storage) as address:
        assert "prediction" in httpx.post(f"{address}/predict", json=held["rows"][0]).raise_for_status().json()


def test_the_model_card_describes_the_table(own: Own) -> None:
    (card,) = own.folder.glob("storage/bundles/*/card.md")
    assert own.label in card.read_text(encoding="utf-8")


def test_no_row_of_the_table_is_in_git_or_in_the_output(own: Own) -> None:
    rows = own.file.read_text(encoding="utf-8").splitlines()[1:]
    committed = git("grep", "--no-color", "-h", "-I", "-e", "", folder=own.folder)
    for row in rows[:: max(1, len(rows) // 200)]:
        assert row not in committed
        assert row not in own.output


@only(CLASSES)
def test_without_the_table_the_tests_pass_and_training_names_what_is_missing(own: Own, tmp_path: Path) -> None:
    nowhere = {"LIFECYCLE_DATA": str(tmp_path)}
    done = run(*make("test"), folder=own.folder, **nowhere)
    assert done.returncode == 0, done.stdout
    assert re.search(r"SKIPPED .*is missing", done.stdout), done.stdout
    done = run(str(own.folder / ".venv/bin/lifecycle"), "train", folder=own.folder, **nowhere)
    assert done.returncode == 3
    assert "is missing" in done.stdout
    assert "Traceback" not in done.stdout
