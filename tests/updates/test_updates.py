"""Updates from every release to this tree, in each shape and with different edits, lose nothing of the team's.

The end of the run prints the `update success rate`; it must be 100 %.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from looseleaf import releases
from looseleaf.project import make
from looseleaf.snapshot import git
from support.personas import (
    DELETED,
    EDITED,
    PERSONAS,
    adopting,
    commit,
    deleting,
    edited_by,
    editing,
    editing_the_template,
    keep_quick_tests,
    untouched,
)
from support.pythons import interpreter
from support.rendering import PRESETS, ROOT, Template, files, questions, run
from support.updates import Replay, assert_updated_and_checked, reported, teams

RELEASES = {
    f"v{version}": commit
    for version, commit in releases.read((ROOT / "releases.toml").read_text(encoding="utf-8")).items()
}
FIRST, *LATER = RELEASES
LAST = LATER[-1]
SHAPES = {
    name: yaml.safe_load((PRESETS / f"{name}.yml").read_text(encoding="utf-8"))
    for name in sorted((path.stem for path in PRESETS.glob("*.yml")), key=lambda name: (name != "default", name))
}
OWNED = {"owners": "@ana, @acme/bo, @cy"}


def questions_of(version: str) -> set[str]:
    """Return the questions of a release that this tree has, too."""
    shown = git("show", f"{RELEASES[version]}:copier.yml", folder=ROOT)
    return {name for name in questions() if f"\n{name}:\n" in shown}


def shapes_of(version: str) -> dict[str, dict[str, Any]]:
    """Return the shapes in which a release can be rendered, with the choices to its questions."""
    known_questions = questions_of(version)
    shapes: dict[str, dict[str, Any]] = {}
    for shape, choices in SHAPES.items():
        known = {name: value for name, value in choices.items() if name in known_questions}
        if known not in shapes.values():
            shapes[shape] = known
    return shapes


# `make test` updates the newest release, in its default shape; `make test-slow` updates all.
FROM = [pytest.param(version, marks=[] if version == LAST else pytest.mark.slow) for version in RELEASES]
# Edits that touch files which only some shapes have; the others are the same in every shape.
BY_SHAPE = {version: ("editing",) for version in RELEASES} | {LAST: ("editing", "deleting", "untouched")}


def marks_of(version: str, shape: str, persona: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a case: the default shape of the newest release is quick, and `make proof` has all cases."""
    if shape == "default":
        return [] if version == LAST else [pytest.mark.slow]
    return [pytest.mark.slow] if persona in BY_SHAPE[version] else [pytest.mark.slow, pytest.mark.proof]


CASES = [
    pytest.param(version, shape, persona, marks=marks_of(version, shape, persona))
    for version in RELEASES
    for shape in shapes_of(version)
    for persona in PERSONAS
]


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Return the template with all its releases and this tree as the newest."""
    return Template.with_history(ROOT, tmp_path_factory.mktemp("history") / "looseleaf")


def rendered_from(template: Template, version: str, shape: str, into: Path, **choices: Any) -> Path:
    """Render a release in a shape."""
    return template.copy(into, version, **shapes_of(version)[shape] | choices)


@pytest.mark.parametrize(("version", "shape", "persona"), CASES)
def test_an_update_keeps_its_promises(
    history: Template, tmp_path: Path, version: str, shape: str, persona: str
) -> None:
    owners = {} if persona == "untouched" else OWNED
    project = rendered_from(history, version, shape, tmp_path / "project", **owners)
    rendered = files(project)
    edited_by(project, PERSONAS[persona])
    # The command itself runs for every persona in the newest default repository, and for one in each other shape.
    is_tried = persona == "editing" or (version, shape) == (LAST, "default")
    trial = reported(project, history, tmp_path / "work") if is_tried else None
    replay = Replay.of(history, project, rendered, tmp_path)
    replay.assert_kept()
    if trial:
        assert trial.report().safe, trial.report().text()
        # The command writes the same files as Copier.
        assert trial.contents().keys() == {
            name for name in {*replay.before, *replay.after} if replay.before.get(name) != replay.after.get(name)
        }


@pytest.mark.parametrize("version", RELEASES)
def test_an_edited_file_of_the_template_stops_the_update_with_a_hint(
    history: Template, tmp_path: Path, version: str
) -> None:
    project = edited_by(rendered_from(history, version, "default", tmp_path / "project"), editing_the_template)
    before = files(project)
    done = update(project)
    assert done.returncode == 3, done.stdout
    assert f"{EDITED} (edited): Set it in config/" in done.stdout
    assert files(project) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "minor"),
    [
        pytest.param(version, 11 if version == FIRST else 13, marks=pytest.mark.xdist_group(f"checks after {version}"))
        for version in RELEASES
    ],
)
def test_an_edited_repository_passes_its_own_checks_after_the_update(
    history: Template, tmp_path: Path, version: str, minor: int
) -> None:
    folder = rendered_from(history, version, "default", tmp_path / "project", **OWNED)
    edited_by(folder, editing)
    if version == LAST:
        # The others are those of this tree, and test_pythons.py runs them.
        keep_quick_tests(folder)
    python = interpreter(minor)
    assert_updated_and_checked(folder, UV_PYTHON=python)
    # The update has used an environment in a clone.
    assert run(*make("setup"), folder=folder, UV_PYTHON=python).returncode == 0
    version = run(str(folder / ".venv/bin/python"), "--version", folder=folder).stdout
    assert version.startswith(f"Python 3.{minor}.")


def update(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `looseleaf update` of this tree."""
    command = [sys.executable, "-m", "looseleaf.cli", "update", *arguments]
    return run(*command, folder=folder, PYTHONPATH=str(ROOT / "hooks"))


# --- Releases that break a promise are found --------------------------------------------------------------------------


def rename_a_team_file(template: Path) -> None:
    (template / "template/src/model/data.py").rename(template / "template/src/model/sources.py")


def delete_a_team_file(template: Path) -> None:
    (template / "template/src/model/estimator.py").unlink()


def remove_a_choice(template: Path) -> None:
    replace(template / "copier.yml", "    GitLab: gitlab\n", "")


def add_a_question_without_default(template: Path) -> None:
    with (template / "copier.yml").open("a", encoding="utf-8") as file:
        file.write("\ncost_centre:\n  type: str\n  help: Who pays?\n")


def move_a_file_across_the_zone_line(template: Path) -> None:
    (template / "template/lifecycle/docs/data.md").rename(template / "template/docs/data.md")


def rename_a_question(template: Path) -> None:
    for path in [template / "copier.yml", *(template / "template").rglob("*.jinja")]:
        path.write_text(path.read_text(encoding="utf-8").replace("model_name", "project_name"), encoding="utf-8")


def change_no_promise(template: Path) -> None:
    with (template / "template/lifecycle/docs/data.md").open("a", encoding="utf-8") as page:
        page.write("More.\n")


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def replayed(history: Template, tmp_path: Path, change: Callable[[Path], None]) -> Replay:
    """Update an edited repository of this tree to a release with a change."""
    template = Template(shutil.copytree(history.folder, tmp_path / "template"))
    project = template.copy(tmp_path / "project", **SHAPES["gitlab"] | {"model_name": "fraud"})
    rendered = files(project)
    edited_by(project, editing)
    change(template.folder)
    template.release("v9999.1.0")
    return Replay.of(template, project, rendered, tmp_path)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (rename_a_team_file, "assert_no_file_has_moved"),
        (delete_a_team_file, "assert_no_file_has_moved"),
        (remove_a_choice, "assert_the_choices_are_unchanged"),
        (move_a_file_across_the_zone_line, "assert_no_file_has_moved"),
        (rename_a_question, "assert_the_choices_are_unchanged"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_a_release_that_breaks_a_promise_is_found(
    history: Template, tmp_path: Path, change: Callable[[Path], None], broken: str
) -> None:
    replay = replayed(history, tmp_path, change)
    with pytest.raises(AssertionError):
        getattr(replay, broken)()
    with pytest.raises(AssertionError):
        replay.assert_kept()


def test_a_release_with_a_question_that_has_no_default_is_found(history: Template, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cost_centre"):
        replayed(history, tmp_path, add_a_question_without_default)


def test_a_release_that_breaks_no_promise_passes(history: Template, tmp_path: Path) -> None:
    replay = replayed(history, tmp_path, change_no_promise)
    replay.assert_kept()
    assert replay.after != replay.before


def test_the_report_names_a_choice_that_a_release_drops(history: Template, tmp_path: Path) -> None:
    template = Template(shutil.copytree(history.folder, tmp_path / "template"))
    project = template.copy(tmp_path / "project", **SHAPES["gitlab"] | {"model_name": "fraud"})
    edited_by(project, untouched)
    rename_a_question(template.folder)
    template.release("v9999.1.0")
    report = reported(project, template, tmp_path / "work").report()
    assert not report.safe
    assert [(choice.name, choice.kind) for choice in report.choices if choice.kind != "new"] == [
        ("model_name", "dropped")
    ]


# --- Changed choices --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", FROM)
def test_a_changed_choice_of_an_edited_repository_keeps_what_the_team_has(
    history: Template, tmp_path: Path, version: str
) -> None:
    project = edited_by(rendered_from(history, version, "default", tmp_path / "project"), editing)
    before = files(project)
    trial = reported(project, history, tmp_path / "work", ci="gitlab")
    assert trial.report().safe, trial.report().text()
    assert not teams(before).keys() & trial.contents().keys()
    assert "lifecycle/ci/gitlab.yml" in trial.contents()
    assert ".gitlab-ci.yml" in trial.report().text()


def test_a_changed_ci_host_offers_the_files_of_the_new_one(history: Template, tmp_path: Path) -> None:
    project = edited_by(history.copy(tmp_path / "project"), editing)
    done = update(project, "--dry-run", "--set", "ci=gitlab")
    assert done.returncode == 0, done.stdout
    assert ".gitlab-ci.yml (new)" in done.stdout
    assert "lifecycle/ci/gitlab.yml" in done.stdout
    assert ".github/workflows/lifecycle.yml" in done.stdout.split("Removed:")[1]


def test_a_changed_platform_offers_the_files_of_the_container_images(history: Template, tmp_path: Path) -> None:
    project = edited_by(history.copy(tmp_path / "project"), editing)
    done = update(project, "--dry-run", "--set", "platform=kubernetes")
    assert done.returncode == 0, done.stdout
    assert "lifecycle/tools/image.py" in done.stdout
    offered = {*re.findall(r"^ *(\S+) \(new\)", done.stdout, re.MULTILINE)}
    assert {"deploy/Containerfile", "config/Kustomization"} <= offered
    # `make image` names the command that takes them.
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/lifecycle").touch()
    message = run("make", "image", folder=project).stdout
    (folders,) = re.findall(r"make update SET=platform=kubernetes TAKE='(.*)' adds it", message)
    shutil.rmtree(project / ".venv")
    done = update(project, "--dry-run", "--set", "platform=kubernetes", "--take", folders)
    assert offered <= {*re.findall(r"\S+", done.stdout.partition("Your files, changed")[2])}
    assert "(new)" not in done.stdout


@pytest.mark.slow
@pytest.mark.xdist_group("update choices")
def test_changed_choices_leave_a_repository_that_works(history: Template, tmp_path: Path) -> None:
    project = edited_by(history.copy(tmp_path / "project", owners="@ana"), untouched)
    removed = keep_quick_tests(project)
    changes = ["--set", "ci=gitlab", "--set", "usage=[batch]", "--set", "owners=@ana, @bo, @cy"]
    done = update(project, *changes, "--take", ".gitlab-ci.yml OWNERS README.md")
    assert done.returncode == 0, done.stdout
    assert "make test" in done.stdout
    fresh = history.copy(tmp_path / "fresh", owners="@ana, @bo, @cy", ci="gitlab", usage=["batch"])
    after = {
        name: content for name, content in files(project).items() if name not in ("uv.lock", ".copier-answers.yml")
    }
    expected = {
        name: content for name, content in files(fresh).items() if name not in (".copier-answers.yml", *removed)
    }
    # The agreement mentions the service: it was offered, too, and not taken.
    assert {name for name in expected if after.get(name) != expected[name]} <= {"docs/agreement.md"}
    # Objectives of a service are the team's own file, which an update does not remove.
    assert after.keys() ^ expected.keys() == {"docs/slo.yaml"}


def test_changed_owners_are_offered(history: Template, tmp_path: Path) -> None:
    project = edited_by(history.copy(tmp_path / "project"), untouched)
    done = update(project, "--dry-run", "--set", "owners=@ana")
    assert done.returncode == 0, done.stdout
    assert "OWNERS (yours is as it was rendered)" in done.stdout
    with (project / "OWNERS").open("a", encoding="utf-8") as owners:
        owners.write("# ours\n")
    commit(project, "Ours")
    assert "OWNERS (merges with your edits)" in update(project, "--dry-run", "--set", "owners=@ana").stdout


def test_the_deletions_of_the_suite_are_files_that_are_rendered(history: Template, tmp_path: Path) -> None:
    """Otherwise the persona that deletes files would test nothing."""
    rendered = history.copy(tmp_path / "project")
    before = set(files(rendered))
    deleting(rendered)
    assert before - set(files(rendered)) == set(DELETED)


# --- A company's fork, and an existing repository ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "tagged"),
    [*((version, True) for version in RELEASES), pytest.param(FIRST, False, id="without tags")],
)
def test_a_fork_with_an_index_merges_upstream_and_its_repositories_update(
    history: Template, tmp_path: Path, version: str, tagged: bool
) -> None:
    fork = Template(tmp_path / "fork")
    git("clone", "--quiet", "--no-tags", str(history.folder), str(fork.folder), folder=tmp_path)
    git("checkout", "--quiet", "-B", "main", RELEASES[version], folder=fork.folder)
    replace(fork.folder / "org.yml", 'default: ""', "default: https://pip.example.org/simple")
    commit(fork.folder, "Our index")
    if tagged:
        fork.tag(f"{version}.post1")
    project = edited_by(fork.copy(tmp_path / "project"), editing)
    # As docs/updating.md says.
    upstream = git("rev-parse", "HEAD", folder=history.folder)
    git("merge", "--quiet", "--message", "Upstream's release", upstream, folder=fork.folder)
    if tagged:
        fork.tag("v9999.0.0.post1")
    assert git("diff", "--name-only", upstream, "HEAD", folder=fork.folder) == "org.yml"
    before = files(project)
    trial = reported(project, fork, tmp_path / "work")
    assert trial.report().safe, trial.report().text()
    assert b"https://pip.example.org/simple" in ((before | trial.contents())["uv.toml"] or b"")
    fork.update(project)
    assert teams(files(project)) == teams(before)
    assert "https://pip.example.org/simple" in files(project)["uv.toml"].decode()
    assert "lifecycle/manifest.json" in files(project)


def test_the_documented_commands_adopt_a_repository_and_replace_nothing(history: Template, tmp_path: Path) -> None:
    existing = tmp_path / "existing"
    adopting(existing)
    before = files(existing)
    history.copy(tmp_path / "rendered")
    page = (ROOT / "docs/updating.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^cp .*$", page, re.MULTILINE)
    assert run("sh", "-c", command, folder=existing).returncode == 0
    after = files(existing)
    assert {name: after[name] for name in before} == before
    assert files(tmp_path / "rendered").keys() <= after.keys()
