"""Promotion, rollback, scoring and the feature table, from the sample's raw tables; the same answer on every way."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from starlette.testclient import TestClient

from lifecycle import timestamps
from lifecycle.contract.schema import Column
from lifecycle.errors import LifecycleError, Refused
from lifecycle.features import point_in_time
from lifecycle.features.online import FeatureTable, table_path
from lifecycle.jobs.materialize import materialize
from lifecycle.jobs.promote import promote, rollback
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments, predictions
from lifecycle.registry.provenance import Identity
from lifecycle.sample import generate
from lifecycle.scoring.batch import score
from lifecycle.serving.app import create
from lifecycle.settings import Settings
from lifecycle.training.train import train
from support.teams import order_team, sample_team, settings_in

DAY = date(2025, 11, 1)
ANA, BO = Identity("ana", "login"), Identity("bo", "login")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Bundle]:
    """A storage with one version trained on the sample as it was known on DAY."""
    settings = settings_in(tmp_path_factory.mktemp("sample"))
    generate.write(settings.data)
    return settings, train(sample_team(), settings, Path(), timestamps.midnight(date(2026, 1, 1)))


@pytest.fixture
def settings(trained: tuple[Settings, Bundle], tmp_path: Path) -> Settings:
    """The same bundles and data, with deployments of the test's own."""
    own = trained[0].model_copy(update={"storage": tmp_path / "storage"})
    own.storage.mkdir()
    (own.storage / "bundles").symlink_to(trained[0].storage / "bundles")
    return own


def promoted(settings: Settings, **given: Any) -> deployments.Deployment:
    usual = {
        "environment": "local",
        "version": None,
        "threshold": None,
        "who": ANA,
        "why": "",
        "root": settings.storage,
    }
    return promote(settings, sample_team().data, **usual | given)


def table(path: Path) -> list[dict[str, Any]]:
    found = duckdb.connect().execute(f"FROM read_parquet('{path}', hive_partitioning = false)")
    names = [each[0] for each in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_training_batch_and_service_give_the_same_answer(settings: Settings) -> None:
    """200 keys at the same moment, from raw tables to answer, without handing any of them the features."""
    team = sample_team()
    live = promoted(settings).current
    moment = timestamps.midnight(DAY)
    connection = point_in_time.connect(team.data, settings.data)
    point_in_time.training_rows(connection, team, timestamps.midnight(date(2026, 1, 1)))
    query = f"SELECT * FROM {point_in_time.ROWS} WHERE ts = {moment} AND discount = 0 ORDER BY customer_id LIMIT 200"
    frame = connection.execute(query).df()
    assert len(frame) == 200
    predictor = Predictor(open_version(settings.store, live.version))
    training = dict(zip(frame.customer_id, predictor.predict_frame(frame, live.threshold), strict=True))

    [path] = score(settings, team.data, "local", [DAY], progress=False)
    batch = {row["customer_id"]: row for row in table(path)}

    materialize(settings, team.data, moment)
    with TestClient(create(settings.store, "local", settings.serve)) as client:
        for key, expected in training.items():
            answered = client.post("/predict", json={"customer_id": key}).json()
            assert answered["prediction"] == expected["prediction"] == batch[key]["prediction"]
            np.testing.assert_allclose(answered["probability"], expected["probability"], rtol=1e-9)
            np.testing.assert_allclose(batch[key]["probability"], expected["probability"], rtol=1e-9)
            assert batch[key]["as_of"] == moment
    assert len({round(each["probability"], 6) for each in training.values()}) > 50


def test_the_first_promotion_says_why_and_fills_the_features(settings: Settings, trained: Any) -> None:
    done = promoted(settings)
    assert done.current == deployments.Deployed(trained[1].version, 0.5)
    assert "of the trivial baseline on" in done.why
    assert table_path(settings.store, trained[1].feature_set).exists()
    assert promoted(settings) == done, "promoting what is live changes nothing"
    assert promoted(settings, threshold=0.3).current.threshold == 0.3
    assert promoted(settings).current.threshold == 0.3, "a threshold belongs to the deployment, not to the version"


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
def test_a_threshold_that_is_no_probability_is_refused(settings: Settings, threshold: float) -> None:
    with pytest.raises(LifecycleError, match="not a probability"):
        promoted(settings, threshold=threshold)


def shuffled_fit(settings: Settings) -> Bundle:
    """A version that learned from labels in the wrong order."""

    class Worse(HistGradientBoostingClassifier):  # type: ignore[misc]
        def fit(self, matrix: Any, label: Any) -> Any:
            return HistGradientBoostingClassifier(random_state=0).fit(
                matrix, np.random.default_rng(0).permutation(label)
            )

    usual = sample_team().estimator
    worse = SimpleNamespace(
        candidate=lambda inputs, seed: Worse(),
        # A linear model would take its place: here it is as blind as the trivial one.
        baselines=lambda inputs, seed: (
            usual.baselines(inputs, seed) | {"linear": usual.baselines(inputs, seed)["trivial"]}
        ),
    )
    return train(sample_team(estimator=worse), settings, Path())


def test_a_worse_model_is_refused_and_nothing_changes(trained: Any, tmp_path: Path) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    shuffled_fit(settings)
    with pytest.raises(Refused, match="not surely better than answering without looking"):
        promoted(settings)
    assert deployments.read(settings.store, "local") is None


def test_too_few_rows_decide_nothing(settings: Settings) -> None:
    strict = settings.model_copy(update={"gate": settings.gate.model_copy(update={"min_rows": 10**6})})
    with pytest.raises(Refused, match="decide nothing"):
        promoted(strict)


def test_rollback_brings_back_version_and_threshold(settings: Settings) -> None:
    with pytest.raises(LifecycleError, match="nothing is deployed"):
        rollback(settings, sample_team().data, "local", BO, "", settings.storage)
    first = promoted(settings, threshold=0.4)
    with pytest.raises(LifecycleError, match="no version to roll back to"):
        rollback(settings, sample_team().data, "local", BO, "", settings.storage)
    promoted(settings, threshold=0.6)
    back = rollback(settings, sample_team().data, "local", BO, "too many calls", settings.storage)
    assert (back.current, back.who, back.why) == (first.current, "bo", "too many calls")
    with pytest.raises(LifecycleError, match="no version to roll back to"):
        rollback(settings, sample_team().data, "local", BO, "the job ran twice", settings.storage)
    actions = [line.split('"action": "')[1].split('"')[0] for line in settings.store.audit.read_text().splitlines()]
    assert actions == ["promote", "promote", "rollback"]


def test_a_contract_that_breaks_callers_is_not_promoted_over_one_that_serves_them(trained: Any, tmp_path: Path) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    team = sample_team()
    train(team, settings, Path())
    promoted(settings)
    columns = tuple(c for c in team.contract.columns if c.name != "discount")
    narrower = replace(team.contract, columns=columns)
    train(replace(team, contract=narrower), settings, Path())
    with pytest.raises(Refused, match="the request field discount is gone"):
        promoted(settings)
    train(replace(team, contract=replace(narrower, version=2)), settings, Path())
    # Without the discount it ranks worse, by two points of ROC AUC.
    with pytest.raises(Refused, match=r"worse by more than 0\.015, the limit of a new major version"):
        promoted(settings)
    settings = settings.model_copy(update={"gate": settings.gate.model_copy(update={"margin": 0.05})})
    assert promoted(settings).current.version == settings.store.versions()[-1]


def test_scoring_a_date_again_gives_the_same_rows_and_a_range_gives_each_date(settings: Settings) -> None:
    promoted(settings)
    data = sample_team().data
    days = timestamps.days(date(2025, 12, 30), date(2026, 1, 1))
    paths = score(settings, data, "local", days, progress=False)
    assert [path.parent.name for path in paths] == ["date=2025-12-30", "date=2025-12-31", "date=2026-01-01"]
    before = table(paths[1])
    [again] = score(settings, data, "local", [days[1]], progress=False)
    assert table(again) == before
    assert list(again.parent.iterdir()) == [again]
    assert set(before[0]) == {"customer_id", "prediction", "probability", "as_of", "version", "threshold"}
    [latest] = score(settings, data, "local", None, progress=False)
    assert latest == paths[2]


def test_what_was_scored_is_logged_with_its_row_once_for_a_date(settings: Settings) -> None:
    promoted(settings)
    data, day = sample_team().data, date(2025, 12, 1)
    for _ in range(2):
        (path,) = score(settings, data, "local", [day], progress=False)
    with predictions.connect() as connection:
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
    whole = table(score(settings, data, "local", [DAY], progress=False)[0])
    small = settings.model_copy(update={"score": settings.score.model_copy(update={"chunk_rows": 37})})
    assert table(score(small, data, "local", [DAY], progress=False)[0]) == whole


def test_a_day_before_anybody_gives_an_empty_file(settings: Settings) -> None:
    promoted(settings)
    [path] = score(settings, sample_team().data, "local", [date(2001, 1, 1)], progress=False)
    assert table(path) == []
    described = duckdb.connect().execute(f"DESCRIBE FROM read_parquet('{path}', hive_partitioning = false)").fetchall()
    names = ["customer_id", "prediction", "probability", "as_of", "version", "threshold"]
    assert [column[0] for column in described] == names


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_table_without_features_sql_goes_the_same_way(task: str, tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    team = order_team(task)
    bundle = train(team, settings, tmp_path)
    promote(settings, team.data, "local", None, None, ANA, "", settings.storage)
    [path] = score(settings, team.data, "local", None, progress=False)
    rows = table(path)
    assert len(rows) == 2000
    expected = {
        "binary": {"probability"},
        "regression": set(),
        "multiclass": {f"probabilities_{c}" for c in ("air", "road", "sea")},
    }
    assert set(rows[0]) == {"order_id", "prediction", "as_of", "version", "threshold"} | expected[task]
    assert rows[0]["version"] == bundle.version


def test_only_missing_tables_are_filled_at_promotion_and_all_by_features(settings: Settings, trained: Any) -> None:
    data = sample_team().data
    assert materialize(settings, data) == {}
    promoted(settings)
    path = table_path(settings.store, trained[1].feature_set)
    stamp = path.stat().st_ino
    promoted(settings, threshold=0.2)
    assert path.stat().st_ino == stamp
    told = materialize(settings, data, timestamps.midnight(DAY))
    assert path.stat().st_ino != stamp
    assert told[trained[1].version].endswith("as of 2025-11-01T00:00:00Z")


def test_a_version_that_comes_back_later_answers_from_fresh_features(trained: Any, tmp_path: Path) -> None:
    """While others answered, nobody refreshed its table."""
    settings = trained[0].model_copy(update={"storage": tmp_path})
    team = sample_team()
    first = train(team, settings, Path())
    promoted(settings)
    materialize(settings, team.data, timestamps.midnight(DAY))
    for at in range(2):
        train(replace(team, features_sql=f"{team.features_sql} -- {at}"), settings, Path())
        promoted(settings)
    path = table_path(settings.store, first.feature_set)
    assert FeatureTable(path, first.contract).as_of == timestamps.midnight(DAY)
    promoted(settings, version=first.version)
    assert FeatureTable(path, first.contract).as_of == timestamps.midnight(date(2026, 1, 1))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda sql: sql.replace("c.plan,", "c.plan AS plane,"), "lacks the column plan"),
        (lambda sql: sql.replace("FROM events", "FROM event"), "event"),
        (lambda sql: sql + " AND c.plan = 'plus'", "with one row"),
        (lambda sql: sql.replace("CAST(w.visits AS BIGINT)", "CAST(w.visits AS VARCHAR)"), "is VARCHAR"),
        (lambda sql: "SELEC 1", "syntax error"),
    ],
)
def test_features_that_do_not_keep_the_contract_are_refused(
    trained: Any, tmp_path: Path, spoil: Callable[[str], str], told: str
) -> None:
    team = sample_team()
    assert team.features_sql is not None
    spoilt = replace(team, features_sql=spoil(team.features_sql))
    settings = trained[0].model_copy(update={"storage": tmp_path})
    with pytest.raises(LifecycleError, match=r"features\.sql") as caught:
        train(spoilt, settings, Path())
    assert told.lower() in str(caught.value).lower()


def test_a_request_field_without_default_must_come_from_the_team(trained: Any, tmp_path: Path) -> None:
    team = sample_team()
    more = replace(team.contract, columns=(*team.contract.columns, Column("channel", "request", "category")))
    settings = trained[0].model_copy(update={"storage": tmp_path})
    with pytest.raises(LifecycleError, match=r"src/model/data\.py lacks the column channel"):
        train(replace(team, contract=more), settings, Path())


def changed(team: Any, **sql: Callable[[str], str]) -> Any:
    """A team whose data queries are rewritten."""
    data = SimpleNamespace(**{name: getattr(team.data, name) for name in ("tables", "labels", "population", "latest")})
    for name, rewrite in sql.items():
        usual = getattr(team.data, name)
        setattr(data, name, lambda connection, usual=usual, rewrite=rewrite: rewrite(usual(connection)))
    return replace(team, data=data)


def test_tables_of_the_team_are_never_ours(settings: Settings, tmp_path: Path) -> None:
    """Whatever they are called, and wherever they stand."""
    team = sample_team()
    promoted(settings)
    warehouse = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        for name in ("answers", "questions", "completed", "chunk"):
            connection.execute(f"CREATE TABLE {name} AS SELECT 42 AS theirs")

    def tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        connection.execute(f"ATTACH '{warehouse}' AS w; USE w")
        for name in ("customers", "events", "labels"):
            path = folder / f"{name}.parquet"
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM '{path}'")

    attached = changed(team)
    attached.data.tables = tables
    days = timestamps.days(date(2025, 12, 31), date(2026, 1, 1))
    ours = [table(path) for path in score(settings, attached.data, "local", days, progress=False)]
    assert ours == [table(path) for path in score(settings, team.data, "local", days, progress=False)]
    with duckdb.connect(str(warehouse)) as connection:
        for name in ("answers", "questions", "completed", "chunk"):
            assert connection.execute(f"FROM {name}").fetchall() == [(42,)]


def test_a_fraction_in_a_whole_number_is_refused_and_never_rounded(trained: Any, tmp_path: Path) -> None:
    team = sample_team()
    assert team.features_sql is not None
    halves = team.features_sql.replace("CAST(w.visits AS BIGINT)", "w.visits + 0.5")
    settings = trained[0].model_copy(update={"storage": tmp_path})
    with pytest.raises(LifecycleError, match="visits_30d is not a whole number in"):
        train(replace(team, features_sql=halves), settings, Path())


def test_a_doubled_row_does_not_make_up_for_a_missing_one(trained: Any, tmp_path: Path) -> None:
    team = sample_team()
    first = "(SELECT min(customer_id) FROM spine)"
    last = "(SELECT max(customer_id) FROM spine)"
    doubled = (
        f"WITH sound AS ({team.features_sql}), latest AS (SELECT max(ts) AS ts FROM spine) "
        f"SELECT * FROM sound WHERE customer_id <> {last} "
        f"UNION ALL SELECT * FROM sound WHERE customer_id = {first}"
    )
    settings = trained[0].model_copy(update={"storage": tmp_path})
    with pytest.raises(LifecycleError, match="of the rows of the spine with one row"):
        train(replace(team, features_sql=doubled), settings, Path())


def test_a_query_may_end_with_a_comment_or_a_semicolon(trained: Any, tmp_path: Path) -> None:
    team = sample_team()
    settings = trained[0].model_copy(update={"storage": tmp_path})
    ended = changed(replace(team, features_sql=f"{team.features_sql}; "), labels=lambda sql: f"{sql} -- all of them")
    assert train(ended, settings, Path()).facts["rows"] == trained[1].facts["rows"]


@pytest.mark.parametrize("kept", ["seen_ts", "CASE WHEN customer_id < 'c-01000' THEN NULL ELSE seen_ts END AS seen_ts"])
def test_a_label_that_is_not_known_yet_is_not_learned(trained: Any, tmp_path: Path, kept: str) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    moment = timestamps.midnight(date(2025, 9, 15))
    team = changed(sample_team(), labels=lambda sql: sql.replace("seen_ts", kept, 1))
    bundle = train(team, settings, Path(), moment)
    connection = point_in_time.connect(team.data, settings.data)
    known = connection.execute(
        f"SELECT count(*) FROM ({team.data.labels(connection)}) WHERE seen_ts <= {moment}"
    ).fetchone()
    assert (sum(bundle.facts["rows"].values()),) == known


def test_a_label_first_seen_after_the_holdout_began_is_left_out_of_training(trained: Any, tmp_path: Path) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    later = changed(sample_team(), labels=lambda sql: sql.replace("seen_ts", "seen_ts + 86400 AS seen_ts"))
    rows = train(later, settings, Path()).facts["rows"]
    usual = trained[1].facts["rows"]
    assert rows["training"] < usual["training"]


def test_times_are_whole_seconds_or_are_refused_with_the_cast_to_write(trained: Any, tmp_path: Path) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    team = changed(sample_team(), labels=lambda sql: sql.replace("seen_ts", "make_timestamp(seen_ts) AS seen_ts"))
    with pytest.raises(LifecycleError, match="seen_ts is TIMESTAMP") as caught:
        train(team, settings, Path())
    assert "epoch(seen_ts)" in caught.value.hint


def test_the_fallback_answers_a_newcomer_in_batch_and_service_alike(trained: Any, tmp_path: Path) -> None:
    team = sample_team()
    values = {"number": 0.0, "integer": 0, "category": "north"}
    columns = tuple(
        replace(c, fallback=c.levels[0] if c.levels else values[c.kind], has_fallback=True)
        if c.source == "lookup"
        else c
        for c in team.contract.columns
    )
    newcomer = "SELECT 'c-99999' AS customer_id, CAST(0 AS DOUBLE) AS discount"
    own = changed(
        replace(team, contract=replace(team.contract, columns=columns)),
        population=lambda sql: f"{sql} UNION ALL {newcomer}",
    )
    settings = trained[0].model_copy(update={"storage": tmp_path})
    train(own, settings, Path())
    promote(settings, own.data, "local", None, None, ANA, "", settings.storage)
    [path] = score(settings, own.data, "local", None, progress=False)
    [row] = [row for row in table(path) if row["customer_id"] == "c-99999"]
    with TestClient(create(settings.store, "local", settings.serve)) as client:
        answer = client.post("/predict", json={"customer_id": "c-99999"}).json()
    assert answer == {"prediction": row["prediction"], "probability": row["probability"]}


def test_the_newest_of_trainings_within_a_second_is_the_last(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    made = [train(order_team(rows=200), settings, tmp_path).version for _ in range(4)]
    assert settings.store.versions() == made


def test_one_broken_version_does_not_keep_the_others_from_their_features(trained: Any, tmp_path: Path) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    team = sample_team()
    first = train(team, settings, Path())
    promoted(settings)
    second = train(replace(team, features_sql=f"{team.features_sql} -- again"), settings, Path())
    promoted(settings)
    (first.path / "golden.jsonl").unlink()
    table_path(settings.store, second.feature_set).unlink()
    with pytest.raises(LifecycleError, match=r"lacks golden\.jsonl"):
        materialize(settings, team.data)
    assert table_path(settings.store, second.feature_set).exists()
