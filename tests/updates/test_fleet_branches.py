"""`looseleaf fleet update`: a local branch in each folder, or pushed branches with a request for each."""

import shutil
import sys
from pathlib import Path

import pytest

from looseleaf.errors import StepFailed, UpdateError
from looseleaf.fleet import examine
from looseleaf.fleet.repositories import destination
from looseleaf.hosts import GitHub, GitLab
from looseleaf.remote import BRANCH
from looseleaf.snapshot import git
from support import fleets, rendering
from support.fleets import rendered, run, tiny
from support.hosting import Api, git_over_http
from support.personas import commit
from support.proposals import SECRET, state
from support.rendering import Template


@pytest.fixture(autouse=True)
def quick_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace `looseleaf update`, which runs the checks of the repository."""
    monkeypatch.setattr(examine, "UPDATE", (sys.executable, "-c", fleets.UPDATE))


@pytest.fixture
def template(tmp_path: Path) -> Template:
    """Return a template with two releases."""
    return tiny(tmp_path / "template")


def test_an_update_is_left_on_a_branch_and_the_checkout_is_unchanged(template: Template, tmp_path: Path) -> None:
    project, dirty = rendered(template, tmp_path / "churn"), rendered(template, tmp_path / "dirty")
    (dirty / "lifecycle/one.py").write_text("ours\n")
    before, dirty_before = state(project), state(dirty)
    code, rows = run("update", project, dirty, state=tmp_path / "state")
    assert (code, rows["churn"]["result"], rows["dirty"]["result"]) == (3, "updated", "refused"), rows
    assert rows["churn"]["notes"] == [f"Update the template to 2.0.0: the branch {BRANCH} of {project} is up to date."]
    assert git("show", f"{BRANCH}:lifecycle/added.py", folder=project) == "added"
    assert git("rev-parse", f"{BRANCH}^", folder=project) == git("rev-parse", "HEAD", folder=project)
    git("branch", "--move", BRANCH, "moved", folder=project)
    git("branch", "--delete", "--force", "moved", folder=project)
    assert (state(project), state(dirty)) == (before, dirty_before)


def test_an_update_is_prepared_once_and_a_branch_that_is_gone_is_made_again(template: Template, tmp_path: Path) -> None:
    project = rendered(template, tmp_path / "churn")
    reused = []
    for delete in (False, False, True):
        if delete:
            git("branch", "--delete", "--force", BRANCH, folder=project)
        _, rows = run("update", project, state=tmp_path / "state")
        assert rows["churn"]["result"] == "updated"
        reused.append(rows["churn"]["reused"])
        assert git("show", f"{BRANCH}:lifecycle/added.py", folder=project) == "added"
    assert reused == [False, True, True]


def test_commits_of_others_on_the_branch_are_kept(template: Template, tmp_path: Path) -> None:
    project = rendered(template, tmp_path / "churn")
    git("switch", "--quiet", "--create", BRANCH, folder=project)
    commit(project, "Work of the team")
    theirs = git("rev-parse", "HEAD", folder=project)
    git("switch", "--quiet", "main", folder=project)
    code, rows = run("update", project, state=tmp_path / "state")
    assert (code, rows["churn"]["result"]) == (3, "refused")
    assert any("Work of the team" in note for note in rows["churn"]["notes"])
    assert git("rev-parse", BRANCH, folder=project) == theirs


def test_a_failing_update_is_an_error_with_its_messages(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = "import sys; print('error: make test fails', file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr(examine, "UPDATE", (sys.executable, "-c", failing))
    code, rows = run("update", rendered(template, tmp_path / "churn"), state=tmp_path / "state")
    assert (code, rows["churn"]["result"]) == (1, "error")
    assert rows["churn"]["notes"][0].startswith("error: make test fails looseleaf update ended with 1")


@pytest.mark.parametrize("listed", ["folder", "url"])
def test_a_prepared_update_is_pushed_and_offered_as_a_request(
    template: Template, tmp_path: Path, api: Api, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    hub = tmp_path / "acme/churn.git"
    project = rendered(template, tmp_path / "churn")
    git("clone", "--quiet", "--bare", str(project), str(hub), folder=tmp_path)
    git("config", "http.receivepack", "true", folder=hub)
    helper = f"!f() {{ echo username=x; echo password={SECRET}; }}; f"
    for name, value in {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "credential.helper",
        "GIT_CONFIG_VALUE_0": helper,
        "GITHUB_API_URL": api.url,
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    with git_over_http(tmp_path / "acme", f"x:{SECRET}") as (address, _):
        url = f"{address}/acme/churn.git"
        git("remote", "add", "origin", url, folder=project)
        target = project if listed == "folder" else url
        code, rows = run("update", target, state=tmp_path / "state")
        assert (code, rows["churn"]["result"]) == (0, "updated" if listed == "folder" else "prepared"), rows
        monkeypatch.setenv("LOOSELEAF_TOKEN", SECRET)
        # Nothing of the repository runs with the token.
        monkeypatch.setattr(examine, "UPDATE", ("false",))
        monkeypatch.setattr(examine, "_tried", None)
        code, rows = run("update", target, "--push", "127.0.0.1", state=tmp_path / "state")
    assert (code, rows["churn"]["result"]) == (0, "updated"), rows
    assert rows["churn"]["notes"] == [f"Update the template to 2.0.0: {api.url}/acme/churn/pull/7 is open."]
    assert [request["title"] for request in api.open] == ["Update the template to 2.0.0"]
    assert git("show", f"{BRANCH}:lifecycle/added.py", folder=hub) == "added"


def test_an_update_that_is_not_prepared_is_not_pushed(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = rendered(template, tmp_path / "churn")
    monkeypatch.setenv("LOOSELEAF_TOKEN", SECRET)
    code, rows = run("update", project, "--push", "git.example.org", state=tmp_path / "state")
    assert (code, rows["churn"]["result"]) == (1, "error")
    assert rows["churn"]["notes"][0].startswith("no update is prepared.")


@pytest.mark.parametrize("action", ["status", "plan", "update"])
def test_a_token_is_refused_where_code_of_others_runs(tmp_path: Path, action: str) -> None:
    command = (sys.executable, "-m", "looseleaf.cli", "fleet", action, str(tmp_path))
    done = rendering.run(*command, folder=tmp_path, LOOSELEAF_TOKEN=SECRET)
    assert (done.returncode, "LOOSELEAF_TOKEN is set" in done.stdout, SECRET in done.stdout) == (1, True, False)


def test_commits_that_origin_does_not_have_are_not_pushed(template: Template, tmp_path: Path) -> None:
    project, hub = rendered(template, tmp_path / "churn"), str(tmp_path / "hub.git")
    git("clone", "--quiet", "--bare", str(project), hub, folder=tmp_path)
    commit(project, "Not pushed")
    with pytest.raises(UpdateError, match=r"main is at .* here and at .* in origin"):
        examine._refuse_unpushed(project, hub, "main")
    git("push", "--quiet", hub, "main", folder=project)
    examine._refuse_unpushed(project, hub, "main")


def test_a_project_in_a_folder_of_a_repository_is_updated_there(template: Template, tmp_path: Path) -> None:
    shutil.rmtree(rendered(template, tmp_path / "all/churn") / ".git")
    git("init", "--quiet", str(tmp_path / "all"), folder=tmp_path)
    commit(tmp_path / "all", "The first")
    code, rows = run("update", tmp_path / "all/churn", state=tmp_path / "state")
    assert (code, rows["churn"]["result"]) == (0, "updated"), rows
    assert git("show", f"{BRANCH}:churn/lifecycle/added.py", folder=tmp_path / "all") == "added"


@pytest.mark.parametrize(
    ("origin", "kind", "host", "api", "repository"),
    [
        ("https://github.com/acme/churn.git", "github", GitHub, "https://api.github.com", "acme/churn"),
        ("git@github.com:acme/churn.git", "github", GitHub, "https://api.github.com", "acme/churn"),
        (
            "https://me:word@git.acme.example/acme/churn",
            "github",
            GitHub,
            "https://git.acme.example/api/v3",
            "acme/churn",
        ),
        (
            "ssh://git@git.acme.example:2222/a/b/churn.git",
            "gitlab",
            GitLab,
            "https://git.acme.example/api/v4",
            "a/b/churn",
        ),
    ],
)
def test_the_host_follows_from_the_address_of_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str, kind: str, host: type, api: str, repository: str
) -> None:
    for name in ("GITHUB_API_URL", "CI_API_V4_URL", "GITHUB_TOKEN", "CI_JOB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOOSELEAF_TOKEN", SECRET)
    git("init", "--quiet", "--initial-branch=main", str(tmp_path), folder=tmp_path)
    commit(tmp_path, "The first")
    git("remote", "add", "origin", origin, folder=tmp_path)
    push = api.split("/")[2].removeprefix("api.")
    address, found = destination(tmp_path, kind, push)
    assert (address, type(found), found.api, found.repository, found.base) == (origin, host, api, repository, "main")
    monkeypatch.delenv("LOOSELEAF_TOKEN")
    with pytest.raises(StepFailed, match="no token in LOOSELEAF_TOKEN"):
        destination(tmp_path, kind, push)
    with pytest.raises(UpdateError, match="and the token is for"):
        destination(tmp_path, kind, "git.example.org")
