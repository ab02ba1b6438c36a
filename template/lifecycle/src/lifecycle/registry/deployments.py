"""Deployments: the version and threshold in use in each environment, changed only by compare-and-swap.

Each change, and each approval, is one JSON line of the audit log, which is only ever appended to.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from lifecycle import timestamps
from lifecycle.errors import LifecycleError, complete_commands
from lifecycle.settings import ENVIRONMENTS
from lifecycle.storage import DECIDE_AGAIN, Store, append_line, read_lines, write_json

FORMAT = 1


@dataclass(frozen=True)
class Deployed:
    """A version and its decision threshold; the threshold is None unless the task is binary classification."""

    version: str
    threshold: float | None


@dataclass(frozen=True)
class Deployment:
    """The deployed version of one environment, the version before it, and who changed it and why."""

    environment: str
    revision: int
    # Releases 0.1.0 and 0.2.0 call it "live"; the key stays, so that a rollback of the template can read the file.
    current: Annotated[Deployed, Field(alias="live")]
    previous: Deployed | None
    who: str
    why: str
    changed: str
    # The owners by role at the time of the change; absent in files of 0.1.0.
    owners: dict[str, list[str]] = field(default_factory=dict)

    def as_document(self) -> dict[str, Any]:
        """Return the fields under the names that the deployment file and the audit log use."""
        return {"live" if name == "current" else name: value for name, value in asdict(self).items()}


# Fields that a later release may add are ignored.
_DEPLOYMENT = TypeAdapter(Deployment)


class DeploymentChanged(LifecycleError):
    """Another process changed the deployment between reading and writing."""


def read(store: Store, environment: str) -> Deployment | None:
    """Return the deployment of an environment, or None before the first promotion; a damaged file is an error."""
    path = _path(store, environment)
    try:
        content = path.read_bytes()
        version = json.loads(content)["format"]
        if version == FORMAT:
            return _DEPLOYMENT.validate_json(content, strict=True)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else f"{error}"
        hint = f"Restore it: the last lines of {store.audit} hold its content."
        raise LifecycleError(f"{path} is not a valid deployment ({reason})", hint) from error
    hint = "A newer release of lifecycle wrote it: update this one (`copier update`, then `make setup`)."
    raise LifecycleError(f"{path} has format {version}, this lifecycle reads {FORMAT}", hint)


def required(store: Store, environment: str) -> Deployment:
    """Return the deployment of an environment; raises LifecycleError before the first promotion."""
    deployment = read(store, environment)
    if deployment is None:
        hint = complete_commands("Run `make train promote` first.", environment)
        raise LifecycleError(f"nothing is deployed in {environment} ({store.root} has no deployment of it)", hint)
    return deployment


def swap(
    store: Store,
    environment: str,
    seen: Deployment | None,
    new: Deployed,
    action: str,
    who: str,
    why: str,
    owners: dict[str, list[str]] | None = None,
    evidence: dict[str, Any] | None = None,
) -> Deployment:
    """Deploy `new` in an environment, provided that the deployment is still `seen` (None: nothing is deployed).

    The audit line, which also holds `evidence`, is written first, so that no change lacks its line. `action` is
    "promote" or "rollback"; `owners` are those by role at this time. Raises DeploymentChanged where another process
    changed the deployment since it was read.
    """
    path = _path(store, environment)
    # A service on another machine loads them as soon as they are deployed.
    store.push("bundles", "features")
    with store.exclusive(path.with_name(f".{environment}.lock")):
        current = read(store, environment)
        if current != seen:
            problem = f"the deployment of {environment} changed while this change was prepared"
            raise DeploymentChanged(problem, DECIDE_AGAIN)
        revision = current.revision + 1 if current else 1
        # A version that was rolled back had a fault: a second rollback must not deploy it again.
        previous = current.current if current and action != "rollback" else None
        changed = datetime.fromtimestamp(timestamps.now(), UTC).isoformat()
        deployment = Deployment(environment, revision, new, previous, who, why, changed, owners or {})
        append_audit(store, {"action": action} | deployment.as_document() | {"evidence": evidence or {}})
        write_json(path, {"format": FORMAT} | deployment.as_document())
        return deployment


def _path(store: Store, environment: str) -> Path:
    if environment not in ENVIRONMENTS:
        raise LifecycleError(f"there is no environment {environment!r}", f"Use one of {', '.join(ENVIRONMENTS)}.")
    return store.deployments / f"{environment}.json"


@dataclass(frozen=True)
class Period:
    """A version and threshold that were deployed from `first` until before `last` (None: until now), in seconds."""

    version: str
    threshold: float | None
    first: int
    last: int | None
    entry: dict[str, Any]  # the line of the audit log


def append_audit(store: Store, entry: dict[str, Any]) -> None:
    """Append one line to the audit log; raises LifecycleError when the disk refuses."""
    append_line(store, store.audit, entry)


def audit_entries(store: Store) -> list[dict[str, Any]]:
    """Return every entry of the audit log, oldest first."""
    return read_lines(store.audit)


def periods(store: Store, environment: str) -> list[Period]:
    """Return what was deployed in an environment from when to when, oldest first.

    A change is logged before it is made, and left out if it was then refused or its process ended.
    """
    logged = [each for each in audit_entries(store) if "live" in each and each["environment"] == environment]
    changes, deployed = list[dict[str, Any]](), read(store, environment)
    revision, made = (deployed.revision, asdict(deployed.current)) if deployed else (0, None)
    for each in reversed(logged):
        is_made = each["revision"] < revision or (each["revision"] == revision and made in (None, each["live"]))
        if is_made or deployed is None:
            changes.insert(0, each)
            revision, made = each["revision"] - 1, each["previous"]
    starts = [timestamps.parse(each["changed"]) for each in changes]
    return [
        Period(each["live"]["version"], each["live"]["threshold"], first, last, each)
        for each, first, last in zip(changes, starts, [*starts[1:], None], strict=False)
    ]


def period_at(deployed: list[Period], as_of: int) -> Period:
    """Return the period that contains a timestamp in seconds; raises LifecycleError when nothing was deployed then."""
    begun = [period for period in deployed if period.first <= as_of]
    if not begun:
        problem = f"nothing was deployed at {timestamps.format_utc(as_of)}"
        raise LifecycleError(problem, "`make history` lists all periods.")
    return begun[-1]
