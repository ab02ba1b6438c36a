"""An update and a recopy change the template's zone only, and make it equal to a fresh copy."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import copier
import pytest
import yaml

from looseleaf.snapshot import git
from support.rendering import Template, files, is_templates, questions
from support.updates import ANSWERS_FILE, teams


@dataclass(frozen=True)
class Updated:
    """A repository before and after an update that changes every file, and a fresh copy of the new release."""

    before: dict[str, bytes]
    after: dict[str, bytes]
    fresh: dict[str, bytes]


@pytest.fixture(scope="module")
def updated(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Updated:
    """Update a repository in which the team edited, deleted and added files."""
    folder = tmp_path_factory.mktemp("update")
    source = Template(shutil.copytree(template.folder, folder / "template"))
    project = source.copy(folder / "project", owners="@ana", decision="Whom do we call?")
    edit_as_a_team(project)
    before = files(project)
    change_everything(source)
    source.update(project)
    assert not git("ls-files", "--unmerged", folder=project)
    return Updated(before, files(project), files(source.copy(folder / "fresh", owners="@ana")))


an_update = pytest.mark.xdist_group("an update")


@an_update
def test_an_update_does_not_change_the_teams_zone(updated: Updated) -> None:
    assert teams(updated.after) == teams(updated.before)


@an_update
def test_an_update_makes_the_templates_zone_equal_to_a_fresh_copy(updated: Updated) -> None:
    def ours(contents: dict[str, bytes]) -> dict[str, bytes]:
        return {name: contents[name] for name in contents if is_templates(name) and name != ANSWERS_FILE}

    assert ours(updated.after) == ours(updated.fresh)
    assert "lifecycle/added.txt" in updated.after
    assert "lifecycle/docs/data.md" not in updated.after
    assert updated.after["lifecycle/lifecycle.mk"] != updated.before["lifecycle/lifecycle.mk"]


@an_update
def test_an_update_keeps_the_choices(updated: Updated) -> None:
    before, after = (yaml.safe_load(contents[ANSWERS_FILE]) for contents in (updated.before, updated.after))
    assert {name: after[name] for name in questions()} == {name: before[name] for name in questions()}
    assert after["_commit"] == "v9999.1.0"


def edit_as_a_team(project: Path) -> None:
    """Change every second file of the team's zone, delete every third, add some, and commit."""
    git("init", "--quiet", folder=project)
    git("add", "--all", folder=project)
    for number, name in enumerate(teams(files(project))):
        if number % 3 == 0:
            (project / name).unlink()
        elif number % 2 == 0:
            (project / name).write_bytes(b"ours\n" + (project / name).read_bytes())
    (project / "src/model/ours.py").write_text("OURS = 1\n")
    (project / "deploy").mkdir()
    (project / "deploy/ours.yaml").write_text("ours: 1\n")
    git("add", "--all", folder=project)
    git("commit", "--quiet", "--message", "Ours", folder=project)


def change_everything(template: Template) -> None:
    """Release a version in which every file differs, one of each zone is gone and one of each is new."""
    for path in (template.folder / "template").rglob("*"):
        if path.is_file() and path.suffix != ".jinja":
            path.write_bytes(b"# newer\n" + path.read_bytes())
    (template.folder / "template/lifecycle/docs/data.md").unlink(missing_ok=True)
    (template.folder / "template/src/model/data.py").unlink(missing_ok=True)
    (template.folder / "template/lifecycle/added.txt").write_text("added\n")
    (template.folder / "template/docs").mkdir(exist_ok=True)
    (template.folder / "template/docs/added.md").write_text("added\n")
    template.release("v9999.1.0")


def test_recopy_keeps_the_teams_files(template: Template, tmp_path: Path) -> None:
    older = Template(shutil.copytree(template.folder, tmp_path / "template"))
    project = older.copy(tmp_path / "project")
    for name in teams(files(project)):
        (project / name).write_bytes(b"ours\n" + (project / name).read_bytes())
    git("init", "--quiet", folder=project)
    before = files(project)
    change_everything(older)
    run_recopy(project)
    assert {name: files(project)[name] for name in teams(before)} == teams(before)
    assert "lifecycle/added.txt" in files(project)


def run_recopy(project: Path) -> None:
    """Run the equivalent of `copier recopy --defaults --overwrite`."""
    copier.run_recopy(project, defaults=True, overwrite=True, quiet=True, unsafe=False)


def test_an_update_with_changed_choices_adds_and_removes_the_templates_files(
    template: Template, tmp_path: Path
) -> None:
    folder = template.copy(tmp_path / "project")
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", "First", folder=folder)
    before = teams(files(folder))
    new = {"usage": ["batch"], "ci": "gitlab", "platform": "kubernetes"}
    copier.run_update(folder, data=new, defaults=True, quiet=True, unsafe=False, overwrite=True)
    assert teams(files(folder)) == before
    fresh = files(template.copy(tmp_path / "fresh", **new))
    assert {n: c for n, c in files(folder).items() if is_templates(n)} == {
        n: c for n, c in fresh.items() if is_templates(n)
    }
