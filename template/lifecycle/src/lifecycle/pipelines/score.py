"""Answer everyone as of a date, with what is deployed: idempotent by date."""

import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle import deployments, features, moments
from lifecycle.bundle import open_version
from lifecycle.contract import Contract
from lifecycle.deployments import Live
from lifecycle.errors import LifecycleError
from lifecycle.frames import quoted, text
from lifecycle.predictor import Predictor
from lifecycle.settings import Settings
from lifecycle.store import draft, refusing_disk
from lifecycle.team import Data

if TYPE_CHECKING:
    import duckdb


def score(settings: Settings, data: Data, environment: str, days: list[date] | None, progress: bool) -> list[Path]:
    """One Parquet file a date: keys, `as_of`, the answer and the version that gave it; returns the files.

    Without dates: the date of the data's own latest moment, or today. A date scored again replaces its file.
    """
    from tqdm import tqdm

    store = settings.store
    live = deployments.required(store, environment).live
    bundle = open_version(store, live.version)
    predictor = Predictor(bundle)
    connection = features.connect(data, settings.data)
    if days is None:
        days = [moments.date_of(features.latest(connection, data))]
    written = []
    for day in tqdm(days, desc="score", unit="day", disable=not progress):
        moment = moments.midnight(day)
        rows = features.population_rows(connection, data, bundle.contract, bundle.features_sql, moment)
        chunks = range(0, rows, settings.score.chunk_rows)
        bar = tqdm(chunks, desc=str(day), unit="chunk", leave=False, disable=not progress or len(chunks) < 2)
        _answer(connection, predictor, live, bar, settings.score.chunk_rows)
        path = store.scores / environment / f"date={day}" / "scores.parquet"
        _write(connection, path, bundle.contract, moment, live)
        written.append(path)
    return written


def _answer(
    connection: "duckdb.DuckDBPyConnection", predictor: Predictor, live: Live, starts: Iterable[int], size: int
) -> None:
    import pandas as pd

    connection.execute("DROP TABLE IF EXISTS answers")
    for start in starts:
        query = f"SELECT * FROM {features.ROWS} WHERE rowid >= {start} AND rowid < {start + size} ORDER BY rowid"
        frame = connection.execute(query).df()
        answers = predictor.frame_answers(frame, live.threshold)
        chunk = pd.json_normalize(answers, sep="_")
        keys = frame[[column.name for column in predictor.contract.keys]]
        connection.register("chunk", pd.concat([keys, chunk], axis=1))
        connection.execute("CREATE TABLE IF NOT EXISTS answers AS FROM chunk LIMIT 0")
        connection.execute("INSERT INTO answers FROM chunk")
        connection.unregister("chunk")


def _write(connection: "duckdb.DuckDBPyConnection", path: Path, contract: Contract, moment: int, live: Live) -> None:
    keys = ", ".join(quoted(column.name) for column in contract.keys)
    facts = f"CAST({moment} AS BIGINT) AS as_of, {text(live.version)} AS version"
    order = f" ORDER BY {keys}" if keys else ""
    exists = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'answers'").fetchone()
    source = f"SELECT *, {facts} FROM answers{order}" if exists and exists[0] else f"SELECT {facts} WHERE FALSE"
    import duckdb

    with refusing_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = draft(path)
        try:
            connection.execute(f"COPY ({source}) TO {text(str(beside))} (FORMAT parquet)")
            os.replace(beside, path)
        except duckdb.IOException as error:
            raise LifecycleError(f"{path} cannot be written ({error})", "Free some space, or set `storage`.") from error
        finally:
            beside.unlink(missing_ok=True)
