"""What production requires of people: an approval of each deciding role, and a filled agreement.

An approval is a line of the audit log, and counts whenever its version is deployed, also after a rollback. Names come
from the CI host or from git configuration; they are recorded, not verified.
"""

import contextlib
from pathlib import Path
from typing import Any

from lifecycle import ownership, registry, timestamps
from lifecycle.errors import LifecycleError, Refused
from lifecycle.ownership import OWNERS, Decision, Owners
from lifecycle.registry import AGREEMENT, Identity, deployments, open_questions
from lifecycle.registry.deployments import Deployed, Deployment
from lifecycle.storage import Store

PRODUCTION = "production"
# Only what is committed counts: an edit that no one else can see would remove the need for approvals.
COMMITTED = (OWNERS, AGREEMENT, "config")
UNKNOWN = {
    "git": "Assign the address to a person: `people: {{ana: [{}]}}` below x-ownership.",
    "ci": "Add the handle to `roles`, or to the members of a team in `teams`.",
    "login": "A login name is not enough: set `git config user.email`, or approve in a CI job.",
}


def roles(root: Path) -> dict[str, list[str]]:
    """Return the handles of each role, to be recorded with a version; empty where OWNERS is unreadable."""
    # A rollback must not depend on OWNERS, whatever is wrong with it.
    with contextlib.suppress(Exception):
        found = ownership.load((root / OWNERS).read_bytes())[0]["x-ownership"]["roles"]
        return {str(role): [*map(str, each)] for role, each in found.items()}
    return {}


def roles_of(owners: Owners, name: str, source: str) -> list[str]:
    """Return the roles of a handle of the CI host, or of a git address that `people` assigns; upper case is equal."""
    people = [name.lower()] if source == "ci" else []
    if source == "git":
        people = [who.lower() for who, given in owners.people.items() if name.lower() in map(str.lower, given)]
    return [role for role in owners.roles if {*people} & {*map(str.lower, owners.behind(role))}]


def approve(
    root: Path, store: Store, environment: str, version: str, threshold: float | None, who: Identity, why: str
) -> list[str]:
    """Record that a person approves a version, or a threshold of it, for production.

    Returns the roles that this person holds in OWNERS. Raises LifecycleError where the environment needs no approval or
    the threshold is not valid, and Refused where the person holds no role or OWNERS has errors or is not committed.
    """
    if environment != PRODUCTION:
        problem = f"{environment} needs no approval"
        raise LifecycleError(problem, f"Promote right away, or give ENVIRONMENT={PRODUCTION}.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise LifecycleError(f"the threshold {threshold} is not a probability", "Give a number from 0 to 1.")
    if edited := registry.uncommitted(root, OWNERS):
        raise Refused(*edited)
    roles = roles_of(ownership.read(root).valid(), who.name, who.source)
    if not roles:
        raise Refused(f"{who} holds no role in OWNERS", UNKNOWN[who.source].format(who.name))
    entry = {"action": "approve", "environment": environment, "version": version, "threshold": threshold}
    given = {"who": who.name, "source": who.source, "roles": roles, "why": why}
    deployments.append_audit(store, entry | given | {"changed": timestamps.format_utc(timestamps.now())})
    return roles


def faults(
    root: Path, store: Store, seen: Deployment | None, wanted: Deployed, default: float | None, who: Identity
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return what production still requires before a deployment, and the approvals that count for it.

    A new version needs the roles that decide `promote`, a new threshold those that decide `change-threshold`; the roles
    of `who` promotes need no approval. `seen` is the current deployment, and `default` the threshold of the bundle.
    """
    report, used, waiting = ownership.read(root), list[dict[str, Any]](), list[str]()
    missing = registry.uncommitted(root, *COMMITTED)
    missing += [f"{each.where}: {each.problem}\n    {each.hint}" for each in report.findings]
    missing += [f"{each}\n    Fill it in, and commit." for each in open_questions(root)]
    if report.owners is None or report.errors:
        return missing, []
    owners, own = report.owners, roles_of(report.owners, who.name, who.source)
    wanted_entry = {"action": "approve", "environment": PRODUCTION, "version": wanted.version}
    approvals = [each for each in deployments.audit_entries(store) if wanted_entry.items() <= each.items()]
    # An approval of a threshold is for no other; one without a threshold does not decide about it.
    needed: dict[Decision, tuple[float | None, ...]] = {}
    if seen is None or seen.current.version != wanted.version:
        needed["promote"] = (None, wanted.threshold)
    current = seen.current.threshold if seen and seen.current.threshold is not None else default
    if wanted.threshold not in (None, current):
        needed["change-threshold"] = (wanted.threshold,)
    for decision, thresholds in needed.items():
        given = [each for each in approvals if each["threshold"] in thresholds]
        for role in (each for each in owners.decisions[decision] if each not in own):
            fitting = [each for each in given if role in roles_of(owners, each["who"], each["source"])]
            used += [each for each in fitting[-1:] if each not in used]
            if not fitting:
                threshold = "" if decision == "promote" else f" THRESHOLD={wanted.threshold}"
                command = f"`make approve VERSION={wanted.version}{threshold} ENVIRONMENT={PRODUCTION}`"
                people = ", ".join(owners.behind(role)) or "no owner yet"
                waiting.append(f"{role} decides {decision} and has not approved ({people}): {command}")
    if waiting and not own:
        hint = UNKNOWN[who.source].format(who.name)
        missing.append(f"{who} holds no role in OWNERS, so every deciding role must approve\n    {hint}")
    return missing + waiting, used
