"""`make up` with programs that only record their arguments, and the rules of `deploy/compose.yaml`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compose
import pytest
import yaml

from support.builders import Repository, arguments
from support.rendering import run, tool
from support.services import KNOWN

Render = Callable[..., Path]
NAMES = [Path(name).name for name in compose.FILES]
# Made before they are mounted, by `make up` and by `make owners`.
MADE = {"data", "deploy/alertmanager.yml"}
# Of the containers that run this program.
VARIABLES = ("ENVIRONMENT", "LIFECYCLE_STORAGE=/app/storage")


@pytest.fixture
def repository(render: Render, tmp_path: Path) -> Repository:
    return Repository.of(render(platform="kubernetes", owners="@ana"), tmp_path)


def deployed(repository: Repository) -> str:
    version = repository.deploy()
    repository.storage.fill(repository.storage.publish(kind="onnx"), KNOWN)
    return version


def commands(output: str) -> list[list[str]]:
    """Return the recorded calls, each with its program first."""
    calls = re.split(r"^argument: /\S*/", output, flags=re.MULTILINE)[1:]
    return [re.sub(r"^argument: ", "", call.partition("images: ")[0], flags=re.M).splitlines() for call in calls]


def test_up_builds_what_is_deployed_into_both_images_and_starts_them(repository: Repository) -> None:
    version = deployed(repository)
    repository.install("podman")
    repository.install("podman-compose")
    (repository.folder / "deploy/alertmanager.yml").touch()
    done = repository.make("up", "OPTIONS=--network host", "GRAFANA_PORT=3001")
    assert done.returncode == 0, done.stdout
    serve, jobs, up = [call for call in commands(done.stdout) if call[1] != "version"]
    assert (serve[0], serve[1], serve[3]) == ("podman", "build", "--target=serve")
    assert (jobs[0], jobs[1], jobs[3], jobs[-3]) == ("podman", "build", "--target=jobs", "--network")
    assert (repository.folder / "build/image/storage/bundles" / version).is_dir()
    files = [f"--file={name}" for name in compose.FILES]
    assert up == ["podman-compose", "--project-name", "churn-local", *files, "--profile", "owners", "up", "--detach"]
    assert re.search(rf"^images: churn-serve:{version} churn-jobs:[0-9a-f]+-edited$", done.stdout, re.MULTILINE)
    ports = {"serve": 8000, "prometheus": 9090, "alertmanager": 9093, "grafana": 3001}
    assert dict(re.findall(r"^  (\w+) +http://127.0.0.1:(\d+)$", done.stdout, re.M)) == {
        name: str(port) for name, port in ports.items()
    }
    assert (repository.folder / "data").is_dir()


def test_given_images_are_not_built_and_down_needs_none(repository: Repository) -> None:
    repository.install("docker")
    given = ("SERVE_IMAGE=mirror/churn-serve:1", "JOBS_IMAGE=mirror/churn-jobs:1", "ENVIRONMENT=staging")
    done = repository.make("up", *given)
    assert [call[:4] for call in commands(done.stdout) if call[1:] != ["compose", "version"]] == [
        ["docker", "compose", "--project-name", "churn-staging"]
    ]
    assert "images: mirror/churn-serve:1 mirror/churn-jobs:1\n" in done.stdout
    assert "Alerts are not sent: name the owners in OWNERS" in done.stdout
    assert "--profile" not in arguments(done)
    done = repository.make("down")
    assert arguments(done)[-1] == "down"
    assert "images: unused unused" in done.stdout


def test_the_containers_of_another_environment_get_its_name(repository: Repository) -> None:
    """`make up` sets the variable, and compose passes it on: null is the value that compose itself has."""
    repository.install("docker")
    (repository.programs / "docker").write_text('#!/bin/sh\necho "environment: $ENVIRONMENT"\n')
    images = {"SERVE_IMAGE": "one", "JOBS_IMAGE": "two"}
    given = [f"{name}={value}" for name, value in images.items()]
    assert "environment: staging\n" in repository.make("up", *given, "ENVIRONMENT=staging").stdout
    files = [f"--file={name}" for name in compose.FILES]
    command = [tool("podman-compose"), *files, "config"]
    done = subprocess.run(command, cwd=repository.folder, env=os.environ | images, capture_output=True, text=True)
    services = yaml.safe_load(done.stdout)["services"]
    both = {"ENVIRONMENT": None, "LIFECYCLE_STORAGE": "/app/storage"}
    assert services["serve"]["environment"] == both | {"LIFECYCLE_API_KEY": None}
    # Only what trains signs.
    assert services["jobs"]["environment"] == both | {"LIFECYCLE_SIGNING_KEY": None}


def test_a_repository_without_a_service_starts_the_jobs_only(render: Render, tmp_path: Path) -> None:
    repository = Repository.of(render(platform="kubernetes", usage=["batch"]), tmp_path)
    repository.install("docker")
    done = repository.make("up", "JOBS_IMAGE=one", "ENVIRONMENT=production")
    files = [each for each in arguments(done) if each.startswith("--file=")]
    assert files == ["--file=deploy/compose.yaml"]
    assert "http://" not in done.stdout


def with_docker(repository: Repository) -> None:
    repository.install("docker")


def with_a_failing_command(repository: Repository) -> None:
    deployed(repository)
    repository.install("podman")
    repository.install("podman-compose")
    program = repository.programs / "podman-compose"
    program.write_text('#!/bin/sh\n[ "$1" = version ]\n')


def without_files(repository: Repository) -> None:
    shutil.rmtree(repository.folder / "deploy")


@pytest.mark.parametrize(
    ("prepare", "variables", "message"),
    [
        (with_docker, "", "nothing is deployed in local (storage has no deployment of it)\n  Run `make train"),
        (with_docker, "COMPOSE=podman-compose", "podman-compose is not installed here\n  Install docker"),
        (with_docker, "COMPOSE=kompose", "invalid choice: 'kompose'"),
        (with_docker, "ENVIRONMENT=production", "needs an API key\n  Set the variable LIFECYCLE_API_KEY"),
        (with_docker, "ENVIRONMENT=prod", "there is no environment 'prod'"),
        (lambda repository: None, "", "a compose command is not installed here\n  Install docker"),
        (with_a_failing_command, "", "podman-compose could not start the containers"),
        (without_files, "", "there is no deploy/compose.yaml; make update SET=platform=kubernetes TAKE="),
    ],
)
def test_what_is_missing_is_a_message_with_what_to_do(
    repository: Repository, prepare: Callable[[Repository], Any], variables: str, message: str
) -> None:
    prepare(repository)
    done = repository.make("up", *variables.split())
    assert done.returncode == 2
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert "Everything runs" not in done.stdout


# --- deploy/compose.yaml ----------------------------------------------------------------------------------------------


def services(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the services of all files, each with what the files say together."""
    found: dict[str, dict[str, Any]] = {}
    for path in [folder / name for name in compose.FILES if (folder / name).exists()]:
        for name, service in yaml.safe_load(path.read_text(encoding="utf-8"))["services"].items():
            found[name] = found.get(name, {}) | service
    return found


def problems(folder: Path) -> list[str]:
    """Return what is wrong with the services of a repository."""
    found, all_services = [], services(folder)
    volumes = {name for path in compose.FILES for name in yaml.safe_load((folder / path).read_text())["volumes"]}
    for name, service in all_services.items():
        hardened = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "tmpfs": ["/tmp"]}
        hardened["restart"] = "unless-stopped"
        found += [f"{name}: {key}" for key, value in hardened.items() if service.get(key) != value]
        found += [f"{name}: {key}" for key in ("mem_limit", "pids_limit") if not service.get(key)]
        found += [f"{name}: privileged" for key in ("privileged", "cap_add", "user", "network_mode") if key in service]
        found += [f"{name}: port {each}" for each in service.get("ports", ()) if not each.startswith("127.0.0.1:${")]
        if not re.fullmatch(r"\$\{[A-Z]+_IMAGE(:\?make up sets it|:-\S+/\S+:v?\d+\.\d+\.\d+)\}", service["image"]):
            found.append(f"{name}: image {service['image']}")
        for mount in service.get("volumes", ()):
            source, _, options = mount.partition(":")
            if source[0] != ".":
                found += [f"{name}: no volume {source}"] if source not in volumes else []
                continue
            path = (folder / "deploy" / source).resolve()
            is_made = path.relative_to(folder.resolve()).as_posix() in MADE
            found += [] if is_made or path.is_file() else [f"{name}: no file {source}"]
            found += [] if options.endswith(":ro") else [f"{name}: {source} can be written"]
        if "_IMAGE:?" in service["image"] and not {*VARIABLES} <= {*service.get("environment", ())}:
            found.append(f"{name}: variables")
        for other, how in service.get("depends_on", {}).items():
            # The health check of the service is that of its image.
            has_check = other == "serve" or "healthcheck" in all_services[other]
            if how != {"condition": "service_healthy"} or not has_check:
                found.append(f"{name}: does not wait for {other}")
    return found


def test_the_services_are_hardened_ordered_and_mount_what_exists(render: Render) -> None:
    folder = render(platform="kubernetes")
    assert problems(folder) == []
    assert {name: [*service.get("depends_on", ())] for name, service in services(folder).items()} == {
        "jobs": ["serve"], "serve": [], "prometheus": ["serve"], "alertmanager": [], "grafana": ["prometheus"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("find", "replace", "message"),
    [
        ("  read_only: true\n", "", "serve: read_only"),
        ("[ALL]", "[NET_RAW]", "prometheus: cap_drop"),
        ("  security_opt: [no-new-privileges]\n", "", "grafana: security_opt"),
        ("  mem_limit: 512m\n", "", "alertmanager: mem_limit"),
        ("127.0.0.1:${PORT:-8000}", "${PORT:-8000}", "serve: port ${PORT:-8000}:8000"),
        ("../lifecycle/deploy/alerts.yml", "../lifecycle/deploy/alert.yml", "prometheus: no file ../lifecycle/deploy"),
        ("model.json:ro", "model.json", "grafana: ../lifecycle/deploy/dashboard.json can be written"),
        ("  grafana:\n\n", "", "grafana: no volume grafana"),
        ("prometheus: {condition: service_healthy}", "prometheus: {condition: service_started}", "does not wait for p"),
        ("alertmanager:v0.28.1", "alertmanager:latest", "alertmanager: image"),
        ("      - LIFECYCLE_API_KEY\n", "      - LIFECYCLE_API_KEY\n    privileged: true\n", "serve: privileged"),
        ("      - ENVIRONMENT\n", "", "serve: variables"),
        ("      - LIFECYCLE_STORAGE=/app/storage\n", "", "serve: variables"),
    ],
)
def test_a_planted_fault_is_found(render: Render, tmp_path: Path, find: str, replace: str, message: str) -> None:
    folder = shutil.copytree(render(platform="kubernetes"), tmp_path / "project")
    path = folder / "deploy/compose.online.yaml"
    text = f"{path.read_text()}\n"
    assert find in text
    path.write_text(text.replace(find, replace, 1))
    assert any(message in each for each in problems(folder))


def test_the_files_match_the_schema_of_compose(render: Render, tmp_path: Path) -> None:
    paths = [str(render(platform="kubernetes") / name) for name in compose.FILES]
    check = (tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec")
    done = run(*check, *paths, folder=tmp_path)
    assert done.returncode == 0, done.stdout
    (tmp_path / "compose.yaml").write_text(Path(paths[1]).read_text().replace("cap_drop", "cap_dropped"))
    assert run(*check, "compose.yaml", folder=tmp_path).returncode == 1


def test_the_ports_and_targets_are_those_that_the_files_publish(render: Render) -> None:
    folder = render(platform="kubernetes")
    published = [each for service in services(folder).values() for each in service.get("ports", ())]
    assert dict(re.findall(r"\$\{(\w+):-(\d+)\}", "".join(published))) == {k: str(v) for k, v in compose.PORTS.items()}
    inside = {name: str(s["ports"][0]).rpartition(":")[2] for name, s in services(folder).items() if "ports" in s}
    scraped = yaml.safe_load((folder / "deploy/compose/prometheus.yml").read_text())
    (models,), (alerts,) = scraped["scrape_configs"], scraped["alerting"]["alertmanagers"]
    source = yaml.safe_load((folder / "deploy/compose/grafana.yml").read_text())["datasources"][0]["url"]
    named = [each["static_configs"][0]["targets"][0] for each in (models, alerts)] + [source.removeprefix("http://")]
    assert named == [f"{name}:{inside[name]}" for name in ("serve", "alertmanager", "prometheus")]
    plain = yaml.safe_load((folder / "lifecycle/deploy/prometheus.yml").read_text())
    assert scraped | {"scrape_configs": [], "alerting": []} == plain | {"scrape_configs": [], "alerting": []}
    assert scraped["scrape_configs"][0]["job_name"] == plain["scrape_configs"][0]["job_name"]


def loop(folder: Path, programs: Path, fails: str = "") -> list[str]:
    """Run the loop of the jobs once, with a command that fails for one job, and return how it is called."""
    recorded = folder / "calls"
    recorded.unlink(missing_ok=True)
    programs.mkdir(exist_ok=True)
    scripts = {"lifecycle": f'echo "$@" >> "{recorded}"; [ "$1" != "{fails}" ]'}
    scripts["sleep"] = f'echo "$1" > "{folder}/pause"; exit 7'
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    service = services(folder)["jobs"]
    (text,) = service["command"]
    once = text.replace("$$", "$").replace("\n  sleep", "\n  exec sleep")
    done = run(*service["entrypoint"], once, folder=folder, PATH=f"{programs}:/usr/bin:/bin", ENVIRONMENT="staging")
    assert done.returncode == 7, done.stdout
    assert 0 < int((folder / "pause").read_text()) <= 86400
    assert all(line.endswith(" --environment staging") for line in recorded.read_text().splitlines())
    return [line.split()[0] for line in recorded.read_text().splitlines()]


@pytest.mark.parametrize(
    ("usage", "first", "last"), [("online", ["features"], []), ("batch", [], ["score"])], ids=("online", "batch")
)
def test_the_loop_runs_the_jobs_of_the_usage(
    render: Render, tmp_path: Path, usage: str, first: list[str], last: list[str]
) -> None:
    folder = shutil.copytree(render(platform="kubernetes", usage=[usage]), tmp_path / "project")
    middle = ["collect", "monitor", "retrain"]
    assert loop(folder, tmp_path / "bin") == [*first, *middle, *last]
    # Broken data stop the training, and nothing else.
    assert loop(folder, tmp_path / "bin", fails="monitor") == [*first, "collect", "monitor", *last]
    assert loop(folder, tmp_path / "bin", fails="features") == [*first, *middle, *last]


def test_the_dashboard_and_the_data_source_are_where_grafana_reads_them(render: Render) -> None:
    folder = render(platform="kubernetes")
    grafana = services(folder)["grafana"]
    mounts = {mount.split(":")[1]: mount.split(":")[0] for mount in grafana["volumes"]}
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    dashboard = json.loads((folder / "deploy" / mounts[home]).resolve().read_text())
    assert dashboard["templating"]["list"][0]["query"] == "prometheus"
    assert "/etc/grafana/provisioning/datasources/prometheus.yml" in mounts
    source = yaml.safe_load((folder / "deploy/compose/grafana.yml").read_text())["datasources"][0]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)


def test_down_is_refused_without_the_files(repository: Repository) -> None:
    without_files(repository)
    done = repository.make("down")
    assert (done.returncode, "there is no deploy/compose.yaml" in done.stdout) == (2, True)
