"""Monitoring of a log of predictions and of labels that arrived later, written as the jobs write them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from lifecycle import sample, timestamps
from lifecycle.contract.tables import SQL_TYPES, quoted
from lifecycle.errors import NotHere
from lifecycle.features import point_in_time
from lifecycle.models.bundle import Bundle
from lifecycle.models.predictor import Predictor
from lifecycle.monitoring import monitor
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.settings import Settings
from lifecycle.storage import Store
from lifecycle.training.train import train
from support.teams import sample_team, settings_in

DAY = 86_400
SPAN = 28 * DAY
ROWS = 700
TRAINED = timestamps.parse("2025-11-01")
# A month and a half after the last data, because labels become known after thirty days.
NOW = timestamps.parse("2026-01-15")
WITHOUT_TABLES = "the tables are not on this machine: features were not recomputed"
Change = Callable[[pd.DataFrame], pd.DataFrame]


def _absent(connection: Any, folder: Path) -> None:
    raise NotHere("the tables are elsewhere")


# Logged rows of the past were looked up as of their own time; the comparison with the tables has tests of its own.
NO_TABLES: Any = SimpleNamespace(tables=_absent)


@dataclass(frozen=True)
class Sample:
    """A version trained on the sample, and labelled rows of other people drawn from the same process."""

    settings: Settings
    bundle: Bundle
    predictor: Predictor
    rows: pd.DataFrame

    def draw(self, rows: int, seed: int = 0) -> pd.DataFrame:
        """Return rows distributed as in training, of people that training did not contain."""
        return self.rows.iloc[np.random.default_rng(seed).choice(len(self.rows), rows, replace=False)].copy()

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with the model's predictions."""
        predicted = pd.DataFrame(self.predictor.predict_frame(rows, 0.5), index=rows.index)
        return rows.assign(prediction=predicted["prediction"], probability=predicted["probability"])


def train_sample(folder: Path) -> Sample:
    """Train on the sample as it was known on TRAINED."""
    settings = settings_in(folder, gate={"resamples": 200})
    sample.write(settings.data)
    bundle = train(sample_team(), settings, folder, TRAINED)
    rows = labelled_rows(folder / "others", TRAINED, seed=1, customers=6000)
    return Sample(settings, bundle, Predictor(bundle), rows)


def labelled_rows(folder: Path, as_of: int, **given: Any) -> pd.DataFrame:
    """Return completed rows of the sample with their label, as known at a time."""
    sample.write(folder, **given)
    team = sample_team()
    connection = point_in_time.connect(team.data, folder)
    point_in_time.training_rows(connection, team, as_of)
    return connection.execute(f"FROM {point_in_time.ROWS}").df()


def deploy(store: Store, bundle: Bundle) -> None:
    """Deploy a version as promotion does."""
    seen = deployments.read(store, "local")
    deployments.swap(store, "local", seen, Deployed(bundle.version, 0.5), action="promote", who="a test", why="to see")


def log(
    store: Store,
    bundle: Bundle,
    rows: pd.DataFrame,
    first: int,
    last: int,
    name: str,
    types: dict[str, str] | None = None,
) -> None:
    """Log predicted rows on each seventh day from `first` until before `last`; `as_of` is a row's own `ts`."""
    frame = rows.assign(
        as_of=rows["ts"],
        ts=first + np.linspace(0, last - first - 1, len(rows)).astype("int64") // (7 * DAY) * (7 * DAY),
        version=bundle.version,
        threshold=0.5,
        lifecycle_request=[f"{name}-{number}" for number in range(len(rows))],
        lifecycle_position=0,
    )
    known = {column.name: SQL_TYPES[column.kind] for column in bundle.contract.columns}
    known |= {"lifecycle_position": "INTEGER"} | (types or {})
    parts = ", ".join(f"CAST({quoted(c)} AS {known[c]}) AS {quoted(c)}" if c in known else quoted(c) for c in frame)
    connection = duckdb.connect()
    connection.register("frame", frame)
    for day in {str(datetime.fromtimestamp(ts, UTC).date()) for ts in frame["ts"]}:
        folder = store.predictions / "local" / f"date={day}"
        folder.mkdir(parents=True, exist_ok=True)
        begin = timestamps.parse(day)
        where = f"ts >= {begin} AND ts < {begin + DAY}"
        connection.execute(
            f"COPY (SELECT {parts} FROM frame WHERE {where}) TO '{folder / name}.parquet' (FORMAT parquet)"
        )


def label(
    store: Store, rows: pd.DataFrame, name: str, seen_ts: int, classes: tuple[str, str] = ("stays", "churns")
) -> None:
    """Write the labels of logged rows, by request."""
    store.labels.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(
        {
            "request_id": [f"{name}-{number}" for number in range(len(rows))],
            "position": 0,
            "key": None,
            "ts": None,
            "label": np.where(rows["churned"], *classes[::-1]),
            "seen_ts": seen_ts,
        }
    )
    connection = duckdb.connect()
    connection.register("frame", frame)
    select = "request_id, position::INTEGER AS position, key::VARCHAR AS key, ts::BIGINT AS ts, label, seen_ts"
    connection.execute(f"COPY (SELECT {select} FROM frame) TO '{store.labels / name}.parquet' (FORMAT parquet)")


def fill_windows(
    sample: Sample, settings: Settings, *changes: Change, shuffle_labels: bool = False, types: Any = None
) -> None:
    """Log and label four windows; the last of `changes` applies to the last window, and so on backwards."""
    for back in range(4):
        rows = sample.draw(ROWS, seed=back)
        if back < len(changes):
            rows = changes[-1 - back](rows)
        try:
            rows = sample.predict(rows)
        except (TypeError, ValueError, KeyError):
            rows = rows.assign(prediction="stays", probability=0.1)
        if shuffle_labels:
            rows["churned"] = np.random.default_rng(back).permutation(rows["churned"].to_numpy())
        last = NOW - back * SPAN
        log(settings.store, sample.bundle, rows, last - SPAN, last, f"w{back}", types if back == 0 else None)
        label(settings.store, rows, f"w{back}", last)


def run_monitor(settings: Settings, **rules: Any) -> dict[str, Any]:
    """Monitor where the tables are absent and return the report without the reason that says so."""
    given = {"feature_days": 5000.0} | rules
    changed = settings.model_copy(update={"monitor": settings.monitor.model_copy(update=given)})
    document, dated = monitor(changed, NO_TABLES, "local", NOW)
    newest = settings.store.reports / "local" / "monitoring.json"
    assert (dated / "monitoring.json").read_bytes() == newest.read_bytes()
    assert document["verdict"] in (dated / "monitoring.html").read_text()
    [absent] = [reason for reason in document["reasons"] if reason["text"] == WITHOUT_TABLES]
    document["reasons"].remove(absent)
    return document


def retrain_request(settings: Settings) -> dict[str, Any] | None:
    """Return the request for a retrain, or None."""
    path = settings.store.reports / "local" / "retrain_request.json"
    return json.loads(path.read_text()) if path.exists() else None


def log_lookups(sample: Sample, settings: Settings, change: Change, as_of: str = "2026-01-01") -> Any:
    """Log what the service looks up in features as of a date, changed afterwards; return the team's data."""
    data, contract, sql = sample_team().data, sample.bundle.contract, sample.bundle.features_sql
    assert sql is not None
    connection = point_in_time.connect(data, settings.data)
    point_in_time.population_rows(connection, data, contract, sql, timestamps.parse(as_of))
    rows = change(connection.execute(f"FROM {point_in_time.ROWS}").df())
    log(settings.store, sample.bundle, sample.predict(rows), NOW - SPAN, NOW, "looked")
    return data


def shifted(rows: pd.DataFrame) -> pd.DataFrame:
    """Shift one input, which is drift."""
    return rows.assign(complaints_90d=rows["complaints_90d"] + 1)


def null_spike(rows: pd.DataFrame) -> pd.DataFrame:
    """Set a fifth of a column to null, which is broken data."""
    return rows.assign(days_since_visit=rows["days_since_visit"].where(np.arange(len(rows)) % 5 > 0))


def one_too_many(rows: pd.DataFrame) -> pd.DataFrame:
    """Change a looked-up value in each twentieth row, which is skew."""
    return rows.assign(visits_30d=rows["visits_30d"] + (np.arange(len(rows)) % 20 == 0))
