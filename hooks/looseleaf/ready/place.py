"""A storage below build/ready, and commands that run on it in this process.

The imports of a process for each command would take most of the time.
"""

import contextlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lifecycle import timestamps
from looseleaf.project import environment as usual

WHY = "a drill of make ready"
LOCAL = "local"
ALONE = {"TRACKING__ENABLED": "false", "TRUSTED_KEYS": "[]"}


class Failed(Exception):
    """A command of a drill ended with an error."""


@dataclass(frozen=True)
class Place:
    """A storage below build/ready, and what runs commands on it."""

    root: Path
    storage: Path
    settings: Mapping[str, str]

    def run(self, *words: str, may_refuse: bool = False) -> str:
        """Run a command of the repository and return its output; raises Failed where it ends with an error."""
        from lifecycle import cli

        output = io.StringIO()
        given = {f"LIFECYCLE_{name}": value for name, value in (ALONE | dict(self.settings)).items()}
        variables = usual() | given | {"LIFECYCLE_STORAGE": str(self.storage)}
        with (
            patch.dict(os.environ, variables, clear=True),
            contextlib.chdir(self.root),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            code = cli.main(list(words))
        if code and not may_refuse:
            lines = [line for line in output.getvalue().splitlines() if line.startswith("error:")]
            raise Failed(f"lifecycle {' '.join(words)}: {lines[0] if lines else f'it ended with {code}'}")
        return output.getvalue()

    def versions(self) -> list[str]:
        """Return the versions in the storage, oldest first."""
        return sorted(path.name for path in (self.storage / "bundles").glob("[!.]*"))

    def train(self, as_of: int, environment: str) -> str:
        """Train as of a time in seconds, and return the version."""
        self.run("train", "--as-of", timestamps.format_utc(as_of), "--environment", environment)
        return self.versions()[-1]

    def decide(self, version: str, override: str = "") -> dict[str, Any]:
        """Promote a version, if the gate passes or with an override, and return the checks of the decision by name."""
        self.run("promote", version, "--why", WHY, *(("--override", override) if override else ()), may_refuse=True)
        pages = sorted((self.storage / f"reports/{LOCAL}/decisions").glob(f"{version}-*.json"))
        if not pages:
            raise Failed(f"the gate did not decide about {version}")
        return {check["name"]: check for check in json.loads(pages[-1].read_bytes())["checks"]}
