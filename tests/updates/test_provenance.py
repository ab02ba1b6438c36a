"""`make provenance` compares the template's zone with the recorded release, which a rewritten manifest cannot hide."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from looseleaf.snapshot import git
from looseleaf.update import provenance
from support.proposals import save
from support.rendering import Template, run


@pytest.fixture
def repository(template: Template, tmp_path: Path) -> Path:
    """Return a committed repository of a release of the template."""
    source = Template(shutil.copytree(template.folder, tmp_path / "template"))
    source.release("v9999.0.1")
    folder = source.copy(tmp_path / "rendered")
    git("init", "--quiet", folder=folder)
    save(folder, "The first")
    return folder


def test_an_untouched_repository_matches_its_release(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Files of the team, other workflows and deleted workflows are the team's decision.
    (repository / "README.md").write_text("mine\n")
    (repository / ".github/workflows/theirs.yml").write_text("on: push\n")
    (repository / ".github/workflows/lifecycle-update.yml").unlink()
    save(repository, "Work of the team")
    assert provenance.run(repository) == 0
    assert capsys.readouterr().out.startswith("lifecycle/ is identical to 9999.0.1 of ")


def test_a_file_that_was_edited_together_with_its_hash_is_found(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited, path = "lifecycle/src/lifecycle/training/gate.py", repository / "lifecycle/manifest.json"
    manifest = json.loads(path.read_text())
    (repository / edited).write_text("def passes() -> bool:\n    return True\n")
    manifest["files"][edited] = hashlib.sha256((repository / edited).read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest, indent=2))
    (repository / "lifecycle/own.py").write_text("")
    (repository / "lifecycle/docs/data.md").unlink()
    (repository / ".github/workflows/lifecycle.yml").write_text("on: push\n")
    save(repository, "An edit")
    assert provenance.run(repository) == 3
    assert [line.strip() for line in capsys.readouterr().err.splitlines()[1:-1]] == [
        ".github/workflows/lifecycle.yml (changed)",
        "lifecycle/docs/data.md (missing)",
        "lifecycle/manifest.json (changed)",
        "lifecycle/own.py (added)",
        f"{edited} (changed)",
    ]


@pytest.mark.parametrize(("old", "new"), [("_commit: ", "_commit: nonsense"), ("_src_path: ", "_src: ")])
def test_an_answers_file_without_a_release_is_not_taken_for_a_template_that_is_not_reachable(
    repository: Path, old: str, new: str
) -> None:
    path = repository / ".copier-answers.yml"
    path.write_text(path.read_text().replace(old, new))
    save(repository, "An edit")
    assert provenance.run(repository) == 3


def test_a_template_that_is_gone_is_an_error_of_one_line(repository: Path) -> None:
    (repository.parent / "template").rename(repository.parent / "moved")
    done = run(sys.executable, "-m", "looseleaf.cli", "provenance", folder=repository)
    assert (done.returncode, "does not exist" in done.stdout, "Traceback" in done.stdout) == (1, True, False)


@pytest.mark.parametrize(("code", "passes", "notice"), [(0, True, False), (3, False, False), (2, True, True)])
def test_the_check_passes_with_a_notice_where_the_template_is_not_reachable(
    render: Callable[..., Path], tmp_path: Path, code: int, passes: bool, notice: bool
) -> None:
    folder = shutil.copytree(render(), tmp_path / "rendered")
    programs = {".venv/bin/lifecycle": "", ".venv/bin/python": "echo --with=template", "uv": f"exit {code}"}
    for name, text in programs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    done = run("make", "-s", "provenance", "UV=./uv", folder=folder, GITHUB_ACTIONS="true")
    assert (done.returncode == 0, "::notice::The template is not reachable" in done.stdout) == (passes, notice)
