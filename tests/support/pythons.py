"""The interpreters of other Python versions on this machine."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest


def interpreter(minor: int) -> str:
    """Return a Python of this minor version, from PATH or pyenv; where there is none, skip the test, except in CI."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    versions = Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python3.{minor}"), *versions.glob(f"3.{minor}.*/bin/python")]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    problem = f"Python 3.{minor} is not installed"
    assert "LOOSELEAF_TOOLS" not in os.environ, problem
    pytest.skip(problem)
