"""The report names everything that Copier loses or resets without a message, for a template with many such cases."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copier
import pytest

from looseleaf.snapshot import git
from looseleaf.update.report import Report
from support.personas import commit
from support.rendering import Template
from support.updates import tried

LINES = "".join(f"line {number}\n" for number in range(1, 21))
COPIER = """
_skip_if_exists: [keep.txt, gone.txt, "pages/*"]
_exclude: ["{{ '/once' if _copier_operation == 'update' }}", copier.yml, .git]
port: {type: int, default: 8080, validator: "{{ '' if port > MINIMUM else 'too low' }}"}
tracker: {type: str, default: none, choices: CHOICES}
colour: {type: str, default: red}
key: {type: str, default: "", secret: true}
"""
FIRST: dict[str, str | bytes] = {
    "theirs.txt": LINES,
    "ours.txt": LINES,
    "far.txt": LINES,
    "adjacent.txt": LINES,
    "same.txt": LINES,
    "identical.txt": LINES,
    "deleted-by-us.txt": LINES,
    "renamed-by-us.txt": LINES,
    "renamed-by-them.txt": LINES,
    "dropped.txt": LINES,
    "folder/dropped.txt": LINES,
    "emptied/theirs.txt": LINES,
    "ours.bin": b"\0one",
    "both.bin": b"\0one",
    "keep.txt": LINES,
    "gone.txt": LINES,
    "pages/one.txt": LINES,
    "once/example.txt": LINES,
    "ignored.log": LINES,
    "script.sh": "#!/bin/sh\n",
    "secret.txt.jinja": "before\nkey = {{ key }}\nafter\n",
    "deps.txt": "numpy>=1\n",
    "uv.lock": "version = 1\nhash = 1\n",
    "{{_copier_conf.answers_file}}.jinja": "{{ _copier_answers | to_nice_yaml -}}\n",
}


def edited(text: str, number: int, who: str) -> str:
    """Return the text with another line."""
    return text.replace(f"line {number}\n", f"line {number} of {who}\n")


SECOND: dict[str, str | bytes | None] = {
    "theirs.txt": edited(LINES, 3, "theirs"),
    "far.txt": edited(LINES, 3, "theirs"),
    "adjacent.txt": edited(LINES, 10, "theirs"),
    "same.txt": edited(LINES, 10, "theirs"),
    "identical.txt": edited(LINES, 10, "all"),
    "both-added.txt": "theirs\n",
    "deleted-by-us.txt": edited(LINES, 3, "theirs"),
    "renamed-by-us.txt": edited(LINES, 3, "theirs"),
    "renamed-by-them.txt": None,
    "renamed.txt": LINES,
    "dropped.txt": None,
    "folder/dropped.txt": None,
    "emptied/theirs.txt": None,
    "both.bin": b"\0theirs",
    "keep.txt": edited(LINES, 3, "theirs"),
    "gone.txt": edited(LINES, 3, "theirs"),
    "pages/two.txt": LINES,
    "once/example.txt": edited(LINES, 3, "theirs"),
    "once/more.txt": LINES,
    "ignored.log": edited(LINES, 3, "theirs"),
    "secret.txt.jinja": "Before\nkey = {{ key }}\nafter\n",
    "deps.txt": "numpy>=2\n",
    "uv.lock": "version = 1\nhash = 2\n",
}


@dataclass(frozen=True)
class Torture:
    """A template with two releases, and repositories of its first one."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> "Torture":
        """Create the template with both releases."""
        git("init", "--quiet", str(folder), folder=folder.parent)
        torture = cls(folder)
        torture.write(COPIER.replace("MINIMUM", "1000").replace("CHOICES", "[none, mlflow]"), FIRST)
        torture.release("v1.0.0")
        later = COPIER.replace("MINIMUM", "8500").replace("8080", "9000").replace("CHOICES", "[none, wandb]")
        torture.write(later.replace("colour: {type: str, default: red}", "shade: {type: str, default: dark}"), SECOND)
        (folder / "script.sh").chmod(0o755)
        torture.release("v2.0.0")
        return torture

    def write(self, questions: str, contents: dict[str, Any]) -> None:
        (self.folder / "copier.yml").write_text(questions)
        for name, content in contents.items():
            path = self.folder / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def release(self, version: str) -> None:
        Template(self.folder).release(version)

    def project(self, into: Path, **choices: Any) -> Path:
        """Return a committed repository of the first release."""
        copier.run_copy(
            f"git+file://{self.folder}", into, data=choices, vcs_ref="v1.0.0", defaults=True, quiet=True, unsafe=False
        )
        git("init", "--quiet", folder=into)
        commit(into, "As rendered")
        return into


def tortured(project: Path) -> None:
    """Edit, delete, rename and add files as a team may do."""

    def write(name: str, content: str | bytes) -> None:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    for name in ("ours.txt", "same.txt", "renamed-by-them.txt", "dropped.txt", "folder/dropped.txt", "keep.txt"):
        write(name, edited(LINES, 10, "ours"))
    write("far.txt", edited(LINES, 18, "ours"))
    write("adjacent.txt", edited(LINES, 11, "ours"))
    write("identical.txt", edited(LINES, 10, "all"))
    write("both-added.txt", "ours\n")
    write("emptied/ours.txt", LINES)
    write("ours.bin", b"\0ours")
    write("both.bin", b"\0ours")
    write("once/example.txt", edited(LINES, 10, "ours"))
    write("secret.txt", "before\nkey = hidden\nafter\n")
    write("deps.txt", "numpy>=1\npandas\n")
    write("uv.lock", "version = 1\nhash = 7\n")
    (project / "deleted-by-us.txt").unlink()
    (project / "gone.txt").unlink()
    (project / "renamed-by-us.txt").rename(project / "ours-now.txt")
    write(".gitignore", "*.log\n")
    git("rm", "--quiet", "--cached", "ignored.log", folder=project)
    commit(project, "Ours")


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> Torture:
    return Torture.create(tmp_path_factory.mktemp("torture") / "template")


@pytest.fixture(scope="module")
def report(torture: Torture, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Return the report about the edited repository."""
    folder = tmp_path_factory.mktemp("tortured")
    project = torture.project(folder / "project", port=8080, tracker="mlflow", colour="blue")
    tortured(project)
    return tried(project, folder / "work").report()


in_one_place = pytest.mark.xdist_group("torture")


@in_one_place
def test_every_conflict_is_reported(report: Report) -> None:
    expected = ["adjacent.txt", "both-added.txt", "deps.txt", "same.txt", "secret.txt", "uv.lock"]
    assert report.conflicts == expected


@in_one_place
def test_every_edit_that_would_be_lost_without_a_conflict_is_reported(report: Report) -> None:
    losses = {loss.path: loss.why for loss in report.losses}
    assert losses.keys() == {"renamed-by-them.txt", "dropped.txt", "folder/dropped.txt", "ours.bin", "both.bin"}
    assert "renamed or removed" in losses["dropped.txt"]
    assert "binary" in losses["ours.bin"]


@in_one_place
def test_every_choice_that_the_template_changes_is_reported(report: Report) -> None:
    choices = {choice.name: (choice.kind, choice.before, choice.after) for choice in report.choices}
    assert choices == {
        "port": ("reset", 8080, 9000),
        "tracker": ("reset", "mlflow", "none"),
        "colour": ("dropped", "blue", None),
        "shade": ("new", None, "dark"),
    }
    assert not report.safe


@in_one_place
def test_a_deleted_file_that_the_template_changed_is_reported(report: Report) -> None:
    assert {"deleted-by-us.txt", "renamed-by-us.txt"} <= set(report.kept_deleted)


@in_one_place
def test_a_merged_file_is_reported_as_changed_only(report: Report) -> None:
    assert {"theirs.txt", "far.txt"} <= set(report.changed)
    assert "renamed.txt" in report.added
    assert "pages/two.txt" in report.added
    untouched = {"ours.txt", "identical.txt", "keep.txt", "emptied/ours.txt", "once/example.txt", "ours-now.txt"}
    assert not untouched & {*report.changed, *report.removed, *report.conflicts}


@in_one_place
def test_each_format_has_the_same_content(report: Report) -> None:
    content = json.loads(report.json())
    assert (content["from"], content["to"], content["safe"], content["up_to_date"]) == ("1.0.0", "2.0.0", False, False)
    for shown in (report.text(), report.markdown(), content["rendered"]):
        assert "NOT safe" in shown
        for name in [*report.conflicts, *(loss.path for loss in report.losses), "tracker: 'mlflow' → 'none'"]:
            assert name in shown


def test_an_unedited_repository_has_no_losses_or_conflicts(torture: Torture, tmp_path: Path) -> None:
    project = torture.project(tmp_path / "project", port=9100)
    (project / "mine.txt").write_text("mine\n")
    commit(project, "Ours")
    # The new release drops a question of this repository.
    report = tried(project, tmp_path / "work").report()
    assert not report.conflicts
    assert not report.losses
    assert not report.edits
    assert not report.kept_deleted
    assert [(choice.name, choice.kind) for choice in report.choices] == [("colour", "dropped"), ("shade", "new")]


def test_a_changed_file_mode_is_part_of_the_update(torture: Torture, tmp_path: Path) -> None:
    project = torture.project(tmp_path / "project")
    trial = tried(project, tmp_path / "work")
    assert os.access(trial.clone / "script.sh", os.X_OK)
    assert "script.sh" in trial.report().changed


def test_a_long_list_is_cut_in_the_terminal_only() -> None:
    report = Report("1", "2", added=[f"file-{number}" for number in range(50)])
    assert "and 30 more" in report.text()
    assert "file-49" not in report.text()
    assert "file-49" in report.markdown()
    assert len(json.loads(report.json())["added"]) == 50
