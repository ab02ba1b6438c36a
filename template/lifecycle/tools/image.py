"""Build a container image from deploy/Containerfile and print how to run it: `make image`."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import audit
import command

from lifecycle import features, settings
from lifecycle.contract.team import project_name
from lifecycle.errors import LifecycleError
from lifecycle.models import PEM
from lifecycle.models.bundle import INSTALL, Bundle, open_version
from lifecycle.ownership.approvals import roles
from lifecycle.registry import code, deployments
from lifecycle.storage import Store

# HEALTHCHECK exists in Docker's format only. Docker finds the ignore file by its name.
OPTIONS = ["--format=docker", "--ignorefile=deploy/Containerfile.dockerignore"]
OPTIONS_OF: dict[str, list[str]] = {"docker": [], "podman": OPTIONS, "buildah": [*OPTIONS, "--layers"]}
BAKED = Path("build/image/storage")
HARDENED = "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges"
AS_YOU = '--user "$(id -u):$(id -g)" -v "$PWD/storage:/app/storage"'
SECRETS = ("REGISTRY_PASSWORD", "COSIGN_PRIVATE_KEY", "COSIGN_PASSWORD")
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL")
# The working copy of a bucket is in memory.
WITH_BUCKET = " ".join(
    ("--tmpfs /app/storage -e LIFECYCLE_WORKING_COPY=/app/storage", *map("-e {}".format, CREDENTIALS))
)


def main() -> int:
    """Return 0, or 1 where something is missing or the builder fails."""
    parser = argparse.ArgumentParser(prog="make image", description=__doc__)
    parser.add_argument("--target", choices=[*targets(), "all"], default=targets()[0])
    parser.add_argument("--environment", default="local")
    parser.add_argument("--bake", action="store_true", help="copy what is deployed into the image")
    parser.add_argument("--engine", choices=command.ENGINES, help="default: the first one that is installed")
    parser.add_argument("--options", default="", help="further options of the builder")
    parser.add_argument("--audit", action="store_true", help="look for vulnerable packages in the image")
    parser.add_argument("--scanner", default="", help="of its operating system: grype or trivy")
    parser.add_argument("--ignore", metavar="ID", action="append", default=[], help="accept a vulnerability")
    parser.add_argument("--push", metavar="REGISTRY", help="where to push it; REGISTRY_USER, REGISTRY_PASSWORD log in")
    parser.add_argument("--uv", required=True, help="the version of uv")
    given = parser.parse_args()
    # Neither the builder nor the programs of an audit get them.
    secrets = {name: os.environ.pop(name) for name in SECRETS if name in os.environ}
    return command.run(lambda: run(given, secrets), given.environment)


def run(given: argparse.Namespace, secrets: dict[str, str]) -> int:
    """Build the images, and if requested, audit and push them; an image with a finding is not pushed."""
    code = 0
    for target in targets() if given.target == "all" else [given.target]:
        given.target = target
        image = build(given)
        print(f"{image} is built. To run it hardened:\n\n  {hardened(given, image)}", flush=True)
        found = given.audit and audit.image(image, engine_of(given), given.scanner, given.ignore)
        if given.push and not found:
            push(engine_of(given), image, given.push.lower(), secrets)
        code = max(code, found)
    return code


def targets() -> list[str]:
    """Return the images of this repository; one for batch use only has no service."""
    return ["serve", "jobs"] if Path("lifecycle/src/lifecycle/serving/__init__.py").exists() else ["jobs"]


def engine_of(given: argparse.Namespace) -> str:
    """Return the builder that was selected, or the first one that is installed."""
    hint = f"Install {', '.join(command.ENGINES)}, or select one of them with ENGINE=…"
    return command.container_engine(given.engine, hint)


def build(given: argparse.Namespace) -> str:
    """Build the image of a target and return its name; LifecycleError where something is missing or fails."""
    engine, is_service = engine_of(given), given.target == "serve"
    name, commit = project_name(Path.cwd()), code(Path.cwd())
    store = settings.load(Path.cwd(), given.environment).settings.store
    store.pull("deployments", "features")
    deployment = (deployments.required if given.bake else deployments.read)(store, given.environment)
    bundle = open_version(store, deployment.current.version) if deployment and (is_service or given.bake) else None
    shutil.rmtree(BAKED, ignore_errors=True)
    (BAKED / "predictions").mkdir(parents=True)
    if given.bake and bundle:
        bake(store, bundle, given.environment)
    revision = f"{commit['commit']}{'-edited' if commit['edited'] else ''}" if commit["commit"] else ""
    tag = bundle.version if is_service and given.bake and bundle else revision or "local"
    image = f"{name}-{given.target}:{tag}"
    owners = ", ".join(dict.fromkeys(who for each in roles(Path.cwd()).values() for who in each)) or "nobody yet"
    labels = {"title": name, "version": tag, "revision": revision, "authors": owners}
    arguments = {"PYTHON": "{}.{}".format(*sys.version_info), "UV": given.uv, "ENVIRONMENT": given.environment}
    # Without a deployed version, a graph is expected; OPTIONS="--build-arg INSTALL=…" overrides it.
    install = INSTALL[bundle.kind if bundle else "onnx"].removeprefix("uv sync ")
    trusted = [key for each in settings.ENVIRONMENTS for key in settings.load(Path.cwd(), each).settings.trusted_keys]
    kinds = {"openssf" if key.startswith(PEM) else "signing" for key in trusted}
    install += "".join(f" --extra {kind}" for kind in sorted(kinds))
    arguments |= {"INSTALL": install} if is_service else {"COMMIT": revision}
    words = [engine, "build", "--file=deploy/Containerfile", f"--target={given.target}", f"--tag={image}"]
    words += [*OPTIONS_OF[engine], *(f"--label=org.opencontainers.image.{key}={text}" for key, text in labels.items())]
    words += [f"--build-arg={key}={text}" for key, text in arguments.items()]
    # The builder reads the value from the environment, because the address may contain a password.
    words += ["--build-arg=UV_DEFAULT_INDEX"] if os.environ.get("UV_DEFAULT_INDEX") else []
    words += [*shlex.split(given.options), "."]
    if subprocess.run(words, env=os.environ | {"DOCKER_BUILDKIT": "1"}).returncode:
        raise LifecycleError(f"{engine} could not build the image", "ENGINE=… selects another engine.")
    return image


def hardened(given: argparse.Namespace, image: str) -> str:
    """Return the command that runs an image without root, capabilities or a writable root file system."""
    name = image.partition(f"-{given.target}:")[0]
    run = f"{'docker' if engine_of(given) == 'docker' else 'podman'} run --rm {HARDENED}"
    storage = WITH_BUCKET if settings.load(Path.cwd(), given.environment).settings.bucket else AS_YOU
    if given.target == "serve":
        mounts = f"-v {name}-predictions:/app/storage/predictions" if given.bake else storage
        mounts += f" -e {settings.API_KEY}" if given.environment == "production" else ""
        return f"{run} --memory 512m --pids-limit 128 --stop-timeout 15 -p 127.0.0.1:8000:8000 {mounts} {image}"
    return f'{run} --memory 2g --pids-limit 512 {storage} -v "$PWD/data:/app/data:ro" {image} monitor'


def push(engine: str, image: str, registry: str, secrets: dict[str, str]) -> None:
    """Push a built image to a registry, such as `registry.example.org/models`; LifecycleError where that fails."""
    name, password = f"{registry}/{image}", secrets.get("REGISTRY_PASSWORD", "")
    login = [engine, "login", "--username", os.environ.get("REGISTRY_USER", ""), "--password-stdin", name.split("/")[0]]
    with tempfile.TemporaryDirectory() as folder:
        digest = Path(folder, "digest")
        options = [] if engine == "docker" else [f"--digestfile={digest}"]
        commands = [*([login] if password else []), [engine, "tag", image, name], [engine, "push", *options, name]]
        for words in commands:
            # No list of processes shows the password; all but the first ignore their input.
            if subprocess.run(words, input=password, text=True).returncode:
                hint = "Check the address, REGISTRY_USER and REGISTRY_PASSWORD, and whether they may write there."
                raise LifecycleError(f"{engine} {words[1]} of {name} failed", hint)
        print(f"{name} is pushed.")
        if secrets.get("COSIGN_PRIVATE_KEY"):
            pushed = digest.read_text(encoding="utf-8") if options else digest_in_docker(name)
            sign(f"{name.rpartition(':')[0]}@{pushed.strip()}", secrets)


def digest_in_docker(name: str) -> str:
    """Return the digest of an image that docker has pushed."""
    words = ["docker", "image", "inspect", '--format={{join .RepoDigests "\\n"}}', name]
    listed = subprocess.run(words, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    # Docker omits the address of its own registry.
    repository = f"{name.removeprefix('docker.io/').rpartition(':')[0]}@"
    found = [each.removeprefix(repository) for each in listed if each.startswith(repository)]
    if not found:
        raise LifecycleError(f"docker names no digest of {name}, so it was not signed", "Push it again.")
    return found[0]


def sign(name: str, secrets: dict[str, str]) -> None:
    """Sign an image that is named by its digest, because a tag may be moved to another image."""
    hint = "Install it: the image is to be signed with COSIGN_PRIVATE_KEY."
    command.first_installed(["cosign"], "cosign is not installed here", hint)
    options = shlex.split(os.environ.get("COSIGN_OPTIONS", ""))
    words = ["cosign", "sign", "--yes", "--key=env://COSIGN_PRIVATE_KEY", *options, name]
    if subprocess.run(words, env=os.environ | secrets).returncode:
        raise LifecycleError(f"cosign could not sign {name}", "Check COSIGN_PRIVATE_KEY and COSIGN_PASSWORD.")
    print(f"{name} is signed.")


def bake(store: Store, bundle: Bundle, environment: str) -> None:
    """Copy the deployed version, its deployment file and its features into the build context."""
    paths = [bundle.path, store.deployments / f"{environment}.json"]
    paths += [features.table_path(store, bundle.feature_set)] if bundle.contract.lookups else []
    for path in paths:
        into = BAKED / path.relative_to(store.root)
        into.parent.mkdir(exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, into)
        elif path.exists():
            shutil.copy(path, into)
        else:
            raise LifecycleError(f"{path} is missing, and the service is not ready without it", "Run `make features`.")


if __name__ == "__main__":
    sys.exit(main())
