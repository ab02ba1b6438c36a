"""A package index on this machine: a static folder of wheels over HTTP."""

import functools
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class _Dated(_Silent):
    """Lists the files of a package as JSON, with the time of each file as that of its upload."""

    def do_GET(self) -> None:
        folder = Path(self.translate_path(self.path))
        if not folder.is_dir():
            return super().do_GET()
        times = {path.name: datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in folder.glob("*.whl")}
        files = [
            {"filename": name, "url": name, "hashes": {}, "upload-time": time.isoformat().replace("+00:00", "Z")}
            for name, time in times.items()
        ]
        body = json.dumps({"meta": {"api-version": "1.1"}, "name": folder.name, "files": files}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def index(folder: Path, /, is_dated: bool = False, **versions: str) -> Iterator[str]:
    """Serve wheels without content, by the name of their package, and yield the address of the index."""
    for name, version in versions.items():
        write_wheel(folder / name, name, version)
    handler = functools.partial(_Dated if is_dated else _Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def write_wheel(folder: Path, name: str, version: str, uploaded: datetime | None = None) -> None:
    """Write a wheel with an empty module, which was uploaded at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    contents = {
        f"{name}.py": "",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    file = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        for path, content in contents.items():
            wheel.writestr(path, content)
        wheel.writestr(f"{about}/RECORD", "".join(f"{path},,\n" for path in [*contents, f"{about}/RECORD"]))
    if uploaded:
        os.utime(file, (uploaded.timestamp(), uploaded.timestamp()))
