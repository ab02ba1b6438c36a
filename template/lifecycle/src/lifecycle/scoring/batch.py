# mypy: disable-error-code="import-untyped, import-not-found"
"""Predict for everyone as of a date, or for the rows of a file: in bounded memory, and resumed after a kill."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from lifecycle.contract import tables
from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import connect, is_parquet, quoted
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.features.point_in_time import ROWS
from lifecycle.models.bundle import open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.registry.predictions import BATCH, exclusive, prediction_columns
from lifecycle.scoring import parts
from lifecycle.scoring.parts import POSITION, Output, RowFile
from lifecycle.settings import Settings
from lifecycle.storage import draft, explain_disk_errors, lock

GIVEN = "lifecycle_given"
HINT = "Give a Parquet file, or a CSV file with a header."
# How the text of a CSV file is converted; null where it cannot be.
CONVERSIONS = {
    "number": "TRY_CAST({0} AS DOUBLE)",
    "boolean": "TRY_CAST({0} AS BOOLEAN)",
    "time": "CAST(TRY_CAST({0} AS TIMESTAMPTZ) AS TIMESTAMP)",
    # Through a decimal: `3.0` is a whole number, and a key of 18 digits keeps all of them.
    "integer": (
        "CASE WHEN TRY_CAST({0} AS DECIMAL(38, 9)) = trunc(TRY_CAST({0} AS DECIMAL(38, 9))) "
        "THEN TRY_CAST(TRY_CAST({0} AS DECIMAL(38, 9)) AS BIGINT) END"
    ),
    "category": "{0}",
}


def score(settings: Settings, data: Data, environment: str, days: list[date] | None, progress: bool) -> dict[Path, int]:
    """Predict for the population of each date and write one Parquet file per date, sorted by key.

    A file has the keys and the id (without these, the request fields), the prediction, `as_of`, version and threshold.
    Scoring a date again replaces its file. Unless `log.enabled` is false, the rows are also written to the prediction
    log.

    `environment` names whose deployed version predicts. `days` are at 00:00 UTC; the default is the date of the latest
    time in the data, or today. `progress` shows a progress bar on stderr.

    Returns:
        By file, the number of its rows.

    Raises:
        LifecycleError: nothing is deployed, a date is in the future, data violate the contract, or the disk is full.
    """
    with (
        _started(settings, environment, progress) as run,
        point_in_time.connect(data, settings.data, **run.limits) as connection,
    ):
        days = days or [timestamps.date_of(point_in_time.latest(connection, data))]
        # A day more than now, because today's date depends on the time zone.
        late = timestamps.midnight(max(days)) - timestamps.DAY
        if late > timestamps.now() and late > (newest := point_in_time.latest(connection, data)):
            problem = f"{max(days)} is in the future, and the data end at {timestamps.format_utc(newest)}"
            raise LifecycleError(problem, "Give today's date or an earlier one.")
        return dict(_score_day(run, connection, data, day) for day in days)


def score_file(settings: Settings, environment: str, file: Path, output: Path, progress: bool) -> tuple[int, list[str]]:
    """Predict for the rows of a Parquet or CSV file, in its order; no feature is looked up and nothing is logged.

    `file` has every column of the contract, and `output` is the Parquet file to write; see `score` for the others.

    Returns:
        The number of rows, and the columns of the file that are not in the contract.

    Raises:
        LifecycleError: the file violates the contract or cannot be read, or the output cannot be written.
    """
    faults = {
        "is a folder": output.is_dir(),
        "is the input file": output.resolve() == file.resolve(),
        "is not the name of a Parquet file": not is_parquet(output),
        "is in a folder that does not exist": not output.parent.is_dir(),
    }
    if fault := next((fault for fault, holds in faults.items() if holds), ""):
        raise LifecycleError(f"{output} {fault}", "Name another output file, such as predictions.parquet.")
    ignored: list[str] = []
    with _started(settings, environment, progress) as run, connect(**run.limits) as connection:

        def fill(rows: RowFile) -> None:
            ignored.extend(own_rows(connection, file, run.predictor.contract, rows))

        return _predict(run, connection, file.name, output, {}, fill, []), ignored


@dataclass(frozen=True)
class _Run:
    """One scoring command: the deployed version, and the limits that DuckDB has to keep."""

    settings: Settings
    environment: str
    deployed: Deployed
    predictor: Predictor
    limits: dict[str, str]
    progress: bool


@contextlib.contextmanager
def _started(settings: Settings, environment: str, progress: bool) -> Iterator[_Run]:
    spill = settings.store.scores / environment / ".spill"
    with lock(spill.with_name(".lock")):
        deployed = deployments.required(settings.store, environment).current
        predictor = Predictor(open_version(settings.store, deployed.version))
        limits = {"memory_limit": f"{settings.score.memory_mb}MB", "temp_directory": str(spill)}
        with explain_disk_errors(spill):
            # A killed run leaves rows here.
            shutil.rmtree(spill, ignore_errors=True)
            spill.mkdir(parents=True)
        try:
            yield _Run(settings, environment, deployed, predictor, limits, progress)
        finally:
            shutil.rmtree(spill, ignore_errors=True)


def _score_day(run: _Run, connection: Any, data: Data, day: date) -> tuple[Path, int]:
    store, version, contract = run.settings.store, run.deployed.version, run.predictor.contract
    as_of = timestamps.midnight(day)
    path = store.scores / run.environment / f"date={day}" / "scores.parquet"

    def fill(rows: RowFile) -> None:
        point_in_time.population_rows(connection, data, contract, run.predictor.bundle.features_sql, as_of, rows.keep)

    logged = []
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
    return path, _predict(run, connection, str(day), path, {"as_of": as_of}, fill, logged)


def _predict(
    run: _Run,
    connection: Any,
    title: str,
    path: Path,
    facts: dict[str, Any],
    fill: Callable[[RowFile], object],
    logged: list[Output],
) -> int:
    """Complete the rows, predict in parts and write the outputs; return the number of rows."""
    from tqdm import tqdm

    contract, folder = run.predictor.contract, parts.folder_of(path)
    facts = facts | {"version": run.deployed.version, "threshold": run.deployed.threshold}
    rows = parts.begin(folder, fill, run.settings.score.chunk_rows, facts)
    predicted, count = [], 0
    with tqdm(desc=title, unit="row", unit_scale=True, leave=False, disable=not run.progress) as bar:
        for part, size in parts.predicted(folder, rows, run.predictor, run.deployed.threshold):
            predicted.append(part)
            count += size
            bar.update(size)
    # The draft of the output is in the folder of the parts, which is removed as a whole.
    columns = contract.identifiers or contract.request
    scores = Output(path, folder / parts.WHOLE, columns, dict.fromkeys(prediction_columns(contract.target)) | facts)
    # No other job changes the prediction log meanwhile.
    with exclusive(run.settings.store, run.environment) if logged else contextlib.nullcontext():
        parts.write(connection, rows, predicted, contract, [scores, *logged])
    shutil.rmtree(folder, ignore_errors=True)
    return count


def own_rows(connection: Any, file: Path, contract: Contract, to: RowFile) -> list[str]:
    """Fill ROWS with the rows of a Parquet or CSV file, in its order.

    Returns:
        The columns of the file that are not in the contract.

    Raises:
        LifecycleError: the file cannot be read, or violates the contract: by column, rule, count and first rows from 0.
    """
    # The file has every column of the contract: none is looked up.
    columns = tuple(replace(column, source="request") for column in contract.columns)
    with tables.explain_sql_errors(f"reading {file}", HINT):
        is_csv = not _is_parquet(file)
        options = ", header = true, all_varchar = true, skip = 0" if is_csv else ", hive_partitioning = false"
        source = f"{'read_csv' if is_csv else 'read_parquet'}({tables.path_literal(file)}{options})"
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {GIVEN} AS FROM {source}")
        known = tables.describe(connection, f"FROM {GIVEN}")
        sent = [column for column in columns if column.name in known or column.required]
        as_read = tuple(replace(column, kind="category") if is_csv else column for column in sent)
        if faults := tables.check_types(known, as_read, str(file)):
            raise LifecycleError("\n  ".join(faults), "Its columns are those of the contract, each under its own name.")
        rules = []
        for column in sent if is_csv else ():
            invalid = f"{_converted(column)} IS NULL AND {_raw(column)} IS NOT NULL"
            rules.append((column.name, f"is not a valid {column.kind}", invalid))
        tables.check_rules(connection, GIVEN, rules, str(file))
    values = ", ".join(_value(column, known, is_csv) for column in columns)
    to.keep(connection, f"SELECT {values} FROM {GIVEN}", str(file))
    tables.check_table(connection, ROWS, columns, str(file))
    return [name for name in known if name not in {column.name for column in columns}]


def _value(column: Column, known: dict[str, str], is_csv: bool) -> str:
    if column.name not in known:
        return tables.cast(tables.literal(column.default), column, "BIGINT")
    if is_csv:
        return f"{_converted(column)} AS {quoted(column.name)}"
    return tables.cast(quoted(column.name), column, known[column.name])


def _converted(column: Column) -> str:
    return CONVERSIONS[column.kind].format(_raw(column))


def _raw(column: Column) -> str:
    # Blank text is null, as in `make contract`, except in a category, where it may be a level.
    name = quoted(column.name)
    return name if column.kind == "category" else f"nullif(trim({name}), '')"


def _is_parquet(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        raise LifecycleError(f"{file} cannot be read: {error.strerror}", HINT) from error
    if not start:
        raise LifecycleError(f"{file} is empty", HINT)
    if start != b"PAR1" and tables.is_parquet(file):
        raise LifecycleError(f"{file} is not a valid Parquet file", HINT)
    return start == b"PAR1"
