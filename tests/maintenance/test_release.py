"""Releases: the record, the two commits and the tag of a release, and incomplete histories."""

import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

from looseleaf import releases
from looseleaf.snapshot import git
from maintenance.history import check
from support import PATIENCE
from support.releasing import HOOKS, RELEASE, commit, release, state
from support.rendering import ROOT, run, start
from support.waiting import eventually

ONE, TWO = "1" * 40, "2" * 40
RECORD = f'[releases]\n"0.1.0" = "{ONE}"\n"0.10.0" = "{TWO}"\n'
CHANGELOG = """# Changes

Each entry says what changes.

## Not released

Something new.

## 0.10.0 (2026-03-02)

Faster.

### What you do

- Run `make upgrade`,
  then commit.
* Read on.

### Other

- Nothing to do here.

## 0.2.0 (2026-02-01)

### What you do

- Set a budget.

## 0.1.0 (2026-01-01)

The first.
"""


def test_every_recorded_release_is_in_the_history() -> None:
    """Each recorded commit exists, in order, with its version; a missing one fails and is never skipped."""
    assert not check(ROOT)
    assert Version("0.1.0") in releases.read((ROOT / "releases.toml").read_text(encoding="utf-8"))


def test_ci_fetches_the_complete_history() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["with"]["fetch-depth"] for step in steps if "checkout" in step.get("uses", "")] == [0]


def test_the_record_is_read_in_its_order() -> None:
    read = releases.read(RECORD)
    assert [*read.items()] == [(Version("0.1.0"), ONE), (Version("0.10.0"), TWO)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[releases", "is not valid TOML"),
        ("", "has no table"),
        ("releases = 1", "has no table"),
        (f'[releases]\n"0.1" = "{ONE}"', "of the form X.Y.Z"),
        (f'[releases]\n"one" = "{ONE}"', "is not a valid version"),
        (f'[releases]\n"0.1.0rc1" = "{ONE}"', "of the form X.Y.Z"),
        ('[releases]\n"0.1.0" = "e4b2301"', "not a commit of 40"),
        ('[releases]\n"0.1.0" = 1', "not a commit of 40"),
        (f'[releases]\n"0.10.0" = "{ONE}"\n"0.9.0" = "{TWO}"', "the oldest comes first"),
    ],
)
def test_an_invalid_record_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        releases.read(text)


@pytest.mark.parametrize(
    ("after", "upto", "texts"),
    [
        ("0.1.0", "0.10.0", ["Set a budget.", "Run `make upgrade`, then commit.", "Read on."]),
        ("0.1.0", "0.2.0", ["Set a budget."]),
        ("0.2.0", "0.10.0", ["Run `make upgrade`, then commit.", "Read on."]),
        ("0.10.0", "0.10.0", []),
    ],
)
def test_the_changelog_lists_the_tasks_between_two_versions(after: str, upto: str, texts: list[str]) -> None:
    sections = releases.sections(CHANGELOG)
    between = [sections[version] for version in sorted(sections) if Version(after) < version <= Version(upto)]
    assert [task for section in between for task in releases.tasks(section)] == texts


def test_a_task_for_one_usage_is_for_repositories_with_that_usage() -> None:
    section = f"{releases.TASKS}\n- (online) Set a key.\n- (batch) Set a day.\n- Read on.\n"
    assert releases.tasks(section, ["batch"]) == ["Set a day.", "Read on."]
    assert releases.tasks(section, ["online"]) == ["Set a key.", "Read on."]
    assert releases.tasks(section) == releases.tasks(section, ["online", "batch"])


def test_a_repository_without_a_service_has_no_task_about_its_key() -> None:
    texts = dict(releases.split((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))).values()
    with_service, without = (
        [task for text in texts for task in releases.tasks(text, usage) if "API key" in task]
        for usage in (["online"], ["batch"])
    )
    assert (bool(with_service), without) == (True, [])


def test_a_release_is_two_commits_and_a_tag(checkout: Path) -> None:
    before = git("rev-parse", "HEAD", folder=checkout)
    done = release(checkout, "release", "0.2.0")
    assert done.returncode == 0, done.stdout
    assert (checkout / ".git/ran").read_text().splitlines() == ["lint ", "test ", "test-slow "]
    subjects = git("log", "--reverse", "--format=%s", f"{before}..HEAD", folder=checkout)
    assert subjects.splitlines() == ["Release 0.2.0", "Record which commit 0.2.0 is"]
    recorded = releases.read((checkout / "releases.toml").read_text())
    assert recorded[Version("0.2.0")] == git("rev-parse", "HEAD~1", folder=checkout)
    assert git("rev-parse", "v0.2.0^{commit}", folder=checkout) == recorded[Version("0.2.0")]
    assert git("cat-file", "-t", "v0.2.0", folder=checkout) == "tag"
    changelog = git("show", "HEAD~1:CHANGELOG.md", folder=checkout)
    section = r"## 0\.2\.0 \(\d{4}-\d\d-\d\d\)\n\nMore\.\n\n- by far\n\n"
    assert re.search(rf"## Not released\n\n{section}## 0\.1\.0 \(2026-01-01\)", changelog)
    assert 'version = "0.2.0"' in (checkout / "pyproject.toml").read_text()
    assert "2001" not in done.stdout
    assert "move RELEASED" in done.stdout
    assert not git("status", "--porcelain", folder=checkout)
    assert not check(checkout)
    # The release commit itself passes the check although the record does not have it yet.
    git("checkout", "--quiet", "v0.2.0", folder=checkout)
    assert not check(checkout)


def test_the_runtime_has_the_version_of_the_release_and_then_a_development_version(checkout: Path) -> None:
    assert release(checkout, "release", "0.2.0").returncode == 0
    name = "template/lifecycle/src/lifecycle/__init__.py"
    for commit_of, version in (("v0.2.0", "0.2.0"), ("HEAD", "0.2.1.dev0")):
        text = git("show", f"{commit_of}:{name}", folder=checkout) + "\n"
        assert f'__version__ = "{version}"' in text
        hashes = json.loads(git("show", f"{commit_of}:template/lifecycle/manifest.json.jinja", folder=checkout))[
            "files"
        ]
        assert hashes["lifecycle/src/lifecycle/__init__.py"] == hashlib.sha256(text.encode()).hexdigest()


def checked(checkout: Path) -> None:
    """Run all checks of the checkout, which records them."""
    assert run("make", "lint", "test", "test-slow", folder=checkout).returncode == 0
    (checkout / ".git/ran").unlink()


def test_a_release_repeats_no_check_that_has_passed_on_its_commit(checkout: Path) -> None:
    checked(checkout)
    assert release(checkout, "release", "0.2.0").returncode == 0
    assert not (checkout / ".git/ran").exists()


def test_a_release_repeats_checks_of_another_commit_of_changed_files_and_failed_ones(checkout: Path) -> None:
    checked(checkout)
    (checkout / "left.txt").write_text("over\n")
    assert run("make", "test", folder=checkout).returncode == 0
    (checkout / "left.txt").unlink()
    (checkout / ".git/test-slow.sh").write_text("exit 7\n")
    assert run("make", "test-slow", folder=checkout).returncode == 2
    (checkout / ".git/test-slow.sh").unlink()
    (checkout / ".git/ran").unlink()
    assert release(checkout, "release", "0.2.0").returncode == 0
    assert (checkout / ".git/ran").read_text().splitlines() == ["test ", "test-slow "]
    (checkout / ".git/ran").unlink()
    heading = "## Not released\n"
    changelog = (checkout / "CHANGELOG.md").read_text()
    (checkout / "CHANGELOG.md").write_text(changelog.replace(heading, f"{heading}\nMore.\n"))
    commit(checkout, "More")
    assert release(checkout, "release", "0.3.0").returncode == 0
    assert (checkout / ".git/ran").read_text().splitlines() == ["lint ", "test ", "test-slow "]


def test_a_release_without_a_record_of_its_checks_is_refused(checkout: Path) -> None:
    (checkout / "Makefile").write_text("lint test test-slow:\n\t@true\n")
    commit(checkout, "Checks that record nothing")
    before = state(checkout)
    done = release(checkout, "release", "0.2.0")
    assert done.returncode == 1
    assert "make lint left no green record of" in done.stdout
    assert state(checkout) == before


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("", "is not a valid version"),
        ("next", "'next' is not a valid version"),
        ("0.2", "of the form X.Y.Z"),
        ("v0.2.0", "of the form X.Y.Z"),
        ("0.2.0rc1", "of the form X.Y.Z"),
        ("0.1.0", "0.1.0 is not newer than 0.1.0"),
        ("0.0.9", "0.0.9 is not newer than 0.1.0"),
    ],
)
def test_an_invalid_or_older_version_is_refused(checkout: Path, version: str, reason: str) -> None:
    before = state(checkout)
    done = release(checkout, "release", version)
    assert (done.returncode, "Traceback" in done.stdout) == (1, False), done.stdout
    assert reason in done.stdout
    assert state(checkout) == before
    assert not (checkout / ".git/ran").exists()


def dirty(root: Path) -> None:
    (root / "left.txt").write_text("over\n")


def elsewhere(root: Path) -> None:
    git("switch", "--quiet", "--create", "work", folder=root)


def nothing_new(root: Path) -> None:
    (root / "CHANGELOG.md").write_text("# Changes\n\n## Not released\n\n## 0.1.0 (2026-01-01)\n\nOld.\n")
    commit(root, "Nothing new")


def a_tag_of_its_own(root: Path) -> None:
    git("tag", "v0.2.0", folder=root)


def a_moved_tag(root: Path) -> None:
    git("tag", "v0.1.0", folder=root)


def no_record(root: Path) -> None:
    (root / "releases.toml").unlink()
    commit(root, "No record")


def failing_tests(root: Path) -> None:
    (root / ".git/test.sh").write_text("exit 7\n")


def unsigned(root: Path) -> None:
    git("config", "commit.gpgsign", "true", folder=root)
    git("config", "gpg.program", "false", folder=root)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (dirty, "not clean:\n?? left.txt"),
        (elsewhere, "work is checked out, and releases are made on main"),
        (nothing_new, "has no text below ## Not released"),
        (a_tag_of_its_own, "There is a tag v0.2.0 that is not in releases.toml"),
        (a_moved_tag, "The tag v0.1.0 is at"),
        (no_record, "releases.toml cannot be read"),
        (failing_tests, "make test ended with 2"),
        (unsigned, "git cannot commit"),
    ],
)
def test_a_failed_release_leaves_the_repository_unchanged(
    checkout: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(checkout)
    before = state(checkout)
    done = release(checkout, "release", "0.2.0")
    assert (done.returncode, "Traceback" in done.stdout) == (1, False), done.stdout
    assert reason in done.stdout
    assert state(checkout) == before


@pytest.mark.parametrize(
    ("when", "reason"),
    [("test", "the checkout must not change meanwhile"), ("test-slow.after", "The checkout has changed meanwhile")],
)
@pytest.mark.parametrize(
    "meanwhile", ["git commit --quiet --allow-empty --message Meanwhile", "echo mine >> CHANGELOG.md"]
)
def test_work_that_is_done_while_the_tests_run_is_kept(checkout: Path, meanwhile: str, when: str, reason: str) -> None:
    (checkout / f".git/{when}.sh").write_text(meanwhile)
    done = release(checkout, "release", "0.2.0")
    assert (done.returncode, "Traceback" in done.stdout) == (1, False), done.stdout
    assert reason in done.stdout
    assert "0.2.0" not in (checkout / "releases.toml").read_text()
    kept = git("log", "-1", "--format=%s", folder=checkout), (checkout / "CHANGELOG.md").read_text()[-6:]
    assert kept in (("Meanwhile", "\nOld.\n"), ("Something new", "\nmine\n"))
    assert not git("tag", folder=checkout)


def test_ctrl_c_leaves_the_repository_unchanged(checkout: Path) -> None:
    before = state(checkout)
    # The shell becomes the program that waits: one that starts it could be interrupted before, and leave it running.
    (checkout / ".git/test.sh").write_text(": > .git/started; exec sleep 600\n")
    env = os.environ | HOOKS
    command = start(*RELEASE, "release", "0.2.0", folder=checkout, env=env, stderr=subprocess.PIPE)
    eventually((checkout / ".git/started").exists)
    os.killpg(command.pid, signal.SIGINT)
    _, output = command.communicate(timeout=PATIENCE)
    assert command.returncode == 130
    assert "Stopped." in output
    assert "Traceback" not in output
    assert state(checkout) == before


@pytest.mark.parametrize("command", [("release", "0.2.0"), ("check",)])
def test_a_shallow_clone_names_the_command_that_completes_it(
    checkout: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    clone = tmp_path / "clone"
    git("clone", "--quiet", "--depth=1", f"file://{checkout}", str(clone), folder=tmp_path)
    done = release(clone, *command)
    assert (done.returncode, "Traceback" in done.stdout) == (1, False)
    assert "this clone does not have it" in done.stdout
    assert "git fetch --unshallow" in done.stdout
    git("fetch", "--quiet", "--unshallow", folder=clone)
    assert not check(clone)


def test_a_recorded_commit_that_is_not_the_release_is_reported(checkout: Path) -> None:
    sound = (checkout / "releases.toml").read_text()
    head = git("rev-parse", "HEAD", folder=checkout)
    (checkout / "releases.toml").write_text(f'{sound}"0.2.0" = "{head}"\n')
    problems = "\n".join(check(checkout))
    assert f"the pyproject.toml of {head} has the version 0.1.0, not 0.2.0" in problems
    assert f"the CHANGELOG.md of {head} has no section 0.2.0" in problems
    assert "CHANGELOG.md has the sections 0.1.0, and releases.toml the releases 0.2.0, 0.1.0" in problems
    git("switch", "--quiet", "--force", "--orphan", "other", folder=checkout)
    stranger = commit_empty(checkout)
    git("switch", "--quiet", "--force", "main", folder=checkout)
    (checkout / "releases.toml").write_text(f'[releases]\n"0.1.0" = "{stranger}"\n')
    assert f"{stranger} of 0.1.0 is not in the history of HEAD" in check(checkout)[0]


def commit_empty(root: Path) -> str:
    git("commit", "--quiet", "--allow-empty", "--message", "A stranger", folder=root)
    return git("rev-parse", "HEAD", folder=root)


def test_tags_are_created_again_identically_and_pushed_on_request(checkout: Path, tmp_path: Path) -> None:
    hub = tmp_path / "hub.git"
    git("init", "--quiet", "--bare", str(hub), folder=tmp_path)
    git("remote", "add", "origin", str(hub), folder=checkout)
    assert release(checkout, "release", "0.2.0").returncode == 0
    assert not git("tag", folder=hub)
    assert release(checkout, "tags", "--push").returncode == 0
    published = git("show-ref", "--tags", folder=hub)
    assert [line.split("/")[-1] for line in published.splitlines()] == ["v0.1.0", "v0.2.0"]
    git("tag", "--delete", "v0.1.0", "v0.2.0", folder=checkout)
    again = release(checkout, "tags", "--push")
    assert (again.returncode, "could not be pushed" in again.stdout) == (0, False)
    assert git("show-ref", "--tags", folder=checkout) == published
    assert "existed" in release(checkout, "tags").stdout


def test_a_tag_that_cannot_be_pushed_is_reported_and_not_a_failure(checkout: Path) -> None:
    done = release(checkout, "tags", "--push")
    assert done.returncode == 0
    assert "The tags could not be pushed" in done.stdout
    assert git("tag", folder=checkout) == "v0.1.0"


def test_a_tag_is_never_moved(checkout: Path) -> None:
    git("tag", "v0.1.0", folder=checkout)
    there = git("rev-parse", "v0.1.0", folder=checkout)
    done = release(checkout, "tags")
    assert (done.returncode, "Traceback" in done.stdout) == (1, False)
    assert f"The tag v0.1.0 is at {there}" in done.stdout
    assert git("rev-parse", "v0.1.0", folder=checkout) == there


def test_outside_of_a_checkout_the_commands_fail_with_a_reason(tmp_path: Path) -> None:
    for command in ("check", "tags"):
        done = release(tmp_path, command)
        assert (done.returncode, "Traceback" in done.stdout) == (1, False)
        assert "is not a git repository" in done.stdout
