"""The workflows and jobs that bring a version to production: who may do what, and which faults a linter finds."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from looseleaf.send import WORKFLOWS
from support.rendering import ROOT, TEMPLATE, rendered_name, run, template_files, tool

FOLDER = TEMPLATE / ".github/workflows"
NAMES = ("lifecycle-image", "lifecycle-monitor", "lifecycle-promote")
GITLAB = TEMPLATE / "lifecycle/ci/platform.yml"
STORAGE = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL", "LIFECYCLE_STORAGE"}


def text(name: str) -> str:
    return (FOLDER / f"{name}.yml").read_text(encoding="utf-8")


def jobs(name: str) -> dict[str, dict[str, Any]]:
    """Return the jobs of a workflow for GitHub by name."""
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(text(name))["jobs"]
    return loaded


def gitlab() -> dict[str, dict[str, Any]]:
    """Return the jobs for GitLab by name, each with the keys of those that it extends."""
    listed = {name: job for name, job in yaml.safe_load(GITLAB.read_text(encoding="utf-8")).items() if name[0] != "."}
    complete = {}
    for name, job in listed.items():
        base = complete.get(job["extends"], {})
        complete[name] = base | job | {"variables": base.get("variables", {}) | job.get("variables", {})}
    return complete


def lint(name: str, path: Path) -> "subprocess.CompletedProcess[str]":
    """Run a linter of workflows, whose findings are errors."""
    command = {"zizmor": ["--offline", "--no-progress"], "actionlint": ["-no-color", "-shellcheck="]}[name]
    return run(tool(name), *command, str(path), folder=ROOT)


@pytest.mark.parametrize("name", [*NAMES, "lifecycle", "lifecycle-update"])
def test_actionlint_finds_nothing(render: Callable[..., Path], name: str) -> None:
    done = lint("actionlint", render(platform="kubernetes") / f".github/workflows/{name}.yml")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("linter", "name", "find", "replace", "finding"),
    [
        ("zizmor", "lifecycle-promote", '"$WHY"', '"${{ inputs.reason }}"', "template-injection"),
        ("zizmor", "lifecycle-image", "@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "@v5", "unpinned-uses"),
        ("zizmor", "lifecycle-image", "pull_request:", "pull_request_target:", "dangerous-triggers"),
        ("zizmor", "lifecycle-monitor", "contents: read", "contents: write", "excessive-permissions"),
        ("actionlint", "lifecycle-promote", "inputs.environment", "inputs.enviroment", "enviroment"),
        ("actionlint", "lifecycle-image", "needs: check", "needs: checks", "checks"),
        ("actionlint", "lifecycle-monitor", '"43 4 * * *"', '"43 4 * *"', "invalid CRON format"),
    ],
)
def test_a_planted_fault_is_found(
    tmp_path: Path, linter: str, name: str, find: str, replace: str, finding: str
) -> None:
    path = tmp_path / ".github/workflows" / f"{name}.yml"
    path.parent.mkdir(parents=True)
    assert find in text(name)
    path.write_text(text(name).replace(find, replace))
    done = lint(linter, path)
    assert done.returncode != 0
    assert finding in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_no_script_contains_an_expression_of_the_host(name: str) -> None:
    """What a person types reaches a script as a variable only."""
    scripts = [step["run"] for job in jobs(name).values() for step in job["steps"] if "run" in step]
    assert scripts
    assert not [script for script in scripts if "${{" in script]


@pytest.mark.parametrize("name", NAMES)
def test_no_checkout_leaves_a_token(name: str) -> None:
    steps = [step for job in jobs(name).values() for step in job["steps"] if "actions/checkout" in step.get("uses", "")]
    assert steps
    assert all(step["with"]["persist-credentials"] is False for step in steps)


@pytest.mark.parametrize("name", NAMES)
def test_every_job_ends_and_no_two_runs_meet(name: str) -> None:
    loaded = yaml.safe_load(text(name))
    assert {*loaded["concurrency"]} == {"group", "cancel-in-progress"}
    assert all(job["timeout-minutes"] <= 60 for job in loaded["jobs"].values())
    assert {job["runs-on"] for job in loaded["jobs"].values()} == {"${{ vars.RUNNER || 'ubuntu-latest' }}"}


def test_no_secret_reaches_a_job_of_a_proposed_change() -> None:
    triggers = {name: {*yaml.safe_load(text(name))[True]} for name in NAMES}
    assert triggers == {
        "lifecycle-image": {"push", "pull_request"},
        "lifecycle-monitor": {"schedule", "workflow_dispatch"},
        "lifecycle-promote": {"workflow_dispatch"},
    }
    image = jobs("lifecycle-image")
    assert [name for name, job in image.items() if "secrets." in str(job) or "github.token" in str(job)] == ["publish"]
    assert image["publish"]["if"] == "github.event_name == 'push' && !github.event.repository.fork"


def test_nothing_runs_in_a_fork_by_itself() -> None:
    assert "!github.event.repository.fork" in jobs("lifecycle-monitor")["monitor"]["if"]
    assert jobs("lifecycle-monitor")["issue"]["needs"] == "monitor"
    assert "needs.monitor.result != 'skipped'" in jobs("lifecycle-monitor")["issue"]["if"]
    assert "!github.event.repository.fork" in jobs("lifecycle-promote")["deploy"]["if"]


def test_only_jobs_in_an_environment_have_credentials_of_a_storage() -> None:
    found = {}
    for name in NAMES:
        for job, content in jobs(name).items():
            steps = [step for step in content["steps"] if STORAGE & {*step.get("env", {})}]
            # They reach these steps only, and not the one that installs packages.
            assert "env" not in content
            assert all(step["env"].keys() >= STORAGE and step["run"].startswith("make ") for step in steps)
            if steps:
                found[f"{name}/{job}"] = content.get("environment")
    assert found == {
        "lifecycle-monitor/monitor": "monitoring",
        "lifecycle-promote/export": "staging",
        "lifecycle-promote/deploy": "${{ inputs.environment }}",
    }
    assert {name: job["environment"]["name"] for name, job in gitlab().items() if "environment" in job} == {
        "monitor": "monitoring",
        "monitor-issue": "looseleaf",
        "promote-staging": "staging",
        "promote-production": "production",
    }


def test_a_person_selects_one_of_the_environments_and_gives_a_reason() -> None:
    inputs = yaml.safe_load(text("lifecycle-promote"))[True]["workflow_dispatch"]["inputs"]
    assert inputs["environment"]["options"] == ["staging", "production"]
    assert inputs["command"]["options"] == ["promote", "approve", "rollback"]
    assert inputs["reason"]["required"] is True
    manual = gitlab()["promote-production"]["rules"][1]
    assert manual == {"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH", "when": "manual", "allow_failure": True}


def test_the_job_that_opens_issues_runs_no_code_of_the_team() -> None:
    """The other one runs it, and has no token."""
    opens = "python3 -I lifecycle/tools/scheduled.py send"
    monitor = jobs("lifecycle-monitor")
    assert [step["run"] for step in monitor["issue"]["steps"] if "run" in step] == [opens]
    assert "token" not in str(monitor["monitor"]).lower().replace("persist-credentials", "")
    assert gitlab()["monitor-issue"]["script"] == [opens]
    assert gitlab()["monitor"]["environment"] == {"name": "monitoring", "action": "access"}


def test_both_hosts_run_the_same_commands() -> None:
    def commands(lines: list[str]) -> set[str]:
        return {match for line in lines for match in re.findall(r"make (?!setup)[a-z]+", line)}

    for name, pairs in {
        "lifecycle-image": {"check": "check-image", "build": "build-image", "publish": "publish-image"},
        "lifecycle-monitor": {"monitor": "monitor"},
    }.items():
        for one, other in pairs.items():
            here = [step["run"] for step in jobs(name)[one]["steps"] if "run" in step]
            assert commands(here) == commands(gitlab()[other]["script"]), one


def test_the_weekly_update_may_push_every_workflow_of_the_template() -> None:
    ours = {rendered_name(path) for path in template_files() if path.is_relative_to(FOLDER)}
    assert ours == {*WORKFLOWS}


def test_the_default_render_has_none_of_these_files(render: Callable[..., Path]) -> None:
    names = ("lifecycle-image.yml", "scheduled.py", "supply_chain.py", "audit.py", "command.py", "platform.yml")
    names += ("deploying.md",)
    for choices in ({}, {"ci": "gitlab"}):
        assert not [path for name in names for path in render(**choices).rglob(name)]


# --- What make does with the text of a person -------------------------------------------------------------------------


@pytest.fixture
def repository(render: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a repository whose command `lifecycle` prints its arguments, one a line."""
    folder = shutil.copytree(render(platform="kubernetes"), tmp_path / "project")
    program = folder / ".venv/bin/lifecycle"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nprintf '<%s>\\n' \"$@\"\necho storage ${AWS_ENDPOINT_URL-not set}\n")
    program.chmod(0o755)
    return folder


HOSTILE = "$(shell touch planted) `touch planted` $$(touch planted) '; touch planted; ' \" $HOME"


@pytest.mark.parametrize("goal", ["promote", "approve", "rollback"])
def test_a_reason_is_text_whatever_it_contains(repository: Path, goal: str) -> None:
    done = run("make", goal, f"WHY={HOSTILE}", "ENVIRONMENT=staging", folder=repository)
    assert f"<--why>\n<{HOSTILE}>" in done.stdout
    assert not (repository / "planted").exists()


@pytest.mark.parametrize("goal", ["promote", "approve"])
def test_a_version_is_never_an_option(repository: Path, goal: str) -> None:
    done = run("make", goal, "VERSION=--override=because", folder=repository)
    assert "<-->\n<--override=because>" in done.stdout
    command = [sys.executable, "-m", "lifecycle", goal, "--", "--override=because"]
    assert "holds no version '--override=because'" in run(*command, folder=repository, PYTHONPATH="src").stdout


def test_an_address_that_is_not_configured_is_not_an_empty_one(repository: Path) -> None:
    assert "storage not set" in run("make", "history", folder=repository, AWS_ENDPOINT_URL="").stdout
    assert "storage here" in run("make", "history", folder=repository, AWS_ENDPOINT_URL="here").stdout


@pytest.mark.parametrize("goal", ["audit", "sbom", "scheduled"])
def test_a_command_that_needs_the_platform_says_how_to_add_it(
    render: Callable[..., Path], tmp_path: Path, goal: str
) -> None:
    folder = shutil.copytree(render(), tmp_path / "project")
    (folder / ".venv/bin").mkdir(parents=True)
    os.symlink(sys.executable, folder / ".venv/bin/python")
    (folder / ".venv/bin/lifecycle").touch()
    done = run("make", goal, folder=folder)
    assert done.returncode == 2
    assert "make update SET=platform=kubernetes" in done.stdout
