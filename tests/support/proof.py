"""Run the parts of `make proof` one after the other, and write docs/proof.md from their results.

`python tests/support/proof.py [PART …]` runs some parts and takes the results of the others from build/. Every part
runs, also after one that found something; the page states what, and the exit code is then 1.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

from looseleaf.snapshot import git
from support.rendering import ROOT

BUILD = ROOT / "build"
PAGE = ROOT / "docs/proof.md"
# By part: the scripts in tests/support, each of which writes build/<script>.json.
PARTS = {
    "loop": ("loop", "false_alarms"),
    "mutation": ("mutation",),
    "sweep": ("sweep",),
    "soak": ("soak",),
}
# Where each part was run: commit, date, minutes, and whether it found something.
RUNS = BUILD / "proof.json"


def page(results: dict[str, Any], runs: dict[str, dict[str, Any]]) -> str:
    """Return docs/proof.md: the results by script, and how each part was run."""
    mutation, sweep, soak = (results[name] for name in ("mutation", "sweep", "soak"))
    detected, mutants = (sum(each[key] for each in mutation.values()) for key in ("detected", "mutants"))
    missed = [name for name, test in sweep["files"].items() if not test]
    parts = [
        f"| {part} | {run['commit']} | {run['date']} | {run['minutes']} | {'passed' if run['passed'] else 'FAILED'} |"
        for part, run in runs.items()
    ]
    rows = [f"| `{name}` | {each['detected']} | {each['mutants']} |" for name, each in mutation.items()]
    lines = [
        "# Proof",
        "",
        "Written by `make proof`.",
        "",
        *("| part | commit | date | minutes | result |", "|---|---|---|--:|---|", *parts),
        "",
        "## Mutation",
        "",
        f"mutmut changed the modules that decide something; tests detect {detected} of {mutants} mutants.",
        "",
        *("| module | detected | mutants |", "|---|--:|--:|", *rows),
        "",
        "## Deletion sweep",
        "",
        f"Each of {len(sweep['files'])} template files was deleted in turn. No test failed without: "
        + (", ".join(f"`{name}`" for name in missed) or "none of them")
        + ".",
        "",
        "## Soak test",
        "",
    ]
    for name, figures in soak["figures"].items():
        lines += [f"{name}:", "", *(f"- {each}" for each in figures), ""]
    lines += [
        "Exceeded bounds: " + ("; ".join(soak["faults"]) or "none") + ".",
        "",
        "## Simulated years",
        "",
        "The commands of a repository learn a change, compared with an oracle (`tests/support/loop.py`):",
        "",
        *(f"- {line}" for line in results["loop"]),
        "",
        "## False alarms",
        "",
        "Monitoring of windows without a change, and of windows with one (`tests/support/false_alarms.py`):",
        "",
        *("```text", *results["false_alarms"], "```"),
        "",
    ]
    return "\n".join(lines)


def run_part(part: str) -> dict[str, Any]:
    """Run the scripts of a part; returns commit, date, minutes and whether it passed."""
    commit = git("describe", "--always", "--dirty", folder=ROOT)
    began, passed = time.monotonic(), True
    for name in PARTS[part]:
        # A result of an earlier run must not be taken for that of a script that failed.
        (BUILD / f"{name}.json").unlink(missing_ok=True)
        command = [sys.executable, str(ROOT / f"tests/support/{name}.py")]
        passed &= (
            subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": f"tests{os.pathsep}."}).returncode == 0
        )
    minutes = round((time.monotonic() - began) / 60)
    print(f"{part}: {'passed' if passed else 'FAILED'} after {minutes} minutes", flush=True)
    return {"commit": commit, "date": f"{datetime.now(UTC):%Y-%m-%d}", "minutes": minutes, "passed": passed}


def main() -> int:
    """Run the parts and write the page; returns 1 if a part failed or a result is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    given = parser.parse_args()
    if unknown := {*given.parts} - {*PARTS}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    BUILD.mkdir(exist_ok=True)
    runs = json.loads(RUNS.read_text(encoding="utf-8")) if RUNS.is_file() else {}
    for part in given.parts or PARTS:
        runs[part] = run_part(part)
        RUNS.write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")
    names = [name for scripts in PARTS.values() for name in scripts]
    if missing := [name for name in names if not (BUILD / f"{name}.json").is_file()]:
        print(f"build/ lacks the results of {', '.join(missing)}: docs/proof.md was not written.", file=sys.stderr)
        return 1
    results = {name: json.loads((BUILD / f"{name}.json").read_text(encoding="utf-8")) for name in names}
    PAGE.write_text(page(results, {part: runs[part] for part in PARTS}), encoding="utf-8")
    return int(not all(runs[part]["passed"] for part in PARTS))


if __name__ == "__main__":
    sys.exit(main())
