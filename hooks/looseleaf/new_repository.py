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

from looseleaf.project import environment, make
from looseleaf.snapshot import git

FILES = {"NOTEBOOK": "notebook", "DATA": "data", "KERNEL": "kernel"}
OTHERS = {"LABEL": "label", "MODEL": "model", "WITH": "packages", "SECONDS": "seconds"}
FLAGS = {"YES": "defaults", "DRY_RUN": "dry_run"}
SOURCE = "Set LOOSELEAF_SOURCE to the folder or address of the template."
HERE = "this is not the environment of a rendered repository"
DECISION = "To be stated: which decision does a prediction of {name} improve, and for whom?"
# Names of files that do not name a model.
USUAL = ("", "untitled", "notebook", "main", "model")


def run(given: argparse.Namespace) -> int:
    """Render, install and lift; returns 0 when every comparison is equal, 1 otherwise, 130 on Ctrl-C."""
    root = Path(given.new).expanduser().resolve()
    values = {name: getattr(given, option) for name, option in (FILES | OTHERS | FLAGS).items()}
    paths = {name: Path(values[name]).expanduser() for name in FILES}
    # A kernel may be a name; the link to a Python of an environment must stay.
    values |= {name: path.absolute() for name, path in paths.items() if path.is_file()}
    if root.exists() or not paths["NOTEBOOK"].is_file():
        problem = f"{root} exists already" if given.new else HERE
        problem = problem if root.exists() else f"{paths['NOTEBOOK']} is not a file"
        print(f"error: {problem}\n  Name a notebook, and a new folder with --new.", file=sys.stderr)
        return 1
    try:
        _render(root, model_name(paths["NOTEBOOK"].stem, given.label, root.name))
        goals = [f"{name}={value}" for name, value in values.items() if value]
        code = min(1, subprocess.run(make("setup", "lift", *goals), cwd=root, env=environment()).returncode)
    except KeyboardInterrupt:
        code = 130
    # Copier and git raise their own types.
    except Exception as error:
        print(f"error: the template cannot be rendered ({type(error).__name__}: {error})\n  {SOURCE}", file=sys.stderr)
        code = 1
    # All files of a lift are written at once: a later error is about the predictions here, not about half a repository.
    if (root / "src/model/lifted.py").exists():
        print(f"next        cd {os.path.relpath(root)}, and state the decision in README.md and docs/agreement.md")
        return code
    for page in root.glob("docs/lift-report.*"):
        page.replace(kept := root.with_name(f"{root.name}-{page.name}"))
        print(f"kept        {os.path.relpath(kept)}")
    shutil.rmtree(root, ignore_errors=True)
    return code


def model_name(*texts: str) -> str:
    """Return the first text that names a model as lower-case words joined by hyphens, at most 40 characters."""
    names = ("-".join(re.findall(r"[a-z0-9]+", text.lower())).lstrip("0123456789-") for text in texts)
    return next((name[:40].rstrip("-") for name in names if name not in USUAL), "model")


def _render(root: Path, name: str) -> None:
    """Render what LOOSELEAF_SOURCE names, else the commit that this command was installed from."""
    from copier import run_copy

    url, commit = os.environ.get("LOOSELEAF_SOURCE", ""), "HEAD"
    if not url:
        facts = json.loads(metadata.distribution("looseleaf").read_text("direct_url.json") or "{}")
        url, commit = f"git+{facts['url']}", facts["vcs_info"]["commit_id"]
    choices = {"model_name": name, "decision": DECISION.format(name=name)}
    run_copy(url, root, data=choices, vcs_ref=commit, defaults=True, quiet=True, unsafe=False)
    git("init", "--quiet", folder=root)
