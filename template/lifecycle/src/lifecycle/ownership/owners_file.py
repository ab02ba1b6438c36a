"""The format of OWNERS: a YAML file, read with the line of every key."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lifecycle.errors import LifecycleError

OWNERS = "OWNERS"
MOST_FILTERS = 200
SHOWN = "lifecycle/docs/owners.md shows the format."
# Keys of release 0.2.0 without effect today.
IGNORED = ("prow", "github-ruleset", "options", "emeritus_approvers", "reviewers", "required_reviewers", "labels")
_EMPTY = ("", "null", "~")
_PATH = r"(?:[\w@~=,%/-]|\\[.+-])+"
_PLACEHOLDER = re.compile(
    r".*\b(todo|tbd|fixme|placeholder|changeme)\b.*|(.*/)?((your|my)[-_].*|example|some(one|body)|user(name)?)(/.*)?",
    re.IGNORECASE,
)

Names = tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """A defect of OWNERS or of a derived file; one that is not `refused` is a warning everywhere but in production."""

    where: str
    problem: str
    hint: str
    refused: bool = True

    def __str__(self) -> str:
        """Return the finding as it is printed, with the hint below."""
        return f"{'error' if self.refused else 'warning'}: {self.where}: {self.problem}\n  {self.hint}"


def _like(shape: str, what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(shape, text) or _PLACEHOLDER.fullmatch(text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return AfterValidator(check)


_Handle = Annotated[str, _like(r"[A-Za-z0-9][\w./-]*", "a person or a team; write a handle without the @")]
_Address = Annotated[str, _like(r"[^\s@]+@[^\s@]+", "an e-mail address; write what `git config user.email` prints")]
_Text = Annotated[str, _like(r".*\S.*", "a name or a reason; write the real one")]
_Regex = Annotated[
    str,
    _like(
        rf"\^{_PATH}/|\^{_PATH}\$|\^\[\^/\]\+\$|\\\.{_PATH}\$",
        r"a filter that CODEOWNERS can express; write `^folder/`, `^file\.ext$`, `^[^/]+$` or `\.ext$`",
    ),
]
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
    why: _Text


class Filter(_Part):
    """One entry of `filters`: who may approve changes. `roles` are those that a YAML alias names."""

    line: int
    regex: _Regex
    roles: Names
    approvers: Names

    def matches(self, path: str) -> bool:
        """Return whether the filter matches a path relative to OWNERS."""
        return re.search(self.regex, path) is not None


class Owners(_Part):
    """The content of OWNERS. Handles are as written; they compare without case."""

    version: Literal["1"] | None = None
    roles: dict[str, _Handles] = {}
    people: dict[_Text, Annotated[tuple[_Address, ...], _Empty]] = {}
    teams: dict[_Text, _Handles] = {}
    decisions: dict[str, _Handles] = {}
    review_by: date | None = None
    waiver: Waiver | None = None
    # In the file, they are outside of x-ownership.
    filters: Annotated[tuple[Filter, ...], Field(max_length=0)] = ()

    def members(self, handle: str) -> Names:
        """Return the people behind a handle: the members of a team, or the person."""
        teams = {team.lower(): members for team, members in self.teams.items()}
        return teams.get(handle.lower(), () if "/" in handle else (handle,))

    def behind(self, role: str) -> Names:
        """Return the people who hold a role, each once."""
        return tuple(dict.fromkeys(each for handle in self.roles.get(role, ()) for each in self.members(handle)))


class _File(_Part):
    ownership: Owners = Field(alias="x-ownership")
    filters: Annotated[dict[str, Filter], Field(max_length=MOST_FILTERS)]


class Mapping(dict[Any, Any]):
    """A mapping of the file, with the line of each key."""

    lines: dict[str, int]

    def line(self, path: Sequence[Any]) -> int:
        """Return the line of a key, or of the innermost key above it that exists."""
        name, *rest = path
        below = self.get(name)
        inside = rest and isinstance(below, Mapping) and rest[0] in below.lines
        return below.line(rest) if below is not None and inside else self.lines.get(name, 1)


class _Loader(yaml.BaseLoader):
    """A loader that keeps every scalar as text (`on` is a handle), and the line of each key."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found = Mapping(super().construct_mapping(node, deep))
        found.lines = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if found.lines.setdefault(key.value, line) != line:
                problem = f"{key.value} is defined a second time (first in line {found.lines[key.value]})"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        return found


def load(content: bytes) -> Mapping:
    """Return the data of an OWNERS file; raises LifecycleError where the content is not a YAML mapping."""
    try:
        data = yaml.load(content.decode("utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        where = f"{OWNERS}:{mark.line + 1 if mark else 1}"
        hint = "Write handles without the @." if "'@'" in problem else "Correct that line."
        raise LifecycleError(f"{where}: it cannot be read as YAML: {' '.join(problem.split())}", hint) from None
    if not isinstance(data, Mapping):
        raise LifecycleError(f"{OWNERS}:1: the file is {'not a mapping' if data else 'empty'}", SHOWN)
    return data


def parse(data: Mapping) -> tuple[Owners | None, list[Finding]]:
    """Return the owners in the data of a file; None, and what is wrong, where the format has errors."""
    ours, filters = data.get("x-ownership"), data.get("filters")
    roles = ours.get("roles") if isinstance(ours, Mapping) else None
    if isinstance(filters, Mapping):
        for regex, entry in filters.items():
            if isinstance(entry, Mapping):
                # A YAML alias is the same object: `*product` means the role, also while it is vacant.
                named = [role for role, each in dict(roles or {}).items() if each is entry.get("approvers")]
                entry.update(line=filters.lines[regex], regex=regex, roles=named)
    try:
        file = _File.model_validate(data)
    except ValidationError as error:
        return None, [_format_error(data, each) for each in error.errors()]
    return file.ownership.model_copy(update={"filters": tuple(file.filters.values())}), []


def _format_error(data: Mapping, error: Any) -> Finding:
    problem, _, hint = error["msg"].removeprefix("Value error, ").partition("; ")
    if error["type"] == "extra_forbidden":
        problem = "the key is unknown"
    where, name = f"{OWNERS}:{data.line(error['loc'])}", ".".join(map(str, error["loc"]))
    return Finding(where, f"{name}: {problem}", f"{hint[:1].upper()}{hint[1:]}." if hint else SHOWN)
