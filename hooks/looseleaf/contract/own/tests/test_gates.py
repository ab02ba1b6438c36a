"""Each check rejects the defect that it exists for."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from project import ROOT, Project
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier, DummyRegressor

from lifecycle.contract import Column, Contract, Inputs, Request, team
from lifecycle.sample.synthetic import Table
from model import contract as declared
from model import estimator


@pytest.fixture
def project(trained: Project, tmp_path: Path) -> Project:
    """Return the trained project with a copy of its storage."""
    return replace(trained, storage=Path(shutil.copytree(trained.storage, tmp_path / "storage")))


def invalid_values(column: Column) -> Iterator[tuple[str, Any, str]]:
    """Yield values that a column does not allow: the rule, the value, and the expected message."""
    if not column.nullable:
        yield "a null", None, "is null in 1 of"
    if column.kind in ("number", "integer"):
        if column.high is not None:
            yield "too large", 2.0 * max(abs(column.high), 1.0), "is above"
        yield "not finite", np.inf, "is not finite"
    if column.kind == "integer":
        yield "a fraction", 0.5, "is not a whole number"
    if column.levels:
        yield "an unknown level", "|".join(column.levels), "has a level that the contract does not name"
    elif column.kind == "category" and column.max_length is not None:
        yield "a long text", "x" * (column.max_length + 1), "is longer than"
    yield "another type", "text" if column.kind != "category" else 1.5, f"the contract says {column.kind}"


CONTRACT = team.load_contract()[0]
# A wrong key is a key without features, which another message reports.
KEYS = CONTRACT.keys if CONTRACT.lookups else ()
# For each rule, the first column to which it applies.
COLUMNS = [column for column in CONTRACT.columns[::-1] if column not in KEYS]
RULES = {rule: (column, *how) for column in COLUMNS for rule, *how in invalid_values(column)}


def replace_column(monkeypatch: pytest.MonkeyPatch, table: Table, name: str, values: object) -> None:
    """Replace the values of one column of the labelled rows."""
    frame = table.frame.copy()
    frame[name] = values
    monkeypatch.setattr(team, "load_data", lambda: replace(table, frame=frame))


def versions(project: Project) -> list[str]:
    return sorted(path.name for path in (project.storage / "bundles").iterdir())


def test_a_good_version_is_promoted(project: Project) -> None:
    assert project.newest.version in project.succeed("promote", "--why", "the first one")


@pytest.mark.parametrize("rule", RULES)
def test_training_rejects_a_column_that_violates_the_contract(
    project: Project, synthetic: Table, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    column, value, message = RULES[rule]
    values: Any = value
    if rule != "another type":
        kind = "float64" if column.kind in ("number", "integer") else "object"
        values = synthetic.frame[column.name].astype(kind).copy()
        values.iloc[7] = value
    replace_column(monkeypatch, synthetic, column.name, values)
    before = versions(project)
    code, output = project.run("train")
    assert (code, versions(project)) == (1, before)
    assert any(f": {column.name} " in line and message in line for line in output.splitlines())


def test_promotion_is_refused_for_a_model_of_shuffled_labels(
    project: Project, synthetic: Table, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = contract.target.label
    replace_column(monkeypatch, synthetic, name, np.random.default_rng(0).permutation(synthetic.frame[name].to_numpy()))
    project.succeed("train")
    # At 95 % confidence, one of twenty such models would pass by chance.
    code, output = project.run("promote", GATE__CONFIDENCE="0.999")
    assert code == 1
    assert "not surely better than answering without looking" in output
    assert not (project.storage / "deployments" / "local.json").exists()


def test_promotion_is_refused_with_too_few_rows(project: Project) -> None:
    code, output = project.run("promote", GATE__MIN_ROWS="1000000")
    assert code == 1
    assert "decide nothing" in output


def test_the_linear_baseline_replaces_a_candidate_that_does_not_beat_it(
    project: Project, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def candidate(inputs: Inputs, seed: int) -> BaseEstimator:
        if contract.target.task == "regression":
            return DummyRegressor(strategy="constant", constant=1e6)
        return DummyClassifier(strategy="most_frequent")

    monkeypatch.setattr(estimator, "candidate", candidate)
    project.succeed("train")
    assert project.newest.facts["estimator"] == "linear"


@pytest.mark.parametrize("part", ["card.md", "contract.json", "golden.jsonl", "model"])
def test_a_bundle_with_a_changed_byte_is_refused(project: Project, part: str) -> None:
    name = next(name for name in project.newest.facts["files"] if name.startswith(part))
    path = project.newest.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    code, output = project.run("promote")
    assert code == 1
    assert f"holds a changed {name}" in output


def test_a_change_that_breaks_callers_needs_a_new_major_version(
    project: Project, contract: Contract, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class More(declared.ROW):
        one_more: Annotated[bool, Request()]

    released = Path(shutil.copy(ROOT / "contract.json", tmp_path))
    monkeypatch.setattr(declared, "ROW", More)
    elsewhere = replace(project, root=tmp_path)
    code, output = elsewhere.run("contract")
    assert code == 1
    assert f"would break callers of version {contract.version}" in output
    assert released.read_bytes() == (ROOT / "contract.json").read_bytes()
    monkeypatch.setattr(declared, "VERSION", contract.version + 1)
    elsewhere.succeed("contract")


def test_an_unknown_setting_is_rejected_with_the_nearest_name(project: Project) -> None:
    code, output = project.run("promote", GATE__MIN_ROW="10")
    assert code == 1
    assert "gate.min_rows" in output
