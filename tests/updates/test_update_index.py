"""The package index of a company's fork: an update locks with the index that it brings, and so does uv outside make."""

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from looseleaf.project import make
from looseleaf.snapshot import git
from maintenance.manifest import write as write_manifest
from support.indexes import index, write_wheel
from support.personas import commit
from support.rendering import ROOT, SOURCES, TEMPLATE, Template, run, tool

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("index")]
# The template's own files that decide about the index; what they install is small, and its checks do nothing.
OWN = (
    "lifecycle/lifecycle.mk",
    "lifecycle/org.mk.jinja",
    "lifecycle/tools/manifest_check.py",
    "uv.toml.jinja",
    ".gitignore",
    "{{_copier_conf.answers_file}}.jinja",
)
MAKEFILE = "include lifecycle/lifecycle.mk\n\ncheck test:\n\t@true\n"
PROJECT = """[project]
name = "churn-model"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = []

[dependency-groups]
lifecycle = ["looseleaf-lifecycle"]

[tool.uv]
default-groups = ["lifecycle"]

[tool.uv.workspace]
members = ["lifecycle"]

[tool.uv.sources]
looseleaf-lifecycle = { workspace = true }
"""
RUNTIME = """[project]
name = "looseleaf-lifecycle"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["tiny"]
scripts = { lifecycle = "lifecycle:main" }

[build-system]
requires = ["uv_build>=0.9,<1"]
build-backend = "uv_build"

[tool.uv.build-backend]
module-name = "lifecycle"
"""
# The form of org.mk in the releases before 0.3.0.
OLD_ORG = "UV_DEFAULT_INDEX ?= {{ org_index_url }}\n"


@dataclass(frozen=True)
class Machine:
    """A machine that is set up with one index, and the address of another one."""

    home: Path
    index: str
    other: str

    def run(self, *command: str, folder: Path) -> str:
        """Run a command, which must succeed, and return its output."""
        # The commit hooks of a repository need pre-commit, which is not installed here.
        hooks = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": "/nowhere"}
        done = run(*command, folder=folder, XDG_CONFIG_HOME=str(self.home), NO_PROXY="127.0.0.1", **hooks)
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Return a machine with two indexes, of which the second has one package more."""
    wheels = {"tiny": "1.0"}
    with index(tmp_path / "one", **wheels) as one, index(tmp_path / "two", **wheels, other="1.0") as two:
        settings = tmp_path / "config/uv/uv.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(f'[[index]]\nurl = "{one}"\ndefault = true\n')
        yield Machine(tmp_path / "config", one, two)


@pytest.fixture
def fork(tmp_path: Path) -> Template:
    """Return a template that installs one small package."""
    folder = tmp_path / "template"
    for name in OWN:
        (folder / "template" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TEMPLATE / name, folder / "template" / name)
    for name in ("copier.yml", "org.yml"):
        shutil.copy(ROOT / name, folder / name)
    texts = {"Makefile": MAKEFILE, "pyproject.toml": PROJECT, "lifecycle/pyproject.toml": RUNTIME}
    for name, text in (texts | {"lifecycle/src/lifecycle/__init__.py": "def main() -> None: ...\n"}).items():
        (folder / "template" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "template" / name).write_text(text)
    git("init", "--quiet", folder=folder)
    return Template(folder)


def released(fork: Template, version: str, address: str) -> None:
    """Make a release of the fork with an index."""
    lines = (fork.folder / "org.yml").read_text(encoding="utf-8").rstrip().splitlines()
    assert lines[-4] == "org_index_url:"
    (fork.folder / "org.yml").write_text("\n".join([*lines[:-1], f'  default: "{address}"', ""]))
    write_manifest(fork.folder)
    fork.release(version)


def set_up(fork: Template, folder: Path, machine: Machine) -> Path:
    """Render a repository, set it up and commit it with its lock."""
    fork.copy(folder)
    git("init", "--quiet", folder=folder)
    machine.run(*make("setup"), folder=folder)
    commit(folder, "As rendered")
    return folder


def update(folder: Path, machine: Machine) -> str:
    """Run `make update` with the command of this tree, which takes the place of the recorded one."""
    command = f"ISOLATED=PYTHONPATH={SOURCES} {sys.executable} -m looseleaf.cli"
    return machine.run(*make("update", command), folder=folder)


@pytest.mark.parametrize("before", ["no index", "another index", "another index in a release before 0.3.0"])
def test_an_update_locks_with_the_index_that_it_brings(
    fork: Template, machine: Machine, tmp_path: Path, before: str
) -> None:
    today = fork.folder / "template/lifecycle/org.mk.jinja"
    text = today.read_text(encoding="utf-8")
    if "before" in before:
        today.write_text(OLD_ORG)
        (fork.folder / "template/uv.toml.jinja").rename(tmp_path / "uv.toml.jinja")
    released(fork, "v1.0.0", "" if before == "no index" else machine.index)
    project = set_up(fork, tmp_path / "project", machine)
    assert machine.index in (project / "uv.lock").read_text()
    if "before" in before:
        today.write_text(text)
        (tmp_path / "uv.toml.jinja").rename(fork.folder / "template/uv.toml.jinja")
    released(fork, "v1.1.0", machine.other)
    update(project, machine)
    lock = (project / "uv.lock").read_text()
    assert machine.other in lock
    assert machine.index not in lock
    # Set-up refuses a lock of another index.
    machine.run(*make("setup"), folder=project)


def test_uv_outside_make_uses_the_index_of_the_fork(fork: Template, machine: Machine, tmp_path: Path) -> None:
    released(fork, "v1.0.0", machine.other)
    project = set_up(fork, tmp_path / "project", machine)
    # Only the other index has it.
    machine.run(tool("uv"), "add", "other", folder=project)
    lock = (project / "uv.lock").read_text()
    assert f'name = "other"\nversion = "1.0"\nsource = {{ registry = "{machine.other}" }}' in lock
    assert machine.index not in lock


def test_an_upgrade_never_downgrades_what_is_locked(fork: Template, tmp_path: Path) -> None:
    makefile = (TEMPLATE / "lifecycle/lifecycle.mk").read_text(encoding="utf-8")
    date = re.findall(r"(?m)^RELEASED := (\S+)", makefile)[0]
    day, folder = datetime.fromisoformat(date), tmp_path / "index"
    for version, days in {"1.0": -100, "2.0": 2, "2.1": 2.1, "3.0": 60}.items():
        write_wheel(folder / "tiny", "tiny", version, day + timedelta(days=days))
    with index(folder, is_dated=True) as address:
        machine = Machine(tmp_path / "config", address, "")
        released(fork, "v1.0.0", address)
        project = set_up(fork, tmp_path / "project", machine)

        def locked() -> str:
            return re.findall(r'name = "tiny"\nversion = "(.*)"', (project / "uv.lock").read_text())[0]

        assert locked() == "1.0"
        machine.run(tool("uv"), "lock", "--upgrade-package", "tiny==2.0", folder=project)
        machine.run(*make("upgrade"), folder=project)
        # Of the same day, and not the newest.
        assert locked() == "2.1"
        machine.run(*make("upgrade", f"RELEASED={date}"), folder=project)
        assert locked() == "1.0"


def test_an_index_of_the_team_for_an_own_package_is_kept(fork: Template, machine: Machine, tmp_path: Path) -> None:
    released(fork, "v1.0.0", machine.index)
    project = set_up(fork, tmp_path / "project", machine)
    machine.run(tool("uv"), "add", "other", "--index", f"theirs={machine.other}", folder=project)
    machine.run(*make("setup"), folder=project)
    assert machine.other in (project / "uv.lock").read_text()


def test_a_uv_toml_of_the_team_stops_the_update_and_is_not_changed(
    fork: Template, machine: Machine, tmp_path: Path
) -> None:
    released(fork, "v1.0.0", "")
    project = set_up(fork, tmp_path / "project", machine)
    (project / "uv.toml").write_text("offline = false\n")
    commit(project, "Ours")
    released(fork, "v1.1.0", machine.other)
    with pytest.raises(
        AssertionError, match=r"uv\.toml \(your own\): Move your settings to \[tool\.uv\] in pyproject\.toml"
    ):
        update(project, machine)
    assert (project / "uv.toml").read_text() == "offline = false\n"
    assert not git("status", "--porcelain", folder=project)
