"""A default repository passes its commands on every supported Python.

The Python that runs these tests is covered by test_project.py.
"""

import sys
from pathlib import Path

import pytest

from looseleaf.project import make
from looseleaf.snapshot import git
from support.pythons import interpreter
from support.rendering import Template, run

OTHERS = [minor for minor in (11, 12, 13) if minor != sys.version_info.minor]


def versions() -> list[object]:
    return [
        pytest.param(minor, marks=[pytest.mark.slow, pytest.mark.xdist_group(f"python-{minor}")], id=f"3.{minor}")
        for minor in OTHERS
    ]


@pytest.mark.parametrize("minor", versions())
def test_a_default_repository_passes_its_commands(template: Template, tmp_path: Path, minor: int) -> None:
    python = interpreter(minor)
    folder = template.copy(tmp_path / "project")
    git("init", "--quiet", folder=folder)
    done = run(*make("setup", "check", "test", "train", "promote", "score"), folder=folder, UV_PYTHON=python)
    assert done.returncode == 0, done.stdout
    version = run(str(folder / ".venv/bin/python"), "--version", folder=folder).stdout
    assert version.startswith(f"Python 3.{minor}.")
