"""A rendered repository, a table, and the inference in it."""

from pathlib import Path

import pytest

from looseleaf import cli
from looseleaf.snapshot import git
from support.inference import written
from support.inferred_repository import COLUMNS, Run
from support.rendering import Template, tool


@pytest.fixture
def repository(template: Template, tmp_path: Path) -> Path:
    """Return a committed render whose environment contains only ruff."""
    folder = template.copy(tmp_path / "project")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/ruff").symlink_to(tool("ruff"))
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message=first", folder=folder)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table outside of the repository."""
    return written(tmp_path, COLUMNS)


@pytest.fixture
def contract(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`contract(FILE, LABEL, *options)` runs the inference; returns exit code and output."""
    monkeypatch.chdir(repository)

    def run(path: Path, label: str | None = "churn", *options: str) -> tuple[int, str]:
        named = ["--label", label] if label else []
        code = cli.main(["contract", "infer", "--data", str(path), *named, *options])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run
