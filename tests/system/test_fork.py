"""A company's fork: a new repository is set up and checked, and one of the release before is updated.

`make test-fork` runs these tests with the values in org.yml. Where it is empty, as in upstream, they set every value,
and the index is that of this machine, by its address.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from looseleaf.project import make
from looseleaf.snapshot import git
from maintenance.history import recorded
from support.personas import edited_by, editing, keep_quick_tests
from support.rendering import ROOT, Template, run
from support.updates import assert_updated_and_checked

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fork")]
EXAMPLES = {
    "org_alert_url": "https://alerts.example.org/?to=a&by=b",
    "org_runner": "large",
    "org_base_image": "registry.example.org/python:3.12",
}


@dataclass(frozen=True)
class Fork:
    """A fork with this tree as its newest release, its index, and a repository of the release before."""

    template: Template
    index: str
    project: Path


def indexes(folder: Path) -> set[str]:
    """Return the package indexes in a lock."""
    return {*re.findall(r'registry = "(.*?)"', (folder / "uv.lock").read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Fork:
    folder = tmp_path_factory.mktemp("fork")
    template = Template.with_history(ROOT, folder / "looseleaf")
    project = template.copy(folder / "project", f"v{max(recorded(ROOT))}", model_name="churn")
    edited_by(project, editing)
    done = run(*make("uv.lock"), folder=project)
    assert done.returncode == 0, done.stdout
    # All tests of an updated repository run in tests/updates/test_updates.py.
    keep_quick_tests(project)
    (index,) = indexes(project)
    if not any(template.org().values()):
        template.set_org(org_index_url=index, **EXAMPLES)
        template.release("v9999.0.0.post1")
    return Fork(template, template.org()["org_index_url"] or index, project)


def test_a_new_repository_is_set_up_and_passes_its_checks(fork: Fork, tmp_path: Path) -> None:
    folder = fork.template.copy(tmp_path / "project")
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    done = run(*make("setup", "check"), folder=folder)
    assert done.returncode == 0, done.stdout
    assert indexes(folder) == {fork.index}


def test_an_edited_repository_of_the_release_before_updates_and_passes_its_checks(fork: Fork) -> None:
    assert_updated_and_checked(fork.project)
    assert indexes(fork.project) == {fork.index}
    values = [value for name, value in fork.template.org().items() if value and name != "org_base_image"]
    files = [".github/workflows/lifecycle.yml", "lifecycle/org.mk", "uv.toml"]
    written = "".join(path.read_text() for name in files if (path := fork.project / name).exists())
    assert [value for value in values if value not in written] == []
