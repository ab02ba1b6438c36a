"""Train a model: fit and evaluate it on held-out rows, write the bundle and mirror it in MLflow."""

import importlib.util
import logging
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import lifecycle
from lifecycle import registry, spark, timestamps
from lifecycle.contract.team import Team
from lifecycle.features import point_in_time
from lifecycle.models import metrics, reference
from lifecycle.models.bundle import Bundle
from lifecycle.models.export import Limits, export
from lifecycle.models.runtimes import OnnxModel, SkopsModel
from lifecycle.registry import deployments, labels
from lifecycle.settings import ENVIRONMENTS, Settings
from lifecycle.training import evidence
from lifecycle.training.comparison import benefits, dominant, measure_slices
from lifecycle.training.dataset import codes as codes
from lifecycle.training.dataset import load_dataset
from lifecycle.training.evidence import CANDIDATE, REFIT, TRIVIAL
from lifecycle.training.fit import fit, naming, verify_allowed_rows
from lifecycle.training.package import pack

# What `make bundle TO=mlflow` runs: it writes the MLflow model of a version.
MODEL = Path("lifecycle/tools/interop/mlflow_model.py")
# With its defaults, MLflow would wait minutes for a server that is unreachable.
MLFLOW = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def train(
    team: Team,
    settings: Settings,
    root: Path,
    as_of: int | None = None,
    reason: str = "manual",
    owners: Mapping[str, list[str]] | None = None,
    environment: str = "local",
) -> Bundle:
    """Train on the team's tables and write a new bundle, verified against its golden rows.

    The bundle has the fit that is deployed (see `training.fit`), and evidence and metrics of the evaluated one. The
    commit of the repository `root`, `reason` (such as `drift`) and `owners` (handles by role) are recorded. Logged
    predictions of the environment that have a label are training rows, too. Only labels known at `as_of` (seconds since
    1970 UTC) are used; by default the latest time in the data or now, or of the newest imported label if that is later.
    Raises LifecycleError where the data, an estimator or the model cannot be used; no version was written.
    """
    connection = spark.connect(settings, team.data)
    if as_of is None:
        as_of = max(point_in_time.latest(connection, team.data), labels.newest(settings.store, timestamps.now()))
    rules = settings.train
    dataset = load_dataset(connection, team, as_of, settings, environment, rules.holdout)
    target, holdout, split = team.contract.target, dataset.holdout, dataset.split
    fits = fit(team, dataset, rules.windows, rules.seed)
    predictions = {}
    for name, model in (fits.evaluated | {REFIT: fits.deployed}).items():
        with naming(name):
            predictions[name] = model.predict_frame(holdout.frame)
    deployed, exported = fits.deployed, None
    verify_allowed_rows(deployed, team.contract, holdout.frame)
    if isinstance(deployed, SkopsModel):
        limits = Limits(rules.export_seconds, rules.export_mb) if rules.export_seconds else None
        exported = export(deployed, fits.encoder.frame(holdout.frame), predictions[REFIT], rules.seed, limits)
        if exported.graph is not None:
            # The ONNX model is the one that is deployed, and its predictions differ in the last digits.
            predictions[REFIT] = OnnxModel(exported.graph, fits.encoder, target).predict_frame(holdout.frame)
    fitted = dataset.rows.take(fits.rows)
    facts = {
        "name": team.name,
        "lifecycle": lifecycle.__version__,
        "created": datetime.fromtimestamp(timestamps.clock(), UTC).isoformat(timespec="microseconds"),
        "as_of": timestamps.format_utc(as_of),
        "reason": reason,
        "environment": environment,
        "estimator": fits.chosen,
        "threshold": 0.5 if target.task == "binary" else None,
        "levels": {name: list(each) for name, each in fits.encoder.codes.items()},
        # Older repositories test that these two are all rows.
        "rows": {"training": int((split.training | split.selection).sum()), "holdout": len(holdout.frame)},
        "fits": {
            "deployed": len(fitted.frame),
            "evaluated": int((split.training & split.window(fits.periods)).sum()),
            "selection": int(split.selection.sum()),
        },
        "sources": {"labels": dataset.from_labels, "logged": asdict(dataset.logged)},
        "window": {"periods": fits.periods, "losses": fits.losses},
        "holdout": {"rule": split.rule},
        "identity": list(split.identity),
        "empty": list(fits.empty),
        "data": dataset.digest,
        "metrics": {name: metrics.metrics(target, holdout.label, predictions[name]) for name in fits.evaluated},
        "code": registry.code(root),
        "owners": dict(owners or {}),
        "settings": rules.model_dump(),
    }
    seen = [*filter(None, (deployments.read(settings.store, environment) for environment in ENVIRONMENTS))]
    thresholds = {f"deployed in {each.environment}": each.current.threshold for each in seen} or {"default": 0.5}
    configured = settings.gate.false_positive_cost, settings.gate.false_negative_cost
    costs = registry.error_costs(root, target.classes, configured)
    facts["calibration"] = metrics.calibration(target, holdout.label, predictions[CANDIDATE], thresholds, costs)
    own = fits.evaluated[CANDIDATE]
    facts["benefits"] = benefits(own, team.contract, holdout)
    facts["slices"] = measure_slices(team.contract, holdout, predictions[CANDIDATE], settings)
    facts["dominant"] = dominant(own, team.contract, holdout, predictions[CANDIDATE], predictions[TRIVIAL])
    if facts["dominant"]:
        print(f"warning: {facts['dominant']}", file=sys.stderr)
    found = evidence.evaluate(dataset, predictions)
    for version in sorted({each.current.version for each in seen}):
        found = evidence.with_version(settings, found, dataset, version)
    profile = reference.build_profile(team.contract, fitted.frame, holdout.frame, predictions[CANDIDATE])
    files = evidence.files(found, dataset, fits.rows) | {reference.FILE: profile.to_json().encode()}
    return pack(settings, dataset, deployed, facts, files, exported)


def mirror(settings: Settings, bundle: Bundle) -> str | None:
    """Log a trained bundle as an MLflow run with a model, and return the tracking URI; None where nothing was logged.

    The model is that of `make bundle TO=mlflow`; it is written with the tools of the repository in the working folder.
    """
    tracking = settings.tracking
    # A server that is set and cannot be used, because MLflow is missing, is worth a warning.
    if not tracking.enabled or not (tracking.uri or importlib.util.find_spec("mlflow")):
        return None
    for key, value in MLFLOW.items():
        os.environ.setdefault(key, value)
    root, facts, name = settings.storage.absolute(), bundle.facts, bundle.facts["name"]
    uri = tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"
    try:
        import mlflow

        for logger in ("mlflow", "alembic"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        mlflow.set_tracking_uri(uri)
        if mlflow.get_experiment_by_name(name) is None:
            mlflow.create_experiment(name, str(root / "mlruns") if uri.startswith("sqlite:") else None)
        mlflow.set_experiment(name)
        with mlflow.start_run(run_name=bundle.version):
            mlflow.set_tags({"version": bundle.version, "data": facts["data"], "estimator": facts["estimator"]})
            mlflow.log_params(facts["settings"] | facts["rows"] | {"as_of": facts["as_of"]})
            for model, values in facts["metrics"].items():
                mlflow.log_metrics({f"{model}.{metric}": value for metric, value in values.items()})
            mlflow.log_artifacts(str(bundle.path), "bundle")
            with tempfile.TemporaryDirectory() as folder:
                runpy.run_path(str(MODEL))["write"](bundle, facts["threshold"], Path(folder))
                mlflow.log_artifacts(folder, "model")
    except Exception as error:  # A server that fails costs a warning, never the training.
        print(f"warning: the run is not mirrored at {uri}: {error}", file=sys.stderr)
        return None
    return uri
