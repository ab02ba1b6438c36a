"""Repositories of three releases, with edits and defects; and the command `looseleaf fleet` with a quick Copier."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from looseleaf import cli
from looseleaf.fleet import examine
from looseleaf.snapshot import git
from looseleaf.update.source import ANSWERS_FILE
from support import quick
from support.personas import commit, edited_by, editing, editing_the_template, untouched
from support.rendering import RELEASE, Template

RELEASES = {"v0.1.0": "applies", "v0.2.0": "applies", RELEASE: "up to date"}


# Replaces `looseleaf update`: changes a file as a safe update does and writes the requested report.
UPDATE = """
import json, pathlib, sys
pathlib.Path("lifecycle/added.py").write_text("added\\n")
report = {"to": "2.0.0", "up_to_date": False, "rendered": "The report."}
pathlib.Path(sys.argv[sys.argv.index("--output") + 1]).write_text(json.dumps(report))
"""
PERSONAS: tuple[Callable[[Path], None], ...] = (untouched, editing, editing_the_template)


@dataclass(frozen=True)
class Fleet:
    """Folders of repositories in one folder, and the expected result of a plan for each name."""

    template: Template
    folder: Path
    results: dict[str, str] = field(default_factory=dict)

    def add(self, release: str, persona: Callable[[Path], None] = untouched) -> Path:
        """Render a release and edit it."""
        name = f"{release}-{persona.__name__}"
        is_refused = persona is editing_the_template and RELEASES[release] == "applies"
        self.results[name] = "refused" if is_refused else RELEASES[release]
        return edited_by(self.template.copy(self.folder / name, release), persona)

    def copy(self, original: Path, name: str, result: str = "") -> Path:
        """Clone a repository, and expect the same result unless one is given."""
        self.results[name] = result or self.results[original.name]
        return copy(original, self.folder / name)

    def list(self) -> Path:
        """Write the file with one repository in each line."""
        file = self.folder / "repositories.txt"
        file.write_text("# All of ours\n\n" + "".join(f"{name}  # a folder\n" for name in self.results))
        return file


def fleet_of_many(template: Template, folder: Path, count: int) -> Fleet:
    """Make `count` repositories: copies of three of each release, and some with a defect, one of them on a fork."""
    fleet = Fleet(template, folder)
    originals = [fleet.add(release, persona) for release in RELEASES for persona in PERSONAS]
    (fleet.copy(originals[3], "dirty", "refused") / "README.md").write_text("Not committed.\n")
    broken = fleet.copy(originals[3], "broken", "error")
    (broken / ANSWERS_FILE).write_text("_commit: [\n")
    commit(broken, "Break the answers file")
    left = fleet.copy(originals[3], "left", "error")
    (left / ANSWERS_FILE).unlink()
    commit(left, "Leave the template")
    foreign = folder / "foreign"
    foreign.mkdir()
    git("init", "--quiet", folder=foreign)
    commit(foreign, "Another project")
    edited_by(fork(template, folder / "template").copy(folder / "fork", "v9999.0.0.post1"), untouched)
    fleet.results.update({"foreign": "error", "fork": "applies"})
    # Most repositories of a fleet are up to date.
    copied = [*originals, *originals[-len(PERSONAS) :], *originals[-len(PERSONAS) :]]
    for number in range(count - len(fleet.results)):
        original = copied[number % len(copied)]
        fleet.copy(original, f"{original.name}-{number}")
    return fleet


def copy(original: Path, folder: Path) -> Path:
    """Clone a repository."""
    git("clone", "--quiet", str(original), str(folder), folder=original)
    return folder


def fork(template: Template, folder: Path) -> Template:
    """Return a fork of the template with two releases on top of it."""
    made = Template(copy(template.folder, folder))
    for version in ("v9999.0.0.post1", "v9999.0.0.post2"):
        with (folder / "template/lifecycle/lifecycle.mk").open("a", encoding="utf-8") as file:
            file.write(f"# {version}\n")
        made.release(version)
    return made


def tiny(folder: Path) -> Template:
    """Return a template of two files with the releases 1.0.0 and 2.0.0."""
    template = Template(folder)
    git("init", "--quiet", str(folder), folder=folder.parent)
    (folder / "lifecycle").mkdir()
    (folder / "copier.yml").write_text("_exclude: [copier.yml, .git, releases.toml]\n")
    (folder / "{{_copier_conf.answers_file}}.jinja").write_text("{{ _copier_answers | to_nice_yaml -}}\n")
    for number in (1, 2):
        (folder / "lifecycle/one.py").write_text(f"one = {number}\n")
        template.release(f"v{number}.0.0")
    return template


def rendered(template: Template, folder: Path) -> Path:
    """Return a committed repository of the first release of a tiny template."""
    return edited_by(template.rendered(folder, "v1.0.0"), untouched)


def run(action: str, *arguments: str | Path, state: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run `looseleaf fleet` in this process; return its exit code and the rows by name."""
    output = state.with_suffix(".json")
    options = ("--state", state, "--format", "json", "--output", output)
    output.unlink(missing_ok=True)
    code = cli.main(["fleet", action, *map(str, (*arguments, *options))])
    rows = json.loads(output.read_text(encoding="utf-8"))["repositories"] if output.exists() else []
    return code, {row["name"]: row for row in rows}


def main(log: Path, *arguments: str) -> int:
    """Run the command with a quick Copier and log each repository that is worked on."""
    usual = examine._tried

    def tried(folder: Path, *given: Any) -> dict[str, Any]:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{folder.name}\n")
        return usual(folder, *given)

    with pytest.MonkeyPatch.context() as patch:
        quick.copier(patch)
        patch.setattr(examine, "_tried", tried)
        return cli.main(["fleet", *arguments])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
