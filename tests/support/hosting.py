"""A host of repositories on this machine: the APIs of GitHub and GitLab that a proposal asks, and git over HTTP."""

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
    """What the fake host was asked, the requests that are open on it, and what it answers instead."""

    url: str = ""
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    open: list[dict[str, Any]] = field(default_factory=list)
    instead: tuple[int, bytes, str] | None = None

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """GitHub under /repos, GitLab under /projects: as both document it."""
        address, _, query = path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        if method == "GET" and address == "/repos/acme/churn/pulls":
            assert asked == {"state": "open", "head": f"acme:{BRANCH}", "base": "main"}
            return self.open
        if method == "GET" and address == "/projects/42/merge_requests":
            assert asked == {"state": "opened", "source_branch": BRANCH, "target_branch": "main"}
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


@contextmanager
def api() -> Iterator[Api]:
    """A server on this machine that answers as the hosts do."""
    told = Api()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            told.asked.append((self.command, self.path.partition("?")[0], body))
            told.headers.append(dict(self.headers))
            code, content, location = told.instead or (200, b"", "")
            content = content or json.dumps(told.answer(self.command, self.path, body)).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        told.url = f"http://127.0.0.1:{server.server_port}"
        yield told
        server.shutdown()


@contextmanager
def git_over_http(hub: Path, known: str) -> Iterator[tuple[str, list[str]]]:
    """A bare repository, served to whoever has the known `name:password`: its address, and who asked."""
    seen: list[str] = []
    backend = Path(git("--exec-path", folder=hub)) / "git-http-backend"

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
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
            given |= {"QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": "somebody"}
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

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
