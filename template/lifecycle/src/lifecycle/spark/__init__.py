"""Features, training rows and batch predictions on Spark, where the setting `engine.kind` is `spark`.

`connect` opens a connection that `features.point_in_time`, training, scoring and monitoring use like one of DuckDB. The
team's tables and SQL are on Spark, and what Spark has computed is read from Parquet files by DuckDB on this machine.
pyspark is imported where it is used, by the functions of this package only.
"""

import contextlib
import importlib.util
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from lifecycle.contract import tables
from lifecycle.contract.tables import Connection
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.settings import Settings
from lifecycle.spark import dialect

INSTALL = (
    'Run `uv add --group lifecycle "looseleaf-lifecycle[spark]" "pyspark[connect]>=4.1,<5"`, '
    "or set engine.kind: duckdb."
)
JAVA = "Install a JDK of version 17 or later (on Debian: default-jre-headless), or set JAVA_HOME."
PORTS = {"spark": 7077, "sc": 15002}
# The meaning of SQL that is closest to DuckDB: errors instead of NULL, times without a zone, quoted names, plain texts.
SQL = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.parser.escapedStringLiterals": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
OWN = {"spark.log.level": "OFF", "spark.ui.showConsoleProgress": "false", "spark.sql.shuffle.partitions": "64"}
# Types of DuckDB that Spark has under another name.
TYPES = {"HUGEINT": "DECIMAL(38, 0)", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_LTZ", '"NULL"': "VOID"}
# A line of Spark's message that begins the Java stack, and the mark of an error of the lifecycle in a worker.
STACK, MARK = re.compile(r"\n\s*(at |JVM stacktrace)"), "lifecycle-error: "


def connect(settings: Settings, data: Data, **limits: str) -> Connection:
    """Open the team's tables on the engine of the settings; `limits` are settings of DuckDB.

    Raises LifecycleError where Spark cannot be used, or a table cannot be read.
    """
    if settings.engine.kind == "duckdb":
        return point_in_time.connect(data, settings.data, **limits)
    from lifecycle.spark.rows import Engine

    session = open_session(settings)
    register(session, data, settings.data)
    # The class below has all members of DuckDB's connection.
    return cast(Connection, SparkConnection(tables.connect(**limits), Engine(settings, session)))


class SparkConnection:
    """A connection of DuckDB for what Spark has computed, and the `engine` that computes it."""

    def __init__(self, local: Connection, engine: Any) -> None:
        self.engine = engine
        self._local = local

    def __getattr__(self, name: str) -> Any:
        return getattr(self._local, name)

    def __enter__(self) -> "SparkConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self._local.close()


def open_session(settings: Settings, master: str = "") -> Any:
    """Return the session of Spark with DuckDB's meaning of SQL, and print where its pages are.

    Raises LifecycleError where pyspark or Java is missing, or nothing listens at the address of the master.
    """
    master = master or settings.engine.master
    is_remote, conf = master.startswith("sc://"), settings.engine.conf
    # The rest of an address of Spark Connect may be a token.
    shown = master.partition(";")[0]
    # Nothing here passes frames of pandas to Spark, and the setting of plain texts has no successor.
    for known in ("PySpark does not yet fully support pandas", ".*escapedStringLiterals"):
        warnings.filterwarnings("ignore", message=known)
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise LifecycleError(f"engine.kind is spark, and pyspark is not installed ({error})", INSTALL) from error
    _verify_reachable(master)
    if not is_remote:
        _verify_java()
    # Workers of this machine use the same Python; those of a cluster may have it elsewhere.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # Spark would print each error of SQL as one line of JSON before it is raised.
    logging.getLogger("SQLQueryContextLogger").disabled = True
    builder = SparkSession.builder.appName("lifecycle")
    own: dict[str, Any] = {"spark.sql.warehouse.dir": settings.storage.absolute() / ".spark/warehouse", **OWN}
    for name, value in ({} if is_remote else own | conf).items():
        builder = builder.config(name, str(value))
    with explain(f"Spark at {shown}", "Read the message, and the log of the master."):
        session = (builder.remote(master) if is_remote else builder.master(master)).getOrCreate()
        for name, value in (SQL | (conf if is_remote else {})).items():
            session.conf.set(name, str(value))
        pages = "" if is_remote else f"; its web interface is at {session.sparkContext.uiWebUrl}"
        print(f"Spark {session.version} at {shown}{pages}", file=sys.stderr)
    return session


def register(session: Any, data: Data, folder: Path) -> None:
    """Register the team's tables as views: by `spark_tables(session, folder)` of `model.data`, else each Parquet file.

    A file or directory `NAME.parquet` in the data folder is the view NAME. LifecycleError where there is none.
    """
    if hasattr(data, "spark_tables"):
        with explain("src/model/data.py: spark_tables()"):
            data.spark_tables(session, folder)
        return
    found = sorted(folder.absolute().glob("*.parquet"))
    if not found:
        problem = f"{folder} has no *.parquet, and src/model/data.py does not define spark_tables(session, folder)"
        hint = "Write that function, which registers each table as a view (lifecycle/docs/spark.md), or add the files."
        raise LifecycleError(problem, f"{hint} `make sample` writes those of the sample.")
    for path in found:
        with explain(f"reading {path}", "All files of a table have the same columns with the same types."):
            session.read.parquet(path.as_uri()).createOrReplaceTempView(path.stem)


@contextlib.contextmanager
def explain(where: str, hint: str = "Spark's message names the place in the SQL.") -> Iterator[None]:
    """Convert an error of Spark, or of the lifecycle in one of its workers, to a LifecycleError that names `where`."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        text = str(error)
        if MARK in text:
            problem, _, hint = text.partition(MARK)[2].partition("\n")[0].partition(" | ")
            raise LifecycleError(f"{where}: a worker of Spark failed: {problem}", hint) from error
        for pattern, problem, advice in KNOWN:
            if found := re.search(pattern, text):
                raise LifecycleError(f"{where} failed on Spark: {problem.format(*found.groups())}", advice) from error
        raise LifecycleError(f"{where} failed on Spark: {STACK.split(text)[0].strip()}", hint) from error


NO_PYTHON = "Install the environment of this repository on all workers, and set PYSPARK_PYTHON to its Python there."
LOST = "Look for the cause in Spark's log, often too little memory (spark.executor.memory); then run it again."
TYPED = "Write the older files again with the types of the newer ones, or cast the column in spark_tables()."
DIFFERS = r"(?:CANNOT_MERGE_SCHEMA|column cannot be converted|COLUMN_DATA_TYPE_MISMATCH)[^\n]*"
KNOWN = (
    (r"No module named '(\w+)'", "the Python of a worker does not have {}", NO_PYTHON),
    (r"PYTHON_VERSION_MISMATCH", "its workers have another version of Python", NO_PYTHON),
    (r"ExecutorLostFailure|crashed|exited unexpectedly", "a worker was lost, and nothing was written", LOST),
    (f"({DIFFERS})", "the files of a table have different types for a column: {}", TYPED),
)


def _verify_reachable(master: str) -> None:
    """Raise LifecycleError where nothing listens at the address: Spark itself would try for a minute or more."""
    found, problems = re.match(r"(spark|sc)://([^/;]+)", master), []
    kind, addresses = found.groups() if found else ("", "")
    # Of several masters, all but one are on standby.
    for address in filter(None, addresses.split(",")):
        host, _, port = address.partition(":")
        try:
            socket.create_connection((host, int(port or PORTS[kind])), timeout=10).close()
            return
        except OSError as error:
            problems.append(f"no Spark listens at {host}:{port or PORTS[kind]} ({error.strerror or error})")
    if problems:
        raise LifecycleError("; ".join(problems), "Start it, or correct engine.master in config/.")


def _verify_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if not _has_java():
        where = f"JAVA_HOME is {home}, which has no Java" if home else "there is no java on the PATH"
        raise LifecycleError(f"Spark needs Java, and {where}", JAVA)


def _has_java() -> bool:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin/java")) if home else shutil.which("java")
    # macOS without Java has a program of this name, which fails.
    with contextlib.suppress(OSError):
        return bool(java) and subprocess.run([str(java), "-version"], capture_output=True).returncode == 0
    return False


def check(settings: Settings, features_sql: str, connection: Connection) -> None:
    """Raise LifecycleError where `features.sql` differs on Spark, or Spark refuses it; the message names the line.

    `connection` is DuckDB's, with the team's tables and the table `spine`, from which the types are taken.
    """
    if importlib.util.find_spec("sqlglot") is None:
        raise LifecycleError("engine.kind is spark, and its extra is not installed", INSTALL)
    names = [name for (name,) in connection.execute("SHOW TABLES").fetchall()]
    known = {name: tables.describe(connection, f"FROM {tables.quoted(name)}") for name in names}
    dialect.check(features_sql, point_in_time.WHERE, known)
    if not _has_java():
        print("note: Java is missing, so Spark itself does not check features.sql on this machine", file=sys.stderr)
        return
    session = open_session(settings, "local[1]")
    for name, columns in known.items():
        typed = (f"CAST(NULL AS {TYPES.get(kind, kind)}) AS {tables.quoted(each)}" for each, kind in columns.items())
        query = dialect.translate(f"SELECT {', '.join(typed)} WHERE FALSE")
        session.sql(query).createOrReplaceTempView(name)
    with explain(point_in_time.WHERE):
        _ = session.sql(dialect.translate(features_sql)).schema
