"""The CI host of a repository, GitHub or GitLab: open a pull or merge request, or update the open one."""

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from looseleaf.errors import StepFailed

# The variable of the token that may push, and all variables that hold tokens.
PUSHES = "LOOSELEAF_TOKEN"
SECRETS = (PUSHES, "LOOSELEAF_READ_TOKEN", "GITHUB_TOKEN", "CI_JOB_TOKEN")
TIMEOUT_SECONDS = 30
RETRY = "The next run tries again."


@dataclass(frozen=True)
class Token:
    """A secret with the name of its variable, and other secrets to hide; no value is in its representation."""

    variable: str
    value: str = field(repr=False)
    others: tuple[str, ...] = field(repr=False, default=())

    def hide(self, text: str) -> str:
        """Return the text without the secrets and without the credentials in addresses."""
        for secret in (self.value, *self.others):
            text = text.replace(secret, "***")
        return re.sub(r"(https?://)[^/\s@]+@", r"\1", text)


@dataclass(frozen=True)
class Host(ABC):
    """A host that opens a request for a branch; `base` is the branch that the update is merged into."""

    api: str
    repository: str
    base: str
    token: Token
    rights: ClassVar[str]
    # Headers of every request to the API; {} is replaced by the token.
    headers: ClassVar[dict[str, str]] = {}

    @abstractmethod
    def offer(self, branch: str, title: str, body: str) -> tuple[str, bool]:
        """Open a request for the branch or update the open one; return its address and whether it was open."""

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the parsed response; raises StepFailed with a message of one line that contains no token."""
        url = f"{self.api}/{path}"
        called = f"{method} {url.split('?')[0]}"
        headers = {name: text.format(self.token.value) for name, text in self.headers.items()}
        headers |= {"User-Agent": "looseleaf", "Content-Type": "application/json"}
        try:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(url, data, headers, method=method)
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            message = self.token.hide(_message(error.read(20_000)))
            raise StepFailed(f"{called} returned {error.code}: {message}", self._hint(error.code)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = self.token.hide(str(getattr(error, "reason", error)) or type(error).__name__)
            raise StepFailed(f"{called} returned no valid response: {reason}", RETRY) from None

    def _hint(self, code: int) -> str:
        if code == 401:
            return f"The token in {self.token.variable} is not accepted: it may have expired."
        if code in (403, 404):
            return f"The token in {self.token.variable} does not have the rights. It needs {self.rights}."
        return RETRY if code == 429 or code >= 500 else "The host's message above gives the reason."


class GitHub(Host):
    """GitHub, or a host with the same API; `repository` is `owner/name`."""

    rights = "contents, pull requests and workflows: write"
    headers: ClassVar[dict[str, str]] = {
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "Authorization": "Bearer {}",
    }

    def offer(self, branch: str, title: str, body: str) -> tuple[str, bool]:
        """Open or update a pull request."""
        pulls = f"repos/{self.repository}/pulls"
        head = f"{self.repository.split('/')[0]}:{branch}"
        query = urllib.parse.urlencode({"state": "open", "head": head, "base": self.base})
        content = {"title": title, "body": body}
        if existing := self._call("GET", f"{pulls}?{query}"):
            return str(self._call("PATCH", f"{pulls}/{existing[0]['number']}", content)["html_url"]), True
        return str(self._call("POST", pulls, content | {"head": branch, "base": self.base})["html_url"]), False


class GitLab(Host):
    """GitLab; `repository` is the id of the project."""

    rights = "the scopes api and write_repository, and the role Developer or Maintainer"
    headers: ClassVar[dict[str, str]] = {"PRIVATE-TOKEN": "{}"}

    def offer(self, branch: str, title: str, body: str) -> tuple[str, bool]:
        """Open or update a merge request."""
        requests = f"projects/{urllib.parse.quote(self.repository, safe='')}/merge_requests"
        branches = {"source_branch": branch, "target_branch": self.base}
        content = {"title": title, "description": body}
        query = urllib.parse.urlencode({"state": "opened", **branches})
        # A fork may have a branch of the same name.
        existing = [
            request
            for request in self._call("GET", f"{requests}?{query}")
            if str(request["source_project_id"]) == str(request["target_project_id"])
        ]
        if existing:
            return str(self._call("PUT", f"{requests}/{existing[0]['iid']}", content)["web_url"]), True
        created = self._call("POST", requests, content | branches | {"remove_source_branch": True})
        return str(created["web_url"]), False


def from_environment(environment: Mapping[str, str]) -> Host:
    """Return the host that the variables of a CI run describe; raises StepFailed without a host or a token."""
    given = {name: value for name, value in environment.items() if value}
    host: type[Host]
    if {"GITHUB_API_URL", "GITHUB_REPOSITORY"} <= given.keys():
        base = given.get("GITHUB_REF_NAME", "") if given.get("GITHUB_REF_TYPE") == "branch" else ""
        host, api, repository = GitHub, given["GITHUB_API_URL"], given["GITHUB_REPOSITORY"]
        reason = ""
    elif {"CI_API_V4_URL", "CI_PROJECT_ID"} <= given.keys():
        base = given.get("CI_COMMIT_BRANCH") or given.get("CI_DEFAULT_BRANCH", "")
        host, api, repository = GitLab, given["CI_API_V4_URL"], given["CI_PROJECT_ID"]
        reason = ", and a job's own token may not open a merge request"
    else:
        problem = "This is not a run of GitHub or GitLab: GITHUB_REPOSITORY and CI_PROJECT_ID are not set"
        raise StepFailed(problem, "On your own machine, use `make update`.")
    if not base:
        raise StepFailed("This run is not for a branch", "Start it on the branch to be updated.")
    if PUSHES not in given:
        hint = f"Make it a secret of the repository. It needs {host.rights}."
        raise StepFailed(f"There is no token in {PUSHES}{reason}", hint)
    token = Token(PUSHES, given[PUSHES], tuple(given[name] for name in SECRETS if name in given))
    return host(api, repository, base, token)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, because urllib would send the token to the other address."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _message(content: bytes) -> str:
    """Return the error message of an API's response in one line."""
    try:
        parsed = json.loads(content)
        details = [error.get("message", "") for error in parsed.get("errors") or [] if isinstance(error, dict)]
        parts = (parsed.get("message") or parsed.get("error") or "no reason", *details)
        message = " ".join(str(part) for part in parts if part)
    except (ValueError, AttributeError, TypeError):
        message = content.decode("utf-8", "replace")
    return " ".join(message.split())[:300]
