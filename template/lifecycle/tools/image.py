"""Build a container image from deploy/Containerfile and print how to run it: `make image`."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from lifecycle import features, settings
from lifecycle.contract.team import project_name
from lifecycle.errors import LifecycleError, complete_commands
from lifecycle.models.bundle import INSTALL, open_version
from lifecycle.ownership.approvals import roles
from lifecycle.registry import code, deployments

# HEALTHCHECK exists in Docker's format only. Docker finds the ignore file by its name.
OPTIONS = ["--format=docker", "--ignorefile=deploy/Containerfile.dockerignore"]
ENGINES = {"docker": [], "podman": OPTIONS, "buildah": [*OPTIONS, "--layers"]}
TARGETS = ["serve", "jobs"] if Path("lifecycle/src/lifecycle/serving/__init__.py").exists() else ["jobs"]
BAKED = Path("build/image/storage")
HARDENED = "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --pids-limit 128"
AS_YOU = '--user "$(id -u):$(id -g)" -v "$PWD/storage:/app/storage"'


def main() -> int:
    """Return the exit code of the builder, or 1 where something is missing."""
    parser = argparse.ArgumentParser(prog="make image", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, default=TARGETS[0])
    parser.add_argument("--environment", default="local")
    parser.add_argument("--bake", action="store_true", help="copy what is deployed into the image")
    parser.add_argument("--engine", choices=ENGINES, help="default: the first one that is installed")
    parser.add_argument("--options", default="", help="further options of the builder")
    parser.add_argument("--uv", required=True, help="the version of uv")
    given = parser.parse_args()
    try:
        return build(given)
    except LifecycleError as error:
        print(f"error: {complete_commands(str(error), given.environment)}", file=sys.stderr)
        return 1


def build(given: argparse.Namespace) -> int:
    """Build the image of a target; LifecycleError where a builder or the deployed version is missing."""
    root, is_service = Path.cwd(), given.target == "serve"
    engine = next(filter(shutil.which, [given.engine] if given.engine else ENGINES), None)
    if engine is None:
        problem = f"{given.engine or 'no container engine'} is not installed here"
        raise LifecycleError(problem, f"Install one of {', '.join(ENGINES)}; ENGINE=podman selects one.")
    if given.bake and not is_service:
        raise LifecycleError("BAKE=1 is for the service; jobs use a mounted storage", "Leave BAKE or TARGET out.")
    store, name, commit = settings.load(root, given.environment).settings.store, project_name(root), code(root)
    shutil.rmtree(BAKED, ignore_errors=True)
    (BAKED / "predictions").mkdir(parents=True)
    find = deployments.required if given.bake else deployments.read
    deployment = find(store, given.environment) if is_service else None
    bundle = open_version(store, deployment.current.version) if deployment else None
    revision = f"{commit['commit']}{'-edited' if commit['edited'] else ''}" if commit["commit"] else ""
    tag = revision or "local"
    if given.bake and bundle:
        tag, paths = bundle.version, [bundle.path, store.deployments / f"{given.environment}.json"]
        if bundle.contract.lookups:
            paths.append(features.table_path(store, bundle.feature_set))
        if not paths[-1].exists():
            raise LifecycleError(f"there is no {paths[-1]}, so the service would not be ready", "Run `make features`.")
        for path in paths:
            copy = shutil.copytree if path.is_dir() else shutil.copy
            (BAKED / path.relative_to(store.root)).parent.mkdir(exist_ok=True)
            copy(path, BAKED / path.relative_to(store.root))
    python, kind = "{}.{}".format(*sys.version_info), bundle.kind if bundle else "onnx"
    owners = ", ".join(dict.fromkeys(who for each in roles(root).values() for who in each))
    labels = {"title": name, "version": tag, "revision": revision, "authors": owners or "nobody yet"}
    arguments = {"PYTHON": python, "UV": given.uv, "ENVIRONMENT": given.environment}
    arguments |= {"INSTALL": INSTALL[kind].removeprefix("uv sync ")} if is_service else {"COMMIT": revision}
    image = f"{name}-{given.target}:{tag}"
    command = [engine, "build", "--file=deploy/Containerfile", f"--target={given.target}", f"--tag={image}"]
    command += ENGINES[engine] + [f"--label=org.opencontainers.image.{key}={text}" for key, text in labels.items()]
    command += [f"--build-arg={key}={text}" for key, text in arguments.items()]
    # Without a value, the builder reads it from the environment: it may contain a password.
    command += ["--build-arg=UV_DEFAULT_INDEX"] if os.environ.get("UV_DEFAULT_INDEX") else []
    command += [*shlex.split(given.options), "."]
    failed = subprocess.run(command, env=os.environ | {"DOCKER_BUILDKIT": "1"}).returncode
    if failed:
        print(f"error: {engine} could not build the image; ENGINE=… selects another one", file=sys.stderr)
        return failed
    run = f"{'docker' if engine == 'docker' else 'podman'} run --rm {HARDENED}"
    if is_service:
        mount = f"-v {name}-predictions:/app/storage/predictions" if given.bake else AS_YOU
        run += f" --memory 512m --stop-timeout 15 -p 127.0.0.1:8000:8000 {mount} {image}"
    else:
        run += f' --memory 2g {AS_YOU} -v "$PWD/data:/app/data:ro" {image} monitor'
    print(f"{image} is built. To run it hardened:\n\n  {run}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
