"""From raw tables to predictions: training, batch scoring and the service on the same tables."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from starlette.testclient import TestClient

from lifecycle import timestamps
from lifecycle.contract import tables
from lifecycle.contract.schema import Column
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.jobs import materialize
from lifecycle.jobs.promote import promote
from lifecycle.models.bundle import open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import predictions
from lifecycle.scoring import score
from lifecycle.serving.app import create
from lifecycle.settings import Settings
from lifecycle.training.train import train
from support.jobs import ANA, promoted, read_rows, with_queries
from support.teams import order_team, sample_team, settings_in

DAY = date(2025, 11, 1)


def test_training_batch_and_service_give_the_same_predictions(settings: Settings) -> None:
    """200 keys at the same time, from raw tables to predictions, each path computing its own features."""
    team = sample_team()
    deployed = promoted(settings).current
    as_of = timestamps.midnight(DAY)
    connection = point_in_time.connect(team.data, settings.data)
    point_in_time.training_rows(connection, team, timestamps.midnight(date(2026, 1, 1)))
    query = f"SELECT * FROM {point_in_time.ROWS} WHERE ts = {as_of} AND discount = 0 ORDER BY customer_id LIMIT 200"
    frame = connection.execute(query).df()
    assert len(frame) == 200
    predictor = Predictor(open_version(settings.store, deployed.version))
    training = dict(zip(frame.customer_id, predictor.predict_frame(frame, deployed.threshold), strict=True))

    [path] = score(settings, team.data, "local", [DAY], progress=False)
    batch = {row["customer_id"]: row for row in read_rows(path)}

    materialize(settings, team.data, as_of)
    with TestClient(create(settings.store, "local", settings.serve)) as client:
        for key, expected in training.items():
            response = client.post("/predict", json={"customer_id": key}).json()
            assert response["prediction"] == expected["prediction"] == batch[key]["prediction"]
            np.testing.assert_allclose(response["probability"], expected["probability"], rtol=1e-9)
            np.testing.assert_allclose(batch[key]["probability"], expected["probability"], rtol=1e-9)
            assert batch[key]["as_of"] == as_of
    assert len({round(each["probability"], 6) for each in training.values()}) > 50


def test_scoring_a_date_again_gives_the_same_rows_and_a_range_gives_each_date(settings: Settings) -> None:
    promoted(settings)
    data = sample_team().data
    days = timestamps.days(date(2025, 12, 30), date(2026, 1, 1))
    paths = [*score(settings, data, "local", days, progress=False)]
    assert [path.parent.name for path in paths] == ["date=2025-12-30", "date=2025-12-31", "date=2026-01-01"]
    before = read_rows(paths[1])
    [again] = score(settings, data, "local", [days[1]], progress=False)
    assert read_rows(again) == before
    assert list(again.parent.iterdir()) == [again]
    assert set(before[0]) == {"customer_id", "prediction", "probability", "as_of", "version", "threshold"}
    [latest] = score(settings, data, "local", None, progress=False)
    assert latest == paths[2]


def test_a_score_is_logged_with_its_row_once_for_a_date(settings: Settings) -> None:
    promoted(settings)
    data, day = sample_team().data, date(2025, 12, 1)
    for _ in range(2):
        (path,) = score(settings, data, "local", [day], progress=False)
    with tables.connect() as connection:
        first = timestamps.midnight(day)
        count = predictions.load_rows(connection, settings.store, "local", first, first + 1)
        same = f"""
            SELECT count(*) FROM {predictions.LOGGED} l JOIN '{path}' s USING (customer_id, version, as_of)
            WHERE l.probability = s.probability AND l.prediction = s.prediction AND l.visits_30d IS NOT NULL
        """
        assert connection.execute(same).fetchone() == (count,)
        assert (count,) == connection.execute(f"SELECT count(*) FROM '{path}'").fetchone()
    assert count > 100


def test_chunks_do_not_change_a_score(settings: Settings) -> None:
    promoted(settings)
    data = sample_team().data
    (path,) = score(settings, data, "local", [DAY], progress=False)
    whole = read_rows(path)
    small = settings.model_copy(update={"score": settings.score.model_copy(update={"chunk_rows": 37})})
    (path,) = score(small, data, "local", [DAY], progress=False)
    assert read_rows(path) == whole


def test_a_date_in_the_future_is_refused_with_the_time_of_the_newest_data(settings: Settings) -> None:
    promoted(settings)
    with pytest.raises(LifecycleError, match=r"2999-01-01 is in the future, and the data end at 2026-01-01T"):
        score(settings, sample_team().data, "local", [DAY, date(2999, 1, 1)], progress=False)
    assert not (settings.store.scores / "local" / f"date={DAY}").exists()


def test_a_date_without_customers_gives_an_empty_file(settings: Settings) -> None:
    promoted(settings)
    scored = score(settings, sample_team().data, "local", [date(2001, 1, 1)], progress=False)
    ((path, rows),) = scored.items()
    assert (rows, read_rows(path)) == (0, [])
    described = duckdb.connect().execute(f"DESCRIBE FROM read_parquet('{path}', hive_partitioning = false)").fetchall()
    names = ["customer_id", "prediction", "probability", "as_of", "version", "threshold"]
    assert [column[0] for column in described] == names


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_table_without_features_sql_is_trained_promoted_and_scored(task: str, tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    team = order_team(task)
    bundle = train(team, settings, tmp_path)
    promote(settings, team.data, "local", None, None, ANA, "", settings.storage)
    [path] = score(settings, team.data, "local", None, progress=False)
    rows = read_rows(path)
    assert len(rows) == 2000
    expected = {
        "binary": {"probability"},
        "regression": set(),
        "multiclass": {f"probabilities_{c}" for c in ("air", "road", "sea")},
    }
    assert set(rows[0]) == {"order_id", "prediction", "as_of", "version", "threshold"} | expected[task]
    assert rows[0]["version"] == bundle.version


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda sql: sql.replace("c.plan,", "c.plan AS plane,"), "lacks the column plan"),
        (lambda sql: sql.replace("FROM events", "FROM event"), "event"),
        (lambda sql: sql + " AND c.plan = 'plus'", "one row for each"),
        (lambda sql: sql.replace("CAST(w.visits AS BIGINT)", "CAST(w.visits AS VARCHAR)"), "is VARCHAR"),
        (lambda sql: "SELEC 1", "syntax error"),
    ],
)
def test_features_sql_that_violates_the_contract_is_refused(
    trained: Any, tmp_path: Path, spoil: Callable[[str], str], problem: str
) -> None:
    team = sample_team()
    assert team.features_sql is not None
    spoilt = replace(team, features_sql=spoil(team.features_sql))
    settings = trained[0].model_copy(update={"storage": tmp_path})
    with pytest.raises(LifecycleError, match=r"features\.sql") as caught:
        train(spoilt, settings, Path())
    assert problem.lower() in str(caught.value).lower()


def test_a_request_field_without_default_must_be_in_the_data(trained: Any, tmp_path: Path) -> None:
    team = sample_team()
    more = replace(team.contract, columns=(*team.contract.columns, Column("channel", "request", "category")))
    settings = trained[0].model_copy(update={"storage": tmp_path})
    with pytest.raises(LifecycleError, match=r"src/model/data\.py lacks the column channel"):
        train(replace(team, contract=more), settings, Path())


def test_tables_of_the_team_are_never_overwritten(settings: Settings, tmp_path: Path) -> None:
    """The team's tables may have any name and place."""
    team = sample_team()
    promoted(settings)
    warehouse = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        for name in ("predictions", "spine_rows", "completed", "chunk"):
            connection.execute(f"CREATE TABLE {name} AS SELECT 42 AS theirs")

    def tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        connection.execute(f"ATTACH '{warehouse}' AS w; USE w")
        for name in ("customers", "events", "labels"):
            path = folder / f"{name}.parquet"
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM '{path}'")

    attached = with_queries(team)
    attached.data.tables = tables
    days = timestamps.days(date(2025, 12, 31), date(2026, 1, 1))
    ours = [read_rows(path) for path in score(settings, attached.data, "local", days, progress=False)]
    assert ours == [read_rows(path) for path in score(settings, team.data, "local", days, progress=False)]
    with duckdb.connect(str(warehouse)) as connection:
        for name in ("predictions", "spine_rows", "completed", "chunk"):
            assert connection.execute(f"FROM {name}").fetchall() == [(42,)]


def test_a_fraction_in_an_integer_column_is_refused_and_never_rounded(trained: Any, tmp_path: Path) -> None:
    team = sample_team()
    assert team.features_sql is not None
    halves = team.features_sql.replace("CAST(w.visits AS BIGINT)", "w.visits + 0.5")
    settings = trained[0].model_copy(update={"storage": tmp_path})
    with pytest.raises(LifecycleError, match="visits_30d is not a whole number in"):
        train(replace(team, features_sql=halves), settings, Path())


def test_a_duplicate_feature_row_does_not_compensate_for_a_missing_one(trained: Any, tmp_path: Path) -> None:
    team = sample_team()
    first = "(SELECT min(customer_id) FROM spine)"
    last = "(SELECT max(customer_id) FROM spine)"
    doubled = (
        f"WITH sound AS ({team.features_sql}), latest AS (SELECT max(ts) AS ts FROM spine) "
        f"SELECT * FROM sound WHERE customer_id <> {last} "
        f"UNION ALL SELECT * FROM sound WHERE customer_id = {first}"
    )
    settings = trained[0].model_copy(update={"storage": tmp_path})
    with pytest.raises(LifecycleError, match="one row for each of"):
        train(replace(team, features_sql=doubled), settings, Path())


def test_a_query_may_end_with_a_comment_or_a_semicolon(trained: Any, tmp_path: Path) -> None:
    team = sample_team()
    settings = trained[0].model_copy(update={"storage": tmp_path})
    ended = with_queries(
        replace(team, features_sql=f"{team.features_sql}; "), labels=lambda sql: f"{sql} -- all of them"
    )
    assert train(ended, settings, Path()).facts["rows"] == trained[1].facts["rows"]


@pytest.mark.parametrize("kept", ["seen_ts", "CASE WHEN customer_id < 'c-01000' THEN NULL ELSE seen_ts END AS seen_ts"])
def test_a_label_that_is_not_known_yet_is_not_used_for_training(trained: Any, tmp_path: Path, kept: str) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    as_of = timestamps.midnight(date(2025, 9, 15))
    team = with_queries(sample_team(), labels=lambda sql: sql.replace("seen_ts", kept, 1))
    bundle = train(team, settings, Path(), as_of)
    connection = point_in_time.connect(team.data, settings.data)
    known = connection.execute(
        f"SELECT count(*) FROM ({team.data.labels(connection)}) WHERE seen_ts <= {as_of}"
    ).fetchone()
    assert (sum(bundle.facts["rows"].values()),) == known


def test_a_label_seen_after_the_start_of_the_holdout_is_not_fitted_for_it(trained: Any, tmp_path: Path) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    # Labels of October become known in November, which is part of the newest period.
    seen = "CASE WHEN ts < 1761955200 THEN seen_ts + 864000 ELSE seen_ts END AS seen_ts"
    later = with_queries(sample_team(), labels=lambda sql: sql.replace("seen_ts", seen))
    found, usual = train(later, settings, Path()).facts["fits"], trained[1].facts["fits"]
    assert found["evaluated"] < usual["evaluated"]


def test_a_timestamp_column_is_refused_with_the_cast_to_write(trained: Any, tmp_path: Path) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    team = with_queries(sample_team(), labels=lambda sql: sql.replace("seen_ts", "make_timestamp(seen_ts) AS seen_ts"))
    with pytest.raises(LifecycleError, match="seen_ts is TIMESTAMP") as caught:
        train(team, settings, Path())
    assert "epoch(seen_ts)" in caught.value.hint


def test_the_fallback_gives_a_new_key_the_same_prediction_in_batch_and_service(trained: Any, tmp_path: Path) -> None:
    team = sample_team()
    values = {"number": 0.0, "integer": 0, "category": "north"}
    columns = tuple(
        replace(c, fallback=c.levels[0] if c.levels else values[c.kind], has_fallback=True)
        if c.source == "lookup"
        else c
        for c in team.contract.columns
    )
    new_key = "SELECT 'c-99999' AS customer_id, CAST(0 AS DOUBLE) AS discount"
    own = with_queries(
        replace(team, contract=replace(team.contract, columns=columns)),
        population=lambda sql: f"{sql} UNION ALL {new_key}",
    )
    settings = trained[0].model_copy(update={"storage": tmp_path})
    train(own, settings, Path())
    promote(settings, own.data, "local", None, None, ANA, "", settings.storage)
    [path] = score(settings, own.data, "local", None, progress=False)
    [row] = [row for row in read_rows(path) if row["customer_id"] == "c-99999"]
    with TestClient(create(settings.store, "local", settings.serve)) as client:
        response = client.post("/predict", json={"customer_id": "c-99999"}).json()
    assert response == {"prediction": row["prediction"], "probability": row["probability"]}


def test_a_field_whose_default_is_not_in_labels_is_refused_for_training(trained: Any, tmp_path: Path) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    absent = with_queries(sample_team(), labels=lambda sql: f"SELECT * EXCLUDE (discount) FROM ({sql})")
    with pytest.raises(LifecycleError, match=r"labels\(\) lacks discount: the default of the contract") as caught:
        train(absent, settings, tmp_path)
    assert "Select the values that were sent" in caught.value.hint
