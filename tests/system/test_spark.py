"""Spark in a rendered repository: on this machine, with a standalone master, and through Spark Connect."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from looseleaf.project import environment, make
from looseleaf.snapshot import git
from support import PATIENCE
from support.rendering import ROOT, Template, run, tool
from support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("spark"),
    pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java here"),
]

DRIVER = ROOT / "tests/support/on_spark.py"
DAY = "2025-12-01"
MEMORY = "spark.driver.memory: 700m, spark.executor.memory: 512m"
SPARK = {
    "LIFECYCLE_ENGINE__KIND": "spark",
    "LIFECYCLE_ENGINE__CONF": f"{{{MEMORY}, spark.sql.shuffle.partitions: 2}}",
    "LIFECYCLE_TRACKING__ENABLED": "false",
    # The machine's own name may lead to an address that its processes cannot reach.
    "SPARK_LOCAL_IP": "127.0.0.1",
    # Of a master, a worker, and the server of Spark Connect, which needs 450 MB.
    "SPARK_DAEMON_MEMORY": "600m",
    # These processes end before the second compiler has paid for itself.
    "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


@pytest.fixture(scope="module")
def repository(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with a deployed model, and with Spark."""
    folder = template.copy(tmp_path_factory.mktemp("spark") / "project")
    git("init", "--quiet", folder=folder)
    (added,) = re.findall(r"^uv (add .*)$", (folder / "lifecycle/docs/spark.md").read_text(encoding="utf-8"), re.M)
    for command in ([tool("uv"), *shlex.split(added)], make("setup", "sample", "train", "promote")):
        done = run(*command, folder=folder, LIFECYCLE_TRACKING__ENABLED="false")
        assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="module")
def compared(repository: Path) -> dict[str, Any]:
    """Return what one session on this machine found; see `support.on_spark`."""
    parts = ["queries", "rows", "scores", "monitored", "sampling", "refusals", "checks"]
    done = run(str(repository / ".venv/bin/python"), str(DRIVER), "local[2]", *parts, folder=repository, **SPARK)
    assert done.returncode == 0, done.stdout
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "query", ["windows", "as-of join", "sessions", "distinct counts", "percentiles", "late events"]
)
def test_a_query_has_the_same_rows_on_both_engines(compared: dict[str, Any], query: str) -> None:
    assert compared["queries"][query]


def test_completed_rows_are_the_same_on_both_engines(compared: dict[str, Any]) -> None:
    names = ["latest", "training rows", "looked-up rows", "recomputed rows"]
    assert compared["rows"] == dict.fromkeys(names, True)


def test_batch_predictions_and_their_log_are_the_same_on_both_engines(compared: dict[str, Any]) -> None:
    assert compared["scores"] == dict.fromkeys(["files", "columns", "rows"], True)


def test_monitoring_reports_the_same_on_both_engines(compared: dict[str, Any]) -> None:
    ours, theirs = compared["monitored"]
    assert ours == theirs
    assert ours[1]["rows"] > 500


@pytest.mark.parametrize(
    ("name", "texts"),
    {
        "no tables": ["absent has no *.parquet", "spark_tables(session, folder)"],
        "types": ["different types for a column", "[ts]", "Write the older files again"],
        "syntax": ["failed on Spark", "line 2"],
        "column": ["amonut", "line 2 pos 2"],
        "zero": ["DIVIDE_BY_ZERO"],
        "several rows": ["does not return one row for each row of the spine in"],
        "contract": ["the data violate the contract", "visits_30d is below 0 in"],
        "lost": ["a worker was lost, and nothing was written", "spark.executor.memory"],
        "worker": ["a worker of Spark failed", "onnxruntime 99.0", "Install what it needs"],
    }.items(),
)
def test_bad_input_is_refused_with_its_cause(compared: dict[str, Any], name: str, texts: list[str]) -> None:
    message = compared["refusals"][name]
    assert [text for text in texts if text not in message] == [], message
    assert "\tat org.apache" not in message


def test_the_check_names_the_line_that_spark_refuses(compared: dict[str, Any]) -> None:
    assert compared["checks"]["own"] == ""
    for name in ("routine", "star"):
        assert "src/model/features.sql failed on Spark" in compared["checks"][name]
        assert "line 2" in compared["checks"][name]


def test_training_takes_whole_entities_and_the_same_again(compared: dict[str, Any]) -> None:
    sampled = compared["sampling"]
    assert sampled["repeats"]
    assert sampled["whole"]
    assert 1500 < sampled["rows"] < 2500


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"JAVA_HOME": "/nonexistent"}, ["JAVA_HOME is /nonexistent", "Install a JDK"]),
        ({"LIFECYCLE_ENGINE__MASTER": "spark://127.0.0.1:1"}, ["no Spark listens at 127.0.0.1:1", "engine.master"]),
        ({"LIFECYCLE_ENGINE__MASTER": "sc://127.0.0.1:1"}, ["no Spark listens at 127.0.0.1:1", "engine.master"]),
    ],
)
def test_a_spark_that_cannot_be_used_is_an_error_and_writes_nothing(
    repository: Path, changes: dict[str, str], texts: list[str]
) -> None:
    done = score(repository, "2025-11-01", **changes)
    assert done.returncode == 1
    assert [text for text in texts if text not in done.stdout] == [], done.stdout
    assert "Traceback" not in done.stdout
    assert not (repository / "storage/scores/local/date=2025-11-01").exists()


def test_a_master_with_a_worker_whose_executor_is_killed_writes_the_same(repository: Path, tmp_path: Path) -> None:
    expected = scored_by_duckdb(repository)
    port = free_port()
    master = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
    address = f"spark://127.0.0.1:{port}"
    worker = ["org.apache.spark.deploy.worker.Worker", "--cores", "1", "--memory", "600m", "--webui-port", "0", address]
    with started(repository, tmp_path, *master) as log, started(repository, tmp_path, *worker):
        wait_for(port, log)
        command = [str(repository / ".venv/bin/lifecycle"), "score", "--date", DAY]
        own = environment() | SPARK | {"LIFECYCLE_ENGINE__MASTER": address}
        with subprocess.Popen(command, cwd=repository, env=own, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "rows are completed" in line:
                    killed = executors()
                    for identifier in killed:
                        os.kill(identifier, signal.SIGKILL)
                    break
            rest = process.stderr.read()
    assert process.returncode == 0, rest
    assert killed
    assert scored_by(repository) == expected


def test_spark_connect_writes_the_same(repository: Path, tmp_path: Path) -> None:
    expected = scored_by_duckdb(repository)
    port = free_port()
    server = ["org.apache.spark.deploy.SparkSubmit", "--master", "local[1]", "--driver-memory", "700m"]
    server += ["--conf", f"spark.connect.grpc.binding.port={port}", "--conf", "spark.sql.shuffle.partitions=2"]
    server += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    with started(repository, tmp_path, *server) as log:
        wait_for(port, log)
        # An address is read through Spark, as that of a bucket is.
        exchange = {"LIFECYCLE_ENGINE__EXCHANGE": f"file://{tmp_path}/exchange", "LIFECYCLE_ENGINE__CONF": "{}"}
        done = score(repository, DAY, LIFECYCLE_ENGINE__MASTER=f"sc://127.0.0.1:{port}", **exchange)
    assert done.returncode == 0, done.stdout
    assert scored_by(repository) == expected


def score(repository: Path, day: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    command = [str(repository / ".venv/bin/lifecycle"), "score", "--date", day]
    return run(*command, folder=repository, **SPARK | changes)


def scored_by(repository: Path) -> str:
    """Return keys, classes and rounded probabilities of the predictions as of the day, as they are in the file."""
    query = "SELECT customer_id, prediction, round(probability, 9), as_of, version, threshold FROM read_parquet('{}')"
    path = repository / f"storage/scores/local/date={DAY}/scores.parquet"
    code = f"import duckdb; print(duckdb.execute({query.format(path)!r}).fetchall())"
    done = run(str(repository / ".venv/bin/python"), "-c", code, folder=repository)
    assert done.returncode == 0, done.stdout
    return done.stdout


def scored_by_duckdb(repository: Path) -> str:
    done = score(repository, DAY, LIFECYCLE_ENGINE__KIND="duckdb")
    assert done.returncode == 0, done.stdout
    expected = scored_by(repository)
    # What Spark writes cannot be confused with this.
    shutil.rmtree(repository / "storage/scores")
    return expected


def executors() -> list[int]:
    """Return the process ids of the executors of Spark that this test has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if b"CoarseGrainedExecutorBackend" in command and b"test_a_master_with_a_worker" in environment_of(path.parent):
            found.append(int(path.parent.name))
    return found


def environment_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(repository: Path, folder: Path, *command: str) -> Iterator[Path]:
    """Run a class of Spark until the end of the context, and yield the file of its output."""
    (home,) = (repository / ".venv").glob("lib/python*/site-packages/pyspark")
    own = {"SPARK_HOME": str(home), "SPARK_WORKER_DIR": str(folder), "SPARK_LOCAL_DIRS": str(folder)}
    own |= {"PYSPARK_PYTHON": str(repository / ".venv/bin/python")}
    path = folder / f"{time.monotonic_ns()}.log"
    with path.open("w") as log:
        process = subprocess.Popen(
            [str(home / "bin/spark-class"), *command],
            cwd=folder,
            env=environment() | SPARK | own,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield path
        finally:
            process.terminate()
            process.wait(PATIENCE)


def wait_for(port: int, log: Path) -> None:
    """Wait until something listens on a port; where nothing does, the output of the process says why."""

    def listens() -> bool:
        assert "Exception in thread" not in log.read_text(encoding="utf-8")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually(listens)
    except AssertionError:
        pytest.fail(log.read_text(encoding="utf-8"))
