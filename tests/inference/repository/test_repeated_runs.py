"""`looseleaf contract infer` run again, interrupted, or on a repository with models."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from lifecycle import sample
from looseleaf.contract import changes, infer
from support.inference import written
from support.inferred_repository import COLUMNS, ROWS, Run, everything, released
from support.rendering import TEMPLATE


# --- The sample's data and models -------------------------------------------------------------------------------------
def trained(repository: Path, contract_json: bytes) -> Path:
    """Create a bundle with this contract in the storage."""
    bundle = repository / "storage/bundles/20260101T000000-00000000"
    bundle.mkdir(parents=True)
    (bundle / "contract.json").write_bytes(contract_json)
    return bundle


def test_models_of_the_sample_are_removed_with_it(repository: Path, contract: Run, table: Path) -> None:
    trained(repository, (repository / "contract.json").read_bytes())
    sample.write(repository / "data")
    code, output = contract(table)
    assert code == 0, output
    assert "models of the sample were removed: bundles" in output
    assert "README.md and docs/agreement.md state the decision of the sample" in output
    assert not (repository / "storage").exists()
    assert [path.name for path in (repository / "data").iterdir()] == ["table.csv"]


def test_other_entries_of_the_storage_are_never_removed(repository: Path, contract: Run, table: Path) -> None:
    (repository / "config/base.yaml").write_text("storage: .\n")
    trained(repository, (repository / "contract.json").read_bytes()).rename(repository / "20260101T000000-00000000")
    (repository / "bundles").mkdir()
    (repository / "20260101T000000-00000000").rename(repository / "bundles/20260101T000000-00000000")
    code, output = contract(table)
    assert code == 0, output
    assert (repository / "bundles").exists()
    assert (repository / "README.md").exists()


def test_tables_with_the_names_of_the_sample_and_other_content_stay(
    repository: Path, contract: Run, table: Path
) -> None:
    (repository / "data").mkdir()
    for name in ("customers", "events", "labels"):
        written(repository / "data", COLUMNS, f"{name}.parquet")
    for path, count in ((table, 4), (repository / "data/customers.parquet", 4)):
        code, output = contract(path)
        assert code == 0, output
        assert len(list((repository / "data").iterdir())) == count


def test_a_storage_without_a_bundle_stays(repository: Path, contract: Run, table: Path) -> None:
    (repository / "storage/features").mkdir(parents=True)
    assert contract(table)[0] == 0
    assert (repository / "storage/features").is_dir()


def test_models_of_another_contract_stay(repository: Path, contract: Run, table: Path) -> None:
    bundle = trained(repository, (TEMPLATE / "contract.json").read_bytes().replace(b'"discount"', b'"rebate"'))
    (repository / "data").mkdir()
    (repository / "data/mine.parquet").touch()
    code, output = contract(table)
    assert code == 0, output
    assert "is kept: it contains more than models of the sample" in output
    assert bundle.exists()
    assert (repository / "data/mine.parquet").exists()


# --- Repeated runs ----------------------------------------------------------------------------------------------------
def test_the_same_table_again_changes_nothing(repository: Path, contract: Run, table: Path) -> None:
    contract(table)
    before = everything(repository)
    assert contract(table)[0] == 0
    assert everything(repository) == before
    assert "no changes" in contract(table, "churn", "--diff")[1]


def test_a_difference_is_shown_without_being_written(repository: Path, contract: Run, table: Path) -> None:
    contract(table)
    before = everything(repository)
    more = written(table.parent, COLUMNS | {"city": [None, *COLUMNS["city"][1:]]}, "more.csv")
    code, output = contract(more, "churn", "--diff")
    assert code == 0
    assert "compatible: callers of version 1 are not affected" in output
    assert "city: nullable False → True" in output
    assert everything(repository) == before


def test_a_compatible_change_keeps_the_version_and_a_breaking_one_raises_it(
    repository: Path, contract: Run, table: Path
) -> None:
    contract(table)
    written(table.parent, COLUMNS | {"city": [None, *COLUMNS["city"][1:]]})
    assert "compatible" in contract(table)[1]
    assert released(repository).version == 1
    written(table.parent, COLUMNS | {"age": list(range(ROWS))[::-1]})
    assert "the new request field age is required" in contract(table, "churn", "--keep", "age")[1]
    assert released(repository).version == 2
    assert "VERSION = 2" in (repository / "src/model/contract.py").read_text(encoding="utf-8")


# --- Nothing half-written ---------------------------------------------------------------------------------------------
def test_a_full_disk_leaves_everything_as_it_was(
    repository: Path, contract: Run, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(repository)
    put, calls = changes.write_atomically, []

    def failing(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        put(path, content)

    monkeypatch.setattr(changes, "write_atomically", failing)
    code, output = contract(table)
    assert code == 1
    assert "The disk is full" in output
    assert everything(repository) == before
    assert not list((repository / "data").iterdir())


def test_another_file_of_that_name_in_the_data_folder_is_left_alone(
    repository: Path, contract: Run, table: Path
) -> None:
    (repository / "data").mkdir()
    (repository / "data/table.csv").write_text("mine\n")
    before = everything(repository)
    code, output = contract(table)
    assert code == 1
    assert "is another file of that name" in output
    assert everything(repository) == before


@pytest.mark.parametrize("defect", ["no,such\n", ""])
def test_a_bad_file_changes_nothing(repository: Path, contract: Run, table: Path, defect: str) -> None:
    table.write_text(defect)
    before = everything(repository)
    code, output = contract(table)
    assert code == 1
    assert output.startswith("error: ")
    assert "Traceback" not in output
    assert everything(repository) == before


def test_without_a_label_in_a_pipe_the_columns_are_named(contract: Run, table: Path) -> None:
    code, output = contract(table, None)
    assert code == 1
    assert "LABEL is missing" in output
    assert "churn" in output


def test_a_missing_template_source_is_named(repository: Path, contract: Run, table: Path) -> None:
    (repository / ".copier-answers.yml").write_text("_src_path: git+file:///nowhere/at/all\n_commit: v1.0.0\n")
    code, output = contract(table)
    assert code == 1
    assert "LOOSELEAF_SOURCE" in output


def test_ctrl_c_writes_nothing(repository: Path, contract: Run, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(infer, "decide", interrupted)
    before = everything(repository)
    code, output = contract(table)
    assert code == 130
    assert "nothing was written" in output
    assert everything(repository) == before


def test_a_folder_that_is_not_a_repository_is_rejected(
    contract: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = contract(table)
    assert code == 1
    assert "has no src/model/contract.py" in output
