"""Decide whether a version may answer in an environment, and make it answer there; or go back to the one before."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lifecycle import deployments, evaluation, provenance
from lifecycle.bundle import Bundle, newest, open_version
from lifecycle.compatibility import unannounced
from lifecycle.deployments import Deployment, Live
from lifecycle.errors import LifecycleError, Refused
from lifecycle.owners import approvals, repository
from lifecycle.pipelines.materialise import prepare
from lifecycle.predictor import Predictor
from lifecycle.provenance import Identity
from lifecycle.settings import Gate, Settings
from lifecycle.team import Data


@dataclass(frozen=True)
class Decision:
    """What the gate found, in words; `faults` is empty when the version may answer."""

    faults: tuple[str, ...]
    findings: tuple[str, ...]
    evidence: dict[str, Any]


def promote(
    settings: Settings,
    data: Data,
    environment: str,
    version: str | None,
    threshold: float | None,
    who: Identity,
    why: str,
    root: Path,
) -> Deployment:
    """Make a version (the newest when None) answer in an environment.

    Raises Refused with the reasons when the gate says no, or, before production, when an owner at `root` has not
    approved; then nothing has changed.
    """
    store = settings.store
    bundle = open_version(store, version or newest(store))
    seen = deployments.read(store, environment)
    live = Live(bundle.version, _threshold(bundle, threshold, seen))
    if seen and seen.live == live:
        return seen
    Predictor(bundle)
    decision = decide(bundle, settings.gate)
    faults = list(decision.faults)
    if seen and seen.live.version != bundle.version:
        faults += _breaks(open_version(store, seen.live.version), bundle)
    approved: list[dict[str, Any]] = []
    if environment == approvals.ASKING:
        waiting, approved = approvals.faults(root, store, seen, live, bundle.facts["threshold"], who)
        faults += waiting
    if faults:
        raise Refused(
            f"{bundle.version} may not answer in {environment}:\n  " + "\n  ".join(faults),
            "What answered before goes on answering.",
        )
    prepare(settings, data, bundle)
    return deployments.swap(
        store,
        environment,
        seen,
        live,
        action="promote",
        who=who.name,
        why=why or "; ".join(decision.findings),
        owners=repository.roles(root),
        evidence=decision.evidence | {"source": who.source, "approvals": approved, "code": provenance.code(root)},
    )


def decide(bundle: Bundle, gate: Gate) -> Decision:
    """The gate: enough held-out rows, better than the trivial baseline, not worse than the linear one."""
    evidence = json.loads(bundle.read("evidence.json"))
    lost = {name: np.array(values) for name, values in evidence.items() if name != "loss"}
    rows = len(lost["candidate"])
    if rows < gate.min_rows:
        fault = f"{rows} held-out rows decide nothing (gate.min_rows is {gate.min_rows})"
        return Decision((fault,), (), {"rows": rows})
    faults, findings, numbers = [], [], {}
    for name in ("trivial", "linear"):
        found = evaluation.improvement(lost[name], lost["candidate"], gate.confidence, gate.resamples)
        numbers[name] = asdict(found)
        measured = (
            f"mean {evidence['loss']} {lost['candidate'].mean():.4f} against {lost[name].mean():.4f} of the {name} "
            f"baseline on {rows} held-out rows ({gate.confidence:.0%} bounds of the improvement: "
            f"{found.lower:+.4f} and {found.upper:+.4f})"
        )
        if name == "trivial" and found.lower <= 0:
            faults.append(f"it is not surely better than answering without looking: {measured}")
        elif name == "linear" and found.upper < 0:
            faults.append(f"a linear model is better: {measured}")
        else:
            findings.append(measured)
    return Decision(tuple(faults), tuple(findings), {"rows": rows, "improvement": numbers})


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
    )


def _threshold(bundle: Bundle, given: float | None, seen: Deployment | None) -> float | None:
    """The one given, else the one that holds in the environment (a new model does not change it), else the bundle's."""
    if given is None:
        default = bundle.facts["threshold"]
        return default if default is None or seen is None or seen.live.threshold is None else seen.live.threshold
    if bundle.contract.answer.task != "two classes":
        problem = f"{bundle.version} answers {bundle.contract.answer.task}: it has no threshold"
        raise LifecycleError(problem, "Leave --threshold out.")
    if not 0 <= given <= 1:
        raise LifecycleError(f"the threshold {given} is not a probability", "Give a number from 0 to 1.")
    return given


def _breaks(live: Bundle, candidate: Bundle) -> list[str]:
    found = unannounced(live.contract, candidate.contract)
    if not found:
        return []
    version = candidate.contract.version
    return [f"callers of {live.version} would break, and VERSION is still {version}: {'; '.join(found)}"]
