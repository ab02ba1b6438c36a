"""What production asks of people: an approval of each role that decides, by an identity that git or the CI host gives.

An approval is a line of the audit. It is used up when the version begins to answer: going back to it is a new decision.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lifecycle import timestamps
from lifecycle.errors import LifecycleError, Refused
from lifecycle.ownership import repository
from lifecycle.ownership.agreement import AGREEMENT, open_questions
from lifecycle.ownership.reading import OWNERS, Owners
from lifecycle.registry import audit, provenance
from lifecycle.registry.deployments import Deployed, Deployment
from lifecycle.registry.provenance import Identity, Source
from lifecycle.storage import Store

ASKING = "production"
MOST_TOLD = 5
# What decides about production is what everybody can see: an edit that is not committed would lift every approval.
COMMITTED = (OWNERS, AGREEMENT, "config")


@dataclass(frozen=True)
class Approval:
    """What a line of the audit holds of an approval."""

    who: str
    source: Source
    roles: list[str]
    threshold: float | None
    why: str
    changed: str


_APPROVAL = TypeAdapter(Approval)


def stands_for(owners: Owners, who: Identity) -> list[str]:
    """The roles of an identity: of a CI host the handle itself, of git an address that OWNERS gives to a person."""
    if who.source == "git":
        people = [name for name, given in owners.people.items() if who.name.lower() in {each.lower() for each in given}]
    else:
        people = [who.name] if who.source == "ci" else []
    known = {name.lower() for name in people}
    return [role for role in owners.roles if known & {each.lower() for each in owners.behind(role)}]


def approve(
    root: Path, store: Store, environment: str, version: str, threshold: float | None, who: Identity, why: str
) -> list[str]:
    """Record that an identity approves a version, or a threshold of it; the roles it stands for.

    Raises LifecycleError where nobody is asked, and Refused for who stands for no role.
    """
    if environment != ASKING:
        problem = f"nobody is asked for an approval in {environment}"
        raise LifecycleError(problem, f"Promote right away, or name --environment {ASKING}.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise LifecycleError(f"the threshold {threshold} is not a probability", "Give a number from 0 to 1.")
    roles = stands_for(repository.committed(root), who)
    if not roles:
        edited = _uncommitted(root, OWNERS)
        raise Refused(f"{who} stands for no role of OWNERS as committed", "\n  ".join([*edited, _binding(who)]))
    entry = {"action": "approve", "environment": environment, "version": version, "threshold": threshold}
    told = {"who": who.name, "source": who.source, "roles": roles, "why": why}
    audit.append(store, entry | told | {"changed": timestamps.format_utc(timestamps.now())})
    return roles


def _binding(who: Identity) -> str:
    if who.source == "git":
        return f"Name whose address it is: `people: {{ana: [{who.name}]}}` below x-ownership."
    if who.source == "ci":
        return "Name the handle in `roles`, or in `teams` among the members of a team that is."
    return "An approval takes what `git config user.email` or the CI host says; a login name is not enough."


def faults(
    root: Path, store: Store, seen: Deployment | None, live: Deployed, default: float | None, who: Identity
) -> tuple[list[str], list[dict[str, Any]]]:
    """What production still waits for before `live` answers, in words; and the approvals that count.

    A version asks the roles that decide `promote`; a threshold other than the one that holds, `change-threshold`.
    """
    report = repository.examine(root, repository.today())
    told = _uncommitted(root, *COMMITTED)
    told += [f"{each.where}: {each.problem}\n    {each.hint}" for each in report.findings]
    questions = open_questions(root)
    told += questions[:MOST_TOLD]
    if more := questions[MOST_TOLD:]:
        told.append(f"and {len(more)} more open questions")
    if report.owners is None or report.refused:
        return told, []
    used: list[Approval] = []
    own, given, waiting = stands_for(report.owners, who), _given(store, live.version), []
    for decision in _asked(seen, live, default):
        for role in report.owners.decisions[decision]:
            if role in own:
                continue
            fitting = [
                each
                for each in given
                if role in stands_for(report.owners, Identity(each.who, each.source))
                # Who approved a threshold approved no other; who named none has not decided about it.
                and each.threshold in ({live.threshold} if decision != "promote" else {None, live.threshold})
            ]
            used += [each for each in fitting[-1:] if each not in used]
            if not fitting:
                what = f"VERSION={live.version}" + (f" THRESHOLD={live.threshold}" if decision != "promote" else "")
                people = ", ".join(report.owners.behind(role)) or "nobody yet"
                command = f"make approve {what} ENVIRONMENT={ASKING}"
                waiting.append(f"{role} decides {decision} and has not approved ({people}): `{command}`")
    if waiting and not own:
        told.append(f"{who} stands for no role of OWNERS, so that each has to approve\n    {_binding(who)}")
    return told + waiting, [asdict(each) for each in used]


def _uncommitted(root: Path, *places: str) -> list[str]:
    edited = provenance.uncommitted(root, *places)
    if edited is None:
        return [f"git holds no commit at {root}: promote from a clone"]
    return [f"{name} is not what the last commit holds: commit it, or `git checkout HEAD -- {name}`" for name in edited]


def _asked(seen: Deployment | None, live: Deployed, default: float | None) -> list[str]:
    asked = ["promote"] if seen is None or seen.current.version != live.version else []
    holds = seen.current.threshold if seen and seen.current.threshold is not None else default
    return asked + (["change-threshold"] if live.threshold not in (None, holds) else [])


def _given(store: Store, version: str) -> list[Approval]:
    given: list[Approval] = []
    for entry in audit.entries(store):
        # A line of another shape is not an approval.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if entry["environment"] != ASKING:
                continue
            if entry["action"] == "approve":
                if entry["version"] == version:
                    given.append(_APPROVAL.validate_json(json.dumps(entry), strict=True))
            elif entry["live"]["version"] == version:
                given.clear()
    return given
