"""`looseleaf update` applies an update only after the checks of the updated repository have passed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import copier
import pytest

from looseleaf.snapshot import git
from support import PATIENCE
from support.rendering import ROOT, Template, copier_yml, files, run, start
from support.repositories import commit, left_in_git, looseleaf, state
from support.waiting import eventually

COMMANDS = """.PHONY: setup check test
setup check: ; @echo {version} $@
test:
\t@{test}
"""


@pytest.fixture
def small(tmp_path: Path) -> Template:
    """Return a minimal template with one release."""
    folder = tmp_path / "template"
    (folder / "template/lifecycle").mkdir(parents=True)
    (folder / "copier.yml").write_text("_subdirectory: template\nname:\n  type: str\n  default: a\n", encoding="utf-8")
    answers_file = folder / "template/{{_copier_conf.answers_file}}.jinja"
    answers_file.write_text("{{ _copier_answers|to_nice_yaml -}}\n", encoding="utf-8")
    (folder / "template/Makefile").write_text("include lifecycle/lifecycle.mk\n", encoding="utf-8")
    git("init", "--quiet", folder=folder)
    template = Template(folder)
    released(template, "v1.0.0", "true")
    return template


def released(template: Template, version: str, test: str) -> None:
    """Make a release whose `make test` is a command."""
    makefile = template.folder / "template/lifecycle/lifecycle.mk"
    makefile.write_text(COMMANDS.format(version=version, test=test), encoding="utf-8")
    template.release(version)


@pytest.fixture
def project(small: Template, tmp_path: Path) -> Path:
    """Return a repository of the first release."""
    folder = tmp_path / "project"
    copier.run_copy(small.url, folder, defaults=True, quiet=True)
    git("init", "--quiet", folder=folder)
    commit(folder)
    return folder


def unchanged(project: Path) -> bool:
    return (
        not git("status", "--porcelain", folder=project) and "v1.0.0" in files(project)[".copier-answers.yml"].decode()
    )


def test_a_failing_test_changes_nothing_and_shows_its_last_lines(small: Template, project: Path) -> None:
    released(small, "v2.0.0", "seq 1 100; echo it is broken; false")
    before = state(project)
    done = looseleaf(project, "update")
    assert done.returncode == 1
    assert "it is broken" in done.stdout
    assert "\n99\n" in done.stdout
    assert "\n1\n" not in done.stdout
    assert "make test of the updated repository" in done.stdout
    assert "1.0.0 → 2.0.0: NOT safe: make test fails; nothing is changed" in done.stdout
    assert "The update is not the cause" not in done.stdout
    assert "Nothing was changed. Fix it here, commit, and update again." in done.stdout
    assert state(project) == before
    assert unchanged(project)
    assert left_in_git(project) == []


def test_a_test_that_also_fails_without_the_update_is_reported_as_such(small: Template, project: Path) -> None:
    test = "test ! -e broken"
    released(small, "v1.1.0", test)
    assert looseleaf(project, "update").returncode == 0
    (project / "broken").touch()
    commit(project)
    released(small, "v2.0.0", test)
    done = looseleaf(project, "update")
    assert done.returncode == 1
    assert "make test of the updated repository" in done.stdout
    assert "The update is not the cause: make test also fails without it" in done.stdout
    assert "Fix it here, commit, and update again." in done.stdout
    assert not git("status", "--porcelain", folder=project)


def test_after_passing_checks_the_files_are_written_and_not_committed(small: Template, project: Path) -> None:
    released(small, "v2.0.0", "true")
    head = git("rev-parse", "HEAD", folder=project)
    done = looseleaf(project, "update")
    assert done.returncode == 0, done.stdout
    assert "Applied, not committed" in done.stdout
    before, after = done.stdout.split("make setup  ")[0], done.stdout.split("make test  ")[1]
    assert " safe" not in before
    assert "1.0.0 → 2.0.0: safe: make setup, make check, make test have passed" in after
    assert "v2.0.0" in files(project)["lifecycle/lifecycle.mk"].decode()
    assert git("rev-parse", "HEAD", folder=project) == head
    assert git("diff", "--name-only", folder=project).split() == [".copier-answers.yml", "lifecycle/lifecycle.mk"]
    assert left_in_git(project) == []


def test_a_failing_setup_after_the_update_restores_every_file(small: Template, project: Path) -> None:
    (project / ".gitignore").write_text(".venv\n", encoding="utf-8")
    commit(project)
    (project / ".venv").mkdir()
    makefile = small.folder / "template/lifecycle/lifecycle.mk"
    makefile.write_text("setup: ; test ! -d .venv\ncheck test:\n", encoding="utf-8")
    small.release("v2.0.0")
    done = looseleaf(project, "update")
    assert done.returncode == 1
    assert "make setup of the updated repository" in done.stdout
    assert unchanged(project)
    assert left_in_git(project) == []


@pytest.mark.parametrize("place", ["below the include", "above the include", "in a file that is included"])
def test_a_new_target_of_the_template_never_replaces_one_of_the_team_silently(
    small: Template, project: Path, place: str
) -> None:
    include, rule = "include lifecycle/lifecycle.mk\n", "history extra: ; @echo ours\n"
    texts = {"below the include": include + rule, "above the include": rule + include}
    (project / "Makefile").write_text(texts.get(place, f"-include ours.mk\n{include}"))
    (project / "ours.mk").write_text(rule)
    commit(project)
    with (small.folder / "template/lifecycle/lifecycle.mk").open("a") as makefile:
        makefile.write("history := 1\nhistory: setup ; @echo theirs\n")
    small.release("v2.0.0")
    done = looseleaf(project, "update")
    if place == "below the include":
        assert "a new command `make history`, which your Makefile overrides" in done.stdout
        assert (done.returncode, run("make", "history", folder=project).stdout.splitlines()[-1]) == (0, "ours")
    else:
        assert (done.returncode, unchanged(project)) == (3, True), done.stdout
        assert "a new command of the template would replace your target `history`: rename yours" in done.stdout
    assert "extra" not in done.stdout


@pytest.mark.parametrize("has_lock", [True, False])
def test_the_closing_message_requests_a_lock_where_none_is_committed(
    small: Template, project: Path, has_lock: bool
) -> None:
    if has_lock:
        (project / "uv.lock").write_text('version = 1\nrequires-python = ">=3.11"\n')
        (project / "pyproject.toml").write_text('[project]\nname = "a"\nversion = "1"\nrequires-python = ">=3.11"\n')
        commit(project)
    released(small, "v2.0.0", "true")
    done = looseleaf(project, "update")
    assert (done.returncode, "run uv lock and commit it" in done.stdout) == (0, not has_lock), done.stdout


def test_the_closing_message_of_copier_names_what_it_does_not_do() -> None:
    message = copier_yml()["_message_after_update"]
    assert "`uv lock` and `make setup check test`" in message
    assert "make upgrade" not in message


@pytest.mark.parametrize(
    ("test", "code", "result"), [("echo 3 passed", 0, "3 passed"), ("echo 1 failed; false", 1, "1 failed")]
)
def test_a_report_for_programs_has_the_result_of_each_check(
    small: Template, project: Path, tmp_path: Path, test: str, code: int, result: str
) -> None:
    released(small, "v2.0.0", test)
    done = looseleaf(project, "update", "--format", "json", "--output", str(tmp_path / "new/report.json"))
    assert done.returncode == code, done.stdout
    report = json.loads((tmp_path / "new/report.json").read_text())
    assert report["safe"] is (code == 0)
    assert [check["command"] for check in report["checks"]] == ["make setup", "make check", "make test"]
    assert report["checks"][-1] == {"command": "make test", "passed": code == 0, "result": result}


@pytest.mark.parametrize("name", ["lifecycle/lifecycle.mk", ".copier-answers.yml", "lifecycle"])
def test_the_trial_does_not_follow_a_symbolic_link_out_of_the_repository(
    small: Template, project: Path, tmp_path: Path, name: str
) -> None:
    released(small, "v2.0.0", "true")
    outside = tmp_path / "outside"
    shutil.move(project / name, outside)
    (project / name).symlink_to(outside)
    commit(project)
    before = files(outside) if outside.is_dir() else outside.read_bytes()
    done = looseleaf(project, "update")
    assert (files(outside) if outside.is_dir() else outside.read_bytes()) == before
    assert done.returncode == 1, done.stdout
    assert f"{name} is a symbolic link here" in done.stdout
    assert not git("status", "--porcelain", folder=project)


@pytest.mark.parametrize("committed", [False, True], ids=["edit", "commit"])
def test_work_during_the_checks_is_not_overwritten(small: Template, project: Path, committed: bool) -> None:
    finally_ = f"git -C {project} commit --quiet --all --message Mine" if committed else "true"
    released(small, "v2.0.0", f"echo '# mine' >> {project}/lifecycle/lifecycle.mk; {finally_}")
    done = looseleaf(project, "update")
    assert done.returncode == 1
    assert ("new commit" if committed else "is not as it was committed") in done.stdout
    assert files(project)["lifecycle/lifecycle.mk"].decode().endswith("# mine\n")
    assert "v1.0.0" in files(project)["lifecycle/lifecycle.mk"].decode()


# The shell that writes its id becomes the program that waits, so that no signal comes between the two.
SLEEP = "echo $$$$ > $(STARTED); exec sleep 600"


# A terminal interrupts every process in it; a job that is cancelled or a terminal that is closed sends another signal.
@pytest.mark.parametrize(
    ("group", "sign", "test"),
    [
        (True, signal.SIGINT, f"sh -c '{SLEEP}'; true"),
        (False, signal.SIGINT, SLEEP),
        (False, signal.SIGINT, f"sh -c '{SLEEP}'; true"),
        (False, signal.SIGTERM, f"sh -c '{SLEEP}'; true"),
        (True, signal.SIGHUP, "sh -c 'echo $$$$ > $(STARTED); while :; do mkdir -p new; rmdir new; done'; true"),
    ],
    ids=["terminal", "process", "child of a child", "cancelled", "closed while it writes"],
)
def test_ctrl_c_during_the_checks_changes_nothing_and_stops_every_process(
    small: Template, project: Path, tmp_path: Path, group: bool, sign: int, test: str
) -> None:
    released(small, "v2.0.0", test)
    temporary, started = tmp_path / "temporary", tmp_path / "started"
    temporary.mkdir()
    env = os.environ | {"PYTHONPATH": str(ROOT / "hooks"), "TMPDIR": str(temporary), "STARTED": str(started)}
    command = (sys.executable, "-m", "looseleaf.cli", "update")
    process = start(*command, folder=project, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        eventually(lambda: started.exists() and started.read_text().strip())
        if group:
            os.killpg(process.pid, sign)
        else:
            process.send_signal(sign)
        _, output = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert "everything is as it was" in output
        assert "Traceback" not in output
        assert unchanged(project)
        assert list(temporary.iterdir()) == []
        eventually(lambda: not runs(int(started.read_text())))
    finally:
        for each in (process.pid, *map(int, started.read_text().split() if started.exists() else ())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)


def runs(process: int) -> bool:
    """Return whether a process is running."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
