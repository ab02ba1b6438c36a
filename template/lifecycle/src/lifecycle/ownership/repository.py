"""OWNERS in a repository: checked against its files, and written to the files that are derived from it."""

import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import yaml

from lifecycle.contract.team import project_name
from lifecycle.errors import Refused
from lifecycle.ownership import derived, rules
from lifecycle.ownership.owners_file import OWNERS, SHOWN, Finding, Owners, load
from lifecycle.registry import provenance
from lifecycle.storage import write_atomically

# Exported by lifecycle/org.mk.
ALERT_URL = "LOOSELEAF_ALERT_URL"


@dataclass(frozen=True)
class Report:
    """The owners (None without a readable OWNERS) and the findings, errors first.

    A file that is not `enforced` has no `version`: it predates the rules, and `make check` only warns.
    """

    owners: Owners | None
    findings: list[Finding]
    enforced: bool = True

    @property
    def refused(self) -> int:
        """Return the number of errors."""
        return sum(each.refused for each in self.findings)


def today() -> date:
    """Return the current day in UTC."""
    return datetime.now(UTC).date()


def examine(root: Path, day: date) -> Report:
    """Check OWNERS at `root` and its derived files as of a day; raises LifecycleError where OWNERS is not YAML."""
    path = root / OWNERS
    if not path.is_file():
        return Report(None, [Finding(OWNERS, "the file is missing: nothing has an owner", SHOWN, refused=False)])
    owners, found = rules.examine(path.read_bytes(), files(root), day)
    if owners and not any(each.refused for each in found):
        stale = [name for name, now, wanted in _derived(root, owners) if now is not None and now != wanted]
        found = [Finding(name, "it differs from OWNERS", "`make owners` writes it again.") for name in stale] + found
    ours = load(path.read_bytes()).get("x-ownership")
    return Report(owners, found, enforced=not isinstance(ours, dict) or "version" in ours)


def required(root: Path) -> Owners:
    """Return the owners of the repository at `root`; raises LifecycleError where OWNERS is missing or has errors."""
    report = examine(root, today())
    # An error of a derived file does not matter: `make owners` writes it again.
    errors = [each for each in report.findings if each.where.startswith(OWNERS)]
    return _without_errors(report.owners, errors, "`uv run lifecycle owners check` shows everything.")


def committed(root: Path) -> Owners:
    """Return the owners as of the last commit; raises LifecycleError where OWNERS is not in it or has errors."""
    content = provenance.committed(root, OWNERS)
    if content is None:
        raise Refused(f"git has no commit of {OWNERS} at {root}", "Work in a clone, and commit it.")
    hint = f"This is {OWNERS} as of the last commit: correct it, and commit."
    return _without_errors(*rules.examine(content, files(root), today()), hint)


def _without_errors(owners: Owners | None, findings: Iterable[Finding], hint: str) -> Owners:
    errors = [str(each) for each in findings if each.refused or not owners]
    if errors or not owners:
        # The command line prints the word "error" itself.
        raise Refused("\n".join(errors).removeprefix("error: "), hint)
    return owners


def roles(root: Path) -> dict[str, list[str]]:
    """Return the handles of each role, to be recorded with a version; empty where OWNERS is unreadable."""
    try:
        found = load((root / OWNERS).read_bytes())["x-ownership"]["roles"]
        # Half of a surrogate pair cannot be written.
        return {role: [*map(str, each)] for role, each in found.items() if role.isprintable()}
    except Exception:
        # A rollback must not depend on OWNERS, whatever is wrong with it.
        return {}


def files(root: Path) -> list[str] | None:
    """Return the files that are in git or that `git add --all` would add; None outside a repository."""
    listed = provenance.output(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return None if listed is None else sorted({*listed.decode("utf-8", "surrogateescape").split("\0")} - {""})


def write(root: Path) -> list[str]:
    """Write every derived file that applies to the repository at `root`, and return a line for each change.

    Raises:
        LifecycleError: OWNERS has errors.
        Refused: a file of that name is the team's own; it is not changed.
    """
    owners, changes = required(root), []
    for name, now, wanted in _derived(root, owners):
        if wanted is None and now is not None:
            (root / name).unlink()
            changes.append(f"{name} is removed: no role has an owner")
        elif wanted is not None and wanted != now and (now is not None or _applies(root, name, owners)):
            write_atomically(root / name, wanted.encode())
            changes.append(f"{name} is updated; commit it")
    if own := [name for name in derived.ALL if (root / name).is_file() and not _is_derived(root / name)]:
        problem = f"{', '.join(own)} lacks the header of a derived file: it is the team's own and was not changed"
        raise Refused(problem, "Move it away and run `make owners` again, or keep your own.")
    return changes or ["the files derived from OWNERS are up to date"]


def _derived(root: Path, owners: Owners) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield name, current text and wanted text of each derived file that is not the team's own."""
    alerts, name = root / derived.ALERTS, project_name(root).removesuffix("-model")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = re.search(r"- url: (.+)", alerts.read_text(encoding="utf-8")) if alerts.is_file() else None
    # Only make knows the address of alerts; without make, the one in the file stays.
    url = os.environ.get(ALERT_URL, str(yaml.safe_load(known[1])) if known else "")
    texts = derived.texts(owners, name, str(project.get("description", "")), url)
    for path in map(root.joinpath, derived.ALL):
        if not path.is_file() or _is_derived(path):
            name = path.relative_to(root).as_posix()
            yield name, path.read_text(encoding="utf-8") if path.is_file() else None, texts.get(name)


def _is_derived(path: Path) -> bool:
    return derived.MARK in "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[:3])


def _applies(root: Path, name: str, owners: Owners) -> bool:
    # Without a filter for deploy/, the new file would have no owner.
    if name == derived.ALERTS and not any(each.matches(name) for each in owners.filters):
        return False
    needs = {derived.GITHUB: ".github", derived.GITLAB: ".gitlab-ci.yml", derived.ALERTS: "lifecycle/deploy"}
    return (root / needs.get(name, ".")).exists()
