"""The files that are derived from OWNERS. Each begins with a header that says so."""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from lifecycle import ownership, registry
from lifecycle.contract.team import project_name
from lifecycle.errors import Refused
from lifecycle.ownership import OWNERS, SHOWN, Finding, Names, Owners, Report
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
    # Each place is a glob and the path of a file in it, with a character that is in no file name.
    places = [("/*", "\0")] if ROOT in plain else []
    places += [(f"/{text[1:]}", f"{text[1:]}\0") for text in plain if text[-1] == "/"]
    globs = [(f"*{suffix}", f"\0/\0{suffix}") for suffix in suffixes]
    for glob, sample in places:
        within = "/*" if glob == "/*" else f"{glob}**/*"
        globs += [(glob, sample), *((within + suffix, sample + suffix) for suffix in suffixes)]
    globs += [
        (f"/{text[1:-1]}", text[1:-1]) for text in plain if text[0] == "^" and text[-1] == "$" and "[" not in text
    ]
    for glob, sample in globs:
        if named := dict.fromkeys(name for regex, names in filters if re.search(regex, sample) for name in names):
            yield glob, tuple(named)


def catalog(owners: Owners, name: str, description: str) -> str:
    """Return the Backstage component; its one owner is engineering, or the first role that has one."""
    owner = next(handle for role in (LAST, *owners.roles) for handle in owners.roles.get(role, ()))
    kind = "group" if "/" in owner or owner in owners.teams else "user"
    held = {f"ownership/{role}": ", ".join(each) for role, each in owners.roles.items() if each}
    whole = {
        "apiVersion": "backstage.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": name, "description": description, "annotations": held},
        # Backstage's own importers name a team of a host by the last part of its name.
        "spec": {"type": "ml-model", "lifecycle": "production", "owner": f"{kind}:{owner.rpartition('/')[2]}"},
    }
    return _yaml(whole)


def alertmanager(owners: Owners, url: str) -> str:
    """Return Alertmanager's configuration: alerts are posted to `url`, if any, for the role in their label `owner`."""
    # Alertmanager forgets after five days what it has sent.
    tickets = {"matchers": ['severity = "ticket"'], "repeat_interval": "4d"}
    others = [role for role, names in owners.roles.items() if names and role != LAST]
    routes = [{"receiver": each, "matchers": [f'owner = "{each}"'], "routes": [tickets]} for each in others]
    times = {"group_wait": "30s", "group_interval": "5m", "repeat_interval": "4h"}
    # While a service is down, its other alerts say nothing new.
    down = {"source_matchers": ['alertname = "ServiceDown"'], "target_matchers": ['alertname != "ServiceDown"']}
    hook = {"webhook_configs": [{"url": url}]} if url else {}
    whole = {
        "route": {"receiver": LAST, "group_by": ["alertname", "job"], **times, "routes": [*routes, tickets]},
        "inhibit_rules": [down | {"equal": ["job"]}],
        "receivers": [{"name": each, **hook} for each in (*others, LAST)],
    }
    return _yaml(whole)


def _yaml(whole: dict[str, Any]) -> str:
    # YAML would write a reference to an object that it has written before.
    return HEADER + yaml.safe_dump(json.loads(json.dumps(whole)), sort_keys=False, allow_unicode=True)


def read(root: Path, day: date | None = None) -> Report:
    """Check OWNERS at `root` as of a day, by default today; raises LifecycleError where it is not YAML."""
    if not (root / OWNERS).is_file():
        return Report(None, [Finding(OWNERS, "the file is missing: nothing has an owner", SHOWN, refused=False)])
    return ownership.examine((root / OWNERS).read_bytes(), registry.repository_files(root), day)


def examine(root: Path, day: date | None = None) -> Report:
    """Check OWNERS at `root` and its derived files as of a day; raises LifecycleError where OWNERS is not YAML."""
    report = read(root, day)
    if report.owners is None or report.refused:
        return report
    stale = [name for name, now, wanted in _derived(root, report.owners) if now and MARK in now and now != wanted]
    found = [Finding(name, "it differs from OWNERS", "`make owners` writes it again.") for name in stale]
    return replace(report, findings=found + report.findings)


def write(root: Path) -> list[str]:
    """Write every derived file that applies to the repository at `root`, and return a line for each change.

    Raises:
        LifecycleError: OWNERS has errors.
        Refused: a file of that name is the team's own; it is not changed.
    """
    changes, own = list[str](), list[str]()
    for name, now, wanted in _derived(root, read(root).valid()):
        if now is not None and MARK not in now:
            own.append(name)
        elif now is not None and wanted is None:
            (root / name).unlink()
            changes.append(f"{name} is removed: no role has an owner")
        elif wanted is not None and wanted != now:
            write_atomically(root / name, wanted.encode())
            changes.append(f"{name} is updated; commit it")
    if own:
        problem = f"{', '.join(own)} lacks the header of a derived file: it is the team's own and was not changed"
        raise Refused(problem, "Move it away and run `make owners` again, or keep your own.")
    return changes or ["the files derived from OWNERS are up to date"]


def _derived(root: Path, owners: Owners) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield name, current text and wanted text of each derived file; None where it is not there, or not needed."""
    now = {name: (root / name).read_text(encoding="utf-8") if (root / name).is_file() else None for name in NEEDS}
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = re.search(r"- url: (.+)", now[ALERTS] or "")
    # Only make knows the address of alerts; without make, the one in the file stays.
    url = os.environ.get(ALERT_URL, str(yaml.safe_load(known[1])) if known else "")
    wanted = texts(owners, project_name(root), str(project.get("description", "")), url)
    # Without a filter for deploy/, a new file would have no owner.
    if now[ALERTS] is None and not any(each.matches(ALERTS) for each in owners.filters):
        wanted.pop(ALERTS, None)
    for name, text in now.items():
        yield name, text, wanted.get(name) if text is not None or (root / NEEDS[name]).exists() else None
