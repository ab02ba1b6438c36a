"""The memory of a job that monitors a log larger than it, on the log of the benchmark."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.rendering import ROOT

PREPARE = """
import sys
from pathlib import Path
from monitoring import generate

generate(Path(sys.argv[1]), 1_000_000)
"""
# Prints the peak in MB; Linux counts in kB.
MONITOR = """
import resource, sys
from pathlib import Path
from monitoring import AS_OF
from scoring import data_of, settings_of
from lifecycle.contract import tables
from lifecycle.monitoring import monitor

folder, settings = Path(sys.argv[1]), settings_of(Path(sys.argv[1]))
if sys.argv[2] == "without a limit":
    tables.PROCESS_MB = -20_000
small = settings.model_copy(update={"score": settings.score.model_copy(update={"memory_mb": 350})})
document, _ = monitor(small, data_of(folder), "local", AS_OF)
assert sum(window["rows"] for window in document["windows"]) > 900_000
print()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT / "benchmarks", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process has another unit")
def test_monitoring_stays_below_the_limit_on_memory_and_exceeds_it_without(tmp_path: Path) -> None:
    run(PREPARE, str(tmp_path))
    peaks = [int(run(MONITOR, str(tmp_path), limit)) for limit in ("with the limit", "without a limit")]
    assert peaks[0] < 350 < peaks[1]
