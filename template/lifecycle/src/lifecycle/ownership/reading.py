"""OWNERS as typed facts, and what is wrong with how it is written."""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

from lifecycle.ownership.document import Value, parse
from lifecycle.ownership.findings import Finding
from lifecycle.ownership.patterns import CATCH_ALL, Pattern, translate

OWNERS = "OWNERS"
VERSION = 1
ROLES = ("data-science", "engineering", "product")
DECISIONS = ("promote", "change-threshold", "roll-back", "retire")
MOST_FILTERS, MOST_NAMES = 200, 50
# More would be no id of GitHub's; of thousands, int() makes an error.
_ID = re.compile(r"[0-9]{1,18}")
_OURS = ("version", "roles", "decisions", "people", "teams", "review_by", "waiver", "prow", "github-ruleset")
# Prow's own keys. Any of the first four at the top makes it ignore every filter.
_APPROVING = ("approvers", "reviewers", "required_reviewers", "labels")
_PROWS = (*_APPROVING, "emeritus_approvers", "options")
_HANDLE = re.compile(r"[A-Za-z0-9][\w./-]*")
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")
_UNFINISHED = re.compile(r"\b(todo|tbd|fixme|placeholder|changeme)\b", re.IGNORECASE)
_STAND_IN = re.compile(r"(your|my)[-_].*|example|somebody|someone|nobody|user(name)?|xxx+", re.IGNORECASE)

Names = tuple[str, ...]


@dataclass(frozen=True)
class Filter:
    """A regex of `filters`, the line it stands in, who may approve, and the roles that those stand for."""

    line: int
    pattern: Pattern
    approvers: Names
    roles: Names


@dataclass(frozen=True)
class Owners:
    """What OWNERS says. Handles are as written; they compare without case. An older format states no version."""

    version: int | None
    roles: Mapping[str, Names]
    people: Mapping[str, Names]
    teams: Mapping[str, Names]
    decisions: Mapping[str, Names]
    filters: tuple[Filter, ...]
    review_by: date | None
    waiver: date | None
    prow: bool
    team_ids: Mapping[str, int]
    lines: Mapping[str, int]

    def members(self, handle: str) -> Names:
        """The people behind a handle: a team's members, or the person."""
        listed = {team.lower(): members for team, members in self.teams.items()}
        return listed.get(handle.lower(), () if "/" in handle else (handle,))

    def behind(self, role: str) -> Names:
        """The people who stand for a role, each once."""
        return tuple(dict.fromkeys(each for handle in self.roles.get(role, ()) for each in self.members(handle)))


def read(content: bytes) -> tuple[Owners, list[Finding]]:
    """The facts, as far as they can be read, and the findings; raises LifecycleError for what is no YAML."""
    reader = _Reader()
    return reader.owners(parse(content, OWNERS)), reader.findings


class _Reader:
    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def refuse(self, line: int, problem: str, hint: str) -> None:
        self.findings.append(Finding(f"{OWNERS}:{line}", problem, hint))

    def owners(self, root: Value) -> Owners:
        top = self.mapping(root, "the file", (*_PROWS, "filters", "x-ownership"))
        for name in _APPROVING:
            if name in top and "filters" in top:
                problem = f"{name} at the top makes Prow ignore every filter, without a word"
                self.refuse(top[name].line, problem, "Name them in the filters.")
        for name in ("filters", "x-ownership"):
            if name not in top:
                self.refuse(root.line, f"there is no {name}", "lifecycle/docs/owners.md shows the format.")
        ours = self.mapping(top.get("x-ownership"), "x-ownership", _OURS)
        entries = self.mapping(ours.get("roles"), "roles")
        roles = {name: self.handles(value, name) for name, value in entries.items()}
        teams = {name: self.handles(each, name) for name, each in self.mapping(ours.get("teams"), "teams").items()}
        people = {name: self.addresses(each) for name, each in self.mapping(ours.get("people"), "people").items()}
        for name in (*teams, *people):
            self.stand_in(ours["teams" if name in teams else "people"].content[name].line, name)
        decided = self.mapping(ours.get("decisions"), "decisions", DECISIONS)
        named = {*roles, *teams, *people, *(name for names in (*roles.values(), *teams.values()) for name in names)}
        filters = self.filters(top.get("filters"), entries, roles, {name.lower() for name in named} - {*roles})
        owners = Owners(
            version=self.version(ours.get("version")),
            roles=roles,
            people=people,
            teams=teams,
            decisions={name: self.names(value, name) for name, value in decided.items()},
            filters=filters,
            review_by=self.day(ours.get("review_by"), "review_by"),
            waiver=self.waiver(ours.get("waiver")),
            prow=self.switch(ours.get("prow"), "prow"),
            team_ids=self.ids(ours.get("github-ruleset")),
            lines={"filters": top["filters"].line if "filters" in top else 1}
            | {name: value.line for name, value in {**top, **ours, **entries, **decided}.items()},
        )
        self.emeriti(top, owners)
        return owners

    def mapping(self, value: Value | None, what: str, known: Collection[str] = ()) -> dict[str, Value]:
        if value is None or value.kind == "null":
            return {}
        if value.kind != "mapping":
            self.refuse(value.line, f"{what} is no mapping", "Write `name: value` lines.")
            return {}
        found: dict[str, Value] = value.content
        for name in [name for name in found if known and name not in known]:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Is {near[0]} meant?" if near else f"Remove it; {what} holds {', '.join(known)}."
            self.refuse(found[name].line, f"nothing reads {name} in {what}", hint)
        return {name: each for name, each in found.items() if not known or name in known}

    def names(self, value: Value, what: str) -> Names:
        if value.kind == "null":
            return ()
        if value.kind != "list" or len(value.content) > MOST_NAMES:
            self.refuse(value.line, f"{what} is no list of at most {MOST_NAMES} names", "Write [ana, bo].")
            return ()
        for each in value.content:
            if each.kind != "str":
                hint = f'Write it in quotes: "{each.content}".' if isinstance(each.content, str) else "Write [ana, bo]."
                self.refuse(each.line, f"{what} holds something that YAML reads as {each.kind}", hint)
        return tuple(each.content for each in value.content if each.kind == "str")

    def handles(self, value: Value, what: str) -> Names:
        names = self.names(value, what)
        for name in names:
            if not _HANDLE.fullmatch(name):
                hint = "Without the @; an e-mail address belongs into `people`."
                self.refuse(value.line, f"{name!r} in {what} is no handle of a person or a team", hint)
            self.stand_in(value.line, name)
        return tuple(name for name in names if _HANDLE.fullmatch(name))

    def stand_in(self, line: int, text: str) -> None:
        if _UNFINISHED.search(text) or any(map(_STAND_IN.fullmatch, text.split("/"))):
            self.refuse(
                line, f"{text!r} stands in for somebody", "Name who it is, or leave the list empty: nobody yet."
            )

    def addresses(self, value: Value) -> Names:
        names = self.names(value, "people")
        for name in names:
            if not _ADDRESS.fullmatch(name):
                self.refuse(value.line, f"{name!r} is no e-mail address", "What `git config user.email` says of them.")
        return names

    def filters(
        self, value: Value | None, entries: Mapping[str, Value], roles: Mapping[str, Names], named: Collection[str]
    ) -> tuple[Filter, ...]:
        found = self.mapping(value, "filters")
        if value and len(found) > MOST_FILTERS:
            problem = f"{len(found):,} filters are more than a person reads (at most {MOST_FILTERS})"
            self.refuse(value.line, problem, "Name folders instead of single files.")
            return ()
        filters = []
        for regex, entry in found.items():
            pattern = self.pattern(entry.line, regex)
            given = self.mapping(entry, regex, _PROWS).get("approvers")
            alias = [name for name, each in entries.items() if given and each.node == given.node]
            approvers = roles[alias[0]] if alias else self.handles(given, regex) if given else ()
            if not approvers and not alias:
                self.refuse(entry.line, f"{regex} names no approvers", f"`approvers: *{ROLES[1]}`, or [a handle].")
            for name in approvers:
                if name.lower() not in named:
                    hint = "Name it in `roles`, `people` or `teams`, or *role here."
                    self.refuse(entry.line, f"{regex} names {name}, whom no role knows", hint)
            lower = {name.lower() for name in approvers}
            sections = alias or [name for name, each in roles.items() if lower & {one.lower() for one in each}]
            if pattern:
                filters.append(Filter(entry.line, pattern, approvers, tuple(sections)))
        return tuple(filters)

    def pattern(self, line: int, regex: str) -> Pattern | None:
        if CATCH_ALL.fullmatch(regex):
            problem = f"{regex!r} is a catch-all: filters add up, so who stands here may approve everything"
            self.refuse(line, problem, "Name folders; `^[^/]+$` is every file of the root.")
            return None
        if not (pattern := translate(regex)):
            problem = f"{regex!r} cannot be said in CODEOWNERS"
            self.refuse(line, problem, r"Write `^folder/`, `^file\.ext$`, `^[^/]+$` or `\.ext$`.")
        return pattern

    def version(self, value: Value | None) -> int | None:
        if value and value.content != str(VERSION):
            self.refuse(value.line, f"the version of the format is {VERSION} here", f"Write `version: {VERSION}`.")
        return VERSION if value else None

    def day(self, value: Value | None, what: str) -> date | None:
        if value is None:
            return None
        try:
            return date.fromisoformat(str(value.content))
        except ValueError:
            self.refuse(value.line, f"{what} is no date", "Write it as 2026-12-31.")
            return None

    def waiver(self, value: Value | None) -> date | None:
        given = self.mapping(value, "waiver", ("until", "why"))
        if not value:
            return None
        why = given["why"].content if "why" in given else ""
        if "until" not in given or not isinstance(why, str) or not why.strip() or _UNFINISHED.search(why):
            self.refuse(value.line, "a waiver says until when, and why", "`waiver: {until: 2026-12-31, why: …}`")
        return self.day(given.get("until"), "until")

    def switch(self, value: Value | None, what: str) -> bool:
        if value and (value.kind, str(value.content).lower()) not in (("bool", "true"), ("bool", "false")):
            self.refuse(value.line, f"{what} is neither true nor false", f"Write `{what}: true`.")
        return bool(value and str(value.content).lower() == "true")

    def ids(self, value: Value | None) -> dict[str, int]:
        given = self.mapping(value, "github-ruleset")
        found = {}
        for name, each in given.items():
            if each.kind == "int" and _ID.fullmatch(each.content):
                found[name] = int(each.content)
            else:
                self.refuse(each.line, f"{name} has no numeric id", "`gh api orgs/ORG/teams/TEAM --jq .id` tells it.")
        return found

    def emeriti(self, top: Mapping[str, Value], owners: Owners) -> None:
        active = {name.lower() for role in owners.roles for name in (*owners.roles[role], *owners.behind(role))}
        places = [top, *(each.content for each in self.mapping(top.get("filters"), "filters").values())]
        for place in places:
            given = place.get("emeritus_approvers") if isinstance(place, dict) else None
            for name in self.handles(given, "emeritus_approvers") if given else ():
                if name.lower() in active:
                    self.refuse(
                        given.line if given else 1, f"{name} is emeritus and still active", "Remove one of the two."
                    )
