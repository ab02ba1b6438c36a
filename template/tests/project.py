"""The commands of this repository, run on tables and a storage that only the tests use."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from lifecycle import cli, storage
from lifecycle.models import bundle

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Project:
    """A repository with its tables and its storage."""

    data: Path
    storage: Path
    root: Path = ROOT

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run `lifecycle ARGUMENTS`, and return the exit code and the output."""
        output = io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            patch.chdir(self.root)
            # Without the limit, a model is converted in this process, which starts faster.
            settings = {"DATA": self.data, "STORAGE": self.storage, "TRAIN__EXPORT_SECONDS": "0"}
            settings |= {"TRACKING__ENABLED": "false"} | environment
            for name, value in settings.items():
                patch.setenv(f"LIFECYCLE_{name}", str(value))
            code = cli.main(list(arguments))
        return code, output.getvalue()

    def succeed(self, *arguments: str) -> str:
        """Run a command that must succeed, and return its output."""
        code, output = self.run(*arguments)
        assert code == 0, output
        return output

    @property
    def newest(self) -> bundle.Bundle:
        """Return the bundle that was trained last."""
        store = storage.Store(self.storage)
        return bundle.open_version(store, store.versions()[-1])
