"""Decide whether a version may answer in an environment, and make it answer there; or go back to the one before."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lifecycle.contract.compatibility import unannounced
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError, Refused
from lifecycle.jobs.materialize import prepare
from lifecycle.models.bundle import Bundle, BundleError, newest, open_version
from lifecycle.models.predictor import Predictor
from lifecycle.ownership import approvals, repository
from lifecycle.registry import deployments, provenance
from lifecycle.registry.deployments import Deployment, Live
from lifecycle.registry.provenance import Identity
from lifecycle.settings import Settings
from lifecycle.training import decision as decisions
from lifecycle.training import evidence, gate
from lifecycle.training.comparison import with_champion
from lifecycle.training.decision import Record
from lifecycle.training.evidence import Evidence
from lifecycle.training.gate import Case, Check, Decision

TIMED = 20


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
    tell: Callable[[Path], object] = lambda path: None,
) -> Deployment:
    """Make a version (the newest when None) answer in an environment.

    `reason` is why it was trained (the bundle's own when None), `skew` what monitoring found of what answers now, or
    its `problem`; `tell` is called with the page of the decision. Raises Refused with the reasons when the gate says
    no, or, before production, when an owner at `root` has not approved; then nothing has changed.
    """
    store = settings.store
    bundle = open_version(store, version or newest(store))
    seen = deployments.read(store, environment)
    live = Live(bundle.version, _threshold(bundle, threshold, seen))
    if seen and seen.live == live:
        return seen
    case, found = _examined(settings, data, bundle, seen, live, reason, skew)
    approved: list[dict[str, Any]] = []
    if environment == approvals.ASKING:
        waiting, approved = approvals.faults(root, store, seen, live, bundle.facts["threshold"], who)
        found = Decision((*found.checks, *(Check("owners", False, each) for each in waiting)))
    champion = case.champion.version if case.champion else None
    proposal = gate.proposal(case, settings.gate)
    record = Record(environment, bundle.version, champion, case.reason, settings.now(), who.name, why, found, proposal)
    path = decisions.write(store, record)
    tell(path)
    if found.faults:
        raise Refused(
            f"{bundle.version} may not answer in {environment}:\n  " + "\n  ".join(found.faults),
            f"What answered before goes on answering. All that was found: {path}",
        )
    prepare(settings, data, bundle)
    numbers = found.numbers | {"reason": case.reason, "decision": path.relative_to(store.root).as_posix()}
    return deployments.swap(
        store,
        environment,
        seen,
        live,
        action="promote",
        who=who.name,
        why=why or "; ".join(each.text for each in found.checks if each.passed and each.name in _TOLD),
        owners=repository.roles(root),
        evidence=numbers | {"source": who.source, "approvals": approved, "code": provenance.code(root)},
        moment=settings.now() if settings.clock else None,
    )


# What the audit says of itself, where nobody gives a reason.
_TOLD = ("trivial", "linear", "champion", "threshold")


def _examined(
    settings: Settings,
    data: Data,
    bundle: Bundle,
    seen: Deployment | None,
    live: Live,
    reason: str | None,
    skew: Mapping[str, Any] | None,
) -> tuple[Case, Decision]:
    """What the gate is asked about, and what it says."""
    why, holds = reason or bundle.facts.get("reason", "manual"), seen.live.threshold if seen else live.threshold
    predictor = Predictor(bundle)
    if seen and seen.live.version == bundle.version:
        # It has passed: another threshold asks nothing more of a bundle, of whatever age it is.
        told = f"{live.version} answers already; its threshold was {seen.live.threshold} and becomes {live.threshold}"
        return Case(bundle, _readable(bundle), None, why, threshold=holds), Decision((Check("threshold", True, told),))
    try:
        champion = open_version(settings.store, seen.live.version) if seen else None
    except BundleError as error:
        told = f"what answers now cannot be read: {error.problem}. Restore that folder, or `make rollback`"
        return Case(bundle, _readable(bundle), None, why, threshold=holds), Decision((Check("champion", False, told),))
    if champion and champion.feature_set != bundle.feature_set:
        # What was logged was looked up in another table than the candidate's: it says nothing of the candidate.
        skew = None
    try:
        compared = with_champion(settings, data, bundle, champion)
    except LifecycleError as error:
        told = f"{error.problem}. {error.hint}"
        return Case(bundle, _readable(bundle), champion, why, threshold=holds), Decision((Check("rows", False, told),))
    speed = milliseconds(predictor)
    case = Case(bundle, compared, champion, why, skew, settings.monitor.max_skew, speed, holds)
    found = gate.decide(case, settings.gate)
    return case, Decision((*found.checks, *_breaks(champion, bundle))) if champion else found


def _readable(bundle: Bundle) -> Evidence:
    """The evidence of a bundle; empty for one that an earlier lifecycle wrote."""
    try:
        return evidence.read(bundle)
    except LifecycleError:
        return evidence.NOTHING


def milliseconds(predictor: Predictor) -> float:
    """The least time in which one row is answered, without the network: what else the machine does is no part of it."""
    row = json.loads(predictor.bundle.read("golden.jsonl").splitlines()[0])["row"]
    taken = []
    for _ in range(TIMED + 1):
        start = time.perf_counter()
        predictor.predict([row], None)
        taken.append(time.perf_counter() - start)
    # The first answer warms up.
    return min(taken[1:]) * 1000


def rollback(settings: Settings, data: Data, environment: str, who: Identity, why: str, root: Path) -> Deployment:
    """Make the version answer again that answered before, with its threshold; no gate and nobody stands in the way."""
    store = settings.store
    seen = deployments.required(store, environment)
    if seen.previous is None:
        problem = f"there is nothing to roll back to from {seen.live.version} in {environment}"
        raise LifecycleError(problem, "It is the first, or was rolled back to. Name another: `make promote VERSION=…`.")
    bundle = open_version(store, seen.previous.version)
    Predictor(bundle)
    prepare(settings, data, bundle)
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
        moment=settings.now() if settings.clock else None,
    )


def _threshold(bundle: Bundle, given: float | None, seen: Deployment | None) -> float | None:
    """The one given, else the one that holds in the environment (a new model does not change it), else the bundle's."""
    if given is None:
        default = bundle.facts["threshold"]
        return default if default is None or seen is None or seen.live.threshold is None else seen.live.threshold
    if bundle.contract.target.task != "binary":
        problem = f"{bundle.version} answers {bundle.contract.target.task}: it has no threshold"
        raise LifecycleError(problem, "Leave --threshold out.")
    if not 0 <= given <= 1:
        raise LifecycleError(f"the threshold {given} is not a probability", "Give a number from 0 to 1.")
    return given


def _breaks(live: Bundle, candidate: Bundle) -> list[Check]:
    found = unannounced(live.contract, candidate.contract)
    if not found:
        return []
    version = candidate.contract.version
    told = f"callers of {live.version} would break, and VERSION is still {version}: {'; '.join(found)}"
    return [Check("callers", False, told)]
