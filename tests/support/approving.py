"""A repository in which people approve and promote, for the tests of approvals."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from lifecycle import cli
from lifecycle.storage import Store
from support.owned import commit, owners_text
from support.rendering import TEMPLATE

PAGE = (TEMPLATE / "docs/agreement.md.jinja").read_text(encoding="utf-8")
SOON = str(date.today() + timedelta(30))
OWNERS = owners_text().replace("2027-06-30", SOON)


def filled(page: str) -> str:
    """Return the page with something in every cell."""
    while "| |" in page:
        page = page.replace("| |", "| filled |")
    return page


@dataclass(frozen=True)
class Repository:
    """A repository and its storage, as seen by the person set with `git` or `ci`."""

    root: Path
    store: Store
    patch: pytest.MonkeyPatch
    printed: Callable[[], Any]

    def git(self, address: str | None) -> None:
        """Set the address in git configuration; None removes it."""
        for variable in ("GITHUB_ACTIONS", "GITHUB_ACTOR"):
            self.patch.delenv(variable, raising=False)
        self.patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        words = ["user.email", address] if address else ["--unset", "user.email"]
        subprocess.run(["git", "-C", self.root, "config", *words], check=True)

    def ci(self, handle: str) -> None:
        """Set the handle in the variables of a CI host."""
        self.patch.setenv("GITHUB_ACTIONS", "true")
        self.patch.setenv("GITHUB_ACTOR", handle)

    def call(self, *words: str, environment: str = "production") -> tuple[int, str]:
        """Run a command, in production by default; return its exit code and output."""
        code = cli.main([*words, "--environment", environment])
        printed = self.printed()
        return code, printed.out + printed.err

    def owners(self, old: str, new: str) -> None:
        """Change OWNERS and commit it."""
        text = (self.root / "OWNERS").read_text(encoding="utf-8")
        assert old in text
        (self.root / "OWNERS").write_text(text.replace(old, new), encoding="utf-8")
        commit(self.root)

    def audit(self) -> list[dict[str, Any]]:
        """Return the lines of the audit log."""
        return [json.loads(line) for line in self.store.audit.read_bytes().splitlines()]

    @property
    def versions(self) -> list[str]:
        """Return both versions, the older first."""
        return self.store.versions()


def approved(here: Repository, handle: str, *words: str) -> None:
    """Approve as a person in a CI job."""
    here.ci(handle)
    code, output = here.call("approve", *words)
    assert code == 0, output
