"""Run a workflow for GitHub on this machine, and the programs that its steps call in place of the real ones."""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from support.builders import archive
from support.rendering import run, tool

WORKFLOW = ".github/workflows/lifecycle.yml"
# For PYTEST_ADDOPTS where the steps around the tests of a repository matter.
FEW_TESTS = "-x -k 'planted or test_data'"
# `make setup` gets the environment of the suite, and the audit finds nothing but what shows that the service has data.
PROGRAMS = {
    "uv": """#!/bin/sh
case "$*" in
  sync*) {uv} lock --check --quiet && mkdir .venv && ln -s {prefix}/* .venv ;;
  *known.txt) echo '{{"dependencies": [{{"name": "pip", "version": "9.0.1", "vulns": [{{}}]}}]}}' ;;
  *" pip-audit "*) echo '{{"dependencies": []}}' ;;
  *" hadolint "*) exec {hadolint} --no-color deploy/Containerfile ;;
  *" kingfisher "*) echo '{{"findings": []}}' ;;
  *" cyclonedx-py "*) echo '{{"bomFormat": "CycloneDX", "components": []}}' ;;
  *) exec {uv} "$@" ;;
esac
""",
    "docker": """#!/bin/sh
case "$*" in save*) cp {folder}/image.tar "${{2#--output=}}"; exit ;; esac
echo docker $* >> {folder}/calls
[ $1 != login ] || cat >> {folder}/calls
""",
    "buildah": """#!/bin/sh
case "$*" in *docker-archive*) cp {folder}/image.tar "${{3#docker-archive:}}"; exit ;; esac
echo buildah $* >> {folder}/calls
[ $1 != login ] || cat >> {folder}/calls
""",
}


# Variables of this machine that the steps of a workflow see.
PASSED = "SSL_CERT_FILE,SSL_CERT_DIR,PIP_CERT,REQUESTS_CA_BUNDLE,NODE_EXTRA_CA_CERTS,UV_SYSTEM_CERTS,PYTEST_ADDOPTS"
PASSED += ",MYPY_CACHE_DIR,OMP_NUM_THREADS"


class Step(NamedTuple):
    """A step of a job: its name without the version of an action, its state, and what it printed."""

    job: str
    name: str
    state: str
    log: str


@dataclass(frozen=True)
class Runner:
    """The runner `gha_run` in a folder of its own."""

    folder: Path

    @classmethod
    def build(cls, folder: Path) -> "Runner":
        """Build the runner that LOOSELEAF_TOOLS has."""
        shutil.copytree(Path(os.environ["LOOSELEAF_TOOLS"]) / "gha_run", folder)
        built = run("sh", "-c", "npm install --no-audit --no-fund && npm run build", folder=folder, HOME=str(folder))
        assert built.returncode == 0, built.stdout
        # With the uv cache of the suite, a clone installs without downloads.
        (folder / "cache").mkdir()
        (folder / "cache/uv").symlink_to(os.environ["UV_CACHE_DIR"])
        return cls(folder)

    def steps(self, repository: Path, *options: str, workflow: str = WORKFLOW, **environment: str) -> list[Step]:
        """Run a workflow on a fresh clone for each job, and return all steps."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        given = {"GHA_UV": tool("uv"), "GHA_CACHE": str(self.folder / "cache"), "GHA_TMP": str(self.folder)}
        given["GHA_PASS"] = PASSED
        command = ("node", str(self.folder / "gha_run.mjs"), "--repo", str(repository), "--json", str(report))
        done = run(*command, *options, workflow, folder=repository, **given | environment)
        assert report.exists(), done.stdout
        found = json.loads(report.read_text())
        return [Step(each["job"], each["step"].split("@")[0], each["state"], each.get("log", "")) for each in found]


def install_programs(folder: Path) -> Path:
    """Write the programs into a new folder for the start of PATH; the file `calls` in it has the calls of builders."""
    folder.mkdir()
    for name, text in PROGRAMS.items():
        path = folder / name
        path.write_text(text.format(uv=tool("uv"), hadolint=tool("hadolint"), prefix=sys.prefix, folder=folder))
        path.chmod(0o755)
    # What the audit of an image examines.
    (folder / "image.tar").write_bytes(
        archive(["app/.venv/lib/python3.11/site-packages/numpy-2.0.0.dist-info/METADATA"])
    )
    (folder / "kubectl").symlink_to(tool("kubectl"))
    return folder
