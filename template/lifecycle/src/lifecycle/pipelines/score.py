"""Answer everyone as of a date, with what is deployed: idempotent by date."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle import deployments, features, moments
from lifecycle.bundle import open_version
from lifecycle.contract import Column, Contract
from lifecycle.deployments import Live
from lifecycle.frames import SQL_TYPES, quoted, text
from lifecycle.predictions import answer_columns, exclusive, loggable, replace
from lifecycle.predictor import Predictor
from lifecycle.settings import Settings
from lifecycle.team import Data

if TYPE_CHECKING:
    import duckdb


ANSWERS, CHUNK = "lifecycle_answers", "lifecycle_chunk"


def score(settings: Settings, data: Data, environment: str, days: list[date] | None, progress: bool) -> list[Path]:
    """One Parquet file a date: who was asked about (the keys; without one, the request), the answer, `as_of`, and the
    version and threshold that gave it; returns the files.

    Without dates: the date of the data's own latest moment, or today. A date scored again replaces its file.
    """
    from tqdm import tqdm

    store = settings.store
    live = deployments.required(store, environment).live
    bundle = open_version(store, live.version)
    predictor = Predictor(bundle)
    connection = features.connect(data, settings.data)
    if days is None:
        days = [moments.date_of(features.latest(connection, data, settings.clock))]
    written = []
    for day in tqdm(days, desc="score", unit="day", disable=not progress):
        moment = moments.midnight(day)
        rows = features.population_rows(connection, data, bundle.contract, bundle.features_sql, moment)
        chunks = range(0, rows, settings.score.chunk_rows)
        bar = tqdm(chunks, desc=str(day), unit="chunk", leave=False, disable=not progress or len(chunks) < 2)
        _answer(connection, predictor, live, bar, settings.score.chunk_rows)
        path = store.scores / environment / f"date={day}" / "scores.parquet"
        _write(connection, path, bundle.contract, moment, live)
        if settings.log.enabled:
            kept = store.predictions / environment / f"date={day}" / f"score-{live.version}.parquet"
            with exclusive(store, environment):
                _log(connection, kept, bundle.contract, day, moment, live)
        written.append(path)
    return written


def _identity(contract: Contract) -> tuple[Column, ...]:
    return contract.keys or contract.request


def _answer(
    connection: "duckdb.DuckDBPyConnection", predictor: Predictor, live: Live, starts: Iterable[int], size: int
) -> None:
    import pandas as pd

    names = _identity(predictor.contract)
    columns = [f"{quoted(column.name)} {SQL_TYPES[column.kind]}" for column in names]
    columns += [f"{quoted(name)} {kind}" for name, kind in answer_columns(predictor.contract.answer).items()]
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {ANSWERS} ({', '.join(columns)})")
    for start in starts:
        query = f"SELECT * FROM {features.ROWS} WHERE rowid >= {start} AND rowid < {start + size} ORDER BY rowid"
        frame = connection.execute(query).df()
        answers = pd.json_normalize(predictor.frame_answers(frame, live.threshold), sep="_")
        chunk = pd.concat([frame[[column.name for column in names]], answers], axis=1)
        connection.register(CHUNK, chunk)
        connection.execute(f"INSERT INTO {ANSWERS} BY NAME FROM {CHUNK}")
        connection.unregister(CHUNK)


def _write(connection: "duckdb.DuckDBPyConnection", path: Path, contract: Contract, moment: int, live: Live) -> None:
    keys = ", ".join(quoted(column.name) for column in contract.keys)
    facts = f"CAST({moment} AS BIGINT) AS as_of, {_of(live)}"
    source = f"SELECT *, {facts} FROM {ANSWERS}" + (f" ORDER BY {keys}" if keys else " ORDER BY rowid")
    replace(connection, source, path)


def _log(
    connection: "duckdb.DuckDBPyConnection", path: Path, contract: Contract, day: date, moment: int, live: Live
) -> None:
    """Keep the completed rows and their answers where those of the service stand, so that monitoring sees them."""
    columns = ", ".join(f"r.{quoted(column.name)}" for column in loggable(contract))
    answers = ", ".join(f"a.{quoted(name)}" for name in answer_columns(contract.answer))
    as_of = moment if contract.entity else "NULL"
    facts = f"CAST({moment} AS BIGINT) AS ts, CAST({as_of} AS BIGINT) AS as_of, {_of(live)}"
    place = (
        f"{text(f'score-{day}-{live.version}')} AS lifecycle_request, CAST(r.rowid AS INTEGER) AS lifecycle_position"
    )
    told = ", ".join(filter(None, (columns, facts, place, answers)))
    query = f"SELECT {told} FROM {features.ROWS} r JOIN {ANSWERS} a ON a.rowid = r.rowid ORDER BY r.rowid"
    replace(connection, query, path)


def _of(live: Live) -> str:
    threshold = "NULL" if live.threshold is None else repr(live.threshold)
    return f"{text(live.version)} AS version, CAST({threshold} AS DOUBLE) AS threshold"
