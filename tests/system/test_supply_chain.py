"""`make audit` and `make sbom` with the real tools: the vulnerabilities are those of a local service."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import supply_chain

from lifecycle.storage import Store
from looseleaf.snapshot import git
from support.processes import free_port
from support.rendering import Template, run, tool
from support.storages import Storage

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("supply chain")]
VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
for path in sys.argv[1:]:
    print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(path).read()) or "valid")
"""


@pytest.fixture(scope="module")
def repository(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a locked repository with the environment of the suite."""
    folder = template.copy(tmp_path_factory.mktemp("supply") / "project", platform="kubernetes")
    (folder / ".venv").symlink_to(sys.prefix)
    done = run(tool("uv"), "lock", "--quiet", folder=folder)
    assert done.returncode == 0, done.stdout
    git("init", "--quiet", folder=folder)
    return folder


@contextmanager
def vulnerabilities(*names: str) -> Iterator[str]:
    """Run a service of vulnerabilities with one in every version of the named packages; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            package = {"name": name, "ecosystem": "PyPI"}
            fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}
            found = {"vulns": [{"id": f"PYSEC-{name}", "affected": [{"package": package, "ranges": [fixed]}]}]}
            content = json.dumps(found if name in names else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def make(folder: Path, goal: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run make with the uv of the suite."""
    path = f"{Path(tool('uv')).parent}{os.pathsep}{os.environ['PATH']}"
    return run("make", goal, folder=folder, PATH=path, **environment)


def audited(folder: Path, address: str) -> tuple[int, str]:
    given = {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": address, "NO_PROXY": "127.0.0.1"}
    done = make(folder, "audit", **given)
    assert "Traceback" not in done.stdout
    return done.returncode, done.stdout


def test_each_dependency_is_looked_up_and_a_vulnerable_one_named_with_what_fixes_it(repository: Path) -> None:
    with vulnerabilities("pip", "numpy") as address:
        code, output = audited(repository, address)
    assert code == 2
    assert re.search(r"^numpy [\d.]+: PYSEC-numpy; fixed in 99\.1$", output, re.MULTILINE)
    count = re.findall(r"^failed  dependencies: 1 of (\d+) are vulnerable$", output, re.MULTILINE)
    assert int(count[0]) > 100
    assert "ok  deploy/Containerfile" in output


def test_a_service_that_cannot_be_reached_or_has_no_data_is_not_taken_for_no_finding(repository: Path) -> None:
    code, output = audited(repository, f"http://127.0.0.1:{free_port()}/v1/query")
    assert (code, "cannot be looked up" in output, "dependencies: " in output) == (2, True, False), output
    with vulnerabilities() as address:
        code, output = audited(repository, address)
    assert (code, "has no data" in output, "dependencies: " in output) == (2, True, False), output


def test_the_sbom_has_every_dependency_of_the_images_with_hashes_and_follows_its_schema(
    repository: Path, tmp_path: Path
) -> None:
    storage = Storage(Store(repository / "storage"), tmp_path)
    bundle = storage.publish(kind="onnx", metrics={"candidate": {"roc_auc": 0.9}})
    storage.deploy(bundle)
    done = make(repository, "sbom")
    assert done.returncode == 0, done.stdout
    path = repository / "build/sbom.json"
    faulty = path.with_name("faulty.json")
    faulty.write_text(path.read_text().replace("machine-learning-model", "model"))
    package = ("--with", supply_chain.TOOLS["cyclonedx-py"])
    command = (tool("uv"), "run", "--quiet", "--isolated", "--no-project", *package, "python", "-c", VALIDATE)
    done = run(*command, str(path), str(faulty), folder=repository)
    first, _, second = done.stdout.partition("\n")
    assert (first, "'model' is not one of" in second) == ("valid", True), done.stdout
    components = json.loads(path.read_text())["components"]
    hashed = {each["name"]: bool(each.get("hashes")) or "externalReferences" in each for each in components}
    assert all(hashed.values()), hashed
    assert {"numpy", "onnxruntime", "fastapi", "churn"} <= hashed.keys()
    assert not {"pytest", "mypy", "pip", "looseleaf-lifecycle"} & hashed.keys()
