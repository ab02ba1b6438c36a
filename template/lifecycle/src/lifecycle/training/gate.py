"""Decide whether a candidate may replace the champion: each check returns its numbers and a one-sentence explanation.

All models are compared on the same held-out rows. Every bound is one-sided, at the level `gate.confidence`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from lifecycle.models import metrics
from lifecycle.models.bundle import Bundle
from lifecycle.settings import Gate
from lifecycle.training import ANYWAY, HINTS, NOT_COMPARED, PASSED, Check, Decision, checked, evidence
from lifecycle.training.comparison import Improvement, fairness, improvement, measure_improvement
from lifecycle.training.evidence import CANDIDATE, FITS, LINEAR, REFIT, TRIVIAL, UNKNOWN, Evidence

# After these, the champion is out of date: the candidate only has to be not worse.
NOT_WORSE = ("drift", "decay", "stale")
# Which rows, and which fit of the champion, are compared.
BASIS = {
    "": " that it has not seen",
    FITS: " that both hold out, by the fits that evaluated them",
    UNKNOWN: ", some of which it may have been fitted to",
}
# Share of the cases in which an existing difference is detected (Cohen 1988).
POWER = 0.8


@dataclass(frozen=True)
class Case:
    """A candidate (`bundle`), the deployed `champion`, and what else the gate needs to decide.

    `unreadable` is why the deployed bundle cannot be read; there is no `champion` then. `skew` has `rows`, `different`
    and `columns` of the logged rows that were recomputed, or `problem`, why they could not be; None where none has the
    candidate's features. `max_skew` is the share that may differ, `milliseconds` the time to predict one row, and
    `slice_limit` and `costs` (what `registry.error_costs` returns) what the agreement states.
    """

    bundle: Bundle
    evidence: Evidence
    champion: Bundle | None = None
    reason: str = "manual"
    skew: Mapping[str, Any] | None = None
    max_skew: float = 0.0
    milliseconds: float | None = None
    unreadable: str = ""
    slice_limit: float | None = None
    costs: tuple[float, float, str] = (1.0, 1.0, "")


def decide(case: Case, gate: Gate) -> Decision:
    """Run every check whose numbers are valid: those on rows that the evaluated fit has seen are not."""
    checks = [*_unseen(case)]
    if all(check.passed for check in checks):
        enough, gain = _rows(case, gate)
        checks.insert(0, enough)
        if gain:
            checks += (*_refit(case, gate), *_baselines(case, gate), *_champion(case, gate, gain))
            checks += fairness(case.bundle.facts, case.bundle.contract.target, case.slice_limit)
    return Decision((*checks, *_skew(case), *_costs(case, gate)))


def calibration(case: Case, thresholds: Mapping[str, float | None]) -> dict[str, Any] | None:
    """Return what `metrics.calibration` returns for the candidate; None where there is no valid evidence."""
    if CANDIDATE not in case.evidence.predictions or not all(check.passed for check in _unseen(case)):
        return None
    target, predictions = case.bundle.contract.target, case.evidence.predictions[CANDIDATE]
    return metrics.calibration(target, case.evidence.label, predictions, thresholds, case.costs)


def _rows(case: Case, gate: Gate) -> tuple[Check, Improvement | None]:
    """Check that the held-out rows can decide, and return the improvement of the measure against the champion."""
    rows, target = len(case.evidence.label), case.bundle.contract.target
    # Older repositories test for "decide nothing" and "gate.min_rows".
    if rows < gate.min_rows:
        few = f"only {rows} rows are held out, and fewer than {gate.min_rows} decide nothing (gate.min_rows)"
        return Check("rows", NOT_COMPARED, few, hint=HINTS["rows"]), None
    if len(np.unique(case.evidence.label)) < 2:
        text = f"all {rows} held-out rows have the same label, so they decide nothing"
        hint = "Add rows with other labels, then run `make train promote`."
        return Check("rows", NOT_COMPARED, text, hint=hint), None
    opponent = case.champion.version if case.champion else TRIVIAL
    # Few rows in common have no standard error: then it is that against the trivial baseline.
    known = case.evidence.pair(opponent)[0] if opponent in case.evidence.predictions else np.empty(0)
    common = len(known) >= gate.min_rows and len(np.unique(known)) > 1
    label, own, other = case.evidence.pair(opponent if common else TRIVIAL)
    gain = measure_improvement(target, label, other, own, gate.confidence, gate.resamples)
    # Smallest difference that a one-sided test of this level detects with this power (Cohen 1988, §2.4).
    smallest = (NormalDist().inv_cdf(gate.confidence) + NormalDist().inv_cdf(POWER)) * gain.error
    measure, _ = metrics.measure_names(target)
    text = f"{rows:,} held-out rows: a difference of {smallest:.4f} {measure} would be detected in {POWER:.0%} of cases"
    return checked("rows", True, text, {"rows": rows, "smallest_difference": smallest}), gain


def _unseen(case: Case) -> Iterator[Check]:
    """Check that the evaluated fit was not fitted to a held-out row, nor chosen with it."""
    used, held_out = (evidence.hashes(case.bundle, name) for name in (evidence.EVALUATED, evidence.HOLDOUT))
    if used is None or held_out is None:
        # Without evidence, there are no rows to compare either.
        return
    shared = len(np.intersect1d(used, held_out, assume_unique=True))
    text = f"the evaluated fit used {shared or 'none'} of the {len(held_out):,} held-out rows"
    text += ": data leakage, so no result on them is reported" if shared else ""
    yield checked("unseen", not shared, text, {"held_out": len(held_out), "shared": shared})


def _refit(case: Case, gate: Gate) -> Iterator[Check]:
    """Check that the fit that is deployed is not worse than the evaluated one, on rows that only the first has seen."""
    target, label, predictions = case.bundle.contract.target, case.evidence.label, case.evidence.predictions
    before, after = (metrics.losses(target, label, predictions[name]) for name in (CANDIDATE, REFIT))
    found = improvement(before, after, gate.confidence, gate.resamples)
    loss = f"mean {metrics.loss_name(target)} {after.mean():.4f}, of the evaluated fit {before.mean():.4f}"
    passed = found.upper >= 0
    text = f"the deployed fit is {'not' if passed else 'surely'} worse: {loss} {_bounds(gate, found)}"
    yield checked("refit", passed, text, asdict(found))


def _baselines(case: Case, gate: Gate) -> Iterator[Check]:
    # Older repositories test for the words up to "looking".
    trivial = "it is not surely better than answering without looking at the inputs"
    for name, fault in {TRIVIAL: trivial, LINEAR: "a linear model is better"}.items():
        loss, found, (own, other) = _loss_gain(case, gate, name)
        text = f"mean {loss} {own:.4f}, of the {name} baseline {other:.4f}, "
        text += f"on {len(case.evidence.label)} held-out rows {_bounds(gate, found)}"
        passed = found.lower > 0 if name == TRIVIAL else found.upper >= 0
        yield checked(name, passed, text if passed else f"{fault}: {text}", asdict(found))


def _champion(case: Case, gate: Gate, gain: Improvement) -> Iterator[Check]:
    champion, found = case.champion, case.evidence
    if champion is None:
        text, hint = "no version is deployed yet: there is no champion to compare with", ""
        if case.unreadable:
            text = f"the deployed version cannot be read, so results and contracts are not compared: {case.unreadable}"
            hint = "Restore that folder, or run `make rollback`, then run `make promote`."
        yield Check("champion", NOT_COMPARED if hint else PASSED, text, hint=hint)
        return
    version = champion.version
    # A model of another contract does not have to be better at the old one.
    new_major = case.bundle.contract.version > champion.contract.version
    if version in found.failed:
        text = f"the champion {version} cannot predict the held-out rows: {found.failed[version]}"
        hint = "Repair it and run `make train promote`, or run `make rollback` to a version that works."
        yield Check("champion", NOT_COMPARED, text, hint=hint)
    elif version not in found.predictions:
        why = found.incomparable.get(version, "its predictions are not known")
        yield Check("champion", NOT_COMPARED, f"the champion {version}: {why}", hint=ANYWAY)
    elif version in found.same:
        unchanged = (champion.contract, champion.features_sql) == (case.bundle.contract, case.bundle.features_sql)
        text = f"it predicts the same as the champion {version} for every held-out row"
        hint = f"The deployed version stays; `make promote VERSION={version} THRESHOLD=…` changes its threshold."
        text = f"{text}: there is nothing to gain" if unchanged else text
        yield checked("champion", not unchanged, text, hint=hint)
    elif (common := len(found.predictions[version])) < gate.min_rows:
        basis = BASIS[found.basis.get(version, "")]
        text = f"the champion {version} can be compared on {common} rows{basis}, and fewer than {gate.min_rows} "
        hint = 'Run `make train promote` when more labels are known, or `make promote OVERRIDE="reason"`.'
        yield Check("champion", NOT_COMPARED, f"{text}decide nothing (gate.min_rows)", hint=hint)
    elif len(np.unique(found.pair(version)[0])) < 2:
        text = f"all {common} rows that are compared with the champion {version} have the same label"
        yield Check("champion", NOT_COMPARED, f"{text}, so they decide nothing", hint=ANYWAY)
    else:
        # A version that may have seen the rows looks better than it is.
        is_unsure = found.basis.get(version) == UNKNOWN
        for check in _better(case, gate, version, gain, new_major):
            unsure = is_unsure and not check.passed
            yield replace(check, outcome=NOT_COMPARED, hint=ANYWAY) if unsure else check


def _better(case: Case, gate: Gate, champion: str, gain: Improvement, new_major: bool) -> Iterator[Check]:
    rule = "a new major version of the contract" if new_major else f"a retrain with the reason {case.reason}"
    measure, _ = metrics.measure_names(case.bundle.contract.target)
    limit = -gate.margin if new_major or case.reason in NOT_WORSE else 0.0
    passed = gain.lower > limit
    if limit:
        worse = f"it is at most {-limit:g} worse, as {rule} may be"
        result = worse if passed else f"it may be worse by more than {-limit:g}, the limit of {rule}"
    else:
        result = "it is surely better" if passed else f"it is not surely better, which {rule} requires"
    text = f"{result}: {measure} {gain.mean:+.4f} against the champion {champion} {_bounds(gate, gain)}"
    text += f" on {len(case.evidence.predictions[champion]):,} rows{BASIS[case.evidence.basis.get(champion, '')]}"
    yield checked("champion", passed, text, asdict(gain) | {"limit": limit, "reason": case.reason})
    # A model may rank rows as well as the champion and still predict wrong probabilities.
    loss, found, (_, other) = _loss_gain(case, gate, champion)
    # The margin also applies to the loss and to each slice, as the same share of them.
    passed = found.upper >= limit * other
    text = f"improvement of the mean {loss} over the champion {found.mean:+.4f} {_bounds(gate, found)}"
    yield checked("loss", passed, text if passed else f"its {loss} is surely worse: {text}", asdict(found))
    yield _slices(case, gate, champion, -limit)


def _slices(case: Case, gate: Gate, champion: str, allowed: float) -> Check:
    """Check each slice with a normal bound, corrected for the number of slices (Bonferroni; Dunn 1961)."""
    every = case.evidence.slices.get(champion, {})
    tested = {name: each for name, each in every.items() if each["rows"] >= gate.min_slice_rows}
    if not tested:
        return checked("slices", True, f"not checked: no slice of the rows has {gate.min_slice_rows} rows or more")
    limit = NormalDist().inv_cdf(1 - (1 - gate.confidence) / len(tested))
    target, (label, _, predictions) = case.bundle.contract.target, case.evidence.pair(champion)
    most = allowed * float(metrics.slice_losses(target, label, predictions).mean())
    worse = {name: each for name, each in tested.items() if each["mean"] - limit * each["se"] > most}
    named = ", ".join(f"{name} ({each['mean']:+.4f} on {each['rows']:,.0f} rows)" for name, each in worse.items())
    loss = "squared error" if target.quantile is None else metrics.loss_name(target)
    text = f"its {loss} is surely higher in {named or 'none'}, of {len(tested)} slices of the rows"
    return checked("slices", not worse, text, {"tested": len(tested), "worse": worse})


def _skew(case: Case) -> Iterator[Check]:
    skew = case.skew or {"rows": 0}
    if "problem" in skew:
        text = f"it is not known whether the service uses the same features as training: {skew['problem']}"
        yield Check("skew", NOT_COMPARED, text, hint=HINTS["skew"])
    elif skew["rows"]:
        share = skew["different"] / skew["rows"]
        columns = f" ({', '.join(skew['columns'])})" if skew["columns"] else ""
        text = f"{share:.1%} of {skew['rows']:,} logged rows differ when their features are recomputed{columns}"
        text += ": the service does not use the same features as training" if share > case.max_skew else ""
        yield checked("skew", share <= case.max_skew, text, {"share": share})


def _costs(case: Case, gate: Gate) -> Iterator[Check]:
    if (taken := case.milliseconds) is not None:
        text = f"one prediction takes {taken:.1f} ms (gate.max_milliseconds is {gate.max_milliseconds:g})"
        yield checked("latency", taken <= gate.max_milliseconds, text, {"milliseconds": taken})
    size = sum(path.stat().st_size for path in case.bundle.path.rglob("*") if path.is_file()) / 1e6
    text = f"the bundle has {size:.1f} MB (gate.max_megabytes is {gate.max_megabytes:g})"
    yield checked("size", size <= gate.max_megabytes, text, {"megabytes": size})


def _loss_gain(case: Case, gate: Gate, opponent: str) -> tuple[str, Improvement, tuple[float, float]]:
    """Return the name of the loss, its improvement against an opponent, and the mean losses of both."""
    target, (label, *pair) = case.bundle.contract.target, case.evidence.pair(opponent)
    own, other = (metrics.losses(target, label, each) for each in pair)
    found = improvement(other, own, gate.confidence, gate.resamples)
    return metrics.loss_name(target), found, (float(own.mean()), float(other.mean()))


def _bounds(gate: Gate, found: Improvement) -> str:
    return f"({gate.confidence:.0%} bounds of the improvement: {found.lower:+.4f} and {found.upper:+.4f})"
