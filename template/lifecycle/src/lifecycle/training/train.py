"""Fit the candidate and its baselines, measure them on held-out rows, write the bundle."""

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from lifecycle import timestamps
from lifecycle.contract.matrix import Encoder, learn_levels
from lifecycle.contract.schema import Target
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.models import metrics, reference
from lifecycle.models.bundle import Bundle
from lifecycle.models.export.verify import export
from lifecycle.models.metrics import Floats
from lifecycle.models.runtimes import FrameModel, Model, OnnxModel, SkopsModel, typed_frame
from lifecycle.registry import provenance
from lifecycle.settings import Settings
from lifecycle.training import package
from lifecycle.training.comparison import compared
from lifecycle.training.dataset import Rows, divide
from lifecycle.training.dataset import codes as codes
from lifecycle.training.evidence import CANDIDATE, LINEAR, TRIVIAL

DEFAULT_THRESHOLD = 0.5


def train(
    team: Team,
    settings: Settings,
    root: Path,
    as_of: int | None = None,
    reason: str = "manual",
    owners: Mapping[str, list[str]] | None = None,
) -> Bundle:
    """From raw tables to a new bundle in the storage, proved by its golden rows; raises LifecycleError.

    Only labels known at `as_of` count (the data's own latest moment, or the clock, when None). What answers now in any
    environment answers the held-out rows, too, so that the gate can compare.
    """
    connection = point_in_time.connect(team.data, settings.data)
    moment = point_in_time.latest(connection, team.data, settings.clock) if as_of is None else as_of
    division = divide(connection, team, moment, settings.train.holdout)
    target, rows, test = team.contract.target, division.training, division.held
    _enough_classes(target, rows.label)

    encoder = Encoder(team.contract, learn_levels(team.contract, rows.frame))
    models = fit(team, encoder, rows, settings.train.seed)
    given = {name: answers(name, model, test) for name, model in models.items()}
    lost = {name: metrics.losses(target, test.label, each).mean() for name, each in given.items()}
    # The simpler model wins a draw: what the candidate does not beat replaces it (Breck et al. 2017, Model 5).
    chosen = LINEAR if lost[LINEAR] <= lost[CANDIDATE] else CANDIDATE
    model, exported = models[chosen], None
    if isinstance(model, SkopsModel):
        exported = export(model, encoder.frame(test.frame), given[chosen], settings.train.seed)
        if exported.graph is not None:
            # Measured is what will answer: the last digits are its own.
            given[chosen] = answers(chosen, OnnxModel(exported.graph, encoder, target), test)
    facts = {
        "name": team.name,
        "created": _created(settings),
        "as_of": timestamps.format_utc(moment),
        "reason": reason,
        "estimator": chosen,
        "threshold": DEFAULT_THRESHOLD if target.task == "binary" else None,
        "levels": {name: list(each) for name, each in encoder.codes.items()},
        "rows": {"training": len(rows.frame), "holdout": len(test.frame)},
        "holdout": {
            "rule": division.sides.told,
            "entities_also_in_training": division.sides.entities_also_in_training,
        },
        "identity": list(division.sides.identity),
        "metrics": {name: metrics.metrics(target, test.label, each) for name, each in given.items()},
        "data": division.data,
        "code": provenance.code(root),
        "owners": dict(owners or {}),
        "settings": settings.train.model_dump(),
    }
    proof = compared(settings.store, connection, division, given | {CANDIDATE: given[chosen]})
    rows_to_replay = package.golden(team.contract, test.frame, settings.train)
    shape = reference.measure(team.contract, rows.frame, test.frame, given[chosen])
    shown = package.Proof(proof, *division.ids())
    return package.pack(team, settings.store, model, facts, rows_to_replay, shown, shape, exported)


def _created(settings: Settings) -> str:
    """Now; where a clock stands for it, a moment after whatever was made in the same second."""
    now = datetime.now(UTC)
    if settings.clock is not None:
        second = f"{datetime.fromtimestamp(settings.now(), UTC):%Y%m%dT%H%M%S}"
        same = [name.split("-")[0] for name in settings.store.versions() if name.startswith(second)]
        now = datetime.strptime(f"{max(same, default=second):0<21}+0000", "%Y%m%dT%H%M%S%f%z")
        now += timedelta(microseconds=bool(same))
    return now.isoformat(timespec="microseconds")


def fit(team: Team, encoder: Encoder, rows: Rows, seed: int) -> dict[str, Model]:
    """The fitted candidate and baselines, by name."""
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
        with blaming(name):
            if hasattr(estimator, "save"):
                estimator.fit(typed_frame(rows.frame, team.contract.columns), label)
                fitted[name] = FrameModel(estimator, team.contract)
            else:
                fitted[name] = SkopsModel(estimator.fit(matrix, label), encoder, target)
    return fitted


def answers(name: str, model: Model, rows: Rows) -> Floats:
    """What a fitted estimator answers; raises LifecycleError naming the estimator when that is no answer."""
    with blaming(name):
        return model.predict_frame(rows.frame)


@contextlib.contextmanager
def blaming(name: str) -> Iterator[None]:
    """Name the estimator whose code fails."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, KeyError, LifecycleError) as error:
        told = error.problem if isinstance(error, LifecycleError) else f"{type(error).__name__}: {error}"
        problem = f"src/model/estimator.py: the {name} estimator does not fit or answer ({told})"
        hint = "Numbers may be NaN where the contract allows null; categories are codes; classes have predict_proba."
        raise LifecycleError(problem, hint) from error


def _enough_classes(target: Target, label: Floats) -> None:
    missing = [name for at, name in enumerate(target.classes) if not (label == at).any()]
    if missing:
        raise LifecycleError(f"no training row is labelled {', '.join(missing)}", "Give labelled rows of every class.")
