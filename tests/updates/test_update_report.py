"""What Copier hides in an update is found and told: the rows of a template that tortures its repositories."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copier
import pytest

from looseleaf.snapshot import git
from looseleaf.update.report import Report
from looseleaf.update.source import Source
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
    """The text with another line."""
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
    """A template with two releases, in a folder, and repositories of its first one."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> "Torture":
        """Both releases."""
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

    def project(self, into: Path, **answers: Any) -> Path:
        """A repository of the first release, committed."""
        copier.run_copy(
            f"git+file://{self.folder}", into, data=answers, vcs_ref="v1.0.0", defaults=True, quiet=True, unsafe=False
        )
        git("init", "--quiet", folder=into)
        commit(into, "As rendered")
        return into


def tortured(project: Path) -> None:
    """Whatever a team may do to what it was given."""

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
    return Torture.made(tmp_path_factory.mktemp("torture") / "template")


@pytest.fixture(scope="module")
def report(torture: Torture, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What is told of the tortured repository."""
    folder = tmp_path_factory.mktemp("tortured")
    project = torture.project(folder / "project", port=8080, tracker="mlflow", colour="blue")
    tortured(project)
    return tried(project, folder / "work").report()


in_one_place = pytest.mark.xdist_group("torture")


@in_one_place
def test_every_conflict_is_told(report: Report) -> None:
    expected = ["adjacent.txt", "both-added.txt", "deps.txt", "same.txt", "secret.txt", "uv.lock"]
    assert report.conflicts == expected


@in_one_place
def test_every_edit_that_would_go_without_a_mark_is_told(report: Report) -> None:
    losses = {loss.path: loss.why for loss in report.losses}
    assert losses.keys() == {"renamed-by-them.txt", "dropped.txt", "folder/dropped.txt", "ours.bin", "both.bin"}
    assert "renamed or removed" in losses["dropped.txt"]
    assert "binary" in losses["ours.bin"]


@in_one_place
def test_every_answer_that_would_change_unasked_is_told(report: Report) -> None:
    told = {answer.name: (answer.kind, answer.before, answer.after) for answer in report.answers}
    assert told == {
        "port": ("reset", 8080, 9000),
        "tracker": ("reset", "mlflow", "none"),
        "colour": ("dropped", "blue", None),
        "shade": ("new", None, "dark"),
    }
    assert not report.safe


@in_one_place
def test_what_the_team_removed_and_the_template_changed_is_told(report: Report) -> None:
    assert {"deleted-by-us.txt", "renamed-by-us.txt"} <= set(report.kept_deleted)


@in_one_place
def test_what_merges_is_only_told_as_a_change(report: Report) -> None:
    assert {"theirs.txt", "far.txt"} <= set(report.changed)
    assert "renamed.txt" in report.added
    assert "pages/two.txt" in report.added
    untouched = {"ours.txt", "identical.txt", "keep.txt", "emptied/ours.txt", "once/example.txt", "ours-now.txt"}
    assert not untouched & {*report.changed, *report.removed, *report.conflicts}


@in_one_place
def test_each_format_says_the_same(report: Report) -> None:
    told = json.loads(report.as_format("json"))
    assert (told["from"], told["to"], told["safe"], told["up_to_date"]) == ("1.0.0", "2.0.0", False, False)
    for shown in (report.as_format("text"), report.as_format("markdown"), told["rendered"]):
        assert "NOT safe" in shown
        for name in [*report.conflicts, *(loss.path for loss in report.losses), "tracker: 'mlflow' → 'none'"]:
            assert name in shown


def test_nothing_is_told_of_a_repository_that_was_left_alone(torture: Torture, tmp_path: Path) -> None:
    project = torture.project(tmp_path / "project", port=9100)
    (project / "mine.txt").write_text("mine\n")
    commit(project, "Ours")
    # A template may drop a question; here it is still answered.
    report = tried(project, tmp_path / "work").report()
    assert not report.conflicts
    assert not report.losses
    assert not report.edits
    assert not report.kept_deleted
    assert [(answer.name, answer.kind) for answer in report.answers] == [("colour", "dropped"), ("shade", "new")]


def test_a_mode_that_changes_is_carried_over(torture: Torture, tmp_path: Path) -> None:
    project = torture.project(tmp_path / "project")
    trial = tried(project, tmp_path / "work")
    assert os.access(trial.clone / "script.sh", os.X_OK)
    assert "script.sh" in trial.report().changed


def test_a_long_list_is_cut_in_a_terminal_and_nowhere_else() -> None:
    report = Report("1", "2", added=[f"file-{number}" for number in range(50)])
    assert "and 30 more" in report.text()
    assert "file-49" not in report.text()
    assert "file-49" in report.markdown()
    assert len(json.loads(report.json())["added"]) == 50


def test_releases_are_found_by_tags_by_the_record_and_by_both(torture: Torture, tmp_path: Path) -> None:
    first, second = (git("rev-parse", f"{tag}^{{commit}}", folder=torture.folder) for tag in ("v1.0.0", "v2.0.0"))
    tagged = Source(torture.folder)
    assert (tagged.newest(first), tagged.label(first)) == (second, "1.0.0")
    git("clone", "--quiet", "--no-tags", str(torture.folder), str(tmp_path / "bare"), folder=tmp_path)
    bare = Source(tmp_path / "bare")
    assert (bare.newest(first), bare.label(first)) == (second, first[:7])
    (tmp_path / "bare/releases.toml").write_text(f'[releases]\n"1.0.0" = "{first}"\n')
    commit(tmp_path / "bare", "Recorded")
    recorded = Source(tmp_path / "bare")
    assert (recorded.newest(first), recorded.commit("1.0.0"), recorded.commit("v1.0.0")) == (first, first, first)
    assert recorded.label(second) == f"{second[:7]} (after 1.0.0)"
    described = f"v1.0.0-1-g{second[:7]}"
    assert recorded.commit(described) == second
