"""`looseleaf lift NOTEBOOK --new DIR`: render a repository and lift a notebook into it, or leave only the report."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from looseleaf.errors import UpdateError
from looseleaf.project import environment, make
from looseleaf.snapshot import git
from looseleaf.steps import stop
from looseleaf.update import source

FILES = {"NOTEBOOK": "notebook", "DATA": "data", "KERNEL": "kernel"}
OTHERS = {"LABEL": "label", "MODEL": "model", "WITH": "packages", "SECONDS": "seconds"}
FLAGS = {"YES": "defaults", "DRY_RUN": "dry_run"}
REQUIRED = ("NOTEBOOK", "DATA")
WAY_ON = "Name a notebook, and a new folder with --new; in a rendered repository, run make lift NOTEBOOK=FILE."
HERE = "this is not the environment of a rendered repository"
DECISION = "To be stated: which decision does a prediction of {name} improve, and for whom?"
# File names that do not describe a model.
USUAL = ("", "untitled", "notebook", "main", "model")


def run(given: argparse.Namespace) -> int:
    """Render, install and lift; returns 0 when every comparison is equal, 1 otherwise, 130 on Ctrl-C."""
    root = Path(given.new).expanduser().resolve()
    values = {name: getattr(given, option) for name, option in (FILES | OTHERS | FLAGS).items()}
    paths = {name: Path(values[name]).expanduser() for name in FILES}
    # KERNEL may be a kernel's name. Links are not resolved, because the `python` of a virtual environment is one.
    values |= {name: path.absolute() for name, path in paths.items() if path.is_file()}
    missing = [path for name, path in paths.items() if name in REQUIRED and values[name] and not path.is_file()]
    problem = HERE if not given.new else f"{root} already exists" if root.exists() else ""
    problem = problem or (f"{missing[0]} is not a file" if missing else "")
    if problem:
        print(f"error: {problem}\n  {WAY_ON}", file=sys.stderr)
        return 1
    try:
        code = _lift(root, model_name(paths["NOTEBOOK"].stem, given.label, root.name), values)
    except KeyboardInterrupt:
        code = 130
    except (UpdateError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    # The lift writes all of its files or none, so a repository that has them is complete and is kept.
    if (root / "src/model/lifted.py").exists():
        if code == 0:
            print(f"next        cd {os.path.relpath(root)}, and state the decision in README.md and docs/agreement.md")
        return code
    for page in root.glob("docs/lift-report.*"):
        page.replace(kept := root.with_name(f"{root.name}-{page.name}"))
        print(f"kept        {os.path.relpath(kept)}")
    shutil.rmtree(root, ignore_errors=True)
    return code


def _lift(root: Path, name: str, values: dict[str, Any]) -> int:
    """Render the repository, and run its own commands; returns 0 or 1."""
    variables = _render(root, name)
    goals = [f"{name}={value}" for name, value in values.items() if value]
    process = subprocess.Popen(
        make("setup", "lift", *goals), cwd=root, env=environment() | variables, text=True, start_new_session=True
    )
    try:
        return int(process.wait() != 0)
    except BaseException:
        # The notebook's process would write to a folder that is removed.
        stop(process)
        raise


def model_name(*texts: str) -> str:
    """Return the first text that names a model as lower-case words joined by hyphens, at most 40 characters."""
    names = ("-".join(re.findall(r"[a-z0-9]+", text.lower())).lstrip("0123456789-") for text in texts)
    return next((name[:40].rstrip("-") for name in names if name not in USUAL), "model")


def _render(root: Path, name: str) -> dict[str, str]:
    """Render the template that `located` finds; returns the variable that names it for the commands of the repository.

    Raises UpdateError where there is no template, or Copier cannot render it.
    """
    from copier import run_copy

    (installed, installed_commit), named = source.installed_from(), os.environ.get(source.VARIABLE, "")
    if not installed and not named:
        raise UpdateError("this command was not installed from a git repository, so no template is known", source.HINT)
    address, _ = source.located({"_src_path": installed or named}, Path.cwd())
    public, (_, reference) = source.without_credentials(address), source.split_reference(named, Path.cwd())
    commit = reference or ("HEAD" if named else installed_commit)
    is_folder = Path(address).is_dir()
    url = f"git+file://{address}" if is_folder else f"git+{address}" if "://" in address else address
    choices = {"model_name": name, "decision": DECISION.format(name=name)}
    try:
        run_copy(url, root, data=choices, vcs_ref=commit, defaults=True, quiet=True, unsafe=False)
        git("init", "--quiet", folder=root)
    # Copier and git raise their own types.
    except Exception as error:
        problem = f"the template cannot be rendered ({type(error).__name__}: {error})"
        raise UpdateError(problem.replace(address, public), source.HINT) from None
    # Credentials in an address are not recorded.
    recorded = root / source.ANSWERS_FILE
    recorded.write_text(recorded.read_text(encoding="utf-8").replace(address, public), encoding="utf-8")
    return {source.VARIABLE: f"{address}@{reference}" if reference else address} if named else {}
