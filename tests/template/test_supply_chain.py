"""`make audit` and `make sbom` with programs in place of the tools that tests/system/test_supply_chain.py runs."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lifecycle.storage import Store
from looseleaf.snapshot import git
from support.rendering import run
from support.storages import Storage

KNOWN = {"name": "pip", "version": "9.0.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["19.2"]}]}
NUMPY = {"name": "numpy", "version": "2.0.0"}
FINDING = {"id": "PYSEC-2026-1", "fix_versions": ["2.0.1"]}
LOCK = "numpy==2.0.0 \\\n    --hash=sha256:00\ntqdm==4.0.0 \\\n    --hash=sha256:01\n"
BOM = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "library", "name": "numpy"}]}
# Prints the file that is named like the tool, `known` for the known vulnerability; `tool.code` has its exit code.
UV = """#!/bin/sh
case "$*" in
  export*) name=lock ;;
  *known.txt*) name=known ;;
  *" pip-audit "*) name=pip-audit ;;
  *" hadolint "*) name=hadolint ;;
  *" kingfisher "*) name=kingfisher ;;
  *" cyclonedx-py "*) name=cyclonedx ;;
esac
echo "$*" >> {folder}/calls
cat {folder}/$name 2> /dev/null || {{ echo "cannot connect to the service" >&2; exit 1; }}
exit $(cat {folder}/$name.code 2> /dev/null || echo 0)
"""


@dataclass(frozen=True)
class Repository:
    """A rendered repository with the environment of the suite, and a folder with what its tools print."""

    folder: Path
    printed: Path
    storage: Storage

    def make(self, *goals: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return run("make", *goals, folder=self.folder, PATH=str(self.printed / "bin"), **environment)

    def program(self, name: str, text: str) -> None:
        path = self.printed / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def prints(self, name: str, content: Any, code: int = 0) -> None:
        """Let a tool print `content`, None for a tool that fails."""
        if content is None:
            (self.printed / name).unlink()
        else:
            (self.printed / name).write_text(content if isinstance(content, str) else json.dumps(content))
        (self.printed / f"{name}.code").write_text(str(code))


@pytest.fixture
def repository(render: Callable[..., Path], tmp_path: Path) -> Repository:
    folder = shutil.copytree(render(platform="kubernetes"), tmp_path / "project")
    (folder / ".venv").symlink_to(sys.prefix)
    git("init", "--quiet", folder=folder)
    (tmp_path / "bin").mkdir()
    for name in ("make", "sh", "git", "cat"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    made = Repository(folder, tmp_path, Storage(Store(folder / "storage"), tmp_path / "drafts"))
    made.program("uv", UV.format(folder=tmp_path))
    made.prints("lock", LOCK)
    made.prints("known", {"dependencies": [KNOWN]}, code=1)
    made.prints("pip-audit", {"dependencies": [NUMPY | {"vulns": []}]})
    made.prints("hadolint", "")
    made.prints("kingfisher", {"findings": []})
    made.prints("cyclonedx", BOM)
    return made


def test_an_audit_without_findings_says_what_was_audited(repository: Repository) -> None:
    done = repository.make("audit")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines() == [
        "ok  dependencies: 0 of 2 are vulnerable",
        "ok  deploy/Containerfile",
        "ok  secrets: 0 in the history of git",
    ]
    calls = (repository.printed / "calls").read_text().splitlines()
    # Never by `uvx`, which ignores the index in uv.toml.
    assert all(each.startswith(("export ", "run --quiet --isolated --no-project --with ")) for each in calls)
    assert all("--strict --disable-pip" in each for each in calls[1:3])
    assert "--require-hashes" in calls[2]
    # Nothing is sent anywhere, and the values of secrets stay hidden.
    assert " kingfisher scan .git --no-validate --redact --no-update-check " in calls[4]


def vulnerable(repository: Repository) -> None:
    repository.prints("pip-audit", {"dependencies": [NUMPY | {"vulns": [FINDING]}]}, code=1)


def unreachable(repository: Repository) -> None:
    repository.prints("known", None)


def unreachable_later(repository: Repository) -> None:
    repository.prints("pip-audit", None)


def without_data(repository: Repository) -> None:
    repository.prints("known", {"dependencies": [KNOWN | {"vulns": []}]})


def stale_lock(repository: Repository) -> None:
    repository.prints("lock", None)


def faulty_containerfile(repository: Repository) -> None:
    repository.prints("hadolint", "deploy/Containerfile:9 DL3002 Last USER should not be root\n", code=1)


def secret(repository: Repository) -> None:
    where = {
        "path": "src/model/data.py",
        "line": 3,
        "fingerprint": "472",
        "git_metadata": {"commit": {"id": "ba79abc"}},
    }
    repository.prints("kingfisher", {"findings": [{"rule": {"name": "aws-access-token"}, "finding": where}]}, code=200)


def no_scan(repository: Repository) -> None:
    repository.prints("kingfisher", None)


def no_history(repository: Repository) -> None:
    shutil.rmtree(repository.folder / ".git")


@pytest.mark.parametrize(
    ("prepare", "message", "audited"),
    [
        (vulnerable, "numpy 2.0.0: PYSEC-2026-1; fixed in 2.0.1\nfailed  dependencies: 1 of 2", True),
        (unreachable, "the vulnerabilities cannot be looked up: cannot connect to the service. No dependency", False),
        (
            unreachable_later,
            "the vulnerabilities cannot be looked up: cannot connect to the service. No dependency",
            False,
        ),
        (without_data, "the vulnerability service has no data", False),
        (stale_lock, "uv.lock cannot be exported: cannot connect to the service\n  Run `make setup`.", False),
        (faulty_containerfile, "DL3002 Last USER should not be root\nfailed  deploy/Containerfile", True),
        (secret, "src/model/data.py:3 in commit ba79abc: aws-access-token (AUDIT_IGNORE = 472 accepts", True),
        (secret, "failed  secrets: 1 in the history of git", True),
        (no_scan, "the search for secrets failed: cannot connect", True),
        (no_history, "this is not a git repository, so secrets cannot be searched for", True),
    ],
)
def test_a_finding_or_a_gap_fails_and_is_named(
    repository: Repository, prepare: Callable[[Repository], None], message: str, audited: bool
) -> None:
    prepare(repository)
    done = repository.make("audit")
    assert done.returncode == 2
    assert message in done.stdout
    assert ("dependencies: " in done.stdout) is audited
    # The other parts of the audit are done all the same.
    assert done.stdout.count("deploy/Containerfile") >= 1
    assert ("secrets: " in done.stdout) or re.search("search for secrets failed|secrets cannot be", done.stdout)
    assert "Traceback" not in done.stdout


def test_a_vulnerability_that_the_team_accepts_is_ignored_by_its_id(repository: Repository) -> None:
    with (repository.folder / "Makefile").open("a") as makefile:
        makefile.write("AUDIT_IGNORE = PYSEC-2026-1 CVE-2026-2\n")
    assert repository.make("audit").returncode == 0
    _, known, dependencies, _, _ = (repository.printed / "calls").read_text().splitlines()
    assert "--ignore-vuln=PYSEC-2026-1 --ignore-vuln=CVE-2026-2 " in dependencies
    assert "--ignore-vuln" not in known


def test_a_secret_that_the_team_accepts_is_ignored_by_its_fingerprint(repository: Repository) -> None:
    secret(repository)
    assert repository.make("audit").returncode == 2
    done = repository.make("audit", "AUDIT_IGNORE=472")
    assert (done.returncode, "ok  secrets: 0 in the" in done.stdout) == (0, True), done.stdout


def test_the_sbom_lists_the_deployed_model_with_the_hash_of_each_file(repository: Repository) -> None:
    metrics, code = {"candidate": {"roc_auc": 0.87654}}, {"commit": "abc", "edited": False}
    bundle = repository.storage.publish(kind="onnx", metrics=metrics, code=code, data="d1")
    repository.storage.deploy(bundle, environment="staging")
    done = repository.make("sbom", "ENVIRONMENT=staging")
    assert done.returncode == 0, done.stdout
    assert done.stdout == f"build/sbom.json: 1 dependencies and the model {bundle.version}\n"
    numpy, model = json.loads((repository.folder / "build/sbom.json").read_text())["components"]
    assert numpy["name"] == "numpy"
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "churn", bundle.version)
    hashes = {each["name"]: each["hashes"][0] for each in model["components"]}
    assert hashes.keys() == bundle.facts["files"].keys()
    content = (bundle.path / "model.onnx").read_bytes()
    assert hashes["model.onnx"] == {"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}
    scores = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert scores == [{"type": "roc_auc", "value": "0.87654"}]
    assert {"name": "looseleaf:commit", "value": "abc"} in model["properties"]


def test_the_sbom_before_the_first_promotion_says_that_there_is_no_model(repository: Repository) -> None:
    done = repository.make("sbom")
    assert "1 dependencies and no model: local has none" in done.stdout
    assert done.returncode == 0


def test_a_damaged_model_is_not_listed(repository: Repository) -> None:
    bundle = repository.storage.publish(kind="onnx")
    repository.storage.deploy(bundle)
    (bundle.path / "model.onnx").write_bytes(b"other")
    done = repository.make("sbom")
    assert (done.returncode, "holds a changed model.onnx" in done.stdout) == (2, True)
    assert not (repository.folder / "build/sbom.json").exists()
