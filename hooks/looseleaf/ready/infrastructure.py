"""Section 3 of the ML Test Score: infrastructure."""

from lifecycle.timestamps import parse
from looseleaf.ready.evidence import Evidence
from looseleaf.ready.found import HALF, WHOLE, Found, Lost, drill, need, passed, tests


def reproducible(evidence: Evidence) -> Found:
    """A second training on the same data gave the same model, by the content of its files."""
    item = drill(evidence, "pipeline")
    differing = [name for name, same in item.document["equal"].items() if not same]
    if differing or not item.document["equal"]:
        raise Lost(f"trained again on the same rows, these files differ: {', '.join(differing) or 'all'}")
    return Found(WHOLE, f"trained again, {', '.join(item.document['equal'])} have the same content", (item,))


def unit_tested(evidence: Evidence) -> Found:
    """The tests of the repository passed on the code of the version."""
    item = tests(evidence)
    return Found(WHOLE, f"{list(item.document.values()).count('passed')} tests passed", (item,))


def integrated(evidence: Evidence) -> Found:
    """Training, promotion, rollback and predictions of one pipeline."""
    item, folder = drill(evidence, "pipeline"), evidence.settings.store.scores / evidence.environment
    is_scored = any(path.stat().st_mtime >= evidence.bundle.at for path in folder.glob("*/*.parquet"))
    if not (is_scored or evidence.report):
        return Found(HALF, "training, promotion and rollback ran; no prediction of this version was made", (item,))
    made = "scored" if is_scored else "served and monitored"
    return Found(WHOLE, f"training, promotion and rollback ran, and predictions were {made}", (item,))


def validated(evidence: Evidence) -> Found:
    """The gate's decision passed without an override, and the promotion names it."""
    decision = need(evidence.decision, "there is no decision of the gate about this version")
    if (verdict := decision.document["verdict"]) != "passed" or decision.document.get("overridden"):
        raise Lost(
            f"the gate's decision is `{verdict}`; overridden: {decision.document.get('overridden') or 'nothing'}"
        )
    count = len(decision.document["checks"])
    return Found(WHOLE, f"all {count} checks of the gate passed before the promotion", (decision,))


def debuggable(evidence: Evidence) -> Found:
    """The bundle has single rows with the outputs they must give, and the estimator to inspect."""
    files = evidence.facts["files"]
    if "golden.jsonl" not in files:
        raise Lost("the bundle has no single rows with their outputs (golden.jsonl)")
    estimator = next((name for name in files if name == "model.skops" or name.startswith("model/")), "")
    text = "golden.jsonl replays single rows"
    if not estimator:
        return Found(HALF, f"{text}; the fitted estimator is not in the bundle", (evidence.bundle,))
    return Found(WHOLE, f"{text}, and {estimator} has the fitted estimator", (evidence.bundle,))


def canary(evidence: Evidence) -> Found:
    """Loaded and measured before it is deployed; the whole point needs a deployment in staging before."""
    decision, _ = passed(evidence, "latency")
    made = [each for each in evidence.audit if each.get("live", {}).get("version") == evidence.version]
    times = {each["environment"]: parse(each["changed"]) for each in reversed(made)}
    if "staging" in times and evidence.environment in times and times["staging"] < times[evidence.environment]:
        return Found(WHOLE, "deployed in staging before", (decision,))
    text = "loaded, verified against its golden rows and measured before the promotion; not deployed in staging before"
    return Found(HALF, text, (decision,))


def rolled_back(evidence: Evidence) -> Found:
    """A rollback was exercised, and the audit log has it."""
    item = drill(evidence, "rollback")
    if not (item.document["restored"] and item.document["recorded"]):
        raise Lost("the rollback did not restore the version before, or the audit log does not have it")
    return Found(WHOLE, f"rolled back to {item.document['version']}, which the audit log records", (item,))
