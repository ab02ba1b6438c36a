"""Deployments: the version and threshold in use in each environment, changed only by compare-and-swap."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.registry import audit
from lifecycle.settings import ENVIRONMENTS
from lifecycle.storage import Store, lock, write_atomically

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
        option = "" if environment == "local" else f" ENVIRONMENT={environment}"
        hint = f"Run `make train promote{option}` first."
        raise LifecycleError(f"nothing is deployed in {environment} ({store.root} has no deployment of it)", hint)
    return deployment


def swap(
    store: Store,
    environment: str,
    seen: Deployment | None,
    new: Deployed,
    *,
    action: str,
    who: str,
    why: str,
    owners: dict[str, list[str]] | None = None,
    evidence: dict[str, Any] | None = None,
) -> Deployment:
    """Deploy `new` in an environment, provided that the deployment is still `seen` (None: nothing is deployed).

    The audit line, which also holds `evidence`, is written first, so that no change lacks its line. `action` is
    "promote" or "rollback"; `owners` are those by role at this time.

    Raises:
        DeploymentChanged: another process changed the deployment since it was read.
    """
    path = _path(store, environment)
    with lock(path.with_name(f".{environment}.lock")):
        current = read(store, environment)
        if current != seen:
            hint = "Check what is deployed now (`make config`), then decide again."
            raise DeploymentChanged(f"the deployment of {environment} changed while this change was prepared", hint)
        deployment = Deployment(
            environment=environment,
            revision=current.revision + 1 if current else 1,
            current=new,
            # A version that was rolled back had a fault: a second rollback must not deploy it again.
            previous=current.current if current and action != "rollback" else None,
            who=who,
            why=why,
            changed=datetime.fromtimestamp(timestamps.now(), UTC).isoformat(),
            owners=owners or {},
        )
        audit.append(store, {"action": action} | deployment.as_document() | {"evidence": evidence or {}})
        content = json.dumps({"format": FORMAT} | deployment.as_document(), indent=2, ensure_ascii=False)
        write_atomically(path, f"{content}\n".encode())
        return deployment


def _path(store: Store, environment: str) -> Path:
    if environment not in ENVIRONMENTS:
        raise LifecycleError(f"there is no environment {environment!r}", f"Use one of {', '.join(ENVIRONMENTS)}.")
    return store.deployments / f"{environment}.json"
