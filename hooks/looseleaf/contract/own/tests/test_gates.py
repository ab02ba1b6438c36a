"""Each gate refuses the defect it is there for. A gate that was never seen to close is no gate."""

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
    """The trained project with a storage of the test's own."""
    return replace(trained, storage=Path(shutil.copytree(trained.storage, tmp_path / "storage")))


def poisons(column: Column) -> Iterator[tuple[str, Any, str]]:
    """What a column cannot take: what it is, the value, and what is said about it."""
    if not column.nullable:
        yield "a null", None, "is null in 1 of"
    if column.kind in ("number", "integer"):
        if column.high is not None:
            yield "too much", 2.0 * max(abs(column.high), 1.0), "is above"
        yield "no finite number", np.inf, "is not finite"
    if column.kind == "integer":
        yield "a fraction", 0.5, "is not a whole number"
    if column.levels:
        yield "an unknown level", "|".join(column.levels), "has a level that the contract does not name"
    elif column.kind == "category" and column.max_length is not None:
        yield "a long text", "x" * (column.max_length + 1), "is longer than"
    yield "another type", "text" if column.kind != "category" else 1.5, f"the contract says {column.kind}"


CONTRACT = team.load_contract()[0]
# Of each rule, the first column that has it.
RULES = {rule: (column, *how) for column in CONTRACT.columns[::-1] for rule, *how in poisons(column)}


def poison(monkeypatch: pytest.MonkeyPatch, table: Table, name: str, values: object) -> None:
    """Let the labelled rows have other values in one column."""
    frame = table.frame.copy()
    frame[name] = values
    monkeypatch.setattr(team, "load_data", lambda: replace(table, frame=frame))


def versions(project: Project) -> list[str]:
    return sorted(path.name for path in (project.storage / "bundles").iterdir())


def test_a_sound_version_is_promoted(project: Project) -> None:
    assert project.newest.version in project.done("promote", "--why", "the first one")


@pytest.mark.parametrize("rule", RULES)
def test_the_contract_refuses_a_poisoned_column(
    project: Project, invented: Table, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    column, value, said = RULES[rule]
    values: Any = value
    if rule != "another type":
        kind = "float64" if column.kind in ("number", "integer") else "object"
        values = invented.frame[column.name].astype(kind).copy()
        values.iloc[7] = value
    poison(monkeypatch, invented, column.name, values)
    before = versions(project)
    code, told = project.run("train")
    assert (code, versions(project)) == (1, before)
    assert any(f": {column.name} " in line and said in line for line in told.splitlines())


def test_promotion_refuses_a_model_of_shuffled_labels(
    project: Project, invented: Table, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = contract.target.label
    poison(monkeypatch, invented, name, np.random.default_rng(0).permutation(invented.frame[name].to_numpy()))
    project.done("train")
    # At 95 % one of twenty such models would pass by luck.
    code, told = project.run("promote", GATE__CONFIDENCE="0.999")
    assert code == 1
    assert "not surely better than answering without looking" in told
    assert not (project.storage / "deployments" / "local.json").exists()


def test_promotion_refuses_to_decide_on_too_few_rows(project: Project) -> None:
    code, told = project.run("promote", GATE__MIN_ROWS="1000000")
    assert code == 1
    assert "decide nothing" in told


def test_a_linear_model_that_the_candidate_does_not_beat_takes_its_place(
    project: Project, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def candidate(inputs: Inputs, seed: int) -> BaseEstimator:
        if contract.target.task == "regression":
            return DummyRegressor(strategy="constant", constant=1e6)
        return DummyClassifier(strategy="most_frequent")

    monkeypatch.setattr(estimator, "candidate", candidate)
    project.done("train")
    assert project.newest.facts["estimator"] == "linear"


@pytest.mark.parametrize("part", ["card.md", "contract.json", "golden.jsonl", "model"])
def test_a_bundle_with_a_changed_byte_is_refused(project: Project, part: str) -> None:
    name = next(name for name in project.newest.facts["files"] if name.startswith(part))
    path = project.newest.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    code, told = project.run("promote")
    assert code == 1
    assert f"holds a changed {name}" in told


def test_a_change_that_breaks_callers_needs_a_new_major_version(
    project: Project, contract: Contract, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class More(declared.ROW):
        one_more: Annotated[bool, Request()]

    released = Path(shutil.copy(ROOT / "contract.json", tmp_path))
    monkeypatch.setattr(declared, "ROW", More)
    elsewhere = replace(project, root=tmp_path)
    code, told = elsewhere.run("contract")
    assert code == 1
    assert f"would break callers of version {contract.version}" in told
    assert released.read_bytes() == (ROOT / "contract.json").read_bytes()
    monkeypatch.setattr(declared, "VERSION", contract.version + 1)
    elsewhere.done("contract")


def test_a_setting_that_does_not_exist_is_refused_with_the_nearest_name(project: Project) -> None:
    code, told = project.run("promote", GATE__MIN_ROW="10")
    assert code == 1
    assert "gate.min_rows" in told
