"""The update of a repository on the branch `looseleaf-update`, which `looseleaf propose` makes in a clone."""

import io
import os
import re
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, ClassVar

from looseleaf import hosts
from looseleaf.errors import StepFailed, UpdateError
from looseleaf.fleet.repositories import REMOTE, cloned, public, remote_git
from looseleaf.hosts import SECRETS, Host, Token
from looseleaf.propose import UPDATE, propose
from looseleaf.remote import REF
from looseleaf.snapshot import git

ADDRESS = re.compile(r"(?:\w+://(?:[^/@]*@)?|[\w.-]+@)(?P<host>[\w.-]+)(?::\d+(?=/))?[:/](?P<path>.+?)(?:\.git)?/?")


class Local(Host):
    """A folder in place of a host: the branch is left there, and no request is opened."""

    rights: ClassVar[str] = "the permission to write to the folder"

    def offer(self, branch: str, title: str, body: str) -> tuple[str, bool]:
        """Return where the branch is."""
        return f"the branch {branch} of {self.repository}", True

    def _headers(self) -> dict[str, str]:
        return {}


def destination(address: str, folder: Path, choices: Mapping[str, Any], push: bool) -> tuple[str, Host]:
    """Return the repository that gets the branch, the listed folder or with `push` its origin, and its host."""
    base = git("rev-parse", "--abbrev-ref", "HEAD", folder=folder)
    if push:
        origin = git("remote", "get-url", "--push", "origin", folder=folder)
        return origin, host_of(origin, str(choices.get("ci", "github")), base, os.environ)
    if REMOTE.match(address):
        raise UpdateError("a URL has no folder for a branch", "Add --push, or list the folder of a clone.")
    return address, Local("", address, base, Token("none", "\0"))


def update(folder: Path, scratch: Path, origin: str, host: Host, to: str | None) -> dict[str, Any]:
    """Update a clone of the repository, run its checks, and push and offer the branch; return the result."""
    clone = cloned(folder, scratch)
    git("remote", "set-url", "origin", origin, folder=clone)
    output = io.StringIO()
    try:
        with redirect_stdout(output):
            code = propose(clone, host, [*UPDATE, *(("--to", to) if to else ())])
    except StepFailed as failed:
        raise UpdateError(f"{output.getvalue()}{failed.problem}", failed.hint) from None
    lines = output.getvalue().strip().splitlines()
    return {"result": "refused", "reasons": lines} if code else {"result": "updated", "request": lines[-1]}


def tip(origin: str) -> str:
    """Return the commit of the branch; empty without the branch."""
    return remote_git("ls-remote", origin, REF).partition("\t")[0]


def host_of(origin: str, kind: str, base: str, environment: Mapping[str, str]) -> Host:
    """Return the host of a repository with this address; `kind` is its choice `ci`.

    GITHUB_API_URL and CI_API_V4_URL replace the usual address of the API.
    """
    if not (match := ADDRESS.fullmatch(origin)):
        raise UpdateError(f"{public(origin)} is not an address of GitHub or GitLab", "Correct the remote `origin`.")
    host, path = match.groups()
    given = {name: environment[name] for name in SECRETS if name in environment}
    if kind == "gitlab":
        api = environment.get("CI_API_V4_URL", f"https://{host}/api/v4")
        return hosts.from_environment(given | {"CI_API_V4_URL": api, "CI_PROJECT_ID": path, "CI_COMMIT_BRANCH": base})
    usual = "https://api.github.com" if host == "github.com" else f"https://{host}/api/v3"
    given |= {"GITHUB_API_URL": environment.get("GITHUB_API_URL", usual), "GITHUB_REPOSITORY": path}
    return hosts.from_environment(given | {"GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": base})
