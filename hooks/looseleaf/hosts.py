"""The host of a repository, as its CI run describes it: opens a pull or merge request, or rewrites the open one."""

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from looseleaf.steps import StepFailed

SECRETS = ("LOOSELEAF_TOKEN", "GITHUB_TOKEN", "CI_JOB_TOKEN")
TIMEOUT_SECONDS = 30
# GitHub takes 65,536 characters, GitLab more.
LONGEST_BODY = 60_000
CUT = "\n\nThe report is longer than the host takes: `make update` shows the rest."


@dataclass(frozen=True)
class Token:
    """A secret and the variable it came from, and other secrets around it; no value is in its representation."""

    variable: str
    value: str = field(repr=False)
    others: tuple[str, ...] = field(repr=False, default=())

    def hide(self, text: str) -> str:
        """The text without the secrets, and without what stands before the @ of an address."""
        for secret in (self.value, *self.others):
            text = text.replace(secret, "***")
        return re.sub(r"(https?://)[^/\s@]+@", r"\1", text)


class Host(Protocol):
    """Where a branch is offered to people."""

    @property
    def token(self) -> Token:
        """What the host is asked with."""

    @property
    def rights(self) -> str:
        """What the token has to be allowed."""

    @property
    def base(self) -> str:
        """The branch that the offer is made to."""

    def offer(self, branch: str, title: str, body: str) -> tuple[str, bool]:
        """Title and body in an open request for the branch: its address, and whether it was open already."""


@dataclass(frozen=True)
class GitHub:
    """GitHub, or a host that speaks its API."""

    api: str
    repository: str
    base: str
    token: Token
    rights: ClassVar[str] = (
        "contents, pull requests and workflows: write. For GITHUB_TOKEN, Settings > Actions > General has to allow "
        "that GitHub Actions creates pull requests"
    )

    def offer(self, branch: str, title: str, body: str) -> tuple[str, bool]:
        """A pull request."""
        pulls = f"{self.api}/repos/{self.repository}/pulls"
        head = f"{self.repository.split('/')[0]}:{branch}"
        query = urllib.parse.urlencode({"state": "open", "head": head, "base": self.base})
        said = {"title": title, "body": _fitting(body)}
        if found := self._ask("GET", f"{pulls}?{query}"):
            return str(self._ask("PATCH", f"{pulls}/{found[0]['number']}", said)["html_url"]), True
        return str(self._ask("POST", pulls, said | {"head": branch, "base": self.base})["html_url"]), False

    def _ask(self, method: str, url: str, body: dict[str, Any] | None = None) -> Any:
        headers = {
            "Authorization": f"Bearer {self.token.value}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        return _ask(self, method, url, headers, body)


@dataclass(frozen=True)
class GitLab:
    """GitLab."""

    api: str
    project: str
    base: str
    token: Token
    rights: ClassVar[str] = "the scopes api and write_repository, and the role Developer or Maintainer"

    def offer(self, branch: str, title: str, body: str) -> tuple[str, bool]:
        """A merge request."""
        requests = f"{self.api}/projects/{urllib.parse.quote(self.project, safe='')}/merge_requests"
        ends = {"source_branch": branch, "target_branch": self.base}
        said = {"title": title, "description": _fitting(body)}
        query = urllib.parse.urlencode({"state": "opened", **ends})
        # A fork may have a branch of that name, too.
        found = [each for each in self._ask("GET", f"{requests}?{query}") if self._is_ours(each)]
        if found:
            return str(self._ask("PUT", f"{requests}/{found[0]['iid']}", said)["web_url"]), True
        made = self._ask("POST", requests, said | ends | {"remove_source_branch": True})
        return str(made["web_url"]), False

    def _is_ours(self, request: dict[str, Any]) -> bool:
        return str(request["source_project_id"]) == str(request["target_project_id"])

    def _ask(self, method: str, url: str, body: dict[str, Any] | None = None) -> Any:
        return _ask(self, method, url, {"PRIVATE-TOKEN": self.token.value}, body)


def of(environment: Mapping[str, str]) -> Host:
    """The host that runs this, by its own variables; raises StepFailed where there is none, or no token."""
    given = {name: value for name, value in environment.items() if value}
    if {"GITHUB_API_URL", "GITHUB_REPOSITORY"} <= given.keys():
        if given.get("GITHUB_REF_TYPE") != "branch" or "GITHUB_REF_NAME" not in given:
            raise StepFailed("This run is not about a branch", "Start it on the branch that is to be updated.")
        token = _token(given, "LOOSELEAF_TOKEN", "GITHUB_TOKEN")
        return GitHub(given["GITHUB_API_URL"], given["GITHUB_REPOSITORY"], given["GITHUB_REF_NAME"], token)
    if {"CI_API_V4_URL", "CI_PROJECT_ID"} <= given.keys():
        base = given.get("CI_COMMIT_BRANCH") or given.get("CI_DEFAULT_BRANCH", "")
        if not base:
            raise StepFailed("This run is not about a branch", "Start it on the branch that is to be updated.")
        return GitLab(given["CI_API_V4_URL"], given["CI_PROJECT_ID"], base, _token(given, "LOOSELEAF_TOKEN"))
    raise StepFailed(
        "Neither GitHub nor GitLab runs this: GITHUB_REPOSITORY and CI_PROJECT_ID are not set",
        "On a machine of your own, `make update` does the rest.",
    )


def _token(given: Mapping[str, str], *variables: str) -> Token:
    for name in variables:
        if name in given:
            return Token(name, given[name], tuple(given[other] for other in SECRETS if other in given))
    github = "GITHUB_TOKEN" in variables
    alone = "" if github else ", and a job's own token may open no merge request"
    hint = f"Make it a secret of the repository. It needs {GitHub.rights if github else GitLab.rights}."
    raise StepFailed(f"There is no token in LOOSELEAF_TOKEN{alone}", hint)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nothing: urllib would carry the token to another address."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _ask(host: Host, method: str, url: str, headers: dict[str, str], body: dict[str, Any] | None) -> Any:
    """What the host answers; raises StepFailed in one line, and never with the token in it."""
    asked = f"{method} {url.split('?')[0]}"
    data = None if body is None else json.dumps(body).encode()
    headers = headers | {"User-Agent": "looseleaf", "Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.build_opener(_Stay).open(request, timeout=TIMEOUT_SECONDS) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        said = host.token.hide(_message(error.read(20_000)))
        raise StepFailed(f"{asked} was answered with {error.code}: {said}", _mend(host, error.code)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = host.token.hide(str(getattr(error, "reason", error)) or type(error).__name__)
        raise StepFailed(f"{asked} was not answered: {reason}", "The next run tries again.") from None


def _mend(host: Host, code: int) -> str:
    if code == 401:
        return f"The token in {host.token.variable} is not accepted: it may have expired."
    if code in (403, 404):
        return f"The token in {host.token.variable} is not allowed to. It needs {host.rights}."
    return "The next run tries again." if code == 429 or code >= 500 else "The host's own words say what it wants."


def _message(content: bytes) -> str:
    """What an API says about an error, in one line."""
    try:
        told = json.loads(content)
        errors = [error.get("message", "") for error in told.get("errors") or [] if isinstance(error, dict)]
        said = " ".join(
            str(each) for each in (told.get("message") or told.get("error") or "no reason", *errors) if each
        )
    except (ValueError, AttributeError, TypeError):
        said = content.decode("utf-8", "replace")
    return " ".join(said.split())[:300]


def _fitting(body: str) -> str:
    return body if len(body) <= LONGEST_BODY else body[: LONGEST_BODY - len(CUT)] + CUT
