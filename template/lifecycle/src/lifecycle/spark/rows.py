"""Completed rows on Spark, as `features.point_in_time` makes them on DuckDB: with the same SQL and the same checks."""

import functools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from lifecycle import timestamps
from lifecycle.contract import tables
from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import SQL_TYPES, Connection, quoted, subquery
from lifecycle.contract.team import DATA, LABELS, TIMES, Data, Team, verify_labels
from lifecycle.features import point_in_time
from lifecycle.features.point_in_time import FOUND, REQUESTS, ROWS, WHERE
from lifecycle.models.bundle import Bundle
from lifecycle.registry.predictions import PREDICTED, prediction_columns
from lifecycle.settings import Settings
from lifecycle.spark import workers
from lifecycle.spark.exchange import Exchange, described, spark_type

# A function of DuckDB that the rules of a contract use.
FINITE = "isfinite(x DOUBLE) RETURNS BOOLEAN RETURN NOT isnan(x) AND abs(x) < CAST('Infinity' AS DOUBLE)"
BUCKETS = 1_000_000  # of the hash by which entities are sampled


class Engine:
    """The team's tables on Spark; `point_in_time` and scoring call it in the place of DuckDB."""

    def __init__(self, settings: Settings, session: Any) -> None:
        self._settings, self._exchange = settings, Exchange(settings, session)
        session.sql(f"CREATE OR REPLACE TEMPORARY FUNCTION {FINITE}")

    def execute(self, sql: str) -> SimpleNamespace:
        """Return the result of SQL of `model.data`, which gets this engine in the place of DuckDB's connection."""
        rows = self._exchange.collect(sql, DATA)
        return SimpleNamespace(fetchall=lambda: rows, fetchone=lambda: rows[0] if rows else None)

    def training_rows(self, connection: Connection, team: Team, as_of: int, defaults: bool) -> int:
        """Do the same as `point_in_time.training_rows`; of more than `engine.train_rows`, a sample of the entities."""
        contract, limit = team.contract, self._settings.engine.train_rows
        known = self._requests(team.data.labels(cast(Connection, self)), LABELS)
        extra = verify_labels(known, contract, defaults)
        conditions = [f"{name} <= {int(as_of)}" for name in sorted(TIMES & known.keys())]
        count = self._keep_requests(f"SELECT * FROM {REQUESTS} WHERE {' AND '.join(conditions or ['TRUE'])}")
        if count > limit:
            columns = contract.entity_key or contract.row_identity or contract.request
            names = ", ".join(quoted(column.name) for column in columns if column.name in known)
            place = f"pmod(xxhash64({names}, {self._settings.train.seed}), {BUCKETS})"
            kept = self._keep_requests(f"SELECT * FROM {REQUESTS} WHERE {place} < {int(BUCKETS * limit / count)}")
            text = f"{kept} of {count} labelled rows are trained on: a sample of whole entities (engine.train_rows)"
            print(f"warning: {text}", file=sys.stderr)
        path, rows = self._complete(contract, team.features_sql, known, extra)
        self._load(connection, "TABLE", path, contract, ["ts"] if "ts" in known else [])
        return rows

    def lookup_rows(self, connection: Connection, data: Data, contract: Contract, features_sql: str, as_of: int) -> int:
        """Do the same as `point_in_time.lookup_rows`; ROWS is a view, so that not all rows are in memory."""
        known = self._population(data, as_of)
        self._keep_requests(f"SELECT DISTINCT {quoted(contract.looked_up[0].name)}, ts FROM {REQUESTS}")
        path, rows = self._complete(contract, features_sql, known, (), contract.looked_up[:1])
        self._load(connection, "VIEW", path, contract, None)
        return rows

    def predicted_rows(
        self, data: Data, bundle: Bundle, as_of: int, threshold: float | None, predict: workers.Predict
    ) -> list[tuple[Path, int]]:
        """Complete the rows of the population at `as_of` and predict for them in the workers of Spark.

        Returns files on this machine with their sizes: the rows in the order of their keys, and what `predict` adds.
        """
        from pyarrow.parquet import read_metadata

        contract, day = bundle.contract, timestamps.date_of(as_of)
        known = self._population(data, as_of)
        self._keep_requests(f"SELECT * FROM {REQUESTS}")
        path, rows = self._complete(contract, bundle.features_sql, known, ("ts",))
        print(f"{day}: {rows} rows are completed", file=sys.stderr)
        frame = self._exchange.session.read.parquet(path)
        kinds = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
        outputs = enumerate(prediction_columns(contract.target).values())
        kinds |= {f"{PREDICTED}{at}": spark_type(kind) for at, kind in outputs}
        ordered = frame.orderBy(*(f"`{each.name}`" for each in contract.identifiers or contract.request))
        function = functools.partial(workers.predict, workers.packed(bundle), predict, threshold)
        schema = ", ".join(f"`{name}` {kind}" for name, kind in kinds.items())
        path, _ = self._exchange.write(ordered.mapInArrow(function, schema), f"predicting for {day}")
        return [(file, read_metadata(file).num_rows) for file in self._exchange.files(path)]

    def recompute_query(self, connection: Connection, contract: Contract, features_sql: str, query: str) -> str:
        """Do the same as `point_in_time.recompute_query`; the keys and times that `query` selects are few."""
        spine, key = connection.execute(query).fetchall(), contract.looked_up[0]
        schema = f"`{key.name}` {spark_type(SQL_TYPES[key.kind])}, ts BIGINT"
        self._exchange.session.createDataFrame(spine, schema).createOrReplaceTempView(REQUESTS)
        types = self._spine(contract, features_sql, {key.name: "", "ts": "BIGINT"})
        parts = [tables.cast(quoted(each.name), each, types[each.name]) for each in contract.looked_up]
        again = f"SELECT {', '.join(parts)}, CAST(ts AS BIGINT) AS ts FROM {subquery(features_sql)}"
        path, _ = self._exchange.write(self._exchange.query(again, WHERE), WHERE)
        return f"FROM {self._exchange.source(path)}"

    def _population(self, data: Data, as_of: int) -> dict[str, str]:
        time, where = f"CAST({int(as_of)} AS BIGINT) AS ts", f"{DATA}: population()"
        for name in ("as_of", "moment"):
            self._exchange.query(f"SELECT {time}", where).createOrReplaceTempView(name)
        query = data.population(cast(Connection, self))
        names = [quoted(name) for name in described(self._exchange.query(query, where)) if name != "ts"]
        return self._requests(f"SELECT {', '.join([*names, time])} FROM {subquery(query)}", where)

    def _requests(self, sql: str, where: str) -> dict[str, str]:
        frame = self._exchange.query(sql, where)
        frame.createOrReplaceTempView(REQUESTS)
        return tables.verify_seconds(described(frame), TIMES, where)

    def _keep_requests(self, sql: str) -> int:
        """Write the rows of a query, make REQUESTS a view of them, and return their number."""
        _, kept = self._exchange.write(self._exchange.query(sql, DATA), DATA)
        kept.createOrReplaceTempView(REQUESTS)
        ((count,),) = self._exchange.collect(f"SELECT count(*) FROM {REQUESTS}", DATA)
        return int(count)

    def _spine(self, contract: Contract, features_sql: str, known: dict[str, str]) -> dict[str, str]:
        for name in ("spine", "asks"):
            query = point_in_time.spine_query(contract, known)
            self._exchange.query(query, WHERE).createOrReplaceTempView(name)
        return point_in_time.verify_features(described(self._exchange.query(features_sql, WHERE)), contract)

    def _complete(
        self,
        contract: Contract,
        features_sql: str | None,
        known: dict[str, str],
        extra: tuple[str, ...],
        order: tuple[Column, ...] = (),
    ) -> tuple[str, int]:
        """Write the completed rows and check them; return where they are, and their number."""
        joined = bool(contract.lookups and features_sql is not None)
        found = f"count(*) OVER (PARTITION BY {quoted(contract.looked_up[0].name)}, ts)" if joined else ""
        parts, source, _ = point_in_time.completed(
            contract, features_sql, known, extra, lambda: self._spine(contract, features_sql or "", known), found
        )
        parts += [f"f.{FOUND}"] if joined else []
        source += f" ORDER BY {', '.join(f'q.{quoted(each.name)}' for each in order)}" if order else ""
        where = WHERE if joined else DATA
        path, rows = self._exchange.write(
            self._exchange.query(f"SELECT {', '.join(parts)} FROM {source}", where), where
        )
        rows.createOrReplaceTempView(ROWS)
        faults = tables.check_types(described(rows), contract.columns, "the completed rows")
        rules = [(each.name, rule, sql) for each in contract.columns for rule, sql in tables.rules_of(each)]
        if joined:
            missing = "FALSE" if contract.fallback else f"{FOUND} IS NULL"
            rules.append((WHERE, "does not return one row for each row of the spine", f"{missing} OR {FOUND} > 1"))
        total = 0
        for start in range(0, max(1, len(rules)), tables.RULES_AT_ONCE):
            some = rules[start : start + tables.RULES_AT_ONCE]
            counts = ", ".join(["count(*)", *(f"count_if({sql})" for _, _, sql in some)])
            query = f"SELECT {counts} FROM {ROWS}"
            ((total, *wrong),) = self._exchange.collect(query, "the check of the completed rows")
            broken = zip(some, wrong, strict=True)
            faults += [f"{name} {rule} in {count} of {total} rows" for (name, rule, _), count in broken if count]
        if faults:
            raise tables.contract_error(faults)
        return path, int(total)

    def _load(self, connection: Connection, kind: str, path: str, contract: Contract, order: list[str] | None) -> None:
        """Make ROWS a table or view of DuckDB; sorted by `order` and then by all columns, unless that is None."""
        source = self._exchange.source(path)
        names = [name for name in tables.describe(connection, f"FROM {source}") if name != FOUND]
        whole = {quoted(each.name) for each in contract.columns if each.kind == "integer"}
        # The check has excluded fractions, so that this cast rounds nothing.
        parts = [f"CAST({each} AS BIGINT) AS {each}" if each in whole else each for each in map(quoted, names)]
        by = [*(order or ()), *(each.name for each in contract.looked_up[:1]), *names]
        ordered = "" if order is None else f" ORDER BY {', '.join(map(quoted, dict.fromkeys(by)))}"
        connection.execute(f"CREATE OR REPLACE TEMP {kind} {ROWS} AS SELECT {', '.join(parts)} FROM {source}{ordered}")
