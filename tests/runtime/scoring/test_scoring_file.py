"""Batch prediction of a file: its order is kept, it is validated against the contract, and errors name it."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifecycle.cli import main
from lifecycle.contract import tables
from lifecycle.contract.schema import Column
from lifecycle.errors import LifecycleError
from lifecycle.registry import predictions
from lifecycle.scoring import own_rows, score_file
from lifecycle.scoring.parts import RowFile
from lifecycle.settings import Settings
from support.scoring import EVERYONE, PART, ROWS, read, scored
from support.teams import order_team, orders


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_is_scored_in_its_order_with_the_same_predictions(settings: Settings, tmp_path: Path, kind: str) -> None:
    frame = EVERYONE.sample(frac=1, random_state=0).reset_index(drop=True)
    given = tmp_path / "own.data"
    frame.to_parquet(given) if kind == "parquet" else frame.to_csv(given, index=False)
    output = tmp_path / "predictions.parquet"
    rows, ignored = score_file(settings, "local", given, output, progress=False)
    assert (rows, ignored) == (ROWS, ["returned", "carrier", "days"])
    scores = read(output)
    assert list(scores.columns) == ["order_id", "prediction", "probability", "version", "threshold"]
    assert list(scores.order_id) == list(frame.order_id)
    expected = read(scored(settings)).drop(columns="as_of")
    pd.testing.assert_frame_equal(scores.sort_values("order_id").reset_index(drop=True), expected)
    before = output.read_bytes()
    score_file(settings, "local", given, output, progress=False)
    assert output.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.data", "predictions.parquet", "storage"]
    # Monitoring only observes the deployment's regular predictions.
    assert len(predictions.files(settings.store, "local")) == 1


def test_several_threads_read_a_parquet_file_into_the_same_bytes(tmp_path: Path) -> None:
    given, found = tmp_path / "own.parquet", set()
    EVERYONE.loc[EVERYONE.index.repeat(400_000 // ROWS)].to_parquet(given, row_group_size=50_000)
    for threads in (1, 2, 5):
        rows = RowFile(tmp_path / f"{threads}.parquet", 30_000, threads)
        with tables.connect() as connection:
            own_rows(connection, given, order_team().contract, rows)
        found.add(rows.path.read_bytes())
    assert len(found) == 1


def test_a_file_name_is_not_read_as_a_pattern(settings: Settings, tmp_path: Path) -> None:
    given, output = tmp_path / "rows[1].parquet", tmp_path / "predictions[1].parquet"
    EVERYONE.head(7).to_parquet(given)
    EVERYONE.to_parquet(tmp_path / "rows1.parquet")
    assert score_file(settings, "local", given, output, progress=False)[0] == 7
    assert len(pd.read_parquet(output)) == 7


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("own.parquet", "is the input file"),
        ("", "is a folder"),
        ("predictions.csv", "is not the name of a Parquet file"),
        ("nowhere/predictions.parquet", "is in a folder that does not exist"),
    ],
)
def test_an_invalid_output_is_refused_and_the_input_unchanged(
    settings: Settings, tmp_path: Path, name: str, problem: str
) -> None:
    given = tmp_path / "own.parquet"
    EVERYONE.to_parquet(given)
    before = given.read_bytes()
    with pytest.raises(LifecycleError, match=problem):
        score_file(settings, "local", given, tmp_path / name, progress=False)
    assert given.read_bytes() == before


def test_an_output_may_have_the_name_of_an_internal_file(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, output = tmp_path / "own.parquet", tmp_path / "rows.parquet"
    EVERYONE.to_parquet(given)
    real = os.replace

    def killed(source: Path, target: Path) -> None:
        if target == output:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            score_file(settings, "local", given, output, progress=False)
    assert score_file(settings, "local", given, output, progress=False)[0] == ROWS
    assert len(pd.read_parquet(output)) == ROWS


def spoilt(file: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    frame = change(orders(5000).astype(object))
    frame.to_csv(file, index=False)
    return file


def cell(column: str, *values: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        for at, value in enumerate(values):
            frame.loc[7 + at, column] = value
        return frame

    return change


def test_blank_text_in_a_csv_file_is_null(settings: Settings, tmp_path: Path) -> None:
    file = spoilt(tmp_path / "own.csv", cell("order amount €", "  ", ""))
    assert score_file(settings, "local", file, tmp_path / "predictions.parquet", progress=False)[0] == 5000


@pytest.mark.parametrize(("name", "problem"), [("own.csv", "is empty"), ("own.parquet", "is not a valid Parquet file")])
def test_an_empty_or_misnamed_file_is_refused(settings: Settings, tmp_path: Path, name: str, problem: str) -> None:
    file = tmp_path / name
    file.write_text("" if name == "own.csv" else "a,b\n")
    with pytest.raises(LifecycleError, match=f"{name} {problem}"):
        score_file(settings, "local", file, tmp_path / "predictions.parquet", progress=False)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            cell("items", "three", 1.5, ""),
            "items is not a whole number in 2 of 5000 rows (first: 7, 8)",
        ),
        (cell("items", -1), "items is below 0 in 1 of 5000 rows (first: 7)"),
        (cell("items", None), "items is null in 1 of 5000 rows (first: 7)"),
        (cell("gift", "perhaps"), "gift is not true or false in 1 of 5000 rows (first: 7)"),
        (cell("class", "green"), "class has a level that the contract does not name in 1 of 5000 rows (first: 7)"),
        (cell("order amount €", "1e999"), "order amount € is not a number in 1 of 5000 rows (first: 7)"),
        (lambda frame: frame.drop(columns="city"), "own.csv lacks the column city"),
        (lambda frame: frame.rename(columns={"city": "City"}), "own.csv lacks the column city"),
    ],
)
def test_a_csv_file_that_violates_the_contract_is_refused_by_column_count_and_first_rows(
    settings: Settings, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], problem: str
) -> None:
    file = spoilt(tmp_path / "own.csv", change)
    with pytest.raises(LifecycleError) as caught:
        score_file(settings, "local", file, tmp_path / "out.parquet", progress=False)
    assert problem in caught.value.problem
    assert str(file) in caught.value.problem
    assert list(tmp_path.glob("*out*")) == []
    assert os.listdir(settings.store.scores / "local") == [".lock"]


def lines(change: Callable[[list[str]], Any]) -> Callable[[Path], Any]:
    def write(file: Path) -> None:
        found = orders(30_000).to_csv(index=False).splitlines()
        change(found)
        file.write_text("\n".join(found), encoding="utf-8")

    return write


@pytest.mark.parametrize(
    "write",
    [
        lambda file: None,
        lambda file: file.mkdir(),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(bytes(range(256)) * 100),
        lambda file: file.write_text("<html>\n<body>\n" * 10),
        lambda file: (orders(100).to_parquet(file), file.write_bytes(file.read_bytes()[:-100])),
        lambda file: orders(100).assign(items="three").to_parquet(file),
        lines(lambda found: found.__setitem__(1, "o-1,2")),
        lines(lambda found: found.__setitem__(3000, "o-1,2")),
        lines(lambda found: found.__setitem__(29_000, "o-1,2")),
        lines(lambda found: found.__setitem__(29_000, found[29_000] + ",1,2,3")),
    ],
    ids=[
        "absent",
        "folder",
        "empty",
        "bytes",
        "html",
        "cut",
        "text",
        "short-first",
        "short-early",
        "short-late",
        "long-late",
    ],
)
def test_a_file_that_is_not_a_table_is_refused_by_name(
    settings: Settings, tmp_path: Path, write: Callable[[Path], Any]
) -> None:
    file = tmp_path / "own.csv"
    write(file)
    with pytest.raises(LifecycleError) as caught:
        score_file(settings, "local", file, tmp_path / "out.parquet", progress=False)
    assert str(file) in caught.value.problem
    assert list(tmp_path.glob("*out*")) == []
    assert os.listdir(settings.store.scores / "local") == [".lock"]


def test_a_long_integer_in_a_csv_file_keeps_its_digits(tmp_path: Path) -> None:
    contract = replace(
        order_team().contract, columns=(Column("id", "key", "integer"), Column("requested", "key", "time"))
    )
    file = tmp_path / "own.csv"
    file.write_text("id,requested\n9007199254740993,2026-01-01T02:00:00+02:00\n3.0,2026-01-01\n")
    with tables.connect() as connection:
        own_rows(connection, file, contract, RowFile(tmp_path / "rows.parquet", PART))
        found = connection.execute("SELECT id, CAST(requested AS VARCHAR) FROM lifecycle_completed").fetchall()
    assert found == [(9007199254740993, "2026-01-01 00:00:00"), (3, "2026-01-01 00:00:00")]


def test_the_command_prints_the_number_of_rows_and_ignored_columns(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, output = tmp_path / "own.parquet", tmp_path / "out.parquet"
    orders(100).to_parquet(file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFECYCLE_STORAGE", str(settings.storage))
    assert main(["score", "--input", str(file), "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{output}: 100 rows\n"
    assert f"ignored columns of {file}: returned, carrier, days" in printed.err
    for wrong in (["--input", str(file)], ["--output", str(output)], ["--date", "2026-01-01", "--input", str(file)]):
        assert main(["score", *wrong]) == 1
        assert "Give INPUT=table.csv OUTPUT=predictions.parquet only" in capsys.readouterr().err
    assert os.listdir(tmp_path / "storage/scores/local") == [".lock"]
