"""OWNERS for the tests: the rendered file with people in it, and a git repository around it."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from lifecycle.ownership import Owners, examine
from looseleaf.snapshot import IDENTITY, git
from support.rendering import TEMPLATE, rendered_name, template_files

DAY = date(2026, 11, 24)
PEOPLE = {"data_science": ["ana"], "engineering": ["acme/eng"], "product": ["cy"]}
KNOWN = """
  people: {ana: [ana@example.org], bo: [bo@example.org], cy: [Cy@example.org]}
  teams: {acme/eng: [bo]}
  review_by: 2027-06-30
"""
# The files of a repository on GitHub.
FILES = sorted(
    name
    for name in map(rendered_name, template_files())
    if name != ".gitlab-ci.yml" and not name.startswith("lifecycle/ci/")
)


def owners_text(people: Mapping[str, Sequence[str]] | None = None, known: str = KNOWN) -> str:
    """Return the OWNERS of a render with these handles, and `known` at the end of `x-ownership`."""
    handles = PEOPLE if people is None else people
    text = (TEMPLATE / "OWNERS.jinja").read_text(encoding="utf-8")
    text = re.sub(r"\{\{ \[(\w+)\].*\}\}", lambda found: json.dumps(handles.get(found[1], [])), text)
    # `known` replaces the commented lines below `x-ownership`.
    text = re.sub(r"^  #.*\n", "", text, flags=re.MULTILINE)
    return text.replace("\n\nfilters:", f"{known.rstrip()}\n\nfilters:")


def owners_of(text: str) -> Owners:
    """Return the owners of a text whose format has no errors."""
    report = examine(text.encode(), None, DAY)
    assert report.owners is not None, report.findings
    return report.owners


def repository(root: Path, text: str | None = None, files: Sequence[str] = FILES) -> Path:
    """Create a git repository with OWNERS, its tool and empty files in a first commit; its author is ana."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    tool = root / "lifecycle/tools/owners.py"
    tool.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(TEMPLATE / "lifecycle/tools/owners.py", tool)
    (root / "pyproject.toml").write_text('[project]\nname = "churn"\ndescription = "Whom: do we \\"call\\"? #1"\n')
    (root / "OWNERS").write_text(owners_text() if text is None else text, encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", root], check=True)
    subprocess.run(["git", "-C", root, "config", "user.email", "ana@example.org"], check=True)
    commit(root)
    return root


def commit(root: Path) -> None:
    """Commit every change of a repository."""
    git("add", "--all", folder=root)
    git("-c", "commit.gpgsign=false", "commit", "--quiet", "--allow-empty", "--message=all", folder=root, **IDENTITY)
