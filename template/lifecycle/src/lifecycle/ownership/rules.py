"""What OWNERS has to say before it can be relied on; pure, with the files and the day given."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta

from lifecycle.ownership.findings import Finding
from lifecycle.ownership.reading import DECISIONS, OWNERS, ROLES, Owners, read

LONGEST_REVIEW, LONGEST_WAIVER = timedelta(days=366), timedelta(days=90)
# Which host a repository has may change: until it does, the other's folder is not there. `deploy/` is derived later.
MAY_BE_EMPTY = (".github/", ".gitlab/", "deploy/")


def examine(content: bytes, files: Sequence[str] | None, today: date) -> tuple[Owners, list[Finding]]:
    """OWNERS and all that is wrong with it, each place once; raises LifecycleError for what is no YAML."""
    owners, told = read(content)
    places = {each.where for each in told}
    # A filter that could not be read would leave its files without an owner, and a missing part all it says.
    found = check(owners, None if told else files, today) if "x-ownership" in owners.lines else []
    return owners, told + [each for each in found if each.where not in places]


def check(owners: Owners, files: Sequence[str] | None, today: date) -> list[Finding]:
    """All that is wrong with what OWNERS says; without `files` (no git), what it says of them is left out."""
    return [
        *_roles(owners),
        *_decisions(owners),
        *_people(owners, today),
        *_dates(owners, today),
        *(_files(owners, files) if files is not None else ()),
    ]


def _at(owners: Owners, name: str) -> str:
    return f"{OWNERS}:{owners.lines.get(name, owners.lines.get('x-ownership', 1))}"


def _roles(owners: Owners) -> Iterator[Finding]:
    for role in ROLES:
        if role not in owners.roles:
            yield Finding(_at(owners, "roles"), f"the role {role} is missing", f"Add `{role}: []`, or who it is.")
    for role, handles in owners.roles.items():
        if not handles:
            hint = "Name a person or a team in `roles`; production asks for one."
            yield Finding(_at(owners, role), f"nobody answers for {role} yet", hint, refused=False)
        for handle in handles:
            if not owners.members(handle):
                hint = f"Say who is in it: `teams: {{{handle}: [ana, bo]}}`."
                problem = f"nobody can approve for {role}: the members of {handle} are not known"
                yield Finding(_at(owners, role), problem, hint, refused=False)


def _decisions(owners: Owners) -> Iterator[Finding]:
    for decision in DECISIONS:
        named = owners.decisions.get(decision, ())
        if not named:
            yield Finding(_at(owners, decision), f"nobody decides {decision}", f"`{decision}: [product]`, for example.")
        for role in named:
            if role not in owners.roles:
                hint = f"There are {', '.join(owners.roles)}."
                yield Finding(_at(owners, decision), f"{decision} is decided by {role}, which is no role", hint)


def _people(owners: Owners, today: date) -> Iterator[Finding]:
    roles = defaultdict(list)
    for role in owners.roles:
        for person in {each.lower() for each in owners.behind(role)}:
            roles[person].append(role)
    if not (owners.waiver and owners.waiver >= today):
        for person, stood_for in sorted(roles.items()):
            if len(stood_for) > 1:
                over = f" (the waiver ended on {owners.waiver})" if owners.waiver else ""
                hint = f"Name a second person, or `waiver: {{until: …, why: …}}` of at most {LONGEST_WAIVER.days} days."
                problem = f"{person} stands for {', '.join(stood_for)}: one pair of eyes{over}"
                yield Finding(_at(owners, "roles"), problem, hint, refused=False)
    addresses = Counter(each for given in owners.people.values() for each in {one.lower() for one in given})
    for address in [address for address, number in addresses.items() if number > 1]:
        yield Finding(_at(owners, "people"), f"{address} is the address of two people", "Give it to one of them.")
    for team in owners.team_ids:
        if team not in {name for each in owners.filters for name in each.approvers}:
            yield Finding(_at(owners, "github-ruleset"), f"no filter names the team {team}", "Remove its id.")


def _dates(owners: Owners, today: date) -> Iterator[Finding]:
    soon = (
        f"Read OWNERS and docs/agreement.md together, and set it to at most a year from now: {today + timedelta(182)}."
    )
    if owners.review_by is None or owners.review_by < today:
        problem = (
            "no review is planned (review_by)"
            if owners.review_by is None
            else f"the review was due on {owners.review_by}"
        )
        yield Finding(_at(owners, "review_by"), problem, soon, refused=False)
    elif owners.review_by > today + LONGEST_REVIEW:
        yield Finding(_at(owners, "review_by"), f"the review on {owners.review_by} is more than a year off", soon)
    if owners.waiver and owners.waiver > today + LONGEST_WAIVER:
        problem = f"the waiver until {owners.waiver} is longer than {LONGEST_WAIVER.days} days"
        yield Finding(_at(owners, "waiver"), problem, f"At most until {today + LONGEST_WAIVER}.")


def _files(owners: Owners, files: Sequence[str]) -> Iterator[Finding]:
    for each in owners.filters:
        at, text = f"{OWNERS}:{each.line}", each.pattern.text
        if text not in MAY_BE_EMPTY and not any(map(each.pattern.matches, files)):
            yield Finding(at, f"the filter of {text} matches no file", "Remove it, or hint its name.")
        if each.pattern.kind == "suffix" and (inside := [name for name in files if f"{text}/" in name]):
            problem = f"the folder of {inside[0]} ends with {text}: CODEOWNERS would count what is in it"
            yield Finding(at, problem, "Rename the folder, or own folders instead of suffixes.")
    patterns = [each.pattern for each in owners.filters]
    unowned = [name for name in files if not any(pattern.matches(name) for pattern in patterns)]
    for folder, names in _by_folder(unowned):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        hint = f"Add a filter for {folder or 'it'} with its approvers, or leave the files out of git."
        yield Finding(_at(owners, "filters"), f"nobody owns {names[0]}{more}", hint)


def _by_folder(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    found = defaultdict(list)
    for name in names:
        found[name[: name.find("/") + 1]].append(name)
    return sorted(found.items())
