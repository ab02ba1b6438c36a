"""A storage below build/ready, and commands that run on it in this process."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from looseleaf.project import in_process

WHY = "a drill of make ready"
LOCAL = "local"
NONE: Mapping[str, str] = {}
ALONE = {"TRACKING__ENABLED": "false", "TRUSTED_KEYS": "[]"}


class Failed(Exception):
    """A command of a drill ended with an error."""


@dataclass(frozen=True)
class Place:
    """A storage below build/ready, and what runs commands on it."""

    root: Path
    storage: Path
    settings: Mapping[str, str]

    def run(self, *words: str, may_refuse: bool = False, settings: Mapping[str, str] = NONE) -> str:
        """Run a command with further settings and return its output; raises Failed where it ends with an error."""
        given = {f"LIFECYCLE_{name}": value for name, value in (ALONE | dict(self.settings) | dict(settings)).items()}
        code, output = in_process(self.root, words, given | {"LIFECYCLE_STORAGE": str(self.storage)})
        if code and not may_refuse:
            raise Failed(f"lifecycle {' '.join(words)}: {output.rpartition('error: ')[2].strip()}")
        return output

    def train(self, as_of: int, environment: str, settings: Mapping[str, str] = NONE) -> str:
        """Train as of a time in seconds, and return the version."""
        self.run("train", "--as-of", timestamps.format_utc(as_of), "--environment", environment, settings=settings)
        return max(path.name for path in (self.storage / "bundles").glob("[!.]*"))

    def decide(self, version: str, override: str = "") -> dict[str, Any]:
        """Promote a version, if the gate passes or with an override, and return the checks of the decision by name."""
        self.run("promote", version, "--why", WHY, *(("--override", override) if override else ()), may_refuse=True)
        return {check["name"]: check for check in self.newest(f"reports/{LOCAL}/decisions/{version}-*.json")["checks"]}

    def newest(self, pattern: str) -> dict[str, Any]:
        """Return the last document by name that a command wrote; raises Failed where it wrote none."""
        if not (paths := sorted(self.storage.glob(pattern))):
            raise Failed(f"no command wrote {pattern}")
        return dict(json.loads(paths[-1].read_bytes()))
