# mypy: disable-error-code="import-untyped,import-not-found"
"""Point-in-time features on DuckDB, pandas, Polars and Spark: CPU seconds, memory and shuffled bytes.

Events (a key, a time in whole seconds, an amount; seeded) and one row to predict for of each key: the count and the sum
of the last 30 days, and the time of the last event before it. `--zipf` draws the keys from Zipf's distribution instead
of a uniform one: some keys then have very many events. Each way runs as a process of its own, in random order; what is
measured is the sum over it and all processes that it starts, Spark's Java included, from start to end. A way whose
library is not installed is left out:

    uv run --with 'pyspark>=4.1,<5' --with polars python benchmarks/engine.py --rows 1000000
"""

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
WAYS = {"duckdb": "duckdb", "pandas": "pandas", "polars": "polars", "spark": "pyspark"}
CHUNK, EVENTS_A_KEY, YEAR, MONTH = 1_000_000, 100, 31_536_000, 2_592_000
SQL = """WITH timeline AS (
    SELECT key, ts, amount, FALSE AS is_spine FROM events
    UNION ALL SELECT key, ts, CAST(NULL AS DOUBLE), TRUE FROM spine
), windowed AS (
    SELECT key, ts, is_spine, COUNT(amount) OVER month AS events, SUM(amount) OVER month AS spent,
        MAX(CASE WHEN is_spine THEN NULL ELSE ts END) OVER month AS last
    FROM timeline
    WINDOW month AS (PARTITION BY key ORDER BY ts RANGE BETWEEN 2592000 PRECEDING AND 1 PRECEDING)
) SELECT key, ts, events, spent, last FROM windowed WHERE is_spine"""


def prepare(folder: Path, rows: int, zipf: float) -> None:
    """Write the tables as directories of Parquet files."""
    keys = max(1, rows // EVENTS_A_KEY)
    for name in ("events", "spine"):
        (folder / f"{name}.parquet").mkdir()
    for start in range(0, rows, CHUNK):
        made, count = np.random.default_rng([2026, start]), min(CHUNK, rows - start)
        key = np.minimum(made.zipf(zipf, count), keys) - 1 if zipf else made.integers(0, keys, count)
        table = pa.table({"key": key, "ts": made.integers(0, YEAR, count), "amount": made.gamma(2, 50, count)})
        pq.write_table(table, folder / f"events.parquet/{start:012}.parquet")
    spine = pa.table({"key": np.arange(keys), "ts": np.random.default_rng(1).integers(YEAR // 2, YEAR, keys)})
    pq.write_table(spine, folder / "spine.parquet/0.parquet")


def duckdb(folder: Path, output: Path) -> None:
    import duckdb as engine

    connection = engine.connect(config={"threads": 1, "memory_limit": "2GB", "temp_directory": str(output.parent)})
    for name in ("events", "spine"):
        connection.execute(f"CREATE VIEW {name} AS FROM read_parquet('{folder}/{name}.parquet/*')")
    connection.execute(f"COPY ({SQL}) TO '{output}' (FORMAT parquet)")


def pandas(folder: Path, output: Path) -> None:
    import pandas as pd

    events, spine = (pd.read_parquet(folder / f"{name}.parquet") for name in ("events", "spine"))
    both = events.merge(spine.rename(columns={"ts": "at"}), on="key")
    both = both[(both.ts < both["at"]) & (both.ts >= both["at"] - MONTH)]
    grouped = both.groupby("key").agg(events=("ts", "size"), spent=("amount", "sum"), last=("ts", "max"))
    spine.join(grouped, on="key").to_parquet(output)


def polars(folder: Path, output: Path) -> None:
    import polars as pl

    events, spine = (pl.scan_parquet(folder / f"{name}.parquet/*.parquet") for name in ("events", "spine"))
    both = events.join(spine.rename({"ts": "at"}), on="key")
    both = both.filter((pl.col("ts") < pl.col("at")) & (pl.col("ts") >= pl.col("at") - MONTH))
    sums = [pl.len().alias("events"), pl.col("amount").sum().alias("spent"), pl.col("ts").max().alias("last")]
    spine.join(both.group_by("key").agg(*sums), on="key", how="left").sink_parquet(output)


def spark(folder: Path, output: Path) -> None:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.driver.memory", "1500m")
    builder = builder.config("spark.sql.ansi.enabled", "true").config("spark.log.level", "OFF")
    session = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
    for name in ("events", "spine"):
        session.read.parquet(str(folder / f"{name}.parquet")).createOrReplaceTempView(name)
    session.sql(SQL).write.parquet(str(output))
    executors = session.sparkContext._jsc.sc().statusStore().executorList(False)
    print(sum(executors.apply(at).totalShuffleWrite() for at in range(executors.size())))


def processes(session: int) -> tuple[float, float]:
    """Return CPU seconds and resident megabytes of all processes of a session."""
    ticks, pages = 0, 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
            pages += int(fields[21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measured(way: str, folder: Path) -> dict[str, float]:
    """Run one way as a process; returns CPU seconds, peak memory and, for Spark, the shuffled megabytes."""
    with tempfile.TemporaryDirectory(prefix="engine-out-") as scratch:
        command = [
            sys.executable,
            __file__,
            "--way",
            way,
            "--folder",
            str(folder),
            "--output",
            f"{scratch}/out.parquet",
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        cpu, peak = 0.0, 0.0
        while process.poll() is None:
            now, resident = processes(process.pid)
            cpu, peak = max(cpu, now), max(peak, resident)
            time.sleep(0.1)
        assert process.stdout is not None
        printed = process.stdout.read().split()
    if process.returncode:
        sys.exit(f"{way} ended with {process.returncode}")
    result = {"cpu_seconds": cpu, "peak_mb": peak, "shuffled_mb": int(printed[-1]) / 1e6 if printed else 0.0}
    print(way, json.dumps({name: round(each, 1) for name, each in result.items()}), file=sys.stderr, flush=True)
    return result


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="events; one key for each hundred")
    parser.add_argument("--zipf", type=float, default=0.0, help="exponent of Zipf's distribution; 0: uniform keys")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "engine.json")
    for name in ("--way", "--folder", "--output"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        globals()[given.way](Path(given.folder), Path(given.output))
        return 0
    ways = [way for way, library in WAYS.items() if importlib.util.find_spec(library)]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="engine-") as scratch:
        prepare(Path(scratch), given.rows, given.zipf)
        for number in range(given.rounds):
            for way in random.Random(number).sample(ways, len(ways)):
                found[way].append(measured(way, Path(scratch)))
    medians: dict[str, dict[str, Any]] = {
        way: {name: statistics.median(each[name] for each in runs) for name in runs[0]} for way, runs in found.items()
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    facts = {"rows": given.rows, "zipf": given.zipf, "rounds": given.rounds, "ways": medians}
    given.json.write_text(json.dumps(facts, indent=2) + "\n")
    print(
        f"{given.rows} events, median of {given.rounds}\n\n| way | CPU s | peak MB | shuffled MB |\n|---|--:|--:|--:|"
    )
    for way, each in medians.items():
        print(f"| {way} | {each['cpu_seconds']:.1f} | {each['peak_mb']:,.0f} | {each['shuffled_mb']:,.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
