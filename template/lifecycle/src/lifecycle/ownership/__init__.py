"""OWNERS: its format, read with the line of every key, and the rules that it must follow."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lifecycle import registry
from lifecycle.errors import LifecycleError, Refused

OWNERS, SHOWN = "OWNERS", "lifecycle/docs/owners.md shows the format."
ROLES = ("data-science", "engineering", "product")
Decision = Literal["promote", "change-threshold", "roll-back", "retire"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
YEAR, LONGEST_WAIVER = timedelta(days=366), timedelta(days=90)
# Only one of the two CI hosts has its folder, and `deploy/` is derived later.
MAY_BE_EMPTY = (r"^\.github/", r"^\.gitlab/", r"^\.devcontainer/", "^deploy/")
# Keys of release 0.2.0 without effect today.
IGNORED = ("prow", "github-ruleset", "options", "emeritus_approvers", "reviewers", "required_reviewers", "labels")
_EMPTY = ("", "null", "~")
_PATH = r"(?:[\w@~=,%/-]|\\[.+-])+"
_PLACEHOLDER = re.compile(r"(?i)(todo|tbd|fixme|example)|(.*/)?(your|my)[-_].*")

Names = tuple[str, ...]
# The path of a key; what is wrong, what to do, and whether `make check` refuses it.
_Problem = tuple[Names, str, str, bool]


@dataclass(frozen=True)
class Finding:
    """A defect of OWNERS or of a derived file; one that is not `refused` is a warning everywhere but in production."""

    where: str
    problem: str
    hint: str
    refused: bool = True

    def __str__(self) -> str:
        return f"{'error' if self.refused else 'warning'}: {self.where}: {self.problem}\n  {self.hint}"


def _like(shape: str, what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(shape, text) or _PLACEHOLDER.fullmatch(text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return AfterValidator(check)


_Handle = Annotated[str, _like(r"[A-Za-z0-9][\w./-]*", "a person or a team; Write a handle without the @.")]
_Address = Annotated[str, _like(r"[^\s@]+@[^\s@]+", "an e-mail address; Write what `git config user.email` prints.")]
_FILTER = r"a filter that CODEOWNERS can express; Write `^folder/`, `^file\.ext$`, `^[^/]+$` or `\.ext$`."
_Regex = Annotated[str, _like(rf"\^{_PATH}/|\^{_PATH}\$|\^\[\^/\]\+\$|\\\.{_PATH}\$", _FILTER)]
_Empty = BeforeValidator(lambda value: () if value in _EMPTY else value)
_Handles = Annotated[tuple[_Handle, ...], _Empty]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: each for name, each in value.items() if each not in _EMPTY and name not in IGNORED}


class Waiver(_Part):
    """Until when, and why, one person may hold several roles."""

    until: date
    why: str


class Filter(_Part):
    """One entry of `filters`: who may approve changes, and the line of the entry."""

    line: int
    regex: _Regex
    approvers: Names

    def matches(self, path: str) -> bool:
        """Return whether the filter matches a path relative to OWNERS."""
        return re.search(self.regex, path) is not None


class Owners(_Part):
    """The content of OWNERS."""

    version: Literal["1"] | None = None
    roles: dict[str, _Handles] = {}
    people: dict[str, Annotated[tuple[_Address, ...], _Empty]] = {}
    teams: dict[str, _Handles] = {}
    decisions: dict[Decision, _Handles] = {}
    review_by: date | None = None
    waiver: Waiver | None = None
    # In the file, they are outside of x-ownership.
    filters: Annotated[tuple[Filter, ...], Field(max_length=0)] = ()

    def behind(self, role: str) -> Names:
        """Return the people who hold a role, each once: the members of teams, and persons."""
        return tuple(dict.fromkeys(each for handle in self.roles.get(role, ()) for each in self.members(handle)))

    def members(self, handle: str) -> Names:
        """Return the people behind a handle: the members of a team, or the person."""
        return self.teams.get(handle, () if "/" in handle else (handle,))


class _File(_Part):
    ownership: Owners = Field(alias="x-ownership")
    filters: dict[str, Filter]


@dataclass(frozen=True)
class Report:
    """The owners (None without a readable OWNERS), the findings, and whether it has a `version` and errors count."""

    owners: Owners | None
    findings: list[Finding]
    enforced: bool = True

    @property
    def errors(self) -> list[Finding]:
        """Return the findings that are not only warnings."""
        return [each for each in self.findings if each.refused]

    def valid(self) -> Owners:
        """Return the owners; raises Refused with all errors where there are any."""
        if self.errors or not self.owners:
            # The command line prints the word "error" itself.
            text = "\n".join(map(str, self.errors or self.findings)).removeprefix("error: ")
            raise Refused(text, "`uv run lifecycle owners check` shows everything.")
        return self.owners


def read(root: Path, day: date | None = None) -> Report:
    """Check OWNERS at `root` as of a day, by default today; raises LifecycleError where it is not YAML."""
    if not (root / OWNERS).is_file():
        return Report(None, [Finding(OWNERS, "the file is missing: nothing has an owner", SHOWN, refused=False)])
    return examine((root / OWNERS).read_bytes(), registry.repository_files(root), day)


def examine(content: bytes, files: Sequence[str] | None, day: date | None = None) -> Report:
    """Check OWNERS as of a day, by default today, against the files (None outside git); raises like `load`."""
    data, lines = load(content)
    ours, filters, owners = data.get("x-ownership"), data.get("filters"), None
    for regex, entry in filters.items() if isinstance(filters, dict) else ():
        if isinstance(entry, dict):
            entry.update(line=lines["filters", regex], regex=regex)
    try:
        file = _File.model_validate(data)
        owners = file.ownership.model_copy(update={"filters": tuple(file.filters.values())})
        problems = [*_problems(owners, files, day or datetime.now(UTC).date())]
    except ValidationError as error:
        problems = [_described(each) for each in error.errors()]
    found = list[Finding]()
    for path, problem, hint, refused in sorted(problems, key=lambda each: not each[-1]):
        # A key that is missing has the line of the innermost key above it.
        line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 1)
        found.append(Finding(f"{OWNERS}:{line}", problem, hint, refused))
    return Report(owners, found, enforced=not isinstance(ours, dict) or "version" in ours)


def _described(error: Any) -> _Problem:
    problem, _, hint = error["msg"].removeprefix("Value error, ").partition("; ")
    path = tuple(map(str, error["loc"]))
    problem = "the key is unknown" if error["type"] == "extra_forbidden" else problem
    return path, f"{'.'.join(path)}: {problem}", hint or SHOWN, True


def load(content: bytes) -> tuple[dict[str, Any], dict[Names, int]]:
    """Return the data with every scalar as text (`on` is a handle), and each key's line; LifecycleError if not YAML."""
    try:
        loader = yaml.BaseLoader(content.decode("utf-8"))
        node = loader.get_single_node()
        lines = dict(_lines(node, ()))
        data = node and loader.construct_document(node)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        line, hint = mark.line + 1 if mark else 1, "Correct that line; write handles without the @."
        raise LifecycleError(f"{OWNERS}:{line}: it cannot be read as YAML: {' '.join(problem.split())}", hint) from None
    if not isinstance(data, dict):
        raise LifecycleError(f"{OWNERS}:1: the file is {'not a mapping' if data else 'empty'}", SHOWN)
    return data, lines


def _lines(node: Any, path: Names) -> Iterator[tuple[Names, int]]:
    first = dict[str, int]()
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name, line = str(key.value), key.start_mark.line + 1
        if first.setdefault(name, line) != line:
            problem = f"{name} is defined a second time (first in line {first[name]})"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        yield (*path, name), line
        yield from _lines(value, (*path, name))


def _problems(owners: Owners, files: Sequence[str] | None, day: date) -> Iterator[_Problem]:
    top, due, waiver, held = "x-ownership", owners.review_by, owners.waiver, defaultdict[str, list[str]](list)
    for role in (each for each in ROLES if each not in owners.roles):
        yield (top, "roles"), f"the role {role} is missing", f"Add `{role}: []`, or a handle.", True
    for role, handles in owners.roles.items():
        path = (top, "roles", role)
        if not handles:
            yield path, f"{role} has no owner yet", "Name a person or a team; production requires one.", False
        for handle in (each for each in handles if not owners.members(each)):
            problem = f"the members of {handle} are unknown, so that it cannot approve for {role}"
            yield path, problem, f"Add `teams: {{{handle}: [ana, bo]}}`.", False
        for person in owners.behind(role):
            held[person].append(role)
    over = f" (the waiver ended on {waiver.until})" if waiver else ""
    hint = f"Name a second person, or `waiver: {{until: …, why: …}}` of at most {LONGEST_WAIVER.days} days."
    for person, several in held.items():
        if len(several) > 1 and not (waiver and waiver.until >= day):
            yield (top, "roles"), f"{person} alone holds {', '.join(several)}{over}", hint, False
    if waiver and waiver.until > day + LONGEST_WAIVER:
        problem = f"the waiver until {waiver.until} is longer than {LONGEST_WAIVER.days} days"
        yield (top, "waiver"), problem, f"Set a date up to {day + LONGEST_WAIVER}.", True
    hint = f"Review OWNERS and docs/agreement.md and set a date within a year, such as {day + timedelta(182)}."
    if due is None or due < day:
        problem = f"the review was due on {due}" if due else "no review is planned (review_by)"
        yield (top, "review_by"), problem, hint, False
    elif due > day + YEAR:
        yield (top, "review_by"), f"the review on {due} is more than a year away", hint, True
    for decision in DECISIONS:
        named, hint = owners.decisions.get(decision, ()), f"The roles are {', '.join(owners.roles)}."
        if not named:
            yield (top, "decisions", decision), f"no role decides {decision}", hint, True
        for role in (each for each in named if each not in owners.roles):
            yield (top, "decisions", decision), f"{decision} is decided by {role}, which is not a role", hint, True
    known = {*owners.people, *owners.teams}.union(*owners.roles.values(), *owners.teams.values())
    for each in owners.filters:
        at = ("filters", each.regex)
        # `approvers: *product` is empty while the role has no owner.
        if not each.approvers and all(owners.roles.values()):
            yield at, f"{each.regex} has no approvers", f"Write `approvers: *{ROLES[1]}`, or [a handle].", True
        for name in sorted({*each.approvers} - known):
            yield at, f"{each.regex} names {name}, who has no role", "Add it to roles, people or teams.", True
        if files and each.regex not in MAY_BE_EMPTY and not any(map(each.matches, files)):
            yield at, f"the filter {each.regex} matches no file", "Remove it, or correct its name.", True
    if unowned := [name for name in files or () if not any(each.matches(name) for each in owners.filters)]:
        yield ("filters",), f"no owner for {', '.join(unowned)}", "Add filters, or keep the files out of git.", True
