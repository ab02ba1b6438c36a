"""A local host of repositories: the parts of the APIs of GitHub and GitLab that a proposal uses, and git over HTTP."""

import base64
import json
import os
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from looseleaf.remote import BRANCH
from looseleaf.snapshot import git


@dataclass
class Api:
    """The received requests, the open pull or merge requests, and a response that replaces the usual one."""

    url: str = ""
    requests: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    open: list[dict[str, Any]] = field(default_factory=list)
    instead: tuple[int, bytes, str] | None = None

    def respond(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """Respond as GitHub (/repos) and GitLab (/projects) document it."""
        address, _, query = path.partition("?")
        parameters = dict(urllib.parse.parse_qsl(query))
        if method == "GET" and address == "/repos/acme/churn/pulls":
            assert parameters == {"state": "open", "head": f"acme:{BRANCH}", "base": "main"}
            return self.open
        if method == "GET" and address == "/projects/42/merge_requests":
            assert parameters == {"state": "opened", "source_branch": BRANCH, "target_branch": "main"}
            return self.open
        if method == "POST" and address == "/repos/acme/churn/pulls":
            assert body.keys() == {"title", "body", "head", "base"}
            assert (body["head"], body["base"]) == (BRANCH, "main")
            self.open.append(body | {"number": 7, "html_url": f"{self.url}/acme/churn/pull/7"})
            return self.open[-1]
        if method == "POST" and address == "/projects/42/merge_requests":
            assert (body["source_branch"], body["target_branch"]) == (BRANCH, "main")
            ids = {"iid": 7, "source_project_id": 42, "target_project_id": 42}
            self.open.append(body | ids | {"web_url": f"{self.url}/acme/churn/-/merge_requests/7"})
            return self.open[-1]
        changes = [("PATCH", "/repos/acme/churn/pulls/7"), ("PUT", "/projects/42/merge_requests/7")]
        assert (method, address) in changes, (method, path)
        next(each for each in self.open if 7 in (each.get("number"), each.get("iid"))).update(body)
        return self.open[-1]


@dataclass
class Issues(Api):
    """The issues of a repository, in place of its requests."""

    def respond(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """Respond as GitHub (/repos) and GitLab (/projects) document it."""
        address, _, query = path.partition("?")
        parameters, is_github = dict(urllib.parse.parse_qsl(query)), address.startswith("/repos/acme/")
        assert is_github or address.startswith("/projects/42/issues"), address
        if method == "GET" and is_github:
            assert parameters == {"state": "open", "creator": "github-actions[bot]", "per_page": "100"}
            return self.open
        if method == "GET":
            assert parameters.pop("search")
            assert parameters == {"state": "opened", "in": "title", "per_page": "100"}
            return self.open
        number, text = ("number", "body") if is_github else ("iid", "description")
        assert body.keys() == {"title", text}
        if method == "POST":
            self.open.append(body | {number: 7, "html_url" if is_github else "web_url": f"{self.url}/issues/7"})
            return self.open[-1]
        assert (method, address.rpartition("/")[2]) == ("PATCH" if is_github else "PUT", "7")
        self.open[-1].update(body)
        return self.open[-1]


@contextmanager
def api(state: Api | None = None) -> Iterator[Api]:
    """Run a local server with the APIs of the hosts."""
    state = state or Api()

    class Handler(BaseHTTPRequestHandler):
        def handle_request(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            state.requests.append((self.command, self.path.partition("?")[0], body))
            state.headers.append(dict(self.headers))
            code, content, location = state.instead or (200, b"", "")
            content = content or json.dumps(state.respond(self.command, self.path, body)).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = handle_request  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()


@contextmanager
def git_over_http(hub: Path, known: str) -> Iterator[tuple[str, list[str]]]:
    """Serve a bare repository to users with the known `name:password`; yield address and received credentials."""
    seen: list[str] = []
    backend = Path(git("--exec-path", folder=hub)) / "git-http-backend"

    class Handler(BaseHTTPRequestHandler):
        def handle_request(self) -> None:
            _, _, who = self.headers.get("Authorization", "").partition("Basic ")
            seen.append(base64.b64decode(who).decode())
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if seen[-1] != known:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="here"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            given = {"GIT_PROJECT_ROOT": str(hub.parent), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path}
            given |= {"QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": "user"}
            given |= {"CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body))}
            given |= {"HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", "")}
            done = subprocess.run([backend], input=body, env=os.environ | given, capture_output=True, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            self.send_response(200)
            for line in head.decode().splitlines():
                self.send_header(*line.split(": ", 1))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = handle_request  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
