"""`looseleaf fleet`: lists of repositories, and a clear message for each kind of bad input."""

import socket
from pathlib import Path

import pytest

from looseleaf import cli
from looseleaf.errors import UpdateError
from looseleaf.fleet import repositories
from looseleaf.fleet.repositories import listed
from looseleaf.snapshot import git
from looseleaf.update.source import ANSWERS_FILE
from support.fleets import rendered, run, tiny
from support.hosting import git_over_http
from support.personas import commit, edited_by, untouched
from support.rendering import Template


@pytest.fixture
def template(tmp_path: Path) -> Template:
    """Return a template with two releases."""
    return tiny(tmp_path / "template")


def note(repository: object, state: Path, action: str = "plan") -> str:
    """Return the only note about the only repository, which has an error."""
    code, rows = run(action, str(repository), state=state)
    (row,) = rows.values()
    (text,) = row["notes"]
    assert (code, row["result"]) == (1, "error"), row
    return str(text)


def test_a_list_has_folders_urls_names_and_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "teams/repositories.txt"
    file.parent.mkdir()
    file.write_text("# ours\n\nchurn/   # a folder\nold=../fraud\ngit@git.example.org:acme/price.git\n")
    monkeypatch.chdir(tmp_path)
    assert listed(["https://git.example.org/acme/risk.git", "a#b"], file) == {
        "risk": "https://git.example.org/acme/risk.git",
        "a#b": f"{tmp_path}/a#b",
        "churn": f"{tmp_path}/teams/churn",
        "old": f"{tmp_path}/fraud",
        "price": "git@git.example.org:acme/price.git",
    }


def test_two_repositories_of_one_name_are_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["fleet", "status", "a/churn", "https://me:word@host/b/churn.git", "--state", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "two repositories have the name churn" in error
    assert "https://host/b/churn.git" in error
    assert "word" not in error
    assert [*listed(["a/churn", "other=b/churn"], None)] == ["churn", "other"]


def test_an_empty_or_missing_list_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.txt").write_text("# nothing yet\n")
    with pytest.raises(UpdateError, match="no repository is listed"):
        listed([], tmp_path / "empty.txt")
    assert cli.main(["fleet", "status", "--file", str(tmp_path / "gone.txt")]) == 1
    assert "gone.txt" in capsys.readouterr().err


def test_a_folder_without_a_repository_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    git("init", "--quiet", folder=tmp_path / "empty")
    for name in ("gone", "empty"):
        expected = f"{tmp_path / name} is not a git repository with a commit. Correct the list."
        assert note(tmp_path / name, tmp_path / "state") == expected


def test_a_repository_of_another_kind_and_one_without_an_answers_file_are_named(
    template: Template, tmp_path: Path
) -> None:
    project = rendered(template, tmp_path / "left")
    (project / ANSWERS_FILE).unlink()
    commit(project, "Leave the template")
    assert f"{project / ANSWERS_FILE} is missing" in note(project, tmp_path / "state")
    (project / "lifecycle").rename(project / "src")
    commit(project, "Another layout")
    expected = "it has no lifecycle/, so it is not a repository of this template. Correct the list."
    assert note(project, tmp_path / "state") == expected


def test_a_template_that_is_gone_or_that_lacks_the_recorded_commit_is_named(template: Template, tmp_path: Path) -> None:
    project = rendered(template, tmp_path / "churn")
    git("tag", "--delete", "v1.0.0", folder=template.folder)
    assert "the template has no version or commit v1.0.0" in note(project, tmp_path / "state")
    template.folder.rename(tmp_path / "elsewhere")
    assert f"the template {template.folder} does not exist" in note(project, tmp_path / "state", "status")


def test_a_moved_tag_of_the_recorded_release_or_the_target_is_named(template: Template, tmp_path: Path) -> None:
    project = rendered(template, tmp_path / "churn")
    commits = [git("rev-parse", f"v{number}.0.0^{{commit}}", folder=template.folder) for number in (1, 2)]
    record = "".join(f'"{number}.0.0" = "{at}"\n' for number, at in enumerate(commits, 1))
    (template.folder / "releases.toml").write_text(f"[releases]\n{record}")
    commit(template.folder, "Record the releases")
    assert run("plan", project, state=tmp_path / "state")[0] == 0
    head = git("rev-parse", "HEAD", folder=template.folder)
    for version, action in (("2.0.0", "plan"), ("1.0.0", "status")):
        at = commits[int(version[0]) - 1]
        git("tag", "--force", f"v{version}", head, folder=template.folder)
        expected = f"the tag v{version} of the template is at {head[:7]}, and its record has {at[:7]}."
        assert note(project, tmp_path / "state", action).startswith(expected)


def test_an_update_never_goes_back(template: Template, tmp_path: Path) -> None:
    project = edited_by(template.rendered(tmp_path / "churn", "v2.0.0"), untouched)
    code, rows = run("plan", project, "--to", "1.0.0", state=tmp_path / "state")
    assert (code, rows["churn"]["notes"]) == (
        1,
        ["1.0.0 does not come after 2.0.0: an update never goes back. Correct --to."],
    )


def test_a_url_is_read_through_a_clone_without_its_credentials_in_the_table(template: Template, tmp_path: Path) -> None:
    project = rendered(template, tmp_path / "churn")
    with git_over_http(project, "me:word") as (address, _):
        url = f"{address.replace('//', '//me:word@')}/churn/.git"
        code, rows = run("plan", f"churn={url}", state=tmp_path / "state")
        assert (code, rows["churn"]["result"], rows["churn"]["version"]) == (0, "applies", "1.0.0"), rows
        assert rows["churn"]["address"] == f"{address}/churn/.git"
        assert rows["churn"]["deployed"] == {"production": "", "staging": "", "local": ""}
        # Without credentials, git fails and does not prompt.
        denied = note(f"denied={address}/churn/.git", tmp_path / "state")
        (project / "README.md").write_text("More.\n")
        commit(project, "More")
        assert not run("plan", f"churn={url}", state=tmp_path / "state")[1]["churn"]["reused"]
    assert "git ls-remote failed: fatal: could not read Username" in denied
    clones = [path.parent for path in tmp_path.glob("state/clones/*/*")]
    assert len(clones) == len({*clones}) == 2, "of the repository and the template, one of the newest state"


def test_the_template_is_the_recorded_one_wherever_the_command_was_installed_from(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = rendered(template, tmp_path / "churn")
    monkeypatch.setattr("looseleaf.update.source.installed_from", lambda: (f"file://{tmp_path}/upstream", ""))
    assert run("plan", project, state=tmp_path / "state")[1]["churn"]["result"] == "applies"
    monkeypatch.setenv("LOOSELEAF_SOURCE", f"{tmp_path}/fork")
    assert f"the template {tmp_path}/fork does not exist" in note(project, tmp_path / "state")


def test_an_unreachable_url_is_named_within_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repositories, "SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/churn.git"
        expected = f"git ls-remote -- {address} took longer than 1 s. The next run tries again."
        assert note(address, tmp_path / "state") == expected
    assert note(address, tmp_path / "state").startswith("git ls-remote failed: fatal: unable to access")
