"""An update of a team's repository and what it promises, as assertions on files and answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copier

from looseleaf.snapshot import git
from looseleaf.update.source import Source, recorded
from looseleaf.update.trial import Trial
from support.personas import answers_of
from support.rendering import Template, files, is_templates

ANSWERS = ".copier-answers.yml"


@dataclass(frozen=True)
class Replay:
    """A repository as its team had left it, after `copier update`, and a fresh copy with the same answers."""

    rendered: dict[str, bytes]
    before: dict[str, bytes]
    after: dict[str, bytes]
    fresh: dict[str, bytes]
    answers: tuple[dict[str, Any], dict[str, Any]]
    conflicts: list[str]

    @classmethod
    def of(cls, template: Template, project: Path, rendered: dict[str, bytes], work: Path) -> "Replay":
        """Update the project to the newest release, without trust, as a bot does; raises what Copier raises."""
        before, answers = files(project), answers_of(project)
        template.update(project)
        unmerged = git("diff", "--name-only", "--diff-filter=U", folder=project).splitlines()
        markers = [name for name, content in files(project).items() if b"\n<<<<<<< before updating" in b"\n" + content]
        rejected = [name for name in files(project) if name.endswith(".rej")]
        now = answers_of(project)
        # The suite's own copy would refuse what a planted release may ask.
        copier.run_copy(template.url, work / "fresh", data=now, defaults=True, quiet=True, unsafe=False)
        fresh = files(work / "fresh")
        return cls(rendered, before, files(project), fresh, (answers, now), [*unmerged, *markers, *rejected])

    def assert_kept(self) -> None:
        """Every promise that an update makes to a team."""
        self.assert_no_conflict()
        self.assert_the_team_s_files_are_as_they_were()
        self.assert_the_template_s_files_are_those_of_a_fresh_copy()
        self.assert_the_answers_are_as_they_were()
        self.assert_no_file_has_moved()

    def assert_no_conflict(self) -> None:
        """Nothing is left to settle."""
        assert self.conflicts == []

    def assert_the_team_s_files_are_as_they_were(self) -> None:
        """Edits are there, byte for byte; what was deleted is not back, in either zone."""
        assert teams(self.after) == teams(self.before)
        deleted = self.rendered.keys() - self.before.keys()
        assert not deleted & self.after.keys()

    def assert_the_template_s_files_are_those_of_a_fresh_copy(self) -> None:
        """What the team has not touched is what a new repository gets."""
        deleted = self.rendered.keys() - self.before.keys()
        own = {name for name in self.before if is_templates(name)} - self.rendered.keys()
        expected = {name: content for name, content in templates(self.fresh).items() if name not in deleted}
        assert templates(self.after) == expected | {name: self.before[name] for name in own}

    def assert_the_answers_are_as_they_were(self) -> None:
        """No answer is reset or dropped; a question that is new has its default."""
        before, after = self.answers
        assert {name: after.get(name) for name in before} == before

    def assert_no_file_has_moved(self) -> None:
        """Every file of the team's is still rendered under its name, and none has changed its zone.

        A release that breaks this cannot reach the repositories that are there: an update sees one zone only.
        """
        assert teams(self.rendered).keys() <= self.fresh.keys()
        lost = templates(self.rendered).keys() - templates(self.fresh).keys()
        homeless = {name.rsplit("/", 1)[-1] for name in lost} & {name.rsplit("/", 1)[-1] for name in teams(self.fresh)}
        assert not homeless - {name.rsplit("/", 1)[-1] for name in teams(self.rendered)}


def tried(project: Path, work: Path, to: str = "v2.0.0", **given: str) -> Trial:
    """The trial of an update."""
    work.mkdir()
    told = recorded(project)
    source = Source.fetch(told, project, work / "template")
    return Trial.run(project, source, source.commit(str(told["_commit"])), source.commit(to), given, work)


def reported(project: Path, template: Template, work: Path) -> Trial:
    """What `looseleaf update` would do to the newest release."""
    told = recorded(project)
    work.mkdir()
    source = Source.fetch(told, project, work / "template")
    before = source.commit(str(told["_commit"]))
    return Trial.run(project, source, before, source.newest(before), {}, work)


def teams(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the team's zone."""
    return {name: content for name, content in contents.items() if not is_templates(name)}


def templates(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the template's zone, the answers apart."""
    return {name: content for name, content in contents.items() if is_templates(name) and name != ANSWERS}
