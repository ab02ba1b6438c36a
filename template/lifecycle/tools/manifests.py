"""Find faults in rendered Kubernetes objects that neither their schema nor the API of a cluster reports."""

import difflib
import re
from collections.abc import Iterator

from rendered import Object, Rendered, command, containers, is_schedule, labels_of, place, ports, secrets, template

from lifecycle import settings
from lifecycle.errors import LifecycleError

MODEL = "app.kubernetes.io/name"
# The paths that kubelet may request; a test compares them with those of the application.
PATHS = ("/docs", "/healthz", "/info", "/metrics", "/openapi.json", "/predict", "/readyz")
PROBES = {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
JOBS = ("collect", "features", "monitor", "retrain", "score")
SECRETS = ("api-key", "credentials", "signing-key")
END_SECONDS = 2  # to write the prediction log and to end, after the requests in flight
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
REFERENCE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}

# What a rule yields: the object, what is wrong, and what to do.
Faults = Iterator[tuple[Object, str, str]]


def check(rendered: Rendered) -> list[str]:
    """Return every problem with its objects and what to do, in the order of the rules."""
    rules = (check_pods, check_containers, check_probes, check_traffic, check_scaling, check_jobs, check_secrets)
    found: dict[tuple[str, str], list[str]] = {}
    for each, problem, hint in (fault for rule in rules for fault in rule(rendered)):
        found.setdefault((problem, hint), []).append(place(each))
    return [f"{', '.join(dict.fromkeys(places))}: {text}\n  {hint}" for (text, hint), places in found.items()]


def check_pods(rendered: Rendered) -> Faults:
    """Yield wrong references, volumes, and rights of pods."""
    for each in rendered.objects:
        if not NAME.fullmatch(name := each["metadata"].get("namespace", "")):
            problem = f"its namespace {name} is not lower case with hyphens" if name else "it has no namespace"
            yield each, problem, "Set `namespace` in the kustomization.yaml of the overlay."
    for each in rendered.workloads():
        spec = template(each)["spec"]
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        sources = [source for container in containers(each) for source in container.get("envFrom", [])]
        names = [("ConfigMap", source["configMapRef"]["name"]) for source in sources if "configMapRef" in source]
        names += [("ConfigMap", volume["configMap"]["name"]) for volume in volumes.values() if "configMap" in volume]
        names += [("ServiceAccount", spec.get("serviceAccountName", "default"))]
        for kind, name in names:
            if not rendered.named(kind, name):
                hint = "Correct the name, or add the object to `resources` or `configMapGenerator`."
                yield each, f"there is no {kind} {name}", hint
        if spec.get("automountServiceAccountToken") is not False:
            yield each, "its pods get a token of the cluster's API", "Set automountServiceAccountToken: false."
        security = spec.get("securityContext", {})
        if not security.get("runAsNonRoot") or security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            hint = "Set runAsNonRoot: true and seccompProfile: {type: RuntimeDefault} in its securityContext."
            yield each, "its pods are not restricted", hint
        for container in containers(each):
            mounted = {mount["mountPath"]: volumes.get(mount["name"]) for mount in container.get("volumeMounts", [])}
            for path, volume in mounted.items():
                if volume is None:
                    yield each, f"no volume of the pod is what {container['name']} mounts at {path}", "Add the volume."
            if "/tmp" not in mounted:
                hint = "Mount an emptyDir there: the rest of the file system cannot be written."
                yield each, f"{container['name']} has no /tmp", hint


def check_containers(rendered: Rendered) -> Faults:
    """Yield wrong images, settings, resources and rights of containers."""
    for each in rendered.workloads():
        for container in containers(each):
            name, image = container["name"], str(container.get("image", ""))
            tag = image.rpartition("/")[2].partition(":")[2]
            if not REFERENCE.fullmatch(image):
                yield (
                    each,
                    f"{image} is not the name of an image",
                    "Write it in lower case, without docker:// before it.",
                )
            elif image in ("serve", "jobs"):
                hint = "IMAGE=registry.example.org/team/model:TAG names both images, or `images` in the overlay does."
                yield each, f"the image of {name} is not named", hint
            elif "@sha256:" not in image and tag in ("", "latest"):
                yield each, f"the image {image} of {name} may change at any time", "Name a fixed tag, or a digest."
            resources = container.get("resources", {})
            missing = [f"requests.{what}" for what in ("cpu", "memory") if what not in resources.get("requests", {})]
            missing += ["limits.memory"] if "memory" not in resources.get("limits", {}) else []
            if missing:
                yield each, f"{name} has no {', '.join(missing)}", "Add it: nodes place and limit pods by them."
            security = container.get("securityContext", {})
            wrong = [f"{key}: {str(value).lower()}" for key, value in RESTRICTED.items() if security.get(key) != value]
            wrong += ["capabilities: {drop: [ALL]}"] if security.get("capabilities") != {"drop": ["ALL"]} else []
            if wrong:
                yield each, f"{name} is not restricted", f"Set {', '.join(wrong)} in its securityContext."
            if command(container):
                yield from check_settings(rendered, each, container)


def check_settings(rendered: Rendered, each: Object, container: Object) -> Faults:
    """Yield wrong settings in the environment variables of a container, and what does not fit them."""
    variables, name, spec = rendered.variables(container), container["name"], template(each)["spec"]
    if (found := variables.get("ENVIRONMENT")) != rendered.environment:
        problem = f"ENVIRONMENT of {name} is {found}"
        yield each, problem, f"Set ENVIRONMENT={rendered.environment} in the overlay {rendered.environment}."
    try:
        own = settings.load(rendered.root, rendered.environment, variables).settings
    except LifecycleError as error:
        yield each, f"{name} would not start: {error.problem}", error.hint
        return
    storage = own.bucket or str(own.storage)
    if storage.startswith("s3://example-"):
        hint = "Set the bucket of this environment in the overlay, or use components/volume."
        yield each, f"the storage of {name} is the example {storage}", hint
    claims = {volume["name"] for volume in spec.get("volumes", []) if "persistentVolumeClaim" in volume}
    mounted = {mount["mountPath"]: mount["name"] in claims for mount in container.get("volumeMounts", [])}
    if "://" not in storage and not mounted.get(storage):
        hint = "Set LIFECYCLE_STORAGE=s3://bucket/prefix in the overlay, or use components/volume."
        yield each, f"{name} would lose its storage with the pod, and no other pod could read it", hint
    copy = str(own.working_copy)
    if "://" in storage and copy not in mounted:
        yield each, f"{name} cannot write {copy}", "Mount an emptyDir there, or change LIFECYCLE_WORKING_COPY."
    if command(container) == "serve":
        needed = own.serve.leave_seconds + own.serve.drain_seconds + END_SECONDS
        if (grace := spec.get("terminationGracePeriodSeconds", 30)) < needed:
            problem = f"its pods are killed after {grace} s and need {needed:g} s to end"
            yield each, problem, "Increase terminationGracePeriodSeconds."
        if not own.serve.leave_seconds and "preStop" not in container.get("lifecycle", {}):
            hint = "Set LIFECYCLE_SERVE__LEAVE_SECONDS=5."
            yield each, f"{name} closes its port while other nodes still send requests", hint
        if own.serve.port not in ports(each):
            yield each, f"{name} listens on port {own.serve.port}", "Set containerPort to serve.port, or the reverse."


def check_probes(rendered: Rendered) -> Faults:
    """Yield probes that are missing, or request what the program does not have."""
    for each in rendered.of("Deployment"):
        for container in template(each)["spec"]["containers"]:
            for probe, usual in PROBES.items() if command(container) == "serve" else ():
                request = container.get(probe, {}).get("httpGet", {})
                path = request.get("path")
                if not request:
                    yield each, f"{container['name']} has no {probe}", f"Let it request {usual}."
                elif path not in PATHS:
                    yield each, f"{probe} requests {path}, which does not exist", f"Request {usual}."
                elif path != usual:
                    hint = f"Request {usual}: a pod that is not ready must not be restarted, nor a busy one removed."
                    yield each, f"{probe} requests {path}", hint
                if request and request.get("port") not in ports(each):
                    yield each, f"{probe} requests the port {request.get('port')}", "Name a port of the container."


def check_traffic(rendered: Rendered) -> Faults:
    """Yield services and network policies that do not fit the pods."""
    for each in rendered.of("Service", "NetworkPolicy", "PodDisruptionBudget", "Deployment"):
        spec, is_service = each["spec"], each["kind"] == "Service"
        selector = {"matchLabels": spec["selector"]} if is_service else spec.get("selector", spec.get("podSelector"))
        pods = rendered.selected(selector)
        if not pods or (each["kind"] == "Deployment" and each not in pods):
            yield each, "its selector matches no pod", "Use the labels of the pod template."
            continue
        rules = [spec] if is_service else spec.get("ingress", [])
        for port in [port for rule in rules for port in rule.get("ports", [])]:
            target = port.get("targetPort", port["port"]) if is_service else port.get("port")
            if not any(target in ports(workload) for workload in pods):
                yield each, f"no container has its port {target}", "Name a port of the container."
        egress = spec.get("egress", [])
        open_to_dns = [rule for rule in egress if 53 in [port["port"] for port in rule.get("ports", [{"port": 53}])]]
        if "Egress" in spec.get("policyTypes", []) and not open_to_dns:
            yield each, "its pods cannot resolve names", "Allow the ports 53 (UDP and TCP) in `egress`."
    policies = [rendered.selected(each["spec"]["podSelector"]) for each in rendered.of("NetworkPolicy")]
    for each in rendered.workloads():
        if not any(each in pods for pods in policies):
            yield each, "no NetworkPolicy selects its pods", "Give them the label that a podSelector matches."


def check_scaling(rendered: Rendered) -> Faults:
    """Yield what prevents scaling, draining a node, or a rollout without a pause."""
    fewest: dict[str, int] = {}
    for each in rendered.of("HorizontalPodAutoscaler"):
        spec, target = each["spec"], each["spec"]["scaleTargetRef"]
        scaled = rendered.named(target["kind"], target["name"])
        fewest[target["name"]] = spec.get("minReplicas", 1)
        if not scaled:
            yield each, f"it scales {target['kind']} {target['name']}, which does not exist", "Correct scaleTargetRef."
            continue
        if "replicas" in scaled["spec"]:
            yield scaled, "each deployment would reset the number of pods", "Remove `replicas`: the autoscaler sets it."
        used = [metric["resource"] for metric in spec.get("metrics", []) if metric["type"] == "Resource"]
        for name in [use["name"] for use in used if use["target"]["type"] == "Utilization"]:
            if any(name not in one.get("resources", {}).get("requests", {}) for one in containers(scaled)):
                hint = f"Add requests.{name} to every container of {place(scaled)}."
                yield each, f"it measures the use of {name} relative to a request that is missing", hint
    for each in rendered.of("Deployment"):
        number = fewest.setdefault(each["metadata"]["name"], each["spec"].get("replicas", 1))
        strategy = each["spec"].get("strategy", {})
        unavailable = strategy.get("rollingUpdate", {}).get("maxUnavailable", 0)
        if strategy.get("type") == "Recreate" or unavailable == "100%" or (unavailable != 0 and number == 1):
            yield each, "a rollout stops every pod first", "Set rollingUpdate: {maxSurge: 1, maxUnavailable: 0}."
    for each in rendered.of("PodDisruptionBudget"):
        spec = each["spec"]
        kept, lost, pods = spec.get("minAvailable"), spec.get("maxUnavailable"), rendered.selected(spec["selector"])
        fewer = min((fewest.get(pod["metadata"]["name"], 1) for pod in pods), default=1)
        if kept == "100%" or (isinstance(kept, int) and kept >= fewer) or lost in (0, "0%"):
            yield each, f"with {fewer} pods, no node could be drained", "Set maxUnavailable: 1 instead."


def check_jobs(rendered: Rendered) -> Faults:
    """Yield jobs that would not run, run twice, or never end."""
    for each in rendered.of("CronJob"):
        spec, run = each["spec"], each["spec"]["jobTemplate"]["spec"]
        if not is_schedule(schedule := spec.get("schedule", "")):
            yield each, f"{schedule!r} is not a schedule", "Write five fields with numbers, such as 30 3 * * *."
        if spec.get("concurrencyPolicy") != "Forbid":
            yield each, "a second run may start before the first one ends", "Set concurrencyPolicy: Forbid."
        if spec.get("startingDeadlineSeconds", 0) < 60:
            hint = "Set startingDeadlineSeconds: 3600. Below 60, most runs that are late do not start."
            yield each, "a run that cannot start at once is lost, or all later ones are", hint
        if "activeDeadlineSeconds" not in run:
            yield each, "a run that hangs prevents all later ones", "Set activeDeadlineSeconds."
        most = 0 if "retrain" in map(command, containers(each)) else 1
        if run.get("backoffLimit", 6) > most:
            yield each, f"a run that fails is repeated {run.get('backoffLimit', 6)} times", f"Set backoffLimit: {most}."
        for name in [name for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit") if name not in spec]:
            yield each, f"it has no {name}", "Set it, so that logs are kept and finished pods are not."
        for container in containers(each):
            if (name := command(container)) not in ("", *JOBS):
                yield each, f"there is no job {name!r}", f"There are {', '.join(JOBS)}."
            elif name == "retrain" and "--due" not in container["args"]:
                yield each, "it trains each time, also when nothing demands it", "Use args: [retrain, --due]."


def check_secrets(rendered: Rendered) -> Faults:
    """Yield secrets in plain text, and references to unknown secrets."""
    for each in rendered.of("Secret"):
        yield each, "it is in plain text", "Remove it, and create it in the cluster: lifecycle/docs/deploying.md."
    for each in rendered.workloads():
        for name in [name for container in containers(each) for name in rendered.variables(container)]:
            if re.search(r"_KEY$|_KEY_ID$|SECRET|TOKEN|PASSWORD", name):
                yield each, f"{name} is in plain text", "Refer to a Secret: lifecycle/docs/deploying.md."
        known = [f"{labels_of(each).get(MODEL)}-{name}" for name in SECRETS]
        for name in {name for name, _ in secrets(each)} - {*known}:
            if near := difflib.get_close_matches(name, [*SECRETS, *known], n=1, cutoff=0.7):
                hint = f"Is {near[0]} of base/secrets.yaml meant?"
                yield each, f"the Secret {name} is not one that the model has", hint
