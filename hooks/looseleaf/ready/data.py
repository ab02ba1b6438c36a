"""Section 1 of the ML Test Score: features and data."""

from lifecycle import registry
from lifecycle.timestamps import DAY, parse
from looseleaf.ready.evidence import Evidence
from looseleaf.ready.found import HALF, WHOLE, Found, Lost, drill, passed, tests

QUICK_DAYS = 30
PRIVACY = "whose data must never be in them"


def schema(evidence: Evidence) -> Found:
    """Every input has limits or usual values in contract.json, which is committed and that of the version."""
    if not evidence.is_committed:
        raise Lost("contract.json is in no commit, or has changes that are not committed")
    inputs = evidence.contract.inputs
    open_ones = [
        each.name
        for each in inputs
        if each.kind != "boolean" and not (each.expected or each.levels) and each.low is each.high is None
    ]
    text = f"{len(inputs)} inputs; without limits or usual values: {', '.join(open_ones) or 'none'}"
    return Found(HALF if open_ones else WHOLE, text, (evidence.bundle,))


def beneficial(evidence: Evidence) -> Found:
    """The loss rises when an input has the values of other rows."""
    if not (benefits := evidence.facts.get("benefits")):
        raise Lost("training did not record what each input contributes")
    useless = [name for name, each in benefits.items() if each["mean"] <= 0]
    harmful = [name for name in useless if benefits[name]["mean"] + 2 * benefits[name]["se"] < 0]
    if harmful:
        raise Lost(f"the model is surely better without {', '.join(harmful)}")
    text = f"{len(benefits)} inputs; permuting any of them raises the loss, except: {', '.join(useless) or 'none'}"
    return Found(HALF if useless else WHOLE, text, (evidence.bundle,))


def cost(evidence: Evidence) -> Found:
    """Latency and size with all features are within the limits of the gate."""
    decision, latency = passed(evidence, "latency")
    return Found(WHOLE, f"{latency['text']}; {passed(evidence, 'size')[1]['text']}", (decision,))


def requirements(evidence: Evidence) -> Found:
    """The inputs are those of the contract, and none alone gives most of the model's improvement."""
    if fault := evidence.facts.get("dominant", "training did not measure whether one column reveals the label"):
        raise Lost(fault)
    text = "only declared columns reach the model, and none alone gives most of its improvement (target leakage)"
    return Found(WHOLE, text, (evidence.bundle,))


def privacy(evidence: Evidence) -> Found:
    """Erasure was exercised on logged predictions, and the agreement says whose data must not be in them."""
    item = drill(evidence, "erasure")
    if item.document["left"] or item.document["others"] or not item.document["erased"]:
        raise Lost("erasure left {left} rows of a key in the log and removed {others} others".format(**item.document))
    text = f"erasure removed {item.document['erased']} rows of a key and no other"
    stated = any(PRIVACY in row for _, row in registry.agreed_rows(evidence.root))
    if not stated or any(PRIVACY in each or "agreement.md is" in each for each in evidence.open_questions):
        return Found(HALF, f"{text}; docs/agreement.md does not say how long and whose data are kept", (item,))
    return Found(WHOLE, f"{text}; docs/agreement.md says how long and whose data are kept", (item,))


def quick(evidence: Evidence) -> Found:
    """The version was promoted at most QUICK_DAYS after contract.json last changed in git."""
    if evidence.contract_changed is None:
        raise Lost("contract.json is in no commit, so the time to a promotion is not known")
    made = [each for each in evidence.audit if each.get("environment") == evidence.environment and "live" in each]
    own = [parse(each["changed"]) for each in made if each["live"]["version"] == evidence.version]
    if not own:
        raise Lost("the audit log has no promotion of this version")
    days = max(0, min(own) - evidence.contract_changed) / DAY
    text = f"{days:.1f} days from the commit of contract.json to the promotion, of at most {QUICK_DAYS}"
    if days > QUICK_DAYS:
        raise Lost(text)
    return Found(WHOLE, text, (evidence.bundle,))


def tested(evidence: Evidence) -> Found:
    """The tests of features and tables passed."""
    item = tests(evidence, "test_features", "test_data")
    return Found(WHOLE, "the tests of features and tables passed", (item,))
