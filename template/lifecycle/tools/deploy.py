"""Render and check the Kubernetes objects of an environment (`make manifests`), and apply them (`make deploy`)."""

import argparse
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import command
import yaml
from manifests import check
from rendered import Object, Rendered, render, secrets, with_image

from lifecycle.contract.team import project_name
from lifecycle.errors import LifecycleError

OVERLAYS = Path("deploy/kubernetes/overlays")
ALERTS = Path("lifecycle/deploy/alerts.yml")
BUILT = Path("build/manifests")
# Ten times as fast, where PyYAML has it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Problems of what a team fills in.
TO_FILL_IN = ("is not named\n", "is the example s3://")
# What components/prometheus-operator has instead of the alerts.
NO_RULES = "  groups: []\n"


def main() -> int:
    """Return 0, or 1 where something is missing, wrong, or does not start."""
    parser = argparse.ArgumentParser(prog="make manifests or make deploy", description=__doc__)
    parser.add_argument("--environment", default="")
    parser.add_argument("--image", default="", help="registry.example.org/team/model:TAG, without -serve and -jobs")
    parser.add_argument("--draft", action="store_true", help="accept images without a name and the example of a bucket")
    parser.add_argument("--apply", action="store_true", help="apply the objects, and wait for the pods")
    parser.add_argument("--dry-run", action="store_true", help="only show what would change in the cluster")
    given = parser.parse_args()
    return command.run(lambda: run(given))


def run(given: argparse.Namespace) -> None:
    """Write the objects, and if requested, apply them or show what would change."""
    rendered = manifests(Path.cwd(), given.environment, given.image, given.draft)
    if given.apply or given.dry_run:
        deploy(rendered, given.dry_run)


def manifests(root: Path, environment: str, image: str, draft: bool = False) -> Rendered:
    """Write the objects of an environment to build/manifests, and return them.

    LifecycleError where they cannot be rendered or a check finds a problem; nothing is written then. A `draft` may
    lack what a team fills in: the names of the images, and the bucket.
    """
    names = sorted(path.parent.name for path in root.glob(f"{OVERLAYS}/*/kustomization.yaml"))
    if environment not in names:
        problem = f"there is no overlay {environment}" if environment else "no environment is given"
        hint = f"ENVIRONMENT={' or '.join(names)}: the folders of {OVERLAYS}." if names else f"Restore {OVERLAYS}."
        raise LifecycleError(problem, hint)
    text = with_image(render(root / OVERLAYS / environment), project_name(root), image)
    if NO_RULES in text and (root / ALERTS).exists():
        from slo import SOURCE, derive

        rules = (root / ALERTS).read_text(encoding="utf-8")
        # A repository of an older release has no objectives until it takes docs/slo.yaml.
        rules += textwrap.indent(derive(root).partition("\n")[2], "  ") if (root / SOURCE).exists() else ""
        text = text.replace(NO_RULES, textwrap.indent(rules, "  "))
    rendered = Rendered([each for each in yaml.load_all(text, LOADER) if each], environment, root)
    if problems := [each for each in check(rendered) if not (draft and any(text in each for text in TO_FILL_IN))]:
        listed = "\n".join(problems)
        raise LifecycleError(f"{len(problems)} problems in {OVERLAYS / environment}:\n{listed}")
    path = root / BUILT / f"{environment}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"{len(rendered.objects)} objects: {path.relative_to(root)}")
    for other in [
        name for name in names if name != environment and namespace(root, name) == namespace(root, environment)
    ]:
        print(f"note: the overlay {other} has the same namespace; in one cluster, each would replace the other")
    return rendered


def namespace(root: Path, environment: str) -> str:
    """Return the namespace that an overlay sets."""
    content = yaml.load((root / OVERLAYS / environment / "kustomization.yaml").read_text(encoding="utf-8"), LOADER)
    return str(content.get("namespace", ""))


def deploy(rendered: Rendered, only_show: bool) -> None:
    """Show what changes in the cluster, apply it, and wait; LifecycleError where the cluster refuses or a pod fails."""
    if not shutil.which("kubectl"):
        raise LifecycleError("kubectl is not installed here", "Install it, or apply the file with your own tool.")
    path = str(BUILT / f"{rendered.environment}.yaml")
    namespace = f"--namespace={rendered.objects[0]['metadata']['namespace']}"
    context = kubectl("config", "current-context").stdout.strip()
    print(f"context {context or 'none'}, {namespace.removeprefix('--')}", flush=True)
    if kubectl("diff", "--filename", path, show=True).returncode > 1:
        raise LifecycleError("the cluster refuses the objects, or does not respond", "Correct what kubectl names.")
    if only_show:
        return
    for name in sorted({name for each in rendered.workloads() for name, is_required in secrets(each) if is_required}):
        if kubectl("get", "secret", name, namespace).returncode:
            hint = "Create it as lifecycle/docs/deploying.md shows. Nothing was applied."
            raise LifecycleError(f"there is no Secret {name} in this namespace of the cluster", hint)
    if kubectl("apply", "--filename", path, show=True).returncode:
        raise LifecycleError("kubectl did not apply all objects", "Correct what it names, and run the command again.")
    for each in rendered.of("Deployment"):
        wait(each, namespace)


def wait(deployment: Object, namespace: str) -> None:
    """Wait for the pods of a deployment; LifecycleError with the way back where they do not become ready."""
    name = f"deployment/{deployment['metadata']['name']}"
    seconds = deployment["spec"].get("progressDeadlineSeconds", 600) + 60
    if kubectl("rollout", "status", name, namespace, f"--timeout={seconds}s", show=True).returncode:
        problem = f"the new pods of {name} are not ready; the previous ones go on"
        hint = f"`kubectl logs {name} {namespace}` shows why, `kubectl rollout undo {name} {namespace}` goes back."
        raise LifecycleError(problem, hint)


def kubectl(*arguments: str, show: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run kubectl; with `show`, its output and errors are those of this process."""
    return subprocess.run(["kubectl", *arguments], capture_output=not show, text=True)


if __name__ == "__main__":
    sys.exit(main())
