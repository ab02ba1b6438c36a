"""What is written for other programs: metadata of graphs, the model card and its check, the bill of materials."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from interop import Version, bom, card, mlflow_model
from interop import __main__ as interop

from lifecycle import cli
from lifecycle.contract.compatibility import release
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle, BundleError, verify
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from lifecycle.settings import Settings
from lifecycle.training.package import described
from lifecycle.training.train import train
from support.gate import own
from support.owned import owners_text
from support.pages import blocks
from support.rendering import TEMPLATE
from support.storages import CHURN
from support.teams import order_team, sample_team, settings_in

PAGE = (TEMPLATE / "lifecycle/docs/interoperability.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Bundle]:
    """A storage with one ONNX bundle of a regression."""
    folder = tmp_path_factory.mktemp("interop")
    settings = settings_in(folder)
    return settings, train(order_team("regression", rows=600), settings, folder)


def run_page_script(graph: Path) -> str:
    """Run the script of the page as it stands, in a process that is not given this repository."""
    [script] = blocks(PAGE, "ONNX")
    assert len(script.splitlines()) == 10
    done = subprocess.run([sys.executable, "-I", "-", str(graph)], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_script_of_the_page_reads_name_contract_classes_and_units(trained: tuple[Settings, Bundle]) -> None:
    bundle = trained[1]
    name, target, inputs = run_page_script(bundle.path / "model.onnx").splitlines()
    assert name == f"orders {bundle.version.partition('-')[0]} {bundle.facts['files']['contract.json']}"
    assert target == "classes: [] unit: days"
    assert inputs.startswith("inputs: order amount € items gift class")


def test_metadata_may_contain_words_that_are_forbidden_in_a_graph(
    trained: tuple[Settings, Bundle], tmp_path: Path
) -> None:
    graph, facts = trained[1].read("model.onnx"), trained[1].facts | {"name": "location"}
    contract = trained[1].contract
    columns = [replace(column, unit="com.microsoft") for column in contract.columns]
    other = Contract(1, replace(contract.target, label="location"), tuple(columns))
    made = tmp_path / "model.onnx"
    made.write_bytes(described(graph, other, facts))
    assert b"location" not in made.read_bytes()
    assert run_page_script(made).startswith("location 2")


def test_metadata_take_less_than_2_kb_and_the_bundle_is_valid_with_them(trained: tuple[Settings, Bundle]) -> None:
    import onnx

    bundle = trained[1]
    model = onnx.load(bundle.path / "model.onnx")
    size = len(model.SerializeToString())
    onnx.helper.set_model_props(model, {})
    assert 0 < size - len(model.SerializeToString()) < 2_000
    Predictor(verify(bundle.path))


class Repository:
    """A folder with the files that a model card is made from, and a deployed version."""

    def __init__(self, settings: Settings, bundle: Bundle, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.bundle, self.store = folder, bundle, own(settings, folder).store
        patch.setenv("LIFECYCLE_STORAGE", str(self.store.root))
        (folder / "docs").mkdir()
        (folder / "docs/agreement.md").write_text("# Agreement\n\nOne euro a day.\n")
        (folder / "OWNERS").write_text(owners_text(), encoding="utf-8")
        (folder / "contract.json").write_text(bundle.contract.to_json())
        self.deploy(bundle.version, "local")
        self.deployment = self.deploy(bundle.version)
        self.path = folder / "docs/model-card.md"
        self.path.write_text(card.text(folder, bundle, self.deployment), encoding="utf-8")

    def deploy(self, version: str, environment: str = "staging") -> deployments.Deployment:
        seen, new = deployments.read(self.store, environment), deployments.Deployed(version, None)
        return deployments.swap(self.store, environment, seen, new, "promote", "ana", "")


@pytest.fixture
def repository(trained: tuple[Settings, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    return Repository(*trained, tmp_path, monkeypatch)


def test_the_card_has_run_owners_agreement_and_metadata_and_is_current(repository: Repository) -> None:
    shown = repository.path.read_text(encoding="utf-8")
    assert card.check(repository.folder) == f"ok  docs/model-card.md: version {repository.bundle.version}\n"
    for line in ("library_name: onnx", "pipeline_tag: tabular-regression", "## Agreement", "One euro a day."):
        assert line in shown.splitlines()
    assert "- data-science: ana" in shown
    assert "- deployed in staging" in shown
    assert repository.bundle.read("card.md").decode().strip() in shown


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda each: each.path.write_text(each.path.read_text().replace("One euro", "Two euro")), "was edited"),
        (lambda each: each.path.write_text(each.path.read_text() + "More.\n"), "was edited"),
        (lambda each: each.path.write_text("# Mine\n"), "was edited"),
        (lambda each: each.path.write_text("# Mine\n\n<!-- looseleaf {} -->\n"), "was edited"),
        (lambda each: each.path.write_text("# Mine\n\n<!-- looseleaf {no} -->\n"), "was edited"),
        (lambda each: (each.folder / "docs/agreement.md").write_text("# Other\n"), "is older than docs/agreement.md"),
        (lambda each: (each.folder / "OWNERS").write_text("x-ownership: {}\n"), "is older than OWNERS"),
        (lambda each: each.deploy("20260101T000000-00000000"), "deployed is 20260101T000000-00000000"),
    ],
)
def test_a_card_that_was_edited_or_is_stale_is_refused(repository: Repository, change: Any, problem: str) -> None:
    change(repository)
    with pytest.raises(LifecycleError, match=rf"{problem}\n  Run `make card`"):
        card.check(repository.folder)


def test_a_repository_without_a_card_has_nothing_to_check(tmp_path: Path) -> None:
    assert card.check(tmp_path) == ""


def test_check_refuses_a_card_that_was_edited(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    team = sample_team()
    (repository.folder / "lifecycle/tools").mkdir(parents=True)
    for name in ("owners.py", "interop"):
        (repository.folder / "lifecycle/tools" / name).symlink_to(TEMPLATE / "lifecycle/tools" / name)
    monkeypatch.chdir(repository.folder)
    monkeypatch.setattr("lifecycle.contract.team.load_contract", lambda: (team.contract, team.features_sql))
    monkeypatch.setattr("lifecycle.contract.team.load_data", lambda: team.data)
    for name in ("contract.json", "OWNERS"):
        (repository.folder / name).unlink()
    release(team.contract, repository.folder)
    repository.path.write_text(card.text(repository.folder, repository.bundle, repository.deployment))
    assert cli.main(["check"]) == 0
    assert "ok  docs/model-card.md" in capsys.readouterr().out
    repository.path.write_text(repository.path.read_text() + "Better.\n")
    assert cli.main(["check"]) == 1
    assert "docs/model-card.md was edited" in capsys.readouterr().err


def test_a_version_is_described_with_its_data_and_files(trained: tuple[Settings, Bundle]) -> None:
    bundle = trained[1]
    found = bom.component(bundle)
    [data] = found["modelCard"]["modelParameters"]["datasets"]
    counts = {each["name"]: each["value"] for each in data["contents"]["properties"]}
    assert counts["rows:training"] == str(bundle.facts["rows"]["training"])
    assert counts["column:order amount €"] == "number EUR"
    assert {each["name"] for each in found["components"]} == bundle.facts["files"].keys()


def test_the_signature_of_a_row_follows_the_contract(trained: tuple[Settings, Bundle]) -> None:
    found = mlflow_model.signature(trained[1], None)
    assert found["params"] is None
    types = {each["name"]: each["type"] for each in json.loads(found["inputs"] or "")}
    assert types == {"order amount €": "double", "items": "long", "gift": "any", "class": "string", "city": "string"}
    assert json.loads(found["outputs"] or "") == [{"type": "double", "name": "prediction", "required": True}]


def test_the_model_that_mlflow_loads_validates_rows(trained: tuple[Settings, Bundle], tmp_path: Path) -> None:
    import pandas as pd

    mlflow_model.write(trained[1], None, tmp_path / "model")
    model = mlflow_model.Model(tmp_path / "model/bundle" / trained[1].version)
    row = {"order amount €": float("nan"), "items": 3, "gift": None, "class": None, "city": "Bonn"}
    [found] = model.predict(pd.DataFrame([row])).to_dict("records")
    assert found == Predictor(trained[1]).predict([row | {"order amount €": None}])[0]
    for wrong in ({"items": -1}, {"items": "3"}, {"class": "green"}, {"city": None}):
        with pytest.raises(LifecycleError):
            model.predict(pd.DataFrame([row | wrong]))


def test_a_version_that_is_not_deployed_unknown_or_damaged_is_not_read(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = repository.store
    assert Version.opened(store, "local", None, tmp_path).deployment is not None
    with pytest.raises(LifecycleError, match="nothing is deployed in production"):
        Version.opened(store, "production", None, tmp_path)
    with pytest.raises(BundleError, match="holds no version"):
        Version.opened(store, "local", "20260101T000000-00000000", tmp_path)
    monkeypatch.chdir(repository.folder)
    monkeypatch.setattr(sys, "argv", ["interop", "export", "--to", "mlflow", "docs"])
    assert interop.main() == 1
    assert capsys.readouterr().err == "error: docs exists already\n  Name a new folder.\n"


def test_a_reader_that_cannot_be_installed_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "uv"
    program.write_text("#!/bin/sh\necho 'no index' >&2\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setenv("UV", str(program))
    with pytest.raises(LifecycleError, match=r"cyclonedx fails: no index"):
        interop.read("cyclonedx", tmp_path)


def test_fields_that_no_model_reads_get_a_valid_value() -> None:
    columns = (
        Column("application", "id", "integer", low=5, high=9),
        Column("campaign", "logged", "category", levels=("a", "b")),
        Column("note", "logged", "category", nullable=True, required=False),
        Column("late", "logged", "boolean"),
    )
    contract = Contract(1, Target("binary", "churned", ("stays", "churns")), (*CHURN.columns, *columns))
    bundle = Bundle(Path(), {"version": "1"})
    object.__setattr__(bundle, "contract", contract)
    bundle.__dict__["contract"] = contract
    object.__setattr__(bundle, "read", lambda name: b'{"row": {"customer_id": "x"}, "answer": 0.5}')
    [row] = Version(bundle, None, Path()).golden
    assert {column.name: row[column.name] for column in columns} == {
        "application": 5,
        "campaign": "a",
        "note": None,
        "late": False,
    }
    assert row["customer_id"] == "x"
