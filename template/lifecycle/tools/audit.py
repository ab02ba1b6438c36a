"""Look for vulnerable packages, secrets, and faults of deploy/Containerfile: `make audit`; in an image: with IMAGE."""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import command
from supply_chain import locked, run, tool

from lifecycle.errors import LifecycleError

# A version with known vulnerabilities: a service that names none of them has no data.
KNOWN = "pip==9.0.1\n"
SERVICE = "`export PIP_AUDIT_VULNERABILITY_SERVICE = osv` in the Makefile selects another service than that of PyPI."
CONTAINERFILE = Path("deploy/Containerfile")
# A finding is redacted and never sent anywhere to validate it. The exit code is 200 where there are findings.
SECRETS = ["--no-validate", "--redact", "--no-update-check", "--quiet", "--no-rule-cache", "--format=json"]
# The packages in an image that can be imported. One that was installed from a folder or an address has both files.
PACKAGE = re.compile(
    r"app/\.venv/lib/python[^/]+/site-packages/([^/]+)-([^/-]+)\.dist-info/(METADATA|direct_url\.json)"
)
# The options with which scanners report packages of an image's operating system that have a fixed version.
SCANNERS = {
    "grype": "--quiet --fail-on=high --only-fixed docker-archive:{}",
    "trivy": "image --quiet --exit-code=1 --severity=HIGH,CRITICAL --ignore-unfixed --input={}",
}


def main() -> int:
    """Return 1 where something is found or cannot be looked up."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--image", help="audit this built image instead of the repository")
    parser.add_argument("--engine", choices=command.ENGINES, help="default: the first that is installed")
    parser.add_argument("--scanner", default="", help="grype or trivy, which must then be installed, or its path")
    parser.add_argument("--ignore", metavar="ID", action="append", default=[])
    given = parser.parse_args()
    if given.image:
        return command.run(lambda: image(given.image, given.engine, given.scanner, given.ignore))
    parts = (lambda: dependencies(given.ignore), containerfile, lambda: secrets(given.ignore))
    return max(map(command.run, parts))


def dependencies(ignored: list[str]) -> int:
    """Print the vulnerable dependencies; LifecycleError where they cannot be looked up, which is not the same."""
    with tempfile.TemporaryDirectory() as name:
        return audited("dependencies", locked(Path(name)), "--require-hashes", ignored)


def audited(what: str, requirements: Path, option: str, ignored: list[str]) -> int:
    """Print which packages of a file are vulnerable, and return 1 where one is."""
    with tempfile.TemporaryDirectory() as name:
        (known := Path(name) / "known.txt").write_text(KNOWN)
        if not vulnerable(known, "--no-deps"):
            problem = "the vulnerability service has no data: it names no vulnerability of pip 9.0.1, which has several"
            raise LifecycleError(f"{problem}. No dependency was audited", SERVICE)
    found = vulnerable(requirements, option, *(f"--ignore-vuln={each}" for each in ignored))
    for each in found:
        fixed = ", ".join(dict.fromkeys(version for one in each["vulns"] for version in one["fix_versions"]))
        ids = ", ".join(one["id"] for one in each["vulns"])
        print(f"{each['name']} {each['version']}: {ids}; fixed in {fixed or 'no version yet'}")
    count = sum(line[0] not in " #" for line in requirements.read_text(encoding="utf-8").splitlines())
    print(f"{'failed' if found else 'ok'}  {what}: {len(found)} of {count} are vulnerable")
    return int(bool(found))


def vulnerable(requirements: Path, *more: str) -> list[dict[str, Any]]:
    """Return the vulnerable packages of a file; LifecycleError where one of the packages cannot be looked up."""
    options = ("--strict", "--disable-pip", "--progress-spinner=off", "--format=json", *more)
    done = tool("pip-audit", *options, "--requirement", str(requirements))
    try:
        return [each for each in json.loads(done.stdout)["dependencies"] if each["vulns"]]
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        problem = f"the vulnerabilities cannot be looked up: {reason}. No dependency was audited"
        raise LifecycleError(problem, SERVICE) from None


def containerfile() -> int:
    """Print what hadolint finds in the team's Containerfile; return its exit code."""
    if not CONTAINERFILE.exists():
        return 0
    done = tool("hadolint", "--no-color", str(CONTAINERFILE))
    print(f"{done.stdout}{done.stderr}{'failed' if done.returncode else 'ok'}  {CONTAINERFILE}")
    return done.returncode


def secrets(ignored: list[str]) -> int:
    """Print where the history of git has a secret, without its value; return 1 where it has one."""
    history = run("git", "rev-parse", "--git-common-dir").stdout.strip()
    if not history:
        raise LifecycleError(
            "this is not a git repository, so secrets cannot be searched for", "Run git init, and commit."
        )
    done = tool("kingfisher", "scan", history, *SECRETS)
    try:
        found = [each for each in json.loads(done.stdout)["findings"] if each["finding"]["fingerprint"] not in ignored]
    except (ValueError, KeyError):
        raise LifecycleError(f"the search for secrets failed: {done.stderr.strip()}") from None
    for each in found:
        where = each["finding"]
        commit = ((where.get("git_metadata") or {}).get("commit") or {}).get("id", "")[:12]
        place = f"{where['path']}:{where['line']} in commit {commit}"
        print(f"{place}: {each['rule']['name']} (AUDIT_IGNORE = {where['fingerprint']} accepts it)")
    print(f"{'failed' if found else 'ok'}  secrets: {len(found)} in the history of git")
    return int(bool(found))


def image(name: str, engine: str | None, scanner: str, ignored: list[str]) -> int:
    """Print what is vulnerable in a built image: packages of Python and, with a scanner, of the operating system."""
    engine = command.container_engine(engine, "ENGINE=… selects another one.")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "image.tar")
        to = (
            ["push", name, f"docker-archive:{archive}"]
            if engine == "buildah"
            else ["save", f"--output={archive}", name]
        )
        done = run(engine, *to)
        if done.returncode or not archive.exists():
            raise LifecycleError(f"{engine} has no image {name}: {done.stderr.strip()}", "`make image` builds it.")
        found, others = packages(archive)
        if others:
            print(f"not looked up, because they were not installed from an index: {', '.join(sorted(others))}")
        if not found:
            raise LifecycleError(
                f"{name} has no packages in /app/.venv, so nothing was audited",
                "Name an image that `make image` has built.",
            )
        requirements = Path(folder, "requirements.txt")
        requirements.write_text("".join(f"{package}=={version}\n" for package, version in sorted(found.items())))
        code = audited(f"packages of {name}", requirements, "--no-deps", ignored)
        return max(code, system(name, archive, scanner))


def packages(archive: Path) -> tuple[dict[str, str], set[str]]:
    """Return the version of each package in an archive of an image, and the names of those that no index has."""
    found: dict[str, str] = {}
    others = set()
    with tarfile.open(archive) as outer:
        for name in json.load(outer.extractfile("manifest.json") or sys.stdin)[0]["Layers"]:
            with tarfile.open(fileobj=outer.extractfile(name)) as layer:
                for match in filter(None, (PACKAGE.search(member.name) for member in layer)):
                    found[match[1]] = match[2]
                    others |= {match[1]} if match[3] == "direct_url.json" else set()
    return {name: version for name, version in found.items() if name not in others}, others


def system(name: str, archive: Path, scanner: str) -> int:
    """Let a scanner examine the operating system of an image; return 1 where it finds something or fails."""
    used = scanner or next(filter(shutil.which, SCANNERS), "")
    if not used:
        print(f"skipped  operating system of {name}: neither {' nor '.join(SCANNERS)} is installed here")
        return 0
    options = SCANNERS.get(Path(used).name)
    if not options or not shutil.which(used):
        raise LifecycleError(f"SCANNER={used} is not installed here", f"It is one of {', '.join(SCANNERS)}.")
    done = subprocess.run([used, *options.format(archive).split()])
    print(f"{'failed' if done.returncode else 'ok'}  operating system of {name}: {Path(used).name}")
    return int(bool(done.returncode))


if __name__ == "__main__":
    sys.exit(main())
