"""What is found before a session of Spark begins, and what of its address is shown."""

import socket
from pathlib import Path

import pytest

from lifecycle import spark
from lifecycle.errors import LifecycleError
from lifecycle.settings import Engine, Settings


def test_one_master_of_several_is_enough() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        spark._verify_reachable(f"spark://127.0.0.1:9,127.0.0.1:{listener.getsockname()[1]}")
    with pytest.raises(LifecycleError, match=r"no Spark listens at 127\.0\.0\.1:9 .*; no Spark listens at localhost:7"):
        spark._verify_reachable("spark://127.0.0.1:9,localhost:7")


def test_a_program_named_java_that_fails_is_no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(LifecycleError, match=f"JAVA_HOME is {tmp_path}, which has no Java"):
        spark._verify_java()


def test_the_check_of_features_names_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LifecycleError, match=r"looseleaf-lifecycle\[spark\]"):
        spark.check(Settings(engine=Engine(kind="spark")), "SELECT 1", None)  # type: ignore[arg-type]
