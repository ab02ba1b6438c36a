"""Metrics: each event is counted once, the number of series is bounded, and gauges show the current state."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from lifecycle import timestamps
from lifecycle.contract.schema import Column
from lifecycle.models.bundle import Bundle
from lifecycle.monitoring import monitor
from lifecycle.registry import predictions
from lifecycle.serving.app import create
from lifecycle.serving.deployed import DeploymentFollower
from lifecycle.serving.metrics import Metrics, is_expected
from support.monitored import DAY, NO_TABLES, NOW, deploy, label, log, train_sample
from support.reports import report
from support.services import KNOWN, QUICK, eventually
from support.storages import CHURN, Storage

Labels = dict[str, str]


def scraped(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels."""
    reply = client.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(reply.text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def value(client: TestClient, name: str, **labels: str) -> float | None:
    return scraped(client).get((name, frozenset(labels.items())))


def series(client: TestClient, name: str) -> list[Labels]:
    return [dict(labels) for found, labels in scraped(client) if found == name]


def test_requests_are_counted_and_timed_by_route_and_status(client: TestClient) -> None:
    for body in ({"customer_id": "ann"}, [{"customer_id": "bob"}, {"customer_id": "zoë"}], {"customer_id": 7}):
        client.post("/predict", json=body)
    client.get("/healthz")
    client.get("/nowhere/7123")
    client.request("BREW7123", "/predict")
    route: Labels = {"method": "POST", "route": "/predict"}
    assert value(client, "http_requests_total", **route, status="200") == 2
    assert value(client, "http_requests_total", **route, status="422") == 1
    assert value(client, "http_request_duration_seconds_count", **route) == 3
    assert value(client, "http_requests_total", method="GET", route="/healthz", status="200") == 1
    assert value(client, "http_requests_total", method="GET", route="__unmatched__", status="404") == 1
    assert value(client, "http_requests_total", method="OTHER", route="/predict", status="405") == 1
    # Its own scrape is in flight.
    assert value(client, "http_requests_in_flight") == 1
    assert "7123" not in client.get("/metrics").text


def test_predictions_are_counted_by_version_and_class(client: TestClient, bundle: Bundle) -> None:
    rows = [{"customer_id": key} for key in KNOWN]
    predictions = client.post("/predict", json=rows).json()
    for word in {prediction["prediction"] for prediction in predictions}:
        times = sum(prediction["prediction"] == word for prediction in predictions)
        assert value(client, "model_predictions_total", version=bundle.version, prediction=word) == times
    assert value(client, "model_prediction_score_count") == 3
    assert value(client, "model_prediction_score_sum") == pytest.approx(
        sum(each["probability"] for each in predictions)
    )


def test_a_refused_request_is_counted_by_its_reason(client: TestClient) -> None:
    client.post("/predict", json={"customer_id": "unknown"})
    client.post("/predict", json={"customer_id": "ann", "discount": "much"})
    client.post("/predict", json=[{"customer_id": "ann"}] * 1001)
    found = {reason: value(client, "model_requests_refused_total", reason=reason) for reason in REASONS}
    assert found == dict.fromkeys(REASONS, 0) | {"unknown_key": 1, "invalid": 1, "too_large": 1}


REASONS = ("unauthorized", "unknown_key", "slow", "invalid", "too_large", "not_ready", "overloaded")


@pytest.fixture
def watched(storage: Storage) -> Iterator[TestClient]:
    """A service whose contract says what is usual."""
    usual = {"discount": (0, 30), "plan": ("basic",)}
    columns = tuple(replace(column, expected=usual.get(column.name, ())) for column in CHURN.columns)
    bundle = storage.publish(replace(CHURN, columns=columns))
    storage.fill(bundle, KNOWN)
    storage.deploy(bundle)
    with TestClient(create(storage.store, "local", QUICK)) as client:
        yield client


def test_a_value_outside_what_is_expected_is_predicted_and_counted(watched: TestClient) -> None:
    rows = [{"customer_id": "ann", "discount": 30}, {"customer_id": "bob", "discount": 30.5}, {"customer_id": "zoë"}]
    assert watched.post("/predict", json=rows).status_code == 200
    assert value(watched, "model_input_unusual_total", column="discount") == 1
    assert value(watched, "model_input_unusual_total", column="plan") == 2
    assert len(series(watched, "model_input_unusual_total")) == 2


def test_a_range_may_have_an_open_end_and_other_columns_have_levels() -> None:
    age = Column("age", "request", "number", nullable=True, expected=(None, 10))
    paid = replace(age, name="paid", kind="boolean", expected=(True,))
    assert [is_expected(age)(value) for value in (-math.inf, 10, 10.5)] == [True, True, False]
    assert [is_expected(replace(age, expected=(3, None)))(value) for value in (2, 3, math.inf)] == [False, True, True]
    assert [is_expected(paid)(value) for value in (True, False)] == [True, False]
    # The service has the times of requests as such, and those of the feature table as text.
    since = replace(age, kind="time", expected=("2020-01-01", "2021-01-01T12:00:00"))
    times = (datetime(2020, 1, 1), "2021-01-01 12:00:00", "2021-01-01 12:00:01", datetime(2019, 12, 31))
    assert [is_expected(since)(value) for value in times] == [True, True, False, False]


def test_null_is_never_unusual(watched: TestClient, storage: Storage) -> None:
    follower = DeploymentFollower(storage.store, "local", max_rows=10)
    metrics = Metrics(follower)
    for value, count in ((None, 0), (31, 1)):
        metrics.count_predictions(
            follower.deployed, [{"discount": value, "plan": None}], [{"prediction": "no", "probability": 0.1}]
        )
        assert metrics._counters.get_sample_value("model_input_unusual_total", {"column": "discount"}) == count
        assert metrics._counters.get_sample_value("model_input_unusual_total", {"column": "plan"}) == 0


def test_model_and_ages_are_those_of_the_deployed_version(client: TestClient, storage: Storage, bundle: Bundle) -> None:
    labels: Labels = {"model": "churn", "contract": "1", "environment": "local"}
    assert value(client, "model_info", version=bundle.version, **labels) == 1
    assert value(client, "model_trained_timestamp_seconds") == timestamps.parse("2026-01-01T00:00:00+00:00")
    assert value(client, "model_features_as_of_timestamp_seconds") == 1_767_225_600
    newer = storage.publish(made="20260202T000000")
    storage.deploy(newer)
    eventually(lambda: series(client, "model_info") == [{"version": newer.version} | labels])
    (storage.store.deployments / "local.json").write_text("{")
    eventually(lambda: value(client, "model_deployment_pending") == 1)


def test_the_newest_monitoring_report_is_shown_and_followed(
    client: TestClient, storage: Storage, bundle: Bundle
) -> None:
    assert value(client, "model_monitoring_last_success_timestamp_seconds") is None
    write(storage, report(bundle.version, verdict="retrain"))
    assert value(client, "model_monitoring_last_success_timestamp_seconds") == timestamps.parse("2026-11-24T06:00:00Z")
    assert value(client, "model_monitoring_verdict", verdict="retrain") == 1
    assert value(client, "model_monitoring_verdict", verdict="ok") == 0
    assert value(client, "model_drift_score", column="discount") == 0.31
    assert value(client, "model_drift_limit", column="discount") == 0.1
    assert value(client, "model_quality", metric="roc_auc", slice="all") == 0.71
    assert value(client, "model_quality_upper", metric="roc_auc", slice="all") == 0.74
    assert value(client, "model_quality_bound", metric="roc_auc") == 0.75
    assert value(client, "model_quality", metric="roc_auc", slice="plan=basic") == 0.6
    write(storage, report(bundle.version, verdict="ok", quality=None, windows=[]))
    assert value(client, "model_monitoring_verdict", verdict="ok") == 1
    assert value(client, "model_quality", metric="roc_auc", slice="all") is None
    assert series(client, "model_drift_score") == []


def test_the_report_of_another_version_is_not_shown(client: TestClient, storage: Storage) -> None:
    write(storage, report("20250101T000000-00000000", verdict="incident"))
    assert value(client, "model_monitoring_last_success_timestamp_seconds") is not None
    assert value(client, "model_monitoring_verdict", verdict="incident") is None
    assert series(client, "model_drift_score") == []


DAMAGED: list[Any] = [[], {}, {"format": 2}, {"format": 1, "as_of": "soon"}]


@pytest.mark.parametrize("damage", DAMAGED, ids=str)
def test_a_damaged_report_is_as_none_and_the_service_goes_on(
    client: TestClient, storage: Storage, bundle: Bundle, damage: Any
) -> None:
    write(storage, report(bundle.version))
    assert value(client, "model_monitoring_verdict", verdict="ok") == 1
    write(storage, damage)
    assert value(client, "model_monitoring_last_success_timestamp_seconds") is None
    assert client.post("/predict", json={"customer_id": "ann"}).status_code == 200


def test_the_size_of_the_prediction_log_is_reported(client: TestClient, storage: Storage) -> None:
    directory = predictions.segment_folder(storage.store, "local")
    directory.mkdir(parents=True)
    (directory / "one.open").write_bytes(b"x" * 41)
    assert value(client, "prediction_log_bytes") == 41
    assert value(client, "prediction_log_dropped_total") == 0


def test_few_rows_beyond_a_limit_and_a_missing_bound_are_not_shown(
    client: TestClient, storage: Storage, bundle: Bundle
) -> None:
    whole = report(bundle.version)
    whole["windows"][-1]["columns"]["discount"]["drifted"] = False
    whole["quality"]["bound"] = None
    write(storage, whole)
    assert value(client, "model_monitoring_verdict", verdict="ok") == 1
    assert series(client, "model_drift_score") == series(client, "model_quality_bound") == []
    assert value(client, "model_quality", metric="roc_auc", slice="all") == 0.71


@pytest.mark.slow
def test_what_monitoring_writes_is_what_the_service_reads(tmp_path: Path) -> None:
    made = train_sample(tmp_path)
    deploy(made.settings.store, made.bundle)
    for back in range(3):
        rows = made.predict(made.draw(700, seed=back))
        last = NOW - back * 28 * DAY
        log(made.settings.store, made.bundle, rows, last - 28 * DAY, last, f"w{back}")
        label(made.settings.store, rows, f"w{back}", last)
    document, _ = monitor(made.settings, NO_TABLES, "local", NOW)
    [text] = [Metrics(DeploymentFollower(made.settings.store, "local", 10)).text().decode()]
    for column in document["windows"][-1]["columns"]:
        assert f'model_drift_score{{column="{column}"}}' in text
    assert f'model_monitoring_verdict{{verdict="{document["verdict"]}"}} 1.0' in text
    assert f'model_quality{{metric="roc_auc",slice="all"}} {document["quality"]["overall"]["value"]}' in text
    assert 'model_quality_upper{metric="roc_auc",slice="plan=basic"}' in text


def write(storage: Storage, content: Any) -> None:
    path = storage.store.reports / "local" / "monitoring.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content))
    os.replace(draft, path)


SHARED = """
import os, sys
from pathlib import Path
from lifecycle.serving.deployed import DeploymentFollower
from lifecycle.serving.metrics import Metrics
from lifecycle.storage import Store
metrics = Metrics(DeploymentFollower(Store(Path(sys.argv[1])), "local", 10))
metrics.refusals.labels("unknown_key").inc()
print(metrics.text().decode())
"""


@pytest.mark.slow
def test_processes_that_share_a_folder_count_as_one(storage: Storage, bundle: Bundle, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PROMETHEUS_MULTIPROC_DIR": str(shared)}
    command = [sys.executable, "-c", SHARED, str(storage.store.root)]
    # A process that is starting has created its file and not yet filled it.
    (shared / "counter_1.db").touch()
    texts = [subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout for _ in range(2)]
    for times, text in enumerate(texts, 1):
        assert f'model_requests_refused_total{{reason="unknown_key"}} {times}.0' in text
        assert text.count("\nmodel_info{") == 1
