"""An update of a team's repository, with assertions for each promise about its files and choices."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from looseleaf.snapshot import git
from looseleaf.update.source import Source, recorded
from looseleaf.update.trial import Trial
from support.personas import choices_of, commit
from support.rendering import Template, files, is_templates, run
from support.repositories import looseleaf

ANSWERS_FILE = ".copier-answers.yml"


@dataclass(frozen=True)
class Replay:
    """A repository as rendered, before and after `copier update`, and a fresh copy with the same choices."""

    rendered: dict[str, bytes]
    before: dict[str, bytes]
    after: dict[str, bytes]
    fresh: dict[str, bytes]
    choices: tuple[dict[str, Any], dict[str, Any]]
    conflicts: list[str]

    @classmethod
    def of(cls, template: Template, project: Path, rendered: dict[str, bytes], work: Path) -> "Replay":
        """Update the project to the newest release without trust, as a bot does; exceptions of Copier pass through."""
        before, choices = files(project), choices_of(project)
        template.update(project)
        unmerged = git("diff", "--name-only", "--diff-filter=U", folder=project).splitlines()
        markers = [name for name, content in files(project).items() if b"\n<<<<<<< before updating" in b"\n" + content]
        rejected = [name for name in files(project) if name.endswith(".rej")]
        now = choices_of(project)
        # Template.copy refuses the values of questions that only a planted release has.
        fresh = files(template.rendered(work / "fresh", None, now))
        return cls(rendered, before, files(project), fresh, (choices, now), [*unmerged, *markers, *rejected])

    def assert_kept(self) -> None:
        """Assert every promise."""
        self.assert_no_conflict()
        self.assert_the_teams_files_are_unchanged()
        self.assert_the_templates_files_are_those_of_a_fresh_copy()
        self.assert_the_choices_are_unchanged()
        self.assert_no_file_has_moved()

    def assert_no_conflict(self) -> None:
        """Assert that no conflict is left."""
        assert self.conflicts == []

    def assert_the_teams_files_are_unchanged(self) -> None:
        """Assert that edits are kept byte for byte, and that deleted files stay deleted in both zones."""
        assert teams(self.after) == teams(self.before)
        deleted = self.rendered.keys() - self.before.keys()
        assert not deleted & self.after.keys()

    def assert_the_templates_files_are_those_of_a_fresh_copy(self) -> None:
        """Assert that unedited files of the template equal those of a new repository."""
        deleted = self.rendered.keys() - self.before.keys()
        own = {name for name in self.before if is_templates(name)} - self.rendered.keys()
        expected = {name: content for name, content in templates(self.fresh).items() if name not in deleted}
        assert templates(self.after) == expected | {name: self.before[name] for name in own}

    def assert_the_choices_are_unchanged(self) -> None:
        """Assert that no choice is reset or dropped."""
        before, after = self.choices
        assert {name: after.get(name) for name in before} == before

    def assert_no_file_has_moved(self) -> None:
        """Assert that the team's files are still rendered under their names, and that none has changed its zone.

        Existing repositories cannot follow such a change, because an update sees one zone only.
        """
        assert teams(self.rendered).keys() <= self.fresh.keys()
        removed = templates(self.rendered).keys() - templates(self.fresh).keys()
        moved = {name.rsplit("/", 1)[-1] for name in removed} & {name.rsplit("/", 1)[-1] for name in teams(self.fresh)}
        assert not moved - {name.rsplit("/", 1)[-1] for name in teams(self.rendered)}


def assert_updated_and_checked(folder: Path, **environment: str) -> None:
    """Update an edited repository of an older release: its own checks pass, its files are kept, and old names warn."""
    before = files(folder)
    done = looseleaf(folder, "update", **environment)
    assert done.returncode == 0, done.stdout
    after = {name: content for name, content in teams(files(folder)).items() if name != "uv.lock"}
    assert after == {name: content for name, content in teams(before).items() if name != "uv.lock"}
    assert all(f"make {goal}" in done.stdout for goal in ("setup", "check", "test"))
    # The `src/model` of the release runs on this tree's `lifecycle`.
    sources = os.pathsep.join(str(folder / name) for name in ("lifecycle/src", "src"))
    contract = run(sys.executable, "-m", "lifecycle", "contract", folder=folder, PYTHONPATH=sources)
    assert contract.returncode == 0, contract.stdout
    warned = "FutureWarning" in contract.stdout and "TARGET" in contract.stdout
    assert warned == ("ANSWER = " in (folder / "src/model/contract.py").read_text(encoding="utf-8"))


def owned(template: Template, into: Path, **choices: str) -> Path:
    """Return a committed render of the release before, copied from a shared one."""
    shared = template.folder.parent / f"owned {choices}"
    if not shared.exists():
        template.copy(shared, "v9999.0.0", **choices)
        git("init", "--quiet", folder=shared)
        commit(shared, "As rendered")
    return shutil.copytree(shared, into, symlinks=True)


def tried(project: Path, work: Path, to: str = "v2.0.0", **given: str) -> Trial:
    """Return the trial of an update to a version."""
    work.mkdir()
    content = recorded(project)
    source = Source.fetch(content, project, work / "template")
    return Trial.run(project, source, source.commit(str(content["_commit"])), source.commit(to), given, work)


def reported(project: Path, template: Template, work: Path, **given: str) -> Trial:
    """Return the trial of an update to the newest release, with changed choices."""
    content = recorded(project)
    work.mkdir()
    source = Source.fetch(content, project, work / "template")
    before = source.commit(str(content["_commit"]))
    return Trial.run(project, source, before, source.newest(before), given, work)


def teams(contents: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files of the team's zone."""
    return {name: content for name, content in contents.items() if not is_templates(name)}


def templates(contents: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files of the template's zone without the answers file."""
    return {name: content for name, content in contents.items() if is_templates(name) and name != ANSWERS_FILE}
