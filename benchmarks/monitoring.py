"""Memory and CPU time of `lifecycle monitor` on a generated prediction log of many rows.

The table and the model are those of `scoring.py` (a key, eight numbers, four categories). The log covers 84 days in the
layout of the storage, one file a day, and one row in a hundred has a label. Monitoring runs as a process with the
default settings: three windows of 28 days, quality, and what is left out.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scoring import LEVELS, NULLABLE, NUMBERS, data_of, prepare, settings_of

DAYS, AS_OF, DAY = 84, 1_767_225_600, 86_400
TEMPORARY = "duckdb_temp*"


def generate(folder: Path, rows: int) -> None:
    """Train and deploy the model; write the log and the labels with DuckDB, a day at a time."""
    from lifecycle.contract.tables import connect, write_parquet
    from lifecycle.registry import deployments

    prepare(folder, 1)
    store = settings_of(folder).store
    version = deployments.required(store, "local").current.version
    values = [f"random() * 100 AS {name}" for name in NUMBERS if name not in NULLABLE]
    values += [f"CASE WHEN random() > 0.05 THEN random() * 100 END AS {name}" for name in NULLABLE]
    for name, size in LEVELS.items():
        values.append(f"format('{name} {{:02}}', CAST(floor(random() * {size}) AS INTEGER)) AS {name}")
    chance = "abs(hash(range) % 1000) / 1000e0"
    values += [f"CASE WHEN {chance} > 0.5 THEN 'goes' ELSE 'stays' END AS prediction", f"{chance} AS probability"]
    with connect() as connection:
        for day in range(DAYS):
            ts, first = AS_OF - (DAYS - day) * DAY, day * (rows // DAYS)
            facts = f"CAST({ts} + range % {DAY} AS BIGINT) AS ts, CAST(NULL AS BIGINT) AS as_of, "
            facts += f"'{version}' AS version, 0.5e0 AS threshold, "
            facts += "format('request-{}', range) AS lifecycle_request, 0 AS lifecycle_position"
            query = f"SELECT format('r-{{:09}}', range) AS row_id, {', '.join(values)}, {facts} "
            query += f"FROM range({first}, {first + rows // DAYS}) ORDER BY ts, lifecycle_request"
            date = time.strftime("%Y-%m-%d", time.gmtime(ts))
            write_parquet(connection, query, store.predictions / "local" / f"date={date}" / "generated.parquet")
        labels = "SELECT format('request-{}', range) AS request_id, 0 AS position, CAST(NULL AS VARCHAR) AS key, "
        labels += "CAST(NULL AS BIGINT) AS ts, CASE WHEN random() > 0.5 THEN 'goes' ELSE 'stays' END AS label, "
        labels += f"CAST({AS_OF - DAY} AS BIGINT) AS seen_ts FROM range(0, {rows}, 100)"
        write_parquet(connection, labels, store.labels / "generated.parquet")


def monitor(folder: Path) -> None:
    """Monitor, and print the verdict and the rows of each window."""
    from lifecycle.monitoring import monitor

    document, _ = monitor(settings_of(folder), data_of(folder), "local", AS_OF)
    quality = {name: document["quality"][name] for name in ("predictions", "labelled")}
    windows = [each["rows"] for each in document["windows"]]
    print(json.dumps({"verdict": document["verdict"], "windows": windows} | quality))


def measure(folder: Path) -> dict[str, float]:
    """Monitor in a process and return its peak memory, CPU and wall time, and the most that it had on the disk."""
    start, on_disk = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, __file__, "--monitor", str(folder)])
    # Of this process alone: RUSAGE_CHILDREN would contain the one that generated the log.
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        spilled = (settings_of(folder).store.reports / "local/.spill").glob(TEMPORARY)
        # DuckDB may remove a file meanwhile.
        with contextlib.suppress(FileNotFoundError):
            on_disk = max(on_disk, sum(path.stat().st_size for path in spilled))
        time.sleep(0.2)
    _, status, used = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"monitoring failed with {process.returncode}")
    return {
        "peak_mb": round(used.ru_maxrss / 1024),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "wall_seconds": round(time.perf_counter() - start, 1),
        "disk_mb": round(on_disk / 2**20),
    }


def main() -> None:
    """Generate a log in a temporary folder, and monitor it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder; 100 million rows need 40 GB")
    parser.add_argument("--monitor", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.monitor:
        monitor(given.monitor)
        return
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        # In a process of its own: the peak of one that starts another is part of the other's.
        generating = multiprocessing.get_context("fork").Process(target=generate, args=(folder, given.rows))
        generating.start()
        generating.join()
        if generating.exitcode:
            raise SystemExit("the log could not be generated")
        found = {"rows": given.rows, "python": platform.python_version()} | measure(folder)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found))
    if given.json:
        given.json.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
