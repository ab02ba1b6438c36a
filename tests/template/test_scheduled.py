"""`make scheduled` and the issue about it: what a person has to read is opened once, and nothing else is."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import hosting
from support.hosting import Api, Issues
from support.rendering import run

SECRET = "s3cret-t0ken"
# Prints what the real commands print, by the state in the file `state`.
PROGRAM = """#!{python}
import pathlib, sys
table = {{
    "collect": ("12 rows of 1 segments are in storage/predictions/staging", 0),
    "monitor ok": ("ok: v1 in staging as of 2026-01-01T00:00:00Z", 0),
    "monitor no data": ("no data: v1 in staging as of 2026-01-01T00:00:00Z", 0),
    "monitor watch": ("watch: v1 in staging as of 2026-01-01T00:00:00Z\\n  watch: `plan` <b> drifts", 0),
    "monitor retrain": ("retrain: v1 in staging as of 2026-01-01T00:00:00Z\\n  retrain: plan drifts", 0),
    "monitor incident": ("incident: v1 in staging as of 2026-01-01T00:00:00Z\\n  incident: plan is broken", 1),
    "monitor broken": ("", 1),
    "retrain ok": ("no retrain is due", 0),
    "retrain no data": ("no retrain is due", 0),
    "retrain watch": ("no retrain is due", 0),
    "retrain retrain": ("retrain (drift): plan drifts\\ndecision: page.html\\nrefused: v2 is not promoted", 0),
}}
state = pathlib.Path("state").read_text()
said, code = table.get(sys.argv[1]) or table[f"{{sys.argv[1]}} {{state}}"]
assert sys.argv[-2:] == ["--environment", "staging"], sys.argv
print(said)
print("error: {secret} is wrong" if not said else "", file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class Job:
    """A repository with a program in place of `lifecycle`, and a CI host."""

    folder: Path
    api: Api
    host: str

    def scheduled(self, state: str) -> "subprocess.CompletedProcess[str]":
        (self.folder / "state").write_text(state)
        return run("make", "scheduled", folder=self.folder, ENVIRONMENT="staging", **self.environment())

    def send(self, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Open the issue as the second job does, without the packages of this suite."""
        plain = str(Path(sys.base_prefix) / "bin/python3")
        given = self.environment() | environment
        return run(plain, "-I", "lifecycle/tools/scheduled.py", "send", folder=self.folder, **given)

    def environment(self) -> dict[str, str]:
        common = {"NO_PROXY": "127.0.0.1"}
        if self.host == "github":
            given = {"GITHUB_API_URL": self.api.url, "GITHUB_REPOSITORY": "acme/churn", "GITHUB_TOKEN": SECRET}
            run_of = {"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://host", "GITHUB_RUN_ID": "5"}
            return common | given | run_of
        given = {"CI_API_V4_URL": self.api.url, "CI_PROJECT_ID": "42", "LOOSELEAF_TOKEN": SECRET}
        return common | given | {"CI_JOB_URL": "https://host/jobs/5"}

    def issue(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / "build/scheduled/issue.json").read_text())
        return found


@pytest.fixture(params=["github", "gitlab"])
def job(request: pytest.FixtureRequest, render: Callable[..., Path], tmp_path: Path) -> Iterator[Job]:
    folder = shutil.copytree(render(platform="kubernetes"), tmp_path / "project")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    program = folder / ".venv/bin/lifecycle"
    program.write_text(PROGRAM.format(python=sys.executable, secret=SECRET))
    program.chmod(0o755)
    with hosting.api(Issues()) as api:
        yield Job(folder, api, request.param)


@pytest.mark.parametrize("state", ["ok", "no data"])
def test_where_nothing_has_to_be_read_no_issue_is_opened(job: Job, state: str) -> None:
    assert job.scheduled(state).returncode == 0
    done = job.send()
    assert (done.returncode, done.stdout) == (0, "There is nothing that a person has to read.\n")
    assert job.api.requests == []


@pytest.mark.parametrize(
    ("state", "code", "title"),
    [
        ("watch", 0, "Monitoring of staging: watch"),
        ("incident", 2, "Monitoring of staging: incident"),
        ("retrain", 0, "Retraining in staging: refused"),
        ("broken", 2, "`make monitor` failed in staging"),
    ],
)
def test_a_finding_becomes_an_issue_with_what_was_printed(job: Job, state: str, code: int, title: str) -> None:
    assert job.scheduled(state).returncode == code
    done = job.send()
    assert done.returncode == 0, done.stdout
    assert f"{title}: {job.api.url}/issues/7" in done.stdout
    (opened,) = job.api.open
    body = str(opened.get("body") or opened.get("description"))
    assert (opened["title"], "$ lifecycle monitor" in body) == (title, True)
    assert ("    refused: v2 is not promoted" in body) is (state == "retrain")
    # After an incident, nothing is trained.
    assert ("lifecycle retrain" in body) is (code == 0)
    assert ("https://host/acme/churn/actions/runs/5" if job.host == "github" else "https://host/jobs/5") in body
    # Messages of errors may name what only the log of the job should.
    assert SECRET not in body


def test_the_open_issue_is_updated_and_not_opened_again(job: Job) -> None:
    job.api.open.append({"title": "Monitoring of staging: incident", "number": 3, "iid": 3})
    for _ in range(2):
        assert job.scheduled("watch").returncode == 0
        assert job.send().returncode == 0
    assert [each["title"].rpartition(" ")[2] for each in job.api.open] == ["incident", "watch"]
    methods = [method for method, _, _ in job.api.requests]
    assert methods == ["GET", "POST", "GET", "PATCH" if job.host == "github" else "PUT"]
    sent = [headers.get("Authorization") or headers.get("Private-Token") for headers in job.api.headers]
    assert {*sent} == {f"Bearer {SECRET}" if job.host == "github" else SECRET}


def test_what_the_host_refuses_is_one_line_that_names_the_right(job: Job) -> None:
    assert job.scheduled("watch").returncode == 0
    job.api.instead = (403, b"{}", "")
    done = job.send()
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)
    assert "the issue was not opened: HTTP Error 403" in done.stdout
    assert ("issues: write" if job.host == "github" else "the scope api") in done.stdout
    assert SECRET not in done.stdout


def test_a_redirect_does_not_get_the_token(job: Job) -> None:
    assert job.scheduled("watch").returncode == 0
    job.api.instead = (302, b"{}", f"{job.api.url}/elsewhere")
    assert job.send().returncode == 1
    assert "/elsewhere" not in [path for _, path, _ in job.api.requests]


def test_without_a_token_the_job_says_what_is_missing(job: Job) -> None:
    assert job.scheduled("watch").returncode == 0
    done = job.send(GITHUB_TOKEN="", LOOSELEAF_TOKEN="")
    assert (done.returncode, "LOOSELEAF_TOKEN on GitLab" in done.stdout) == (1, True)
