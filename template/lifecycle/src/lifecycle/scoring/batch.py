# mypy: disable-error-code="import-untyped, import-not-found"
"""Target everyone as of a date, or a file of one's own, with what is deployed: in bounded memory, on after a kill."""

import contextlib
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import timestamps
from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import is_parquet
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.models.bundle import open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.registry.predictions import connect, exclusive, loggable, prediction_columns
from lifecycle.scoring import parts as parts
from lifecycle.scoring.output import POSITION, Output, write
from lifecycle.scoring.rows import RowFile, own_rows
from lifecycle.settings import Settings
from lifecycle.storage import draft, explain_disk_errors, lock

if TYPE_CHECKING:
    import duckdb


def score(settings: Settings, data: Data, environment: str, days: list[date] | None, progress: bool) -> list[Path]:
    """One Parquet file a date: who was asked about (the keys; without one, the request), the answer, `as_of`, and the
    version and threshold that gave it, by key; returns the files.

    Without dates: the date of the data's own latest moment, or today. A date scored again replaces its file; one that
    was killed goes on where it was, as long as rows, version and threshold are the same.
    """
    from tqdm import tqdm

    with lock(settings.store.scores / environment / ".lock"), _limits(settings, environment) as limits:
        live, predictor = _deployed(settings, environment)
        with point_in_time.connect(data, settings.data, **limits) as connection:
            if days is None:
                days = [timestamps.date_of(point_in_time.latest(connection, data))]
            told = tqdm(days, desc="score", unit="day", disable=not progress or len(days) < 2)
            written = [_day(connection, settings, data, environment, live, predictor, day, progress) for day in told]
    return written


def _day(
    connection: "duckdb.DuckDBPyConnection",
    settings: Settings,
    data: Data,
    environment: str,
    live: Deployed,
    predictor: Predictor,
    day: date,
    progress: bool,
) -> Path:
    store, contract, moment = settings.store, predictor.contract, timestamps.midnight(day)
    path = store.scores / environment / f"date={day}" / "scores.parquet"
    folder = parts.folder_of(path)

    def fill(rows: Path) -> None:
        keep = RowFile(rows, settings.score.chunk_rows).keep
        point_in_time.population_rows(connection, data, contract, predictor.bundle.features_sql, moment, keep)

    rows = parts.begin(folder, fill, _facts(live) | {"moment": moment})
    answers, _ = _answer(folder, rows, predictor, live, str(day), progress)
    outputs = [_told(path, contract, live, {"as_of": moment})]
    if settings.log.enabled:
        kept = store.predictions / environment / f"date={day}" / f"score-{live.version}.parquet"
        outputs.append(_logged(kept, contract, day, moment, live))
    with exclusive(store, environment):
        write(rows, answers, contract, outputs)
    parts.end(folder)
    return path


def score_file(settings: Settings, environment: str, file: Path, output: Path, progress: bool) -> tuple[int, list[str]]:
    """Target the rows of a Parquet or CSV file, in its order, into another; nothing is looked up, nothing logged.

    Returns how many rows, and the columns of the file that the contract does not know. Raises LifecycleError naming
    what the file lacks, or what is wrong with it.
    """
    faults = {
        "a folder": output.is_dir(),
        "the file that is read": output.resolve() == file.resolve(),
        "no name of a Parquet file": not is_parquet(output),
        "in a folder that is not there": not output.parent.is_dir(),
    }
    if fault := next((fault for fault, holds in faults.items() if holds), ""):
        raise LifecycleError(f"{output} is {fault}", "The answers become another file, such as answers.parquet.")
    with lock(settings.store.scores / environment / ".lock"), _limits(settings, environment) as limits:
        live, predictor = _deployed(settings, environment)
        with connect(**limits) as connection:
            ignored: list[str] = []

            def fill(rows: Path) -> None:
                to = RowFile(rows, settings.score.chunk_rows)
                ignored.extend(own_rows(connection, file, predictor.contract, to))

            folder = parts.folder_of(output)
            rows = parts.begin(folder, fill, _facts(live))
        answers, count = _answer(folder, rows, predictor, live, file.name, progress)
        contract = predictor.contract
        write(rows, answers, contract, [_told(output, contract, live, {})])
        parts.end(folder)
    return count, ignored


def _deployed(settings: Settings, environment: str) -> tuple[Deployed, Predictor]:
    live = deployments.required(settings.store, environment).current
    return live, Predictor(open_version(settings.store, live.version))


@contextlib.contextmanager
def _limits(settings: Settings, environment: str) -> Iterator[dict[str, str]]:
    """What DuckDB keeps to, from its first table on."""
    spill = settings.store.scores / environment / ".spill"
    with explain_disk_errors(spill):
        # What a killed job left here holds rows, and space.
        shutil.rmtree(spill, ignore_errors=True)
        spill.mkdir(parents=True)
    try:
        yield {"memory_limit": f"{settings.score.memory_mb}MB", "temp_directory": str(spill)}
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def _facts(live: Deployed) -> dict[str, object]:
    return {"version": live.version, "threshold": live.threshold}


def _answer(
    folder: Path, rows: Path, predictor: Predictor, live: Deployed, name: str, progress: bool
) -> tuple[list[Path], int]:
    """The parts in order, and how many rows they answer."""
    import pyarrow.parquet as pq
    from tqdm import tqdm

    found = []
    total = pq.read_metadata(rows).num_rows
    with tqdm(total=total, desc=name, unit="row", unit_scale=True, leave=False, disable=not progress) as bar:
        for path, count in parts.parts_of(folder, rows, predictor, live):
            found.append(path)
            bar.update(count)
    return found, total


def _told(path: Path, contract: Contract, live: Deployed, facts: dict[str, Any]) -> Output:
    """The output; what a kill leaves of it goes with the parts."""
    facts = dict.fromkeys(prediction_columns(contract.target)) | facts | _facts(live)
    return Output(path, parts.folder_of(path) / parts.WHOLE, contract.keys or contract.request, facts)


def _logged(path: Path, contract: Contract, day: date, moment: int, live: Deployed) -> Output:
    """The completed rows and their answers, as those of the service stand in the log: so that monitoring sees them."""
    facts = {"ts": moment, "as_of": moment if contract.lookups else None} | _facts(live)
    facts |= {"lifecycle_request": f"score-{day}-{live.version}", POSITION: None}
    return Output(path, draft(path), loggable(contract), facts | dict.fromkeys(prediction_columns(contract.target)))
