"""A batch in bounded memory: on after a kill, the same bytes again, and files of one's own."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from lifecycle.cli.entry import main
from lifecycle.contract.schema import Column
from lifecycle.contract.tables import SQL_TYPES, describe
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments, predictions
from lifecycle.registry.deployments import Deployed
from lifecycle.scoring import parts
from lifecycle.scoring.batch import score, score_file
from lifecycle.scoring.rows import RowFile, own_rows
from lifecycle.settings import Score, Settings
from lifecycle.training.train import train
from support.rendering import TEMPLATE
from support.teams import CityMeans, data_of, order_team, orders, settings_in

DAY = date(2026, 1, 1)
ROWS, PART = 9000, 2048
EVERYONE = orders(ROWS, seed=1)


def deployed(folder: Path, task: str = "binary", threshold: float | None = 0.3, **changes: Any) -> Settings:
    settings = settings_in(folder, score={"chunk_rows": PART})
    version = train(order_team(task, **changes), settings, folder).version
    live = Deployed(version, threshold)
    deployments.swap(settings.store, "local", None, live, action="promote", who="a test", why="to see")
    return settings


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return deployed(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def settings(sound: Settings, tmp_path: Path) -> Settings:
    """The same model and deployment, with answers of the test's own."""
    own = sound.model_copy(update={"storage": tmp_path / "storage"})
    own.storage.mkdir()
    for name in ("bundles", "deployments"):
        (own.storage / name).symlink_to(sound.storage / name)
    return own


def scored(settings: Settings, frame: pd.DataFrame = EVERYONE) -> Path:
    [path] = score(settings, data_of(frame, "returned"), "local", [DAY], progress=False)
    return path


def read(path: Path) -> pd.DataFrame:
    return duckdb.execute(f"FROM read_parquet('{path}', hive_partitioning = false)").df()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows the model was asked for, call by call."""
    made: list[int] = []
    usual = Predictor.predict_batch

    def counted(self: Predictor, batch: Any) -> Any:
        made.append(len(batch))
        return usual(self, batch)

    monkeypatch.setattr(Predictor, "predict_batch", counted)
    return made


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {lifecycle!r}]
from lifecycle.models.predictor import Predictor
from lifecycle.scoring.rows import RowFile, own_rows
from lifecycle.settings import Score, Settings
import test_scoring

left, usual = [{part}], Predictor.predict_batch

def batch(self, given):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return usual(self, given)

Predictor.predict_batch = batch
test_scoring.scored(Settings.model_validate_json({settings!r}))
"""


def killed_at(settings: Settings, part: int) -> None:
    """Score in a process that is killed when the model is asked for that part."""
    here = Path(__file__).resolve()
    given = {"tests": str(here.parents[1]), "lifecycle": str(here.parent), "settings": settings.model_dump_json()}
    ended = subprocess.run([sys.executable, "-c", KILLED.format(part=part, **given)], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def test_after_a_kill_only_what_was_not_answered_is_answered(
    settings: Settings, tmp_path: Path, calls: list[int]
) -> None:
    killed_at(settings, 3)
    assert list(settings.store.scores.glob("local/date=*/*.parquet")) == []
    assert predictions.files(settings.store, "local") == []
    path = scored(settings)
    assert calls == [PART, ROWS - 4 * PART]
    went_on, logged = path.read_bytes(), [each.read_bytes() for each in predictions.files(settings.store, "local")]
    assert [each.name for each in path.parent.iterdir()] == ["scores.parquet"]
    calls.clear()
    assert scored(settings).read_bytes() == went_on, "a date scored again gives the same bytes"
    assert sum(calls) == ROWS
    assert [each.read_bytes() for each in predictions.files(settings.store, "local")] == logged


@pytest.mark.parametrize("changed", ["a row", "the threshold", "the moment", "a part"])
def test_after_a_kill_everything_is_answered_anew_when_anything_is_another(
    sound: Settings, settings: Settings, calls: list[int], changed: str
) -> None:
    killed_at(settings, 3)
    frame, again = EVERYONE, [PART, PART, PART, PART, ROWS - 4 * PART]
    if changed == "a row":
        frame = EVERYONE.copy()
        frame.loc[ROWS - 1, "items"] += 1
    if changed == "the threshold":
        (settings.storage / "deployments").unlink()
        live = replace(deployments.required(sound.store, "local").current, threshold=0.9)
        deployments.swap(settings.store, "local", None, live, action="promote", who="a test", why="to see")
    folder = settings.store.scores / f"local/date={DAY}/.scores.parquet.parts"
    if changed == "the moment":
        other = folder.parent.with_name("date=2026-01-02")
        folder.parent.rename(other)
        score(settings, data_of(frame, "returned"), "local", [date(2026, 1, 2)], progress=False)
    elif changed == "a part":
        part = folder / "000001.part.parquet"
        part.write_bytes(part.read_bytes()[:-1])
        again = [PART, PART, ROWS - 4 * PART]
        scored(settings, frame)
    else:
        scored(settings, frame)
    assert calls == again


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_kind_of_answer_is_that_of_the_service_row_by_row(task: str, tmp_path: Path) -> None:
    settings = deployed(tmp_path, task, 0.3 if task == "binary" else None)
    frame = orders(3000, seed=2).sample(frac=1, random_state=0)
    [path] = score(settings, data_of(frame, "returned"), "local", [DAY], progress=False)
    batch = read(path)
    live = deployments.required(settings.store, "local").current
    predictor = Predictor(open_version(settings.store, live.version))
    names = [column.name for column in predictor.contract.columns]
    rows = frame.sort_values("order_id")[names].astype(object)
    told = predictor.predict(rows.where(rows.notna(), None).to_dict("records"), live.threshold)
    expected = pd.json_normalize(told, sep="_")
    assert list(batch.order_id) == sorted(frame.order_id)
    for name in expected:
        if expected[name].dtype == float:
            np.testing.assert_allclose(batch[name], expected[name], rtol=1e-6, atol=1e-7)
        else:
            assert list(batch[name]) == list(expected[name])


@pytest.mark.parametrize("threshold", [0.3, None])
def test_output_and_log_hold_the_types_of_the_contract_and_number_each_row(
    sound: Settings, settings: Settings, threshold: float | None
) -> None:
    (settings.storage / "deployments").unlink()
    live = replace(deployments.required(sound.store, "local").current, threshold=threshold)
    deployments.swap(settings.store, "local", None, live, action="promote", who="a test", why="to see")
    path = scored(settings)
    [logged] = predictions.files(settings.store, "local")
    contract = open_version(settings.store, live.version).contract
    own = {column.name: SQL_TYPES[column.kind] for column in predictions.loggable(contract)}
    answer = predictions.prediction_columns(contract.target)
    facts = {"as_of": "BIGINT", "version": "VARCHAR", "threshold": "DOUBLE"}
    with predictions.connect() as connection:
        options = "hive_partitioning = false"
        told = describe(connection, f"FROM read_parquet('{path}', {options})")
        kept = describe(connection, f"FROM read_parquet('{logged}', {options})")
    assert told == {"order_id": "VARCHAR"} | answer | facts
    assert kept == own | predictions.FACTS | answer
    assert list(kept) == [*own, *predictions.FACTS, *answer]
    rows = read(logged)
    assert list(rows.lifecycle_position) == list(range(ROWS))
    assert list(rows.order_id) == list(read(path).order_id)
    assert (rows.threshold.isna() if threshold is None else rows.threshold == threshold).all()


def test_a_model_of_the_teams_own_is_scored_in_parts_too(tmp_path: Path, calls: list[int]) -> None:
    usual = order_team().estimator
    own = SimpleNamespace(candidate=lambda inputs, seed: CityMeans(), baselines=usual.baselines)
    settings = deployed(tmp_path, estimator=own, name="numpy")
    assert len(read(scored(settings))) == ROWS
    assert len(calls) == 5


def test_more_rows_than_duckdbs_memory_are_sorted_on_the_disk_of_the_storage(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    many = "SELECT 'o-' || lpad(CAST((i * 7919) % 600011 AS VARCHAR), 7, '0') AS order_id, CAST(i AS DOUBLE) AS "
    many += "\"order amount €\", i % 30 AS items, i % 2 = 0 AS gift, 'red' AS class, repeat('x', 200) AS city "
    many += "FROM range(600000) t(i)"
    data = SimpleNamespace(tables=lambda *given: None, population=lambda connection: many)
    spilled, ended = [0], threading.Event()

    def watch() -> None:
        spill = settings.store.scores / "local/.spill"
        while not ended.wait(0.005):
            with contextlib.suppress(OSError):
                spilled.append(sum(path.stat().st_size for path in spill.rglob("*") if path.is_file()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    small = settings.model_copy(
        update={"score": settings.score.model_copy(update={"memory_mb": 100, "chunk_rows": 50_000})}
    )
    try:
        [path] = score(small, data, "local", [DAY], progress=False)
    finally:
        ended.set()
        watcher.join()
    assert max(spilled) > 10_000_000
    assert not (settings.store.scores / "local/.spill").exists()
    assert not (tmp_path / ".tmp").exists()
    keys = read(path).order_id
    assert len(keys) == 600_000
    assert keys.is_monotonic_increasing


# Files of one's own.


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_of_ones_own_is_answered_in_its_order_as_the_batch_answers(
    settings: Settings, tmp_path: Path, kind: str
) -> None:
    frame = EVERYONE.sample(frac=1, random_state=0).reset_index(drop=True)
    given = tmp_path / "own.data"
    frame.to_parquet(given) if kind == "parquet" else frame.to_csv(given, index=False)
    output = tmp_path / "answers.parquet"
    rows, ignored = score_file(settings, "local", given, output, progress=False)
    assert (rows, ignored) == (ROWS, ["returned", "carrier", "days"])
    answers = read(output)
    assert list(answers.columns) == ["order_id", "prediction", "probability", "version", "threshold"]
    assert list(answers.order_id) == list(frame.order_id)
    expected = read(scored(settings)).drop(columns="as_of")
    pd.testing.assert_frame_equal(answers.sort_values("order_id").reset_index(drop=True), expected)
    before = output.read_bytes()
    score_file(settings, "local", given, output, progress=False)
    assert output.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.parquet", "own.data", "storage"]
    # What somebody tries is not what the deployment answered in its course.
    assert len(predictions.files(settings.store, "local")) == 1


def test_a_name_is_no_pattern(settings: Settings, tmp_path: Path) -> None:
    given, output = tmp_path / "rows[1].parquet", tmp_path / "answers[1].parquet"
    EVERYONE.head(7).to_parquet(given)
    EVERYONE.to_parquet(tmp_path / "rows1.parquet")
    assert score_file(settings, "local", given, output, progress=False)[0] == 7
    assert len(pd.read_parquet(output)) == 7


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("own.parquet", "is the file that is read"),
        ("", "is a folder"),
        ("answers.csv", "is no name of a Parquet file"),
        ("nowhere/answers.parquet", "is in a folder that is not there"),
    ],
)
def test_what_is_read_is_not_written_over(settings: Settings, tmp_path: Path, name: str, problem: str) -> None:
    given = tmp_path / "own.parquet"
    EVERYONE.to_parquet(given)
    before = given.read_bytes()
    with pytest.raises(LifecycleError, match=problem):
        score_file(settings, "local", given, tmp_path / name, progress=False)
    assert given.read_bytes() == before


def test_an_output_may_have_the_name_of_a_file_of_ours(
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


def test_blanks_of_a_csv_are_null(settings: Settings, tmp_path: Path) -> None:
    file = spoilt(tmp_path / "own.csv", cell("order amount €", "  ", ""))
    assert score_file(settings, "local", file, tmp_path / "answers.parquet", progress=False)[0] == 5000


@pytest.mark.parametrize(("name", "problem"), [("own.csv", "is empty"), ("own.parquet", "is no Parquet file")])
def test_what_is_no_table_is_refused_by_name(settings: Settings, tmp_path: Path, name: str, problem: str) -> None:
    file = tmp_path / name
    file.write_text("" if name == "own.csv" else "a,b\n")
    with pytest.raises(LifecycleError, match=f"{name} {problem}"):
        score_file(settings, "local", file, tmp_path / "answers.parquet", progress=False)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            cell("items", "three", 1.5, ""),
            "items is not what the contract calls integer in 2 of 5000 rows (first: 7, 8)",
        ),
        (cell("items", -1), "items is below 0 in 1 of 5000 rows (first: 7)"),
        (cell("items", None), "items is null in 1 of 5000 rows (first: 7)"),
        (cell("gift", "perhaps"), "gift is not what the contract calls boolean in 1 of 5000 rows (first: 7)"),
        (cell("class", "green"), "class has a level that the contract does not name in 1 of 5000 rows (first: 7)"),
        (cell("order amount €", "inf"), "order amount € is not finite in 1 of 5000 rows (first: 7)"),
        (lambda frame: frame.drop(columns="city"), "own.csv lacks the column city"),
        (lambda frame: frame.rename(columns={"city": "City"}), "own.csv lacks the column city"),
    ],
)
def test_a_csv_that_breaks_the_contract_is_told_by_file_column_count_and_first_rows(
    settings: Settings, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], told: str
) -> None:
    file = spoilt(tmp_path / "own.csv", change)
    with pytest.raises(LifecycleError) as caught:
        score_file(settings, "local", file, tmp_path / "out.parquet", progress=False)
    assert told in caught.value.problem
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
def test_what_is_no_table_is_refused_by_its_name(
    settings: Settings, tmp_path: Path, write: Callable[[Path], Any]
) -> None:
    file = tmp_path / "own.csv"
    write(file)
    with pytest.raises(LifecycleError) as caught:
        score_file(settings, "local", file, tmp_path / "out.parquet", progress=False)
    assert str(file) in caught.value.problem
    assert list(tmp_path.glob("*out*")) == []
    assert os.listdir(settings.store.scores / "local") == [".lock"]


def test_a_long_whole_number_of_a_csv_keeps_its_digits(tmp_path: Path) -> None:
    contract = replace(order_team().contract, columns=(Column("id", "key", "integer"), Column("asked", "key", "time")))
    file = tmp_path / "own.csv"
    file.write_text("id,asked\n9007199254740993,2026-01-01T02:00:00+02:00\n3.0,2026-01-01\n")
    with predictions.connect() as connection:
        own_rows(connection, file, contract, RowFile(tmp_path / "rows.parquet", PART))
        found = connection.execute("SELECT id, CAST(asked AS VARCHAR) FROM lifecycle_completed").fetchall()
    assert found == [(9007199254740993, "2026-01-01 00:00:00"), (3, "2026-01-01 00:00:00")]


def test_the_command_line_tells_rows_and_columns_that_nobody_reads(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, output = tmp_path / "own.parquet", tmp_path / "out.parquet"
    orders(100).to_parquet(file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFECYCLE_STORAGE", str(settings.storage))
    assert main(["score", "--input", str(file), "--output", str(output)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{output}: 100 rows\n"
    assert f"nobody reads returned, carrier, days of {file}" in told.err
    for wrong in (["--input", str(file)], ["--output", str(output)], ["--date", "2026-01-01", "--input", str(file)]):
        assert main(["score", *wrong]) == 1
        assert "Give --input and --output, and no date" in capsys.readouterr().err
    assert os.listdir(tmp_path / "storage/scores/local") == [".lock"]


def test_the_page_names_the_settings_and_the_folder_as_they_are() -> None:
    page = (TEMPLATE / "lifecycle/docs/scoring.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"`score\.(\w+)` \(([\d,]+)\)", page))
    assert {name: int(value.replace(",", "")) for name, value in told.items()} == Score().model_dump()
    assert f"`{parts.folder_of(Path('scores.parquet'))}`" in page
