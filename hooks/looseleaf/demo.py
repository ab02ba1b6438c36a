"""The default repository from nothing to a served prediction that a batch confirms: what `make demo` runs."""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from looseleaf.project import ask, environment, make, readme_request, scored, service
from looseleaf.snapshot import git, source
from looseleaf.steps import StepFailed, Steps

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "The package index has to be reachable (UV_DEFAULT_INDEX names another one). Then run make demo again."
DISAGREE = "The service and the batch must agree: this is a defect of the template, please report it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The demo's options."""
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "demo", help="the folder to render into")
    parser.add_argument("--started", type=float, help="when the set-up of the checkout began, in seconds since 1970")


def run(given: argparse.Namespace) -> int:
    """Show the demo; 0 when the served prediction and the scored one agree, 1 with a hint otherwise, 130 on Ctrl-C."""
    steps, folder = Steps(environment()), given.into.resolve()
    print(f"The default repository, in {shown(folder)}:", flush=True)
    if given.started:
        steps.add("set up the checkout", max(0.0, time.time() - given.started), downloads=True)
    try:
        request, prediction = play(steps, folder)
    except StepFailed as failed:
        print(f"\n{failed.tail}\nThe demo stopped. {steps.current}: {failed}\n{failed.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo was stopped; nothing of it runs any more.", file=sys.stderr)
        return 130
    told = {"steps": steps.as_dicts(), "seconds": round(steps.seconds, 2), "prediction": prediction}
    (folder.parent / "demo.json").write_text(json.dumps(told, indent=2) + "\n")
    downloads = sum(step.seconds for step in steps.done if step.downloads)
    print(
        f"\n{json.dumps(request)} is answered with\n{json.dumps(prediction)}, and make score says the same.\n\n"
        f"{steps.seconds:.0f} seconds, and {downloads:.0f} for the steps that download. Next:\n\n"
        f"  cd {shown(folder)}\n"
        "  make year         # a year of its life in two minutes: drift, retrain, roll back\n"
        "  make serve        # then open http://127.0.0.1:8000/docs\n"
        "  make check test   # lint, types and contract; the team's tests\n"
        "  make help"
    )
    return 0


def play(steps: Steps, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every step of the demo; returns the request and its answer."""
    with steps.step("copy the template"):
        render(folder)
    steps.run("make setup", make("setup"), folder, NETWORK, downloads=True)
    for verb in ("train", "promote", "features"):
        steps.run(f"make {verb}", make(verb), folder, f"In {shown(folder)}, make {verb} runs it again.")
    request = readme_request(folder)
    log = folder.parent / "demo-serve.log"
    with steps.step("make serve, one request, SIGTERM"), service(folder, log) as address:
        answer = ask(f"{address}/predict", request)
    told = steps.run("make score", make("score"), folder, f"In {shown(folder)}, make score runs it again.")
    with steps.step("compare the two predictions"):
        file = next((line.strip() for line in told.splitlines() if line.strip().endswith(".parquet")), "")
        compare(answer, scored(folder, folder / file, request["customer_id"]))
    return request, answer


def render(folder: Path) -> None:
    """Copy the template into a fresh folder; an older demo there is replaced, anything else is refused."""
    from copier import run_copy

    if folder.exists() and any(folder.iterdir()) and not (folder / ".copier-answers.yml").exists():
        raise StepFailed(f"{folder} holds something else", "Name another folder with --into.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    url = source(ROOT, folder.parent / "snapshot")
    run_copy(url, folder, vcs_ref="HEAD", defaults=True, quiet=True, unsafe=False)
    # A repository of its own: git and ruff inside must not take the checkout around it for theirs.
    git("init", "--quiet", folder=folder)


def compare(served: dict[str, Any], batch: dict[str, Any]) -> None:
    """The batch's row for the same key must hold the same answer; raises StepFailed where it does not."""
    if served["prediction"] != batch["prediction"] or abs(served["probability"] - batch["probability"]) > 1e-9:
        raise StepFailed(f"served {served}, scored {batch}", DISAGREE)


def shown(path: Path) -> str:
    """A path as a person in the current folder would type it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def main() -> int:
    """`python -m looseleaf.demo`."""
    parser = argparse.ArgumentParser(prog="looseleaf.demo", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
