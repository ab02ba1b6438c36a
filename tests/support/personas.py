"""Teams with a rendered repository: the edits that each makes before the next release of the template."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import yaml

from looseleaf.snapshot import git
from support.rendering import files, is_templates

# A line that the team adds to each kind of file; the checks of the repository still pass with it.
REMARKS = {".sql": "-- ours\n", ".md": "\nOurs.\n", ".py": "\n\n# ours\n"}
TEXTS = ("The discount offered", "The discount we offer")
DELETED = [
    ".github/workflows/lifecycle.yml",
    ".pre-commit-config.yaml",
    "OWNERS",
    "config/staging.yaml",
    "docs/agreement.md",
    "notebooks/first_look.ipynb",
    "renovate.json",
    "tests/test_notebook.py",
]
RENAMED = {
    "docs/agreement.md": "docs/decision.md",
    "notebooks/first_look.ipynb": "notebooks/exploration.ipynb",
    "tests/test_behaviour.py": "tests/test_expectations.py",
}
EDITED = "lifecycle/src/lifecycle/settings.py"


def untouched(folder: Path) -> None:
    """Edit nothing."""


def editing(folder: Path) -> None:
    """Add a line to every file of the team's zone."""
    for name in [name for name in files(folder) if not is_templates(name)]:
        path = folder / name
        if path.suffix == ".ipynb":
            notebook = json.loads(path.read_text(encoding="utf-8"))
            notebook["metadata"]["ours"] = True
            path.write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")
        elif name == "contract.json":
            # It is derived from contract.py, where the same text changes.
            path.write_text(path.read_text(encoding="utf-8").replace(*TEXTS), encoding="utf-8")
        elif name == "src/model/contract.py":
            path.write_text(path.read_text(encoding="utf-8").replace(*TEXTS) + "\n\n# ours\n", encoding="utf-8")
        elif path.suffix == ".json":
            # JSON has no comments, and a blank line at its end changes nothing.
            path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        else:
            with path.open("a", encoding="utf-8") as file:
                file.write(REMARKS.get(path.suffix, "# ours\n"))


def deleting(folder: Path) -> None:
    """Delete files that the team does not need, with the template's workflow."""
    for name in DELETED:
        (folder / name).unlink(missing_ok=True)


def renaming(folder: Path) -> None:
    """Rename files of the team's zone, and change what they contain."""
    for name, new in RENAMED.items():
        path = (folder / name).rename(folder / new)
        if path.suffix != ".ipynb":
            path.write_text(path.read_text(encoding="utf-8") + REMARKS[path.suffix], encoding="utf-8")


def adding(folder: Path) -> None:
    """Add code, tests, a job, a page, a workflow and a make target."""
    ours = {
        "src/model/seasons.py": '"""Seasons."""\n\nSUMMER = (6, 7, 8)\n',
        "tests/test_seasons.py": "from model import seasons\n\n\ndef test_it() -> None:\n    assert seasons.SUMMER\n",
        "docs/seasons.md": "# Seasons\n",
        "deploy/overlays/ours.yaml": "ours: true\n",
        "jobs/nightly.sh": "#!/bin/sh\nmake score\n",
        ".github/workflows/ours.yml": "name: ours\non: push\njobs: {ours: {runs-on: any, steps: [{run: make}]}}\n",
    }
    _write(folder, ours)
    with (folder / "Makefile").open("a", encoding="utf-8") as makefile:
        makefile.write("\nseasons: ## ours\n\t@echo summer\n")


def depending(folder: Path) -> None:
    """Add a dependency as `uv add` does, and code that uses it."""
    project = folder / "pyproject.toml"
    text = project.read_text(encoding="utf-8").replace(
        "dependencies = []", 'dependencies = [\n    "tabulate>=0.9",\n]', 1
    )
    assert tomllib.loads(text)["project"]["dependencies"] == ["tabulate>=0.9"]
    project.write_text(text, encoding="utf-8")
    test = folder / "tests/test_table.py"
    test.write_text(
        'import tabulate\n\n\ndef test_a_table() -> None:\n    assert tabulate.tabulate([["a"]])\n', encoding="utf-8"
    )


def adopting(folder: Path) -> None:
    """Have files before the template; a render is copied in without replacing them (docs/updating.md)."""
    existing = {
        "README.md": "# Our model\n",
        "legacy/forecast.py": "FORECAST = 1\n",
        "docs/agreement.md": "# What we had agreed on\n",
        ".gitignore": ".venv/\n.uv/\ndata/\nstorage/\n__pycache__/\n*.egg-info/\n",
    }
    _write(folder, existing)


def editing_the_template(folder: Path) -> None:
    """Add a line to a file of the template, in any release."""
    with (folder / EDITED).open("a", encoding="utf-8") as file:
        file.write("# ours\n")


def _write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


PERSONAS: dict[str, Callable[[Path], None]] = {
    each.__name__: each for each in (untouched, editing, deleting, renaming, adding, depending, adopting)
}


def edited_by(folder: Path, persona: Callable[[Path], None]) -> Path:
    """Commit a render, apply the edits of a team, and commit them."""
    git("init", "--quiet", folder=folder)
    commit(folder, "As rendered")
    persona(folder)
    commit(folder, "Ours")
    return folder


def keep_quick_tests(folder: Path) -> list[str]:
    """Delete the tests that train models, where those that stay are enough; return their names."""
    names = [f"tests/test_{name}.py" for name in ("behaviour", "features", "gates", "notebook")]
    for name in names:
        (folder / name).unlink()
    commit(folder, "Keep the quick tests")
    return names


def commit(folder: Path, message: str) -> None:
    """Commit everything without hooks."""
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--no-verify", "--allow-empty", "--message", message, folder=folder)


def choices_of(folder: Path) -> dict[str, object]:
    """Return the recorded choices, without the address of the template."""
    content = yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))
    return {name: value for name, value in content.items() if not name.startswith("_")}
