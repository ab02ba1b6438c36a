"""An update becomes one request with the report in it, the checkout stays as it was, and no token is ever shown.

The host's API is faked by a server of our own, `looseleaf update` by a small program; git and its remote are real.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from looseleaf import hosts
from looseleaf.remote import BRANCH
from looseleaf.snapshot import git
from support import hosting
from support.hosting import Api, git_over_http
from support.rendering import ROOT, Template, run

Render = Callable[..., Path]

SECRET = "s3cret-t0ken"
REPORT = "# 0.1.0 → 0.2.0\n\nSafe: `lifecycle/` is replaced.\n"
# Stands in for `looseleaf update`: changes files as a safe update does, and says what is asked of it.
UPDATE = """
import json, os, pathlib, sys
file = sys.argv[sys.argv.index("--output") + 1]
assert sys.argv[sys.argv.index("--format") + 1] == "json"
code, text = int(os.environ.get("CODE", 0)), os.environ.get("TEXT", "new")
print("looking", os.environ.get("LOOSELEAF_TOKEN"), os.environ.get("GITHUB_TOKEN"), file=sys.stderr)
if code == 0 and text:
    pathlib.Path("lifecycle/one.py").write_text(text + "\\n")
    pathlib.Path("lifecycle/added.py").write_text("added\\n")
    pathlib.Path("lifecycle/gone.py").unlink()
if "REPORT" in os.environ:
    told = {"from": "0.1.0", "to": "0.2.0", "safe": code == 0, "up_to_date": not text}
    told["rendered"] = os.environ["REPORT"] * int(os.environ.get("TIMES", 1))
    pathlib.Path(file).write_text(json.dumps(told))
sys.exit(code)
"""


@pytest.fixture
def api() -> Iterator[Api]:
    """A server on this machine that answers as the hosts do."""
    with hosting.api() as told:
        yield told


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """The bare repository that origin names."""
    folder = tmp_path / "hub.git"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(folder), folder=tmp_path)
    return folder


@pytest.fixture
def project(tmp_path: Path, hub: Path) -> Path:
    """A rendered repository, as far as git sees one: committed, pushed, with a hook that lets nothing through."""
    folder = tmp_path / "project"
    (folder / "lifecycle").mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", folder=folder)
    for name in ("README.md", "lifecycle/one.py", "lifecycle/gone.py"):
        (folder / name).write_text("old\n")
    save(folder, "The first")
    git("remote", "add", "origin", f"file://{hub}", folder=folder)
    git("push", "--quiet", "origin", "main", folder=folder)
    for hook in ("pre-commit", "pre-push"):
        (folder / ".git/hooks" / hook).write_text("#!/bin/sh\nexit 1\n")
        (folder / ".git/hooks" / hook).chmod(0o755)
    return folder


@pytest.fixture(params=["github", "gitlab"])
def on_host(request: pytest.FixtureRequest, api: Api) -> dict[str, str]:
    """What each host's run is told."""
    return environment(str(request.param), api)


def environment(host: str, api: Api) -> dict[str, str]:
    if host == "github":
        given = {"GITHUB_API_URL": api.url, "GITHUB_REPOSITORY": "acme/churn", "GITHUB_REF_TYPE": "branch"}
        return given | {"GITHUB_REF_NAME": "main", "GITHUB_TOKEN": SECRET}
    given = {"CI_API_V4_URL": api.url, "CI_PROJECT_ID": "42", "CI_DEFAULT_BRANCH": "main"}
    return given | {"LOOSELEAF_TOKEN": SECRET}


def save(folder: Path, message: str) -> str:
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--no-verify", "--message", message, folder=folder)
    return git("rev-parse", "HEAD", folder=folder)


def proposed(folder: Path, on_host: dict[str, str], **more: str) -> "subprocess.CompletedProcess[str]":
    """Run `looseleaf propose` with the fake update."""
    program = f"import sys; from looseleaf import propose; sys.exit(propose.run((sys.executable, '-c', {UPDATE!r})))"
    given = {"PYTHONPATH": str(ROOT / "hooks"), "NO_PROXY": "127.0.0.1", "REPORT": REPORT}
    before = state(folder)
    done = run(sys.executable, "-c", program, folder=folder, **(given | on_host | more))
    assert state(folder) == before
    assert SECRET not in done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    return done


def state(folder: Path) -> list[str]:
    """Everything about a checkout that a run must leave as it was."""
    asked = (
        "rev-parse HEAD",
        "status --porcelain --branch",
        "branch --format=%(refname)",
        "remote -v",
        "config --local -l",
    )
    return [git(*words.split(), folder=folder) for words in asked]


def test_a_safe_update_becomes_a_request_with_the_report_in_it(
    project: Path, hub: Path, api: Api, on_host: dict[str, str]
) -> None:
    done = proposed(project, on_host)
    assert done.returncode == 0, done.stdout
    (request,) = api.open
    assert request["title"] == "Update the template to 0.2.0"
    assert request.get("body", request.get("description")) == REPORT
    assert f"{request.get('html_url', request.get('web_url'))} is open" in done.stdout
    assert git("show", "--name-status", "--format=%s %P", BRANCH, folder=hub).split() == [
        *["Update", "the", "template", "to", "0.2.0"], git("rev-parse", "HEAD", folder=project),
        "A", "lifecycle/added.py", "D", "lifecycle/gone.py", "M", "lifecycle/one.py",
    ]  # fmt: skip
    assert git("rev-parse", "main", folder=hub) == git("rev-parse", "HEAD", folder=project)


def test_the_report_of_a_real_update_arrives(template: Template, hub: Path, api: Api, tmp_path: Path) -> None:
    """What is faked elsewhere: `looseleaf update` itself, of a template without the verbs that would check a render."""
    source = Template(shutil.copytree(template.folder, tmp_path / "template"))
    (source.folder / "template/lifecycle/lifecycle.mk").unlink()
    source.release("v9999.0.1")
    folder = source.copy(tmp_path / "rendered")
    git("init", "--quiet", folder=folder)
    save(folder, "The first")
    git("remote", "add", "origin", f"file://{hub}", folder=folder)
    git("push", "--quiet", "origin", "main", folder=folder)
    (source.folder / "template/lifecycle/docs/added.md").write_text("# Added\n")
    source.release("v9999.1.0")
    given = environment("github", api) | {"PYTHONPATH": str(ROOT / "hooks"), "NO_PROXY": "127.0.0.1"}
    before = state(folder)
    done = run(sys.executable, "-m", "looseleaf.cli", "propose", folder=folder, **given)
    assert done.returncode == 0, done.stdout
    assert state(folder) == before
    (request,) = api.open
    assert request["title"] == "Update the template to 9999.1.0"
    assert "Template 9999.0.1 → 9999.1.0: safe" in request["body"]
    assert "- lifecycle/docs/added.md" in request["body"]
    assert git("show", f"{BRANCH}:lifecycle/docs/added.md", folder=hub) == "# Added"
    # Somebody merges it: the next run finds nothing to do.
    git("fetch", "--quiet", "origin", BRANCH, folder=folder)
    git("reset", "--quiet", "--hard", "FETCH_HEAD", folder=folder)
    again = run(sys.executable, "-m", "looseleaf.cli", "propose", folder=folder, **given)
    assert (again.returncode, "The template is up to date (9999.1.0)" in again.stdout) == (0, True), again.stdout
    # Somebody edits what is the template's: a person has to look, and sees why.
    (folder / "lifecycle/docs/data.md").write_text("mine\n")
    save(folder, "An edit")
    (source.folder / "template/lifecycle/docs/data.md").write_text("newer\n")
    source.release("v9999.2.0")
    edited = run(sys.executable, "-m", "looseleaf.cli", "propose", folder=folder, **given)
    assert (edited.returncode, "lifecycle/docs/data.md (edited)" in edited.stdout) == (3, True), edited.stdout


def test_the_api_is_asked_as_the_hosts_document_it(project: Path, api: Api, on_host: dict[str, str]) -> None:
    assert proposed(project, on_host).returncode == 0
    for headers in api.headers:
        if "GITHUB_TOKEN" in on_host:
            assert headers["Authorization"] == f"Bearer {SECRET}"
            assert headers["X-Github-Api-Version"] == "2022-11-28"
        else:
            assert headers["Private-Token"] == SECRET


def test_twice_gives_one_request_and_pushes_once(project: Path, hub: Path, api: Api, on_host: dict[str, str]) -> None:
    assert proposed(project, on_host).returncode == 0
    pushed = git("rev-parse", BRANCH, folder=hub)
    done = proposed(project, on_host, REPORT="# Newer words\n")
    assert done.returncode == 0, done.stdout
    (request,) = api.open
    assert request.get("body", request.get("description")) == "# Newer words\n"
    assert git("rev-parse", BRANCH, folder=hub) == pushed
    assert "is up to date" in done.stdout


def test_a_newer_version_takes_the_place_of_the_older(
    project: Path, hub: Path, api: Api, on_host: dict[str, str]
) -> None:
    assert proposed(project, on_host).returncode == 0
    (project / "README.md").write_text("The base has moved.\n")
    head = save(project, "Work of the team")
    git("push", "--quiet", "--no-verify", "origin", "main", folder=project)
    assert proposed(project, on_host, TEXT="newer still").returncode == 0
    assert git("show", f"{BRANCH}:lifecycle/one.py", folder=hub) == "newer still"
    assert git("rev-parse", f"{BRANCH}^", folder=hub) == head
    assert len(api.open) == 1


def test_an_older_checkout_takes_no_commit_of_the_base_for_somebodys_work(
    project: Path, hub: Path, on_host: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path / "older")
    (project / "README.md").write_text("The base has moved.\n")
    save(project, "Work of the team")
    git("push", "--quiet", "--no-verify", "origin", "main", folder=project)
    assert proposed(project, on_host).returncode == 0
    done = proposed(tmp_path / "older", on_host, TEXT="newer still")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("depth", [(), ("--depth=1",)])
def test_the_work_of_others_on_the_branch_is_kept(
    project: Path, hub: Path, api: Api, on_host: dict[str, str], tmp_path: Path, depth: tuple[str, ...]
) -> None:
    assert proposed(project, on_host).returncode == 0
    other = tmp_path / "other"
    git("clone", "--quiet", f"--branch={BRANCH}", f"file://{hub}", str(other), folder=tmp_path)
    (other / "lifecycle/one.py").write_text("fixed\n")
    theirs = save(other, "Fix what the update broke")
    git("push", "--quiet", "origin", BRANCH, folder=other)
    asked, page = len(api.asked), tmp_path / "summary.md"
    clone = tmp_path / "clone"
    git("clone", "--quiet", *depth, f"file://{hub}", str(clone), folder=tmp_path)
    program = proposed(clone, on_host, TEXT="newer still", GITHUB_STEP_SUMMARY=str(page))
    assert program.returncode == 3
    assert "Fix what the update broke" in program.stdout
    assert "Fix what the update broke" in page.read_text()
    assert git("rev-parse", BRANCH, folder=hub) == theirs
    assert len(api.asked) == asked


def test_what_is_pushed_in_the_last_moment_is_kept(
    project: Path, hub: Path, on_host: dict[str, str], tmp_path: Path
) -> None:
    """Between the look at the branch and the push, somebody creates it."""
    hook = hub / "hooks/pre-receive"
    main = git("rev-parse", "main", folder=hub)
    # The hook of the remote stands in for somebody faster: git compares again when it moves the branch.
    hook.write_text(f"#!/bin/sh\nenv -u GIT_QUARANTINE_PATH git update-ref refs/heads/{BRANCH} {main}\n")
    hook.chmod(0o755)
    done = proposed(project, on_host)
    assert done.returncode == 1
    assert "git push was refused" in done.stdout
    assert git("rev-parse", BRANCH, folder=hub) == main


def test_an_update_that_needs_a_person_is_shown_and_pushes_nothing(
    project: Path, hub: Path, api: Api, on_host: dict[str, str], tmp_path: Path
) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    done = proposed(project, on_host, CODE="3", GITHUB_STEP_SUMMARY=str(page), REPORT=f"{REPORT}see {SECRET}\n")
    assert done.returncode == 3
    assert REPORT in done.stdout
    assert page.read_text() == f"before\n{REPORT}see ***\n\n"
    assert not git("branch", "--list", BRANCH, folder=hub)
    assert not api.asked


def test_nothing_to_do_is_said(project: Path, hub: Path, api: Api, on_host: dict[str, str]) -> None:
    done = proposed(project, on_host, TEXT="")
    assert (done.returncode, "The template is up to date (0.2.0)" in done.stdout) == (0, True)
    assert not git("branch", "--list", BRANCH, folder=hub)
    assert not api.asked


@pytest.mark.parametrize("more", [{"CODE": "1"}, {"REPORT": "", "CODE": "1"}])
def test_an_update_that_fails_is_a_failure(
    project: Path, hub: Path, api: Api, on_host: dict[str, str], more: dict[str, str]
) -> None:
    done = proposed(project, on_host, **more)
    assert (done.returncode, "looseleaf update ended with 1" in done.stdout) == (1, True)
    assert not api.asked


def test_a_dirty_tree_is_refused_before_anything_is_looked_at(project: Path, api: Api, on_host: dict[str, str]) -> None:
    (project / "mine.txt").write_text("mine\n")
    done = proposed(project, on_host)
    assert (done.returncode, "The work tree is not clean:\n?? mine.txt" in done.stdout) == (1, True)
    assert "looking" not in done.stdout
    assert (project / "mine.txt").read_text() == "mine\n"
    assert not api.asked


def test_ctrl_c_leaves_the_checkout_as_it_was(project: Path, hub: Path, api: Api, on_host: dict[str, str]) -> None:
    before = state(project)
    slow = UPDATE.replace("sys.exit(code)", "print('changed', file=sys.stderr)\nimport time\ntime.sleep(60)")
    program = f"import sys; from looseleaf import propose; sys.exit(propose.run((sys.executable, '-c', {slow!r})))"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=project,
        env=os.environ | on_host | {"PYTHONPATH": str(ROOT / "hooks"), "REPORT": REPORT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A suite that runs in the background ignores the signal, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout
    assert "changed\n" in iter(process.stdout.readline, "")
    assert state(project) != before
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, "Stopped. The checkout is as it was." in said) == (130, True), said
    assert state(project) == before
    assert not git("branch", "--list", BRANCH, folder=hub)


ANSWERS = {
    401: (b'{"message": "Bad credentials"}', "is not accepted: it may have expired"),
    403: (b'{"message": "GitHub Actions is not permitted to create or approve pull requests."}', "is not allowed to"),
    404: (b'{"message": "404 Project Not Found"}', "is not allowed to"),
    409: (b'{"message": ["Another open merge request already exists"]}', "Another open merge request"),
    422: (b'{"message": "Validation Failed", "errors": [{"message": "No commits between"}]}', "No commits between"),
    500: (b"<h1>Sorry</h1>", "The next run tries again"),
}


@pytest.mark.parametrize("code", ANSWERS)
def test_an_error_of_the_api_is_one_clear_line(project: Path, api: Api, on_host: dict[str, str], code: int) -> None:
    content, reason = ANSWERS[code]
    api.instead = (code, content, "")
    done = proposed(project, on_host)
    (line,) = [line for line in done.stdout.splitlines() if "was answered with" in line]
    assert (done.returncode, f"was answered with {code}:" in line, reason in line) == (1, True, True), line
    if code == 403:
        assert ("pull requests and workflows: write" if "GITHUB_TOKEN" in on_host else "the scopes api") in line
    # The branch is there already: the next run opens the request for it.
    api.instead = None
    assert proposed(project, on_host).returncode == 0
    assert len(api.open) == 1


def test_an_answer_that_leads_elsewhere_takes_no_token_there(project: Path, api: Api, on_host: dict[str, str]) -> None:
    api.instead = (302, b"{}", f"{api.url}/elsewhere")
    done = proposed(project, on_host)
    assert (done.returncode, "was answered with 302" in done.stdout) == (1, True)
    assert "/elsewhere" not in [path for _, path, _ in api.asked]


@pytest.mark.parametrize("content", [b"no JSON", b'{"a": '])
def test_an_answer_that_is_no_json_is_said(project: Path, api: Api, on_host: dict[str, str], content: bytes) -> None:
    api.instead = (200, content, "")
    done = proposed(project, on_host)
    assert (done.returncode, "was not answered" in done.stdout) == (1, True)


def test_an_api_that_is_down_is_said(project: Path, api: Api, on_host: dict[str, str]) -> None:
    down = {name: "http://127.0.0.1:9" for name in on_host if name.endswith("_URL")}
    done = proposed(project, on_host | down)
    assert (done.returncode, "was not answered: [Errno 111]" in done.stdout) == (1, True), done.stdout


def test_a_refused_push_names_the_missing_right(project: Path, hub: Path, api: Api, on_host: dict[str, str]) -> None:
    refuse(hub, f"refusing to allow a GitHub App to update workflow `x.yml` without `workflows` permission {SECRET}")
    done = proposed(project, on_host)
    assert (done.returncode, "secret that has the right `workflows`" in done.stdout) == (1, True), done.stdout
    refuse(hub, "You are not allowed to push code to this project.")
    done = proposed(project, on_host)
    assert (done.returncode, "You are not allowed to push" in done.stdout) == (1, True)
    assert ("contents" if "GITHUB_TOKEN" in on_host else "write_repository") in done.stdout
    assert not api.asked


def refuse(hub: Path, words: str) -> None:
    hook = hub / "hooks/pre-receive"
    hook.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    hook.chmod(0o755)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"GITHUB_TOKEN": ""}, "There is no token in LOOSELEAF_TOKEN. Make it a secret"),
        ({"GITHUB_REF_TYPE": "tag"}, "This run is not about a branch"),
        ({"GITHUB_REF_NAME": BRANCH}, "the branch that holds the update"),
        ({"GITHUB_REPOSITORY": ""}, "Neither GitHub nor GitLab runs this"),
    ],
)
def test_what_github_does_not_give_is_named(project: Path, api: Api, change: dict[str, str], reason: str) -> None:
    done = proposed(project, environment("github", api) | change)
    assert (done.returncode, reason in done.stdout, "looking" in done.stdout) == (1, True, False), done.stdout


def test_gitlabs_job_token_is_not_enough_and_the_variable_is_named(project: Path, api: Api) -> None:
    done = proposed(project, environment("gitlab", api) | {"LOOSELEAF_TOKEN": "", "CI_JOB_TOKEN": SECRET})
    assert (done.returncode, "There is no token in LOOSELEAF_TOKEN, and a job's own token" in done.stdout) == (1, True)
    assert "write_repository" in done.stdout


def test_a_token_of_ones_own_goes_before_the_runs(api: Api) -> None:
    host = hosts.of(environment("github", api) | {"LOOSELEAF_TOKEN": "my-own"})
    assert host.token.variable == "LOOSELEAF_TOKEN"
    assert host.token.hide(f"my-own {SECRET} https://me:word@host/x") == "*** *** https://host/x"
    assert "my-own" not in f"{host!r} {host.token!r}"
    assert SECRET not in f"{host!r}"


def test_a_merge_request_of_a_fork_is_not_ours(project: Path, api: Api) -> None:
    api.open.append({"iid": 3, "source_project_id": 1, "target_project_id": 42, "title": "theirs"})
    assert proposed(project, environment("gitlab", api)).returncode == 0
    assert [request["title"] for request in api.open] == ["theirs", "Update the template to 0.2.0"]


def test_a_report_longer_than_the_host_takes_is_cut(project: Path, api: Api, on_host: dict[str, str]) -> None:
    assert proposed(project, on_host, REPORT="ü", TIMES="70000").returncode == 0
    body = str(api.open[0].get("body", api.open[0].get("description")))
    assert len(body) <= 65_536
    assert body.endswith("`make update` shows the rest.")


def from_make(project: Path, **environment: str) -> dict[str, str]:
    """What `make propose` of a rendered repository tells git, for a CI host at an address."""
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
def test_git_has_the_token_for_the_hosts_own_address_alone(render: Render, tmp_path: Path, variable: str) -> None:
    told = from_make(shutil.copytree(render(), tmp_path / "rendered"), **{variable: "https://host.example"})
    for ours, expected in ({"LOOSELEAF_TOKEN": "one", "GITHUB_TOKEN": "two"}, "one"), ({"GITHUB_TOKEN": "two"}, "two"):
        for address, said in ("host.example", f"username=x-access-token\npassword={expected}"), ("host.other", ""):
            asked = subprocess.run(
                ["git", "credential", "fill"],
                input=f"protocol=https\nhost={address}\n\n", capture_output=True, text=True,
                env=os.environ | told | ours | {"GIT_TERMINAL_PROMPT": "0"},
            )  # fmt: skip
            assert said in asked.stdout
            assert (expected in asked.stdout) is bool(said)


def test_without_a_host_git_is_told_nothing(render: Render, tmp_path: Path) -> None:
    silent = {"GITHUB_SERVER_URL": "", "CI_SERVER_URL": ""}
    assert from_make(shutil.copytree(render(), tmp_path / "rendered"), **silent) == {}


def test_an_address_with_a_token_in_it_is_asked_with_ours_and_never_shown(
    render: Render, project: Path, hub: Path, on_host: dict[str, str], tmp_path: Path
) -> None:
    """GitLab checks out from an address with a token that may not push."""
    git("config", "http.receivepack", "true", folder=hub)
    rendered = shutil.copytree(render(), tmp_path / "rendered")
    with git_over_http(hub, f"x-access-token:{SECRET}") as (address, seen):
        git("remote", "set-url", "origin", f"{address.replace('//', '//job:jobs-token@')}/hub.git", folder=project)
        told = from_make(rendered, GITHUB_SERVER_URL="", CI_SERVER_URL=address)
        done = proposed(project, on_host, **told)
        assert done.returncode == 0, done.stdout
        assert {who for who in seen if who} == {f"x-access-token:{SECRET}"}
        assert git("show", f"{BRANCH}:lifecycle/one.py", folder=hub) == "new"
        # Without the helper nobody is asked for a password, and the address is shown without what it held.
        alone = proposed(project, on_host)
    assert (alone.returncode, "git ls-remote was refused" in alone.stdout) == (1, True), alone.stdout
    assert "jobs-token" not in done.stdout + alone.stdout
