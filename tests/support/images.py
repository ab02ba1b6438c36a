"""The images of a fresh render, built by buildah on stand-ins of the base images and run by podman."""

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from looseleaf.project import make
from looseleaf.snapshot import git
from support.processes import free_port
from support.rendering import Template, run, tool
from support.tools import needs

TOOLS = os.environ.get("LOOSELEAF_TOOLS", "")
# Tests that share the images are of one group, and so of one process.
MARKS = [
    pytest.mark.slow,
    pytest.mark.xdist_group("image"),
    needs("buildah", "podman", "runc", "mmdebstrap"),
    pytest.mark.skipif(not TOOLS, reason="LOOSELEAF_TOOLS does not name the folder with base-images.sh"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can build the stand-ins of the base images"),
]
# No build has a layer of another one, and to store each layer takes long.
BUILD = "--runtime runc --isolation oci --pull=never --network host --layers=false"
# The standard runtime of podman does not accept the control groups of every CI machine.
SETTINGS = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
"""
BASE = "docker.io/library/python:{}.{}-slim".format(*sys.version_info)
USER = "10001"
# Planted before the images are built; none may be in an image.
SECRETS = (".env", "src/model/.env", "config/tls.key", "lifecycle/own.pem", "data/secret.csv", "storage/secret.txt")
# What a process in a container may do.
STATE = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/1/status").read().splitlines())
print(json.dumps({
    "user": os.getuid(), "capabilities": int(status["CapEff"], 16), "no_new_privileges": int(status["NoNewPrivs"]),
    "writable": [each for each in ("/", "/app", "/app/storage/bundles") if os.access(each, os.W_OK)],
}))
"""


@dataclass(frozen=True)
class Images:
    """A rendered repository, and an image store of its own for buildah and podman."""

    folder: Path
    variables: dict[str, str]

    def run(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return run(*command, folder=self.folder, **self.variables | variables)

    def done(self, *command: str, **variables: str) -> str:
        """Run a command that must succeed, and return its output without the warnings of podman."""
        done = self.run(*command, **variables)
        assert done.returncode == 0, done.stdout
        return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("time="))

    def build(self, *variables: str) -> str:
        """Run `make image`, and return the command that it prints."""
        output = self.done(*make("-s", "image", "ENGINE=buildah", f"OPTIONS={BUILD}", *variables))
        return re.findall(r"^  (podman run .*)$", output, re.MULTILINE)[0]

    def derive(self, image: str, name: str, *options: str, files: dict[str, Path] | None = None) -> None:
        """Make an image of another one by options of `buildah config`, and by files or folders at a path."""
        container = self.done("buildah", "from", "--pull-never", image).strip()
        for target, path in (files or {}).items():
            self.done("buildah", "copy", "--quiet", "--chown", "65534", "--chmod", "755", container, str(path), target)
        self.done("buildah", "config", *options, container)
        self.done("buildah", "commit", "--quiet", "--rm", "--format", "docker", container, name)

    def job(self, printed: str, *command: str) -> str:
        """Run a command instead of `monitor`, as the printed command does, but with a folder of data to write to."""
        printed = printed.replace('"$(id -u):$(id -g)"', USER).replace(":/app/data:ro", ":/app/data")
        words = self.words(printed)
        assert words.pop() == "monitor"
        return self.done(*words, *command)

    def words(self, printed: str) -> list[str]:
        return shlex.split(printed.replace("$PWD", str(self.folder)))

    @contextmanager
    def service(self, printed: str, name: str) -> Iterator[str]:
        """Run the printed command on a free port in the background; yields the address."""
        port = free_port()
        words = self.words(printed.replace("--rm ", "").replace("127.0.0.1:8000:", f"127.0.0.1:{port}:"))
        self.done(*words[:2], "--detach", "--name", name, *words[2:])
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            self.run("podman", "rm", "--force", "--volumes", name)

    def is_healthy(self, name: str) -> bool:
        return self.run("podman", "healthcheck", "run", name).returncode == 0

    def python(self, name: str, code: str) -> Any:
        """Return what code in a running container prints as JSON."""
        return json.loads(self.done("podman", "exec", name, "python", "-c", code))

    def inspect(self, image: str) -> Any:
        return json.loads(self.done("podman", "image", "inspect", image))[0]


def image_of(printed: str) -> str:
    return re.findall(r" (churn-(?:serve|jobs):\S+)", printed)[0]


def base_images(uv: str) -> Path:
    """Return an image store with the stand-ins of the base images, which is made once on a machine."""
    script = Path(TOOLS, "base-images.sh")
    variables = {"PY": "{}.{}.{}".format(*sys.version_info), "PYTHON_HOME": sys.base_prefix, "UV": uv}
    name = hashlib.sha256(repr((script.read_bytes(), variables)).encode()).hexdigest()[:16]
    # The suite's home is empty. The cache of uv is that of the user.
    cache = Path(os.environ["UV_CACHE_DIR"]).parent / "looseleaf-base-images"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        store = cache / name
        if not (store / "complete").exists():
            shutil.rmtree(store, ignore_errors=True)
            store.mkdir()
            config = storage(store, store / "graph", store / "run")
            variables |= {"WORKDIR": str(cache), "CONTAINERS_STORAGE_CONF": config}
            done = run("bash", str(script), folder=store, **variables)
            assert done.returncode == 0, done.stdout
            subprocess.run(["umount", "--recursive", "--lazy", str(store / "graph/overlay")], check=False)
            (store / "complete").touch()
    return store / "graph"


def storage(folder: Path, graph: Path, state: Path, others: str = "") -> str:
    """Write the configuration of an image store, and return its path; `others` are stores that are only read."""
    path = folder / "storage.conf"
    path.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{graph}"\nrunroot = "{state}"\n'
        f"[storage.options]\nadditionalimagestores = [{others}]\n"
    )
    return str(path)


@contextmanager
def rendered_images(template: Template, work: Path) -> Iterator[Images]:
    """Render a repository with the environment of the suite, next to an image store that has the base images."""
    folder = template.copy(work / "project", platform="kubernetes")
    (folder / ".venv").symlink_to(sys.prefix)
    done = run(tool("uv"), "lock", "--quiet", folder=folder)
    assert done.returncode == 0, done.stdout
    for name in SECRETS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("s3cret")
    # As a checkout with the umask 077 has them; the user of a container is another one.
    for name in ("config/base.yaml", "src/model/contract.py", "lifecycle/src/lifecycle/settings.py"):
        (folder / name).chmod(0o600)
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", "First", folder=folder)
    for name in ("data", "storage"):
        shutil.chown(folder / name, int(USER))
    # Images are copied several times, which takes minutes on a slow disk. Not every machine allows the mount.
    graph = work / "graph"
    graph.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8g", "tmpfs", str(graph)], check=False)
    # buildah keeps cache mounts here, by their target: the builds use the cache of uv on this machine.
    mount = work / "tmp/buildah-cache/root/.cache/uv"
    mount.parent.mkdir(parents=True)
    mount.symlink_to(os.environ["UV_CACHE_DIR"])
    (work / "containers.conf").write_text(SETTINGS)
    uv = re.findall(r"^UV_VERSION := (\S+)", (folder / "lifecycle/lifecycle.mk").read_text(), re.M)[0]
    variables = {"TMPDIR": str(work / "tmp"), "CONTAINERS_CONF": str(work / "containers.conf")}
    variables["CONTAINERS_STORAGE_CONF"] = storage(work, graph, work / "run", f'"{base_images(uv)}"')
    made = Images(folder, variables)
    try:
        yield made
    finally:
        made.run("podman", "rm", "--all", "--force")
        made.run("buildah", "rm", "--all")
        # podman mounts its folder onto itself, with the container's own mounts below.
        for mounted in (graph / "overlay", graph):
            subprocess.run(["umount", "--recursive", "--lazy", str(mounted)], check=False)
        subprocess.run(["rm", "-rf", str(work)], check=True)
