"""The Kubernetes objects that kustomize makes of an overlay, and what refers to what in them."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import first_installed

from lifecycle.errors import LifecycleError

# A whole object, or a part of one.
Object = dict[str, Any]
# What base/ names: images without registry and tag.
IMAGE = re.compile(r"^(\s*(?:- )?image: )(serve|jobs)$", re.MULTILINE)
# The containers of base/; a team may add others, which run other programs.
OWN = ("serve", "job", "collect")
PROGRAMS = {"kubectl": ["kubectl", "kustomize"], "kustomize": ["kustomize", "build"]}
# The smallest and largest value of each field of a schedule.
CRON = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


@dataclass(frozen=True)
class Rendered:
    """The rendered objects of one environment, and the folder of the repository whose settings they use."""

    objects: list[Object]
    environment: str
    root: Path

    def of(self, *kinds: str) -> list[Object]:
        """Return the objects of these kinds."""
        return [each for each in self.objects if each["kind"] in kinds]

    def workloads(self) -> list[Object]:
        """Return the objects that start pods."""
        return self.of("Deployment", "CronJob")

    def selected(self, selector: Mapping[str, Any]) -> list[Object]:
        """Return the workloads whose pods have all labels of a selector."""
        labels = selector.get("matchLabels", {}).items()
        return [each for each in self.workloads() if labels <= labels_of(each).items()]

    def named(self, kind: str, name: str) -> Object | None:
        """Return the object of a kind and name."""
        return next((each for each in self.of(kind) if each["metadata"]["name"] == name), None)

    def variables(self, container: Object) -> dict[str, str]:
        """Return the environment variables of a container that come from no Secret."""
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            found |= (self.named("ConfigMap", source.get("configMapRef", {}).get("name", "")) or {}).get("data", {})
        return found | {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


def place(each: Object) -> str:
    """Return how messages name an object."""
    return f"{each['kind']} {each['metadata']['name']}"


def template(workload: Object) -> Object:
    """Return the pod template of a workload."""
    spec: Object = workload["spec"]
    return dict((spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"])


def labels_of(workload: Object) -> dict[str, str]:
    """Return the labels of the pods of a workload."""
    return dict(template(workload).get("metadata", {}).get("labels", {}))


def containers(workload: Object) -> list[Object]:
    """Return the containers of a workload, those that run first included."""
    spec = template(workload)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def ports(workload: Object) -> set[str | int]:
    """Return the names and numbers of the ports of a workload's containers."""
    found = [port for container in containers(workload) for port in container.get("ports", [])]
    return {port.get("name", port["containerPort"]) for port in found} | {port["containerPort"] for port in found}


def command(container: Object) -> str:
    """Return the command of `lifecycle` that a container runs; empty for the container of another program."""
    return str((container.get("args") or ["none"])[0]) if container["name"] in OWN else ""


def secrets(workload: Object) -> list[tuple[str, bool]]:
    """Return the names of the Secrets that a workload refers to, and whether each is required."""
    found: list[Object] = []
    for container in containers(workload):
        found += [source["secretRef"] for source in container.get("envFrom", []) if "secretRef" in source]
        sources = [variable.get("valueFrom", {}) for variable in container.get("env", [])]
        found += [source["secretKeyRef"] for source in sources if "secretKeyRef" in source]
    return [(each["name"], not each.get("optional")) for each in found]


def is_schedule(text: str) -> bool:
    """Return whether Kubernetes can read a schedule; names of months and weekdays are not accepted here."""
    fields = text.split()
    return len(fields) == len(CRON) and all(map(_is_field, fields, *zip(*CRON, strict=True)))


def _is_field(text: str, smallest: int, largest: int) -> bool:
    parts = [re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/[1-9]\d*)?", part) for part in text.split(",")]
    numbers = [int(number) for part in parts if part for number in part.groups() if number]
    return all(parts) and all(smallest <= number <= largest for number in numbers)


def render(overlay: Path) -> str:
    """Return what kustomize, or kubectl that contains it, makes of an overlay."""
    found = first_installed(PROGRAMS, "neither kubectl nor kustomize is installed here", "Install one of them.")
    done = subprocess.run([*PROGRAMS[found], str(overlay)], capture_output=True, text=True)
    if done.returncode:
        raise LifecycleError(f"{found} cannot render {overlay}: {done.stderr.strip()}", "Correct what it names.")
    return done.stdout


def with_image(text: str, name: str, image: str) -> str:
    """Return the rendered text with the images that `image` names, where the overlay names none."""
    if not image:
        return text
    start, _, tag = image.rpartition(":")
    if not start or "/" in tag:
        raise LifecycleError(f"IMAGE={image} has no tag", f"IMAGE=registry.example.org/team/{name}:TAG names both.")
    text, count = IMAGE.subn(rf"\g<1>{start}-\g<2>:{tag}", text)
    if not count:
        raise LifecycleError("the overlay names its images, so IMAGE would have no effect", "Leave one of them out.")
    return text
