"""Keys of several columns, an id, dates and logged fields, from training to the erasure of a row."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from lifecycle import sample, timestamps
from lifecycle.contract import tables
from lifecycle.contract.rows import RowReader
from lifecycle.contract.schema import Column
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.jobs import materialize
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.models.predictor import Predictor
from lifecycle.models.runtimes import FrameModel
from lifecycle.monitoring import monitor
from lifecycle.monitoring.collect import collect
from lifecycle.monitoring.erasure import erase
from lifecycle.monitoring.quality import measure_skew
from lifecycle.registry import deployments, labels, predictions
from lifecycle.registry.deployments import Deployed
from lifecycle.scoring import score, score_file
from lifecycle.serving.app import create
from lifecycle.settings import Settings
from lifecycle.timestamps import DAY
from lifecycle.training.logged import Logged, add_logged
from lifecycle.training.train import train
from support.gate import own
from support.jobs import read_rows
from support.sales import SALE, TEAM, as_sent, trained
from support.teams import sample_team, settings_in

# Its model is trained once.
pytestmark = pytest.mark.xdist_group("sources")
TODAY = date(2026, 1, 1)
FRAME = TEAM.data.frame.head(60)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return trained(tmp_path_factory.mktemp("sales"))


@pytest.fixture
def settings(sound: Settings, tmp_path: Path) -> Settings:
    """Return settings with the same deployed version, and a log and labels of the test's own."""
    settings = own(sound, tmp_path)
    (settings.storage / "deployments").symlink_to(sound.storage / "deployments")
    return settings


@pytest.fixture
def bundle(settings: Settings) -> Bundle:
    return open_version(settings.store, deployments.required(settings.store, "local").current.version)


def served(settings: Settings, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the predictions of the service, after its log was collected."""
    with TestClient(create(settings.store, "local", settings.serve, settings.log)) as client:
        response = client.post("/predict", json=rows)
        assert response.status_code == 200, response.text
    collect(settings.store, "local")
    return list(response.json())


def imported(settings: Settings, name: str, columns: str, rows: Sequence[Sequence[object]]) -> int | None:
    """Import a CSV file of labels."""
    path = settings.storage / name
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns.split(","), *rows])
    return labels.add(settings.store, SALE, path, timestamps.now())


def labelled(settings: Settings) -> dict[str, str]:
    """Return the label of each labelled prediction by its id."""
    with tables.connect() as connection:
        predictions.load_rows(connection, settings.store, "local", 0, 2**40)
        labels.joined(connection, settings.store, SALE, timestamps.now())
        query = f'SELECT "sale id", {labels.LABEL} FROM {labels.LABELLED} WHERE {labels.LABEL} IS NOT NULL'
        return dict(connection.execute(query).fetchall())


def test_a_model_of_dates_becomes_a_graph_that_predicts_the_same_everywhere(
    settings: Settings, bundle: Bundle, tmp_path: Path
) -> None:
    assert bundle.kind == "onnx"
    assert bundle.facts["estimator"] == "candidate"
    file = tmp_path / "rows.csv"
    FRAME.to_csv(file, index=False)
    frame = [each["probability"] for each in Predictor(bundle).predict_frame(FRAME)]
    service = [each["probability"] for each in served(settings, as_sent(FRAME))]
    np.testing.assert_allclose(service, frame, rtol=1e-9)
    assert len({round(each, 4) for each in frame}) > 20
    score_file(settings, "local", file, tmp_path / "scores.parquet", progress=False)
    of_file = read_rows(tmp_path / "scores.parquet")
    [path] = score(settings, TEAM.data, "local", [TODAY], progress=False)
    batch = {row["sale id"]: row for row in read_rows(path)}
    for rows in (of_file, [batch[name] for name in FRAME["sale id"]]):
        np.testing.assert_allclose([row["probability"] for row in rows], frame, rtol=1e-9)
    assert list(of_file[0])[:4] == list(batch["0"])[:4] == ["shop", "product", "sale id", "prediction"]


def test_a_date_alone_and_a_time_with_a_zone_are_predicted_as_the_same_day(settings: Settings) -> None:
    row = as_sent(FRAME)[0]
    texts = ("2020-06-01", "2020-06-01T00:00:00Z", "2020-06-01T02:00:00+02:00")
    found = served(settings, [row | {"opened": text, "sale id": text[:19]} for text in texts])
    assert found[0] == found[1] == found[2]


def test_a_model_class_reads_keys_and_inputs_and_times_in_utc_from_tables_and_requests() -> None:
    read: list[pd.DataFrame] = []
    model = FrameModel(SimpleNamespace(predict=lambda frame: read.append(frame) or np.zeros(len(frame))), SALE)
    model.predict_frame(FRAME)
    model.predict_rows(as_sent(FRAME))
    model.predict_rows(RowReader(SALE).read(json.dumps(as_sent(FRAME)).encode())[0])
    assert list(read[0].columns) == ["shop", "product", "opened", "amount", "ordered"]
    assert str(read[0]["opened"].dtype) == "datetime64[us, UTC]"
    for other in read[1:]:
        pd.testing.assert_frame_equal(other, read[0])


def test_every_sent_field_is_logged_and_only_inputs_change_a_prediction(settings: Settings) -> None:
    row = as_sent(FRAME)[0] | {"opened": "2020-06-01"}
    other = row | {"shop": 99, "product": "x", "sale id": "y", "campaign": "z", "clicked": "2021-01-01", "cost": 2.5}
    minimal = {name: row[name] for name in ("shop", "product", "opened", "amount")} | {"sale id": "short"}
    found = served(settings, [row, other, minimal | {"ordered": row["ordered"]}, minimal])
    assert found[0] == found[1] == found[2]
    [path] = predictions.files(settings.store, "local")
    logged = read_rows(path)
    names = ("shop", "product", "sale id", "campaign", "clicked", "cost", "opened")
    times = datetime(2021, 1, 1), 2.5, datetime(2020, 6, 1)
    assert tuple(logged[1][name] for name in names) == (99, "x", "y", "z", *times)
    assert (logged[3]["ordered"], logged[3]["clicked"], logged[3]["campaign"]) == (datetime(2024, 2, 29), None, None)
    assert "sale id" not in bundle_text(settings)


def bundle_text(settings: Settings) -> str:
    """Return what the bundle contains of rows."""
    folder = next((settings.store.bundles).iterdir())
    return "".join((folder / name).read_text() for name in ("golden.jsonl", "profile.json"))


def test_labels_are_joined_by_the_id_alone(settings: Settings) -> None:
    rows = as_sent(FRAME)
    # The same shop and product several times on one day: only the id distinguishes the rows.
    served(settings, [row | {"shop": 1, "product": "a"} for row in rows])
    assert imported(settings, "a.csv", "sale id,returned", [("3", 1), ("4", 0), ("gone", 0)]) == 3
    assert labelled(settings) == {"3": "returns", "4": "keeps"}
    with pytest.raises(LifecycleError, match=r"contradicts another one of the same sale id and seen_ts in 2 rows"):
        imported(settings, "b.csv", "sale id,label", [("5", 1), ("6", 1), ("6", 0)])
    with pytest.raises(LifecycleError, match="by request_id or by sale id or by shop and product and ts"):
        imported(settings, "c.csv", "sale id,ts,label", [("5", 1, 1)])
    assert labelled(settings) == {"3": "returns", "4": "keeps"}


def test_a_label_of_an_id_precedes_one_of_a_key_and_that_of_a_request_both(settings: Settings) -> None:
    served(settings, [row | {"shop": 1, "product": "a"} for row in as_sent(FRAME)[:3]])
    now, seen = timestamps.now(), timestamps.now() - 5
    [path] = predictions.files(settings.store, "local")
    request = read_rows(path)[0]["lifecycle_request"]
    imported(settings, "k.csv", "shop,product,ts,label,seen_ts", [(1, "a", now, "keeps", seen)])
    assert labelled(settings) == dict.fromkeys("012", "keeps")
    imported(settings, "i.csv", "sale id,label,seen_ts", [("0", "returns", seen), ("1", "returns", seen)])
    imported(settings, "r.csv", "request_id,position,label,seen_ts", [(request, 0, "keeps", seen)])
    assert labelled(settings) == {"0": "keeps", "1": "returns", "2": "keeps"}


def test_a_contradiction_to_an_imported_label_of_the_same_time_is_refused(settings: Settings) -> None:
    seen = timestamps.now() - 5
    imported(settings, "a.csv", "sale id,label,seen_ts", [("0", "keeps", seen)])
    with pytest.raises(LifecycleError, match=r"contradicts .* in 1 rows \(first: 2\)"):
        imported(settings, "b.csv", "sale id,label,seen_ts", [("1", "keeps", seen), ("0", "returns", seen)])
    # A correction is seen later.
    assert imported(settings, "c.csv", "sale id,label,seen_ts", [("0", "returns", seen + 1)]) == 1


def test_labels_of_a_key_of_several_columns_belong_to_the_whole_key(settings: Settings) -> None:
    keys = [(1, "a"), (1, "b"), (2, 'a,"b'), (12, "a")]
    sent = [
        row | {"shop": shop, "product": product} for row, (shop, product) in zip(as_sent(FRAME), keys, strict=False)
    ]
    served(settings, sent)
    now = timestamps.now()
    imported(settings, "a.csv", "shop,product,ts,returned", [(1, "b", now, 1), (2, 'a,"b', now, 0), (1, "a", 5, 0)])
    assert labelled(settings) == {"1": "returns", "2": "keeps"}
    with pytest.raises(LifecycleError, match=r"shop or product is missing in 2 rows \(first: 1, 2\)"):
        imported(settings, "b.csv", "product,shop,ts,label", [("a", "", now, 1), ("", 1, now, 1)])
    with pytest.raises(LifecycleError, match="by shop and product and ts"):
        imported(settings, "c.csv", "shop,ts,label", [(1, now, 1)])


def everything(settings: Settings) -> bytes:
    """Return what the log, the scores and the labels contain."""
    folders = (settings.store.predictions, settings.store.scores, settings.store.labels)
    return b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("value", "by_id"), [("sale-77", True), ('77,"a,b"', False)])
def test_a_row_is_erased_by_its_id_or_by_its_whole_key(settings: Settings, value: str, by_id: bool) -> None:
    keys = [(77, "a,b", "sale-77"), (77, "c", "sale-78"), (78, "a,b", "sale-79")]
    rows = [
        row | dict(zip(("shop", "product", "sale id"), key, strict=True))
        for row, key in zip(as_sent(FRAME), keys, strict=False)
    ]
    served(settings, rows)
    one = replace(TEAM.data, frame=FRAME.head(3).assign(**{"sale id": [key[2] for key in keys]}))
    one.frame["shop"], one.frame["product"] = [key[0] for key in keys], [key[1] for key in keys]
    score(settings, one, "local", [TODAY], progress=False)
    imported(settings, "i.csv", "sale id,label", [(name, 0) for *_, name in keys])
    now = timestamps.now()
    imported(settings, "k.csv", "shop,product,ts,label", [(shop, product, now, 0) for shop, product, _ in keys])
    assert b"sale-77" in everything(settings)
    done = erase(settings.store, value, SALE, by_id)
    # The service, the scores, and the log of the batch; the labels of a key belong to other rows as well.
    assert (done.rows, done.labels) == (3, 1 if by_id else 2)
    assert b"sale-77" not in everything(settings)
    assert b"sale-78" in everything(settings)
    assert set(labelled(settings)) == {"sale-78", "sale-79"}
    assert erase(settings.store, value, SALE, by_id).rows == 0


def test_a_value_that_no_contract_can_have_as_key_or_id_is_refused(settings: Settings) -> None:
    with pytest.raises(LifecycleError, match="no contract has such a key: 77") as caught:
        erase(settings.store, "77", SALE)
    assert "shop,product" in caught.value.hint
    without = replace(SALE, columns=SALE.columns[3:])
    settings.store.bundles.unlink()
    with pytest.raises(LifecycleError, match="no contract has such an id: 77"):
        erase(settings.store, "77", without, by_id=True)


def test_training_takes_a_logged_row_once_by_its_id(settings: Settings) -> None:
    rows = as_sent(TEAM.data.frame.head(5))
    served(
        settings,
        [row | {"sale id": f"new-{at}"} if at < 3 else row for at, row in enumerate(rows)]
        + [rows[0] | {"sale id": "new-0"}],
    )
    imported(
        settings,
        "a.csv",
        "sale id,label",
        [*((f"new-{at}", 1) for at in range(3)), (rows[3]["sale id"], 1), (rows[4]["sale id"], 0)],
    )
    as_of = timestamps.now() + 400 * DAY
    connection = point_in_time.connect(TEAM.data, settings.data)
    before = point_in_time.training_rows(connection, TEAM, as_of)
    assert add_logged(connection, TEAM, settings, "local", as_of) == Logged(labelled=6, joined=3, repeated=3)
    assert tables.count(connection, f"FROM {point_in_time.ROWS}") == before + 3
    added = f"SELECT opened, cost FROM {point_in_time.ROWS} WHERE \"sale id\" = 'new-1'"
    expected = TEAM.data.frame.iloc[1]
    assert connection.execute(added).fetchall() == [(expected["opened"].to_pydatetime(), expected["cost"])]


def test_contradictory_labels_of_one_id_are_not_trained_on(settings: Settings) -> None:
    def labels_of(connection: duckdb.DuckDBPyConnection) -> str:
        return f"{TEAM.data.labels(connection)} UNION ALL BY NAME SELECT * REPLACE ('keeps' AS returned) FROM synthetic"

    twice = SimpleNamespace(tables=TEAM.data.tables, labels=labels_of)
    connection = point_in_time.connect(twice, settings.data)  # type: ignore[arg-type]
    with pytest.raises(LifecycleError, match=r"contradictory labels for \d+ values of sale id"):
        point_in_time.training_rows(connection, replace(TEAM, data=twice), timestamps.now())


def test_monitoring_shows_dates_and_finds_their_drift(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    later = TEAM.data.frame.assign(opened=datetime(2023, 12, 1))
    later.loc[later.index[:10], "opened"] = datetime(2025, 1, 1)
    clock = [timestamps.now()]
    monkeypatch.setattr("lifecycle.timestamps.clock", lambda: float(clock[0]))
    for frame, expected in ((TEAM.data.frame, False), (later, True)):
        served(settings, as_sent(frame.head(600)))
        clock[0] += DAY
        document, folder = monitor(settings, TEAM.data, "local", clock[0])
        column = document["windows"][-1]["columns"]["opened"]
        assert (column["drifted"], column["broken"]) == (expected, None)
        assert column["bins"][0].startswith("≤ 201")
        assert "≤ 201" in (folder / "monitoring.html").read_text()
        clock[0] += 60 * DAY
    assert column["outside"] == pytest.approx(10 / 600)


def test_a_date_that_features_sql_computes_is_looked_up_and_recomputed_without_skew(tmp_path: Path) -> None:
    team = sample_team()
    since, visits = (
        Column("since", "lookup", "time", nullable=True),
        "make_timestamp((ts - 86400 * visits_30d) * 1000000)",
    )
    team = replace(
        team,
        contract=replace(team.contract, columns=(*team.contract.columns, since)),
        features_sql=f"SELECT f.*, {visits} AS since FROM ({team.features_sql}) f",
    )
    settings = settings_in(tmp_path)
    sample.write(settings.data)
    bundle = train(team, settings, tmp_path, timestamps.parse("2026-01-01"))
    deployments.swap(settings.store, "local", None, Deployed(bundle.version, 0.5), action="promote", who="a", why="")
    [path] = score(settings, team.data, "local", [date(2025, 11, 1)], progress=False)
    rows = read_rows(path)[:50]
    materialize(settings, team.data, timestamps.parse("2025-11-01"))
    found = served(settings, [{"customer_id": row["customer_id"]} for row in rows])
    np.testing.assert_allclose([e["probability"] for e in found], [row["probability"] for row in rows], rtol=1e-9)
    logged = [row for path in predictions.files(settings.store, "local") for row in read_rows(path)]
    assert {type(row["since"]) for row in logged} == {datetime}
    skew = measure_skew(settings, team.data, "local", bundle, timestamps.now() + DAY)
    assert skew is not None
    assert (skew.rows, skew.different) == (50, 0)
