"""`manifest_check.py` names unresolved conflicts, an edited answers file and edited files of the template."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import manifest_check
import pytest
import yaml

from conftest import Render
from looseleaf.snapshot import git
from looseleaf.update.apply import apply, finish
from maintenance.snapshots import snapshot
from support.personas import commit
from support.rendering import PRESETS, ROOT, run, tool

SHAPES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(PRESETS.glob("*.yml"))}
# Long enough to be folded by YAML, with characters that YAML has to quote.
DECISION = (
    'Which customers of the M\u00fcnchen branch get the \u20ac 20 voucher: those "at risk", or all # of them? '
    "It's said: never twice a year, whatever the ranking of the week shows us about them"
)


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Path:
    """Return a fresh repository whose choices are long and not ASCII."""
    return tracked(render(decision=DECISION), tmp_path / "project")


def tracked(rendered: Path, folder: Path) -> Path:
    shutil.copytree(rendered, folder)
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", "Rendered", folder=folder)
    return folder


def places(findings: list[manifest_check.Finding]) -> list[str]:
    assert all(finding.hint.strip() for finding in findings)
    return [finding.place for finding in findings]


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


# --- Unchanged repositories -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_fresh_repository_has_no_finding(render: Render, tmp_path: Path, shape: str) -> None:
    project = tracked(render(**SHAPES[shape]), tmp_path / "project")
    assert manifest_check.check(project) == []
    manifest = json.loads((project / manifest_check.MANIFEST).read_text(encoding="utf-8"))
    assert "lifecycle/tools/manifest_check.py" in manifest["files"]


def test_long_choices_that_are_not_ascii_have_no_finding(project: Path) -> None:
    assert yaml.safe_load((project / manifest_check.ANSWERS_FILE).read_text(encoding="utf-8"))["decision"] == DECISION
    assert manifest_check.CHECKSUM.search((project / manifest_check.ANSWERS_FILE).read_text(encoding="utf-8"))
    assert manifest_check.check(project) == []


def test_without_git_there_is_no_finding_and_no_error(
    render: Render, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = shutil.copytree(render(), tmp_path / "project")
    assert manifest_check.check(project) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    assert manifest_check.check(project) == []


def test_a_repository_of_a_release_without_manifest_has_no_finding(project: Path) -> None:
    (project / manifest_check.MANIFEST).unlink()
    (project / "lifecycle/own.py").write_text("", encoding="utf-8")
    git("add", "--all", folder=project)
    path = project / manifest_check.ANSWERS_FILE
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "sha256" not in line), encoding="utf-8")
    assert manifest_check.check(project) == []


def test_a_repository_without_an_answers_file_has_no_finding(project: Path) -> None:
    (project / manifest_check.ANSWERS_FILE).unlink()
    assert manifest_check.answers_file(project) == []


# --- Markers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", ["<<<<<<< before updating", ">>>>>>> after updating"], ids=["before", "after"])
@pytest.mark.parametrize("name", ["Makefile", "lifecycle/lifecycle.mk", "docs/pr\u00fcfung und mehr.md"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_an_unresolved_conflict_is_reported_with_its_line(project: Path, marker: str, name: str, end: str) -> None:
    (project / name).write_bytes(f"one{end}{marker}{end}two{end}".encode())
    (finding,) = manifest_check.markers(project)
    assert finding.place == f"{name}:2"
    assert "git restore" in finding.hint


def test_text_about_conflict_markers_is_not_reported(project: Path) -> None:
    (project / "docs/merging.md").write_text("    <<<<<<< before updating\n<<<<<<< HEAD\n", encoding="utf-8")
    assert manifest_check.markers(project) == []


@pytest.mark.parametrize("name", ["Makefile.rej", "docs/pr\u00fcfung und mehr.md.rej"])
@pytest.mark.parametrize("committed", [True, False])
def test_a_rej_file_is_reported_whether_it_is_tracked_or_not(project: Path, name: str, committed: bool) -> None:
    (project / name).write_text("@@ -1 +1 @@\n", encoding="utf-8")
    if committed:
        git("add", "--all", folder=project)
    (finding,) = manifest_check.markers(project)
    assert finding.place == name
    assert name in finding.hint


def test_a_conflict_in_the_manifest_itself_is_reported(project: Path) -> None:
    manifest = project / manifest_check.MANIFEST
    manifest.write_text("<<<<<<< before updating\n" + manifest.read_text(encoding="utf-8"), encoding="utf-8")
    assert places(manifest_check.check(project)) == [f"{manifest_check.MANIFEST}:1", manifest_check.MANIFEST]


def test_an_interrupted_update_is_reported_with_the_command_that_restores_it(project: Path) -> None:
    apply(project, {"lifecycle/lifecycle.mk": b"<<<<<<< before updating\n"}, {})
    (finding,) = manifest_check.check(project)
    assert (finding.place, finding.problem) == ("lifecycle", "an update was interrupted here")
    assert "make update ABORT=1" in finding.hint
    finish(project)
    assert places(manifest_check.check(project)) == ["lifecycle/lifecycle.mk:1", "lifecycle/lifecycle.mk"]


# --- The answers file -------------------------------------------------------------------------------------------------


def read_choices(project: Path) -> dict[str, Any]:
    recorded: dict[str, Any] = yaml.safe_load((project / manifest_check.ANSWERS_FILE).read_text(encoding="utf-8"))
    return recorded


def test_a_change_of_any_choice_or_the_commit_is_reported_and_of_the_address_is_not(project: Path) -> None:
    path = project / manifest_check.ANSWERS_FILE
    comments = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
    recorded = read_choices(project)
    assert {"_commit", "_src_path", "decision"} <= recorded.keys()
    for name in recorded:
        changed = recorded | {name: f"{recorded[name]}, and more"}
        path.write_text(comments + written(changed), encoding="utf-8")
        assert read_choices(project) == changed
        assert places(manifest_check.answers_file(project)) == (
            [] if name == "_src_path" else [manifest_check.ANSWERS_FILE]
        ), name
    path.write_text(
        comments + written({name: recorded[name] for name in recorded if name != "decision"}), encoding="utf-8"
    )
    assert places(manifest_check.answers_file(project)) == [manifest_check.ANSWERS_FILE]
    path.write_text(comments + written(recorded), encoding="utf-8")
    assert manifest_check.answers_file(project) == []


def written(choices: dict[str, Any]) -> str:
    """Return the choices as Copier writes them."""
    return yaml.safe_dump(choices, allow_unicode=True, default_flow_style=False, indent=4)


def test_an_edit_in_a_folded_line_is_reported(project: Path) -> None:
    replace(project / manifest_check.ANSWERS_FILE, "whatever", "whichever")
    assert places(manifest_check.answers_file(project)) == [manifest_check.ANSWERS_FILE]


@pytest.mark.parametrize("address", ["gh:acme/looseleaf", "'a place\n  with a fold'"])
def test_the_address_of_the_template_may_be_corrected(project: Path, address: str) -> None:
    path = project / manifest_check.ANSWERS_FILE
    text = manifest_check.SOURCE.sub(f"_src_path: {address}\n", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    assert address.split()[0].strip("'") in read_choices(project)["_src_path"]
    assert manifest_check.answers_file(project) == []


def test_windows_line_endings_are_not_an_edit(project: Path) -> None:
    names = json.loads((project / manifest_check.MANIFEST).read_text(encoding="utf-8"))["files"]
    for name in (manifest_check.ANSWERS_FILE, manifest_check.MANIFEST, *names):
        if (project / name).exists():
            (project / name).write_bytes((project / name).read_bytes().replace(b"\n", b"\r\n"))
    assert manifest_check.check(project) == []


def test_an_answers_file_in_another_encoding_is_reported_as_an_edit(project: Path) -> None:
    path = project / manifest_check.ANSWERS_FILE
    path.write_bytes(path.read_text(encoding="utf-8").encode("cp1252"))
    assert places(manifest_check.answers_file(project)) == [manifest_check.ANSWERS_FILE]


# --- Edits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "alternative"),
    [
        ("lifecycle/src/lifecycle/settings.py", "Set it in config/"),
        ("lifecycle/src/lifecycle/sample/__init__.py", "src/model/data.py"),
        ("lifecycle/src/lifecycle/storage.py", "src/model/ (contract"),
        ("lifecycle/tools/manifest_check.py", "Keep it outside lifecycle/"),
        ("lifecycle/pyproject.toml", "uv add NAME"),
        ("lifecycle/lifecycle.mk", "in the Makefile, below its include"),
        ("lifecycle/org.mk", "org.yml of your company's fork"),
        ("lifecycle/docs/data.md", "in docs/"),
        (".github/workflows/lifecycle.yml", "Add your own workflow"),
    ],
)
def test_an_edited_file_is_reported_with_what_to_use_instead(project: Path, name: str, alternative: str) -> None:
    with (project / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    (finding,) = manifest_check.edits(project)
    assert finding.place == name
    assert alternative in finding.hint
    assert finding.hint.endswith(f"git checkout HEAD -- {name}")


def test_the_hint_for_an_edit_that_is_committed_names_the_log(project: Path) -> None:
    name = "lifecycle/docs/data.md"
    with (project / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    commit(project, "An edit")
    (finding,) = manifest_check.edits(project)
    assert finding.hint.endswith(f"git log -- {name} shows the edit.")


@pytest.mark.parametrize(
    ("name", "alternative"),
    [
        ("lifecycle/own.py", "Keep it outside lifecycle/"),
        ("lifecycle/src/lifecycle/pr\u00fcfung und mehr.py", "src/model/ (contract"),
        ("lifecycle/docs/own.md", "Write your own page in docs/"),
    ],
)
def test_a_tracked_file_that_is_not_the_templates_is_reported(project: Path, name: str, alternative: str) -> None:
    (project / name).write_text("", encoding="utf-8")
    assert manifest_check.edits(project) == []
    git("add", "--all", folder=project)
    (finding,) = manifest_check.edits(project)
    assert finding.place == name
    assert alternative in finding.hint


@pytest.mark.parametrize("name", ["lifecycle/docs/data.md", manifest_check.MANIFEST, manifest_check.ANSWERS_FILE])
@pytest.mark.parametrize("is_staged", [True, False])
def test_a_deleted_file_is_reported_until_it_is_restored(project: Path, name: str, is_staged: bool) -> None:
    (project / name).unlink()
    if is_staged:
        git("add", "--all", folder=project)
    (finding,) = manifest_check.check(project)
    assert finding.place == name
    assert "delete" in finding.problem
    assert "git checkout HEAD -- " in finding.hint
    git("checkout", "HEAD", "--", name, folder=project)
    assert manifest_check.check(project) == []


def test_a_renamed_file_is_reported_as_deleted(project: Path) -> None:
    git("mv", "lifecycle/docs/data.md", "docs/data.md", folder=project)
    assert places(manifest_check.check(project)) == ["lifecycle/docs/data.md"]


def test_deletions_of_an_update_and_of_another_choice_are_not_reported(project: Path) -> None:
    (project / "lifecycle/docs/scoring.md").unlink()
    path = project / manifest_check.ANSWERS_FILE
    path.write_text(path.read_text(encoding="utf-8").replace("- batch\n", ""), encoding="utf-8")
    assert manifest_check.edits(project) == []
    # They are part of the last commit afterwards.
    git("commit", "--quiet", "--all", "--message", "Updated", folder=project)
    assert manifest_check.edits(project) == []


def test_a_team_may_leave_the_template(project: Path) -> None:
    for name in (manifest_check.ANSWERS_FILE, manifest_check.MANIFEST, "lifecycle/docs/data.md"):
        (project / name).unlink()
    assert manifest_check.check(project) == []


def test_a_project_in_a_folder_of_a_repository_is_checked_alone(render: Render, tmp_path: Path) -> None:
    shutil.copytree(render(), tmp_path / "top/one")
    shutil.copytree(render(), tmp_path / "top/two")
    (tmp_path / "top/one/lifecycle/own.py").write_text("<<<<<<< before updating\n", encoding="utf-8")
    git("init", "--quiet", folder=tmp_path / "top")
    git("add", "--all", folder=tmp_path / "top")
    assert places(manifest_check.check(tmp_path / "top/one")) == ["lifecycle/own.py:1", "lifecycle/own.py"]
    assert manifest_check.check(tmp_path / "top/two") == []


# --- The published hooks ----------------------------------------------------------------------------------------------

HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}
SEEDED = {
    "looseleaf-markers": ("Makefile", "<<<<<<< before updating\n", "Makefile:1: unresolved conflict of an update"),
    "looseleaf-answers": (manifest_check.ANSWERS_FILE, "more: true\n", "it was edited by hand"),
    "looseleaf-zone": ("lifecycle/lifecycle.mk", "\n", "this file belongs to the template and was edited"),
}


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return this tree as a git repository that pre-commit can fetch."""
    folder = tmp_path_factory.mktemp("hooks") / "looseleaf"
    snapshot(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the cache folder of pre-commit."""
    return tmp_path_factory.mktemp("pre-commit")


@pytest.fixture
def hooked(project: Path, hooks: Path) -> Path:
    """Return a repository with the three published hooks."""
    commit = git("rev-parse", "HEAD", folder=hooks)
    config = {"repos": [{"repo": f"file://{hooks}", "rev": commit, "hooks": [{"id": name} for name in HOOKS]}]}
    (project / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    git("add", "--all", folder=project)
    return project


def pre_commit(folder: Path, home: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [tool("pre-commit"), "run", "--all-files", "--color=never", *options]
    return run(*command, folder=folder, PRE_COMMIT_HOME=str(home))


def test_the_published_hooks_pass_on_a_clean_repository_without_a_warning(hooked: Path, home: Path) -> None:
    done = pre_commit(hooked, home)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Passed") == len(HOOKS) == 3
    assert "WARNING" not in done.stdout


@pytest.mark.parametrize("name", SEEDED)
def test_each_published_hook_fails_on_its_defect_alone(hooked: Path, home: Path, name: str) -> None:
    path, text, problem = SEEDED[name]
    file = hooked / path
    before = file.read_text(encoding="utf-8")
    file.write_text(text + before if name == "looseleaf-markers" else before + text, encoding="utf-8")
    git("add", "--all", folder=hooked)
    done = pre_commit(hooked, home)
    assert done.returncode == 1, done.stdout
    assert f"hook id: {name}\n" in done.stdout
    assert done.stdout.count("hook id:") == 1
    assert problem in done.stdout


def test_a_commit_that_only_deletes_a_file_of_the_template_is_refused(hooked: Path, home: Path) -> None:
    git("commit", "--quiet", "--message", "Hooks", folder=hooked)
    git("rm", "--quiet", "lifecycle/docs/data.md", folder=hooked)
    done = run(tool("pre-commit"), "run", "--color=never", folder=hooked, PRE_COMMIT_HOME=str(home))
    assert (done.returncode, "this file belongs to the template and was deleted" in done.stdout) == (1, True), (
        done.stdout
    )
