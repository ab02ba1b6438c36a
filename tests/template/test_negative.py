"""What goes wrong is said in words, with the hint, and leaves nothing half-written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.rendering import Template, files, run, tool

Render = Callable[..., Path]

ILL_FORMED = ["", "Card", "card fraud", "card_fraud", "-card", "card-", "card--fraud", "4cards", "karte-ü"]
BAD_NAMES = {
    **dict.fromkeys([*ILL_FORMED, "../churn", "a/b", "{{ x }}"], "lower-case words, joined by hyphens"),
    **dict.fromkeys(["class", "lambda", "model", "lifecycle", "looseleaf-lifecycle", "test"], "taken by Python"),
    "x" * 41: "at most 40 characters",
}
BAD_DECISIONS = ["", "   ", "x" * 201, "two\nlines", "two\rlines", "a\x1b[31mb", "a\u2028b"]


def copy(template: Template, folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    """`copier copy` with the defaults and these options: its exit code and what it said."""
    command = [tool("copier"), "copy", "--defaults", *options, template.url, str(folder)]
    done = run(*command, folder=folder.parent, **environment)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("name", "reason"),
    [*BAD_NAMES.items(), pytest.param("churn\n", "lower-case words, joined by hyphens", id="ends in a line break")],
)
def test_a_bad_model_name_is_refused_with_a_reason(template: Template, tmp_path: Path, name: str, reason: str) -> None:
    code, said = copy(template, tmp_path / "project", "--data", f"model_name={name}")
    assert (code, "Traceback" in said, (tmp_path / "project").exists()) == (1, False, False)
    assert f"model_name: {reason}" in said


@pytest.mark.parametrize("decision", BAD_DECISIONS)
def test_a_decision_that_breaks_a_line_is_refused(template: Template, tmp_path: Path, decision: str) -> None:
    code, said = copy(template, tmp_path / "project", "--data", f"decision={decision}")
    assert (code, "Traceback" in said, (tmp_path / "project").exists()) == (1, False, False)
    assert "decision: " in said


@pytest.mark.parametrize("owners", ["", "ana", "@ana, @bo", "@ana @bo @cy", "@a, @b, @c, @d", "@", "@ana\n", "@an a"])
def test_owners_that_are_no_handles_are_refused(template: Template, tmp_path: Path, owners: str) -> None:
    code, said = copy(template, tmp_path / "project", "--data", f"owners={owners}")
    assert (code, "Traceback" in said, (tmp_path / "project").exists()) == (1, False, False)
    assert "owners: " in said


@pytest.mark.parametrize(
    "usage", ["", "[]", "batch", "[stream]", "[online, stream]", "online, batch", "[batch", "null"]
)
def test_a_usage_that_is_no_list_of_ways_is_refused(template: Template, tmp_path: Path, usage: str) -> None:
    code, said = copy(template, tmp_path / "project", "--data", f"usage={usage}")
    assert (code, "Traceback" in said, (tmp_path / "project").exists()) == (1, False, False)
    assert "usage: [online], [batch] or [online, batch]" in said


@pytest.mark.parametrize("usage", ["[batch]", "['batch']", '["batch"]', "[ batch ]"])
def test_a_usage_is_a_yaml_list_however_it_is_written(template: Template, tmp_path: Path, usage: str) -> None:
    code, said = copy(template, tmp_path / "project", "--data", f"usage={usage}")
    assert code == 0, said
    assert not (tmp_path / "project/lifecycle/online.mk").exists()
    assert (tmp_path / "project/lifecycle/batch.mk").exists()


@pytest.mark.parametrize("ci", ["", "jenkins", "GitHub", "[github]"])
def test_a_ci_that_is_not_offered_is_refused(template: Template, tmp_path: Path, ci: str) -> None:
    code, said = copy(template, tmp_path / "project", "--data", f"ci={ci}")
    assert (code, "Traceback" in said, (tmp_path / "project").exists()) == (1, False, False)
    assert "ci: github or gitlab" in said


@pytest.mark.parametrize("name", ["README.md", "notes/one.txt", "a/b/c/d.txt"])
def test_a_destination_in_use_is_left_alone(template: Template, tmp_path: Path, name: str) -> None:
    held = tmp_path / "project" / name
    held.parent.mkdir(parents=True)
    held.write_text("mine\n")
    code, said = copy(template, tmp_path / "project")
    assert (code, "Traceback" in said) == (1, False)
    assert "project holds files already" in said
    assert "name a new folder" in said
    assert files(tmp_path / "project") == {name: b"mine\n"}


def test_an_empty_repository_is_a_good_destination(template: Template, tmp_path: Path) -> None:
    """The one that a forge made, cloned."""
    run("git", "init", "--quiet", "project", folder=tmp_path)
    code, said = copy(template, tmp_path / "project")
    assert code == 0, said
    assert (tmp_path / "project/README.md").exists()


def test_without_git_nothing_is_left_behind(template: Template, tmp_path: Path) -> None:
    """The words are Copier's own, and a traceback."""
    code, _ = copy(template, tmp_path / "project", PATH=str(tmp_path))
    assert code == 1
    assert not (tmp_path / "project").exists()


def test_without_a_person_and_without_answers_nothing_is_asked_for_ever(template: Template, tmp_path: Path) -> None:
    done = run(tool("copier"), "copy", template.url, str(tmp_path / "project"), folder=tmp_path)
    assert done.returncode == 1
    assert "Interactive session required" in done.stdout
    assert not (tmp_path / "project").exists()


VERBS = ["check", "test", "contract", "sample", "features", "train", "promote", "rollback", "serve", "score", "config"]


@pytest.mark.parametrize("verb", [*VERBS, "notebook"])
def test_a_verb_before_setup_says_what_to_run(render: Render, verb: str) -> None:
    before = files(render())
    done = run("make", verb, folder=render())
    assert done.returncode == 2
    assert "There is no environment here yet: run make setup." in done.stdout
    assert files(render()) == before


def test_ci_without_a_lock_asks_for_it(render: Render, tmp_path: Path) -> None:
    folder = shutil.copytree(render(), tmp_path / "project")
    done = run("make", "setup", folder=folder, CI="true")
    assert done.returncode == 2
    assert "run make setup and commit uv.lock" in done.stdout
    assert not (folder / "uv.lock").exists()
    assert not (folder / ".venv").exists()


def test_setup_without_a_network_leaves_no_lock(render: Render, tmp_path: Path) -> None:
    """A lock that is half resolved would look like one that is done."""
    folder = shutil.copytree(render(), tmp_path / "project")
    nowhere = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    done = run("make", f"UV={tool('uv')}", "setup", folder=folder, UV_CACHE_DIR=str(tmp_path / "cache"), **nowhere)
    assert done.returncode == 2
    assert "127.0.0.1:9" in done.stdout
    assert not (folder / "uv.lock").exists()
