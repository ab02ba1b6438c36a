"""The soak test fails for a service that keeps every body in memory, and passes for a sound one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.rendering import ROOT

KEEPS_EVERY_BODY = """
import lifecycle.contract.rows

kept, read = [], lifecycle.contract.rows.RowReader.read
lifecycle.contract.rows.RowReader.read = lambda self, body: (kept.append(bytes(body)), read(self, body))[1]
"""


@pytest.mark.slow
@pytest.mark.parametrize("leaks", [False, True], ids=["sound", "leaking"])
def test_a_service_that_keeps_every_body_fails_it(tmp_path: Path, leaks: bool) -> None:
    if leaks:
        (tmp_path / "sitecustomize.py").write_text(KEEPS_EVERY_BODY)
    command = [sys.executable, "-m", "support.soak", "0.2", "--workers", "1"]
    environ = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'tests'}"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == int(leaks), f"{done.stdout}{done.stderr}"
    assert ("grew by" in done.stderr) == leaks
    assert "right 200: " in done.stdout
