"""A small template whose releases the tests make."""

import sys
from pathlib import Path

import pytest

from looseleaf.snapshot import git
from support.releasing import commit
from support.rendering import SOURCES

# Each check is recorded as by the template's own Makefile.
MAKEFILE = f"""lint test test-slow:
\t@echo "$@ $(VERSION)" >> .git/ran
\t@PYTHONPATH={SOURCES} {sys.executable} -m maintenance.checks $@ sh -c '[ ! -e .git/$@.sh ] || sh .git/$@.sh'
\t@[ ! -e .git/$@.after.sh ] || sh .git/$@.after.sh
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a template with one release and a later commit; its make targets record their calls."""
    root = tmp_path / "checkout"
    (root / "template/lifecycle/src/lifecycle").mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", folder=root)
    written = {
        "CHANGELOG.md": "# Changes\n\n## Not released\n\nThe first.\n",
        "pyproject.toml": '[project]\nname = "looseleaf"\nversion = "0.1.0"\n',
        "template/lifecycle/src/lifecycle/__init__.py": '"""Code."""\n\n__version__ = "0.2.0.dev0"\n',
        "template/lifecycle/manifest.json.jinja": "{}\n",
        "template/lifecycle/lifecycle.mk": "RELEASED := 2001-01-01T00:00:00Z\n",
        ".gitignore": "/build/\n",
        "Makefile": MAKEFILE,
    }
    for name, text in written.items():
        (root / name).write_text(text)
    commit(root, "The first release")
    first = git("rev-parse", "HEAD", folder=root)
    (root / "releases.toml").write_text(f'[releases]\n"0.1.0" = "{first}"\n')
    (root / "CHANGELOG.md").write_text(
        "# Changes\n\n## Not released\n\nMore.\n\n- by far\n\n## 0.1.0 (2026-01-01)\n\nOld.\n"
    )
    commit(root, "Something new")
    return root
