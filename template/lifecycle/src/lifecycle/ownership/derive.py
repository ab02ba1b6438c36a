"""The files that follow from OWNERS, as text. Each says so in its first lines."""

import json
from collections.abc import Iterable, Iterator
from textwrap import indent

from lifecycle.ownership.patterns import Filters, Pattern, last_match_wins
from lifecycle.ownership.reading import Names, Owners

MARK = "derived from OWNERS by make owners"
HEADER = f"# This file is {MARK}: change OWNERS and run it again; an edit here is refused.\n"
GITHUB, GITLAB = ".github/CODEOWNERS", ".gitlab/CODEOWNERS"
CATALOG, ALIASES, RULESET = "catalog-info.yaml", "OWNERS_ALIASES", ".github/rulesets/ownership.json"
ALERTS = "deploy/alertmanager.yml"
ALL = (GITHUB, GITLAB, CATALOG, ALIASES, RULESET, ALERTS)
# Whoever is asked where nobody else is: for a role without anybody, and for an alert without an owner.
LAST = "engineering"


def derived(owners: Owners, name: str, description: str, alert_url: str = "") -> dict[str, str]:
    """Each file that OWNERS has something to say in; none while nobody answers for anything."""
    if not any(owners.roles.values()):
        return {}
    texts = {GITHUB: github(owners), GITLAB: gitlab(owners), CATALOG: catalog(owners, name, description)}
    texts[ALERTS] = alertmanager(owners, alert_url)
    if owners.prow:
        texts[ALIASES] = aliases(owners)
    if owners.team_ids:
        texts[RULESET] = ruleset(owners)
    return texts


def github(owners: Owners) -> str:
    """CODEOWNERS of GitHub: of several owners, the approval of any one is enough."""
    return HEADER + _lines((each.pattern, each.approvers) for each in owners.filters)


def gitlab(owners: Owners) -> str:
    """CODEOWNERS of GitLab: a section for each role; a file that stands in two sections needs an approval of each."""
    roles_of: dict[str, set[str]] = {}
    for role, handles in owners.roles.items():
        for name in handles:
            roles_of.setdefault(name.lower(), set()).add(role)
    sections = []
    for title in (*owners.roles, "others"):
        # Who is in no role at all may approve instead of anybody beside them.
        inside = [
            (each.pattern, tuple(name for name in each.approvers if title in roles_of.get(name.lower(), {title})))
            for each in owners.filters
            if title in (each.roles or ("others",))
        ]
        sections.append((title, inside))
    texts = ((title, _lines(inside)) for title, inside in sections)
    return HEADER + "".join(f"\n[{title}]\n{text}" for title, text in texts if text)


def _lines(filters: Filters) -> str:
    found = list(last_match_wins(filters))
    width = max((len(glob) for glob, _ in found), default=0)
    return "".join(f"{glob:<{width}} {' '.join(f'@{name}' for name in names)}\n" for glob, names in found)


def catalog(owners: Owners, name: str, description: str) -> str:
    """The component of Backstage's catalogue. It has one owner: engineering, or the first role that has somebody."""
    order = ("engineering", *owners.roles)
    owner = next(handle for role in order for handle in owners.roles.get(role, ()))
    # As Backstage's own providers name what they read of a host: the team by its last name.
    team = "/" in owner or owner.lower() in map(str.lower, owners.teams)
    reference = f"{'group' if team else 'user'}:{owner.rpartition('/')[2]}"
    told = "".join(
        f"    ownership/{role}: {_quoted(', '.join(names))}\n" for role, names in owners.roles.items() if names
    )
    return (
        f"{HEADER}apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: {_quoted(name)}\n"
        f"  description: {_quoted(description)}\n  annotations:\n{told}"
        f"spec:\n  type: ml-model\n  lifecycle: production\n  owner: {_quoted(reference)}\n"
    )


def aliases(owners: Owners) -> str:
    """Prow's OWNERS_ALIASES: it knows logins only, so a team is an alias for its members."""
    teams = {team: members for team, members in owners.teams.items() if members}
    return HEADER + "aliases:" + ("\n" if teams else " {}\n") + "".join(_aliases(teams.items()))


def _aliases(teams: Iterable[tuple[str, Names]]) -> Iterator[str]:
    for team, members in teams:
        yield f"  {_quoted(team)}: [{', '.join(map(_quoted, members))}]\n"


def ruleset(owners: Owners) -> str:
    """A ruleset of GitHub: whoever changes a file needs the approval of each team with an id that owns it."""
    required = [
        {
            "file_patterns": [_fnmatch(each.pattern) for each in owners.filters if team in each.approvers],
            "minimum_approvals": 1,
            "reviewer": {"id": number, "type": "Team"},
        }
        for team, number in owners.team_ids.items()
    ]
    parameters = {
        "required_approving_review_count": 1,
        "dismiss_stale_reviews_on_push": True,
        "require_code_owner_review": True,
        "require_last_push_approval": False,
        "required_review_thread_resolution": False,
        "required_reviewers": required,
    }
    whole = {
        "name": f"ownership, {MARK}",
        "target": "branch",
        "enforcement": "active",
        "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
        "rules": [{"type": "pull_request", "parameters": parameters}],
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def alertmanager(owners: Owners, url: str) -> str:
    """Alertmanager's configuration: each alert goes to the role that its label `owner` names, by POST to `url`.

    Without an address, alerts are grouped and shown, and nobody is told.
    """
    told = {role: names for role, names in owners.roles.items() if names and role != LAST}
    routes = "".join(
        f"    - receiver: {_quoted(role)}\n      matchers: [{_quoted(f'owner = {_quoted(role)}')}]\n"
        f"      routes:\n{indent(TICKETS, '    ')}"
        for role in told
    )
    receivers = (_receiver(role, names, url) for role, names in (told | {LAST: owners.roles.get(LAST, ())}).items())
    return f"{HEADER}{ROUTE}  routes:\n{routes}{TICKETS}{INHIBITED}receivers:\n{''.join(receivers)}"


ROUTE = f"""route:
  receiver: {LAST}
  group_by: [alertname, job]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 4h
"""
# Alertmanager forgets after five days what it has sent.
TICKETS = """    - matchers: ['severity = "ticket"']
      repeat_interval: 4d
"""
# Of a service that is down, nothing else is news.
INHIBITED = """inhibit_rules:
  - source_matchers: ['alertname = "ServiceDown"']
    target_matchers: ['alertname != "ServiceDown"']
    equal: [job]
"""


def _receiver(role: str, names: Names, url: str) -> str:
    who = ", ".join(f"@{name}" for name in names) or "nobody yet"
    hook = f"    webhook_configs:\n      - url: {_quoted(url)}\n" if url else ""
    return f"  # {who}\n  - name: {_quoted(role)}\n{hook}"


def _fnmatch(pattern: Pattern) -> str:
    shapes = {"folder": f"{pattern.text}**/*", "file": pattern.text, "root": "*", "suffix": f"**/*{pattern.text}"}
    return shapes[pattern.kind]


def _quoted(text: str) -> str:
    # A string of JSON is one of YAML, whatever is in it.
    return json.dumps(text, ensure_ascii=False)
