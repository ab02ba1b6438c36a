"""Render the default repository, train, serve a prediction and compare it with a batch prediction: `make demo`."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from looseleaf.project import environment, make, post, service
from looseleaf.snapshot import git, identity
from looseleaf.steps import StepFailed, Steps
from maintenance.snapshots import source

ROOT = Path(__file__).resolve().parents[1]
NETWORK = "The package index must be reachable (UV_DEFAULT_INDEX selects another one). Then run make demo again."
DISAGREE = "The service and the batch must agree: this is a defect of the template, please report it."
SCORED = """
import sys, duckdb
query = "SELECT prediction, probability FROM read_parquet($1) WHERE customer_id = $2"
print(duckdb.sql(query, params=sys.argv[1:3]).df().to_json(orient="records", double_precision=15))
"""


def main() -> int:
    """Run the demo; returns 0 when both predictions agree, 1 with a hint otherwise, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="maintenance.demo", description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "demo", help="the folder to render into")
    parser.add_argument("--started", type=float, help="start of the checkout's set-up, in seconds since 1970")
    options = parser.parse_args()
    steps, folder = Steps(environment()), options.into.resolve()
    print(f"The default repository, in {_relative(folder)}:", flush=True)
    if options.started:
        steps.add("set up the checkout", max(0.0, time.time() - options.started), downloads=True)
    try:
        request, prediction = play(steps, folder)
    except StepFailed as failed:
        print(f"\n{failed.tail}\nThe demo stopped. {steps.current}: {failed}\n{failed.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo was stopped. No process of it is running.", file=sys.stderr)
        return 130
    seconds, downloads = steps.seconds(downloads=False), steps.seconds(downloads=True)
    result = {"steps": steps.done, "seconds": round(seconds, 2), "prediction": prediction}
    (folder.parent / "demo.json").write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"\nRequest:    {json.dumps(request)}\nPrediction: {json.dumps(prediction)}; make score returns the same.\n\n"
        f"{seconds:.0f} seconds, and {downloads:.0f} for the steps that download. Next:\n\n"
        f"  cd {_relative(folder)}\n"
        "  make year         # simulate a year in about a minute: drift, retraining, rollback\n"
        "  make serve        # then open http://127.0.0.1:8000/docs\n"
        "  make check test   # lint, types and contract; the team's tests\n"
        "  make help"
    )
    return 0


def play(steps: Steps, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run every step of the demo; returns the request and its prediction."""
    with steps.step("copy the template"):
        render(folder)
    steps.run("make setup", make("setup"), folder, NETWORK, downloads=True)
    git("add", "--all", folder=folder)
    git("commit", "-qnm", "Trained from a commit", folder=folder, **identity(NAME="demo", EMAIL="demo@invalid"))
    for command in ("train", "promote", "features"):
        steps.run(f"make {command}", make(command), folder, f"Repeat it in {_relative(folder)}: make {command}.")
    request = readme_request(folder)
    with steps.step("make serve, one request, SIGTERM"), service(folder, folder.parent / "demo-serve.log") as address:
        prediction = post(f"{address}/predict", request)
    output = steps.run("make score", make("score"), folder, f"Repeat it in {_relative(folder)}: make score.")
    with steps.step("compare the two predictions"):
        file = next((line.strip() for line in output.splitlines() if line.strip().endswith(".parquet")), "")
        compare(prediction, scored(folder, folder / file, request["customer_id"]))
    return request, prediction


def render(folder: Path) -> None:
    """Copy the template into a fresh folder. An older demo there is replaced; a folder with other files is refused."""
    from copier import run_copy

    if folder.exists() and any(folder.iterdir()) and not (folder / ".copier-answers.yml").exists():
        raise StepFailed(f"{folder} has other files in it", "Choose another folder with --into.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    run_copy(source(ROOT, folder.parent / "snapshot"), folder, vcs_ref="HEAD", defaults=True, quiet=True, unsafe=False)
    # With a repository of its own, git and ruff do not use the settings of the surrounding checkout.
    git("init", "--quiet", folder=folder)


def compare(served: dict[str, Any], batch: dict[str, Any]) -> None:
    """Raise StepFailed when the batch prediction for the same key differs from the served one."""
    if served["prediction"] != batch["prediction"] or abs(served["probability"] - batch["probability"]) > 1e-9:
        raise StepFailed(f"served {served}, scored {batch}", DISAGREE)


def readme_request(folder: Path) -> dict[str, Any]:
    """Return the body of the curl command in the README, so that the documented request is the tested one."""
    readme = folder / "README.md"
    body = readme.exists() and re.search(r"-d '(\{.*?\})'", readme.read_text(encoding="utf-8"), re.DOTALL)
    if not body:
        raise StepFailed("README.md has no curl with -d '{…}'", "Add one.")
    return dict(json.loads(body[1]))


def scored(folder: Path, file: Path, key: str) -> dict[str, Any]:
    """Return the batch prediction for a customer from the file that `make score` wrote."""
    python = str(folder / ".venv" / "bin" / "python")
    done = subprocess.run([python, "-c", SCORED, str(file), key], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise StepFailed(f"{file} cannot be read", "See the lines above.", done.stderr)
    rows = json.loads(done.stdout)
    if len(rows) != 1:
        raise StepFailed(f"{file} has {len(rows)} rows for {key}", "There must be one row for each customer.")
    return dict(rows[0])


def _relative(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
