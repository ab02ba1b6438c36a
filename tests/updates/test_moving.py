"""Repositories of every release move to a company's fork with the commands of docs/updating.md."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from looseleaf.project import find_uv
from looseleaf.snapshot import git
from maintenance.history import recorded
from support.clones import commit
from support.rendering import RELEASE, ROOT, Template, run, tool

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("moving")]
PAGE = (ROOT / "docs/updating.md").read_text(encoding="utf-8")
ADDRESS = "https://git.example.org/acme/looseleaf.git"
(MAKE,) = re.findall(rf"^make update LOOSELEAF_SOURCE={ADDRESS}.*$", PAGE, re.MULTILINE)
(UVX,) = re.findall(rf"^uvx --from git\+{ADDRESS}.* looseleaf update$", PAGE, re.MULTILINE)
RELEASES = [f"v{version}" for version in recorded(ROOT)]
NEWEST = "v9999.0.0.post1"


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template.with_history(ROOT, tmp_path_factory.mktemp("moving") / "upstream")


@pytest.fixture(scope="module")
def fork(upstream: Template) -> str:
    """Return the address of a fork, without a folder to run from, as on a host."""
    work = Template(upstream.folder.with_name("work"))
    git("clone", "--quiet", str(upstream.folder), str(work.folder), folder=upstream.folder)
    work.set_org(org_runner="large")
    work.release(NEWEST)
    hosted = upstream.folder.with_name("fork.git")
    git("clone", "--quiet", "--bare", str(work.folder), str(hosted), folder=work.folder)
    return f"file://{hosted}"


def repository(upstream: Template, folder: Path, version: str) -> Path:
    """Render a release, with the environment of this suite in place of `make setup`."""
    upstream.copy(folder, version)
    git("init", "--quiet", folder=folder)
    commit(folder)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(tool("python"))
    script = folder / ".venv/bin/lifecycle"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "lifecycle/src"} exec {tool("python")} -m lifecycle "$@"\n')
    script.chmod(0o755)
    return folder


def with_make(fork: str) -> list[str]:
    """Return the documented command of make for a fork."""
    return [*shlex.split(MAKE.replace(ADDRESS, fork)), f"UV={find_uv()}", "DRY_RUN=1"]


def with_uvx(fork: str) -> list[str]:
    """Return the documented command of uvx for a fork."""
    words = shlex.split(UVX.replace(ADDRESS, fork))
    return [tool("uvx"), *words[1:], "--dry-run"]


# The page names a release of the fork as an example; since 0.3.0, it can be omitted.
CASES = [(version, with_uvx if version == "v0.1.0" else with_make, f"@{NEWEST}") for version in RELEASES]


@pytest.mark.parametrize(("version", "command", "at"), [*CASES, (RELEASE, with_make, ""), (RELEASE, with_uvx, "")])
def test_a_repository_moves_to_a_fork_by_the_documented_command(
    upstream: Template, fork: str, tmp_path: Path, version: str, command: Callable[[str], list[str]], at: str
) -> None:
    project = repository(upstream, tmp_path / "project", version)
    done = run(*(re.sub(r"@v[\w.]+", at, word) for word in command(fork)), folder=project)
    assert done.returncode == 0, done.stdout
    assert f"→ {NEWEST.removeprefix('v')}: no decision is needed" in done.stdout
    assert re.search(rf"address of the template: .*→ '{fork.removeprefix('file://')}'", done.stdout), done.stdout
