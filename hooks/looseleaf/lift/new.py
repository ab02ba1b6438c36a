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
FILES, TEXTS = ("notebook", "data", "kernel"), {"label": "LABEL", "model": "MODEL", "packages": "WITH"}
SETUP = "The package index must be reachable (UV_DEFAULT_INDEX selects another one)."
DECISION = "To be stated: which decision does a prediction of {name} improve, and for whom?"
# Names of files that do not name a model.
USUAL = ("", "untitled", "notebook", "main", "model", "copy")


def run(given: argparse.Namespace) -> int:
    """Render, install and lift; returns 0 when every comparison is equal, 1 otherwise, 130 on Ctrl-C."""
    root, steps = Path(given.new).expanduser().resolve(), Steps(environment())
    existed, is_ours = root.is_dir(), False
    try:
        goals = _goals(given)
        if others := {str(each.relative_to(root)) for each in root.rglob("*") if each.is_file()} - {*REPORTS}:
            raise StepFailed(f"{root} holds files already ({min(others)})", "Name a new folder.")
        source = _source()
        is_ours = True
        _clear(root, ())
        with steps.step("render the repository"):
            _render(root, *source, model_name(Path(given.notebook).stem, given.label, root.name))
        steps.run("make setup", make("setup"), root, SETUP, downloads=True)
        code = subprocess.run(make("lift", *goals), cwd=root, env=environment()).returncode
    except StepFailed as failed:
        print(f"{failed.tail}\nerror: {failed}\n  {failed.hint}".strip(), file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    # The lifted lines are written last, with all else: a later error is about predictions, not about half a repository.
    if (root / "src/model/lifted.py").exists():
        print(f"next        cd {os.path.relpath(root)}, and state the decision in README.md and docs/agreement.md")
    elif is_ours:
        _clear(root, REPORTS)
        if not existed and not any(root.iterdir()):
            root.rmdir()
        print(f"{root} has only the report" if root.exists() else f"{root} was removed", file=sys.stderr)
    return code if code == 130 else min(code, 1)


def model_name(*texts: str) -> str:
    """Return the first text that names a model as lower-case words joined by hyphens, at most 40 characters."""
    names = ("-".join(re.findall(r"[a-z0-9]+", text.lower())).lstrip("0123456789-") for text in texts)
    return next((name[:40].rstrip("-") for name in names if name not in USUAL), "model")


def _goals(given: argparse.Namespace) -> list[str]:
    """Return the variables of `make lift` for the options; raises StepFailed for a file that does not exist."""
    paths = {name: Path(getattr(given, name)).expanduser() for name in FILES if getattr(given, name)}
    for name in {"notebook", "data"} & paths.keys():
        if not paths[name].is_file():
            raise StepFailed(f"{paths[name]} is not a file", "Name a notebook (.ipynb), or its table with --data.")
    # A kernel may also be a name. The link to a Python of an environment must stay.
    found = {name: str(path.absolute()) if path.exists() else str(path) for name, path in paths.items()}
    values = {name.upper(): value for name, value in found.items()}
    values |= {variable: getattr(given, name) for name, variable in TEXTS.items()} | {"SECONDS": given.seconds}
    values |= {"YES": given.defaults and "1", "DRY_RUN": given.dry_run and "1"}
    return [f"{name}={value}" for name, value in values.items() if value]


def _source() -> tuple[str, str]:
    """Return the address of the template for Copier and the commit: what LOOSELEAF_SOURCE names, else what runs."""
    if named := os.environ.get("LOOSELEAF_SOURCE", ""):
        found = None if Path(named).exists() else re.fullmatch(r"(.*[/\w])@([\w.-]+)", named)
        return (found[1], found[2]) if found else (named, "HEAD")
    facts = json.loads(metadata.distribution("looseleaf").read_text("direct_url.json") or "{}")
    if "vcs_info" not in facts:
        raise StepFailed("looseleaf does not run from git", "Set LOOSELEAF_SOURCE to the folder of the template.")
    return f"git+{facts['url']}", facts["vcs_info"]["commit_id"]


def _render(root: Path, url: str, commit: str, name: str) -> None:
    from copier import run_copy

    choices = {"model_name": name, "decision": DECISION.format(name=name)}
    try:
        run_copy(url, root, data=choices, vcs_ref=commit, defaults=True, quiet=True, unsafe=False)
        git("init", "--quiet", folder=root)
    except Exception as error:
        problem = f"the template cannot be rendered from {url} ({type(error).__name__}: {error})"
        raise StepFailed(problem, "Set LOOSELEAF_SOURCE to the folder or address of the template.") from error


def _clear(root: Path, kept: tuple[str, ...]) -> None:
    """Create a folder, or remove what is in it, except for some files."""
    pages = {root / name: (root / name).read_bytes() for name in kept if (root / name).exists()}
    root.mkdir(parents=True, exist_ok=True)
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path, content in pages.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
