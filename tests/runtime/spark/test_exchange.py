"""The folder that Spark's workers share: a job removes the rows of killed jobs, and nothing of others."""

import os
from pathlib import Path

from lifecycle.settings import Engine, Settings
from lifecycle.spark.exchange import RUNS, Exchange


def test_only_folders_of_killed_jobs_are_removed(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    old = [shared / name for name in ("other-team", f"{RUNS}1700000000-0a1b2c3d")]
    new = shared / f"{RUNS}1800000000-0a1b2c3d"
    for folder in (*old, new):
        folder.mkdir(parents=True)
    for folder in old:
        os.utime(folder, (1_700_000_000, 1_700_000_000))
    Exchange(Settings(storage=tmp_path / "storage", engine=Engine(kind="spark", exchange=str(shared))), None)
    assert sorted(shared.iterdir()) == [new, old[0]]
