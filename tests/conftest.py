"""What the suite shares. No set-up of the machine reaches a test: home, git and Copier's settings are fresh."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from looseleaf.snapshot import git
from support.rendering import DEMO, ROOT, Template, run

# Before scikit-learn is loaded: its threads would wait for each other on a busy machine, and in a process that a test
# forks, for threads that it does not have.
os.environ["OMP_NUM_THREADS"] = "1"

Render = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty home and an identity for git; uv keeps the cache it has, so that installing stays cheap."""
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
        patch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        (home / "copier-settings.yml").write_text("trust: []\n")
        (home / "gitconfig").write_text(
            "[user]\n  name = A Tester\n  email = tester@example.org\n[init]\n  defaultBranch = main\n"
        )
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The working tree as a release."""
    return Template.of(ROOT, tmp_path_factory.mktemp("template") / "looseleaf")


@pytest.fixture(scope="session")
def render(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """`render(model_name="fraud")` is the folder of that render. It is shared: only read it."""
    done: dict[str, Path] = {}

    def rendered(**answers: Any) -> Path:
        name = repr(sorted(answers.items()))
        if name not in done:
            done[name] = template.copy(tmp_path_factory.mktemp("render") / "project", **answers)
        return done[name]

    return rendered


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`make demo` into a fresh folder: what it said, and what it wrote."""
    # Two workers with a demo each would tear the tests of one project apart.
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo-made"
    made.touch(exist_ok=False)
    folder = tmp_path_factory.mktemp("demo") / "project"
    done = run(*DEMO, str(folder), folder=folder.parent)
    assert done.returncode == 0, done.stdout
    told = json.loads((folder.parent / "demo.json").read_text(encoding="utf-8"))
    return told | {"folder": folder, "said": done.stdout}


@pytest.fixture(scope="session")
def project(demo: dict[str, Any]) -> Path:
    """The repository that the demo left: set up, trained, promoted, and committed."""
    folder = Path(demo["folder"])
    git("add", "--all", folder=folder)
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many of the replayed updates kept every promise."""
    outcomes = {
        outcome: [
            report
            for report in terminalreporter.getreports(outcome)
            if "test_an_update_keeps_its_promises" in report.nodeid
        ]
        for outcome in ("passed", "failed", "error")
    }
    kept, tried = len(outcomes["passed"]), sum(map(len, outcomes.values()))
    if tried:
        terminalreporter.write_line(f"update success rate: {kept} of {tried} ({kept / tried:.0%})")
