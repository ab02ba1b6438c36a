"""`looseleaf propose` and `looseleaf.send` open one request with the report of an update; the checkout is unchanged."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from looseleaf.remote import BRANCH
from looseleaf.snapshot import git
from support import PATIENCE
from support.hosting import Api
from support.proposals import REPORT, SECRET, UPDATE, WITHOUT_TOKEN, environment, prepared, proposed, save, sent, state
from support.rendering import ROOT, Template, run, start


def test_a_safe_update_becomes_a_request_with_the_report(
    project: Path, hub: Path, api: Api, on_host: dict[str, str]
) -> None:
    done = proposed(project, on_host)
    assert done.returncode == 0, done.stdout
    (request,) = api.open
    assert request["title"] == "Update the template to 0.2.0"
    assert request.get("body", request.get("description")) == REPORT
    assert f"{request.get('html_url', request.get('web_url'))} is open" in done.stdout
    assert git("show", "--name-status", "--format=%s %P", BRANCH, folder=hub).split() == [
        *["Update", "the", "template", "to", "0.2.0"], git("rev-parse", "HEAD", folder=project),
        "A", "lifecycle/added.py", "D", "lifecycle/gone.py", "M", "lifecycle/one.py",
    ]  # fmt: skip
    assert git("rev-parse", "main", folder=hub) == git("rev-parse", "HEAD", folder=project)


@pytest.mark.slow
def test_a_real_update_is_proposed_with_its_report(template: Template, hub: Path, api: Api, tmp_path: Path) -> None:
    """Other tests replace `looseleaf update`; this one runs it, for a template without commands that check a render."""
    source = Template(shutil.copytree(template.folder, tmp_path / "template"))
    (source.folder / "template/lifecycle/lifecycle.mk").unlink()
    source.release("v9999.0.1")
    folder = source.copy(tmp_path / "rendered")
    git("init", "--quiet", folder=folder)
    save(folder, "The first")
    git("remote", "add", "origin", f"file://{hub}", folder=folder)
    git("push", "--quiet", "origin", "main", folder=folder)
    (source.folder / "template/lifecycle/docs/added.md").write_text("# Added\n")
    source.release("v9999.1.0")
    given = environment("github", api) | {"PYTHONPATH": str(ROOT / "hooks"), "NO_PROXY": "127.0.0.1"}
    before = state(folder)

    def in_two_jobs() -> tuple[int, str]:
        done = run(sys.executable, "-m", "looseleaf.cli", "propose", folder=folder, **given | WITHOUT_TOKEN)
        second = run(sys.executable, "-m", "looseleaf.send", folder=folder, **given) if not done.returncode else done
        return second.returncode, done.stdout + second.stdout

    code, output = in_two_jobs()
    assert code == 0, output
    assert state(folder) == before
    (request,) = api.open
    assert request["title"] == "Update the template to 9999.1.0"
    assert "Template 9999.0.1 → 9999.1.0: safe" in request["body"]
    assert "- `lifecycle/docs/added.md`" in request["body"]
    assert git("show", f"{BRANCH}:lifecycle/docs/added.md", folder=hub) == "# Added"
    # After the merge, the next run has nothing to do.
    git("fetch", "--quiet", "origin", BRANCH, folder=folder)
    git("reset", "--quiet", "--hard", "FETCH_HEAD", folder=folder)
    code, output = in_two_jobs()
    assert (code, "The template is up to date (9999.1.0)" in output) == (0, True), output
    # After an edit of a file of the template, a person must decide, and sees why.
    (folder / "lifecycle/docs/data.md").write_text("mine\n")
    save(folder, "An edit")
    (source.folder / "template/lifecycle/docs/data.md").write_text("newer\n")
    source.release("v9999.2.0")
    code, output = in_two_jobs()
    assert (code, "`lifecycle/docs/data.md` (edited)" in output) == (3, True), output


def test_the_job_that_runs_tests_refuses_the_token_that_may_push(project: Path) -> None:
    program = f"import sys; from looseleaf import propose; sys.exit(propose.run((sys.executable, '-c', {UPDATE!r})))"
    given = {"PYTHONPATH": str(ROOT / "hooks"), "CI": "true", "LOOSELEAF_TOKEN": SECRET, "REPORT": REPORT}
    done = run(sys.executable, "-c", program, folder=project, **given)
    assert (done.returncode, "updating" in done.stdout) == (1, False)
    assert "This job has LOOSELEAF_TOKEN, and the tests that an update runs could read it" in done.stdout
    assert SECRET not in done.stdout


def test_the_job_that_pushes_runs_the_standard_library_and_the_template_only(
    project: Path, hub: Path, source: str, api: Api, on_host: dict[str, str]
) -> None:
    """It runs as lifecycle/tools/template_source.py starts it; modules of the repository and packages are ignored."""
    assert prepared(project, on_host).returncode == 0
    for name in ("json", "sitecustomize", "looseleaf"):
        (project / f"{name}.py").write_text("raise SystemExit('code of the repository ran')\n")
    shutil.copytree(ROOT / "template/lifecycle/tools", project / "lifecycle/tools")
    given = {"LOOSELEAF_SOURCE": source, "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(project)}
    plain = Path(sys.base_prefix) / "bin/python3"
    done = run(plain, "-I", "lifecycle/tools/template_source.py", "send", folder=project, **on_host | given)
    assert done.returncode == 0, done.stdout
    assert len(api.open) == 1
    assert git("show", f"{BRANCH}:lifecycle/one.py", folder=hub) == "new"


@pytest.mark.parametrize("name", [".github/workflows/theirs.yml", ".github/workflows/lifecycle-x.yml", "src/x"])
def test_a_prepared_update_that_changes_a_file_of_the_team_is_not_pushed(
    project: Path, hub: Path, api: Api, on_host: dict[str, str], name: str
) -> None:
    """The job that prepares runs code that could add a workflow which reads the secrets."""
    assert prepared(project, on_host).returncode == 0
    patch = project / "build/proposal/update.patch"
    with patch.open("a") as file:
        file.write(f"--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+on: push\n")
    done = sent(project, on_host)
    assert (done.returncode, f"The prepared update changes {name}. An update changes" in done.stdout) == (1, True)
    assert not git("branch", "--list", BRANCH, folder=hub)
    assert not api.requests


def test_an_update_that_was_prepared_for_another_commit_is_not_pushed(
    project: Path, api: Api, on_host: dict[str, str]
) -> None:
    assert prepared(project, on_host).returncode == 0
    (project / "README.md").write_text("The base has moved.\n")
    save(project, "Work of the team")
    done = sent(project, on_host)
    assert (done.returncode, "The update was prepared for the commit" in done.stdout) == (1, True)
    assert not api.requests


def test_without_a_prepared_update_nothing_is_sent(project: Path, api: Api, on_host: dict[str, str]) -> None:
    done = sent(project, on_host)
    assert (done.returncode, "There is no prepared update in build/proposal" in done.stdout) == (1, True)
    assert not api.requests


def test_requests_to_the_api_have_the_documented_headers(project: Path, api: Api, on_host: dict[str, str]) -> None:
    assert proposed(project, on_host).returncode == 0
    for headers in api.headers:
        if "GITHUB_API_URL" in on_host:
            assert headers["Authorization"] == f"Bearer {SECRET}"
            assert headers["X-Github-Api-Version"] == "2022-11-28"
        else:
            assert headers["Private-Token"] == SECRET


def test_a_second_run_updates_the_request_and_does_not_push_again(
    project: Path, hub: Path, api: Api, on_host: dict[str, str]
) -> None:
    assert proposed(project, on_host).returncode == 0
    pushed = git("rev-parse", BRANCH, folder=hub)
    done = proposed(project, on_host, REPORT="# A newer report\n")
    assert done.returncode == 0, done.stdout
    (request,) = api.open
    assert request.get("body", request.get("description")) == "# A newer report\n"
    assert git("rev-parse", BRANCH, folder=hub) == pushed
    assert "is up to date" in done.stdout


def test_a_newer_version_replaces_the_older_on_the_branch(
    project: Path, hub: Path, api: Api, on_host: dict[str, str]
) -> None:
    assert proposed(project, on_host).returncode == 0
    (project / "README.md").write_text("The base has moved.\n")
    head = save(project, "Work of the team")
    git("push", "--quiet", "--no-verify", "origin", "main", folder=project)
    assert proposed(project, on_host, TEXT="newer still").returncode == 0
    assert git("show", f"{BRANCH}:lifecycle/one.py", folder=hub) == "newer still"
    assert git("rev-parse", f"{BRANCH}^", folder=hub) == head
    assert len(api.open) == 1


def test_an_older_checkout_does_not_treat_commits_of_the_base_as_foreign(
    project: Path, hub: Path, on_host: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path / "older")
    (project / "README.md").write_text("The base has moved.\n")
    save(project, "Work of the team")
    git("push", "--quiet", "--no-verify", "origin", "main", folder=project)
    assert proposed(project, on_host).returncode == 0
    done = proposed(tmp_path / "older", on_host, TEXT="newer still")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("depth", [(), ("--depth=1",)])
def test_commits_of_others_on_the_branch_are_kept(
    project: Path, hub: Path, api: Api, on_host: dict[str, str], tmp_path: Path, depth: tuple[str, ...]
) -> None:
    assert proposed(project, on_host).returncode == 0
    other = tmp_path / "other"
    git("clone", "--quiet", f"--branch={BRANCH}", f"file://{hub}", str(other), folder=tmp_path)
    (other / "lifecycle/one.py").write_text("fixed\n")
    theirs = save(other, "Fix what the update broke")
    git("push", "--quiet", "origin", BRANCH, folder=other)
    requests, page = len(api.requests), tmp_path / "summary.md"
    clone = tmp_path / "clone"
    git("clone", "--quiet", *depth, f"file://{hub}", str(clone), folder=tmp_path)
    program = proposed(clone, on_host, TEXT="newer still", GITHUB_STEP_SUMMARY=str(page))
    assert program.returncode == 3
    assert "Fix what the update broke" in program.stdout
    assert "Fix what the update broke" in page.read_text()
    assert git("rev-parse", BRANCH, folder=hub) == theirs
    assert len(api.requests) == requests


def test_a_commit_that_is_pushed_at_the_same_time_is_kept(
    project: Path, hub: Path, on_host: dict[str, str], tmp_path: Path
) -> None:
    """Another user creates the branch between the read and the push."""
    hook = hub / "hooks/pre-receive"
    main = git("rev-parse", "main", folder=hub)
    # The hook of the remote plays the other user; git compares again when it moves the branch.
    hook.write_text(f"#!/bin/sh\nenv -u GIT_QUARANTINE_PATH git update-ref refs/heads/{BRANCH} {main}\n")
    hook.chmod(0o755)
    done = proposed(project, on_host)
    assert done.returncode == 1
    assert "git push failed" in done.stdout
    assert git("rev-parse", BRANCH, folder=hub) == main


def test_an_update_that_needs_a_person_is_reported_and_not_pushed(
    project: Path, hub: Path, api: Api, on_host: dict[str, str], tmp_path: Path
) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    done = proposed(project, on_host, CODE="3", GITHUB_STEP_SUMMARY=str(page))
    assert done.returncode == 3
    assert REPORT in done.stdout
    assert page.read_text() == f"before\n{REPORT}\n"
    assert not git("branch", "--list", BRANCH, folder=hub)
    assert not api.requests


def test_a_current_repository_is_reported_as_up_to_date(
    project: Path, hub: Path, api: Api, on_host: dict[str, str]
) -> None:
    done = proposed(project, on_host, TEXT="")
    assert "Update the template" not in done.stdout
    assert (done.returncode, "The template is up to date (0.2.0)" in done.stdout) == (0, True)
    assert not git("branch", "--list", BRANCH, folder=hub)
    assert not api.requests


@pytest.mark.parametrize("report", ["", "NOT safe: make test fails\n"])
def test_a_failing_update_is_a_failure_and_its_report_is_shown(
    project: Path, hub: Path, api: Api, on_host: dict[str, str], tmp_path: Path, report: str
) -> None:
    page = tmp_path / "summary.md"
    done = proposed(project, on_host, CODE="1", REPORT=report, GITHUB_STEP_SUMMARY=str(page))
    assert (done.returncode, "looseleaf update ended with 1" in done.stdout) == (1, True)
    assert report in page.read_text()
    assert not api.requests


def test_a_dirty_work_tree_is_refused(project: Path, api: Api, on_host: dict[str, str]) -> None:
    (project / "mine.txt").write_text("mine\n")
    done = proposed(project, on_host)
    assert (done.returncode, "The work tree is not clean:\n?? mine.txt" in done.stdout) == (1, True)
    assert "updating" not in done.stdout
    assert (project / "mine.txt").read_text() == "mine\n"
    assert not api.requests


def test_ctrl_c_leaves_the_checkout_unchanged(project: Path, hub: Path) -> None:
    before = state(project)
    slow = UPDATE.replace("sys.exit(code)", "print('changed', file=sys.stderr)\nimport time\ntime.sleep(60)")
    program = f"import sys; from looseleaf import propose; sys.exit(propose.run((sys.executable, '-c', {slow!r})))"
    env = os.environ | {"PYTHONPATH": str(ROOT / "hooks"), "CI": "true", "REPORT": REPORT}
    command = (sys.executable, "-c", program)
    process = start(*command, folder=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    assert "changed\n" in iter(process.stdout.readline, "")
    assert state(project) != before
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, "Stopped. The checkout is unchanged." in output) == (130, True), output
    assert state(project) == before
    assert not git("branch", "--list", BRANCH, folder=hub)
