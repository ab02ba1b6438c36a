"""`looseleaf lift NOTEBOOK`: carry a notebook into the repository in the current folder."""

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from tqdm import tqdm

from lifecycle.errors import LifecycleError
from looseleaf.contract.draft import MODEL, formatted
from looseleaf.contract.prompts import chooser
from looseleaf.lift import report, repository
from looseleaf.lift.lifting import Options, lift

REPORTS = ("docs/lift-report.md", "docs/lift-report.html")


def run(given: argparse.Namespace) -> int:
    """Lift and write; returns 0 when every comparison is equal, 1 otherwise, 130 on Ctrl-C."""
    root, choose = Path.cwd(), chooser(given.defaults).choose
    try:
        if not (root / MODEL / "contract.py").exists():
            raise LifecycleError(f"{root} has no {MODEL}/contract.py", "Run this in the root of a rendered repository.")
        with tqdm(unit="cell", disable=None) as bar:
            options = Options(
                data=given.data, label=given.label, model=given.model, kernel=given.kernel, packages=given.packages,
                seconds=given.seconds, progress=partial(_show, bar),
                choose=partial(choose, "Which prediction is to be carried over?"),
            )  # fmt: skip
            result = lift(Path(given.notebook), options, lambda text: tidy(root, text))
        pages = dict(zip(REPORTS, report.pages(result), strict=True))
        print("\n".join(report.lines(result)), flush=True)
        if result.is_verified and not given.dry_run:
            written = repository.write(root, result, given.data, pages, partial(_may_replace, choose, given.force))
        else:
            written = [f"written     {', '.join(pages)}"]
            for name, page in pages.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(page, encoding="utf-8")
        steps = () if given.dry_run else report.next_steps(result)
        print("\n".join([*written, *(f"next        {each}" for each in steps)]))
    except (LifecycleError, OSError, duckdb.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    return 0 if result.is_verified else 1


def tidy(root: Path, text: str) -> str:
    """Format the lifted text with the repository's ruff; a comment lists the rules that the author's lines break."""
    name = f"{MODEL}/lifted.py"
    text = formatted(root, name, f"# mypy: ignore-errors\n{text}").decode()
    command = [
        str(root / ".venv/bin/ruff"),
        "check",
        "--quiet",
        "--output-format",
        "json",
        "--stdin-filename",
        name,
        "-",
    ]
    done = subprocess.run(command, cwd=root, input=text, capture_output=True, text=True, encoding="utf-8")
    codes = sorted({each["code"] for each in json.loads(done.stdout or "[]") if each["code"]})
    return (f"# ruff: noqa: {', '.join(codes)}\n" if codes else "") + text


def _show(bar: Any, fact: dict[str, Any]) -> None:
    if "of" in fact:
        bar.total = fact["of"]
    if "seconds" in fact:
        bar.update()
    bar.set_description(fact.get("step") or f"cell {fact['cell']}")


def _may_replace(choose: Any, force: bool, names: str) -> bool:
    options = {"no": "keep them, and write nothing", "yes": "replace them, after a copy of each"}
    return force or choose(f"These files were edited: {names}.", options, "no") == "yes"
