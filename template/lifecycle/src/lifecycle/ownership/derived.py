"""The texts of the files that are derived from OWNERS. Each begins with a header that says so."""

import json
import re
from collections.abc import Iterator, Sequence

import yaml

from lifecycle.ownership.owners_file import Names, Owners

MARK = "derived from OWNERS by make owners"
HEADER = f"# This file is {MARK}: change OWNERS and run it again; an edit here is refused.\n"
GITHUB, GITLAB = ".github/CODEOWNERS", ".gitlab/CODEOWNERS"
CATALOG, ALERTS = "catalog-info.yaml", "deploy/alertmanager.yml"
ALL = (GITHUB, GITLAB, CATALOG, ALERTS)
# The receiver of alerts without an owner.
LAST = "engineering"


def texts(owners: Owners, name: str, description: str, alert_url: str = "") -> dict[str, str]:
    """Return the text of each derived file, by path; nothing while no role has an owner.

    Without `alert_url`, the address to which alerts are posted, Alertmanager only groups and shows them.
    """
    if not any(owners.roles.values()):
        return {}
    made = {GITHUB: github(owners), GITLAB: gitlab(owners), CATALOG: catalog(owners, name, description)}
    return made | {ALERTS: alertmanager(owners, alert_url)}


def github(owners: Owners) -> str:
    """Return CODEOWNERS of GitHub, where the approval of any one owner of a line is enough."""
    return HEADER + _lines([(each.regex, each.approvers) for each in owners.filters])


def gitlab(owners: Owners) -> str:
    """Return CODEOWNERS of GitLab, where a file needs an approval of each section, and a section is a role."""
    held = {role: {name.lower() for name in handles} for role, handles in owners.roles.items()}
    made = HEADER
    for title in (*owners.roles, "others"):
        # A person without any role may approve in each section.
        out = {name for role, names in held.items() if role != title for name in names} - held.get(title, set())
        inside = []
        for each in owners.filters:
            given = {name.lower() for name in each.approvers}
            if title in (each.roles or [role for role, names in held.items() if names & given] or ["others"]):
                inside.append((each.regex, tuple(name for name in each.approvers if name.lower() not in out)))
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
    plain = {regex: re.sub(r"\\(.)", r"\1", regex.strip("^$")) for regex, _ in filters}
    ordered = sorted(plain.items(), key=lambda both: (len(both[1]), both[1]))
    suffixes = [text for regex, text in ordered if regex[0] != "^"]
    folders = [text for _, text in ordered if text.endswith("/")]
    files = [text for regex, text in ordered if regex[0] == "^" and regex[-1] == "$" and text != "[^/]+"]
    # Each place is a glob and the path of a file in it, with a character that is in no file name.
    root = [("/", "\0")] if "[^/]+" in plain.values() else []
    places = [("", "\0/\0"), *root, *((f"/{folder}", f"{folder}\0") for folder in folders)]
    globs = []
    for place, sample in places:
        globs += [(place + ("*" if place == "/" else ""), sample)] if place else []
        deep = "**/" if place not in ("", "/") else ""
        globs += [(f"{place}{deep}*{suffix}", sample + suffix) for suffix in suffixes]
    for glob, sample in (*globs, *((f"/{name}", name) for name in files)):
        if named := dict.fromkeys(name for regex, names in filters if re.search(regex, sample) for name in names):
            yield glob, tuple(named)


def catalog(owners: Owners, name: str, description: str) -> str:
    """Return the Backstage component; its one owner is engineering, or the first role that has one."""
    order = ("engineering", *owners.roles)
    owner = next(handle for role in order for handle in owners.roles.get(role, ()))
    # Backstage's own importers name a team of a host by the last part of its name.
    team = "/" in owner or owner.lower() in map(str.lower, owners.teams)
    reference = f"{'group' if team else 'user'}:{owner.rpartition('/')[2]}"
    held = "".join(f"    ownership/{role}: {_quoted(', '.join(each))}\n" for role, each in owners.roles.items() if each)
    return (
        f"{HEADER}apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: {_quoted(name)}\n"
        f"  description: {_quoted(description)}\n  annotations:\n{held}"
        f"spec:\n  type: ml-model\n  lifecycle: production\n  owner: {_quoted(reference)}\n"
    )


def _quoted(text: str) -> str:
    # A string of JSON is one of YAML, whatever it contains.
    return json.dumps(text, ensure_ascii=False)


def alertmanager(owners: Owners, url: str) -> str:
    """Return Alertmanager's configuration, which posts each alert to `url` for the role in its label `owner`."""
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
    return HEADER + yaml.dump(whole, Dumper=_Plain, sort_keys=False, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True
