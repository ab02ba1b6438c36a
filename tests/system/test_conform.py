"""`make conform`: programs of others read versions of every kind and task; a defect of each format is found."""

import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from interop import Version, bom, card, mlflow_model
from interop import __main__ as interop
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from lifecycle.contract.declare import derive
from lifecycle.contract.team import Team
from lifecycle.models.bundle import INSTALL, Bundle
from lifecycle.serving import v2
from lifecycle.training.train import train
from looseleaf.project import make
from support.rendering import run, tool
from support.tables import DATA, TABLES, data_of, estimator_of
from support.teams import order_team, settings_in

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]
READERS = [*interop.CHECKS]
NEEDS_DATA = pytest.mark.skipif(not DATA, reason="LOOSELEAF_DATA does not name the folder of the real tables")
LACKING = "its metadata differ from the bundle: contract, classes, unit, label, version. "
LACKING += "Train again, and promote that version."
# A class of the team, in a package of its own.
CODE = """
import numpy as np


class Even:
    share = 0.25

    def fit(self, frame, label):
        return self

    def save(self, directory):
        (directory / "share.txt").write_text("0.25")

    @classmethod
    def load(cls, directory):
        made = cls()
        made.share = float((directory / "share.txt").read_text())
        return made

    def predict(self, frame):
        return np.where(frame["gift"].isna(), 0.5, self.share)
"""


@pytest.fixture(scope="module")
def here(project: Path) -> Iterator[Path]:
    """The installed repository as the working directory, and its uv."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("UV", tool("uv"))
        yield project


def team_of(table: str) -> Team:
    found = TABLES[table]
    return Team(table, derive(found.row, found.target, 1), None, data_of(found), estimator_of(found.target))


def skops_team() -> Team:
    """The estimators of this team do not convert."""

    def estimator() -> Any:
        return make_pipeline(SimpleImputer(), LinearDiscriminantAnalysis())

    trivial = DummyClassifier(strategy="prior")
    made = SimpleNamespace(
        candidate=lambda inputs, seed: estimator(),
        baselines=lambda inputs, seed: {"trivial": trivial, "linear": estimator()},
    )
    return order_team(estimator=made)


def python_team(folder: Path) -> Team:
    (folder / "src/evenmodel").mkdir(parents=True)
    (folder / "src/evenmodel/__init__.py").write_text("")
    (folder / "src/evenmodel/even.py").write_text(CODE)
    # It stays importable: nothing else has this name.
    sys.path.append(str(folder / "src"))
    importlib.invalidate_caches()
    made = importlib.import_module("evenmodel.even").Even
    # The linear one is so bad that the class is the model of the bundle.
    linear = DummyClassifier(strategy="constant", constant=0)
    baselines = {"trivial": DummyClassifier(strategy="prior"), "linear": linear}
    estimator = SimpleNamespace(candidate=lambda inputs, seed: made(), baselines=lambda inputs, seed: baselines)
    # The own distribution of a team is in its bundle.
    return order_team(name="looseleaf-lifecycle", estimator=estimator)


def version(bundle: Bundle, folder: Path) -> Version:
    (folder / "work").mkdir()
    return Version(bundle, None, folder / "work")


def results(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    lines = re.findall(r"^(passed|failed|not possible) +([^:]+): (.*)$", capsys.readouterr().out, re.MULTILINE)
    return {name: (result, text) for result, name, text in lines}


def test_six_readers_read_the_sample(here: Path) -> None:
    done = run(*make("conform"), folder=here)
    assert done.returncode == 0, done.stdout
    assert re.findall(r"^passed +([^:]+): ", done.stdout, re.MULTILINE) == READERS
    [size] = re.findall(r"; (\d+) kB more$", done.stdout, re.MULTILINE)
    assert int(size) < 50


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An ONNX bundle with three classes."""
    folder = tmp_path_factory.mktemp("wine")
    return train(team_of("wine"), settings_in(folder), folder)


@pytest.mark.parametrize("name", [pytest.param("bikes", marks=NEEDS_DATA), "wine", "skops", "python"])
def test_readers_read_every_kind_and_task_or_the_reason_is_printed(
    here: Path, wine: Bundle, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    teams = {"bikes": lambda: team_of("bikes"), "skops": skops_team, "python": lambda: python_team(tmp_path)}
    bundle = train(teams[name](), settings_in(tmp_path), tmp_path) if name in teams else wine
    assert bundle.kind == (name if name in INSTALL else "onnx")
    assert interop.conform(version(bundle, tmp_path)) == 0
    found = results(capsys)
    assert list(found) == READERS
    absent = {reader: text for reader, (result, text) in found.items() if result != "passed"}
    assert absent == ({} if bundle.kind == "onnx" else {"ONNX": f"a bundle of kind {name} has no graph"})


def _shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    write = v2.Inference.write

    def shifted(self: Any, predictions: Any) -> bytes:
        return write(self, [*predictions[1:], predictions[0]])

    monkeypatch.setattr(v2.Inference, "write", shifted)


def _with_a_wrong_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_model, "TYPES", mlflow_model.TYPES | {"number": "boolean"})


def _without_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = card.metadata

    def wrong(bundle: Bundle) -> dict[str, Any]:
        found = metadata(bundle)
        del found["model-index"][0]["results"][0]["dataset"]["type"]
        return found

    monkeypatch.setattr(card, "metadata", wrong)


def _with_an_unknown_type(monkeypatch: pytest.MonkeyPatch) -> None:
    component = bom.component
    monkeypatch.setattr(bom, "component", lambda bundle: component(bundle) | {"type": "model"})


def _edited_after_signing(monkeypatch: pytest.MonkeyPatch) -> None:
    read = interop.read

    def edited(reader: str, folder: Path, *arguments: str, needs: Path | None = None) -> Any:
        if reader == "verify":
            (folder / "golden.jsonl").write_text("")
        return read(reader, folder, *arguments, needs=needs)

    monkeypatch.setattr(interop, "read", edited)


DEFECTS = {
    "Open Inference Protocol": (_shifted, "as JSON: golden row 1 of"),
    "MLflow": (_with_a_wrong_signature, "Input should be a valid number"),
    "Hugging Face": (_without_a_type, "type"),
    "CycloneDX": (_with_an_unknown_type, "'model' is not one of"),
    "model signing": (_edited_after_signing, "no trusted key has made its model.sig"),
}


@pytest.mark.parametrize("reader", DEFECTS)
def test_a_defect_of_a_format_is_found_by_its_reader(
    here: Path,
    wine: Bundle,
    tmp_path: Path,
    reader: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant, text = DEFECTS[reader]
    plant(monkeypatch)
    monkeypatch.setattr(interop, "CHECKS", {reader: interop.CHECKS[reader]})
    assert interop.conform(version(wine, tmp_path)) == 1
    result, reason = results(capsys)[reader]
    assert (result, text in reason) == ("failed", True), reason


def with_metadata(bundle: Bundle, folder: Path, about: dict[str, str]) -> Version:
    """A copy whose graph has other metadata."""
    copy = Bundle(Path(shutil.copytree(bundle.path, folder / bundle.version)), bundle.facts)
    model = onnx.load(copy.path / "model.onnx")
    onnx.helper.set_model_props(model, about)
    onnx.save(model, copy.path / "model.onnx")
    return version(copy, folder)


@pytest.mark.parametrize(
    ("about", "result"),
    [
        ({}, ("not possible", "it was trained by a release that wrote no metadata into graphs; train again")),
        ({"name": '"wine"', "version": '"20260101"'}, ("failed", LACKING)),
    ],
)
def test_metadata_that_a_graph_lacks_are_named(
    here: Path,
    wine: Bundle,
    tmp_path: Path,
    about: dict[str, str],
    result: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interop, "CHECKS", {"ONNX": interop.CHECKS["ONNX"]})
    assert interop.conform(with_metadata(wine, tmp_path, about)) == (result[0] == "failed")
    assert results(capsys)["ONNX"] == result
