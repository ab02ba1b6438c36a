"""Compares Spark with DuckDB in a rendered repository, with its own Python: `on_spark.py MASTER PART…` prints JSON."""

import json
import os
import shutil
import sys
import time
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb

from lifecycle import settings, spark
from lifecycle.contract import team as code
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.monitoring import monitor
from lifecycle.scoring import parts, score
from lifecycle.spark import dialect

DAYS = [date(2025, 12, 1), date(2025, 12, 20)]
AS_OF = 1_767_225_600
SPINE = f"SELECT DISTINCT customer_id, CAST({AS_OF} - 86400 * (length(plan) % 3) AS BIGINT) AS ts FROM customers"
TIMELINE = """WITH timeline AS (
    SELECT customer_id, seen_ts AS ts, kind, amount, FALSE AS is_spine FROM events
    UNION ALL
    SELECT customer_id, ts, CAST(NULL AS VARCHAR), CAST(NULL AS DOUBLE), TRUE FROM spine
)
"""
SUM, TWICE = "SELECT sum(ts) FROM events", "SELECT * FROM windowed UNION ALL SELECT * FROM windowed"
STAR = "SELECT\n  * EXCLUDE (ts)\nFROM spine"
# As scientists write them.
QUERIES = {
    "windows": TIMELINE
    + """, w AS (SELECT customer_id, ts, is_spine,
        SUM(amount) OVER month AS spent, AVG(amount) OVER month AS mean, COUNT(amount) OVER month AS n,
        COALESCE(SUM(CASE WHEN kind = 'purchase' THEN 0.5 * amount END) OVER month, 0.0) AS half
    FROM timeline
    WINDOW month AS (PARTITION BY customer_id ORDER BY ts RANGE BETWEEN 2592000 PRECEDING AND 1 PRECEDING))
SELECT customer_id, ts, spent, mean, n, half, spent / 30.5 AS daily FROM w WHERE is_spine""",
    "as-of join": """SELECT s.customer_id, s.ts, max_by(e.kind, e.seen_ts * 1000 + length(e.kind)) AS last_kind,
    max(e.seen_ts) AS last_seen
FROM spine s JOIN events e ON e.customer_id = s.customer_id AND e.seen_ts < s.ts
GROUP BY s.customer_id, s.ts""",
    "sessions": """WITH gaps AS (
    SELECT customer_id, ts, ts - LAG(ts) OVER (PARTITION BY customer_id ORDER BY ts NULLS LAST) AS gap FROM events
), numbered AS (
    SELECT customer_id, ts, SUM(CASE WHEN gap > 86400 OR gap IS NULL THEN 1 ELSE 0 END)
        OVER (PARTITION BY customer_id ORDER BY ts NULLS LAST ROWS UNBOUNDED PRECEDING) AS session
    FROM gaps
), lengths AS (
    SELECT customer_id, session, COUNT(*) AS events, MAX(ts) - MIN(ts) AS seconds FROM numbered GROUP BY 1, 2
)
SELECT customer_id, COUNT(*) AS sessions, MAX(events) AS longest, AVG(seconds) AS seconds FROM lengths GROUP BY 1""",
    "distinct counts": """SELECT s.customer_id, s.ts, COUNT(DISTINCT e.kind) AS kinds,
    COUNT(DISTINCT CASE WHEN e.amount > 20.5 THEN CAST(floor(e.ts / 86400) AS BIGINT) END) AS days
FROM spine s LEFT JOIN events e ON e.customer_id = s.customer_id AND e.seen_ts < s.ts
GROUP BY s.customer_id, s.ts""",
    "percentiles": """SELECT customer_id, percentile_cont(0.9) WITHIN GROUP (ORDER BY amount) AS p90,
    median(amount) AS middle, stddev(amount) AS spread, min(amount) AS least
FROM events GROUP BY customer_id""",
    "late events": """SELECT s.customer_id, s.ts, COUNT(CASE WHEN e.seen_ts - e.ts > 3600 THEN 1 END) AS late,
    SUM(CASE WHEN e.ts < s.ts AND e.seen_ts >= s.ts THEN 1 ELSE 0 END) AS unseen,
    AVG((e.seen_ts - e.ts) / 3600.0) AS hours
FROM spine s JOIN events e ON e.customer_id = s.customer_id
GROUP BY s.customer_id, s.ts""",
}


def equal(one: list[Any], other: list[Any]) -> bool:
    """Return whether rows are the same: doubles within 1e-9 relative, all other values exactly."""
    return len(one) == len(other) and all(map(same, one, other))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-9 * max(abs(one), abs(other))
    return bool(one == other)


def queries(ours: Any, theirs: Any) -> dict[str, bool]:
    """Return whether each query has the same rows on both."""
    ours.execute(f"CREATE OR REPLACE TEMP TABLE spine AS {SPINE}")
    exchange = theirs.engine._exchange
    exchange.query(SPINE, "spine").createOrReplaceTempView("spine")
    known = {name: dict(ours.execute(f"SELECT column_name, column_type FROM (DESCRIBE {name})").fetchall())
             for name in ("spine", "events", "customers")}  # fmt: skip
    found = {}
    for name, sql in QUERIES.items():
        dialect.check(sql, name, known)
        one = ours.execute(f"FROM ({sql}) ORDER BY ALL").fetchall()
        path, _ = exchange.write(exchange.query(sql, name), name)
        other = theirs.execute(f"FROM {exchange.source(path)} ORDER BY ALL").fetchall()
        found[name] = len(one) > 100 and equal(one, other)
    return found


def rows(ours: Any, theirs: Any, team: code.Team) -> dict[str, bool]:
    """Return whether training rows, the feature table and recomputed features are the same."""
    found, tables = {"latest": point_in_time.latest(ours, team.data) == point_in_time.latest(theirs, team.data)}, []
    everything = f"FROM {point_in_time.ROWS}"
    for connection in (ours, theirs):
        point_in_time.training_rows(connection, team, AS_OF)
        tables.append(
            (connection.execute(f"DESCRIBE {everything}").fetchall(), connection.execute(everything).fetchall())
        )
        connection.execute(f"DROP TABLE {point_in_time.ROWS}")
    found["training rows"] = tables[0][0] == tables[1][0] and equal(tables[0][1], tables[1][1])
    tables = []
    for connection in (ours, theirs):
        sql = team.features_sql or ""
        point_in_time.lookup_rows(connection, team.data, team.contract, sql, AS_OF)
        tables.append(sorted(connection.execute(everything).fetchall()))
        spine = f"SELECT customer_id, CAST({AS_OF} AS BIGINT) AS ts FROM {point_in_time.ROWS} ORDER BY ALL LIMIT 50"
        again = point_in_time.recompute_query(connection, team.contract, sql, spine)
        tables.append(connection.execute(f"FROM ({again}) ORDER BY ALL").fetchall())
    theirs.execute(f"DROP VIEW {point_in_time.ROWS}")
    found["looked-up rows"] = equal(tables[0], tables[2])
    found["recomputed rows"] = len(tables[1]) == 50 and equal(tables[1], tables[3])
    return found


def written(storage: Path) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return columns and rows of each file of batch predictions and of their log."""
    found = {}
    for path in sorted([*storage.glob("scores/local/*/*"), *storage.glob("predictions/local/*/*")]):
        source = f"FROM read_parquet('{path}', hive_partitioning = false)"
        found[str(path)] = duckdb.execute(f"DESCRIBE {source}").fetchall(), duckdb.execute(source).fetchall()
    return found


def scores(own: settings.Settings, team: code.Team) -> dict[str, bool]:
    """Return whether batch predictions and their log have the same columns and rows, and nothing else is left."""
    for path in (own.storage / "scores", own.storage / "predictions"):
        shutil.rmtree(path, ignore_errors=True)
    score(own.model_copy(update={"engine": settings.Engine()}), team.data, "local", DAYS, progress=False)
    ours = written(own.storage)
    score(own, team.data, "local", DAYS, progress=False)
    theirs = written(own.storage)
    return {
        "files": len(ours) == 2 * len(DAYS) and ours.keys() == theirs.keys(),
        "columns": all(ours[name][0] == theirs[name][0] for name in ours),
        "rows": all(equal(ours[name][1], theirs[name][1]) for name in ours),
    }


def die(predictor: Any, rows: Any, threshold: float | None) -> Any:
    """End the worker, as the system does when there is too little memory."""
    os._exit(1)


def refusals(own: settings.Settings, team: code.Team, theirs: Any) -> dict[str, str]:
    """Return the message about each bad input."""
    engine, sql = theirs.engine, team.features_sql or ""
    session = engine._exchange.session
    folder = own.storage / "changed" / "events.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    duckdb.execute(f"COPY (SELECT 1 AS ts, 'a' AS kind) TO '{folder}/a.parquet'")
    duckdb.execute(f"COPY (SELECT 'late' AS ts, 'a' AS kind) TO '{folder}/b.parquet'")

    def train(features_sql: str) -> None:
        changed = code.Team(team.name, team.contract, features_sql, team.data, team.estimator)
        point_in_time.training_rows(theirs, changed, AS_OF)

    newest = open_version(own.store, own.store.versions()[-1])

    def predict_wrongly() -> None:
        facts = newest.facts | {"requires": {"onnxruntime": "99.0"}}
        changed = own.storage / "wrong" / newest.version
        shutil.copytree(newest.path, changed, dirs_exist_ok=True)
        (changed / "bundle.json").write_text(json.dumps(facts))
        engine.predicted_rows(team.data, Bundle(changed, facts), AS_OF, 0.5, parts.predictions)

    steps = {
        "no tables": lambda: spark.register(session, SimpleNamespace(), own.storage / "absent"),
        "types": lambda: spark.register(session, SimpleNamespace(), folder.parent) or engine.execute(SUM),
        "syntax": lambda: spark.register(session, team.data, own.data) or engine.execute("SELECT 1\nFROM (events"),
        "column": lambda: engine.execute("SELECT\n  amonut FROM events"),
        "zero": lambda: engine.execute("SELECT sum(1 / (length(kind) - length(kind))) FROM events"),
        "several rows": lambda: train(sql.replace("FROM windowed AS", f"FROM ({TWICE}) AS")),
        "contract": lambda: train(sql.replace("CAST(w.visits AS BIGINT)", "CAST(w.visits AS BIGINT) - 5")),
        "worker": predict_wrongly,
        "lost": lambda: engine.predicted_rows(team.data, newest, AS_OF, 0.5, die),
    }
    found = {}
    for name, step in steps.items():
        try:
            step()
            found[name] = ""
        except LifecycleError as error:
            found[name] = str(error)
    return found


def sampling(own: settings.Settings, team: code.Team, theirs: Any) -> dict[str, Any]:
    """Return how many rows and entities are trained on with a limit, twice, and whether entities are whole."""
    engine = theirs.engine
    engine._settings = own.model_copy(update={"engine": own.engine.model_copy(update={"train_rows": 2000})})
    found = []
    for _ in range(2):
        point_in_time.training_rows(theirs, team, AS_OF)
        found.append(theirs.execute(f"SELECT customer_id, count(*) FROM {point_in_time.ROWS} GROUP BY 1").fetchall())
        theirs.execute(f"DROP TABLE {point_in_time.ROWS}")
    engine._settings = own
    point_in_time.training_rows(theirs, team, AS_OF)
    every = dict(theirs.execute(f"SELECT customer_id, count(*) FROM {point_in_time.ROWS} GROUP BY 1").fetchall())
    theirs.execute(f"DROP TABLE {point_in_time.ROWS}")
    kept = dict(found[0])
    return {
        "repeats": sorted(found[0]) == sorted(found[1]),
        "whole": all(every[name] == count for name, count in kept.items()),
        "rows": sum(kept.values()),
    }


def checks(own: settings.Settings, team: code.Team, ours: Any) -> dict[str, str]:
    """Return what Spark itself says at the check about SQL that is DuckDB's only, and about that of the team."""
    found = {}
    point_in_time.check_sql(ours, team.contract, team.features_sql or "")
    changed = {"own": team.features_sql or "", "routine": "SELECT\n  strftime(ts, '%Y') FROM spine", "star": STAR}
    for name, sql in changed.items():
        try:
            spark.check(own, sql, ours)
            found[name] = ""
        except LifecycleError as error:
            found[name] = error.problem
    return found


def monitored(own: settings.Settings, team: code.Team) -> list[Any]:
    """Return rows, skew and verdict of a report about both dates, on DuckDB and on Spark."""
    documents = []
    for engine in (settings.Engine(), own.engine):
        changed = own.model_copy(update={"engine": engine})
        document, _ = monitor(changed, team.data, "local", AS_OF)
        documents.append([document["verdict"], document["skew"], document["windows"]])
    return documents


def main() -> None:
    """Print the parts that were chosen."""
    master, chosen = sys.argv[1], sys.argv[2:]
    own, team = settings.load(Path.cwd()).settings, code.load(Path.cwd())
    own = own.model_copy(update={"engine": own.engine.model_copy(update={"kind": "spark", "master": master})})
    found: dict[str, Any] = {}
    started = time.monotonic()
    with point_in_time.connect(team.data, own.data) as ours, spark.connect(own, team.data) as theirs:
        steps = {
            "queries": lambda: queries(ours, theirs),
            "rows": lambda: rows(ours, theirs, team),
            "scores": lambda: scores(own, team),
            "refusals": lambda: refusals(own, team, theirs),
            "checks": lambda: checks(own, team, ours),
            "monitored": lambda: monitored(own, team),
            "sampling": lambda: sampling(own, team, theirs),
        }
        for part in chosen:
            found[part] = steps[part]()
            print(part, round(time.monotonic() - started, 1), file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    os.environ.setdefault("LIFECYCLE_TRACKING__ENABLED", "false")
    main()
