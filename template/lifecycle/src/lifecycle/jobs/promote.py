"""Promote a version in an environment if the gate passes, or roll back to the version before."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from lifecycle.contract.compatibility import undeclared_changes
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError, NotHere, Refused
from lifecycle.jobs.materialize import materialize_for
from lifecycle.models.bundle import Bundle, BundleError, newest, open_version
from lifecycle.models.predictor import Predictor
from lifecycle.monitoring.skew import measure_skew
from lifecycle.ownership import approvals, repository
from lifecycle.registry import deployments, provenance
from lifecycle.registry.deployments import Deployed, Deployment
from lifecycle.registry.provenance import Identity
from lifecycle.settings import Settings
from lifecycle.training import decision as decisions
from lifecycle.training import evidence, gate
from lifecycle.training.decision import Check, Decision, Record
from lifecycle.training.evidence import with_champion
from lifecycle.training.gate import Case

LATENCY_REPEATS = 20
# The checks whose texts become the reason in the audit log where the caller gives none.
SUMMARY = ("trivial", "linear", "champion", "threshold")


def promote(
    settings: Settings,
    data: Data,
    environment: str,
    version: str | None,
    threshold: float | None,
    who: Identity,
    why: str,
    root: Path,
    reason: str | None = None,
    skew: Mapping[str, Any] | None = None,
    on_decision: Callable[[Path], object] = lambda path: None,
) -> Deployment:
    """Deploy a version in an environment if the gate and, before production, the owners agree.

    Args:
        settings: of the environment.
        data: the team's tables, for the comparison with the champion and the feature table.
        environment: where to deploy.
        version: None means the newest.
        threshold: from 0 to 1; None keeps that of the environment.
        who: who decides, for the audit log.
        why: for the audit log; empty means the gate's summary.
        root: root of the repository.
        reason: why the version was trained; None means the reason in its bundle.
        skew: result of `logged_skew`.
        on_decision: called with the path of the decision's page.

    Raises:
        Refused: a check failed or an approval is missing; nothing has changed.
        LifecycleError: the version cannot be loaded, or the threshold is not valid.
    """
    store = settings.store
    bundle = open_version(store, version or newest(store))
    seen = deployments.read(store, environment)
    wanted = Deployed(bundle.version, _threshold(bundle, threshold, seen))
    if seen and seen.current == wanted:
        return seen
    case, decision = _examine(settings, data, bundle, seen, wanted, reason, skew)
    approved: list[dict[str, Any]] = []
    if environment == approvals.PRODUCTION:
        waiting, approved = approvals.faults(root, store, seen, wanted, bundle.facts["threshold"], who)
        decision = Decision((*decision.checks, *(Check("owners", False, each) for each in waiting)))
    champion = case.champion.version if case.champion else None
    proposal = gate.proposal(case, settings.gate)
    now = timestamps.now()
    page = decisions.write(
        store, Record(environment, bundle.version, champion, case.reason, now, who.name, why, decision, proposal)
    )
    on_decision(page)
    if decision.faults:
        raise Refused(
            f"{bundle.version} is not promoted in {environment}:\n  " + "\n  ".join(decision.faults),
            f"The deployment is unchanged. All checks: {page}",
        )
    materialize_for(settings, data, bundle)
    numbers = decision.numbers | {"reason": case.reason, "decision": page.relative_to(store.root).as_posix()}
    return deployments.swap(
        store,
        environment,
        seen,
        wanted,
        action="promote",
        who=who.name,
        why=why or "; ".join(each.text for each in decision.checks if each.passed and each.name in SUMMARY),
        owners=repository.roles(root),
        evidence=numbers | {"source": who.source, "approvals": approved, "code": provenance.code(root)},
    )


def rollback(settings: Settings, data: Data, environment: str, who: Identity, why: str, root: Path) -> Deployment:
    """Deploy the previous version with its threshold, without a gate.

    Raises:
        LifecycleError: there is no previous version, or it cannot be loaded.
    """
    store = settings.store
    seen = deployments.required(store, environment)
    if seen.previous is None:
        problem = f"there is no version to roll back to from {seen.current.version} in {environment}"
        raise LifecycleError(problem, "It is the first, or the result of a rollback. Use `make promote VERSION=…`.")
    bundle = open_version(store, seen.previous.version)
    Predictor(bundle)
    materialize_for(settings, data, bundle)
    return deployments.swap(
        store,
        environment,
        seen,
        seen.previous,
        action="rollback",
        who=who.name,
        why=why,
        owners=repository.roles(root),
        evidence={"source": who.source},
    )


def logged_skew(settings: Settings, data: Data, environment: str) -> Mapping[str, Any] | None:
    """Compare logged features of the deployed version with features computed again from the tables.

    Returns:
        The fields of `monitoring.skew.Skew`; `{"problem": …}` where the comparison fails; None where nothing can be
        compared (nothing deployed, no log, no tables).
    """
    deployment = deployments.read(settings.store, environment)
    if deployment is None or not settings.log.enabled:
        return None
    try:
        bundle = open_version(settings.store, deployment.current.version)
        measured = measure_skew(settings, data, environment, bundle, timestamps.now())
    except NotHere:
        return None
    except LifecycleError as error:
        return {"problem": error.problem}
    return asdict(measured) if measured else None


def milliseconds(predictor: Predictor) -> float:
    """Return the shortest time to predict one row, in milliseconds, without the network.

    The minimum of several runs excludes most of the load that other processes cause.
    """
    row = json.loads(predictor.bundle.read("golden.jsonl").splitlines()[0])["row"]
    taken = []
    for _ in range(LATENCY_REPEATS + 1):
        start = time.perf_counter()
        predictor.predict([row], None)
        taken.append(time.perf_counter() - start)
    # The first run warms up.
    return min(taken[1:]) * 1000


def _examine(
    settings: Settings,
    data: Data,
    bundle: Bundle,
    seen: Deployment | None,
    wanted: Deployed,
    reason: str | None,
    skew: Mapping[str, Any] | None,
) -> tuple[Case, Decision]:
    """Return the case for the gate and its decision."""
    why = reason or bundle.facts.get("reason", "manual")
    threshold = seen.current.threshold if seen else wanted.threshold

    def decided(check: Check, champion: Bundle | None = None) -> tuple[Case, Decision]:
        """Decide by one check alone, without a comparison."""
        try:
            own = evidence.read(bundle)
        except LifecycleError:
            # Bundles of 0.1.0 hold no evidence.
            own = evidence.NOTHING
        return Case(bundle, own, champion, why, threshold=threshold), Decision((check,))

    predictor = Predictor(bundle)
    if seen and seen.current.version == bundle.version:
        # A version that is already deployed passed the gate before; another threshold needs no new evaluation.
        text = f"{bundle.version} is deployed; its threshold was {threshold} and becomes {wanted.threshold}"
        return decided(Check("threshold", True, text))
    try:
        champion = open_version(settings.store, seen.current.version) if seen else None
    except BundleError as error:
        text = f"the deployed version cannot be read: {error.problem}. Restore that folder, or run `make rollback`"
        return decided(Check("champion", False, text))
    if champion and champion.feature_set != bundle.feature_set:
        # The logged features came from another feature table than the candidate's.
        skew = None
    try:
        compared = with_champion(settings, data, bundle, champion)
    except LifecycleError as error:
        return decided(Check("rows", False, f"{error.problem}. {error.hint}"), champion)
    speed = milliseconds(predictor)
    case = Case(bundle, compared, champion, why, skew, settings.monitor.max_skew, speed, threshold)
    return case, Decision((*gate.decide(case, settings.gate).checks, *_contract_check(champion, bundle)))


def _threshold(bundle: Bundle, given: float | None, seen: Deployment | None) -> float | None:
    """Return the given threshold, else that of the environment, else the bundle's default."""
    if given is None:
        default: float | None = bundle.facts["threshold"]
        return default if default is None or seen is None or seen.current.threshold is None else seen.current.threshold
    if bundle.contract.target.task != "binary":
        problem = f"{bundle.version} is a {bundle.contract.target.task} model and has no threshold"
        raise LifecycleError(problem, "Omit --threshold.")
    if not 0 <= given <= 1:
        raise LifecycleError(f"the threshold {given} is not a probability", "Give a number from 0 to 1.")
    return given


def _contract_check(champion: Bundle | None, candidate: Bundle) -> list[Check]:
    breaks = undeclared_changes(champion.contract, candidate.contract) if champion else []
    if champion is None or not breaks:
        return []
    version = candidate.contract.version
    text = f"it would break callers of {champion.version}, and VERSION is still {version}: {'; '.join(breaks)}"
    return [Check("callers", False, text)]
