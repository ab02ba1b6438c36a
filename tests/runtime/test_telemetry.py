"""No dependency of a rendered repository sends usage data, looks up a host, or writes below the home of the user."""

import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from lifecycle import sample
from support.isolated import namespaces_are_permitted, observe
from support.rendering import TEMPLATE

QUIET = ("ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
# The folders that the lifecycle writes to; __pycache__ is Python's.
OWN = {"storage", "data", "src"}


@pytest.mark.parametrize(("setting", "is_quiet"), [(None, True), ("0", False)], ids=["default", "seeded defect"])
def test_loading_onnxruntime_writes_nothing_below_home(tmp_path: Path, setting: str | None, is_quiet: bool) -> None:
    environment = {"HOME": str(tmp_path)} | ({} if setting is None else {"ORT_DISABLE_TELEMETRY": setting})
    done = subprocess.run([sys.executable, "-c", "import lifecycle, onnxruntime"], env=environment, check=False)
    assert done.returncode == 0
    assert (not list(tmp_path.rglob("*"))) == is_quiet


@pytest.mark.slow
@pytest.mark.parametrize("defect", [None, "ORT_DISABLE_TELEMETRY"], ids=["default", "seeded defect"])
def test_train_promote_score_and_serve_look_nothing_up_and_write_only_their_own_files(
    tmp_path: Path, defect: str | None
) -> None:
    repository, home = tmp_path / "churn", tmp_path / "home"
    shutil.copytree(TEMPLATE / "src", repository / "src")
    shutil.copy(TEMPLATE / "contract.json", repository)
    (repository / "pyproject.toml").write_text('[project]\nname = "churn-model"\n')
    sample.write(repository / "data", customers=400)
    home.mkdir()
    before = {path.name for path in repository.iterdir()}
    isolated = namespaces_are_permitted()
    found = observe(repository, home, {defect: "0"} if defect else {}, isolated=isolated)
    assert found["output"] == ""
    written = [path for path in home.rglob("*")] + [
        path for path in tmp_path.iterdir() if path not in (repository, home)
    ]
    strays = {path.name for path in repository.iterdir()} - before - OWN
    if not isolated:
        warnings.warn("network namespaces are not permitted here: look-ups were not observed", stacklevel=1)
    if defect:
        assert written
        assert found["lookups"] or not isolated
    else:
        assert (found["lookups"], written, strays) == ([], [], set())


def test_the_makefile_sets_each_variable_before_any_command() -> None:
    makefile = (TEMPLATE / "lifecycle/lifecycle.mk").read_text(encoding="utf-8")
    assert re.findall(r"^export (\w+) \?= (?:1|true)$", makefile, re.MULTILINE) == [*QUIET]


def test_importing_the_runtime_sets_each_variable_and_keeps_what_a_user_set() -> None:
    code = f"import lifecycle, os; print(*(os.environ[name] for name in {QUIET}))"
    given = {name: each for name, each in os.environ.items() if name not in QUIET} | {"DO_NOT_TRACK": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "true", "0"]


def test_duckdb_downloads_no_extension_by_itself() -> None:
    from lifecycle.contract.tables import connect

    with connect() as connection:
        query = "SELECT value FROM duckdb_settings() WHERE name = 'autoinstall_known_extensions'"
        assert connection.execute(query).fetchall() == [("false",)]


def test_jupyter_looks_for_neither_news_nor_updates() -> None:
    makefile = (TEMPLATE / "lifecycle/lifecycle.mk").read_text(encoding="utf-8")
    [command] = [line for line in makefile.splitlines() if line.startswith("NO_NEWS :=")]
    assert "jupyter lab $(NO_NEWS) notebooks" in makefile
    for option in ("--LabApp.news_url=None", "NeverCheckForUpdate", "--LabApp.extension_manager=readonly"):
        assert option in command
