"""What a lift writes into a repository, and what it refuses to overwrite."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from lifecycle.errors import LifecycleError, Refused
from looseleaf.lift import interpreter, repository
from support import notebooks
from support.notebooks import FIT, MEAN, PREDICT, READ, SEX, SPLIT
from support.rendering import ROOT


@pytest.fixture
def root(render: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a rendered repository."""
    folder = tmp_path / "repository"
    subprocess.run(["cp", "-r", str(render()), str(folder)], check=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def test_the_contract_has_the_used_columns_as_the_notebook_reads_them(lift, root: Path) -> None:
    table = notebooks.passengers().assign(sex=lambda found: found["sex"].map({"female": "yes", "male": "no"}))
    table.loc[3, "sex"] = None
    cells = ['df = df.dropna(subset=["sex"])', MEAN, SEX.replace("female", "yes"), SPLIT, FIT, PREDICT]
    result = lift(READ, *cells, table=table)
    assert result.is_verified, result.checks
    repository.write(root, result, "", lambda _: False)
    contract = (root / "src/model/contract.py").read_text()
    # Without the notebook, a column of `yes` and `no` would be a truth value, and a null would be allowed.
    assert "sex: Annotated[str, Request(" in contract
    assert "age: Annotated[float | None, Request(" in contract
    assert "port:" not in contract
    assert 'FROM file WHERE "sex" IS NOT NULL' in (root / "src/model/data.py").read_text()
    assert "return LiftedModel()" in (root / "src/model/estimator.py").read_text()
    assert "make lift NOTEBOOK=../work/notebook.ipynb" in (root / "README.md").read_text()


def test_an_index_that_was_saved_without_a_name_is_no_part_of_the_contract(lift, root: Path) -> None:
    read = READ.replace("df =", 'pd.read_csv("passengers.csv").to_csv("saved.csv")\ndf =')
    result = lift(
        read.replace('df = pd.read_csv("passengers', 'df = pd.read_csv("saved'), MEAN, SEX, SPLIT, FIT, PREDICT
    )
    assert "Unnamed: 0" in result.checks["unused"]
    repository.write(root, result, "", lambda _: False)
    assert "olumn" not in (root / "src/model/contract.py").read_text().partition("class ")[2]


def test_an_edited_file_is_replaced_only_with_consent_and_its_copy_is_kept(lift, root: Path) -> None:
    result = lift(READ, MEAN, SEX, SPLIT, FIT, PREDICT)
    path = root / "src/model/estimator.py"
    path.write_text(edited := path.read_text() + "# mine\n")
    others = [root / name for name in ("config/base.yaml", "tests/test_data.py")]
    for other in others:
        other.write_text(other.read_text() + "# mine\n")
    with pytest.raises(Refused, match=r"src/model/estimator\.py"):
        repository.write(root, result, "", lambda _: False)
    assert path.read_text() == edited
    assert not (root / "src/model/lifted.py").exists()
    requested: list[str] = []
    repository.write(root, result, "", lambda names: requested.append(names) is None)
    assert requested == ["src/model/estimator.py"]
    assert all(other.read_text().endswith("# mine\n") for other in others)
    assert "LiftedModel" in path.read_text()
    assert path.with_name("estimator.py.bak1").read_text() == edited
    # A second lift finds no edit, and `make contract` keeps the estimator and the conftest that fits it.
    repository.write(root, result, "", lambda names: pytest.fail(names))
    recorded = (root / "docs/contract-report.md").read_text()
    assert "| `tests/lifted.json` |" in recorded
    assert "| `src/model/estimator.py` |" not in recorded
    assert "| `tests/conftest.py` |" not in recorded


def test_a_passage_of_the_template_that_is_gone_is_named_and_nothing_is_written(
    lift, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = lift(READ, MEAN, SEX, SPLIT, FIT, PREDICT)
    monkeypatch.setitem(repository.PASSAGES, "README.md", [{"find": "no such passage", "put": ""}])
    with pytest.raises(LifecycleError, match=r"README.md of the template has no passage 'no such passage'"):
        repository.write(root, result, "", lambda _: True)
    assert not (root / "src/model/lifted.py").exists()
    # A page that the user wrote need not have it, and one that was removed is not written again.
    page = root / "README.md"
    page.write_text("# Mine\n")
    repository.write(root, result, "", lambda _: True)
    assert page.read_text() == "# Mine\n"
    page.unlink()
    repository.write(root, result, "", lambda _: True)
    assert not page.exists()


def test_a_condition_on_two_columns_chooses_rows_for_training_or_is_refused_with_its_text(lift, root: Path) -> None:
    both = 'df = df[(df["fare"] < 30) | (df["port"] != "C")]'
    result = lift(READ, both, MEAN, SEX, SPLIT, FIT, PREDICT)
    assert result.is_verified, (result.checks, result.lifted.text)
    assert f"learned.training_rows(lambda: {both[5:]}, df)" in result.lifted.text
    assert result.checks["rejected"] == {}
    result.checks["unruled"] = [both[5:]]
    with pytest.raises(LifecycleError, match=r"more than one column.*port"):
        repository.write(root, result, "", lambda _: True)
    assert not (root / "src/model/lifted.py").exists()


def test_an_environment_is_built_once_and_without_unknown_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        commands.append(command)
        Path(command[-2]).mkdir(parents=True, exist_ok=True) if command[1] == "venv" else None
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: tmp_path)
    monkeypatch.setattr(interpreter.subprocess, "run", run)
    code = "import helpers\nfrom sklearn.svm import SVC\nimport os"
    pythons = {interpreter.build("scikit-learn<1.2", code) for _ in range(2)}
    assert len(pythons) == 1
    assert [command[1] for command in commands] == ["venv", "pip"]
    assert commands[1][-5:-1] == ["numpy<2", "pandas", "scikit-learn", "scikit-learn<1.2"]


def test_an_environment_that_was_not_completed_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [0, 1, 0, 0]

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        Path(command[-2]).mkdir(parents=True, exist_ok=True) if command[1] == "venv" else None
        return subprocess.CompletedProcess(command, codes.pop(0), "", "no such version")

    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: tmp_path)
    monkeypatch.setattr(interpreter.subprocess, "run", run)
    with pytest.raises(LifecycleError, match=r"uv cannot install(.|\n)*no such version"):
        interpreter.build("scikit-learn<1.2", "")
    assert interpreter.build("scikit-learn<1.2", "") == interpreter.build("scikit-learn<1.2", "")
    assert codes == []


def test_truth_values_are_selected_in_the_spelling_of_duckdb() -> None:
    rule = {"column": "member", "kind": "levels", "value": ["True"]}
    with duckdb.connect() as connection:
        table = connection.sql("SELECT * FROM (VALUES (TRUE), (FALSE), (NULL)) AS t(member)")
        assert table.filter(repository._sql(rule, {})).fetchall() == [(True,), (None,)]


def test_a_time_that_is_missing_stays_missing() -> None:
    facts = {"columns": {"day": {"format": "%d.%m.%Y"}}, "names": {"day": "day"}}
    assert repository._row({"day": None}, facts) == {"day": None}
    assert repository._row({"day": "31.12.2026"}, facts) == {"day": "2026-12-31T00:00:00"}


def test_what_cannot_be_kept_is_refused_before_a_file_is_read() -> None:
    result: Any = SimpleNamespace(checks={"method": "decision_function"})
    with pytest.raises(LifecycleError, match="decision_function of the notebook's model returns no probabilities"):
        repository.write(Path("nowhere"), result, "", lambda _: True)
