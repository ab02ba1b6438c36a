"""Each gate refuses the defect that it exists for."""

import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from project import ROOT, Project
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier

import model
from lifecycle.contract import Binary, Inputs
from model import contract, estimator

SQL = (Path(model.__file__).parent / "features.sql").read_text()


@pytest.fixture
def project(trained: Project, tmp_path: Path) -> Project:
    """Return the trained project with a storage of its own."""
    return Project(trained.data, Path(shutil.copytree(trained.storage, tmp_path / "storage")))


def with_table(project: Project, folder: Path, table: str, query: str) -> Project:
    """Return the project with one table replaced by a query over its old rows."""
    shutil.copytree(project.data, folder)
    source = project.data / f"{table}.parquet"
    with duckdb.connect() as connection:
        connection.read_parquet(str(source)).create_view("original")
        connection.sql(query).write_parquet(str(folder / source.name))
    return replace(project, data=folder)


def versions(project: Project) -> list[str]:
    return sorted(path.name for path in (project.storage / "bundles").iterdir())


def test_a_valid_version_is_promoted(project: Project) -> None:
    assert project.newest.version in project.succeed("promote", "--why", "the first version")


@pytest.mark.parametrize(
    ("table", "changed", "column"),
    [
        ("customers", "* REPLACE (CASE WHEN customer_id = 'c-00007' THEN 'gold' ELSE plan END AS plan)", "plan"),
        ("customers", "* REPLACE (CASE WHEN customer_id = 'c-00007' THEN NULL ELSE region END AS region)", "region"),
        ("events", "* REPLACE (-amount AS amount)", "spent_30d"),
        ("labels", "* REPLACE (CASE WHEN customer_id = 'c-00007' THEN 101 ELSE discount END AS discount)", "discount"),
    ],
)
def test_training_refuses_a_column_that_violates_the_contract(
    project: Project, tmp_path: Path, table: str, changed: str, column: str
) -> None:
    before = versions(project)
    code, output = with_table(project, tmp_path / "data", table, f"SELECT {changed} FROM original").run("train")
    assert (code, versions(project)) == (1, before)
    assert f"the completed rows: {column} " in output


def test_training_uses_only_labels_that_were_known(project: Project, tables: duckdb.DuckDBPyConnection) -> None:
    project.succeed("train", "--as-of", "2025-07-01")
    known = tables.execute("SELECT count(*) FROM labels WHERE seen_ts <= epoch(TIMESTAMP '2025-07-01')").fetchone()
    assert (sum(project.newest.facts["rows"].values()),) == known


def test_promotion_refuses_a_model_trained_on_shuffled_labels(project: Project, tmp_path: Path) -> None:
    shuffled = """
        SELECT l.* EXCLUDE (churned), other.churned
        FROM (SELECT *, row_number() OVER (ORDER BY customer_id, ts) AS place FROM original) AS l
        JOIN (SELECT churned, row_number() OVER (ORDER BY hash(customer_id, ts)) AS place FROM original) AS other
        USING (place)
    """
    worse = with_table(project, tmp_path / "data", "labels", shuffled)
    worse.succeed("train")
    code, output = worse.run("promote")
    assert code == 1
    assert "not surely better than answering without looking" in output
    assert not (project.storage / "deployments" / "local.json").exists()


def test_promotion_refuses_too_few_held_out_rows(project: Project) -> None:
    code, output = project.run("promote", GATE__MIN_ROWS="1000000")
    assert code == 1
    assert "decide nothing" in output


def test_a_linear_model_replaces_a_candidate_that_does_not_beat_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def candidate(inputs: Inputs, seed: int) -> BaseEstimator:
        return DummyClassifier()

    monkeypatch.setattr(estimator, "candidate", candidate)
    project.succeed("train")
    assert project.newest.facts["estimator"] == "linear"


@pytest.mark.parametrize("part", ["model", "contract.json", "features.sql", "golden.jsonl", "card.md"])
def test_a_bundle_with_a_changed_byte_is_refused(project: Project, part: str) -> None:
    name = next(name for name in sorted(project.newest.facts["files"]) if name.startswith(part))
    path = project.newest.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    code, output = project.run("promote")
    assert code == 1
    assert f"holds a changed {name}" in output


def test_a_breaking_change_needs_a_new_major_version(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    released = Path(shutil.copy(ROOT / "contract.json", tmp_path))
    monkeypatch.setattr(contract, "TARGET", Binary(label="churned", positive="leaves", negative="stays"))
    code, output = replace(project, root=tmp_path).run("contract")
    assert code == 1
    assert "would break callers of version 1" in output
    assert released.read_text() == (ROOT / "contract.json").read_text()


def test_check_refuses_features_that_differ_from_the_contract(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = Path(shutil.copytree(Path(model.__file__).parent, tmp_path / "model"))
    (package / "features.sql").write_text(SQL.replace("AS spent_30d", "AS spent"))
    monkeypatch.setattr(contract, "__file__", str(package / "contract.py"))
    code, output = project.run("check")
    assert code == 1
    assert "lacks the column spent_30d" in output


def test_an_unknown_setting_is_refused_with_the_nearest_name(project: Project) -> None:
    code, output = project.run("promote", GATE__MIN_ROW="10")
    assert code == 1
    assert "gate.min_rows" in output


def uses_later_events(tables: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Return whether features change when every event that was seen at or after the time of the row is removed."""
    late = "SELECT customer_id, max(seen_ts) AS ts FROM events WHERE seen_ts > ts GROUP BY customer_id"
    tables.execute(f"CREATE TEMP TABLE spine AS {late}")
    # A sum over another number of rows can differ in its last bits.
    query = f"SELECT * REPLACE (round(spent_30d, 6) AS spent_30d) FROM ({sql}) ORDER BY customer_id"
    everything = tables.execute(query).fetchall()
    before = "SELECT e.* FROM events AS e JOIN spine AS a USING (customer_id) WHERE e.seen_ts < a.ts"
    tables.execute(f"CREATE TEMP TABLE known AS {before}")
    tables.execute("CREATE OR REPLACE VIEW events AS FROM known")
    known = tables.execute(query).fetchall()
    assert len(known) > 100
    return everything != known


def test_the_features_use_no_later_event(tables: duckdb.DuckDBPyConnection) -> None:
    assert not uses_later_events(tables, SQL)


@pytest.mark.parametrize(
    ("original", "leaking"), [("AND 1 PRECEDING", "AND CURRENT ROW"), ("seen_ts AS ts", "ts AS ts")], ids=["<=", "ts"]
)
def test_a_leak_in_the_features_is_found(tables: duckdb.DuckDBPyConnection, original: str, leaking: str) -> None:
    assert original in SQL
    assert uses_later_events(tables, SQL.replace(original, leaking))
