"""Train a new version and promote it if the gate passes: on request of monitoring, on a schedule, or by hand."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lifecycle import registry, timestamps
from lifecycle.contract import team as teams
from lifecycle.errors import LifecycleError, Refused, complete_commands
from lifecycle.jobs.promote import promote
from lifecycle.models.bundle import open_version
from lifecycle.ownership import approvals
from lifecycle.registry import deployments, labels
from lifecycle.reports import INCIDENT, LATEST, REQUEST
from lifecycle.settings import Retrain, Settings
from lifecycle.storage import Busy, Store, append_line, read_json, read_lines
from lifecycle.timestamps import DAY
from lifecycle.training.train import mirror, train

DONE, RUNS, TRAINED = "retrain_done.json", "retrains.jsonl", "trained"
NOT_DUE = "no retrain is due: monitoring has not requested one, and neither schedule nor new labels demand one"


@dataclass
class Run:
    """A retrain that was started, or a training by hand during an incident.

    `outcome` is promoted, refused or failed, or trained where it was by hand; `decision` is the path of the gate's
    page. `again`: it was the second one after a change, see `follow_up`. `why` is the reason that was given, which
    training during an incident needs.
    """

    started: str
    reason: str
    by: str
    who: str = ""
    outcome: str = "failed"
    version: str | None = None
    text: str = ""
    decision: str | None = None
    again: bool = False
    why: str = ""


@dataclass(frozen=True)
class Request:
    """A request of monitoring: the reason, its explanation, and the path of the report behind it."""

    reason: str
    text: str
    evidence: str


def retrain(
    settings: Settings,
    environment: str,
    root: Path,
    reason: str | None = None,
    due: bool = False,
    force: bool = False,
    why: str = "",
) -> Run | None:
    """Train and promote once, unless a guard (cooldown, weekly limit, incident, off switch) refuses it.

    The reason is by default that of monitoring's request, else "manual". With `due`, a model is trained only if a
    request, the age of the last training or new labels demand it; with `force`, the guards are ignored, during an
    incident only with `why`, which is recorded. Returns the recorded run, whose outcome may be "refused"; None where
    nothing was trained. Raises LifecycleError where another retrain is running, the reason for one during an incident
    is missing, or training failed (recorded as "failed").
    """
    store, now = settings.store, timestamps.now()
    try:
        with store.exclusive(store.runs / f".{environment}.retrain.lock", wait=False):
            request = requested(store, environment)
            last = _last_training(settings, environment) if due else None
            past = [run for run in runs(store, environment) if run.outcome != TRAINED]
            second = follow_up(past, now, settings.monitor.window_days * DAY) if due else None
            demanded = demand(request, last, settings.retrain, now) or second
            if due and demanded is None:
                print(NOT_DUE)
                return None
            reason, text = (reason, "by hand") if reason else demanded or ("manual", "by hand")
            broken = incident(store, environment, "retrain")
            refused = broken or refusal(past, settings.retrain, now, by_hand=not due)
            if refused and not force:
                print(complete_commands(f"no retrain ({reason}): {refused}", environment, reason))
                return None
            if broken and not why.strip():
                raise broken
            text += f"; {'during an incident, ' if broken else ''}because {why.strip()}" if why.strip() else ""
            print(f"retrain ({reason}): {text}")
            run = Run(timestamps.format_utc(now), reason, "schedule" if due else "hand")
            run.again, run.why = second is not None and demanded == second, why.strip()
            _train_and_promote(settings, environment, root, run, f"retrain ({reason}): {text}")
            if request:
                complete(store, environment, request)
    except Busy as error:
        raise LifecycleError("another retrain is running", "Wait until it ends.") from error
    if run.decision:
        print(f"decision: {run.decision}")
    return run


def _train_and_promote(settings: Settings, environment: str, root: Path, run: Run, why: str) -> None:
    """Train, promote and record the outcome; a candidate that the gate refuses is an outcome, not an error."""
    who = registry.who()
    run.who = who.name

    def on_decision(page: Path) -> None:
        run.decision = str(page)

    try:
        team = teams.load(root)
        bundle = train(team, settings, root, reason=run.reason, owners=approvals.roles(root), environment=environment)
        run.version = bundle.version
        mirror(settings, bundle)
        promote(settings, team.data, environment, bundle.version, None, who, why, root, on_decision=on_decision)
        run.outcome, run.text = "promoted", f"{bundle.version} is deployed in {environment}"
    except Refused as error:
        run.outcome, run.text = "refused", str(error)
    except BaseException as error:
        # A failed run counts for cooldown and weekly limit; otherwise a scheduler would repeat it each time.
        run.text = f"{type(error).__name__}: {error}"
        raise
    finally:
        record(settings.store, environment, run)


def _last_training(settings: Settings, environment: str) -> tuple[int, int] | None:
    """Return when the newest version was trained (seconds), and how many labels became known since.

    None before the first promotion.
    """
    store = settings.store
    if (deployment := deployments.read(store, environment)) is None:
        return None
    # A newer candidate that the gate refused was trained on the newer labels, too.
    newest = max([*store.versions(), deployment.current.version])
    created = timestamps.parse(open_version(store, newest).facts["created"])
    return created, labels.count_since(store, created) if settings.retrain.new_labels else 0


def demand(request: Request | None, last: tuple[int, int] | None, rules: Retrain, now: int) -> tuple[str, str] | None:
    """Return the reason for a retrain and its explanation, or None; without `last`, only a request counts."""
    if request:
        return request.reason, request.text
    created, new_labels = last or (now, 0)
    if rules.every_days and now - created >= rules.every_days * DAY:
        return "schedule", f"the last training was {(now - created) // DAY} days ago"
    if rules.new_labels and new_labels >= rules.new_labels:
        return "labels", f"{new_labels:,} labels became known since the last training"
    return None


def follow_up(runs: list[Run], now: int, period: int) -> tuple[str, str] | None:
    """Return the reason for a second retrain after drift or decay, `period` seconds after the first one, or None.

    The first labelled rows after a change are needed to notice that a shorter history predicts better. Only a second
    retrain, with more of them, can learn what has changed.
    """
    if not runs or runs[-1].again or runs[-1].reason not in ("drift", "decay"):
        return None
    if now - timestamps.parse(runs[-1].started) < period:
        return None
    return runs[-1].reason, f"a second time, with the labels that arrived since the one of {runs[-1].started}"


def refusal(runs: list[Run], rules: Retrain, now: int, by_hand: bool) -> str | None:
    """Return why no retrain may start now, and what to do, or None; by hand, only the weekly limit applies."""
    started = [timestamps.parse(run.started) for run in runs]
    ago, week = (now - max(started, default=0)) / DAY, sum(now - each < 7 * DAY for each in started)
    found = None
    if not by_hand and not rules.enabled:
        found = "automatic retrains are switched off (retrain.enabled)"
    elif not by_hand and started and ago < rules.cooldown_days:
        found = f"the last started {ago:.1f} days ago, within {rules.cooldown_days:g} days (retrain.cooldown_days)"
    elif week >= rules.most_a_week:
        found = f"{week} started within the last seven days (retrain.most_a_week is {rules.most_a_week})"
    return f"{found}; `make retrain FORCE=1` starts one anyway" if found else None


def requested(store: Store, environment: str) -> Request | None:
    """Return the request of monitoring, if there is one; raises LifecycleError when it is damaged."""
    path = store.reports / environment / REQUEST
    try:
        document = json.loads(path.read_bytes())
        return Request(str(document["reason"]), str(document["text"]), str(document["evidence"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        hint = "Remove it: `make monitor` writes it again."
        raise LifecycleError(f"{path} is not a valid request ({error})", hint) from error


def incident(store: Store, environment: str, goal: str) -> Refused | None:
    """Return why `make GOAL` trains nothing where the latest report of monitoring found broken data, else None.

    A report about an earlier version counts, too, because it is about the data. `make monitor` replaces it.
    """
    report = read_json(store.reports / environment / LATEST)
    if report.get("verdict") != INCIDENT:
        return None
    problem = f"monitoring reports an incident as of {report.get('as_of')}, and no model is trained on broken data"
    hint = "Fix or accept what the report names, then run `make monitor`; "
    return Refused(problem, f'{hint}`make {goal} FORCE=1 WHY="…"` trains anyway and records the reason.')


def complete(store: Store, environment: str, request: Request) -> None:
    """Move the request next to the report behind it, so that it is not served twice."""
    folder = store.reports / environment
    dated = folder / Path(request.evidence).parent.name
    (folder / REQUEST).replace((dated if dated.is_dir() else folder) / DONE)


def runs(store: Store, environment: str) -> list[Run]:
    """Return every retrain that was started, oldest first; LifecycleError where a line is not a record of one."""
    path = store.reports / environment / RUNS
    try:
        return [Run(**entry) for entry in read_lines(path)]
    except TypeError as error:
        raise LifecycleError(f"a line of {path} is not a valid record of a retrain ({error})", "Remove it.") from error


def record(store: Store, environment: str, run: Run) -> None:
    """Add a retrain to the record."""
    append_line(store, store.reports / environment / RUNS, asdict(run))
