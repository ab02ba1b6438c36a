"""The mirror of runs in MLflow, for people: nothing reads it to decide, and a run without it is as good."""

import os
import sys

from lifecycle.models.bundle import Bundle
from lifecycle.settings import Settings

# Left to its defaults, MLflow would send usage data, and wait minutes for a server that is away.
MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def mirror(settings: Settings, bundle: Bundle) -> str | None:
    """Log a trained bundle as a run (parameters, metrics, tags, its files); returns the tracking URI.

    Returns None when tracking is off. A tracking server that does not answer costs a warning, never the training.
    """
    if not settings.tracking.enabled:
        return None
    for name, value in MLFLOW.items():
        os.environ.setdefault(name, value)
    root = settings.storage.absolute()
    uri = settings.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"
    try:
        _log(uri, str(root / "mlruns"), bundle)
    except Exception as error:
        print(f"warning: the run is not mirrored at {uri}: {error}", file=sys.stderr)
        return None
    return uri


def _log(uri: str, artifacts: str, bundle: Bundle) -> None:
    import logging

    import mlflow

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    name = str(bundle.facts["name"])
    if mlflow.get_experiment_by_name(name) is None:
        mlflow.create_experiment(name, artifact_location=artifacts if uri.startswith("sqlite:") else None)
    mlflow.set_experiment(name)
    with mlflow.start_run(run_name=bundle.version):
        mlflow.set_tags(
            {"version": bundle.version, "data": bundle.facts["data"], "estimator": bundle.facts["estimator"]}
        )
        mlflow.log_params(bundle.facts["settings"] | bundle.facts["rows"] | {"as_of": bundle.facts["as_of"]})
        for model, metrics in bundle.facts["metrics"].items():
            mlflow.log_metrics({f"{model}.{metric}": value for metric, value in metrics.items()})
        mlflow.log_artifacts(str(bundle.path), "bundle")
