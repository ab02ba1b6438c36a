"""The Kubernetes objects pass the schema and the checks of `make manifests`, and each planted fault is found by one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from deploy import BUILT, LOADER, manifests
from manifests import PATHS
from rendered import is_schedule
from rendered import render as kustomize

from lifecycle.cli import main
from lifecycle.errors import LifecycleError
from lifecycle.serving.app import create, document
from lifecycle.settings import Serve
from lifecycle.storage import Store
from support.clusters import IMAGE, KUBECTL, OVERLAYS, edit, pods, repository, schema_problems, use
from support.storages import Storage

Render = Callable[..., Path]
USAGES = {
    ("online", "batch"): {"features", "score", "monitor", "retrain", "serve"},
    ("online",): {"features", "monitor", "retrain", "serve"},
    ("batch",): {"score", "monitor", "retrain"},
}
OVERLAY, NAMES = "overlays/{environment}/kustomization.yaml", "base/kustomization.yaml"
ONLINE, BATCH, JOBS, JOB, SECRETS = (f"base/{name}.yaml" for name in ("online", "batch", "jobs", "job", "secrets"))
DNS = "    - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]\n"
# The layer that finds a fault, its file, the edit, and a part of the message.
FAULTS = [
    ("kustomize", OVERLAY, "../../base]", "../../bases]", "cannot render"),
    ("kustomize", "/config/Kustomization", "staging.yaml", "stage.yaml", "stage.yaml"),
    ("kustomize", JOBS, "args: [monitor]", "args: [monitor", "yaml"),
    ("schema", ONLINE, "autoscaling/v2", "autoscaling/v2beta2", "HorizontalPodAutoscaler with api version"),
    ("schema", ONLINE, "policy/v1", "policy/v1beta1", "PodDisruptionBudget with api version policy/v1beta1"),
    ("schema", ONLINE, "containerPort: 8000", 'containerPort: "8000"', "'8000' is not of type 'integer'"),
    ("schema", ONLINE, "readinessProbe:", "readynessProbe:", "readynessProbe"),
    ("schema", BATCH, "schedule:", "shedule:", "'schedule' is a required property"),
    ("check", OVERLAY, "namespace: {environment}\n", "", "has no namespace"),
    ("check", OVERLAY, "namespace: {environment}\n", "namespace: My_Team\n", "its namespace My_Team is not lower case"),
    ("check", OVERLAY, "ENVIRONMENT={environment}", "ENVIRONMENT=local", "ENVIRONMENT of serve is local"),
    ("check", OVERLAY, "s3://bucket-", "s3://example-", "the storage of serve is the example s3://example-"),
    ("check", OVERLAY, "s3://bucket-{environment}/model", "/app/storage", "would lose its storage with the pod"),
    ("check", ONLINE, "mountPath: /app/storage}", "mountPath: /app/store}", "serve cannot write /app/storage"),
    ("check", OVERLAY, "STORAGE=", "STORGE=x\n      - LIFECYCLE_STORAGE=", "no setting storge; is storage meant?"),
    ("check", OVERLAY, "  - ENVIRONMENT", "  - LIFECYCLE_API_KEY=12345\n      - ENVIRONMENT", "is in plain text"),
    ("check", NAMES, "LEAVE_SECONDS=5", "LEAVE_SECONDS=soon", "serve.leave_seconds: Input should be a valid number"),
    ("check", NAMES, "LEAVE_SECONDS=5", "LEAVE_SECONDS=0", "closes its port while other nodes still send requests"),
    ("check", NAMES, "LEAVE_SECONDS=5", "LEAVE_SECONDS=25", "are killed after 30 s and need 35 s to end"),
    ("check", "/config/{environment}.yaml", "# Overrides", "serve: {drain: 3} # ", "no setting serve.drain"),
    ("check", "/config/{environment}.yaml", "# Overrides", "serve: {port: 9000} # ", "listens on port 9000"),
    ("check", SECRETS, "annotations:", "labels:", "Secret churn-signing-key: it is in plain text"),
    ("check", ONLINE, "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 10", "killed after 10 s"),
    ("check", ONLINE, "{path: /healthz, port: http}", "{path: /health, port: http}", "/health, which does not exist"),
    ("check", ONLINE, "{path: /readyz, port: http}", "{path: /readyz, port: web}", "requests the port web"),
    (
        "check",
        ONLINE,
        "{path: /readyz, port: http}",
        "{path: /healthz, port: http}",
        "readinessProbe requests /healthz",
    ),
    ("check", ONLINE, "livenessProbe:", "lifecycle:", "serve has no livenessProbe"),
    ("check", ONLINE, "targetPort: http", "targetPort: metrics", "no container has its port metrics"),
    ("check", ONLINE, "- ports: [{port: http}]", "- ports: [{port: web}]", "no container has its port web"),
    ("check", ONLINE, "containerPort: 8000", "containerPort: 8080", "serve listens on port 8000"),
    (
        "check",
        ONLINE,
        "  selector: {app.kubernetes.io/component: serve}",
        "  selector: {a: b}",
        "selector matches no pod",
    ),
    (
        "check",
        ONLINE,
        "    matchLabels: {app.kubernetes.io/component: serve}\n---",
        "    matchLabels: {a: b}\n---",
        "PodDisruptionBudget churn-serve: its selector matches no pod",
    ),
    ("check", ONLINE, "kind: Deployment, name: serve", "kind: Deployment, name: web", "scales Deployment web, which"),
    (
        "check",
        ONLINE,
        "requests: {cpu: 500m, memory: 256Mi}",
        "requests: {memory: 256Mi}",
        "relative to a request that",
    ),
    ("check", ONLINE, "revisionHistoryLimit: 5", "replicas: 3", "would reset the number of pods"),
    ("check", ONLINE, "maxSurge: 1, maxUnavailable: 0", "maxUnavailable: 100%", "a rollout stops every pod first"),
    ("check", ONLINE, "  maxUnavailable: 1\n", "  minAvailable: 2\n", "with 2 pods, no node could be drained"),
    ("check", ONLINE, DNS, "", "NetworkPolicy churn-serve: its pods cannot resolve names"),
    (
        "check",
        ONLINE,
        "configMapRef: {name: settings}",
        "configMapRef: {name: setting}",
        "there is no ConfigMap setting",
    ),
    ("check", ONLINE, "name: api-key, key", "name: apikey, key", "the Secret apikey is not one that the model has"),
    ("check", ONLINE, "            - {name: tmp, mountPath: /tmp}\n", "", "serve has no /tmp"),
    ("check", ONLINE, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "serve is not restricted"),
    (
        "check",
        ONLINE,
        "runAsNonRoot: true",
        "runAsNonRoot: false",
        "Deployment churn-serve: its pods are not restricted",
    ),
    ("check", JOB, "capabilities: {drop: [ALL]}", "capabilities: {}", "job is not restricted"),
    ("check", JOB, "          automountServiceAccountToken: false\n", "", "get a token of the cluster's API"),
    ("check", JOB, "serviceAccountName: jobs", "serviceAccountName: job", "there is no ServiceAccount job"),
    ("check", JOB, "image: jobs", "image: registry.example.org/jobs", "of job may change at any time"),
    ("check", JOB, "image: jobs", "image: registry.example.org:5000/jobs:latest", "of job may change at any time"),
    ("check", JOB, "{name: storage, mountPath", "{name: store, mountPath", "what job mounts at /app/storage"),
    ("check", JOB, "concurrencyPolicy: Forbid", "concurrencyPolicy: Allow", "a second run may start before"),
    ("check", JOB, "startingDeadlineSeconds: 3600", "startingDeadlineSeconds: 5", "a run that cannot start at once"),
    ("check", JOB, "  failedJobsHistoryLimit: 5\n", "", "it has no failedJobsHistoryLimit"),
    ("check", JOB, "component: job", "component: jobs", "no NetworkPolicy selects its pods"),
    (
        "check",
        JOBS,
        "  activeDeadlineSeconds: 3600\n",
        "  completions: 1\n",
        "a run that hangs prevents all later ones",
    ),
    ("check", JOBS, '"0 5 * * *"', '"0 25 * * *"', "'0 25 * * *' is not a schedule"),
    ("check", JOBS, "[retrain, --due]", "[retrain]", "it trains each time"),
    ("check", JOBS, "backoffLimit: 0", "backoffLimit: 1", "churn-retrain: a run that fails is repeated 1 times"),
    ("check", JOBS, "      backoffLimit: 1\n", "", "churn-monitor: a run that fails is repeated 6 times"),
    ("check", BATCH, "backoffLimit: 1", "backoffLimit: 2", "churn-score: a run that fails is repeated 2 times"),
    ("check", BATCH, "args: [score]", "args: [scores]", "there is no job 'scores'\n  There are collect, "),
    ("check", BATCH, "limits: {memory: 2Gi}", "limits: {}", "job has no limits.memory"),
]


@pytest.fixture(autouse=True)
def kubectl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the kubectl of the suite's environment."""
    monkeypatch.setenv("PATH", str(Path(KUBECTL).parent), prepend=":")


@pytest.fixture
def folder(render: Render, tmp_path: Path) -> Path:
    return repository(render(platform="kubernetes"), tmp_path)


@pytest.mark.parametrize("environment", OVERLAYS)
@pytest.mark.parametrize("usage", USAGES, ids="-".join)
def test_what_is_rendered_passes_the_schema_and_every_check(
    render: Render, tmp_path: Path, usage: tuple[str, ...], environment: str
) -> None:
    folder = repository(render(platform="kubernetes", usage=[*usage]), tmp_path)
    rendered = manifests(folder, environment, IMAGE)
    assert schema_problems(rendered.objects) == []
    assert pods(rendered).keys() == {f"churn-{name}" for name in USAGES[usage]}
    written = (folder / BUILT / f"{environment}.yaml").read_text()
    assert [*yaml.load_all(written, LOADER)] == rendered.objects
    images = {one["image"] for spec in pods(rendered).values() for one in spec["containers"]}
    assert images == {
        f"registry.example.org/team/churn-{'serve' if 'serve' in each else 'jobs'}:1a2b3c" for each in images
    }
    assert ("Deployment" in {each["kind"] for each in rendered.objects}) == ("online" in usage)


@pytest.mark.parametrize(
    ("number", "fault"), [*enumerate(FAULTS)], ids=[f"{each[0]}: {each[4]}"[:60] for each in FAULTS]
)
def test_a_planted_fault_is_found_by_its_layer(folder: Path, number: int, fault: tuple[str, ...]) -> None:
    layer, name, find, replace, message = fault
    environment = OVERLAYS[number % 2]
    edit(folder, *(text.replace("{environment}", environment) for text in (name, find, replace)))
    if layer == "schema":
        text = kustomize(folder / "deploy/kubernetes/overlays" / environment)
        assert message in "\n".join(schema_problems([*yaml.load_all(text, LOADER)], ("1.37",)))
    else:
        with pytest.raises(LifecycleError) as error:
            manifests(folder, environment, IMAGE)
        assert message in str(error.value)
        assert ("cannot render" in str(error.value)) == (layer == "kustomize")
        assert not (folder / BUILT).exists()


def test_there_are_enough_faults_and_both_overlays_have_some() -> None:
    assert len(FAULTS) >= 20
    assert {layer for layer, *_ in FAULTS} == {"kustomize", "schema", "check"}


def test_the_paths_of_the_probes_are_those_of_the_application(tmp_path: Path) -> None:
    storage = Storage(Store(tmp_path / "storage"), tmp_path / "drafts")
    storage.deploy(storage.publish())
    service = create(storage.store, "local", Serve())
    assert {*PATHS} == {*document(service, service.fastapi)["paths"], "/docs", "/openapi.json"}


@pytest.mark.parametrize("text", ["* * * * *", "*/15 0-6 1,15 * 1-5", "59 23 31 12 6", "0 4 * */3 *"])
def test_a_schedule_is_accepted(text: str) -> None:
    assert is_schedule(text)


@pytest.mark.parametrize(
    "text",
    ["", "0 4 * *", "60 4 * * *", "0 24 * * *", "0 4 0 * *", "0 4 * 13 *", "0 4 * * 7", "*/0 * * * *", "1- * * * *"],
)
def test_what_is_not_a_schedule_is_refused(text: str) -> None:
    assert not is_schedule(text)


def test_a_volume_replaces_the_bucket_in_every_container(folder: Path) -> None:
    edit(folder, "overlays/staging/kustomization.yaml", "s3://bucket-", "s3://example-")
    use(folder, "volume")
    rendered = manifests(folder, "staging", IMAGE)
    assert schema_problems(rendered.objects) == []
    assert [each["metadata"]["name"] for each in rendered.of("PersistentVolumeClaim")] == ["churn-storage"]
    for spec in pods(rendered).values():
        (volume,) = [each for each in spec["volumes"] if each["name"] == "storage"]
        assert volume == {"name": "storage", "persistentVolumeClaim": {"claimName": "churn-storage"}}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert rendered.variables(container)["LIFECYCLE_STORAGE"] == "/app/storage"


@pytest.mark.parametrize("image", ["docker://registry.example.org/team/churn:1", "registry.example.org/Team/churn:1"])
def test_a_wrong_name_of_an_image_is_refused(folder: Path, image: str) -> None:
    with pytest.raises(LifecycleError, match="is not the name of an image"):
        manifests(folder, "staging", image)


def test_overlays_with_one_namespace_are_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifests(folder, "production", IMAGE)
    assert "note:" not in capsys.readouterr().out
    edit(folder, "overlays/production/kustomization.yaml", "namespace: production", "namespace: staging")
    manifests(folder, "production", IMAGE)
    assert "note: the overlay staging has the same namespace" in capsys.readouterr().out


def test_the_prometheus_operator_gets_the_rules_of_the_template(folder: Path) -> None:
    use(folder, "prometheus-operator")
    rendered = manifests(folder, "production", IMAGE)
    (rules,) = rendered.of("PrometheusRule")
    own, objectives = rules["spec"]["groups"][:-2], rules["spec"]["groups"][-2:]
    assert {"groups": own} == yaml.safe_load((folder / "lifecycle/deploy/alerts.yml").read_text())
    assert [group["name"] for group in objectives] == ["slo-availability", "slo-latency"]
    (monitor,), (service,) = rendered.of("ServiceMonitor"), rendered.of("Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert monitor["spec"]["endpoints"][0]["relabelings"] == [{"targetLabel": "job", "replacement": "model"}]


def test_a_container_of_another_program_needs_none_of_our_settings(folder: Path) -> None:
    container = """      containers:
        - name: proxy
          image: registry.example.org/proxy:1
          resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 16Mi}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts: [{name: tmp, mountPath: /tmp}]
        - name: serve
"""
    edit(folder, ONLINE, "      containers:\n        - name: serve\n", container)
    assert len(pods(manifests(folder, "staging", IMAGE))["churn-serve"]["containers"]) == 2


def test_two_models_in_one_namespace_share_no_object(render: Render, tmp_path: Path) -> None:
    names = []
    for model in ("churn", "card-fraud-2"):
        folder = repository(render(platform="kubernetes", model_name=model), tmp_path / model)
        use(folder, "volume")
        objects = manifests(folder, "production", IMAGE).objects
        names.append({(each["kind"], each["metadata"]["name"]) for each in objects})
        selectors = [each["spec"].get("podSelector") for each in objects if each["kind"] == "NetworkPolicy"]
        assert all(each["matchLabels"]["app.kubernetes.io/name"] == model for each in selectors)
    assert not names[0] & names[1]


def test_every_container_runs_a_command_of_lifecycle(folder: Path) -> None:
    for spec in pods(manifests(folder, "production", IMAGE)).values():
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            with pytest.raises(SystemExit) as end:
                main([*container["args"], "--environment", "production", "--help"])
            assert end.value.code == 0


def test_a_repository_without_the_choice_has_no_file_of_it(render: Render) -> None:
    missing = ("deploy", "config/Kustomization", "lifecycle/docs/deploying.md")
    tools = (f"lifecycle/tools/{name}.py" for name in ("deploy", "manifests", "rendered"))
    assert not [name for name in (*missing, *tools) if (render() / name).exists()]
    assert all((render(platform="kubernetes") / name).exists() for name in missing)


def test_the_page_names_what_the_objects_refer_to(folder: Path, render: Render) -> None:
    page = (render(platform="kubernetes") / "lifecycle/docs/deploying.md").read_text(encoding="utf-8")
    rendered = manifests(folder, "production", IMAGE)
    for name in ("churn-api-key", "churn-credentials"):
        assert f"kubectl create secret generic {name} -n production" in page
        assert name in yaml.safe_dump_all(rendered.objects)
    assert f"make manifests ENVIRONMENT=production IMAGE={IMAGE}\n" in page
