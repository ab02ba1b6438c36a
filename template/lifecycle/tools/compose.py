"""Start or stop the containers of deploy/compose.yaml: `make up`, `make down`."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import command
import image

from lifecycle import settings
from lifecycle.contract.team import project_name
from lifecycle.errors import LifecycleError

FILES = ("deploy/compose.yaml", "deploy/compose.online.yaml")
# The engine that builds the images for each command.
COMMANDS = {"docker compose": "docker", "podman-compose": "podman", "podman compose": "podman"}
INSTALL = "Install docker with its compose plugin, or podman with podman-compose; COMPOSE=… selects one of them."
# The published ports of this machine, by the variable that changes them.
PORTS = {"PORT": 8000, "PROMETHEUS_PORT": 9090, "ALERTMANAGER_PORT": 9093, "GRAFANA_PORT": 3000}


def main() -> int:
    """Return the exit code of the compose command, or 1 where something is missing."""
    parser = argparse.ArgumentParser(prog="make up", description=__doc__)
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("--environment", default="local")
    parser.add_argument("--compose", choices=COMMANDS, help="default: the first one that is installed")
    parser.add_argument("--options", default="", help="further options of the builder of the images")
    parser.add_argument("--uv", required=True, help="the version of uv")
    given = parser.parse_args()
    return command.run(lambda: run(given), given.environment)


def run(given: argparse.Namespace) -> int:
    """Build the images and start every container, or remove them; LifecycleError where something is missing."""
    names = [given.compose] if given.compose else COMMANDS
    problem = f"{given.compose or 'a compose command'} is not installed here"
    used = command.first_installed(names, problem, INSTALL, is_installed)
    files, project = [name for name in FILES if Path(name).exists()], f"{project_name(Path.cwd())}-{given.environment}"
    has_owners = Path("deploy/alertmanager.yml").exists()
    words = [*used.split(), "--project-name", project, *(f"--file={name}" for name in files)]
    words += ["--profile", "owners"] if has_owners else []
    images = {"SERVE_IMAGE": "serve", "JOBS_IMAGE": "jobs"}
    if given.action == "down":
        return subprocess.run([*words, "down"], env=dict.fromkeys(images, "unused") | os.environ).returncode
    os.environ["ENVIRONMENT"] = given.environment
    loaded = settings.load(Path.cwd(), given.environment).settings
    keys = os.environ.get(settings.API_KEY) or loaded.serve.api_key_file
    if given.environment == "production" and "serve" in image.targets() and not keys:
        raise LifecycleError("the service of production needs an API key", f"Set the variable {settings.API_KEY}.")
    # The tables are mounted; without the folder, docker would create it as root.
    Path("data").mkdir(exist_ok=True)
    for variable, target in images.items():
        if variable not in os.environ and target in image.targets():
            wanted = vars(given) | {"target": target, "bake": True, "engine": COMMANDS[used]}
            os.environ[variable] = image.build(argparse.Namespace(**wanted))
    if failed := subprocess.run([*words, "up", "--detach"]).returncode:
        print(f"error: {used} could not start the containers", file=sys.stderr)
        return failed
    print(f"Everything runs. To see it: {shlex.join(words)} logs jobs")
    if FILES[1] in files:
        for variable, port in PORTS.items():
            if has_owners or variable != "ALERTMANAGER_PORT":
                name = variable.removesuffix("_PORT").removesuffix("PORT").lower() or "serve"
                print(f"  {name:<13} http://127.0.0.1:{os.environ.get(variable, port)}")
        if not has_owners:
            print("Alerts are not sent: name the owners in OWNERS, and run `make owners up`.")
    return 0


def is_installed(name: str) -> bool:
    """Return whether a compose command runs here."""
    words = [*name.split(), "version"]
    return bool(shutil.which(words[0])) and subprocess.run(words, capture_output=True).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
