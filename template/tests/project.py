"""The verbs of this repository, run on tables and a storage that only the tests use."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from lifecycle import storage
from lifecycle.cli import entry
from lifecycle.models import bundle

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Project:
    """A repository with its tables and its storage."""

    data: Path
    storage: Path
    root: Path = ROOT

    def run(self, *words: str, **environment: str) -> tuple[int, str]:
        """Run `lifecycle WORDS`; returns the exit code and all that was printed."""
        told = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            patch.chdir(self.root)
            given = {"DATA": self.data, "STORAGE": self.storage, "TRACKING__ENABLED": "false"} | environment
            for name, value in given.items():
                patch.setenv(f"LIFECYCLE_{name}", str(value))
            code = entry.main(list(words))
        return code, told.getvalue()

    def done(self, *words: str) -> str:
        """As `run`, for what must succeed."""
        code, told = self.run(*words)
        assert code == 0, told
        return told

    @property
    def newest(self) -> bundle.Bundle:
        """The bundle that was trained last."""
        places = storage.Store(self.storage)
        return bundle.open_version(places, places.versions()[-1])
