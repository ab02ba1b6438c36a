"""Shared fixtures. Tests do not depend on the machine: home, git and Copier's settings are new."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from looseleaf.snapshot import git
from support import bytecode, quick
from support.rendering import DEMO, ROOT, Template, run

# Set before scikit-learn is imported: its threads slow each other down, and they block in forked processes.
os.environ["OMP_NUM_THREADS"] = "1"

Render = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use an empty home and an identity for git; uv keeps its cache, so that installing stays fast."""
    home = tmp_path_factory.mktemp("home")
    uv = shutil.which("uv", path=f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    cache = uv and subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("GIT_", "LIFECYCLE_", "COPIER_", "MAKE"))]:
            patch.delenv(name)
        for name in (
            "CI",
            "GITHUB_ACTIONS",
            "GITLAB_CI",
            "MFLAGS",
            "VIRTUAL_ENV",
            "XDG_CONFIG_HOME",
            "XDG_CACHE_HOME",
            "MLFLOW_TRACKING_URI",
        ):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(home))
        patch.setenv("UV_CACHE_DIR", cache or str(home / "uv"))
        patch.setenv("COPIER_SETTINGS_PATH", str(home / "copier-settings.yml"))
        patch.setenv("COPIER_CACHE_DIR", str(home / "copier-cache"))
        # One for all repositories: mypy compares hashes, and would read the same libraries again in each.
        patch.setenv("MYPY_CACHE_DIR", str(home / "mypy"))
        patch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        (home / "copier-settings.yml").write_text("trust: []\n")
        (home / "gitconfig").write_text(
            "[user]\n  name = A Tester\n  email = tester@example.org\n[init]\n  defaultBranch = main\n"
        )
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_temporary_folders() -> Iterator[None]:
    """Keep the temporary folders of this process in memory where possible: to remove one from a disk is slow."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder, pytest.MonkeyPatch.context() as patch:
        # PostgreSQL runs as another user.
        Path(folder).chmod(0o711)
        patch.setattr(tempfile, "tempdir", folder)
        # Otherwise pytest in a rendered repository also removes what earlier runs of this suite left.
        patch.setenv("PYTEST_DEBUG_TEMPROOT", folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_start(own_home: None) -> None:
    """Spare each new environment to compile its packages: its first training would take twice as long."""
    bytecode.share(Path(os.environ["UV_CACHE_DIR"]), Path(pytest.__file__).parents[1])


@pytest.fixture(scope="session", autouse=True)
def quick_copier() -> Iterator[None]:
    """Omit what takes Copier most of its time. Tests that start Copier as a process use it unchanged."""
    with pytest.MonkeyPatch.context() as patch:
        quick.copier(patch)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Return the working tree as a release."""
    return Template.of(ROOT, tmp_path_factory.mktemp("template") / "looseleaf")


@pytest.fixture(scope="session")
def render(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """`render(model_name="fraud")` returns the folder of that render, which is shared and must not be changed."""
    done: dict[str, Path] = {}

    def rendered(**choices: Any) -> Path:
        name = repr(sorted(choices.items()))
        if name not in done:
            done[name] = template.copy(tmp_path_factory.mktemp("render") / "project", **choices)
        return done[name]

    return rendered


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run `make demo` in a new folder; returns its output and report."""
    # Tests of the shared project have to run in one worker.
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo-made"
    made.touch(exist_ok=False)
    folder = tmp_path_factory.mktemp("demo") / "project"
    done = run(*DEMO, str(folder), folder=folder.parent)
    assert done.returncode == 0, done.stdout
    report = json.loads((folder.parent / "demo.json").read_text(encoding="utf-8"))
    return report | {"folder": folder, "output": done.stdout}


@pytest.fixture(scope="session")
def project(demo: dict[str, Any]) -> Path:
    """Return the demo's repository: set up, trained, promoted, and staged."""
    folder = Path(demo["folder"])
    git("add", "--all", folder=folder)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run groups first: most install an environment, and one that starts last prolongs the run."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many replayed updates succeeded."""
    outcomes = {
        outcome: [
            report
            for report in terminalreporter.getreports(outcome)
            if "test_an_update_keeps_its_promises" in report.nodeid
        ]
        for outcome in ("passed", "failed", "error")
    }
    succeeded, tried = len(outcomes["passed"]), sum(map(len, outcomes.values()))
    if tried:
        terminalreporter.write_line(f"update success rate: {succeeded} of {tried} ({succeeded / tried:.0%})")
