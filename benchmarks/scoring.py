# mypy: disable-error-code="import-untyped"
"""Batch scoring, Parquet to Parquet, compared with a plain loop over pandas chunks: rates and memory.

One table (a key, eight numbers, four categories; seeded), one estimator (histogram gradient boosting, 100 iterations),
trained on the same rows. Each way runs as a process, including imports and loading, in random order:

- `ours`: `lifecycle score --input … --output …`, on one core; every value is checked against the contract.
- `ours_two_cores`, `ours_by_date_two_cores`: the same on two cores.
- `ours_by_date`: `lifecycle score` for a date, on one core: also sorted by key, and logged with its row for monitoring.
- `plain_loop`: the obvious code, on one core: a scikit-learn pipeline (OrdinalEncoder for the categories) over
  DataFrames of 100,000 rows that pyarrow reads, `predict_proba`, written by pyarrow. It checks nothing.
- `plain_loop_all_cores`: the same without a limit on cores: scikit-learn starts a thread on each, and they wait for
  each other by spinning.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
NUMBERS, LEVELS = [f"number_{at}" for at in range(8)], {"plan": 3, "region": 5, "channel": 12, "shop": 40}
NULLABLE, CHUNK, TRAINED, DAY = ("number_2", "number_5"), 100_000, 60_000, date(2026, 1, 1)
WAYS = ("ours", "ours_two_cores", "ours_by_date", "ours_by_date_two_cores", "plain_loop", "plain_loop_all_cores")


def table(start: int, rows: int) -> pa.Table:
    """Return `rows` rows from `start` on; deterministic."""
    made = np.random.default_rng([2026, start])
    # A permutation of the numbers below a thousand million.
    key = (np.arange(start, start + rows) * 387_420_489) % 1_000_000_000
    columns: dict[str, Any] = {"row_id": pa.array(np.char.add("r-", np.char.zfill(key.astype(str), 9)))}
    for at, name in enumerate(NUMBERS):
        drawn = made.gamma(2, 50, rows) if at % 2 else made.normal(0, 10, rows)
        columns[name] = pa.array(
            drawn.astype(np.float32).astype(float), mask=made.random(rows) < 0.05 if name in NULLABLE else None
        )
    for name, count in LEVELS.items():
        columns[name] = pa.array([f"{name} {at:02}" for at in range(count)]).take(
            pa.array(made.integers(0, count, rows))
        )
    return pa.table(columns)


def labelled() -> pa.Table:
    """Return the training rows."""
    rows = table(10**9, TRAINED)
    shop = np.char.partition(rows["shop"].to_numpy().astype(str), " ")[:, 2].astype(int)
    truth = np.sin(rows["number_0"].to_numpy() / 5) + (rows["number_1"].to_numpy() > 100) + (shop % 7) / 5
    noisy = truth + np.random.default_rng(0).normal(0, 1, TRAINED)
    return rows.append_column("label", pa.array(noisy > 1))


def estimator() -> Any:
    """Return the estimator of both ways."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=0)


def settings_of(folder: Path) -> Any:
    """Return the settings of the storage in `folder`."""
    from lifecycle.settings import Settings

    return Settings.model_validate({"storage": folder / "storage", "data": folder, "tracking": {"enabled": False}})


def data_of(folder: Path) -> Any:
    """Return a `model.data` of the two tables."""

    def tables(connection: Any, data: Path) -> None:
        for name in ("rows", "labelled"):
            connection.read_parquet(str(data / f"{name}.parquet")).create_view(name, replace=True)

    return SimpleNamespace(
        tables=tables,
        labels=lambda connection: "FROM labelled",
        population=lambda connection: "FROM rows",
        latest=lambda connection: 1_767_225_600,
    )


def prepare(folder: Path, rows: int) -> None:
    """Write the tables, and train and deploy both models."""
    import joblib
    from sklearn.compose import ColumnTransformer
    from sklearn.dummy import DummyClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    from lifecycle.contract.schema import Column, Contract, Target
    from lifecycle.contract.team import Team
    from lifecycle.registry import deployments
    from lifecycle.registry.deployments import Deployed
    from lifecycle.training.train import train

    pq.write_table(labelled(), folder / "labelled.parquet")
    with pq.ParquetWriter(folder / "rows.parquet", table(0, 1).schema) as writer:
        for start in range(0, rows, CHUNK):
            writer.write_table(table(start, min(CHUNK, rows - start)))
    columns = [Column("row_id", "key", "category", max_length=16)]
    limit = float(np.finfo(np.float32).max)
    columns += [Column(n, "request", "number", nullable=n in NULLABLE, low=-limit, high=limit) for n in NUMBERS]
    columns += [Column(name, "request", "category", max_length=32) for name in LEVELS]
    contract = Contract(1, Target("binary", "label", ("stays", "goes")), tuple(columns))
    baselines = dict.fromkeys(("trivial", "linear"), DummyClassifier(strategy="prior"))
    estimators = SimpleNamespace(candidate=lambda inputs, seed: estimator(), baselines=lambda inputs, seed: baselines)
    settings = settings_of(folder)
    bundle = train(Team("scoring", contract, None, data_of(folder), estimators), settings, ROOT)
    deployed = Deployed(bundle.version, 0.5)
    deployments.swap(settings.store, "local", None, deployed, action="promote", who="bench", why="")
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    plain = make_pipeline(ColumnTransformer([("levels", encoder, list(LEVELS))], remainder="passthrough"), estimator())
    frame = pq.read_table(folder / "labelled.parquet").to_pandas()
    joblib.dump(plain.fit(frame[[*NUMBERS, *LEVELS]], frame["label"]), folder / "plain.joblib")
    print(bundle.kind)


def plain_loop(folder: Path) -> None:
    """Score with a plain loop."""
    import joblib

    model, writer = joblib.load(folder / "plain.joblib"), None
    for batch in pq.ParquetFile(folder / "rows.parquet").iter_batches(CHUNK):
        frame = batch.to_pandas()
        probability = model.predict_proba(frame[[*NUMBERS, *LEVELS]])[:, 1]
        predictions = pa.table({"row_id": batch["row_id"], "probability": probability})
        writer = writer or pq.ParquetWriter(folder / "plain.parquet", predictions.schema)
        writer.write_table(predictions)
    if writer:
        writer.close()


def by_date(folder: Path) -> None:
    """Score as `lifecycle score --date` does."""
    from lifecycle.scoring import score

    score(settings_of(folder), data_of(folder), "local", [DAY], progress=False)


def measured(way: str, folder: Path, rows: int) -> dict[str, float]:
    """Run one way as a process; returns rates and peak memory."""
    cores = sorted(os.sched_getaffinity(0))
    chosen = cores if way.endswith("all_cores") else cores[-2:] if way.endswith("two_cores") else cores[-1:]
    own = [
        "-m",
        "lifecycle",
        "score",
        "--input",
        str(folder / "rows.parquet"),
        "--output",
        str(folder / "ours.parquet"),
    ]
    given = (
        own
        if way in ("ours", "ours_two_cores")
        else [str(Path(__file__).resolve()), "--way", way, "--folder", str(folder)]
    )
    environment = os.environ | {"LIFECYCLE_STORAGE": str(folder / "storage")}
    before = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *given],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, chosen),
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{way} ended with {process.returncode}")
    wall, cpu = time.monotonic() - before, used.ru_utime + used.ru_stime
    result = {"rows_per_cpu_second": rows / cpu, "rows_per_second": rows / wall, "peak_mb": used.ru_maxrss / 1024}
    print(way, json.dumps({name: round(each) for name, each in result.items()}), file=sys.stderr, flush=True)
    return result


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "scoring.json")
    parser.add_argument("--way", choices=("prepare", *WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        steps = {"prepare": lambda folder: prepare(folder, given.rows)}
        steps |= dict.fromkeys(("ours_by_date", "ours_by_date_two_cores"), by_date)
        steps.get(given.way, plain_loop)(given.folder)
        return 0
    with tempfile.TemporaryDirectory(prefix="scoring-") as scratch:
        command = [sys.executable, __file__, "--way", "prepare", "--folder", scratch, "--rows", str(given.rows)]
        kind = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for number in range(given.rounds):
            for way in random.Random(number).sample(WAYS, len(WAYS)):
                found[way].append(measured(way, Path(scratch), given.rows))
    medians = {
        way: {name: statistics.median(each[name] for each in runs) for name in runs[0]} for way, runs in found.items()
    }
    speed = {way: each["rows_per_cpu_second"] for way, each in medians.items()}
    wall = {way: each["rows_per_second"] for way, each in medians.items()}
    second_core = {way: wall[f"{way}_two_cores"] / wall[way] for way in ("ours", "ours_by_date")}
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    result = {
        "machine": machine,
        "rows": given.rows,
        "rounds": given.rounds,
        "model": kind,
        "figures": {"peak_mb": max(each["peak_mb"] for each in found["ours"]), "ways": medians},
        "ratios": {"rows_per_cpu_second": {way: speed["ours"] / each for way, each in speed.items() if way != "ours"}}
        | {"second_core": second_core},
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{given.rows} rows, bundle of kind {kind}\n\n| way | rows/CPU s | rows/s | peak MB | ours is … times |")
    print("|---|--:|--:|--:|--:|")
    for way, each in medians.items():
        numbers = " | ".join(f"{each[name]:,.0f}" for name in ("rows_per_cpu_second", "rows_per_second", "peak_mb"))
        print(f"| {way} | {numbers} | {speed['ours'] / speed[way]:.2f} |")
    print("\nwall rate on two cores: " + ", ".join(f"{way} {each:.2f} times" for way, each in second_core.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
