"""Train a new version and promote it if the gate passes: on request of monitoring, on a schedule, or by hand."""

from collections.abc import Callable
from pathlib import Path

from lifecycle import timestamps
from lifecycle.contract import team as teams
from lifecycle.errors import LifecycleError, Refused
from lifecycle.jobs.promote import logged_skew, promote
from lifecycle.models.bundle import open_version
from lifecycle.monitoring import labels
from lifecycle.ownership import repository
from lifecycle.registry import deployments, provenance
from lifecycle.settings import Settings
from lifecycle.storage import Busy, lock
from lifecycle.training import retrain as rules
from lifecycle.training.retrain import LastTraining, Run
from lifecycle.training.train import mirror, train


def retrain(
    settings: Settings,
    environment: str,
    root: Path,
    reason: str | None = None,
    due: bool = False,
    force: bool = False,
    report: Callable[[str], object] = print,
) -> Run | None:
    """Train and promote once, unless a guard (cooldown, weekly limit, incident, off switch) refuses it.

    Args:
        settings: of the environment.
        environment: whose deployment is renewed.
        root: root of the repository.
        reason: one of `training.retrain.REASONS`; None means that of monitoring's request, else "manual".
        due: train only if a request, the age of the last training or new labels demand it.
        force: ignore the guards.
        report: called with each line for the user.

    Returns:
        The recorded run, whose outcome may be "refused"; None where nothing was trained.

    Raises:
        LifecycleError: another retrain is running, or training failed (recorded as "failed").
    """
    store, now = settings.store, timestamps.now()
    try:
        with lock(store.runs / f".{environment}.retrain.lock", wait=False):
            request = rules.requested(store, environment)
            demanded = rules.demand(
                request, _last_training(settings, environment) if due else None, settings.retrain, now
            )
            if due and demanded is None:
                report(rules.NOT_DUE)
                return None
            reason, text = (reason, "by hand") if reason else demanded or ("manual", "by hand")
            runs, broken = rules.runs(store, environment), rules.incident(store, environment)
            refused = rules.refusal(runs, settings.retrain, now, by_hand=not due, incident=broken)
            if refused and not force:
                report(f"no retrain ({reason}): {refused}; `make retrain FORCE=1` starts one anyway")
                return None
            report(f"retrain ({reason}): {text}")
            run = _train_and_promote(settings, environment, root, reason, text, "schedule" if due else "hand", now)
            if request:
                rules.complete(store, environment, request, now)
    except Busy as error:
        raise LifecycleError("another retrain is running", "Wait until it ends.") from error
    if run.decision:
        report(f"decision: {run.decision}")
    return run


def _train_and_promote(
    settings: Settings, environment: str, root: Path, reason: str, text: str, by: str, now: int
) -> Run:
    """Train, promote and record the outcome; a candidate that the gate refuses is an outcome, not an error."""
    who, pages, version = provenance.who(), list[str](), None

    def record(outcome: str, result: str) -> Run:
        page = pages[0] if pages else None
        run = Run(timestamps.format_utc(now), reason, by, who.name, outcome, version, result, page)
        rules.record(settings.store, environment, run)
        return run

    try:
        team = teams.load(root)
        bundle = train(team, settings, root, reason=reason, owners=repository.roles(root))
        version = bundle.version
        mirror(settings, bundle)
        promote(
            settings,
            team.data,
            environment,
            version,
            None,
            who,
            f"retrain ({reason}): {text}",
            root,
            reason=reason,
            skew=logged_skew(settings, team.data, environment),
            on_decision=lambda page: pages.append(str(page)),
        )
    except Refused as error:
        return record("refused", str(error))
    except BaseException as error:
        # A failed run counts for cooldown and weekly limit; otherwise a scheduler would repeat it each time.
        record("failed", f"{type(error).__name__}: {error}")
        raise
    return record("promoted", f"{version} is deployed in {environment}")


def _last_training(settings: Settings, environment: str) -> LastTraining | None:
    """Return when the deployed version, or a newer candidate, was trained; None before the first promotion."""
    store = settings.store
    deployment = deployments.read(store, environment)
    if deployment is None:
        return None
    # A newer candidate that the gate refused was trained on the newer labels, too.
    newest = max([*store.versions(), deployment.current.version])
    created = timestamps.parse(open_version(store, newest).facts["created"])
    return LastTraining(created, labels.count_since(store, created) if settings.retrain.new_labels else 0)
