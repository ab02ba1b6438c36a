"""The template's zone: what an update left unresolved, and what was changed by hand, is found, with its hint."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Render
from lifecycle import zone
from looseleaf.snapshot import git, snapshot
from looseleaf.update.apply import apply, finish
from support.rendering import ANSWERS, ROOT, run, tool

SHAPES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(ANSWERS.glob("*.yml"))}
# Long enough to be folded by YAML, and with what YAML has to quote.
DECISION = (
    'Which customers of the M\u00fcnchen branch get the \u20ac 20 voucher: those "at risk", or all # of them? '
    "It's said: never twice a year, whatever the ranking of the week tells us about them"
)


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Path:
    """A fresh repository whose answers are long and not ASCII."""
    return tracked(render(decision=DECISION), tmp_path / "project")


def tracked(rendered: Path, folder: Path) -> Path:
    shutil.copytree(rendered, folder)
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", "Rendered", folder=folder)
    return folder


def places(findings: list[zone.Finding]) -> list[str]:
    assert all(finding.hint.strip() for finding in findings)
    return [finding.place for finding in findings]


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


# --- Quiet where nothing is wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_fresh_repository_has_no_finding(render: Render, tmp_path: Path, shape: str) -> None:
    project = tracked(render(**SHAPES[shape]), tmp_path / "project")
    assert zone.check(project) == []
    manifest = json.loads((project / zone.MANIFEST).read_text(encoding="utf-8"))
    assert "lifecycle/src/lifecycle/zone.py" in manifest["files"]


def test_long_answers_that_are_not_ascii_have_no_finding(project: Path) -> None:
    assert yaml.safe_load((project / zone.ANSWERS).read_text(encoding="utf-8"))["decision"] == DECISION
    assert zone.CHECKSUM.search((project / zone.ANSWERS).read_text(encoding="utf-8"))
    assert zone.check(project) == []


def test_without_git_there_is_no_finding_and_no_error(
    render: Render, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = shutil.copytree(render(), tmp_path / "project")
    assert zone.check(project) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    assert zone.check(project) == []


def test_a_release_before_the_manifest_has_no_finding(project: Path) -> None:
    (project / zone.MANIFEST).unlink()
    (project / "lifecycle/own.py").write_text("", encoding="utf-8")
    git("add", "--all", folder=project)
    answers = project / zone.ANSWERS
    lines = answers.read_text(encoding="utf-8").splitlines(keepends=True)
    answers.write_text("".join(line for line in lines if "sha256" not in line), encoding="utf-8")
    assert zone.check(project) == []


def test_without_an_answers_file_the_repository_is_its_owners_own(project: Path) -> None:
    (project / zone.ANSWERS).unlink()
    assert zone.answers(project) == []


# --- Markers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", ["<<<<<<< before updating", ">>>>>>> after updating"], ids=["before", "after"])
@pytest.mark.parametrize("name", ["Makefile", "lifecycle/lifecycle.mk", "docs/pr\u00fcfung und mehr.md"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_conflict_that_is_left_is_named_with_its_line(project: Path, marker: str, name: str, end: str) -> None:
    (project / name).write_bytes(f"one{end}{marker}{end}two{end}".encode())
    (found,) = zone.markers(project)
    assert found.place == f"{name}:2"
    assert "git restore" in found.hint


def test_what_only_speaks_of_markers_is_none(project: Path) -> None:
    (project / "docs/merging.md").write_text("    <<<<<<< before updating\n<<<<<<< HEAD\n", encoding="utf-8")
    assert zone.markers(project) == []


@pytest.mark.parametrize("name", ["Makefile.rej", "docs/pr\u00fcfung und mehr.md.rej"])
@pytest.mark.parametrize("committed", [True, False])
def test_a_rejected_part_is_named_whether_it_is_tracked_or_not(project: Path, name: str, committed: bool) -> None:
    (project / name).write_text("@@ -1 +1 @@\n", encoding="utf-8")
    if committed:
        git("add", "--all", folder=project)
    (found,) = zone.markers(project)
    assert found.place == name
    assert name in found.hint


def test_a_conflict_in_the_manifest_itself_is_told_and_no_error(project: Path) -> None:
    manifest = project / zone.MANIFEST
    manifest.write_text("<<<<<<< before updating\n" + manifest.read_text(encoding="utf-8"), encoding="utf-8")
    assert places(zone.check(project)) == [f"{zone.MANIFEST}:1", zone.MANIFEST]


def test_an_interrupted_update_is_named_with_what_restores_it(project: Path) -> None:
    apply(project, {"lifecycle/lifecycle.mk": b"<<<<<<< before updating\n"}, {})
    (found,) = zone.check(project)
    assert (found.place, found.problem) == ("lifecycle", "an update was interrupted here")
    assert "make update ABORT=1" in found.hint
    finish(project)
    assert places(zone.check(project)) == ["lifecycle/lifecycle.mk:1", "lifecycle/lifecycle.mk"]


# --- Answers ----------------------------------------------------------------------------------------------------------


def answered(project: Path) -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((project / zone.ANSWERS).read_text(encoding="utf-8"))
    return told


def test_every_answer_and_the_commit_are_held_and_the_address_is_free(project: Path) -> None:
    path = project / zone.ANSWERS
    comments = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
    told = answered(project)
    assert {"_commit", "_src_path", "decision"} <= told.keys()
    for name in told:
        changed = told | {name: f"{told[name]}, and more"}
        path.write_text(comments + written(changed), encoding="utf-8")
        assert answered(project) == changed
        assert places(zone.answers(project)) == ([] if name == "_src_path" else [zone.ANSWERS]), name
    path.write_text(comments + written({name: told[name] for name in told if name != "decision"}), encoding="utf-8")
    assert places(zone.answers(project)) == [zone.ANSWERS]
    path.write_text(comments + written(told), encoding="utf-8")
    assert zone.answers(project) == []


def written(answers: dict[str, Any]) -> str:
    """As Copier writes them."""
    return yaml.safe_dump(answers, allow_unicode=True, default_flow_style=False, indent=4)


def test_an_edit_in_a_folded_line_is_noticed(project: Path) -> None:
    replace(project / zone.ANSWERS, "whatever", "whichever")
    assert places(zone.answers(project)) == [zone.ANSWERS]


@pytest.mark.parametrize("address", ["gh:acme/looseleaf", "'a place\n  with a fold'"])
def test_the_templates_address_may_be_corrected(project: Path, address: str) -> None:
    path = project / zone.ANSWERS
    text = zone.SOURCE.sub(f"_src_path: {address}\n", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    assert address.split()[0].strip("'") in answered(project)["_src_path"]
    assert zone.answers(project) == []


def test_line_ends_of_windows_are_no_edit(project: Path) -> None:
    names = json.loads((project / zone.MANIFEST).read_text(encoding="utf-8"))["files"]
    for name in (zone.ANSWERS, zone.MANIFEST, *names):
        if (project / name).exists():
            (project / name).write_bytes((project / name).read_bytes().replace(b"\n", b"\r\n"))
    assert zone.check(project) == []


def test_an_answers_file_in_another_encoding_is_an_edit_and_no_error(project: Path) -> None:
    path = project / zone.ANSWERS
    path.write_bytes(path.read_text(encoding="utf-8").encode("cp1252"))
    assert places(zone.answers(project)) == [zone.ANSWERS]


# --- Edits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "seam"),
    [
        ("lifecycle/src/lifecycle/settings.py", "Set it in config/"),
        ("lifecycle/src/lifecycle/sample/generate.py", "src/model/data.py"),
        ("lifecycle/src/lifecycle/zone.py", "src/model/ (contract"),
        ("lifecycle/pyproject.toml", "uv add NAME"),
        ("lifecycle/lifecycle.mk", "in the Makefile, below its include"),
        ("lifecycle/org.mk", "org.yml of your company's fork"),
        ("lifecycle/docs/data.md", "in docs/"),
        (".github/workflows/lifecycle.yml", "Add a workflow of your own"),
    ],
)
def test_an_edited_file_is_named_with_what_to_use_instead(project: Path, name: str, seam: str) -> None:
    with (project / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    (found,) = zone.edits(project)
    assert found.place == name
    assert seam in found.hint
    assert f"git log -- {name}" in found.hint


@pytest.mark.parametrize(
    ("name", "seam"),
    [
        ("lifecycle/own.py", "Keep it outside lifecycle/"),
        ("lifecycle/src/lifecycle/pr\u00fcfung und mehr.py", "src/model/ (contract"),
        ("lifecycle/docs/own.md", "Write your own page in docs/"),
    ],
)
def test_a_tracked_file_that_is_not_the_templates_is_named(project: Path, name: str, seam: str) -> None:
    (project / name).write_text("", encoding="utf-8")
    assert zone.edits(project) == []
    git("add", "--all", folder=project)
    (found,) = zone.edits(project)
    assert found.place == name
    assert seam in found.hint


def test_a_file_that_is_missing_is_no_finding(project: Path) -> None:
    (project / "lifecycle/docs/data.md").unlink()
    assert zone.edits(project) == []


def test_a_folder_inside_of_a_repository_is_looked_at_alone(render: Render, tmp_path: Path) -> None:
    shutil.copytree(render(), tmp_path / "top/one")
    shutil.copytree(render(), tmp_path / "top/two")
    (tmp_path / "top/one/lifecycle/own.py").write_text("<<<<<<< before updating\n", encoding="utf-8")
    git("init", "--quiet", folder=tmp_path / "top")
    git("add", "--all", folder=tmp_path / "top")
    assert places(zone.check(tmp_path / "top/one")) == ["lifecycle/own.py:1", "lifecycle/own.py"]
    assert zone.check(tmp_path / "top/two") == []


# --- The published hooks ----------------------------------------------------------------------------------------------

HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}
SEEDED = {
    "looseleaf-markers": ("Makefile", "<<<<<<< before updating\n", "Makefile:1: an update's conflict is not settled"),
    "looseleaf-answers": (zone.ANSWERS, "more: true\n", "it was edited by hand"),
    "looseleaf-zone": ("lifecycle/lifecycle.mk", "\n", "it is the template's and was edited"),
}


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This tree as a git repository, for pre-commit to fetch."""
    folder = tmp_path_factory.mktemp("hooks") / "looseleaf"
    snapshot(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pre-commit keeps what it has fetched."""
    return tmp_path_factory.mktemp("pre-commit")


@pytest.fixture
def hooked(project: Path, hooks: Path) -> Path:
    """A repository with the three hooks."""
    commit = git("rev-parse", "HEAD", folder=hooks)
    config = {"repos": [{"repo": f"file://{hooks}", "rev": commit, "hooks": [{"id": name} for name in HOOKS]}]}
    (project / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    git("add", "--all", folder=project)
    return project


def pre_commit(folder: Path, home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [tool("pre-commit"), "run", "--all-files", "--color=never", *words]
    return run(*command, folder=folder, PRE_COMMIT_HOME=str(home))


def test_the_published_hooks_pass_on_a_clean_repository_without_a_warning(hooked: Path, home: Path) -> None:
    done = pre_commit(hooked, home)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Passed") == len(HOOKS) == 3
    assert "WARNING" not in done.stdout


@pytest.mark.parametrize("name", SEEDED)
def test_each_published_hook_fails_on_its_defect_alone(hooked: Path, home: Path, name: str) -> None:
    path, text, told = SEEDED[name]
    file = hooked / path
    before = file.read_text(encoding="utf-8")
    file.write_text(text + before if name == "looseleaf-markers" else before + text, encoding="utf-8")
    git("add", "--all", folder=hooked)
    done = pre_commit(hooked, home)
    assert done.returncode == 1, done.stdout
    assert f"hook id: {name}\n" in done.stdout
    assert done.stdout.count("hook id:") == 1
    assert told in done.stdout
