"""From what was found to one word: ok, watch, retrain or incident, with the reasons in words."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from lifecycle import timestamps
from lifecycle.monitoring.drift import SCORE, Found
from lifecycle.monitoring.quality import Quality
from lifecycle.monitoring.skew import Skew
from lifecycle.reports.files import INCIDENT, OK, RETRAIN, VERDICTS, WATCH
from lifecycle.settings import Settings
from lifecycle.timestamps import DAY

# What a retrain is asked for first: what the gate is to know about it.
URGENT = ("decay", "drift", "stale")


@dataclass(frozen=True)
class Reason:
    """Why, in words; `verdict` is what this reason alone leads to."""

    kind: str
    text: str
    verdict: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """The rows from `first` until before `last`, in seconds, and what was found in each column."""

    first: int
    last: int
    rows: int
    columns: dict[str, Found] = field(default_factory=dict)

    def drifted(self) -> list[str]:
        """The inputs that drift."""
        return [name for name, found in self.columns.items() if found.drifted and name != SCORE]


@dataclass(frozen=True)
class Findings:
    """What monitoring found at `moment`; moments in seconds.

    `trained` is the moment that the model's training data stand for, `latest` the newest moment of the data there are;
    `features_age` says how far the newest look-up was behind them. Oldest window first. `skew_fault` says why features
    could not be computed again; `here` is whether the tables are.
    """

    moment: int
    windows: list[Window]
    quality: Quality | None = None
    skew: Skew | None = None
    skew_fault: str = ""
    trained: int | None = None
    latest: int | None = None
    features_age: int | None = None
    profiled: bool = True
    here: bool = True


def judge(found: Findings, settings: Settings) -> tuple[str, list[Reason]]:
    """The verdict and its reasons, the gravest first. Broken data are an incident, whatever else was found."""
    reasons = [*_broken(found, settings), *_drift(found, settings), *_quality(found), *_age(found, settings)]
    reasons += _few(found, settings)
    rank = {kind: at for at, kind in enumerate(URGENT)}
    reasons.sort(key=lambda each: (-VERDICTS.index(each.verdict), rank.get(each.kind, len(rank))))
    return max((each.verdict for each in reasons), key=VERDICTS.index, default=OK), reasons


def _broken(found: Findings, settings: Settings) -> Iterator[Reason]:
    last, rules = found.windows[-1], settings.monitor
    for name, column in last.columns.items():
        if column.broken:
            yield Reason("broken", f"{name}: {column.broken}", INCIDENT, (name,))
    if found.skew_fault:
        yield Reason("skew", f"features of logged requests cannot be computed again: {found.skew_fault}", INCIDENT)
    if found.skew and found.skew.share > rules.max_skew:
        skew = found.skew
        told = f"{skew.different} of {skew.rows} logged rows are computed otherwise now ({', '.join(skew.columns)})"
        yield Reason("skew", told, INCIDENT, tuple(skew.columns))
    if found.features_age is not None and found.features_age > rules.feature_days * DAY:
        told = f"the newest answer looked up features {_days(found.features_age)} behind the data: run `make features`"
        yield Reason("broken", told, INCIDENT)


def _drift(found: Findings, settings: Settings) -> Iterator[Reason]:
    """Asks for a retrain when it lasts: one strange month is looked at and not learned from, and neither is a season
    that training has seen, nor what the contract does not expect.
    """
    *earlier, last = found.windows
    rules = settings.monitor
    before = {name for window in earlier for name in window.drifted()} if earlier else set(last.drifted())
    lasting: list[str] = []
    usual: list[str] = []
    for name in last.drifted():
        column = last.columns[name]
        learnable = column.psi > column.usual and column.outside <= rules.outside_share
        (lasting if learnable and name in before else usual).append(name)
    if lasting:
        text = "drift from the training rows, now and in a window before: "
        yield Reason("drift", text + _indices(last, lasting), RETRAIN, tuple(lasting))
    if usual:
        yield Reason("drift", "drift from the training rows: " + _indices(last, usual), WATCH, tuple(usual))
    if SCORE in last.columns and last.columns[SCORE].drifted and not last.drifted():
        score = last.columns[SCORE]
        text = f"the answers are distributed otherwise ({score.psi:.2f}, limit {score.limit:.2f}), the inputs are not"
        yield Reason("drift", text, WATCH, (SCORE,))
    for name, column in last.columns.items():
        if column.outside > rules.outside_share and column.broken is None and last.rows >= rules.min_rows:
            text = f"{name}: {column.outside:.1%} of the rows lie outside what the contract expects"
            yield Reason("drift", text, WATCH, (name,))


def _indices(window: Window, names: list[str]) -> str:
    """Each with its PSI and its limit; where training itself varied by more, that is said."""
    told = []
    for name in names:
        column = window.columns[name]
        season = "" if column.psi > column.usual else f"; {column.usual:.2f} within the training period"
        told.append(f"{name} ({column.psi:.2f}, limit {column.limit:.2f}{season})")
    return ", ".join(told)


def _quality(found: Findings) -> Iterator[Reason]:
    quality = found.quality
    if quality and quality.decayed and quality.whole and quality.expected is not None and quality.bound is not None:
        whole = quality.whole
        text = (
            f"{quality.metric} is {whole.value:.3f} ({whole.lower:.3f} to {whole.upper:.3f}) on {whole.rows} labelled "
            f"answers; the holdout promised {quality.expected:.3f}, and less than {quality.bound:.3f} is too little"
        )
        yield Reason("decay", text, RETRAIN)


def _age(found: Findings, settings: Settings) -> Iterator[Reason]:
    if found.trained is None or found.moment - found.trained <= settings.monitor.stale_days * DAY:
        return
    age = _days(found.moment - found.trained)
    text = f"the model learned from data of {timestamps.format_utc(found.trained)}, {age} ago"
    if _newer(found):
        yield Reason("stale", text, RETRAIN)
    else:
        # The same data would give the same model.
        yield Reason("stale", f"{text}, and there are no newer ones", WATCH)


def _few(found: Findings, settings: Settings) -> Iterator[Reason]:
    *earlier, last = found.windows
    least = settings.monitor.min_rows
    if not found.profiled:
        text = "this version was trained before there was monitoring: without a profile, no drift can be told"
        yield Reason("rows", text, WATCH)
    if not found.here:
        yield Reason("rows", "the tables are not where this ran: no features were computed again", OK)
    if last.rows < least:
        fewer = any(window.rows >= least for window in earlier)
        text = f"{last.rows} rows were answered in the last window; fewer than {least} decide nothing"
        text += ", and before there were more" if fewer else ""
        text += "" if last.rows else "; `make collect` brings in what the service has logged"
        yield Reason("rows", text, WATCH if fewer else OK)
    quality = found.quality
    if quality and quality.mature and quality.whole is None:
        text = f"{quality.labelled} of {quality.mature} answers that are old enough have a label"
        yield Reason("rows", f"{text}: fewer than {settings.monitor.min_labels} say nothing about quality", OK)


def _newer(found: Findings) -> bool:
    return found.latest is None or found.trained is None or found.latest > found.trained


def _days(seconds: int) -> str:
    return f"{seconds / DAY:.0f} days"
