"""A log of answers and the labels that came later, written as the jobs write them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from lifecycle import timestamps
from lifecycle.contract.tables import SQL_TYPES, quoted
from lifecycle.features import point_in_time
from lifecycle.models.bundle import Bundle
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Live
from lifecycle.sample import generate
from lifecycle.settings import Settings
from lifecycle.storage import Store
from lifecycle.training.train import train
from support.teams import sample_team, settings_in

DAY = 86_400
TRAINED = timestamps.parse("2025-11-01")
# The last of the data, and a month and a half later: labels are asked for after thirty days.
NOW = timestamps.parse("2026-01-15")


@dataclass(frozen=True)
class Watched:
    """A version trained on the sample, and labelled rows of other people whom the same process made."""

    settings: Settings
    bundle: Bundle
    predictor: Predictor
    rows: pd.DataFrame

    def draw(self, rows: int, seed: int = 0) -> pd.DataFrame:
        """Rows as the training period had them, of people whom the model never saw."""
        return self.rows.iloc[np.random.default_rng(seed).choice(len(self.rows), rows, replace=False)].copy()

    def answer(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The same rows with what the model returns."""
        told = pd.DataFrame(self.predictor.predict_frame(rows, 0.5), index=rows.index)
        return rows.assign(prediction=told["prediction"], probability=told["probability"])


def watched(folder: Path) -> Watched:
    """Train on the sample as it was known on TRAINED."""
    settings = settings_in(folder, gate={"resamples": 200})
    generate.write(settings.data)
    bundle = train(sample_team(), settings, folder, TRAINED)
    return Watched(
        settings, bundle, Predictor(bundle), labelled_rows(folder / "others", TRAINED, seed=1, customers=6000)
    )


def labelled_rows(folder: Path, as_of: int, **given: Any) -> pd.DataFrame:
    """Completed rows of the sample with their label, as known at a moment."""
    generate.write(folder, **given)
    team = sample_team()
    connection = point_in_time.connect(team.data, folder)
    point_in_time.training_rows(connection, team, as_of)
    return connection.execute(f"FROM {point_in_time.ROWS}").df()


def deploy(store: Store, bundle: Bundle) -> None:
    """What promotion does."""
    seen = deployments.read(store, "local")
    deployments.swap(store, "local", seen, Live(bundle.version, 0.5), action="promote", who="a test", why="to see")


def log(
    store: Store,
    bundle: Bundle,
    rows: pd.DataFrame,
    first: int,
    last: int,
    name: str,
    types: dict[str, str] | None = None,
) -> None:
    """Answered rows, asked evenly on each seventh day from `first` until before `last`; `as_of` is a row's own `ts`."""
    frame = rows.assign(
        as_of=rows["ts"],
        ts=first + np.linspace(0, last - first - 1, len(rows)).astype("int64") // (7 * DAY) * (7 * DAY),
        version=bundle.version,
        threshold=0.5,
        lifecycle_request=[f"{name}-{at}" for at in range(len(rows))],
        lifecycle_position=0,
    )
    known = {column.name: SQL_TYPES[column.kind] for column in bundle.contract.columns} | {
        "lifecycle_position": "INTEGER"
    }
    known |= types or {}
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


def label(store: Store, rows: pd.DataFrame, name: str, seen_ts: int) -> None:
    """The labels of logged rows, by request."""
    store.labels.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(
        {
            "request_id": [f"{name}-{at}" for at in range(len(rows))],
            "position": 0,
            "key": None,
            "ts": None,
            "label": np.where(rows["churned"], "churns", "stays"),
            "seen_ts": seen_ts,
        }
    )
    connection = duckdb.connect()
    connection.register("frame", frame)
    select = "request_id, position::INTEGER AS position, key::VARCHAR AS key, ts::BIGINT AS ts, label, seen_ts"
    connection.execute(f"COPY (SELECT {select} FROM frame) TO '{store.labels / name}.parquet' (FORMAT parquet)")
