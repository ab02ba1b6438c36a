"""Section 4 of the ML Test Score: monitoring."""

import math

from looseleaf.ready.evidence import Evidence
from looseleaf.ready.found import WHOLE, Found, Lost, drill, need, quality_of, report_of

INCIDENT = "incident"
# A prediction may take this many times as long as that of the version before, and this much longer in milliseconds.
SLOWER, MILLISECONDS = 2.0, 1.0


def _fired(evidence: Evidence, fault: str) -> Found:
    """Return that monitoring reported a fault that was planted in a copy of the log, and nothing in the clean copy."""
    item = drill(evidence, "monitoring")
    if fault not in item.document:
        raise Lost(f"the fault `{fault}` was not planted")
    if item.document["clean"]["verdict"] == INCIDENT:
        raise Lost(f"the log without a planted fault is an incident: {item.document['clean']['text']}")
    if item.document[fault]["verdict"] != INCIDENT:
        raise Lost(f"monitoring did not report the planted fault `{fault}`: {item.document[fault]['verdict']}")
    return Found(
        WHOLE, f"a planted fault was reported: {item.document[fault]['text']}; the clean log is quiet", (item,)
    )


def dependencies(evidence: Evidence) -> Found:
    """A column that upstream stopped filling is an incident, which alerts and blocks training."""
    return _fired(evidence, "nulls")


def invariants(evidence: Evidence) -> Found:
    """A value that violates the contract is an incident, and the served inputs have none."""
    found, report = _fired(evidence, "invalid"), report_of(evidence)
    columns = report.document["windows"][-1]["columns"]
    if broken := [name for name, each in columns.items() if each.get("broken")]:
        raise Lost(f"the newest report has broken columns: {', '.join(broken)}")
    return Found(WHOLE, found.text, (*found.items, report))


def skew(evidence: Evidence) -> Found:
    """A planted difference between served and recomputed features is an incident, and there is none of its own."""
    if not evidence.contract.lookups:
        text = "every feature is sent by the caller: none is computed in two ways; golden rows verify the encoding"
        return Found(WHOLE, text, (evidence.bundle,))
    found, report = _fired(evidence, "skew"), report_of(evidence)
    measured = report.document.get("skew") or {"rows": 0, "different": 0}
    if measured.get("problem") or not measured["rows"]:
        raise Lost(f"served features were not recomputed: {measured.get('problem', 'no logged row has features')}")
    share, most = measured["different"] / measured["rows"], evidence.settings.monitor.max_skew
    if share > most:
        raise Lost(f"{share:.1%} of the served features differ when they are recomputed, more than {most:.1%}")
    return Found(WHOLE, f"{share:.1%} of {measured['rows']:,} served rows differ; {found.text}", (*found.items, report))


def fresh(evidence: Evidence) -> Found:
    """Monitoring does not report the training data as stale."""
    report = report_of(evidence)
    if stale := [each["text"] for each in report.document["reasons"] if each["kind"] == "stale"]:
        raise Lost(stale[0])
    text = f"the newest data are at most {evidence.settings.monitor.stale_days} days later than the training data"
    return Found(WHOLE, text, (report,))


def stable(evidence: Evidence) -> Found:
    """All predictions of all models on held-out rows are finite."""
    item = need(evidence.held_out, "the bundle has no predictions of held-out rows (evidence.json)")
    count = 0
    for name, outputs in item.document["predictions"].items():
        flat = [value for row in outputs for value in (row if isinstance(row, list) else [row])]
        if bad := sum(value is None or not math.isfinite(value) for value in flat):
            raise Lost(f"{bad} predictions of {name} are not finite")
        count += len(flat)
    return Found(WHOLE, f"{count:,} predictions on held-out rows are finite", (item,))


def performance(evidence: Evidence) -> Found:
    """One prediction does not take much longer than one of the version before, measured in one run."""
    item = drill(evidence, "performance")
    before, after = item.document["before"], item.document["after"]
    text = f"one prediction takes {after:.2f} ms, {before:.2f} ms with the version before"
    if after > SLOWER * before + MILLISECONDS:
        raise Lost(text)
    return Found(WHOLE, text, (item,))


def quality(evidence: Evidence) -> Found:
    """The interval of the measure on served and labelled predictions does not lie below its bound."""
    report, measured, overall = quality_of(evidence)
    text = f"{measured['metric']} {overall['lower']:.3f} to {overall['upper']:.3f}, bound {measured['bound']:.3f}"
    if overall["upper"] < measured["bound"]:
        raise Lost(text)
    return Found(WHOLE, text, (report,))
