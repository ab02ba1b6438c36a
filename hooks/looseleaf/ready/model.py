"""Section 2 of the ML Test Score: model development."""

from looseleaf.ready.evidence import Evidence
from looseleaf.ready.found import HALF, WHOLE, Found, Lost, drill, passed, quality_of


def reviewed(evidence: Evidence) -> Found:
    """The version was trained from a commit; the whole point needs a reviewer of src/ by OWNERS."""
    code = evidence.facts.get("code", {})
    if not code.get("commit") or code.get("edited"):
        raise Lost("the version was trained from files that are in no commit")
    reviewers = evidence.facts.get("owners", {}).get("data-science", [])
    text = f"trained from commit {code['commit'][:10]}; "
    text += f"changes are reviewed by {', '.join(reviewers)}" if reviewers else "OWNERS names no reviewer of src/"
    return Found(WHOLE if reviewers else HALF, text, (evidence.bundle,))


def offline_online(evidence: Evidence) -> Found:
    """The measure on served predictions agrees with that of the holdout."""
    report, quality, overall = quality_of(evidence)
    allowed = evidence.settings.monitor.quality_drop
    text = f"{quality['metric']} {overall['value']:.3f} on {overall['rows']:,} served predictions, "
    text += f"{quality['expected']:.3f} on the holdout"
    if not overall["lower"] - allowed <= quality["expected"] <= overall["upper"] + allowed:
        raise Lost(f"{text}: they differ by more than {allowed:g}")
    return Found(WHOLE, text, (report,))


def tuned(evidence: Evidence) -> Found:
    """No neighbouring value of the first hyperparameter is surely better."""
    item = drill(evidence, "tuning")
    better = [each["setting"] for each in item.document["tried"] if each["lower"] > 0]
    tried = ", ".join(f"{each['setting']} {each['mean']:+.4f}" for each in item.document["tried"])
    if better:
        raise Lost(f"a neighbouring setting is surely better: {', '.join(better)} ({tried})")
    return Found(WHOLE, f"score against the deployed settings: {tried}; none is surely better", (item,))


def staleness(evidence: Evidence) -> Found:
    """What a version of older data loses on the same rows."""
    item = drill(evidence, "staleness")
    text = "score {mean:+.4f} ({lower:+.4f} to {upper:+.4f}) for training on {days} newer days".format(**item.document)
    return Found(WHOLE, text, (item,))


def simpler(evidence: Evidence) -> Found:
    """The linear baseline is not better on held-out rows."""
    decision, check = passed(evidence, "linear")
    return Found(WHOLE, check["text"], (decision,))


def slices(evidence: Evidence) -> Found:
    """The measure of every declared slice, with its interval, and no slice surely worse than the champion's."""
    measured = evidence.facts.get("slices") or {}
    declared = [each.name for each in evidence.contract.inputs if each.slice]
    check = evidence.numbers("slices")
    if check and check["outcome"] != "passed":
        raise Lost(check["text"])
    if not declared:
        raise Lost("no column of the contract is marked slice=True")
    if not measured:
        raise Lost(f"no level of {', '.join(declared)} has {evidence.settings.gate.min_slice_rows} held-out rows")
    worst = min(measured, key=lambda name: measured[name]["value"])
    lowest = "{value:.3f} ({lower:.3f} to {upper:.3f})".format(**measured[worst])
    text = f"{len(measured)} slices of {', '.join(declared)}; lowest: {worst} {lowest}"
    return Found(WHOLE, text, (evidence.bundle,))


def inclusion(evidence: Evidence) -> Found:
    """The gate enforced the limit of the agreement on every declared slice."""
    decision, check = passed(evidence, "fairness")
    if not check["numbers"].get("tested"):
        raise Lost(check["text"])
    return Found(WHOLE, check["text"], (decision,))
