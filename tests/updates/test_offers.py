"""Files of the team's zone are offered until they are taken, shown on request, and merged with the team's edits."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from looseleaf.snapshot import git
from support.personas import commit
from support.rendering import Template, files, run
from support.updates import owned, tried

Called = Callable[..., tuple[int, str]]


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch, called: Called) -> Callable[..., str]:
    """Return a call that updates without checks, asserts success, commits and returns the output."""
    monkeypatch.setattr("looseleaf.update.command._check", lambda trial, uv: trial.contents())

    def call(folder: Path, *arguments: str) -> str:
        code, output = called(folder, *arguments)
        assert code == 0, output
        commit(folder, "Updated")
        return output

    return call


def states(project: Path, work: Path, to: str = "v9999.0.0", **given: str) -> dict[str, str]:
    """Return the state of each offer of an update."""
    return {offer.path: offer.state for offer in tried(project, work, to, **given).offers()}


def test_an_offered_file_is_taken_merged_or_refused(newer: Template, tmp_path: Path, called: Any) -> None:
    project = owned(newer, tmp_path / "project")
    base, estimator = project / "config/base.yaml", project / "src/model/estimator.py"
    base.write_text(base.read_text() + "gate: {min_rows: 300}\n")
    estimator.write_text(estimator.read_text().replace('"""', '"""Ours: ', 1))
    commit(project, "Ours")
    before = files(project)
    trial = tried(project, tmp_path / "work", "v9999.1.0")
    states = {offer.path: offer.state for offer in trial.offers()}
    assert states == {"docs/newer.md": "new", "src/model/estimator.py": "conflicts", "config/base.yaml": "conflicts"}
    trial.take(["docs/newer.md"])
    assert trial.contents()["docs/newer.md"] == b"Newer.\n"
    code, output = called(project, "--take", "src/model/estimator.py")
    assert code == 1
    assert "the template's changes and yours touch the same lines" in output
    code, output = called(project, "--take", "docs/nothing.md")
    assert code == 1
    assert "9999.1.0 has no docs/nothing.md" in output
    assert files(project) == before


def test_a_changed_choice_offers_the_files_that_it_renders(newer: Template, tmp_path: Path) -> None:
    project = owned(newer, tmp_path / "project")
    with (project / "OWNERS").open("a") as owners:
        owners.write("# ours\n")
    commit(project, "Ours")
    trial = tried(project, tmp_path / "work", "v9999.0.0", owners="@ana")
    text = trial.report().text()
    head, _, offered = text.partition("Your own files that may still follow the old choice (TAKE=path takes one, ")
    assert head
    assert offered.endswith("):\n  OWNERS (merges with your edits)\n")
    assert [(offer.path, offer.state) for offer in trial.offers()] == [("OWNERS", "merges")]
    trial.take(["OWNERS"])
    taken = trial.contents()["OWNERS"] or b""
    assert b'["ana"]' in taken
    assert taken.endswith(b"# ours\n")
    assert [(choice.name, choice.kind) for choice in trial.report().choices] == [("owners", "given")]
    assert "old choice" not in trial.report().text()


@pytest.mark.slow
def test_a_file_that_an_earlier_update_offered_can_still_be_taken(
    newer: Template, tmp_path: Path, called: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("looseleaf.update.command._check", lambda trial, uv: trial.contents())
    project = owned(newer, tmp_path / "project")
    with (project / "OWNERS").open("a") as owners:
        owners.write("# ours\n")
    commit(project, "Ours")
    for arguments in (("--to", "v9999.1.0"), ("--set", "owners=@ana")):
        assert called(project, *arguments)[0] == 0
        commit(project, "Updated")
    code, output = called(project, "--take", "OWNERS docs/newer.md src/model/estimator.py")
    assert code == 0, output
    taken = (project / "OWNERS").read_text()
    assert '["ana"]' in taken
    assert taken.endswith("# ours\n")
    assert (project / "docs/newer.md").read_text() == "Newer.\n"
    assert "Newer: " in (project / "src/model/estimator.py").read_text()
    commit(project, "Taken")
    before = files(project)
    for name in ("OWNERS", "Makefile"):
        code, output = called(project, "--take", name)
        assert code == 1
        assert f"nothing is offered for {name}" in output
    assert files(project) == before


@pytest.mark.slow
@pytest.mark.parametrize("edit", ["", "# Ours\n"], ids=["unedited", "edited"])
def test_a_second_choice_keeps_what_the_first_one_offered(
    newer: Template, tmp_path: Path, unchecked: Callable[..., str], edit: str
) -> None:
    project = owned(newer, tmp_path / "project")
    readme = project / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + edit, encoding="utf-8")
    commit(project, "Ours")
    assert "make serve" in readme.read_text(encoding="utf-8")
    unchecked(project, "--to", "v9999.0.0", "--set", "usage=[batch]")
    output = unchecked(project, "--to", "v9999.0.0", "--set", "owners=@ana")
    assert "README.md (" in output.split("may still follow the old choice")[1]
    # A later update without a changed choice offers it, too.
    trial = tried(project, tmp_path / "later", "v9999.1.0")
    later = {offer.path: offer.state for offer in trial.offers()}
    assert later["README.md"] == ("merges" if edit else "unedited")
    assert ("README.md" in trial.report().edited) == bool(edit)
    assert {"OWNERS", "config/base.yaml", "docs/newer.md"} <= later.keys()
    unchecked(project, "--to", "v9999.0.0", "--take", "README.md")
    text = readme.read_text(encoding="utf-8")
    assert "make serve" not in text
    assert text.endswith(edit)
    taken = states(project, tmp_path / "taken", "v9999.1.0")
    assert "README.md" not in taken
    assert "OWNERS" in taken


@pytest.mark.slow
def test_a_file_that_was_merged_by_hand_is_not_offered_again(
    newer: Template, tmp_path: Path, unchecked: Callable[..., str]
) -> None:
    project = owned(newer, tmp_path / "project")
    estimator = project / "src/model/estimator.py"
    text = estimator.read_text(encoding="utf-8")
    estimator.write_text(text.replace('"""', '"""Ours: ', 1), encoding="utf-8")
    commit(project, "Ours")
    unchecked(project, "--to", "v9999.1.0")
    assert states(project, tmp_path / "before", "v9999.1.0")["src/model/estimator.py"] == "conflicts"
    for number, merged in enumerate(('"""Newer: ours: ', '"""Newer: ')):
        estimator.write_text(text.replace('"""', merged, 1) + "# ours\n", encoding="utf-8")
        commit(project, "Merged by hand")
        assert "src/model/estimator.py" not in states(project, tmp_path / f"after {number}", "v9999.1.0")


@pytest.mark.slow
def test_a_new_file_is_offered_until_it_is_taken_and_a_deleted_one_is_not(
    newer: Template, tmp_path: Path, unchecked: Callable[..., str]
) -> None:
    project = newer.copy(tmp_path / "project", "v9999.0.0")
    # Deleted before the first commit and after it.
    (project / "renovate.json").unlink()
    git("init", "--quiet", folder=project)
    commit(project, "As rendered")
    (project / "docs/agreement.md").unlink()
    commit(project, "Ours")
    unchecked(project, "--to", "v9999.1.0")
    output = unchecked(project, "--to", "v9999.1.0", "--dry-run")
    assert "docs/newer.md (new)" in output
    assert "renovate.json" not in output
    assert "docs/agreement.md (" not in output
    unchecked(project, "--take", "docs/newer.md")
    (project / "docs/newer.md").unlink()
    commit(project, "Deleted again")
    assert "docs/newer.md" not in unchecked(project, "--dry-run")


def test_an_offer_is_shown_as_a_difference_and_nothing_is_written(
    newer: Template, tmp_path: Path, called: Called
) -> None:
    project = owned(newer, tmp_path / "project")
    estimator = project / "src/model/estimator.py"
    estimator.write_text(estimator.read_text().replace('"""', '"""Ours: ', 1))
    commit(project, "Ours")
    before = files(project)
    code, output = called(project, "--diff")
    assert code == 0, output
    assert "--- config/base.yaml (yours)\n+++ config/base.yaml (offered)\n" in output
    assert "\n-# Overrides" in output
    assert "\n+# Newer: overrides" in output
    assert "+Newer." in output.split("docs/newer.md (offered)")[1]
    # The lines that both have changed are shown as the template changes them.
    conflict = output.split("--- src/model/estimator.py (template, before)")[1]
    assert '+"""Newer: ' in conflict
    assert "Ours: " not in conflict
    code, output = called(project, "--diff", "--take", "docs/newer.md")
    assert (code, "config/base.yaml" in output, "+Newer." in output) == (0, False, True)
    # A folder stands for the offered files in it.
    code, output = called(project, "--diff", "--take", "docs/")
    assert (code, "config/base.yaml" in output, "+Newer." in output) == (0, False, True)
    code, output = called(project, "--diff", "--take", "src/model/features.sql")
    assert (code, output.strip()) == (0, "The template has no change for these files.")
    assert files(project) == before


@pytest.fixture
def set_up(newer: Template, tmp_path: Path) -> Path:
    """Return a repository that make takes for one with an environment."""
    project = owned(newer, tmp_path / "project")
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/lifecycle").touch()
    return project


def test_make_passes_the_request_for_a_difference(set_up: Path) -> None:
    done = run("make", "-n", "update", "TAKE=README.md", "DIFF=1", folder=set_up)
    assert "--take='README.md'" in done.stdout, done.stdout
    assert " --diff " in done.stdout


@pytest.mark.parametrize("choice", ["owners=nobody yet", "usage=[online, batch]"])
def test_a_choice_that_is_set_already_is_reported_as_such(
    newer: Template, tmp_path: Path, called: Called, choice: str
) -> None:
    project = owned(newer, tmp_path / "project")
    code, output = called(project, "--to", "v9999.0.0", "--set", choice)
    name = choice.partition("=")[0]
    assert (code, "nothing to update" in output) == (0, True), output
    assert f"{name}: it is " in output
    assert "old choice" not in output


def test_a_notebook_without_its_folder_names_the_folder(set_up: Path) -> None:
    command = ("make", "notebook", "UV=echo ran")
    assert "ran run --locked --group notebook" in run(*command, folder=set_up).stdout
    shutil.rmtree(set_up / "notebooks")
    done = run(*command, folder=set_up)
    assert (done.returncode, "There is no folder notebooks/" in done.stdout) == (2, True), done.stdout
    assert "ran " not in done.stdout
