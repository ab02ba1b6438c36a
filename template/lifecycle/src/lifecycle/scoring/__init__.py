"""Predict for everyone as of a date, or for the rows of a file: in bounded memory, and resumed after a kill."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from lifecycle import spark, timestamps
from lifecycle.contract import reader, tables
from lifecycle.contract.reader import Table
from lifecycle.contract.schema import Contract
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.models.bundle import open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from lifecycle.registry.predictions import BATCH, exclusive, prediction_columns
from lifecycle.scoring import parts
from lifecycle.scoring.parts import POSITION, Output, Parts, RowFile
from lifecycle.settings import Settings
from lifecycle.storage import draft

GIVEN = "lifecycle_given"


def score(settings: Settings, data: Data, environment: str, days: list[date] | None, progress: bool) -> dict[Path, int]:
    """Predict for the population of each date and write one Parquet file per date, sorted by key.

    A file has the keys and the id (without these, the request fields), the prediction, `as_of`, version and threshold.
    Scoring a date again replaces it. Unless `log.enabled` is false, the rows are also written to the prediction log.
    The version deployed in the environment predicts. `days` are at 00:00 UTC; the default is the date of the latest
    time in the data, or today. `progress` shows a bar on stderr. Returns the number of rows by file. Raises
    LifecycleError where nothing is deployed, a date is in the future, data violate the contract, or the disk is full.
    """
    with _started(settings, environment, progress) as run, spark.connect(settings, data, **run.limits) as connection:
        days = days or [timestamps.date_of(point_in_time.latest(connection, data))]
        # A day more than now, because today's date depends on the time zone.
        late = timestamps.midnight(max(days)) - timestamps.DAY
        if late > timestamps.now() and late > (newest := point_in_time.latest(connection, data)):
            problem = f"{max(days)} is in the future, and the data end at {timestamps.format_utc(newest)}"
            raise LifecycleError(problem, "Give today's date or an earlier one.")
        return dict(_score_day(run, connection, data, day) for day in days)


def score_file(
    settings: Settings, environment: str, file: Path, output: Path, progress: bool, table: Table | None = None
) -> tuple[int, list[str]]:
    """Predict for the rows of a Parquet or CSV file, in its order; no feature is looked up and nothing is logged.

    `file` has every column of the contract, and `output` is the Parquet file to write; see `score` for the others, and
    `own_rows` for `table`. Returns the number of rows, and the columns of the file that are not in the contract. Raises
    LifecycleError where the file violates the contract or cannot be read, or the output cannot be written.
    """
    faults = {
        "is a folder": output.is_dir(),
        "is the input file": output.resolve() == file.resolve(),
        "is not the name of a Parquet file": output.suffix.lower() not in (".parquet", ".pq"),
        "is in a folder that does not exist": not output.parent.is_dir(),
    }
    if fault := next((fault for fault, holds in faults.items() if holds), ""):
        raise LifecycleError(f"{output} {fault}", "Name another output file, such as predictions.parquet.")
    ignored: list[str] = []
    threads = {"threads": str(parts.cores())}
    with _started(settings, environment, progress) as run, tables.connect(**run.limits | threads) as connection:

        def fill(rows: RowFile) -> None:
            # Nothing is summed, and several threads keep the order of the rows of Parquet, but not of CSV.
            several = replace(rows, threads=parts.cores() if reader.is_parquet(file) else 1)
            ignored.extend(own_rows(connection, file, run.predictor.contract, several, table))

        predicted = parts.predicted(output, fill, settings, run.predictor, run.facts)
        return _write(run, connection, file.name, output, run.facts, predicted, []), ignored


@dataclass(frozen=True)
class _Run:
    """One scoring command: the deployed version, facts of every prediction, and limits that DuckDB has to keep."""

    settings: Settings
    environment: str
    deployed: deployments.Deployed
    predictor: Predictor
    facts: dict[str, Any]
    limits: dict[str, str]
    progress: bool


@contextlib.contextmanager
def _started(settings: Settings, environment: str, progress: bool) -> Iterator[_Run]:
    folder = settings.store.scores / environment
    with tables.bounded(settings.store, folder, settings.score.memory_mb) as limits:
        deployed = deployments.required(settings.store, environment).current
        predictor = Predictor(open_version(settings.store, deployed.version))
        facts = {"version": deployed.version, "threshold": deployed.threshold}
        yield _Run(settings, environment, deployed, predictor, facts, limits, progress)


def _score_day(run: _Run, connection: Any, data: Data, day: date) -> tuple[Path, int]:
    store, version, contract = run.settings.store, run.deployed.version, run.predictor.contract
    as_of = timestamps.midnight(day)
    path, sql = store.scores / run.environment / f"date={day}" / "scores.parquet", run.predictor.bundle.features_sql

    def fill(rows: RowFile) -> None:
        connection.execute("SET threads = 1")
        point_in_time.population_rows(connection, data, contract, sql, as_of, rows.keep)

    logged, stated = [], {"as_of": as_of} | run.facts
    if run.settings.log.enabled:
        # The same columns as in the log of the service.
        facts: dict[str, Any] = {"ts": as_of, "as_of": None, "version": version}
        if contract.lookups and as_of <= timestamps.now():
            # Features as of a future time are incomplete, so that monitoring cannot recompute them later.
            facts["as_of"] = as_of
        facts |= {"threshold": run.deployed.threshold, "lifecycle_request": f"{BATCH}{day}-{version}", POSITION: None}
        facts |= dict.fromkeys(prediction_columns(contract.target))
        log = store.predictions / run.environment / f"date={day}" / f"{BATCH}{version}.parquet"
        logged.append(Output(log, draft(log), contract.loggable, facts))
    if engine := getattr(connection, "engine", None):
        # A lost worker is Spark's to replace, so that there are no parts to keep.
        predicted = engine.predicted_rows(data, run.predictor.bundle, as_of, run.deployed.threshold, parts.predictions)
    else:
        predicted = parts.predicted(path, fill, run.settings, run.predictor, stated)
    return path, _write(run, connection, str(day), path, stated, predicted, logged)


def _write(
    run: _Run, connection: Any, title: str, path: Path, facts: dict[str, Any], predicted: Parts, logged: list[Output]
) -> int:
    """Predict in parts and write the outputs; return the number of rows."""
    from tqdm import tqdm

    contract, folder = run.predictor.contract, path.with_name(f".{path.name}.parts")
    files, count = [], 0
    with tqdm(desc=title, unit="row", unit_scale=True, leave=False, disable=not run.progress) as bar:
        for part, size in predicted:
            files.append(part)
            count += size
            bar.update(size)
    # The draft of the output is in the folder of the parts, which is removed as a whole.
    columns = contract.identifiers or contract.request
    scores = Output(path, folder / parts.WHOLE, columns, dict.fromkeys(prediction_columns(contract.target)) | facts)
    # No other job changes the prediction log meanwhile.
    with exclusive(run.settings.store, run.environment) if logged else contextlib.nullcontext():
        parts.write(connection, files, contract, [scores, *logged])
    shutil.rmtree(folder, ignore_errors=True)
    return count


def own_rows(connection: Any, file: Path, contract: Contract, to: RowFile, table: Table | None = None) -> list[str]:
    """Fill point_in_time.ROWS with the rows of a Parquet or CSV file, in its order.

    `table` declares how the team's own files are written. A file without these columns is read as the contract says.
    Returns the columns of the file that are not in the contract. Raises LifecycleError where the file cannot be read,
    or violates the contract: by column, rule, count and first rows from 0.
    """
    # The file has every column of the contract: none is looked up.
    columns = tuple(replace(column, source="request") for column in contract.columns)
    with tables.explain_sql_errors(f"reading {file}", "Give a Parquet file, or a CSV file with a header."):
        needed = [column.name for column in columns if column.required]
        declared = reader.open_rows(connection, file, GIVEN, table, needed)
        readings = {column.name: declared.get(column.name, reader.PLAIN[column.kind]) for column in columns}
        known = tables.describe(connection, f"FROM {GIVEN}")
        headers = {name: reading.header or name for name, reading in readings.items()}
        missing = [column for column in columns if headers[column.name] not in known]
        if faults := [f"{file} lacks the column {headers[column.name]}" for column in missing if column.required]:
            raise LifecycleError("\n  ".join(faults), "Its columns are those of the contract, each under its own name.")
        values = [tables.cast(tables.literal(column.default), column, "BIGINT") for column in missing]
        rules = []
        for column in (column for column in columns if column not in missing):
            raw, reading = tables.quoted(headers[column.name]), readings[column.name]
            value = reading.value(raw, known[headers[column.name]])
            rules.append((column.name, f"is not {reading.noun}", f"{reading.is_given(raw)} AND {value} IS NULL"))
            values.append(f"CAST({value} AS {tables.SQL_TYPES[column.kind]}) AS {tables.quoted(column.name)}")
        tables.check_rules(connection, GIVEN, rules, str(file))
    to.keep(connection, f"SELECT {', '.join(values)} FROM {GIVEN}", str(file))
    tables.check_table(connection, point_in_time.ROWS, columns, str(file))
    return [name for name in known if name not in headers.values()]
