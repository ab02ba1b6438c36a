"""Predictions of a candidate, its baselines and deployed versions on the same held-out rows."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lifecycle import timestamps
from lifecycle.contract.team import Data, Team
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.features.point_in_time import TIMES
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.models.metrics import Floats
from lifecycle.models.predictor import Predictor
from lifecycle.settings import Settings
from lifecycle.storage import Store
from lifecycle.training import evidence
from lifecycle.training.dataset import Dataset, codes, load_dataset
from lifecycle.training.evidence import CANDIDATE, Evidence

if TYPE_CHECKING:
    import duckdb


class Incomparable(LifecycleError):
    """A version with another target or other rows than the candidate; the version itself is sound."""


def compare(
    store: Store,
    connection: "duckdb.DuckDBPyConnection",
    dataset: Dataset,
    predictions: dict[str, Floats],
    versions: Iterable[str],
) -> Evidence:
    """Let other versions predict the held-out rows, and return the evidence of all models on them.

    `predictions` has those of the candidate and its baselines, by name, for all held-out rows of the dataset.
    """
    incomparable, failed = dict[str, str](), dict[str, str]()
    for version in versions:
        try:
            predictions = predictions | {version: _predict(open_version(store, version), connection, dataset)}
        except Incomparable as error:
            incomparable[version] = error.problem
        except LifecycleError as error:
            failed[version] = error.problem
    kept = evidence.sampled(predictions[CANDIDATE])
    label, frame = dataset.holdout.label[kept], dataset.holdout.frame.iloc[kept]
    own, contract = predictions[CANDIDATE][kept], dataset.team.contract
    others = {name: each[kept] for name, each in predictions.items() if name != CANDIDATE}
    slices = {name: evidence.slices(contract, frame, label, own, each) for name, each in others.items()}
    return Evidence(label, {CANDIDATE: own} | others, slices, incomparable, failed)


def with_champion(settings: Settings, data: Data, bundle: Bundle, champion: Bundle | None) -> Evidence:
    """Return the evidence of a bundle, with the champion's predictions added where training did not compare the two.

    Raises:
        LifecycleError: an earlier release wrote the bundle, or the tables have changed since its training.
    """
    found = evidence.read(bundle)
    if champion is None or champion.version in {*found.predictions, *found.incomparable, *found.failed}:
        return found
    connection = point_in_time.connect(data, settings.data)
    team = Team(bundle.facts["name"], bundle.contract, bundle.features_sql, data, None)
    as_of, share = timestamps.parse(bundle.facts["as_of"]), bundle.facts["settings"]["holdout"]
    try:
        dataset = load_dataset(connection, team, as_of, share)
        unchanged = dataset.digest == bundle.facts["data"]
    except LifecycleError:
        unchanged = False
    if not unchanged:
        problem = f"{bundle.version} was never compared with {champion.version}, and the tables have changed since then"
        raise LifecycleError(problem, "Run `make train`: the new version is compared with the deployed one.")
    own = {CANDIDATE: Predictor(bundle).predict_raw(dataset.holdout.frame)}
    added = compare(settings.store, connection, dataset, own, [champion.version])
    names = ("predictions", "slices", "incomparable", "failed")
    return Evidence(added.label, **{name: getattr(found, name) | getattr(added, name) for name in names})


def _predict(version: Bundle, connection: "duckdb.DuckDBPyConnection", dataset: Dataset) -> Floats:
    """Return the predictions of a version on the held-out rows, completed by its own contract and features."""
    own, other = dataset.team.contract, version.contract
    if replace(own.target, unit="") != replace(other.target, unit=""):
        raise Incomparable(f"{version.version} has another target")
    if (other.columns, version.features_sql) == (own.columns, dataset.team.features_sql):
        return Predictor(version).predict_raw(dataset.holdout.frame)
    team = replace(dataset.team, contract=other, features_sql=version.features_sql)
    try:
        point_in_time.training_rows(connection, team, dataset.as_of)
        frame = connection.execute(f"FROM {point_in_time.ROWS}").df()
        label = codes(frame.pop(other.target.label), other.target)
    except LifecycleError as error:
        raise Incomparable(error.problem, error.hint) from error
    sent = {column.name for column in (*own.request, *other.request)} | TIMES
    shared = [name for name in frame.columns if name in sent and name in dataset.rows.frame.columns]
    if not (frame[shared].equals(dataset.rows.frame[shared]) and np.array_equal(label, dataset.rows.label)):
        raise Incomparable(f"{version.version} does not complete the same rows")
    return Predictor(version).predict_raw(frame[dataset.split.holdout])
