"""Train a new version and promote it if the gate passes: on request of monitoring, on a schedule, or by hand."""

from collections.abc import Callable
from pathlib import Path

from lifecycle import timestamps
from lifecycle.contract import team as teams
from lifecycle.errors import LifecycleError, Refused
from lifecycle.jobs.promote import promote
from lifecycle.models.bundle import open_version
from lifecycle.monitoring import labels
from lifecycle.ownership import approvals
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

    The reason is by default that of monitoring's request, else "manual". With `due`, a model is trained only if a
    request, the age of the last training or new labels demand it; with `force`, the guards are ignored. `report` is
    called with each line for the user.

    Returns:
        The recorded run, whose outcome may be "refused"; None where nothing was trained.

    Raises:
        LifecycleError: another retrain is running, or training failed (recorded as "failed").
    """
    store, now = settings.store, timestamps.now()
    try:
        with lock(store.runs / f".{environment}.retrain.lock", wait=False):
            request = rules.requested(store, environment)
            last = _last_training(settings, environment) if due else None
            demanded = rules.demand(request, last, settings.retrain, now)
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
            run = Run(timestamps.format_utc(now), reason, "schedule" if due else "hand")
            _train_and_promote(settings, environment, root, run, f"retrain ({reason}): {text}")
            if request:
                rules.complete(store, environment, request)
    except Busy as error:
        raise LifecycleError("another retrain is running", "Wait until it ends.") from error
    if run.decision:
        report(f"decision: {run.decision}")
    return run


def _train_and_promote(settings: Settings, environment: str, root: Path, run: Run, why: str) -> None:
    """Train, promote and record the outcome; a candidate that the gate refuses is an outcome, not an error."""
    who = provenance.who()
    run.who = who.name

    def on_decision(page: Path) -> None:
        run.decision = str(page)

    try:
        team = teams.load(root)
        bundle = train(team, settings, root, reason=run.reason, owners=approvals.roles(root))
        run.version = bundle.version
        mirror(settings, bundle)
        promote(
            settings, team.data, environment, bundle.version, None, who, why, root, run.reason, on_decision=on_decision
        )
        run.outcome, run.text = "promoted", f"{bundle.version} is deployed in {environment}"
    except Refused as error:
        run.outcome, run.text = "refused", str(error)
    except BaseException as error:
        # A failed run counts for cooldown and weekly limit; otherwise a scheduler would repeat it each time.
        run.text = f"{type(error).__name__}: {error}"
        raise
    finally:
        rules.record(settings.store, environment, run)


def _last_training(settings: Settings, environment: str) -> LastTraining | None:
    """Return when the deployed version, or a newer candidate, was trained; None before the first promotion."""
    store = settings.store
    deployment = deployments.read(store, environment)
    if deployment is None:
        return None
    # A newer candidate that the gate refused was trained on the newer labels, too.
    newest = max([*store.versions(), deployment.current.version])
    created = timestamps.parse(open_version(store, newest).facts["created"])
    return created, labels.count_since(store, created) if settings.retrain.new_labels else 0
