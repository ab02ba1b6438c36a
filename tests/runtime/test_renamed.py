"""Names of releases before 0.3.0 still work, and warn once with the new name."""

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import duckdb
import pytest

import lifecycle
from lifecycle import RENAMED_MODULES, cli, features, timestamps, warn_renamed
from lifecycle.contract import Contract, Target, team
from lifecycle.contract.compatibility import compare, release
from lifecycle.models.bundle import Bundle
from lifecycle.models.predictor import Predictor
from support.teams import sample_team

DECLARED = {
    "Classes": "Multiclass",
    "Entity": "Lookup",
    "Key": "Key",
    "Number": "Regression",
    "Request": "Request",
    "Row": "Row",
    "TwoClasses": "Binary",
}


@pytest.fixture(autouse=True)
def unwarned() -> Iterator[None]:
    """Warn again about names and modules that another test has used."""
    old = ("lifecycle.declare", "lifecycle.matrix", *RENAMED_MODULES)
    for name in old:
        sys.modules.pop(name, None)
    warn_renamed.cache_clear()
    yield
    warn_renamed.cache_clear()


@pytest.mark.parametrize(("old", "new"), RENAMED_MODULES.items())
def test_an_old_module_is_the_new_one_and_warns_once(old: str, new: str) -> None:
    with pytest.warns(FutureWarning) as caught:
        modules = [importlib.import_module(old) for _ in range(2)]
    assert modules == [importlib.import_module(new)] * 2
    assert [str(each.message) for each in caught if str(each.message).startswith(f"{old} ")] == [
        f"{old} is now {new}; the old name is removed in 0.5.0."
    ]


def test_importing_an_old_module_leaves_the_name_of_the_new_one() -> None:
    with pytest.warns(FutureWarning):
        importlib.import_module("lifecycle.store")
    assert importlib.import_module("lifecycle.storage").__name__ == "lifecycle.storage"


def test_a_module_that_never_existed_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("lifecycle.never")


def test_the_old_declaration_names_the_new_terms() -> None:
    with pytest.warns(FutureWarning, match="TwoClasses: Binary, Classes: Multiclass, Number: Regression"):
        old = importlib.import_module("lifecycle.declare")
    new = importlib.import_module("lifecycle.contract")
    assert {name: getattr(old, name) for name in old.__all__} == {
        name: getattr(new, renamed) for name, renamed in DECLARED.items()
    }


def test_the_old_module_of_inputs_warns() -> None:
    with pytest.warns(FutureWarning, match=r"lifecycle\.matrix is now lifecycle\.contract"):
        old = importlib.import_module("lifecycle.matrix")
    assert old.Inputs is importlib.import_module("lifecycle.contract").Inputs


def test_answer_in_a_declaration_is_its_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    declared = importlib.import_module("model.contract")
    older = ModuleType("model.contract")
    older.__dict__.update({"__file__": str(declared.__file__), "ROW": declared.ROW, "VERSION": declared.VERSION})
    older.__dict__["ANSWER"] = declared.TARGET
    monkeypatch.setitem(sys.modules, "model.contract", older)
    with pytest.warns(FutureWarning, match=r"ANSWER in src/model/contract\.py is now TARGET"):
        contract, _ = team.load_contract()
    assert contract == sample_team().contract


@pytest.mark.parametrize(("old", "new"), [("answer", "target"), ("entity", "lookups")])
def test_old_attributes_of_a_contract_are_the_new_ones(old: str, new: str) -> None:
    contract = sample_team().contract
    with pytest.warns(FutureWarning, match=rf"contract\.{old} is now contract\.{new}") as caught:
        assert [getattr(contract, old) for _ in range(2)] == [getattr(contract, new)] * 2
    assert len(caught) == 1


class OlderData:
    """A `model.data` whose SQL uses the tables of releases before 0.3.0."""

    def tables(self, connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        connection.execute("CREATE TABLE customers AS SELECT 'c-1' AS id, 5 AS joined")

    def labels(self, connection: duckdb.DuckDBPyConnection) -> str:
        return "SELECT id, 10 AS ts, TRUE AS label FROM customers"

    def population(self, connection: duckdb.DuckDBPyConnection) -> str:
        return "SELECT id FROM customers, moment WHERE joined < moment.ts"


def test_old_tables_of_the_sql_are_the_new_ones(tmp_path: Path) -> None:
    schema = importlib.import_module("lifecycle.contract.schema")
    columns = schema.Column("id", "key", "category"), schema.Column("age", "lookup", "integer")
    contract = Contract(1, Target("binary", "label", ("no", "yes")), columns)
    sql = "SELECT a.id, a.ts, a.ts - c.joined AS age FROM asks AS a JOIN customers AS c USING (id)"
    data = OlderData()
    with features.connect(data, tmp_path) as connection:
        with pytest.warns(FutureWarning) as caught:
            counts = [features.population_rows(connection, data, contract, sql, 10) for _ in range(2)]
        assert counts == [1, 1]
        assert connection.execute(f"SELECT id, age FROM {features.ROWS}").fetchall() == [("c-1", 5)]
    found = sorted(str(each.message).partition(";")[0] for each in caught)
    assert found == ["the SQL table asks is now spine", "the SQL table moment is now as_of"]


def test_old_functions_are_the_new_ones(bundle: Bundle) -> None:
    predictor = Predictor(bundle)
    rows = [{"customer_id": "a", "discount": 0.0, "plan": "basic", "visits": 1}]
    with pytest.warns(FutureWarning) as caught:
        found = predictor.answers(rows, threshold=None), timestamps.told(0)
    assert found == (predictor.predict(rows), timestamps.format_utc(0))
    messages = [str(each.message).partition(";")[0] for each in caught]
    assert messages == ["Predictor.answers is now Predictor.predict", "lifecycle.timestamps.told is now format_utc"]


def test_new_names_do_not_warn(tmp_path: Path) -> None:
    contract = sample_team().contract
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        importlib.reload(importlib.import_module("model.contract"))
        assert contract.target.label == "churned"


def older(text: str) -> str:
    """Return a contract.json as 0.2.0 wrote it."""
    for new, old in (("x-target", "x-answer"), ('"lookup"', '"entity"'), ('"binary"', '"two classes"')):
        assert new in text
        text = text.replace(new, old)
    return text


def test_a_contract_json_of_an_older_release_is_not_out_of_date_and_is_rewritten(tmp_path: Path) -> None:
    contract = sample_team().contract
    path = tmp_path / "contract.json"
    path.write_text(older(contract.to_json()))
    assert Contract.from_json(path.read_bytes()) == contract
    compare(contract, tmp_path)
    assert release(contract, tmp_path)
    assert path.read_text() == contract.to_json()
    assert not release(contract, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"), [("two classes", "binary"), ("classes", "multiclass"), ("number", "regression")]
)
def test_old_names_of_tasks_are_read(old: str, new: str) -> None:
    classes = {"binary": ("a", "b"), "multiclass": ("a", "b", "c")}.get(new, ())
    target = Target(new, "label", classes)  # type: ignore[arg-type]
    assert Target.from_schema(target.to_schema() | {"x-task": old}) == target


def test_the_old_entry_point_runs_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == lifecycle.__version__
