"""The optional mirror of training runs in MLflow, for people; no decision reads it."""

import importlib.util
import logging
import os
import sys

from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle
from lifecycle.settings import Settings

# With its defaults, MLflow would wait minutes for a server that is unreachable.
MLFLOW = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def is_on(settings: Settings) -> bool:
    """Return whether runs are mirrored; raise LifecycleError where `tracking.uri` needs MLflow and it is missing."""
    installed = importlib.util.find_spec("mlflow") is not None
    if settings.tracking.enabled and settings.tracking.uri and not installed:
        problem = f"tracking.uri is {settings.tracking.uri}, and MLflow is not installed"
        raise LifecycleError(problem, "Run `make setup EXTRAS=mlflow`, or remove the setting.")
    return settings.tracking.enabled and installed


def mirror(settings: Settings, bundle: Bundle) -> str | None:
    """Log a trained bundle as an MLflow run: parameters, metrics, tags and its files.

    Returns:
        The tracking URI; None where nothing was logged: a server that fails costs a warning, never the training.
    """
    if not is_on(settings):
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
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    facts, name = bundle.facts, bundle.facts["name"]
    mlflow.set_tracking_uri(uri)
    if mlflow.get_experiment_by_name(name) is None:
        mlflow.create_experiment(name, artifact_location=artifacts if uri.startswith("sqlite:") else None)
    mlflow.set_experiment(name)
    with mlflow.start_run(run_name=bundle.version):
        mlflow.set_tags({"version": bundle.version, "data": facts["data"], "estimator": facts["estimator"]})
        mlflow.log_params(facts["settings"] | facts["rows"] | {"as_of": facts["as_of"]})
        for model, metrics in facts["metrics"].items():
            mlflow.log_metrics({f"{model}.{metric}": value for metric, value in metrics.items()})
        mlflow.log_artifacts(str(bundle.path), "bundle")
