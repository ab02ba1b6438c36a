"""A deployed model of orders, and its batch predictions, in this process or in one that is killed."""

import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.scoring import parts, score
from lifecycle.settings import Settings
from lifecycle.training.train import train
from support.teams import data_of, order_team, orders, settings_in

DAY = date(2026, 1, 1)
ROWS, PART = 9000, 2048
EVERYONE = orders(ROWS, seed=1)


def deployed(folder: Path, task: str = "binary", threshold: float | None = 0.3, **changes: Any) -> Settings:
    """Train a model and deploy it in `local`, without the gate."""
    settings = settings_in(folder, score={"chunk_rows": PART})
    version = train(order_team(task, **changes), settings, folder).version
    deploy(settings, Deployed(version, threshold))
    return settings


def deploy(settings: Settings, version: Deployed) -> None:
    """Make a version the deployed one of `local`, which has none."""
    deployments.swap(settings.store, "local", None, version, action="promote", who="a test", why="to see")


def scored(settings: Settings, frame: pd.DataFrame = EVERYONE, day: date = DAY) -> Path:
    """Score the rows of a frame as of a day, and return the file."""
    [path] = score(settings, data_of(frame, "returned"), "local", [day], progress=False)
    return path


def read(path: Path) -> pd.DataFrame:
    """Return the columns of a Parquet file, without those that its path would add."""
    return duckdb.execute(f"FROM read_parquet('{path}', hive_partitioning = false)").df()


def kill_at(settings: Settings, part: int, cores: int = 1) -> None:
    """Score in a process that kills itself when the model is called for that part."""
    given = [sys.executable, "-c", "from support import scoring; scoring.main()", str(part), settings.model_dump_json()]
    given.append(str(cores))
    there = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(given, capture_output=True, text=True, env=there)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def main() -> None:
    """Run in the process that `kill_at` starts."""
    left, predict_batch = [int(sys.argv[1])], Predictor.predict_batch
    parts.cores = lambda: int(sys.argv[3])

    def counting(self: Predictor, batch: Any) -> Any:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return predict_batch(self, batch)

    Predictor.predict_batch = counting  # type: ignore[method-assign]
    scored(Settings.model_validate_json(sys.argv[2]))
