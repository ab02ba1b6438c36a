"""Whether a candidate may replace what answers: each check with its numbers, in words that need no statistics.

What is compared are answers of the same held-out rows. A bound is one-sided at `gate.confidence`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np

from lifecycle.models import metrics
from lifecycle.models.bundle import Bundle
from lifecycle.models.metrics import Improvement
from lifecycle.settings import Gate
from lifecycle.training import evidence
from lifecycle.training.evidence import CANDIDATE, LINEAR, TRIVIAL, Evidence

# A retrain that the world asked for replaces a model that is out of date: it need not be better, only not worse.
NOT_WORSE = ("drift", "decay", "stale")
MEGABYTE = 1e6
# Of a difference that is there, the share of cases in which it is seen (Cohen 1988).
POWER = 0.8
# Evidence holds nine digits of an answer.
SAME = 1e-8


@dataclass(frozen=True)
class Check:
    """One question of the gate, what was found in words, and the numbers behind it."""

    name: str
    passed: bool
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What the gate found; it agrees when no check failed."""

    checks: tuple[Check, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the version may not answer."""
        return tuple(check.text for check in self.checks if not check.passed)

    @property
    def findings(self) -> tuple[str, ...]:
        """What speaks for it."""
        return tuple(check.text for check in self.checks if check.passed)

    @property
    def numbers(self) -> dict[str, Any]:
        """All numbers, by check."""
        return {check.name: check.numbers for check in self.checks if check.numbers}


@dataclass(frozen=True)
class Case:
    """What the gate is asked about. `champion` is what answers now, None before the first promotion.

    `skew`: rows, different and columns, as monitoring reports them; or `problem`, why that cannot be known; or None
    where nothing was logged of what the candidate would look up.
    """

    bundle: Bundle
    evidence: Evidence
    champion: Bundle | None = None
    reason: str = "manual"
    skew: Mapping[str, Any] | None = None
    max_skew: float = 0.0
    milliseconds: float | None = None
    threshold: float | None = None


def decide(case: Case, gate: Gate) -> Decision:
    """Every check in turn; where there are too few rows, nothing else is looked at."""
    enough = _rows(case, gate)
    if not enough.passed:
        return Decision((enough,))
    return Decision((enough, *_unseen(case), *_baselines(case, gate), *_against(case, gate), *_running(case, gate)))


def _rows(case: Case, gate: Gate) -> Check:
    label, measure = case.evidence.label, metrics.MEASURES[case.bundle.contract.target.task]
    rows = len(label)
    if rows < gate.min_rows:
        return Check("rows", False, f"{rows} held-out rows decide nothing (gate.min_rows is {gate.min_rows})")
    if len(np.unique(label)) < 2:
        return Check("rows", False, f"{rows} held-out rows decide nothing: all have the same label")
    opponent = case.champion.version if case.champion else TRIVIAL
    found = _measured(case, gate, opponent if opponent in case.evidence.given else TRIVIAL)
    smallest = (NormalDist().inv_cdf(gate.confidence) + NormalDist().inv_cdf(POWER)) * found.error
    text = f"{rows:,} held-out rows: a difference of {smallest:.4f} {measure} would be seen in {POWER:.0%} of cases"
    return Check("rows", True, text, {"rows": rows, "smallest_difference": smallest})


def _unseen(case: Case) -> Iterator[Check]:
    """The held-out questions trained neither model: hashes of both are looked at."""
    for bundle in (case.bundle, case.champion):
        if bundle is None:
            continue
        seen, held = evidence.seen(bundle), evidence.held(case.bundle)
        if seen is None or held is None or evidence.identity(bundle) != evidence.identity(case.bundle):
            told = f"whether {bundle.version} has seen held-out rows is not known: it tells questions apart otherwise"
            yield Check("unseen", True, told)
            continue
        # Of two long lists the same part is kept: the lowest hashes.
        shared = np.intersect1d(seen, held, assume_unique=True)
        numbers = {"version": bundle.version, "held_out": len(held), "shared": len(shared)}
        if len(shared):
            told = f"{bundle.version} was trained on {len(shared):,} of the {len(held):,} questions that are held out"
            yield Check("unseen", False, f"{told}: it would be asked what it has learned by heart", numbers)
        else:
            yield Check("unseen", True, f"{bundle.version} was trained on none of the questions held out", numbers)


def _baselines(case: Case, gate: Gate) -> Iterator[Check]:
    """Better than the trivial baseline, not worse than the linear one."""
    loss = metrics.loss_name(case.bundle.contract.target)
    for name in (TRIVIAL, LINEAR):
        found = _loss(case, gate, name)
        own, other = _mean_loss(case, CANDIDATE), _mean_loss(case, name)
        told = (
            f"mean {loss} {own:.4f} against {other:.4f} of the {name} baseline on "
            f"{len(case.evidence.label)} held-out rows ({_bounds(gate, found)})"
        )
        if name == TRIVIAL and found.lower <= 0:
            yield Check(name, False, f"it is not surely better than answering without looking: {told}", asdict(found))
        elif name == LINEAR and found.upper < 0:
            yield Check(name, False, f"a linear model is better: {told}", asdict(found))
        else:
            yield Check(name, True, told, asdict(found))


def _against(case: Case, gate: Gate) -> Iterator[Check]:
    """The candidate and what answers now, on the same rows."""
    champion = case.champion
    if champion is None:
        yield Check("champion", True, "nothing answers yet: there is no champion to compare with")
        return
    # Callers asked for another contract: a model of it is not held to be better at the old one.
    renewed = case.bundle.contract.version > champion.contract.version
    if champion.version in case.evidence.silent:
        yield _unanswered(case, champion, renewed)
        return
    if champion.version not in case.evidence.given:
        why = case.evidence.incomparable.get(champion.version, "its answers are not known")
        yield Check("champion", True, f"not compared with the champion {champion.version}: {why}")
        return
    if np.allclose(case.evidence.given[champion.version], case.evidence.given[CANDIDATE], rtol=SAME, atol=0):
        same = (champion.contract, champion.features_sql) == (case.bundle.contract, case.bundle.features_sql)
        told = f"it answers the same as the champion {champion.version} on every held-out row"
        other = f"`make promote VERSION={champion.version} THRESHOLD=…` changes the threshold alone"
        yield Check("champion", not same, f"{told}: there is nothing to gain; {other}" if same else told)
        return
    yield _better(case, gate, champion, renewed)
    # What may be a little worse as a whole may be so in its probabilities and in its parts, by the same share.
    allowed = gate.margin if case.reason in NOT_WORSE else 0.0
    yield _loss_against(case, gate, champion, renewed, allowed)
    yield _slices(case, gate, champion, renewed, allowed)


def _unanswered(case: Case, champion: Bundle, renewed: bool) -> Check:
    """A champion that fails is no reason to let anything follow it: what it is better than is not known."""
    told = (
        f"the champion {champion.version} does not answer the held-out rows: {case.evidence.silent[champion.version]}"
    )
    if renewed:
        return Check("champion", True, f"{told}; a new major version of the contract is let through without")
    hint = (
        "Make it answer and `make train` again; or `make rollback` to a version that answers; "
        "or train and promote with a new VERSION in src/model/contract.py"
    )
    return Check("champion", False, f"{told}. {hint}")


def _better(case: Case, gate: Gate, champion: Bundle, renewed: bool) -> Check:
    found = _measured(case, gate, champion.version)
    measure = metrics.MEASURES[case.bundle.contract.target.task]
    told = f"{measure} {found.mean:+.4f} against the champion {champion.version} ({_bounds(gate, found)})"
    because = "a new major version of the contract" if renewed else f"a retrain with the reason {case.reason}"
    numbers = asdict(found) | {"limit": 0.0, "reason": case.reason}
    if not renewed and case.reason not in NOT_WORSE:
        if found.lower > 0:
            return Check("champion", True, f"it is surely better: {told}", numbers)
        return Check("champion", False, f"it is not surely better, as {because} has to be: {told}", numbers)
    numbers |= {"limit": -gate.margin}
    if found.lower > -gate.margin:
        return Check("champion", True, f"it is at most {gate.margin:g} worse, as {because} may be: {told}", numbers)
    return Check(
        "champion", False, f"it may be worse by more than {gate.margin:g}, the limit of {because}: {told}", numbers
    )


def _loss_against(case: Case, gate: Gate, champion: Bundle, renewed: bool, allowed: float) -> Check:
    found = _loss(case, gate, champion.version)
    name = metrics.loss_name(case.bundle.contract.target)
    told = f"mean {name} {-found.mean:+.4f} against the champion ({_bounds(gate, found)})"
    # Ranked as well, but surely off in its probabilities: whoever reads them would decide worse.
    passed = renewed or found.upper >= -allowed * _mean_loss(case, champion.version)
    return Check("loss", passed, told if passed else f"its {name} is surely worse: {told}", asdict(found))


def _slices(case: Case, gate: Gate, champion: Bundle, renewed: bool, allowed: float) -> Check:
    """Normal bounds with Bonferroni's correction: of many slices, one looks bad by chance."""
    every = case.evidence.slices.get(champion.version, {})
    tested = {name: each for name, each in every.items() if each["rows"] >= gate.min_slice_rows}
    if not tested:
        return Check("slices", True, f"no part of the rows has {gate.min_slice_rows} or more: none is looked at")
    limit = NormalDist().inv_cdf(1 - (1 - gate.confidence) / len(tested))
    target, given = case.bundle.contract.target, case.evidence.given[champion.version]
    most = allowed * float(metrics.squared_errors(target, case.evidence.label, given).mean())
    worse = {name: each for name, each in tested.items() if each["mean"] - limit * each["se"] > most}
    told = f"{len(tested)} parts of the rows, such as {next(iter(tested))}"
    numbers = {"tested": len(tested), "worse": worse}
    if not worse:
        return Check("slices", True, f"surely worse in none of {told}", numbers)
    named = ", ".join(f"{name} ({each['mean']:+.4f} on {each['rows']:,.0f} rows)" for name, each in worse.items())
    return Check("slices", renewed, f"its quadratic loss is surely higher where {named}; of {told}", numbers)


def _running(case: Case, gate: Gate) -> Iterator[Check]:
    """What it costs to run, and whether the service sees what training saw."""
    if case.skew is not None and "problem" in case.skew:
        told = f"whether the service sees what training saw cannot be known: {case.skew['problem']}"
        yield Check("skew", False, told)
    elif case.skew is not None and case.skew["rows"]:
        share = case.skew["different"] / case.skew["rows"]
        columns = ", ".join(case.skew["columns"])
        told = f"{share:.1%} of {case.skew['rows']:,} logged rows are recomputed otherwise"
        told += f" ({columns})" if columns else ""
        passed = share <= case.max_skew
        yield Check("skew", passed, told if passed else f"{told}: the service does not see what training saw", {
            "share": share
        })  # fmt: skip
    if case.milliseconds is not None:
        told = f"one row is answered in {case.milliseconds:.1f} ms (gate.max_milliseconds is {gate.max_milliseconds:g})"
        numbers = {"milliseconds": case.milliseconds}
        yield Check("latency", case.milliseconds <= gate.max_milliseconds, told, numbers)
    size = sum(path.stat().st_size for path in case.bundle.path.rglob("*") if path.is_file()) / MEGABYTE
    told = f"the bundle has {size:.1f} MB (gate.max_megabytes is {gate.max_megabytes:g})"
    yield Check("size", size <= gate.max_megabytes, told, {"megabytes": size})


def proposal(case: Case, gate: Gate) -> dict[str, float | None] | None:
    """The threshold that costs least if probabilities are right (Elkan 2001), and what it and the live one cost a row.

    None where there are not two classes, and without evidence.
    """
    if case.bundle.contract.target.task != "binary" or CANDIDATE not in case.evidence.given:
        return None
    best = gate.false_positive_cost / (gate.false_positive_cost + gate.false_negative_cost)

    def mean(threshold: float) -> float:
        given = case.evidence.given[CANDIDATE]
        costs = gate.false_positive_cost, gate.false_negative_cost
        return metrics.mean_cost(case.evidence.label, given, threshold, *costs)

    live = case.threshold
    return {"threshold": best, "cost": mean(best), "live": live, "live_cost": None if live is None else mean(live)}


def _mean_loss(case: Case, name: str) -> float:
    target, given = case.bundle.contract.target, case.evidence.given[name]
    return float(metrics.losses(target, case.evidence.label, given).mean())


def _loss(case: Case, gate: Gate, opponent: str) -> Improvement:
    target, label, given = case.bundle.contract.target, case.evidence.label, case.evidence.given
    over, by = (metrics.losses(target, label, given[name]) for name in (opponent, CANDIDATE))
    return metrics.improvement(over, by, gate.confidence, gate.resamples)


def _measured(case: Case, gate: Gate, opponent: str) -> Improvement:
    target, label, given = case.bundle.contract.target, case.evidence.label, case.evidence.given
    pair = given[opponent], given[CANDIDATE]
    return metrics.measure_improvement(target, label, *pair, gate.confidence, gate.resamples)


def _bounds(gate: Gate, found: Improvement) -> str:
    return f"{gate.confidence:.0%} bounds of the improvement: {found.lower:+.4f} and {found.upper:+.4f}"
