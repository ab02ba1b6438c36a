"""What production requires of people: an approval of each deciding role, and a filled agreement.

An approval is a line of the audit log. It is used up when the version is deployed: deploying it again later is a new
decision. Names come from the CI host or from git configuration; they are recorded, not verified.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lifecycle import timestamps
from lifecycle.errors import LifecycleError, Refused
from lifecycle.ownership import repository
from lifecycle.ownership.owners_file import OWNERS, Owners
from lifecycle.registry import audit, provenance
from lifecycle.registry.deployments import Deployed, Deployment
from lifecycle.registry.provenance import Identity, Source
from lifecycle.storage import Store

PRODUCTION, AGREEMENT = "production", "docs/agreement.md"
MOST_QUESTIONS = 5
# Only what is committed counts: an edit that no one else can see would remove the need for approvals.
COMMITTED = (OWNERS, AGREEMENT, "config")


@dataclass(frozen=True)
class Approval:
    """An approval in the audit log."""

    who: str
    source: Source
    roles: list[str]
    threshold: float | None
    why: str
    changed: str


_APPROVAL = TypeAdapter(Approval)


def roles_of(owners: Owners, who: Identity) -> list[str]:
    """Return the roles of an identity: a handle of the CI host, or a git address that `people` assigns to a person."""
    people = [who.name] if who.source == "ci" else []
    if who.source == "git":
        people = [name for name, given in owners.people.items() if who.name.lower() in map(str.lower, given)]
    known = {name.lower() for name in people}
    return [role for role in owners.roles if known & {each.lower() for each in owners.behind(role)}]


def approve(
    root: Path, store: Store, environment: str, version: str, threshold: float | None, who: Identity, why: str
) -> list[str]:
    """Record that a person approves a version, or a threshold of it, for production.

    Returns:
        The roles that this person holds in OWNERS as of the last commit.

    Raises:
        LifecycleError: the environment needs no approval, or the threshold is not a probability.
        Refused: the person holds no role.
    """
    if environment != PRODUCTION:
        problem = f"{environment} needs no approval"
        raise LifecycleError(problem, f"Promote right away, or give ENVIRONMENT={PRODUCTION}.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise LifecycleError(f"the threshold {threshold} is not a probability", "Give a number from 0 to 1.")
    roles = roles_of(repository.committed(root), who)
    if not roles:
        hints = [*_uncommitted(root, OWNERS), _how_to_be_known(who)]
        raise Refused(f"{who} holds no role in OWNERS as of the last commit", "\n  ".join(hints))
    entry = {"action": "approve", "environment": environment, "version": version, "threshold": threshold}
    given = {"who": who.name, "source": who.source, "roles": roles, "why": why}
    audit.append(store, entry | given | {"changed": timestamps.format_utc(timestamps.now())})
    return roles


def _how_to_be_known(who: Identity) -> str:
    return {
        "git": f"Assign the address to a person: `people: {{ana: [{who.name}]}}` below x-ownership.",
        "ci": "Add the handle to `roles`, or to the members of a team in `teams`.",
        "login": "A login name is not enough: set `git config user.email`, or approve in a CI job.",
    }[who.source]


def faults(
    root: Path, store: Store, seen: Deployment | None, wanted: Deployed, default: float | None, who: Identity
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return what production still requires before a deployment, and the approvals that count for it.

    A new version needs the roles that decide `promote`, a new threshold those that decide `change-threshold`.

    Args:
        root: the repository, with OWNERS, the agreement and config/.
        store: the storage, with the audit log.
        seen: the current deployment, None before the first.
        wanted: the version and threshold to be deployed.
        default: the threshold of the bundle; None for models without one.
        who: the person who promotes, and who needs no approval for their own roles.
    """
    report = repository.examine(root, repository.today())
    missing = _uncommitted(root, *COMMITTED)
    missing += [f"{each.where}: {each.problem}\n    {each.hint}" for each in report.findings]
    questions = open_questions(root)
    missing += questions[:MOST_QUESTIONS]
    if len(questions) > MOST_QUESTIONS:
        missing.append(f"and {len(questions) - MOST_QUESTIONS} more open questions")
    if report.owners is None or report.refused:
        return missing, []
    owners, own, waiting = report.owners, roles_of(report.owners, who), []
    given, used = list(_approvals(store, wanted.version)), list[Approval]()
    for decision in _decisions(seen, wanted, default):
        promoting = decision == "promote"
        # An approval of a threshold is for no other; one without a threshold does not decide about it.
        thresholds = (None, wanted.threshold) if promoting else (wanted.threshold,)
        for role in (each for each in owners.decisions[decision] if each not in own):
            fitting = [
                each
                for each in given
                if each.threshold in thresholds and role in roles_of(owners, Identity(each.who, each.source))
            ]
            used += [each for each in fitting[-1:] if each not in used]
            if not fitting:
                version = f"VERSION={wanted.version}" + ("" if promoting else f" THRESHOLD={wanted.threshold}")
                command = f"`make approve {version} ENVIRONMENT={PRODUCTION}`"
                people = ", ".join(owners.behind(role)) or "no owner yet"
                waiting.append(f"{role} decides {decision} and has not approved ({people}): {command}")
    if waiting and not own:
        missing.append(
            f"{who} holds no role in OWNERS, so every deciding role must approve\n    {_how_to_be_known(who)}"
        )
    return missing + waiting, [asdict(each) for each in used]


def _uncommitted(root: Path, *places: str) -> list[str]:
    edited = provenance.uncommitted(root, *places)
    if edited is None:
        return [f"git has no commit at {root}: promote from a clone"]
    return [f"{name} differs from the last commit: commit it, or `git checkout HEAD -- {name}`" for name in edited]


def _decisions(seen: Deployment | None, wanted: Deployed, default: float | None) -> list[str]:
    needed = ["promote"] if seen is None or seen.current.version != wanted.version else []
    current = seen.current.threshold if seen and seen.current.threshold is not None else default
    return needed + (["change-threshold"] if wanted.threshold not in (None, current) else [])


def _approvals(store: Store, version: str) -> Iterator[Approval]:
    """Yield the approvals of a version in production since it was last deployed there."""
    found: list[Approval] = []
    for entry in audit.entries(store):
        # A line of another form is not an approval.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            approved = entry["action"] == "approve"
            if entry["environment"] == PRODUCTION and (entry if approved else entry["live"])["version"] == version:
                found = [*found, _APPROVAL.validate_json(json.dumps(entry), strict=True)] if approved else []
    yield from found


def open_questions(root: Path) -> list[str]:
    """Return why docs/agreement.md is not filled: a row of its tables with an empty cell, or no text at all."""
    path, rule = root / AGREEMENT, re.compile(r"\|?(\s*:?-+:?\s*\|)+\s*(:?-+:?\s*)?")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if not text.strip():
        return [f"{AGREEMENT} is {'empty' if path.is_file() else 'missing'}"]
    found, lines = [], [*map(str.strip, text.splitlines()), ""]
    for number, line in enumerate(lines[:-1], 1):
        is_heading = rule.fullmatch(line) or rule.fullmatch(lines[number])
        if line.startswith("|") and not is_heading:
            first, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.removesuffix("|"))[1:])
            if not cells or not all(cells):
                found.append(f"{AGREEMENT}:{number}: the text is missing: {first}")
    return found
