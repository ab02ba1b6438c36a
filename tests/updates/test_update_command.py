"""`looseleaf update` in renders of this template: edits that stop it, offers, and invalid calls."""

import signal
import tempfile
from pathlib import Path
from typing import Any

import manifest_check
import pytest

from looseleaf.snapshot import git
from looseleaf.update.apply import apply, journal
from looseleaf.update.source import Source, recorded
from looseleaf.update.trial import Trial
from maintenance.manifest import write as write_manifest
from support.personas import commit
from support.rendering import Template, files, run
from support.updates import owned, tried


def test_edited_files_of_the_template_are_reported_with_hints(newer: Template, tmp_path: Path, called: Any) -> None:
    project = owned(newer, tmp_path / "project")
    for name in ("lifecycle/pyproject.toml", "lifecycle/lifecycle.mk"):
        (project / name).write_text((project / name).read_text() + "# ours\n")
    (project / "lifecycle/src/lifecycle/models/metrics.py").unlink()
    commit(project, "Ours")
    before = files(project)
    code, output = called(project)
    assert code == 3
    assert "lifecycle/pyproject.toml (edited): Add your own dependency with uv add NAME" in output
    assert "lifecycle/lifecycle.mk (edited): Add or override the target in the Makefile" in output
    assert "lifecycle/src/lifecycle/models/metrics.py (removed): Change it in config/" in output
    assert files(project) == before


def test_an_edit_that_equals_the_new_release_does_not_stop_the_update(newer: Template, tmp_path: Path) -> None:
    project = owned(newer, tmp_path / "project")
    fresh = newer.copy(tmp_path / "fresh")
    (project / "lifecycle/docs/data.md").write_bytes((fresh / "lifecycle/docs/data.md").read_bytes())
    commit(project, "Taken by hand")
    assert tried(project, tmp_path / "work", "v9999.1.0").report().safe


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--to", "0.0.7"), "the template has no version or commit 0.0.7"),
        (("--set", "modle_name=x"), "modle_name is not a choice"),
        (("--set", "owners"), "SET=owners has no value"),
        (("--set", "usage=[online"), "usage=[online: the list is not valid YAML"),
        (("--set", "model_name=Not A Name"), "lower-case words"),
    ],
)
def test_an_invalid_call_is_an_error(
    newer: Template, tmp_path: Path, called: Any, arguments: tuple[str, ...], problem: str
) -> None:
    project = owned(newer, tmp_path / "project")
    code, output = called(project, *arguments)
    assert code == 1
    assert problem in output
    assert "Traceback" not in output


def test_an_update_never_goes_back(newer: Template, tmp_path: Path, called: Any) -> None:
    project = newer.copy(tmp_path / "project")
    git("init", "--quiet", folder=project)
    commit(project, "As rendered")
    code, output = called(project, "--to", "v9999.0.0")
    assert code == 1
    assert "does not come after" in output
    assert called(project)[0] == 0


def broken(name: str, project: Path) -> None:
    """Break one thing that an update needs."""
    choices = project / ".copier-answers.yml"
    text = choices.read_text(encoding="utf-8")
    if name == "no choices":
        choices.unlink()
        commit(project, "Broken")
    elif name == "choices that are no YAML":
        choices.write_text("a: [\n")
        commit(project, "Broken")
    elif name == "choices without a commit":
        choices.write_text("\n".join(line for line in text.splitlines() if not line.startswith("_commit")))
        commit(project, "Broken")
    elif name == "a template that is gone":
        choices.write_text(text.replace("_src_path: ", "_src_path: /nowhere"))
        commit(project, "Broken")
    elif name == "a commit that never was":
        choices.write_text(text.replace("_commit: v9999.0.0", "_commit: 1234567"))
        commit(project, "Broken")
    elif name == "changes that are not committed":
        (project / "Makefile").write_text("ours:\n")
    elif name == "no git":
        run("rm", "-rf", ".git", folder=project)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no choices", "is missing, and an update needs it"),
        ("choices that are no YAML", "cannot be read"),
        ("choices without a commit", "does not name a template and commit"),
        ("a template that is gone", "LOOSELEAF_SOURCE"),
        ("a commit that never was", "the template has no version or commit 1234567"),
        ("changes that are not committed", "M Makefile"),
        ("no git", "is not a git repository with a commit"),
    ],
)
def test_a_repository_that_cannot_be_updated_is_an_error(
    newer: Template, tmp_path: Path, called: Any, name: str, problem: str
) -> None:
    project = owned(newer, tmp_path / "project")
    broken(name, project)
    before = files(project)
    code, output = called(project)
    assert code == 1
    assert problem in output
    assert "Traceback" not in output
    assert files(project) == before


def test_a_project_in_a_folder_of_a_repository_is_updated_there(newer: Template, tmp_path: Path, called: Any) -> None:
    project = newer.copy(tmp_path / "all/models/churn", "v9999.0.0")
    (tmp_path / "all/README.md").write_text("Ours.\n")
    git("init", "--quiet", folder=tmp_path / "all")
    commit(tmp_path / "all", "As rendered")
    # Uncommitted changes elsewhere in the repository do not matter.
    (tmp_path / "all/README.md").write_text("Ours, still being written.\n")
    assert called(project, "--dry-run")[0] == called(project, "--to", "v9999.0.0")[0] == 0
    trial = tried(project, tmp_path / "work", "v9999.1.0")
    assert trial.report().safe
    assert set(trial.contents()) == {".copier-answers.yml", "lifecycle/docs/data.md", "lifecycle/manifest.json"}


def test_a_file_of_the_team_in_lifecycle_is_reported(newer: Template, tmp_path: Path) -> None:
    project = owned(newer, tmp_path / "project")
    (project / "lifecycle/notes.md").write_text("Ours.\n")
    commit(project, "Ours")
    (edit,) = tried(project, tmp_path / "work", "v9999.1.0").report().edits
    assert (edit.path, edit.kind) == ("lifecycle/notes.md", "your own")
    assert "Keep it outside lifecycle/" in edit.hint


def test_choices_that_were_edited_by_hand_stop_the_update(newer: Template, tmp_path: Path) -> None:
    project = owned(newer, tmp_path / "project")
    choices = project / ".copier-answers.yml"
    choices.write_text(choices.read_text(encoding="utf-8").replace("- online\n", ""), encoding="utf-8")
    commit(project, "By hand")
    report = tried(project, tmp_path / "work", "v9999.1.0").report()
    assert (".copier-answers.yml", "edited by hand") in [(edit.path, edit.kind) for edit in report.edits]
    assert not report.safe


def test_a_file_that_the_teams_gitignore_hides_is_reported(newer: Template, tmp_path: Path) -> None:
    project = owned(newer, tmp_path / "project")
    git("rm", "--quiet", "--cached", "lifecycle/docs/data.md", "lifecycle/manifest.json", folder=project)
    with (project / ".gitignore").open("a") as ignored:
        ignored.write("lifecycle/docs/data.md\nlifecycle/manifest.json\n")
    commit(project, "Hidden")
    report = tried(project, tmp_path / "work", "v9999.1.0").report()
    assert not report.safe
    assert "removed" in {edit.kind for edit in report.edits} or report.losses


def test_a_new_file_that_the_teams_gitignore_hides_is_reported(newer: Template, tmp_path: Path) -> None:
    project = owned(newer, tmp_path / "project")
    with (project / ".gitignore").open("a") as ignored:
        ignored.write("*.rst\n")
    commit(project, "Ours")
    later = Template(tmp_path / "later")
    run("cp", "-R", str(newer.folder), str(later.folder), folder=tmp_path)
    (later.folder / "template/lifecycle/docs/more.rst").write_text("More\n")
    write_manifest(later.folder)
    later.release("v9999.2.0")
    content = recorded(project) | {"_src_path": str(later.folder)}
    (tmp_path / "work").mkdir()
    source = Source.fetch(content, project, tmp_path / "work/template")
    before, after = source.commit("v9999.0.0"), source.commit("v9999.2.0")
    report = Trial.run(project, source, before, after, {}, tmp_path / "work").report()
    assert [(loss.path, "hides" in loss.why) for loss in report.losses] == [("lifecycle/docs/more.rst", True)]


@pytest.mark.parametrize("hidden", ["excluded", "untracked files are not shown", "skip-worktree"])
def test_a_file_that_git_does_not_track_is_not_overwritten(
    newer: Template, tmp_path: Path, called: Any, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    project = owned(newer, tmp_path / "project")
    name, arguments = "docs/newer.md", ("--to", "v9999.1.0", "--take", "docs/newer.md")
    if hidden == "excluded":
        (project / ".git/info/exclude").write_text("docs/newer.md\n")
    elif hidden == "untracked files are not shown":
        git("config", "status.showUntrackedFiles", "no", folder=project)
    else:
        name, arguments = "lifecycle/docs/data.md", ("--to", "v9999.1.0")
        git("update-index", "--skip-worktree", name, folder=project)
    (project / name).write_text("ours\n")
    monkeypatch.setattr("looseleaf.update.command._check", lambda trial, uv: trial.contents())
    code, output = called(project, *arguments)
    assert code == 1
    assert f"{name} is not as it was committed" in output
    assert (project / name).read_text() == "ours\n"


def test_a_configured_commit_signature_is_not_required(newer: Template, tmp_path: Path, called: Any) -> None:
    project = owned(newer, tmp_path / "project")
    for name, value in (("commit.gpgsign", "true"), ("user.signingkey", "unknown"), ("gpg.program", "false")):
        git("config", "--global", name, value, folder=project)
    try:
        assert called(project, "--dry-run")[0] == 0
    finally:
        for name in ("commit.gpgsign", "user.signingkey", "gpg.program"):
            git("config", "--global", "--unset", name, folder=project)


def test_the_source_may_have_a_reference(
    newer: Template, tmp_path: Path, called: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = owned(newer, tmp_path / "project")
    choices = project / ".copier-answers.yml"
    text = choices.read_text(encoding="utf-8")
    choices.write_text(text.replace(str(newer.folder), "/gone"), encoding="utf-8")
    commit(project, "Moved")
    monkeypatch.setenv("LOOSELEAF_SOURCE", f"git+file://{newer.folder}@v9999.1.0")
    assert called(project, "--dry-run")[0] == 0
    monkeypatch.setenv("LOOSELEAF_SOURCE", "/nowhere")
    code, output = called(project, "--dry-run")
    assert code == 1
    assert "LOOSELEAF_SOURCE: the template" in output


def moved(template: Template, into: Path) -> Template:
    """Return a company's fork of a template."""
    git("clone", "--quiet", str(template.folder), str(into), folder=template.folder)
    return Template(into)


@pytest.mark.parametrize("release", ["v9999.1.0", "v9999.0.0"], ids=["newer", "the same"])
def test_an_update_records_its_source(
    newer: Template, tmp_path: Path, called: Any, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    project, fork = owned(newer, tmp_path / "project"), moved(newer, tmp_path / "fork")
    monkeypatch.setattr("looseleaf.update.command._check", lambda trial, uv: trial.contents())
    monkeypatch.setenv("LOOSELEAF_SOURCE", "../fork@v9999.1.0")
    code, output = called(project, "--to", release)
    assert code == 0, output
    assert f"address of the template: 'git+file://{newer.folder}' → '{fork.folder}'" in output
    assert recorded(project)["_src_path"] == str(fork.folder)
    assert manifest_check.check(project) == []
    commit(project, "Moved")
    monkeypatch.delenv("LOOSELEAF_SOURCE")
    assert "nothing to update" in called(project, "--to", release)[1]


def test_ctrl_c_removes_what_copier_leaves(
    newer: Template, tmp_path: Path, called: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, left = owned(newer, tmp_path / "project"), list[Path]()

    def interrupted(*arguments: Any, **options: Any) -> None:
        left.append(Path(tempfile.mkdtemp(prefix="copier")))
        raise KeyboardInterrupt

    monkeypatch.setattr("looseleaf.update.trees.copier.run_copy", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    try:
        code, output = called(project)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert (code, "everything is as it was" in output) == (130, True), output
    assert [path.exists() for path in left] == [False]
    assert Path(tempfile.gettempdir()).exists()


def test_an_abort_works_when_the_code_in_lifecycle_is_broken(newer: Template, tmp_path: Path) -> None:
    """Half of lifecycle/ may be of another release, and the template may be unreachable."""
    project = owned(newer, tmp_path / "project")
    before = files(project)
    broken: dict[str, bytes | None] = {name: b"" for name in before if name.startswith("lifecycle/src")}
    apply(project, broken | {"lifecycle/new.py": b"new"}, {})
    assert journal(project).exists()
    assert files(project) != before
    for goal in ("update", "check", "train", "help"):
        refused = run("make", goal, folder=project)
        assert refused.returncode == 2
        (line,) = [line for line in refused.stdout.splitlines() if "make" in line]
        assert "An update was interrupted here: make update ABORT=1 restores every file" in line
    # The update itself runs it before it is complete, also by the command of an older release.
    assert "interrupted" not in run("make", "-n", "setup", folder=project).stdout
    done = run("make", "update", "ABORT=1", folder=project)
    assert done.returncode == 0, done.stdout
    assert files(project) == before
    again = run("make", "update", "ABORT=1", folder=project)
    assert again.returncode == 2
    assert "No update was interrupted here" in again.stdout
