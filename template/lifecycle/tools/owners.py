"""The command `lifecycle owners`: check OWNERS, show who may approve what, and derive CODEOWNERS and other files.

Each derived file begins with a header that says so.
"""

import argparse
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import yaml

from lifecycle import ownership
from lifecycle.contract.team import project_name
from lifecycle.errors import LifecycleError, Refused
from lifecycle.ownership import OWNERS, Finding, Names, Owners, Report
from lifecycle.storage import write_atomically

# Exported by lifecycle/org.mk.
ALERT_URL = "LOOSELEAF_ALERT_URL"
MARK = "derived from OWNERS by make owners"
HEADER = f"# This file is {MARK}: change OWNERS and run it again; an edit here is refused.\n"
GITHUB, GITLAB = ".github/CODEOWNERS", ".gitlab/CODEOWNERS"
CATALOG, ALERTS = "catalog-info.yaml", "deploy/alertmanager.yml"
# The path that a repository has where it needs the file.
NEEDS = {GITHUB: ".github", GITLAB: ".gitlab-ci.yml", CATALOG: OWNERS, ALERTS: "lifecycle/deploy"}
# The filter of the files at the root of the repository.
ROOT = "^[^/]+$"
# The receiver of alerts without an owner.
LAST = "engineering"


def run(given: argparse.Namespace) -> None:
    """Run one part of the command in the current folder: `check`, `derive`, `who` with a path, or `role`."""
    root = Path.cwd()
    if given.part == "check":
        report(root, always=True)
    elif given.part == "derive":
        print(*write(root), sep="\n")
    elif given.part == "who":
        print(*who(ownership.read(root).valid(), Path(given.path).as_posix()), sep="\n")
    else:
        print(*role(ownership.read(root).valid(), given.role), sep="\n")


def report(root: Path, always: bool) -> None:
    """Print every finding; Refused where there are errors, unless they are only warnings (see `Report.enforced`)."""
    found = examine(root)
    for finding in found.findings:
        print(finding, file=sys.stderr)
    if found.errors and not (always or found.enforced):
        problem = "OWNERS has no version, so its errors are only warnings here"
        print(f"{problem}\n  With `version: 1` below x-ownership, make check enforces the format.", file=sys.stderr)
    elif found.errors:
        raise Refused(f"OWNERS has {len(found.errors)} errors", "lifecycle/docs/owners.md describes the format.")
    if found.owners:
        filters, roles = len(found.owners.filters), ", ".join(found.owners.roles)
        waits = "; the warnings must be resolved before production" if found.findings else ""
        print(f"ok  owners: {filters} filters, {roles}{waits}")


def who(owners: Owners, path: str) -> list[str]:
    """Return a line for each filter that matches a path; LifecycleError where none does."""
    matching = [each for each in owners.filters if each.matches(path)]
    if not matching:
        raise LifecycleError(f"no filter of OWNERS matches {path}", "Add one, with its approvers.")
    return [f"{', '.join(each.approvers) or 'no owner yet'}  (OWNERS:{each.line})" for each in matching]


def role(owners: Owners, name: str) -> list[str]:
    """Return who holds a role and what it decides, and the people behind its teams; LifecycleError without the role."""
    if name not in owners.roles:
        raise LifecycleError(f"OWNERS has no role {name!r}", f"The roles are {', '.join(owners.roles)}.")
    handles, people = owners.roles[name], owners.behind(name)
    decides = [decision for decision, roles in owners.decisions.items() if name in roles]
    first = f"{', '.join(handles) or 'no owner yet'}  decides: {', '.join(decides) or 'nothing'}"
    return [first] if people == handles else [first, f"people: {', '.join(people) or 'not known'}"]


def texts(owners: Owners, name: str, description: str, alert_url: str = "") -> dict[str, str]:
    """Return the text of each derived file, by path; nothing while no role has an owner."""
    if not any(owners.roles.values()):
        return {}
    # On GitHub, the approval of any one owner of a line is enough.
    any_owner = HEADER + _lines([(each.regex, each.approvers) for each in owners.filters])
    made = {GITHUB: any_owner, GITLAB: gitlab(owners), CATALOG: catalog(owners, name, description)}
    return made | {ALERTS: alertmanager(owners, alert_url)}


def gitlab(owners: Owners) -> str:
    """Return CODEOWNERS of GitLab, where a file needs an approval of each section, and a section is a role."""
    made = HEADER
    for title in (*owners.roles, "others"):
        # A person without any role may approve in each section.
        elsewhere = {name for names in owners.roles.values() for name in names} - {*owners.roles.get(title, ())}
        inside = []
        for each in owners.filters:
            held = [role for role, names in owners.roles.items() if {*names} & {*each.approvers}]
            if title in (held or ["others"]):
                inside.append((each.regex, tuple(name for name in each.approvers if name not in elsewhere)))
        if text := _lines(inside):
            made += f"\n[{title}]\n{text}"
    return made


def _lines(filters: Sequence[tuple[str, Names]]) -> str:
    found = list(last_match_wins(filters))
    width = max((len(glob) for glob, _ in found), default=0)
    return "".join(f"{glob:<{width}} {' '.join(f'@{name}' for name in names)}\n" for glob, names in found)


def last_match_wins(filters: Sequence[tuple[str, Names]]) -> Iterator[tuple[str, Names]]:
    """Yield globs from general to specific, each with all approvers of what it covers.

    In OWNERS, the approvers of all matching filters add up; in CODEOWNERS, the last matching line wins. Therefore a
    folder and a suffix get a line for the files that both match. A glob without approvers is omitted.
    """
    plain = sorted({re.sub(r"\\(.)", r"\1", regex) for regex, _ in filters}, key=lambda text: (len(text), text))
    suffixes = [text[:-1] for text in plain if text[0] != "^"]
    # A place has its glob, the start of a glob with a suffix, and a path, with a character that is in no file name.
    places = [("", "*", "\0/\0")] + [("/*", "/*", "\0")] * (ROOT in plain)
    places += [(f"/{text[1:]}", f"/{text[1:]}**/*", f"{text[1:]}\0") for text in plain if text[-1] == "/"]
    ends = ("", *suffixes)
    globs = [(within + end if end else glob, path + end) for glob, within, path in places for end in ends]
    globs += [(f"/{text[1:-1]}", text[1:-1]) for text in plain if re.fullmatch(r"\^[^[]*\$", text)]
    for glob, sample in globs:
        if named := dict.fromkeys(name for regex, names in filters if re.search(regex, sample) for name in names):
            yield glob, tuple(named)


def catalog(owners: Owners, name: str, description: str) -> str:
    """Return the Backstage component; its one owner is engineering, or the first role that has one."""
    owner = next(handle for role in (LAST, *owners.roles) for handle in owners.roles.get(role, ()))
    # Backstage's own importers name a team of a host by the last part of its name.
    reference = f"{'group' if '/' in owner or owner in owners.teams else 'user'}:{owner.rpartition('/')[2]}"
    held = [f"    ownership/{role}: {_quoted(', '.join(each))}\n" for role, each in owners.roles.items() if each]
    return (
        f"{HEADER}apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: {_quoted(name)}\n"
        f"  description: {_quoted(description)}\n  annotations:\n{''.join(held)}"
        f"spec:\n  type: ml-model\n  lifecycle: production\n  owner: {_quoted(reference)}\n"
    )


def _quoted(text: str) -> str:
    # A string of JSON is one of YAML, whatever it contains.
    return json.dumps(text, ensure_ascii=False)


def alertmanager(owners: Owners, url: str) -> str:
    """Return Alertmanager's configuration: alerts are posted to `url`, if any, for the role in their label `owner`."""
    # Alertmanager forgets after five days what it has sent.
    tickets = {"matchers": ['severity = "ticket"'], "repeat_interval": "4d"}
    others = [role for role, names in owners.roles.items() if names and role != LAST]
    routes = [{"receiver": each, "matchers": [f"owner = {_quoted(each)}"], "routes": [tickets]} for each in others]
    times = {"group_wait": "30s", "group_interval": "5m", "repeat_interval": "4h"}
    # While a service is down, its other alerts say nothing new.
    down = {"source_matchers": ['alertname = "ServiceDown"'], "target_matchers": ['alertname != "ServiceDown"']}
    hook = {"webhook_configs": [{"url": url}]} if url else {}
    whole = {
        "route": {"receiver": LAST, "group_by": ["alertname", "job"], **times, "routes": [*routes, tickets]},
        "inhibit_rules": [down | {"equal": ["job"]}],
        "receivers": [{"name": each, **hook} for each in (*others, LAST)],
    }
    # YAML would write a reference to an object that it has written before.
    return HEADER + yaml.safe_dump(json.loads(json.dumps(whole)), sort_keys=False, allow_unicode=True)


def examine(root: Path, day: date | None = None) -> Report:
    """Check OWNERS at `root` and its derived files as of a day; raises LifecycleError where OWNERS is not YAML."""
    report = ownership.read(root, day)
    if report.owners is None or report.errors:
        return report
    stale = (name for name in _changes(root, report.owners)[0] if (root / name).exists())
    found = [Finding(name, "it differs from OWNERS", "`make owners` writes it again.") for name in stale]
    return replace(report, findings=found + report.findings)


def write(root: Path) -> list[str]:
    """Write every derived file that applies to the repository at `root`, and return a line for each change.

    Raises LifecycleError where OWNERS has errors, and Refused where a file is the team's own, which does not change.
    """
    changes, own = _changes(root, ownership.read(root).valid())
    done = []
    for name, new in changes.items():
        if new is None:
            (root / name).unlink()
        else:
            write_atomically(root / name, new.encode())
        done.append(f"{name} is {'updated; commit it' if new else 'removed: no role has an owner'}")
    if own:
        problem = f"{', '.join(own)} lacks the header of a derived file: it is the team's own and was not changed"
        raise Refused(problem, "Move it away and run `make owners` again, or keep your own.")
    return done or ["the files derived from OWNERS are up to date"]


def _changes(root: Path, owners: Owners) -> tuple[dict[str, str | None], list[str]]:
    """Return the new text of each derived file that differs, None to remove it, and the files that are the team's."""
    there = (name for name in NEEDS if (root / name).is_file())
    now = {name: (root / name).read_text(encoding="utf-8", errors="replace") for name in there}
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = re.search(r"- url: (.+)", now.get(ALERTS, ""))
    # Only make knows the address of alerts; without make, the one in the file stays.
    url = os.environ.get(ALERT_URL, str(yaml.safe_load(known[1])) if known else "")
    wanted = texts(owners, project_name(root), str(project.get("description", "")), url)
    # Without a filter for deploy/, a new file would have no owner.
    if ALERTS not in now and not any(each.matches(ALERTS) for each in owners.filters):
        wanted.pop(ALERTS, None)
    own = [name for name, text in now.items() if MARK not in text.partition("\n")[0]]
    due = [name for name, needs in NEEDS.items() if name not in own and (name in now or (root / needs).exists())]
    return {name: wanted.get(name) for name in due if wanted.get(name) != now.get(name)}, own
