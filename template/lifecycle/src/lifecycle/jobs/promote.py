"""Promote a version in an environment if the gate passes, or roll back to the version before."""

import json
import timeit
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lifecycle import registry, timestamps, training
from lifecycle.contract.compatibility import breaking_changes
from lifecycle.contract.schema import Contract
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError, NotHere, Refused, complete_commands
from lifecycle.jobs import materialize_for
from lifecycle.models.bundle import Bundle, BundleError, newest, open_version
from lifecycle.models.predictor import Predictor
from lifecycle.monitoring.quality import measure_skew
from lifecycle.ownership import approvals
from lifecycle.registry import Identity, deployments
from lifecycle.registry.deployments import Deployed, Deployment
from lifecycle.settings import Settings
from lifecycle.training import FAILED, NOT_COMPARED, OWNERS, PASSED, Check, Decision, Record, evidence, gate

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
    on_decision: Callable[[Path], object] = lambda path: None,
    override: str = "",
) -> Deployment:
    """Deploy a version in an environment if the gate and, before production, the owners agree.

    By default, `version` is the newest, `threshold` that of the environment, and `reason`, why the version was trained,
    that of its bundle. `who` and `why` (by default the gate's summary) go to the audit log. `on_decision` is called
    with the path of the decision's page. `override` is the reason to deploy a version although checks did not pass; it
    replaces no approval. Raises Refused where a check did not pass or an approval is missing, and LifecycleError where
    the version cannot be loaded or the threshold is not valid; nothing has changed.
    """
    store, override = settings.store, override.strip()
    bundle = open_version(store, version or newest(store))
    seen = deployments.read(store, environment)
    wanted = Deployed(bundle.version, _threshold(bundle, threshold, seen))
    if seen and seen.current == wanted:
        return seen
    reason = reason or bundle.facts.get("reason", "manual")
    case, checks = _examine(settings, data, bundle, seen, wanted, reason, root)
    approved: list[dict[str, Any]] = []
    if environment == approvals.PRODUCTION:
        waiting, approved = approvals.faults(root, store, seen, wanted, bundle.facts["threshold"], who)
        checks += tuple(Check(OWNERS, FAILED, each) for each in waiting)
    decision = Decision(tuple(replace(each, hint=complete_commands(each.hint, environment, reason)) for each in checks))
    thresholds = ({"deployed": seen.current.threshold} if seen else {}) | {"requested": wanted.threshold}
    champion = case.champion.version if case.champion else None
    about = (environment, bundle.version, champion, case.reason, timestamps.now(), who.name, why)
    found = gate.calibration(case, thresholds), bundle.facts.get("slices", {})
    record = Record(*about, decision, override, *found)
    page = training.write_record(store, record)
    on_decision(page)
    if blocking := record.blocking:
        faults = "\n  ".join(each.fault for each in blocking)
        problem = f"{bundle.version} is not promoted in {environment}:\n  {faults}"
        command = f"make promote VERSION={bundle.version}" + ("" if threshold is None else f" THRESHOLD={threshold:g}")
        hint = f'`{command} OVERRIDE="reason"` deploys it in spite of these checks, and the reason is recorded.'
        if any(check.name == OWNERS for check in blocking):
            hint = f"When this is done, run `{command}` again; no OVERRIDE replaces it."
        hint = complete_commands(f"The deployment is unchanged. {hint}", environment, reason)
        raise Refused(problem, f"{hint} All checks: {page}")
    materialize_for(settings, data, bundle)
    numbers = decision.numbers | {"reason": case.reason, "decision": page.relative_to(store.root).as_posix()}
    if record.overridden:
        numbers["override"] = {"reason": override, "checks": record.overridden, "verdict": decision.outcome}
    why = why or "; ".join(each.text for each in checks if each.passed and each.name in SUMMARY)
    numbers |= {"source": who.source, "approvals": approved, "code": registry.code(root)}
    owners = approvals.roles(root)
    return deployments.swap(store, environment, seen, wanted, "promote", who.name, why, owners, numbers)


def rollback(settings: Settings, data: Data, environment: str, who: Identity, why: str, root: Path) -> Deployment:
    """Deploy the previous version with its threshold, without a gate; LifecycleError where none can be loaded."""
    store = settings.store
    seen = deployments.required(store, environment)
    if seen.previous is None:
        problem = f"there is no version to roll back to from {seen.current.version} in {environment}"
        raise LifecycleError(problem, "It is the first, or the result of a rollback. Use `make promote VERSION=…`.")
    bundle = open_version(store, seen.previous.version)
    Predictor(bundle)
    materialize_for(settings, data, bundle)
    owners, evidence = approvals.roles(root), {"source": who.source}
    return deployments.swap(store, environment, seen, seen.previous, "rollback", who.name, why, owners, evidence)


def logged_skew(settings: Settings, data: Data, environment: str, champion: Bundle) -> Mapping[str, Any] | None:
    """Return the fields of `monitoring.quality.Skew` of the deployed version.

    `{"problem": …}` stands for a comparison that fails, and None for one that is not possible (no log, no tables).
    """
    if not settings.log.enabled:
        return None
    try:
        measured = measure_skew(settings, data, environment, champion, timestamps.now())
    except NotHere:
        return None
    except LifecycleError as error:
        return {"problem": error.problem}
    return asdict(measured) if measured else None


def milliseconds(predictor: Predictor) -> float:
    """Return the shortest time to predict one row, in milliseconds, without the network."""
    row = json.loads(predictor.bundle.read("golden.jsonl").splitlines()[0])["row"]
    # The minimum excludes the first run, which warms up, and most of the load that other processes cause.
    return min(timeit.repeat(lambda: predictor.predict([row], None), number=1, repeat=LATENCY_REPEATS)) * 1000


def _examine(
    settings: Settings,
    data: Data,
    bundle: Bundle,
    seen: Deployment | None,
    new: Deployed,
    reason: str,
    root: Path,
) -> tuple[gate.Case, tuple[Check, ...]]:
    """Return the case for the gate, and its checks; where no comparison is needed or possible, one check alone."""
    predictor, champion, unreadable = Predictor(bundle), None, ""
    is_deployed = seen is not None and seen.current.version == bundle.version
    if seen and not is_deployed:
        try:
            champion = open_version(settings.store, seen.current.version)
        except BundleError as error:
            unreadable = error.problem
    found, faults = evidence.NOTHING, tuple[Check, ...]()
    try:
        found = evidence.read(bundle)
        if champion and champion.version not in {*found.predictions, *found.incomparable, *found.failed}:
            problem = f"{bundle.version} was trained before {champion.version} was deployed and never compared with it"
            raise LifecycleError(problem, "Run `make train`: the new version is compared with the deployed one.")
    except LifecycleError as error:
        faults = (Check("evidence", NOT_COMPARED, error.problem, hint=error.hint),)
    configured = settings.gate.false_positive_cost, settings.gate.false_negative_cost
    stated = registry.slice_limit(root), registry.error_costs(root, bundle.contract.target.classes, configured)
    case = gate.Case(bundle, found, champion, reason, None, settings.monitor.max_skew, None, unreadable, *stated)
    if seen and is_deployed:
        # A version that is already deployed passed the gate before; another threshold needs no new evaluation.
        text = f"{bundle.version} is deployed; its threshold was {seen.current.threshold} and becomes {new.threshold}"
        return case, (Check("threshold", PASSED, text),)
    # Logged features of another feature table than the candidate's say nothing about the candidate.
    if seen and champion and champion.feature_set == bundle.feature_set:
        case = replace(case, skew=logged_skew(settings, data, seen.environment, champion))
    case = replace(case, milliseconds=milliseconds(predictor))
    callers = _callers(champion.contract, bundle.contract) if champion else ()
    return case, (*faults, *gate.decide(case, settings.gate).checks, *callers)


def _callers(old: Contract, new: Contract) -> Iterator[Check]:
    """Check that callers of the deployed contract can call the candidate."""
    breaks = breaking_changes(old, new)
    if new.version != old.version:
        breaks.append(f"their client refuses responses of version {new.version}")
    if breaks:
        text = f"it breaks callers of contract version {old.version} (x-contract-version): {'; '.join(breaks)}"
        hint = "Undo the change in src/model/contract.py and run `make train promote`, or agree on a date with these "
        hint += 'callers, give them the new client (`make client`), and run `make promote OVERRIDE="reason"`.'
        yield Check("callers", FAILED, text, hint=hint)


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
