"""The simulated clock: commands and the service run at the time that a file contains."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from lifecycle import timestamps
from looseleaf.project import CLOCK
from looseleaf.year.clock import simulated


def command(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    (folder / "config").mkdir(exist_ok=True)
    run = [sys.executable, CLOCK, *words]
    return subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False)


def test_time_follows_the_file_and_orders_what_happens_within_one_second(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    file.write_text("2025-03-01")
    start = timestamps.parse("2025-03-01")
    os.utime(file, (time.time() - 60, time.time() - 60))
    first = simulated(file)
    os.utime(file, (time.time() - 3600, time.time() - 3600))
    second = simulated(file)
    assert start < first < second < start + 1
    os.utime(file, (0, 0))
    assert start < simulated(file) < start + 1
    file.write_text("2025-03-02T12:00:00Z\n")
    assert int(simulated(file)) == timestamps.parse("2025-03-02T12:00:00Z")


def test_a_command_runs_at_the_simulated_time_and_its_exit_code_is_kept(tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("2025-03-01")
    path = tmp_path / "storage/reports/local/retrain_request.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"reason": "drift", "text": "", "evidence": ""}))
    done = command(tmp_path, "clock", "retrain")
    assert done.returncode == 1, done.stdout + done.stderr
    [run] = (tmp_path / "storage/reports/local/retrains.jsonl").read_text().splitlines()
    assert json.loads(run)["started"] == "2025-03-01T00:00:00Z"
    assert command(tmp_path, "clock", "config").returncode == 0
    assert command(tmp_path, "clock", "no-such-command").returncode == 2
