"""What a candidate and the versions that answer now say to the same held-out rows."""

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
from lifecycle.registry import deployments
from lifecycle.settings import ENVIRONMENTS, Settings
from lifecycle.storage import Store
from lifecycle.training import evidence
from lifecycle.training.dataset import Division, Rows, codes, divide
from lifecycle.training.evidence import CANDIDATE, Evidence

if TYPE_CHECKING:
    import duckdb


class Incomparable(LifecycleError):
    """Another version answers another question, or other rows: nothing is wrong with it."""


def compared(
    store: Store, connection: "duckdb.DuckDBPyConnection", division: Division, given: dict[str, Floats]
) -> Evidence:
    """What the gate decides on: also the answers of every version that answers anywhere, or why there are none."""
    there = {found.live.version for each in ENVIRONMENTS if (found := deployments.read(store, each))}
    incomparable, silent = dict[str, str](), dict[str, str]()
    for version in sorted(there):
        try:
            given = given | {version: answers_of(open_version(store, version), connection, division)}
        except Incomparable as error:
            incomparable[version] = error.problem
        except LifecycleError as error:
            silent[version] = error.problem
    return replace(evidence_of(division, given), incomparable=incomparable, silent=silent)


def evidence_of(division: Division, given: dict[str, Floats]) -> Evidence:
    """The kept part of held-out rows, and the slices of it."""
    held = division.held
    kept = evidence.taken(given[CANDIDATE])
    label, frame = held.label[kept], held.frame.iloc[kept]
    given = {name: each[kept] for name, each in given.items()}
    own = given[CANDIDATE]
    slices = {
        name: evidence.slices(division.team.contract, frame, label, own, each)
        for name, each in given.items()
        if name != CANDIDATE
    }
    return Evidence(label, given, slices)


def with_champion(settings: Settings, data: Data, bundle: Bundle, champion: Bundle | None) -> Evidence:
    """The evidence of a bundle with the champion's answers, which are asked for now where training did not.

    Raises LifecycleError for evidence of an earlier lifecycle, and where the tables are no longer those of training.
    """
    found = evidence.read(bundle)
    if champion is None or champion.version in {*found.given, *found.incomparable, *found.silent}:
        return found
    connection = point_in_time.connect(data, settings.data)
    division = _of(bundle, connection, data)
    if division is None:
        problem = f"{bundle.version} was never compared with {champion.version}, and the tables are not those of then"
        raise LifecycleError(problem, "`make train` makes a version that is compared with what answers now.")
    try:
        given = answers_of(champion, connection, division)
    except Incomparable as error:
        return replace(found, incomparable=found.incomparable | {champion.version: error.problem})
    except LifecycleError as error:
        return replace(found, silent=found.silent | {champion.version: error.problem})
    own = answers_of(bundle, connection, division)
    fuller = evidence_of(division, {CANDIDATE: own, champion.version: given})
    return replace(found, given=found.given | fuller.given, slices=found.slices | fuller.slices)


def _of(bundle: Bundle, connection: "duckdb.DuckDBPyConnection", data: Data) -> Division | None:
    """The division that a bundle was trained on, made again; None where the tables do not give the same rows."""
    team = Team(bundle.facts["name"], bundle.contract, bundle.features_sql, data, None)
    moment, share = timestamps.parse(bundle.facts["as_of"]), bundle.facts["settings"]["holdout"]
    try:
        division = divide(connection, team, moment, share)
    except LifecycleError:
        return None
    return division if division.data == bundle.facts["data"] else None


def answers_of(version: Bundle, connection: "duckdb.DuckDBPyConnection", division: Division) -> Floats:
    """What another version answers to the held-out questions, completed its own way.

    Raises Incomparable where they cannot be compared, and LifecycleError where the version does not load or answer.
    """
    own, other = division.team.contract, version.contract
    if not evidence.comparable(own.target, other.target):
        raise Incomparable(f"{version.version} answers another question")
    held = division.held
    if (other.columns, version.features_sql) != (own.columns, division.team.features_sql):
        try:
            held = _again(version, connection, division)
        except LifecycleError as error:
            raise Incomparable(error.problem, error.hint) from error
    return Predictor(version).predict_raw(held.frame)


def _again(version: Bundle, connection: "duckdb.DuckDBPyConnection", division: Division) -> Rows:
    """The held-out questions completed by the contract and point_in_time.sql of another version."""
    team = replace(division.team, contract=version.contract, features_sql=version.features_sql)
    point_in_time.training_rows(connection, team, division.moment)
    frame = connection.execute(f"FROM {point_in_time.ROWS}").df()
    label = codes(frame.pop(version.contract.target.label), version.contract.target)
    asked = {column.name for each in (team, division.team) for column in each.contract.request} | TIMES
    same = [name for name in frame.columns if name in asked and name in division.rows.frame.columns]
    if not (frame[same].equals(division.rows.frame[same]) and np.array_equal(label, division.rows.label)):
        raise LifecycleError(f"{version.version} does not complete the same questions", "")
    return Rows(frame[division.sides.held], label[division.sides.held])
