"""Which bundle answers in an environment: one small file, changed only by compare-and-swap, every change audited."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lifecycle.errors import LifecycleError
from lifecycle.settings import ENVIRONMENTS
from lifecycle.storage import Store, explain_disk_errors, lock, write_atomically

FORMAT = 1
AUDIT_HINT = (
    "That line or one before it was edited or removed: restore the file from a backup. Without one, keep it under "
    "another name: approvals are then given again."
)


@dataclass(frozen=True)
class Live:
    """A version and the threshold it decides with; a threshold of None where there are not two classes."""

    version: str
    threshold: float | None


@dataclass(frozen=True)
class Deployment:
    """What answers in one environment, what answered before, and who decided it why."""

    environment: str
    revision: int
    live: Live
    previous: Live | None
    who: str
    why: str
    changed: str
    # Who answered for it then, by role. A file of before OWNERS was read has none.
    owners: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of the deployment file."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=2, ensure_ascii=False) + "\n"


# A later lifecycle may write more than these fields: they are left unread.
_DEPLOYMENT = TypeAdapter(Deployment)


class Stale(LifecycleError):
    """Somebody else changed the deployment first."""


def read(store: Store, environment: str) -> Deployment | None:
    """The deployment of an environment, or None before the first promotion.

    Raises LifecycleError when it is damaged or of another format.
    """
    path = store.deployments / f"{_known(environment)}.json"
    try:
        content = path.read_bytes()
        found = json.loads(content)["format"]
        if found == FORMAT:
            return _DEPLOYMENT.validate_json(content, strict=True)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        told = error.errors()[0] if isinstance(error, ValidationError) else error
        reason = f"{'.'.join(map(str, told['loc']))}: {told['msg']}" if isinstance(told, dict) else f"{told}"
        hint = f"The last lines of {store.audit} say what it held; restore it from there."
        raise LifecycleError(f"{path} is not a deployment ({reason})", hint) from error
    hint = "A newer lifecycle wrote it: update this one (`copier update`, then `make setup`)."
    raise LifecycleError(f"{path} has format {found}, this lifecycle reads {FORMAT}", hint)


def required(store: Store, environment: str) -> Deployment:
    """The deployment of an environment; raises LifecycleError before the first promotion."""
    found = read(store, environment)
    if found is None:
        where = "" if environment == "local" else f" ENVIRONMENT={environment}"
        hint = f"Run `make train promote{where}` first."
        raise LifecycleError(f"nothing is deployed in {environment} ({store.root} holds no deployment of it)", hint)
    return found


def named(store: Store, environment: str) -> set[str]:
    """The versions that an environment answers with, or goes back to."""
    found = read(store, environment)
    return {each.version for each in (found.live, found.previous) if each} if found else set()


def swap(
    store: Store,
    environment: str,
    seen: Deployment | None,
    live: Live,
    *,
    action: str,
    who: str,
    why: str,
    owners: dict[str, list[str]] | None = None,
    evidence: dict[str, Any] | None = None,
    moment: int | None = None,
) -> Deployment:
    """Make `live` answer in an environment, provided that `seen` is still what stands there.

    The audit line is written first: a change without its line cannot happen. Raises Stale when another change came
    between, and LifecycleError when the storage cannot be written. `moment` (seconds) stands for now when given.
    """
    with lock(store.deployments / f".{_known(environment)}.lock"):
        current = read(store, environment)
        if current != seen:
            hint = "Look at what is deployed now (`make config`), then decide again."
            raise Stale(f"the deployment of {environment} was changed while this one was being decided", hint)
        new = Deployment(
            environment=environment,
            revision=current.revision + 1 if current else 1,
            live=live,
            # What a rollback left was left for a reason: a second one must not bring it back unasked.
            previous=current.live if current and action != "rollback" else None,
            who=who,
            why=why,
            changed=(datetime.now(UTC) if moment is None else datetime.fromtimestamp(moment, UTC)).isoformat(
                timespec="seconds"
            ),
            owners=owners or {},
        )
        record(store, {"action": action} | asdict(new) | {"evidence": evidence or {}})
        write_atomically(store.deployments / f"{environment}.json", new.to_json().encode())
        return new


def record(store: Store, entry: dict[str, Any]) -> None:
    """Append a line to the audit, chained to the one before; raises LifecycleError when the disk refuses."""
    with lock(store.root / ".audit.lock"), explain_disk_errors(store.audit):
        content = store.audit.read_bytes() if store.audit.exists() else b""
        lines = content.splitlines()
        chained = {"after": _hash(_since_whole(lines)) if lines else ""} | entry
        # A writer that was killed may have left half a line: it is ended, so that this one stands alone.
        end = b"" if content.endswith(b"\n") or not content else b"\n"
        with store.audit.open("ab") as file:
            file.write(end + json.dumps(chained, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def audit_breaks(store: Store) -> list[int]:
    """Numbers of the audit lines (from 1) that do not follow from what stands before: one was edited or removed.

    Half a line is no break: a writer was killed, and the line after it follows from what it left.
    """
    lines, breaks, whole = _audit_lines(store), [], 0
    for at, line in enumerate(lines):
        if _is_half(line):
            continue
        # An earlier lifecycle wrote the hash of the half line alone.
        covered = {_hash(lines[at - 1]), _hash(b"\n".join(lines[whole:at]))} if at else {""}
        if _after(line) not in covered:
            breaks.append(at + 1)
        whole = at
    return breaks


def audit_halves(store: Store) -> list[int]:
    """Numbers of the audit lines (from 1) that a killed writer left half written: what they were to say is lost."""
    return [number for number, line in enumerate(_audit_lines(store), 1) if _is_half(line)]


def _audit_lines(store: Store) -> list[bytes]:
    return store.audit.read_bytes().splitlines() if store.audit.exists() else []


def _since_whole(lines: list[bytes]) -> bytes:
    """The last whole line and the halves after it: these hold no hash, so the next line has to vouch for them all."""
    whole = next((at for at in reversed(range(len(lines))) if not _is_half(lines[at])), 0)
    return b"\n".join(lines[whole:])


def _is_half(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def _after(line: bytes) -> str:
    entry = json.loads(line)
    return str(entry.get("after")) if isinstance(entry, dict) else "none"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _known(environment: str) -> str:
    if environment not in ENVIRONMENTS:
        raise LifecycleError(f"there is no environment {environment!r}", f"There are {', '.join(ENVIRONMENTS)}.")
    return environment
