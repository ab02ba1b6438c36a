"""Describe a version as CycloneDX 1.6 does: the model with its data, and what it needs with hashes and licences."""

import hashlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from interop import card, uv
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import INSTALL, Bundle

REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
# Of the wheels of a distribution, those of this version of Python, for every system.
WHEEL = re.compile(rf"-(?:[^-]*\.)?(?:cp{sys.version_info.major}{sys.version_info.minor}|py3)[^-]*-|-abi3-")


def document(bundle: Bundle, root: Path) -> dict[str, Any]:
    """Return the bill of materials of a version: its dependencies are those of the environment that serves it."""
    model, parts = component(bundle), libraries(bundle, root)
    references = [each["bom-ref"] for each in parts]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {"timestamp": bundle.facts["created"], "component": model},
        "components": parts,
        "dependencies": [{"ref": model["bom-ref"], "dependsOn": references}, *({"ref": each} for each in references)],
    }


def component(bundle: Bundle) -> dict[str, Any]:
    """Return a verified bundle as a component of CycloneDX; its own hash is that of its list of hashes."""
    # Bundles of older releases may lack some facts.
    facts, reference, target = bundle.facts, f"model:{bundle.version}", bundle.contract.target
    digests = {"": hashlib.sha256(bundle.read("bundle.json")).hexdigest()} | facts["files"]
    hashes = {name: [{"alg": "SHA-256", "content": digest}] for name, digest in digests.items()}
    files = [{"type": "file", "bom-ref": f"{reference}/{name}", "name": name} for name in facts["files"]]
    files = [each | {"hashes": hashes[each["name"]]} for each in files]
    own = {"type": "machine-learning-model", "bom-ref": reference, "name": facts["name"], "version": bundle.version}
    data: dict[str, Any] = {
        "type": "dataset",
        "name": f"{target.label}, labels known at {facts.get('as_of', 'an unknown time')}",
    }
    rows = [{"name": f"rows:{name}", "value": str(count)} for name, count in facts.get("rows", {}).items()]
    columns = [{"name": f"column:{each.name}", "value": f"{each.kind} {each.unit}"} for each in bundle.contract.inputs]
    datasets = [data | {"contents": {"properties": rows + columns}}]
    parameters = {"task": target.task, "modelArchitecture": bundle.kind, "datasets": datasets}
    metrics = [{"type": name, "value": f"{value:g}"} for name, value in card.metrics(bundle).items()]
    model = {"modelParameters": parameters, "quantitativeAnalysis": {"performanceMetrics": metrics}}
    recorded = {"data": facts.get("data"), "commit": facts.get("code", {}).get("commit")}
    properties = [{"name": f"looseleaf:{name}", "value": str(value)} for name, value in recorded.items()]
    return own | {"hashes": hashes[""], "modelCard": model, "components": files, "properties": properties}


def libraries(bundle: Bundle, root: Path) -> list[dict[str, Any]]:
    """Return the locked dependencies of the environment that serves a kind of bundle, as components."""
    environment = INSTALL[bundle.kind].removeprefix("uv sync ").split()
    bare = ("--quiet", "--frozen", "--no-emit-workspace", "--no-annotate", "--no-header", "--no-hashes")
    command = (uv(root), "export", *bare, *environment)
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LifecycleError(f"uv.lock cannot be exported: {done.stderr.strip()}", "Run `make setup`.")
    locked = tomllib.loads((root / "uv.lock").read_text(encoding="utf-8"))["package"]
    files = {(each["name"], each.get("version")): _hashes(each) for each in locked}
    found = []
    for name, version in REQUIREMENT.findall(done.stdout):
        url = f"pkg:pypi/{name}@{version}"
        own = {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}
        if hashes := files.get((name, version)):
            own |= {"externalReferences": [{"type": "distribution", "url": url, "hashes": hashes}]}
        found.append(own | ({"licenses": stated} if (stated := licences(name)) else {}))
    return found


def licences(name: str) -> list[dict[str, Any]]:
    """Return the licences that an installed distribution states, or none where it is not installed here."""
    try:
        about = importlib.metadata.metadata(name).get_all
    except importlib.metadata.PackageNotFoundError:
        return []
    if expressions := about("License-Expression"):
        return [{"expression": expressions[0]}]
    listed = [each.split(" :: ")[-1] for each in about("Classifier") or () if each.startswith("License ::")]
    return [{"license": {"name": each.strip().partition("\n")[0]}} for each in listed or about("License") or ()]


def _hashes(locked: dict[str, Any]) -> list[dict[str, str]]:
    """Return the hashes of the archive of a locked package, and of its wheels for this version of Python."""
    wheels = [each for each in locked.get("wheels", ()) if WHEEL.search(str(each))]
    found = (each.get("hash", "").partition(":") for each in [*wheels, locked.get("sdist", {})])
    return [{"alg": "SHA-256", "content": digest} for kind, _, digest in found if kind == "sha256"]
