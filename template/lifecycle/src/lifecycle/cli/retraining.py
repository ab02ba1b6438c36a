"""Verbs of the loop: retrain, run what is due, and the history of what answered."""

import argparse
import difflib
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle import timestamps
from lifecycle.cli.commands import REASONS, TIMESTAMP, Commands, parse_timestamp
from lifecycle.errors import LifecycleError, Refused
from lifecycle.registry import provenance
from lifecycle.settings import Loaded
from lifecycle.storage import Busy, lock

if TYPE_CHECKING:
    from lifecycle.training.retrain import Request, Run, Trained


def add(commands: Commands) -> None:
    """Add retrain, run-due and history."""
    retrain = commands.add("retrain", _retrain, "train again and promote, if the gate agrees")
    retrain.add_argument("--reason", choices=REASONS, help="default: that of monitoring's request, else manual")
    retrain.add_argument("--due", action="store_true", help="only if a request, the schedule or labels ask for it")
    retrain.add_argument("--force", action="store_true", help="whatever cooldown, cap and off switch say")
    commands.add("run-due", _run_due, "run each verb of `schedule` whose time has come, once")
    history = commands.add("history", _history, "which version and threshold answered from when to when")
    history.add_argument("--at", metavar="MOMENT", help=TIMESTAMP.partition(";")[0])


def _retrain(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.training import retrain

    store, settings, now = loaded.settings.store, loaded.settings.retrain, loaded.settings.now()
    try:
        with lock(store.runs / f".{loaded.environment}.retrain.lock", wait=False):
            request = retrain.requested(store, loaded.environment)
            asked = retrain.wanted(request, _trained(loaded) if given.due else None, settings, now)
            if given.due and asked is None:
                print(retrain.NOTHING)
                return
            reason, text = (given.reason, "by hand") if given.reason else asked or ("manual", "by hand")
            runs, broken = retrain.runs(store, loaded.environment), retrain.incident(store, loaded.environment)
            refused = retrain.refusal(runs, settings, now, by_hand=not given.due, incident=broken)
            if refused and not given.force:
                print(f"no retrain ({reason}): {refused}; `make retrain FORCE=1` begins one anyway")
                return
            run = _run(loaded, reason, text, "schedule" if given.due else "hand", request)
    except Busy as error:
        raise LifecycleError("another retrain is under way", "Wait for it: it holds the lock until it ends.") from error
    print(f"{run.outcome}: {run.text}")


def _run(loaded: Loaded, reason: str, text: str, by: str, request: "Request | None") -> "Run":
    """Train, promote, and record what became of it; a refused candidate is no error."""
    from lifecycle.cli.model import logged_skew
    from lifecycle.contract.team import load
    from lifecycle.jobs.promote import promote
    from lifecycle.ownership import repository
    from lifecycle.training import retrain
    from lifecycle.training.tracking import mirror
    from lifecycle.training.train import train

    settings, environment, who = loaded.settings, loaded.environment, provenance.who()
    now, version, pages = settings.now(), None, list[str]()

    def record(outcome: str, told: str) -> "Run":
        page = pages[0] if pages else None
        run = retrain.Run(timestamps.format_utc(now), reason, by, who.name, outcome, version, told, page)
        retrain.record(settings.store, environment, run)
        return run

    print(f"retrain ({reason}): {text}")
    try:
        team = load(Path.cwd())
        bundle = train(team, settings, Path.cwd(), reason=reason, owners=repository.roles(Path.cwd()))
        version = bundle.version
        mirror(settings, bundle)
        done = promote(
            settings,
            team.data,
            environment,
            version,
            None,
            who,
            f"retrain ({reason}): {text}",
            Path.cwd(),
            reason=reason,
            skew=logged_skew(loaded, team.data),
            tell=lambda page: pages.append(str(page)),
        )
        run = record("promoted", f"{done.live.version} answers in {environment}")
    except Refused as error:
        run = record("refused", str(error))
    except BaseException as error:
        # Also what ends in the middle counts for cooldown and cap: or each tick of a scheduler would try again.
        record("failed", f"{type(error).__name__}: {error}")
        raise
    if request:
        retrain.done(settings.store, environment, request, now)
    for page in pages:
        print(f"decision: {page}")
    return run


def _trained(loaded: Loaded) -> "Trained | None":
    from lifecycle.models.bundle import open_version
    from lifecycle.monitoring import labels
    from lifecycle.registry import deployments
    from lifecycle.training.retrain import Trained

    store = loaded.settings.store
    found = deployments.read(store, loaded.environment)
    if found is None:
        return None
    facts = open_version(store, found.live.version).facts
    created = timestamps.parse(facts["created"])
    # Also a candidate that the gate refused was a retrain: its labels have had their say.
    newest = max((name for name in store.versions()), default="")
    if newest > found.live.version:
        created = timestamps.parse(open_version(store, newest).facts["created"])
    return Trained(created, labels.count_since(store, created) if loaded.settings.retrain.new_labels else 0)


def _run_due(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle import schedule
    from lifecycle.cli.entry import command_names, main

    _refuse_unknown(loaded.settings.schedule, command_names())
    store, failed = loaded.settings.store, []
    try:
        with lock(store.runs / f".{loaded.environment}.lock", wait=False):
            # One moment for all: or the verbs would drift away from each other, and from cron.
            now = loaded.settings.now()
            due = schedule.due(store, loaded.environment, loaded.settings.schedule, now)
            for verb in due:
                print(f"== {verb}", flush=True)
                words = [verb, *schedule.WORDS.get(verb, ()), "--environment", loaded.environment]
                try:
                    code = main(words)
                except SystemExit as error:
                    code = int(error.code or 0) if not isinstance(error.code, str) else 1
                except Exception:
                    # A defect of one job keeps no other from its turn.
                    traceback.print_exc()
                    code = 1
                schedule.record(store, loaded.environment, verb, now, code)
                failed += [verb] if code else []
    except Busy:
        print("another run is under way: it runs what is due")
        return
    if failed:
        raise LifecycleError(f"of what was due, {', '.join(failed)} failed", "What each said stands above.")
    if not due:
        scheduled = loaded.settings.schedule
        print("nothing is due" if scheduled else "nothing is scheduled: `schedule` in config/ says what runs how often")


def _refuse_unknown(scheduled: Collection[str], known: Collection[str]) -> None:
    for verb in scheduled:
        if verb not in known:
            near = difflib.get_close_matches(verb, known, n=1, cutoff=0)[0]
            raise LifecycleError(f"schedule names {verb}, which is no verb; is {near} meant?", "Fix it in config/.")


def _history(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.registry import history

    store = loaded.settings.store
    periods = history.read(store, loaded.environment)
    wanted = parse_timestamp(given.at)
    shown = periods if wanted is None else [history.at(periods, wanted)]
    for period in shown:
        last = timestamps.format_utc(period.last) if period.last is not None else "now"
        threshold = "" if period.threshold is None else f"  threshold {period.threshold:g}"
        print(f"{timestamps.format_utc(period.first)} to {last}  {period.version}{threshold}")
        print(f"    {period.action} by {period.who}: {period.why or 'no reason given'}")
        if period.decision:
            print(f"    decision: {store.root / period.decision}")
    if not shown:
        print(f"nothing has answered in {loaded.environment} yet")
    history.sound(store)
