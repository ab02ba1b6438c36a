"""Time every step from an empty folder to the first served prediction, with an empty and with a warm uv cache.

The steps are the commands of the README, in new folders and an empty home. CPU seconds are user and system time of all
child processes.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from looseleaf.project import environment, post, service
from maintenance.demo import readme_request
from maintenance.snapshots import source

ROOT = Path(__file__).resolve().parents[1]
HINT = "Run `make demo`: it shows the same steps with their output."


@dataclass(frozen=True)
class Measured:
    """Duration of one step of one run."""

    cache: str
    step: str
    wall: float
    cpu: float


def cpu_seconds() -> float:
    """Return user and system time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(cache: str, step: str, action: Callable[[], None]) -> Measured:
    """Time one step."""
    wall, cpu = time.monotonic(), cpu_seconds()
    action()
    done = Measured(cache, step, time.monotonic() - wall, cpu_seconds() - cpu)
    print(f"  {cache:<5} {step:<26} {done.wall:7.1f} s wall {done.cpu:7.1f} s CPU", file=sys.stderr, flush=True)
    return done


def one_run(cache: str, url: str, folder: Path, uv_cache: Path) -> list[Measured]:
    """Time every step in a new folder and home."""
    home = folder / "home"
    home.mkdir(parents=True)
    os.environ.update(HOME=str(home), UV_CACHE_DIR=str(uv_cache), COPIER_CACHE_DIR=str(home / "copier"))
    binaries, project = Path(sys.prefix) / "bin", folder / "churn"

    def run(*command: str) -> None:
        done = subprocess.run(
            command, cwd=project if project.exists() else folder, env=environment(), capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}\n{HINT}")

    def serve_one() -> None:
        with service(project, folder / "serve.log") as address:
            post(f"{address}/predict", readme_request(project))

    make = ("make", f"UV={binaries / 'uv'}")
    return [
        measured(cache, "copier copy", lambda: run(
            str(binaries / "copier"), "copy", "--quiet", "--defaults", "--vcs-ref", "HEAD", url, str(project)
        )),
        measured(cache, "make setup", lambda: run(*make, "setup")),
        measured(cache, "make train", lambda: run(*make, "train")),
        measured(cache, "make promote features", lambda: run(*make, "promote", "features")),
        measured(cache, "serve, predict, stop", serve_one),
    ]  # fmt: skip


def table(results: list[Measured]) -> str:
    """Return a Markdown table with medians over the runs and totals."""
    lines = ["| step | cold, wall | cold, CPU | warm, wall | warm, CPU |", "|---|--:|--:|--:|--:|"]
    totals = [0.0] * 4
    for step in dict.fromkeys(result.step for result in results):
        cells = [
            statistics.median(
                getattr(result, kind) for result in results if (result.cache, result.step) == (cache, step)
            )
            for cache in ("cold", "warm")
            for kind in ("wall", "cpu")
        ]
        totals = [total + cell for total, cell in zip(totals, cells, strict=True)]
        lines.append(f"| {step} | " + " | ".join(f"{cell:.1f} s" for cell in cells) + " |")
    lines.append("| **all** | " + " | ".join(f"**{total:.1f} s**" for total in totals) + " |")
    return "\n".join(lines)


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs with a warm cache; the cold one is run once")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "first_prediction.json")
    given = parser.parse_args()
    given.json.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="first-prediction-") as scratch:
        folder = Path(scratch)
        url = source(ROOT, folder / "snapshot")
        results = one_run("cold", url, folder / "cold", folder / "uv")
        for number in range(given.runs):
            results += one_run("warm", url, folder / f"warm-{number}", folder / "uv")
            shutil.rmtree(folder / f"warm-{number}")
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    report = {"machine": machine, "warm_runs": given.runs, "results": [asdict(result) for result in results]}
    given.json.write_text(json.dumps(report, indent=2) + "\n")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
