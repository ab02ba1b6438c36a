"""A repository with a remote and a CI host, for the tests of `looseleaf propose`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from looseleaf.snapshot import git
from support import hosting
from support.hosting import Api
from support.proposals import environment, save
from support.rendering import ROOT


@pytest.fixture
def api() -> Iterator[Api]:
    """Yield a local server with the APIs of the hosts."""
    with hosting.api() as server:
        yield server


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Return the bare repository that origin names."""
    folder = tmp_path / "hub.git"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(folder), folder=tmp_path)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Return the address of a repository with the commands of this checkout, as a value of LOOSELEAF_SOURCE."""
    folder = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "hooks/looseleaf", folder / "hooks/looseleaf", ignore=ignored)
    git("init", "--quiet", folder=folder)
    save(folder, "The commands")
    return folder.as_uri()


@pytest.fixture
def project(tmp_path: Path, hub: Path) -> Path:
    """Return a repository that is committed and pushed, with commit and push hooks that refuse everything."""
    folder = tmp_path / "project"
    (folder / "lifecycle").mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", folder=folder)
    for name in ("README.md", "lifecycle/one.py", "lifecycle/gone.py"):
        (folder / name).write_text("old\n")
    save(folder, "The first")
    git("remote", "add", "origin", f"file://{hub}", folder=folder)
    git("push", "--quiet", "origin", "main", folder=folder)
    for hook in ("pre-commit", "pre-push"):
        (folder / ".git/hooks" / hook).write_text("#!/bin/sh\nexit 1\n")
        (folder / ".git/hooks" / hook).chmod(0o755)
    return folder


@pytest.fixture(params=["github", "gitlab"])
def on_host(request: pytest.FixtureRequest, api: Api) -> dict[str, str]:
    """Return the variables of a run of each host."""
    return environment(str(request.param), api)
