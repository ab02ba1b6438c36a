"""No dependency of a rendered repository sends usage data or writes an identifier."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("setting", "is_quiet"), [(None, True), ("0", False)], ids=["default", "seeded defect"])
def test_loading_onnxruntime_writes_nothing_below_home(tmp_path: Path, setting: str | None, is_quiet: bool) -> None:
    environment = {"HOME": str(tmp_path)} | ({} if setting is None else {"ORT_DISABLE_TELEMETRY": setting})
    done = subprocess.run([sys.executable, "-c", "import lifecycle, onnxruntime"], env=environment, check=False)
    assert done.returncode == 0
    assert (not list(tmp_path.rglob("*"))) == is_quiet
