"""The feature table returns what was written, and is replaced in one step."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.errors import LifecycleError
from lifecycle.features import FeatureTable, write_table

CONTRACT = Contract(
    1,
    Target("regression", "spent"),
    (
        Column("select", "key", "category"),
        Column("sent", "request", "number"),
        Column('a "name"', "lookup", "number"),
        Column("member", "lookup", "boolean", nullable=True),
        Column("region", "lookup", "category"),
    ),
)
ROWS: list[tuple[Any, ...]] = [("a", 1.5, True, "north"), ("b", -2.0, False, "süd"), ("c", 0.1, None, "")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features" / "x.sqlite"


def test_every_value_comes_back_with_its_type(path: Path) -> None:
    assert write_table(path, CONTRACT, ROWS, as_of=7) == 3
    table = FeatureTable(path, CONTRACT)
    assert table.as_of == 7
    for key, *values in ROWS:
        found = table.look_up(key)
        assert found == dict(zip(['a "name"', "member", "region"], values, strict=True))
        assert [type(each) for each in found.values()] == [type(each) for each in values]


@pytest.mark.parametrize("key", ["d", "", "A", "a ", "a\0", "' OR 1=1 --", None, 10**30, 1])
def test_an_unknown_key_has_no_features(path: Path, key: Any) -> None:
    write_table(path, CONTRACT, ROWS, as_of=0)
    assert FeatureTable(path, CONTRACT).look_up(key) is None


def test_an_open_table_does_not_change_and_reports_that_it_was_replaced(path: Path) -> None:
    write_table(path, CONTRACT, ROWS, as_of=1)
    old = FeatureTable(path, CONTRACT)
    assert old.is_current()
    write_table(path, CONTRACT, [("a", 9.0, True, "north")], as_of=2)
    assert not old.is_current()
    assert (old.look_up("a") or {})['a "name"'] == 1.5
    new = FeatureTable(path, CONTRACT)
    assert ((new.look_up("a") or {})['a "name"'], new.look_up("b"), new.as_of) == (9.0, None, 2)
    path.unlink()
    assert new.is_current()


def test_a_missing_file_raises(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FeatureTable(path, CONTRACT)


def test_a_file_that_is_not_a_feature_table_is_refused_by_name(path: Path) -> None:
    path.parent.mkdir()
    for content in (b"", b"not a database" * 100):
        path.write_bytes(content)
        with pytest.raises(LifecycleError, match=r"x\.sqlite is not the table"):
            FeatureTable(path, CONTRACT)
    other = Contract(1, CONTRACT.target, (CONTRACT.columns[0], Column("age", "lookup", "number")))
    write_table(path, other, [("a", 1.0)], as_of=0)
    with pytest.raises(LifecycleError, match="make features"):
        FeatureTable(path, CONTRACT)


def test_a_failed_write_leaves_the_old_table_and_no_temporary_file(path: Path) -> None:
    write_table(path, CONTRACT, ROWS, as_of=1)

    def broken() -> Iterator[tuple[Any, ...]]:
        yield ROWS[1]
        raise RuntimeError("the query failed")

    with pytest.raises(RuntimeError):
        write_table(path, CONTRACT, broken(), as_of=2)
    assert FeatureTable(path, CONTRACT).as_of == 1
    assert os.listdir(path.parent) == [path.name]


def test_a_full_disk_is_reported_with_path_and_hint(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(path, CONTRACT, ROWS, as_of=1)

    def connect_to_a_small_disk(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA max_page_count = 5")
        return connection

    connect = sqlite3.connect
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", connect_to_a_small_disk)
        with pytest.raises(LifecycleError, match="is full") as caught:
            write_table(path, CONTRACT, ((str(at), 1.0, True, "x" * 99) for at in range(5000)), as_of=2)
    assert str(path) in caught.value.problem
    assert os.listdir(path.parent) == [path.name]
    assert FeatureTable(path, CONTRACT).as_of == 1


def test_a_folder_without_write_permission_is_reported_with_a_hint(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifecycle.storage.draft", lambda path: path / "nowhere" / path.name)
    with pytest.raises(LifecycleError, match=r"x\.sqlite cannot be written .*\n.* may not write there"):
        write_table(path, CONTRACT, ROWS, as_of=0)
