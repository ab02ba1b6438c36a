"""`make setup` on machines that are set up unusually."""

import os
import subprocess
from pathlib import Path

import pytest

from looseleaf.snapshot import git
from support.rendering import Template, tool


def made(folder: Path, *goals: str, **environment: str) -> str:
    """Run make in a folder; returns its output, and fails if make fails."""
    kept = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"} | environment
    done = subprocess.run(["make", "-C", str(folder), *goals], env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_uv_is_installed_where_pip_installs_for_the_user_by_default(template: Template, tmp_path: Path) -> None:
    folder = template.copy(tmp_path / "project")
    made(folder, ".uv/bin/uv", PIP_USER="1")
    assert (folder / ".uv/bin/uv").exists()


@pytest.mark.slow
def test_a_home_that_cannot_be_written_costs_the_commit_hooks_only(template: Template, tmp_path: Path) -> None:
    folder = template.copy(tmp_path / "project")
    git("init", "--quiet", folder=folder)
    cache = subprocess.run([tool("uv"), "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    # A file in its place cannot be written into, also not by root.
    home = tmp_path / "home"
    home.write_text("")
    places = {"HOME": str(home), "UV_CACHE_DIR": cache, "UV_PYTHON_INSTALL_DIR": str(tmp_path / "pythons")}
    output = made(folder, "setup", XDG_CACHE_HOME="", PRE_COMMIT_HOME="", **places)
    assert "The commit hooks were not installed" in output
    assert "Traceback" not in output
    made(folder, "check", **places)
