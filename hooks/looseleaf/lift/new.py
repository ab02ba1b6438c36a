"""`looseleaf lift NOTEBOOK --new DIR`: render a repository and lift a notebook into it, or leave only the report."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from looseleaf.errors import StepFailed
from looseleaf.project import environment, make
from looseleaf.snapshot import git
from looseleaf.steps import Steps

REPORTS = ("docs/lift-report.md", "docs/lift-report.html")
# The variables of `make lift` for the options.
FILES = {"NOTEBOOK": "notebook", "DATA": "data", "KERNEL": "kernel"}
TEXTS = {"LABEL": "label", "MODEL": "model", "WITH": "packages", "SECONDS": "seconds"}
FLAGS = {"YES": "defaults", "DRY_RUN": "dry_run"}
SETUP = "The package index must be reachable (UV_DEFAULT_INDEX selects another one)."
ADDRESS = "Set LOOSELEAF_SOURCE to the folder or address of the template."
DECISION = "To be stated: which decision does a prediction of {name} improve, and for whom?"
# Names of files that do not name a model.
USUAL = ("", "untitled", "notebook", "main", "model")


def run(given: argparse.Namespace) -> int:
    """Render, install and lift; returns 0 when every comparison is equal, 1 otherwise, 130 on Ctrl-C."""
    root, steps, is_ours = Path(given.new).expanduser().resolve(), Steps(environment()), False
    try:
        goals, (url, commit) = _goals(given), _source()
        files = {str(each.relative_to(root)) for each in root.rglob("*") if not each.is_dir()}
        if root.exists() and files != {*REPORTS}:
            raise StepFailed(f"{root} exists already", "Name a new folder.")
        is_ours = True
        shutil.rmtree(root, ignore_errors=True)
        with steps.step("render the repository"):
            _render(root, url, commit, model_name(Path(given.notebook).stem, given.label, root.name))
        steps.run("make setup", make("setup"), root, SETUP, downloads=True)
        code = min(1, subprocess.run(make("lift", *goals), cwd=root, env=environment()).returncode)
    except StepFailed as failed:
        print(f"{failed.tail}\nerror: {failed}\n  {failed.hint}".strip(), file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    # All files of a lift are written at once: a later error is about the predictions here, not about half a repository.
    if (root / "src/model/lifted.py").exists():
        print(f"next        cd {os.path.relpath(root)}, and state the decision in README.md and docs/agreement.md")
    elif is_ours:
        _remove(root)
        print(f"{root} has only the report" if root.exists() else f"{root} was removed", file=sys.stderr)
    return code


def model_name(*texts: str) -> str:
    """Return the first text that names a model as lower-case words joined by hyphens, at most 40 characters."""
    names = ("-".join(re.findall(r"[a-z0-9]+", text.lower())).lstrip("0123456789-") for text in texts)
    return next((name[:40].rstrip("-") for name in names if name not in USUAL), "model")


def _goals(given: argparse.Namespace) -> list[str]:
    """Return the variables of `make lift`; raises StepFailed for a file that does not exist."""
    values = {name: getattr(given, option) for name, option in (FILES | TEXTS).items()}
    for name in FILES:
        path = Path(values[name]).expanduser()
        if path.is_file():
            # The link to a Python of an environment must stay.
            values[name] = str(path.absolute())
        elif name == "NOTEBOOK":
            raise StepFailed(f"{path} is not a file", "Name a notebook (.ipynb), or a .py file with # %% cells.")
    values |= {name: int(getattr(given, option)) for name, option in FLAGS.items()}
    return [f"{name}={value}" for name, value in values.items() if value]


def _source() -> tuple[str, str]:
    """Return the address of the template for Copier and its commit: what LOOSELEAF_SOURCE names, else what runs."""
    if named := os.environ.get("LOOSELEAF_SOURCE", ""):
        return named, "HEAD"
    facts = json.loads(metadata.distribution("looseleaf").read_text("direct_url.json") or "{}")
    if "vcs_info" not in facts:
        raise StepFailed("this command was not installed from git", ADDRESS)
    return f"git+{facts['url']}", facts["vcs_info"]["commit_id"]


def _render(root: Path, url: str, commit: str, name: str) -> None:
    from copier import run_copy

    choices = {"model_name": name, "decision": DECISION.format(name=name)}
    try:
        run_copy(url, root, data=choices, vcs_ref=commit, defaults=True, quiet=True, unsafe=False)
        git("init", "--quiet", folder=root)
    except Exception as error:
        problem = f"the template cannot be rendered from {url} ({type(error).__name__}: {error})"
        raise StepFailed(problem, ADDRESS) from error


def _remove(root: Path) -> None:
    """Remove a repository, except for the report of the lift."""
    pages = {root / name: (root / name).read_bytes() for name in REPORTS if (root / name).exists()}
    shutil.rmtree(root, ignore_errors=True)
    for path, content in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
