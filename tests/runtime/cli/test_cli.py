"""The command line prints what is wrong and what to do, and exits with a documented code."""

import os
import sqlite3
import subprocess
import sys
from datetime import date
from functools import partial
from pathlib import Path

import duckdb
import pytest

import lifecycle
from lifecycle import cli, registry, timestamps
from lifecycle.errors import LifecycleError
from lifecycle.registry import Identity


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that only names its project."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "churn"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (["promote"], "holds no version", "make train"),
        (["promote", "v1"], "holds no version 'v1'", "none yet"),
        (["rollback"], "nothing is deployed in local", "make train promote"),
        (["score"], "nothing is deployed in local", "make train promote"),
        (["serve", "--port", "0"], "nothing is deployed in local", "make train promote"),
        (["serve", "--port", "99999"], "--port 99999: Input should be less than or equal to 65535", "another value"),
        (["check"], "contract.json is missing", "make contract"),
        (["train", "--as-of", "yesterday"], "'yesterday' is not a date", "2026-01-31"),
        (["score", "--date", "2026-13-01"], "'2026-13-01' is not a date", "2026-01-31"),
        (["score", "--from", "2026-01-01"], "one date or a range", "--from and --to"),
        (["score", "--from", "2026-01-02", "--to", "2026-01-01"], "ends (2026-01-01) before it begins", "FROM"),
    ],
)
def test_a_failed_command_prints_problem_and_hint(
    repository: Path, capsys: pytest.CaptureFixture[str], words: list[str], problem: str, hint: str
) -> None:
    assert cli.main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert problem in error
    assert hint in error


def test_scoring_reports_a_date_without_rows(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {Path(f"date=2026-01-0{day}/scores.parquet"): rows for day, rows in ((1, 7), (2, 0))}
    monkeypatch.setattr("lifecycle.scoring.score", lambda *given, **more: files)
    monkeypatch.setattr("lifecycle.contract.team.load_data", object)
    assert cli.main(["score"]) == 0
    printed = capsys.readouterr()
    first, second = files
    assert printed.out.splitlines() == [
        "7 rows as of 2026-01-01:",
        str(first),
        "0 rows as of 2026-01-02:",
        str(second),
    ]
    assert printed.err == "warning: population() of src/model/data.py returns no rows as of 2026-01-02\n"


def test_collecting_nothing_is_said(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["collect"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "no service has logged a prediction in local since the last run",
        "0 rows of 0 segments are in storage/predictions/local",
    ]


def test_the_sample_is_not_written_through_a_link(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = repository / "shared"
    shared.mkdir()
    (repository / "data").symlink_to(shared)
    assert cli.main(["sample"]) == 1
    error = capsys.readouterr().err
    assert f"data is a link to {shared}, and nothing is written there" in error
    assert "LIFECYCLE_DATA=folder" in error
    assert not [*shared.iterdir()]


def test_a_wrong_call_exits_with_2(repository: Path) -> None:
    for words in ([], ["fly"], ["train", "--environment", "prod"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(words)
        assert caught.value.code == 2


def test_an_unexpected_disk_error_is_printed_without_a_traceback(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "data").write_text("a file instead of the folder", encoding="utf-8")
    assert cli.main(["sample"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "data" in error


@pytest.mark.parametrize("error", [duckdb.IOException("no table 7"), sqlite3.OperationalError("no table 7")])
def test_an_unexpected_database_error_is_printed_without_a_traceback(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(cli, "_config", partial(_fail, error))
    assert cli.main(["config"]) == 1
    assert capsys.readouterr().err == "error: config: no table 7\n"


def test_python_dash_m_is_the_same_command(repository: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "lifecycle", "config"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "serve.port = 8000  (default)" in done.stdout
    assert "deployed: nothing yet" in done.stdout


def test_version_is_that_of_the_release(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"{lifecycle.__version__}\n"


@pytest.mark.parametrize(
    ("command", "package", "use"),
    [("score", "scoring", "batch"), ("serve", "serving", "online"), ("client", "serving", "online")],
)
def test_a_command_of_another_use_is_refused_and_not_listed(
    repository: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    package: str,
    use: str,
) -> None:
    rendered = repository / "lifecycle"
    for other in {"scoring", "serving"} - {package}:
        (rendered / other).mkdir(parents=True)
        (rendered / other / "__init__.py").touch()
    monkeypatch.setattr(lifecycle, "__file__", str(rendered / "__init__.py"))
    assert cli.main([command]) == 1
    assert f"{command} is not available: this repository was rendered without {use} use" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = capsys.readouterr().out
    assert f"    {command} " not in listed
    assert "    train " in listed


@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_leave_the_cores_to_others(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == used


def test_help_imports_no_library_of_a_job() -> None:
    code = (
        "import sys\nfrom lifecycle import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'duckdb', 'fastapi', 'filelock', 'numpy', 'onnxruntime', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_timestamps_are_read_as_utc() -> None:
    assert timestamps.parse("2026-01-01") == timestamps.parse("2026-01-01T00:00:00Z") == 1_767_225_600
    assert timestamps.parse("2026-01-01T01:00:00+01:00") == 1_767_225_600
    assert timestamps.format_utc(1_767_225_600) == "2026-01-01T00:00:00Z"
    assert timestamps.days(date(2026, 1, 1), date(2026, 1, 3)) == [date(2026, 1, day) for day in (1, 2, 3)]
    with pytest.raises(LifecycleError):
        timestamps.parse_date("2026-01-01T00:00")


def test_the_user_is_that_of_the_ci_host_or_of_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.code(repository) == {"commit": None, "edited": None}
    git = ["git", "-C", str(repository), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for error in (KeyError("uid not found: 7123"), OSError("No username set in the environment")):
        monkeypatch.setattr("getpass.getuser", partial(_fail, error))
        assert registry.who() == Identity("unknown", "login")
    subprocess.run([*git, "config", "user.email", "ana@example.org"], check=True)
    assert registry.who() == Identity("ana@example.org", "git")
    monkeypatch.setenv("GITHUB_ACTOR", "bo")
    assert registry.who().source == "git", "a variable set by hand is not a CI host"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert registry.who() == Identity("bo", "ci")
    monkeypatch.setenv("GITHUB_TRIGGERING_ACTOR", "dee")
    assert registry.who() == Identity("dee", "ci"), "the user who runs a job again is recorded"
    monkeypatch.delenv("GITHUB_ACTIONS")
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("GITLAB_USER_LOGIN", "cy")
    assert registry.who() == Identity("cy", "ci")
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    assert registry.code(repository)["edited"] is False
    (repository / "pyproject.toml").write_text("", encoding="utf-8")
    assert registry.code(repository)["edited"] is True
    monkeypatch.setenv("LOOSELEAF_COMMIT", "1234abc")
    assert registry.code(repository)["commit"] == "1234abc", "a container image has no git and states its commit"


def _fail(error: Exception, *_: object) -> None:
    raise error
