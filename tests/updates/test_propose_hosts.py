"""The APIs of GitHub and GitLab as `looseleaf propose` uses them: errors, tokens and rights."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import template_source

from looseleaf import hosts
from looseleaf.remote import BRANCH
from looseleaf.snapshot import git
from support.hosting import Api, git_over_http
from support.proposals import SECRET, environment, prepared, proposed, sent
from support.rendering import ROOT, run

Render = Callable[..., Path]

ERRORS = {
    401: (b'{"message": "Bad credentials"}', "is not accepted: it may have expired"),
    403: (
        b'{"message": "GitHub Actions is not permitted to create or approve pull requests."}',
        "does not have the rights",
    ),
    404: (b'{"message": "404 Project Not Found"}', "does not have the rights"),
    409: (b'{"message": ["Another open merge request already exists"]}', "Another open merge request"),
    422: (b'{"message": "Validation Failed", "errors": [{"message": "No commits between"}]}', "No commits between"),
    500: (b"<h1>Sorry</h1>", "The next run tries again"),
}


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_of_the_api_is_reported_in_one_line(
    project: Path, api: Api, on_host: dict[str, str], code: int
) -> None:
    content, reason = ERRORS[code]
    api.instead = (code, content, "")
    done = proposed(project, on_host)
    (line,) = [line for line in done.stdout.splitlines() if " returned " in line]
    assert (done.returncode, f"returned {code}:" in line, reason in line) == (1, True, True), line
    if code == 403:
        assert ("pull requests and workflows: write" if "GITHUB_API_URL" in on_host else "the scopes api") in line
    # The branch exists by now, and the next run opens the request for it.
    api.instead = None
    assert proposed(project, on_host).returncode == 0
    assert len(api.open) == 1


def test_a_redirect_of_the_api_is_not_followed(project: Path, api: Api, on_host: dict[str, str]) -> None:
    api.instead = (302, b"{}", f"{api.url}/elsewhere")
    done = proposed(project, on_host)
    assert (done.returncode, "returned 302" in done.stdout) == (1, True)
    assert "/elsewhere" not in [path for _, path, _ in api.requests]


@pytest.mark.parametrize("content", [b"no JSON", b'{"a": '])
def test_a_response_that_is_not_json_is_reported(
    project: Path, api: Api, on_host: dict[str, str], content: bytes
) -> None:
    api.instead = (200, content, "")
    done = proposed(project, on_host)
    assert (done.returncode, "returned no valid response" in done.stdout) == (1, True)


def test_an_unreachable_api_is_reported(project: Path, api: Api, on_host: dict[str, str]) -> None:
    down = {name: "http://127.0.0.1:9" for name in on_host if name.endswith("_URL")}
    done = proposed(project, on_host | down)
    assert (done.returncode, "returned no valid response: [Errno 111]" in done.stdout) == (1, True), done.stdout


def test_a_refused_push_names_the_missing_right(project: Path, hub: Path, api: Api, on_host: dict[str, str]) -> None:
    refuse(hub, f"refusing to allow a GitHub App to update workflow `x.yml` without `workflows` permission {SECRET}")
    done = proposed(project, on_host)
    assert (done.returncode, "Give LOOSELEAF_TOKEN the right `workflows`" in done.stdout) == (1, True), done.stdout
    refuse(hub, "You are not allowed to push code to this project.")
    done = proposed(project, on_host)
    assert (done.returncode, "You are not allowed to push" in done.stdout) == (1, True)
    assert ("contents" if "GITHUB_API_URL" in on_host else "write_repository") in done.stdout
    assert not api.requests


def refuse(hub: Path, message: str) -> None:
    hook = hub / "hooks/pre-receive"
    hook.write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 1\n")
    hook.chmod(0o755)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"LOOSELEAF_TOKEN": ""}, "There is no token in LOOSELEAF_TOKEN. Make it a secret"),
        ({"GITHUB_REF_TYPE": "tag"}, "This run is not for a branch"),
        ({"GITHUB_REF_NAME": BRANCH}, "the branch of the update itself"),
        ({"GITHUB_REPOSITORY": ""}, "This is not a run of GitHub or GitLab"),
    ],
)
def test_a_missing_variable_of_github_is_named(project: Path, api: Api, change: dict[str, str], reason: str) -> None:
    done = proposed(project, environment("github", api) | change)
    assert (done.returncode, reason in done.stdout) == (1, True), done.stdout
    assert not api.requests


def test_the_job_token_of_gitlab_is_refused_and_the_variable_named(project: Path, api: Api) -> None:
    done = proposed(project, environment("gitlab", api) | {"LOOSELEAF_TOKEN": "", "CI_JOB_TOKEN": SECRET})
    assert (done.returncode, "There is no token in LOOSELEAF_TOKEN, and a job's own token" in done.stdout) == (1, True)
    assert "write_repository" in done.stdout


def test_all_secrets_are_hidden(api: Api) -> None:
    host = hosts.from_environment(environment("github", api) | {"LOOSELEAF_TOKEN": "my-own", "GITHUB_TOKEN": SECRET})
    assert host.token.variable == "LOOSELEAF_TOKEN"
    assert host.token.hide(f"my-own {SECRET} https://me:word@host/x") == "*** *** https://host/x"
    assert "my-own" not in f"{host!r} {host.token!r}"
    assert SECRET not in f"{host!r}"


def test_a_merge_request_of_a_fork_is_ignored(project: Path, api: Api) -> None:
    api.open.append({"iid": 3, "source_project_id": 1, "target_project_id": 42, "title": "theirs"})
    assert proposed(project, environment("gitlab", api)).returncode == 0
    assert [request["title"] for request in api.open] == ["theirs", "Update the template to 0.2.0"]


def from_make(project: Path, **environment: str) -> dict[str, str]:
    """Return the git configuration that `make propose` of a rendered repository sets."""
    written = {
        ".venv/bin/lifecycle": "",
        ".venv/bin/python": "echo --with=template",
        "uv": "echo $* >&2; env | sed -n '/^GIT_CONFIG_[CKV]/p'",
    }
    for name, text in written.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(f"#!/bin/sh\n{text}\n")
        (project / name).chmod(0o755)
    done = run("make", "-s", "propose", "UV=./uv", folder=project, **environment)
    called, *lines = done.stdout.splitlines()
    assert called == "run --quiet --isolated --no-project --with=template looseleaf propose", done.stdout
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("variable", ["GITHUB_SERVER_URL", "CI_SERVER_URL"])
def test_git_sends_the_token_to_the_address_of_the_host_only(render: Render, tmp_path: Path, variable: str) -> None:
    given = {variable: "https://host.example", "LOOSELEAF_READ_TOKEN": "one"}
    settings = from_make(shutil.copytree(render(), tmp_path / "rendered"), **given)
    sends = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "credential.https://host.example.helper"}
    sends["GIT_CONFIG_VALUE_0"] = template_source.HELPER
    for given, name in (settings, "LOOSELEAF_READ_TOKEN"), (sends, "LOOSELEAF_GIT_TOKEN"):
        for address, credentials in ("host.example", "username=x-access-token\npassword=one"), ("host.other", ""):
            filled = subprocess.run(
                ["git", "credential", "fill"],
                input=f"protocol=https\nhost={address}\n\n", capture_output=True, text=True,
                env=os.environ | given | {name: "one", "GIT_TERMINAL_PROMPT": "0"},
            )  # fmt: skip
            assert credentials in filled.stdout
            assert ("one" in filled.stdout) is bool(credentials)


@pytest.mark.parametrize("missing", ["GITHUB_SERVER_URL", "LOOSELEAF_READ_TOKEN"])
def test_without_a_host_or_a_token_git_gets_none(render: Render, tmp_path: Path, missing: str) -> None:
    given = {"GITHUB_SERVER_URL": "https://host.example", "LOOSELEAF_READ_TOKEN": "one", "CI_SERVER_URL": ""}
    assert from_make(shutil.copytree(render(), tmp_path / "rendered"), **given | {missing: ""}) == {}


def test_a_token_in_the_address_is_replaced_by_ours_and_never_shown(
    project: Path, hub: Path, source: str, on_host: dict[str, str]
) -> None:
    """GitLab checks out from an address with a token that may not push."""
    git("config", "http.receivepack", "true", folder=hub)
    with git_over_http(hub, f"x-access-token:{SECRET}") as (address, seen):
        git("remote", "set-url", "origin", f"{address.replace('//', '//job:jobs-token@')}/hub.git", folder=project)
        assert prepared(project, on_host).returncode == 0
        shutil.copytree(ROOT / "template/lifecycle/tools", project / "lifecycle/tools")
        given = on_host | {"LOOSELEAF_TOKEN": SECRET, "LOOSELEAF_SOURCE": source}
        given |= {"GITHUB_SERVER_URL": "", "CI_SERVER_URL": address, "NO_PROXY": "127.0.0.1"}
        command = (sys.executable, "lifecycle/tools/template_source.py", "send")
        done = run(*command, folder=project, **given)
        assert done.returncode == 0, done.stdout
        assert {who for who in seen if who} == {f"x-access-token:{SECRET}"}
        assert git("show", f"{BRANCH}:lifecycle/one.py", folder=hub) == "new"
        # Without the helper, git does not prompt, and the address is shown without its token.
        alone = sent(project, on_host)
    assert (alone.returncode, "git ls-remote failed" in alone.stdout) == (1, True), alone.stdout
    assert "jobs-token" not in done.stdout + alone.stdout
