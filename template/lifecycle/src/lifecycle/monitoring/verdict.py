"""Derive one verdict from what monitoring measured: one of `reports.VERDICTS`, with a sentence for each reason."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lifecycle import timestamps
from lifecycle.errors import complete_commands
from lifecycle.monitoring.drift import SCORE, ColumnDrift
from lifecycle.monitoring.quality import Quality, Skew
from lifecycle.reports import INCIDENT, NO_DATA, OK, RETRAIN, VERDICTS, WATCH
from lifecycle.settings import Settings
from lifecycle.timestamps import DAY


@dataclass(frozen=True)
class Reason:
    """One reason in one sentence; `verdict` is what this reason alone leads to."""

    kind: str
    text: str
    verdict: str
    columns: tuple[str, ...] = ()


@dataclass
class Window:
    """The rows of `first` <= timestamp < `last` (seconds), with the drift of each column."""

    first: int
    last: int
    rows: int = 0
    columns: dict[str, ColumnDrift] = field(default_factory=dict)

    @property
    def drifted(self) -> list[str]:
        """The inputs that have drifted."""
        return [name for name, column in self.columns.items() if column.drifted and name != SCORE]

    def state(self, min_rows: int) -> str:
        """Return what can be said about the window in a few words; it is judged from `min_rows` rows on."""
        if self.rows < min_rows:
            return "too few rows to decide" if self.rows else NO_DATA
        broken = sum(column.broken is not None for column in self.columns.values())
        drifted = sum(column.drifted for column in self.columns.values())
        counts = (f"{broken} broken" if broken else "", f"{drifted} drifted" if drifted else "")
        return ", ".join(filter(None, counts)) or "as in training"


@dataclass
class Findings:
    """Everything that monitoring measured as of a time; all times in seconds, `windows` oldest first.

    `trained` is the time as of which the training data were read, `newest_data` the newest time in the tables or the
    log, `features_lag` how far the newest looked-up features were behind them. `skew_error` says why features could not
    be recomputed. `has_profile`: the bundle has a drift reference. `has_tables`: the tables are on this machine.
    `accepted` has entries of the audit log; `left_out` counts what was not used, by the kinds of `report.LEFT_OUT`.
    """

    as_of: int
    windows: list[Window]
    quality: Quality | None = None
    skew: Skew | None = None
    skew_error: str = ""
    trained: int | None = None
    newest_data: int | None = None
    features_lag: int | None = None
    has_profile: bool = True
    has_tables: bool = True
    accepted: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    environment: str = "local"


def decide(findings: Findings, settings: Settings) -> tuple[str, list[Reason]]:
    """Return the verdict and its reasons, the most severe first: on broken data, no model is trained."""
    # Of several reasons for a retrain the first is requested, because it determines what the gate requires.
    checks = (_broken, _decay, _drift, _age, _accepted, _too_few)
    found = (reason for check in checks for reason in check(findings, settings))
    reasons = [replace(each, text=complete_commands(each.text, findings.environment)) for each in found]
    reasons.sort(key=lambda each: -VERDICTS.index(each.verdict))
    return reasons[0].verdict if reasons else OK, reasons


def _broken(findings: Findings, settings: Settings) -> Iterator[Reason]:
    rules, skew, lag = settings.monitor, findings.skew, findings.features_lag
    for name, column in findings.windows[-1].columns.items():
        if column.broken:
            command = f"make accept COLUMN={shlex.quote(name)} WHY=…"
            hint = "fix the source, or change src/model/contract.py and run `make train promote FORCE=1 WHY=…`"
            hint = f"fix the source, or, if this is as it should be, `{command}`" if column.kind else hint
            yield Reason("broken", f"{name}: {column.broken}; {hint}", INCIDENT, (name,))
    if findings.skew_error:
        yield Reason("skew", f"features of logged requests cannot be recomputed: {findings.skew_error}", INCIDENT)
    if skew and skew.different / skew.rows > rules.max_skew:
        text = f"{skew.different} of {skew.rows} logged rows differ when recomputed ({', '.join(skew.columns)})"
        yield Reason("skew", f"{text}; monitor.max_skew is {rules.max_skew:.1%}", INCIDENT, tuple(skew.columns))
    if lag is not None and lag > rules.feature_days * DAY:
        text = f"the newest prediction used features {lag / DAY:.1f} days older than the data; run `make features`"
        yield Reason("broken", f"{text} (monitor.feature_days is {rules.feature_days:g})", INCIDENT)


def _drift(findings: Findings, settings: Settings) -> Iterator[Reason]:
    # A single window is watched, and so are a seasonal change that training contained and values outside `expected`.
    *earlier, last = findings.windows
    before = {name for window in earlier or [last] for name in window.drifted}
    learnable = {
        name for name, each in last.columns.items() if each.accepted or (each.psi > each.seasonal and not each.unusual)
    }
    lasting = [name for name in last.drifted if name in before & learnable]
    watched = [name for name in last.drifted if name not in lasting]
    scores = [SCORE] if SCORE in last.columns and last.columns[SCORE].drifted and not last.drifted else []
    text = "drift from the training rows, in the last window and an earlier one"
    yield from _drifted(text, last, lasting, RETRAIN)
    yield from _drifted("drift from the training rows in the last window", last, watched, WATCH)
    yield from _drifted("the predictions have drifted and the inputs have not", last, scores, WATCH)
    for name, column in last.columns.items():
        if column.unusual and column.broken is None:
            text = f"{name}: {column.outside:.1%} of the rows are outside what the contract expects"
            yield Reason("drift", text, WATCH, (name,))


def _drifted(text: str, window: Window, names: list[str], verdict: str) -> Iterator[Reason]:
    parts = []
    for name in names:
        column = window.columns[name]
        newest = " against the last four weeks of training" if column.newest else ""
        seasonal = "" if column.psi > column.seasonal else f"; up to {column.seasonal:.3f} within the training period"
        measured = f"PSI {column.psi:.3f}{newest}, limit {column.limit:.3f}{seasonal}"
        parts.append(f"{name} ({'accepted' if column.accepted else measured})")
    if parts:
        yield Reason("drift", f"{text}: {', '.join(parts)}", verdict, tuple(names))


def _decay(findings: Findings, settings: Settings) -> Iterator[Reason]:
    quality = findings.quality
    if quality and quality.overall and quality.decayed:
        overall = quality.overall
        text = (
            f"{quality.metric} is {overall.value:.3f} ({overall.lower:.3f} to {overall.upper:.3f}) on {overall.rows} "
            f"labelled predictions, below the bound of {quality.bound:.3f}; the holdout had {quality.expected:.3f}"
        )
        yield Reason("decay", text, RETRAIN)


def _age(findings: Findings, settings: Settings) -> Iterator[Reason]:
    trained, newest = findings.trained, findings.newest_data
    # Without newer data the same model would be trained again, whatever the clock shows.
    if trained is not None and newest is not None and newest - trained > settings.monitor.stale_days * DAY:
        days = f"{(newest - trained) / DAY:.1f} days newer (monitor.stale_days is {settings.monitor.stale_days})"
        text = f"the training data end at {timestamps.format_utc(trained)}, and the newest data are {days}"
        yield Reason("stale", text, RETRAIN)


def _accepted(findings: Findings, settings: Settings) -> Iterator[Reason]:
    for name, column in findings.windows[-1].columns.items():
        if column.accepted:
            given = [each for each in findings.accepted if each["column"] == name]
            people = "; ".join(f"{each['who']} on {each['changed'][:10]} ({each['why']})" for each in given)
            yield Reason("accepted", f"{name}: {column.accepted}; accepted by {people}", WATCH, (name,))


def _too_few(findings: Findings, settings: Settings) -> Iterator[Reason]:
    *earlier, last = findings.windows
    rules, quality = settings.monitor, findings.quality
    if not findings.has_profile:
        text = "this version has no drift reference, because an older release trained it: drift is not measured"
        yield Reason("rows", text, WATCH)
    if not findings.has_tables:
        yield Reason("rows", "the tables are not on this machine: features were not recomputed", OK)
    if last.rows < rules.min_rows:
        stopped = any(window.rows >= rules.min_rows for window in earlier)
        text = f"the last window has {last.rows} rows, too few to decide (monitor.min_rows is {rules.min_rows})"
        if not last.rows:
            text = "no data: the last window has no prediction of this version"
            text += "; `make collect` reads what the service has logged"
        text += "; an earlier window had enough" if stopped else ""
        yield Reason("rows", text, WATCH if stopped else OK if last.rows else NO_DATA)
    if quality and quality.mature and quality.overall is None:
        text = f"{quality.labelled} of {quality.mature} mature predictions have a label, too few to measure quality"
        yield Reason("rows", f"{text} (monitor.min_labels is {rules.min_labels})", OK)
