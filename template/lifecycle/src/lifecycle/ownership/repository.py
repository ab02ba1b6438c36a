"""OWNERS in a repository: read from the disk, compared with its files and with what was derived from it."""

import json
import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from lifecycle.errors import LifecycleError, Refused
from lifecycle.ownership import derive, rules
from lifecycle.ownership.findings import Finding
from lifecycle.ownership.reading import OWNERS, Owners, read
from lifecycle.registry import provenance
from lifecycle.storage import write_atomically

# Exported by lifecycle/org.mk.
ALERT_URL = "LOOSELEAF_ALERT_URL"


@dataclass(frozen=True)
class Report:
    """What OWNERS says (None where there is no such file) and what was found, refusals first."""

    owners: Owners | None
    findings: tuple[Finding, ...]

    @property
    def held(self) -> bool:
        """Whether `make check` holds the repository to its OWNERS; to one that is older than the rules it does not."""
        return self.owners is None or self.owners.version is not None

    @property
    def refused(self) -> int:
        """How many findings refuse the repository."""
        return sum(each.refused for each in self.findings)


def today() -> date:
    """The day, in UTC."""
    return datetime.now(UTC).date()


def examine(root: Path, day: date) -> Report:
    """Check the OWNERS of a repository; raises LifecycleError where it cannot be read at all."""
    path = root / OWNERS
    if not path.is_file():
        hint = "lifecycle/docs/owners.md shows the format; production asks for it."
        return Report(None, (Finding(OWNERS, "the file is missing: nobody answers for anything", hint, refused=False),))
    owners, findings = rules.examine(path.read_bytes(), files(root), day)
    if not any(each.refused for each in findings):
        findings += _stale(root, owners)
    return Report(owners, tuple(sorted(findings, key=lambda each: not each.refused)))


def required(root: Path) -> Owners:
    """OWNERS without a refusal; raises LifecycleError with the findings otherwise."""
    report = examine(root, today())
    return _unrefused(report.owners, report.findings, "`uv run lifecycle owners check` shows all.")


def committed(root: Path) -> Owners:
    """OWNERS as HEAD holds it: an edit that nobody can see makes nobody an owner; raises as `required` does."""
    content = provenance.committed(root, OWNERS)
    if content is None:
        raise Refused(f"git holds no commit of {OWNERS} at {root}", "Work in a clone, and commit it.")
    hint = f"This is {OWNERS} as the last commit holds it: hint it, and commit."
    return _unrefused(*rules.examine(content, files(root), today()), hint)


def _unrefused(owners: Owners | None, findings: Iterable[Finding], hint: str) -> Owners:
    told = [each for each in findings if each.refused or not owners]
    if told or not owners:
        # The command line begins what it prints with that word, too.
        raise Refused("\n".join(map(str, told)).removeprefix("error: "), hint)
    return owners


def roles(root: Path) -> dict[str, list[str]]:
    """Who answers for what, to be written beside a version; empty where OWNERS does not tell. It never fails."""
    try:
        owners, _ = read((root / OWNERS).read_bytes())
    except Exception:
        # Whatever a file makes the reader raise: a rollback must not depend on it.
        return {}
    # A name of half a character pair could not be written.
    return {role: list(handles) for role, handles in owners.roles.items() if role.isprintable()}


def files(root: Path) -> list[str] | None:
    """The files that are in git, or would be by `git add --all`; None outside a repository."""
    listed = provenance.output(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is None:
        return None
    return sorted({name for name in listed.decode("utf-8", "surrogateescape").split("\0") if name})


def write(root: Path) -> list[str]:
    """Write each derived file that applies here, and say what was done.

    Raises Refused for a file without the header: it is the team's own, and stays as it is.
    """
    report = examine(root, today())
    owners = report.owners
    # A stale file is what this hints.
    if owners is None or any(each.refused and each.where.startswith(f"{OWNERS}:") for each in report.findings):
        owners = required(root)
    texts, told, own = _texts(root, owners), [], []
    for name in derive.ALL:
        path, text = root / name, texts.get(name)
        there = _there(path)
        if there is not None and not _is_derived(there):
            own += [name] if text else []
        elif text is None and there is not None:
            path.unlink()
            told.append(f"{name} is removed: nothing in OWNERS asks for it")
        elif text is not None and text != there and (there is not None or _applies(root, name, owners)):
            write_atomically(path, text.encode())
            told.append(f"{name} follows OWNERS now; commit it")
    if own:
        problem = f"{', '.join(own)} has no header of a derived file: it is the team's own and was left alone"
        raise Refused(problem, "Move it away and derive again, or go on with your own.")
    nothing = "what follows from OWNERS is up to date" if texts else "nobody answers yet: there is nothing to derive"
    return told or [nothing]


def _applies(root: Path, name: str, owners: Owners) -> bool:
    # An OWNERS of before there were alerts owns no such file: writing it would be a defect.
    if name == derive.ALERTS and not any(each.pattern.matches(name) for each in owners.filters):
        return False
    folder = {
        derive.GITHUB: ".github",
        derive.GITLAB: ".gitlab-ci.yml",
        derive.RULESET: ".github",
        derive.ALERTS: "lifecycle/deploy",
    }
    return (root / folder.get(name, ".")).exists()


def _there(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _is_derived(text: str) -> bool:
    return derive.MARK in "\n".join(text.splitlines()[:3])


def _texts(root: Path, owners: Owners) -> dict[str, str]:
    path = root / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        name = str(project["name"]).removesuffix("-model")
        return derive.derived(owners, name, str(project.get("description", "")), _alert_url(root))
    except (OSError, KeyError, ValueError) as error:
        raise LifecycleError(f"{path} does not name the project ({error})", "Run this in the repository.") from error


def _alert_url(root: Path) -> str:
    """Where alerts are sent. Only make knows; without it, the address that was derived stands."""
    there = re.search(r'^ +- url: (".*")$', _there(root / derive.ALERTS) or "", re.MULTILINE)
    return os.environ.get(ALERT_URL, json.loads(there[1]) if there else "")


def _stale(root: Path, owners: Owners) -> list[Finding]:
    texts = {name: _there(root / name) for name in derive.ALL}
    derived = {name: text.splitlines() for name, text in texts.items() if text is not None and _is_derived(text)}
    wanted = _texts(root, owners) if derived else {}
    found = []
    for name, there in derived.items():
        now = wanted.get(name, "").splitlines()
        if there != now:
            lines = enumerate(zip(there, now, strict=False), 1)
            line = next((number for number, (one, other) in lines if one != other), 1)
            found.append(Finding(f"{name}:{line}", "it is not what OWNERS says now", "`make owners` derives it again."))
    return found
