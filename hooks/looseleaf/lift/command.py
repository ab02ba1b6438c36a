"""`looseleaf lift NOTEBOOK`: carry a notebook into the repository in the current folder."""

import argparse
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from tqdm import tqdm

from lifecycle.errors import LifecycleError
from lifecycle.storage import write_atomically
from looseleaf.contract.changes import REPORT, digest
from looseleaf.contract.draft import MODEL, formatted
from looseleaf.contract.prompts import chooser
from looseleaf.lift import report, repository
from looseleaf.lift.hints import TEXTS
from looseleaf.lift.lifting import Options, lift
from looseleaf.lift.repository import FACTS, TEST, as_json

REPORTS = ("docs/lift-report.md", "docs/lift-report.html")
# What the test of a lift prints.
DIFFERENT = r"AssertionError: ((\d+) of (\d+) rows differ from the author's, by at most ([\d.e+-]+))"


def run(given: argparse.Namespace) -> int:
    """Lift and write; returns 0 when every comparison is equal, 1 otherwise, 130 on Ctrl-C."""
    root, choose, state = Path.cwd(), chooser(given.defaults).choose, "nothing was written"
    try:
        if not (root / MODEL / "contract.py").exists():
            raise LifecycleError(f"{root} has no {MODEL}/contract.py", "Run this in the root of a rendered repository.")
        # zsh leaves the `~` of NOTEBOOK=~/churn.ipynb.
        notebook, data, kernel = map(os.path.expanduser, (given.notebook, given.data, given.kernel))
        with tqdm(unit="cell", disable=None) as bar:
            # A comment of ruff lists the rules that the author's lines break.
            tidy = partial(formatted, root, f"{MODEL}/lifted.py", rules=())
            options = Options(
                data=data, label=given.label, model=given.model, kernel=kernel, packages=given.packages,
                seconds=given.seconds, progress=partial(_show, bar),
                choose=partial(choose, "Which prediction is to be carried over?"),
                tidy=lambda text: tidy(f"# mypy: ignore-errors\n{text}").decode(),
            )  # fmt: skip
            result = lift(Path(notebook), options)
        print("\n".join(report.lines(result)), flush=True)
        writes = result.is_verified and not given.dry_run
        if writes:
            may_replace = partial(_may_replace, choose, given.force)
            print("\n".join(repository.write(root, result, data, may_replace)), flush=True)
            state = f"the files are written; .venv/bin/pytest {TEST} compares the predictions"
        for name, page in zip(REPORTS, report.pages(result), strict=True):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(page, encoding="utf-8")
        print(f"written     {', '.join(REPORTS)}", flush=True)
        if writes:
            print("\n".join(compare(root, "note" not in result.checks["parities"]["retrain"])))
        steps = () if given.dry_run else report.next_steps(result)
        print("\n".join(f"next        {each}" for each in steps))
    except (LifecycleError, OSError, duckdb.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; {state}", file=sys.stderr)
        return 130
    return 0 if result.is_verified else 1


def _show(bar: Any, fact: dict[str, Any]) -> None:
    bar.total, bar.n = fact.get("of", bar.total), fact.get("cell", bar.n)
    bar.set_description(fact.get("step") or f"cell {fact['cell']}")


def _may_replace(choose: Any, force: bool, names: str) -> bool:
    options = {"no": "keep them, and write nothing", "yes": "replace them, after a copy of each"}
    return force or choose(f"These files were edited: {names}.", options, "no") == "yes"


def compare(root: Path, has_seed: bool) -> list[str]:
    """Run the test of the lift in the repository's environment; returns lines for the terminal.

    How many rows differ from the author's predictions, and by how much, is recorded; the test fails where it grows.
    Raises LifecycleError where the test fails, and where most rows of a notebook with a seed differ.
    """
    done, lines = _tested(root), []
    if found := re.search(DIFFERENT, done.stdout):
        before = (root / FACTS).read_bytes()
        after = as_json(json.loads(before) | {"different": int(found[2]), "largest": float(found[4])})
        write_atomically(root / FACTS, after)
        record = root / REPORT
        record.write_text(record.read_text("utf-8").replace(digest(before), digest(after)), "utf-8")
        lines = [f"{'with the versions here' if has_seed else 'without a seed'}, {found[1]}; {TEST} now allows it"]
        done = _tested(root)
    if done.returncode:
        reason = next((line[1:].strip() for line in done.stdout.splitlines() if line[:2] == "E "), done.stdout[-300:])
        problem = f"src/model/lifted.py was written, and does not run in this repository: {reason}"
        missing = (*re.findall(r"No module named '(\w+)", reason), "")[0]
        hint = TEXTS["install"].get(missing, "Change that line of the author, or install what it imports")
        raise LifecycleError(problem, f"{hint}, and run .venv/bin/pytest {TEST} again.")
    if found and has_seed and 2 * int(found[2]) > int(found[3]):
        raise LifecycleError(lines[0], "First compare the versions in docs/lift-report.md with those in uv.lock.")
    return [*lines, f"in this repository, {TEST} passes: {done.stdout.strip().splitlines()[-1]}"]


def _tested(root: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(root / ".venv/bin/python"), "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", TEST]
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, encoding="utf-8")
