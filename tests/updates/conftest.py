"""A repository with a remote and a CI host for `looseleaf propose`, and a newer template for `looseleaf update`."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from looseleaf import cli
from looseleaf.snapshot import git
from maintenance.manifest import write as write_manifest
from support import hosting
from support.hosting import Api
from support.proposals import environment, save
from support.rendering import ROOT, Template, run


@pytest.fixture(autouse=True)
def own_type_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let mypy keep its cache in the repository, as for a user: an update removes it."""
    monkeypatch.delenv("MYPY_CACHE_DIR")


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


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return `called(folder, *arguments)`, which returns the exit code and output of `looseleaf update`."""

    def call(folder: Path, *arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(folder)
        code = cli.main(["update", *arguments])
        output = capsys.readouterr()
        return code, output.out + output.err

    return call


@pytest.fixture(scope="session")
def newer(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Return this template with a later release that changes files of each zone."""
    folder = tmp_path_factory.mktemp("newer") / "looseleaf"
    run("cp", "-R", str(template.folder), str(folder), folder=folder.parent)
    later = Template(folder)
    for name, old, new in (
        ("template/lifecycle/docs/data.md", "\n", "\n\nMore.\n"),
        ("template/config/base.yaml", "# Overrides", "# Newer: overrides"),
        ("template/src/model/estimator.py", '"""', '"""Newer: '),
    ):
        path = folder / name
        assert old in path.read_text(encoding="utf-8"), name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    (folder / "template/docs/newer.md").write_text("Newer.\n")
    write_manifest(folder)
    later.release("v9999.1.0")
    return later
