"""Batch prediction by date: resumed after a kill, the same bytes again, the same predictions as the service."""

import contextlib
import re
import shutil
import threading
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.contract import tables
from lifecycle.contract.tables import SQL_TYPES, describe
from lifecycle.models.bundle import open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments, predictions
from lifecycle.scoring import parts, score
from lifecycle.settings import Score, Settings
from support.rendering import TEMPLATE
from support.scoring import DAY, EVERYONE, PART, ROWS, deploy, deployed, kill_at, read, scored
from support.teams import CityMeans, order_team, orders


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each call of the model."""
    sizes: list[int] = []
    predict_batch = Predictor.predict_batch

    def counted(self: Predictor, batch: Any) -> Any:
        sizes.append(len(batch))
        return predict_batch(self, batch)

    monkeypatch.setattr(Predictor, "predict_batch", counted)
    # In several threads, the order of the calls varies.
    monkeypatch.setattr(parts, "cores", lambda: 1)
    return sizes


def test_a_killed_run_is_resumed_with_the_parts_that_are_missing(
    settings: Settings, tmp_path: Path, calls: list[int]
) -> None:
    kill_at(settings, 3)
    assert list(settings.store.scores.glob("local/date=*/*.parquet")) == []
    assert predictions.files(settings.store, "local") == []
    path = scored(settings)
    assert calls == [PART, ROWS - 4 * PART]
    resumed, logged = path.read_bytes(), [each.read_bytes() for each in predictions.files(settings.store, "local")]
    assert [each.name for each in path.parent.iterdir()] == ["scores.parquet"]
    calls.clear()
    assert scored(settings).read_bytes() == resumed, "a date scored again gives the same bytes"
    assert sum(calls) == ROWS
    assert [each.read_bytes() for each in predictions.files(settings.store, "local")] == logged


def test_more_processors_write_the_same_bytes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for cores in (1, 2, 5):
        monkeypatch.setattr(parts, "cores", lambda cores=cores: cores)
        files = [scored(settings), *predictions.files(settings.store, "local")]
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1] == written[2]


def test_a_run_in_several_threads_is_resumed_after_a_kill(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, calls: list[int]
) -> None:
    whole = scored(settings).read_bytes()
    shutil.rmtree(settings.store.scores)
    kill_at(settings, 3, cores=2)
    calls.clear()
    assert scored(settings).read_bytes() == whole
    assert sum(calls) < ROWS


@pytest.mark.parametrize("changed", ["a row", "the threshold", "the date", "a part"])
def test_a_killed_run_starts_again_when_rows_threshold_or_date_changed(
    sound: Settings, settings: Settings, calls: list[int], changed: str
) -> None:
    kill_at(settings, 3)
    frame, again = EVERYONE, [PART, PART, PART, PART, ROWS - 4 * PART]
    if changed == "a row":
        frame = EVERYONE.copy()
        frame.loc[ROWS - 1, "items"] += 1
    if changed == "the threshold":
        (settings.storage / "deployments").unlink()
        deploy(settings, replace(deployments.required(sound.store, "local").current, threshold=0.9))
    folder = settings.store.scores / f"local/date={DAY}/.scores.parquet.parts"
    if changed == "the date":
        other = folder.parent.with_name("date=2026-01-02")
        folder.parent.rename(other)
        scored(settings, frame, date(2026, 1, 2))
    elif changed == "a part":
        part = folder / "000001.part.parquet"
        part.write_bytes(part.read_bytes()[:-1])
        again = [PART, PART, ROWS - 4 * PART]
        scored(settings, frame)
    else:
        scored(settings, frame)
    assert calls == again


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_batch_predictions_of_each_task_equal_those_of_the_service(task: str, tmp_path: Path) -> None:
    settings = deployed(tmp_path, task, 0.3 if task == "binary" else None)
    frame = orders(3000, seed=2).sample(frac=1, random_state=0)
    batch = read(scored(settings, frame))
    current = deployments.required(settings.store, "local").current
    predictor = Predictor(open_version(settings.store, current.version))
    names = [column.name for column in predictor.contract.columns]
    rows = frame.sort_values("order_id")[names].astype(object)
    responses = predictor.predict(rows.where(rows.notna(), None).to_dict("records"), current.threshold)
    expected = pd.json_normalize(responses, sep="_")
    assert list(batch.order_id) == sorted(frame.order_id)
    for name in expected:
        if expected[name].dtype == float:
            np.testing.assert_allclose(batch[name], expected[name], rtol=1e-6, atol=1e-7)
        else:
            assert list(batch[name]) == list(expected[name])


@pytest.mark.parametrize("threshold", [0.3, None])
def test_output_and_log_have_the_column_types_of_the_contract(
    sound: Settings, settings: Settings, threshold: float | None
) -> None:
    (settings.storage / "deployments").unlink()
    current = replace(deployments.required(sound.store, "local").current, threshold=threshold)
    deploy(settings, current)
    path = scored(settings)
    [logged] = predictions.files(settings.store, "local")
    contract = open_version(settings.store, current.version).contract
    own = {column.name: SQL_TYPES[column.kind] for column in contract.loggable}
    columns = predictions.prediction_columns(contract.target)
    facts = {"as_of": "BIGINT", "version": "VARCHAR", "threshold": "DOUBLE"}
    with tables.connect() as connection:
        options = "hive_partitioning = false"
        scores = describe(connection, f"FROM read_parquet('{path}', {options})")
        log = describe(connection, f"FROM read_parquet('{logged}', {options})")
    assert scores == {"order_id": "VARCHAR"} | columns | facts
    assert log == own | predictions.FACTS | columns
    assert list(log) == [*own, *predictions.FACTS, *columns]
    rows = read(logged)
    assert list(rows.lifecycle_position) == list(range(ROWS))
    assert list(rows.order_id) == list(read(path).order_id)
    assert (rows.threshold.isna() if threshold is None else rows.threshold == threshold).all()


def test_a_python_model_is_scored_in_parts(tmp_path: Path, calls: list[int]) -> None:
    usual = order_team().estimator
    own = SimpleNamespace(candidate=lambda inputs, seed: CityMeans(), baselines=usual.baselines)
    settings = deployed(tmp_path, estimator=own, name="numpy")
    assert len(read(scored(settings))) == ROWS
    assert len(calls) == 5


def test_more_rows_than_fit_in_memory_are_sorted_on_the_disk_of_the_storage(
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
        update={"score": settings.score.model_copy(update={"memory_mb": 350, "chunk_rows": 50_000})}
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


def test_the_documentation_names_settings_defaults_and_folder() -> None:
    page = (TEMPLATE / "lifecycle/docs/scoring.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"`score\.(\w+)` \(([\d,]+)\)", page))
    assert {name: int(value.replace(",", "")) for name, value in documented.items()} == Score().model_dump()
    assert "`.scores.parquet.parts`" in page
