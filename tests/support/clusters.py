"""Kubernetes objects of a rendered repository: rendered by a real kustomize, checked, and compared with the schema."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
from kubernetes_validate.utils import SchemaNotFoundError, ValidationError
from rendered import Rendered, template

# That of the suite's environment, which renders; elsewhere than on Linux, that of the machine.
KUBECTL = str(shutil.which("kubectl", path=os.pathsep.join((f"{sys.prefix}/bin", os.environ["PATH"]))))
OVERLAYS = ("staging", "production")
IMAGE = "registry.example.org/team/churn:1a2b3c"
# The newest version whose schema is known, and the oldest that is supported anywhere.
VERSIONS = ("1.37", "1.30")
# Their schemas come with the Prometheus Operator.
OTHERS = "monitoring.coreos.com/v1"


def repository(render: Path, folder: Path) -> Path:
    """Copy what the manifests of a repository consist of, with a bucket that is set."""
    for name in ("config", "deploy", "docs", "lifecycle/deploy"):
        if (render / name).exists():
            shutil.copytree(render / name, folder / name, dirs_exist_ok=True)
    shutil.copy(render / "pyproject.toml", folder)
    for environment in OVERLAYS:
        edit(folder, f"overlays/{environment}/kustomization.yaml", "s3://example-", "s3://bucket-")
    return folder


def edit(folder: Path, name: str, find: str, replace: str) -> None:
    """Replace a text that occurs in a file of deploy/kubernetes, or in one whose name begins with a slash."""
    path = folder / (name[1:] if name.startswith("/") else f"deploy/kubernetes/{name}")
    text = path.read_text(encoding="utf-8")
    assert find in text, f"{name} does not contain {find!r}"
    path.write_text(text.replace(find, replace), encoding="utf-8")


def use(folder: Path, component: str) -> None:
    """Select a component in base/."""
    edit(folder, "base/kustomization.yaml", "components: []", f"components: [../components/{component}]")


def schema_problems(objects: list[dict[str, Any]], versions: tuple[str, ...] = VERSIONS) -> list[str]:
    """Return what does not conform to the schema; a kind that a version does not have is a problem, too."""
    found = []
    for each in objects:
        for version in versions if each["apiVersion"] != OTHERS else ():
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except (ValidationError, SchemaNotFoundError) as error:
                found.append(f"{each['kind']}: {error.message}")
    return found


def pods(rendered: Rendered) -> dict[str, dict[str, Any]]:
    """Return the specification of the pods of each workload, by its name."""
    return {each["metadata"]["name"]: template(each)["spec"] for each in rendered.workloads()}
