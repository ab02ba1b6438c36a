"""Fit the candidate and its baselines, evaluate them on held-out rows, write the bundle and mirror it in MLflow."""

import contextlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import lifecycle
from lifecycle import timestamps
from lifecycle.contract.rows import Encoder, learn_levels
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.models import metrics, reference
from lifecycle.models.bundle import Bundle
from lifecycle.models.export import export
from lifecycle.models.isolated import Limits
from lifecycle.models.runtimes import FrameModel, Model, OnnxModel, SkopsModel, typed_frame
from lifecycle.registry import deployments, provenance
from lifecycle.settings import ENVIRONMENTS, Settings
from lifecycle.training import evidence
from lifecycle.training.dataset import LabelledRows, load_dataset
from lifecycle.training.dataset import codes as codes
from lifecycle.training.evidence import CANDIDATE, LINEAR, TRIVIAL
from lifecycle.training.package import pack

# With its defaults, MLflow would wait minutes for a server that is unreachable.
MLFLOW = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def train(
    team: Team,
    settings: Settings,
    root: Path,
    as_of: int | None = None,
    reason: str = "manual",
    owners: Mapping[str, list[str]] | None = None,
) -> Bundle:
    """Train on the team's tables and write a new bundle, verified against its golden rows.

    The bundle has the linear baseline where the candidate does not beat it, and evidence for the gate.

    Args:
        team: contract, features, data and estimators of the team.
        settings: the settings of the environment.
        root: the repository, whose commit is recorded.
        as_of: seconds since 1970 UTC; only labels known then are used. Default: the latest time in the data, or now.
        reason: why the model is trained, such as `manual` or `drift`.
        owners: handles by role, recorded in the bundle.

    Raises:
        LifecycleError: the data, an estimator or the model cannot be used; no version was written.
    """
    _is_mirrored(settings)
    connection = point_in_time.connect(team.data, settings.data)
    as_of = point_in_time.latest(connection, team.data) if as_of is None else as_of
    dataset = load_dataset(connection, team, as_of, settings.train.holdout)
    target, training, holdout, split = team.contract.target, dataset.training, dataset.holdout, dataset.split
    if missing := [name for code, name in enumerate(target.classes) if not (training.label == code).any()]:
        problem = f"no training row is labelled {', '.join(missing)}"
        raise LifecycleError(problem, "Give labelled rows of every class.")

    encoder = Encoder(team.contract, learn_levels(team.contract, training.frame))
    models = _fit(team, encoder, training, settings.train.seed)
    predictions = {}
    for name, each in models.items():
        with _naming(name):
            predictions[name] = each.predict_frame(holdout.frame)
    losses = {name: metrics.losses(target, holdout.label, each).mean() for name, each in predictions.items()}
    # With equal losses the simpler model is chosen (Breck et al. 2017, Model 5).
    chosen = LINEAR if losses[LINEAR] <= losses[CANDIDATE] else CANDIDATE
    model, exported = models[chosen], None
    if isinstance(model, SkopsModel):
        limits = Limits(settings.train.export_seconds, settings.train.export_mb)
        exported = export(model, encoder.frame(holdout.frame), predictions[chosen], settings.train.seed, limits)
        if exported.graph is not None:
            # The ONNX model is the one that is deployed, and its predictions differ in the last digits.
            predictions[chosen] = OnnxModel(exported.graph, encoder, target).predict_frame(holdout.frame)
    facts = {
        "name": team.name,
        "lifecycle": lifecycle.__version__,
        "created": datetime.fromtimestamp(timestamps.clock(), UTC).isoformat(timespec="microseconds"),
        "as_of": timestamps.format_utc(as_of),
        "reason": reason,
        "estimator": chosen,
        "threshold": 0.5 if target.task == "binary" else None,
        "levels": {name: list(each) for name, each in encoder.codes.items()},
        "rows": {"training": len(training.frame), "holdout": len(holdout.frame)},
        "holdout": {"rule": split.rule, "entities_also_in_training": split.entities_also_in_training},
        "identity": list(split.identity),
        "data": dataset.digest,
        "metrics": {name: metrics.metrics(target, holdout.label, each) for name, each in predictions.items()},
        "code": provenance.code(root),
        "owners": dict(owners or {}),
        "settings": settings.train.model_dump(),
    }
    seen = (deployments.read(settings.store, environment) for environment in ENVIRONMENTS)
    deployed = sorted({each.current.version for each in seen if each})
    predictions[CANDIDATE] = predictions[chosen]
    compared = evidence.compare(settings.store, dataset, predictions, deployed)
    profile = reference.build_profile(team.contract, training.frame, holdout.frame, predictions[chosen])
    files = evidence.files(compared, dataset) | {reference.FILE: profile.to_json().encode()}
    return pack(settings, dataset, model, facts, files, exported)


def mirror(settings: Settings, bundle: Bundle) -> str | None:
    """Log a trained bundle as an MLflow run, for people: no decision reads it.

    Returns:
        The tracking URI; None where nothing was logged: a server that fails costs a warning, never the training.
    """
    if not _is_mirrored(settings):
        return None
    for key, value in MLFLOW.items():
        os.environ.setdefault(key, value)
    root, facts, name = settings.storage.absolute(), bundle.facts, bundle.facts["name"]
    uri = settings.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"
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
    except Exception as error:
        print(f"warning: the run is not mirrored at {uri}: {error}", file=sys.stderr)
        return None
    return uri


def _is_mirrored(settings: Settings) -> bool:
    """Return whether runs are mirrored; raise LifecycleError where `tracking.uri` needs MLflow and it is missing."""
    installed = importlib.util.find_spec("mlflow") is not None
    if settings.tracking.enabled and settings.tracking.uri and not installed:
        problem = f"tracking.uri is {settings.tracking.uri}, and MLflow is not installed"
        raise LifecycleError(problem, "Run `make setup EXTRAS=mlflow`, or remove the setting.")
    return settings.tracking.enabled and installed


def _fit(team: Team, encoder: Encoder, rows: LabelledRows, seed: int) -> dict[str, Model]:
    """Return the fitted models by name: CANDIDATE, TRIVIAL and LINEAR."""
    target = team.contract.target
    estimators = {CANDIDATE: team.estimator.candidate(encoder.inputs, seed)}
    baselines = team.estimator.baselines(encoder.inputs, seed)
    if set(baselines) != {TRIVIAL, LINEAR}:
        problem = f"src/model/estimator.py: baselines() returns {', '.join(sorted(baselines)) or 'nothing'}"
        raise LifecycleError(problem, f"It returns two estimators, {TRIVIAL!r} and {LINEAR!r}.")
    matrix = encoder.frame(rows.frame).astype(np.float64)
    label = rows.label if target.task == "regression" else rows.label.astype(int)
    fitted: dict[str, Model] = {}
    for name, estimator in (estimators | baselines).items():
        with _naming(name):
            if hasattr(estimator, "save"):
                estimator.fit(typed_frame(rows.frame, team.contract.columns), label)
                fitted[name] = FrameModel(estimator, team.contract)
            else:
                fitted[name] = SkopsModel(estimator.fit(matrix, label), encoder, target)
    return fitted


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the estimator in the error when its code fails."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, KeyError, LifecycleError) as error:
        cause = error.problem if isinstance(error, LifecycleError) else f"{type(error).__name__}: {error}"
        problem = f"src/model/estimator.py: the {name} estimator does not fit or predict ({cause})"
        hint = "Numbers may be NaN where the contract allows null; categories are codes; classes have predict_proba."
        raise LifecycleError(problem, hint) from error
