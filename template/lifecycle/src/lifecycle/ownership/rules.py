"""The checks that OWNERS must pass: roles, decisions, people, dates, and that every file has an owner."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from lifecycle.ownership.owners_file import OWNERS, Finding, Names, Owners, load, parse

ROLES = ("data-science", "engineering", "product")
DECISIONS = ("promote", "change-threshold", "roll-back", "retire")
YEAR, LONGEST_WAIVER = timedelta(days=366), timedelta(days=90)
# Only one of the two CI hosts has its folder, and `deploy/` is derived later.
MAY_BE_EMPTY = (r"^\.github/", r"^\.gitlab/", "^deploy/")

# The path of a key; what is wrong, what to do, and whether `make check` refuses it.
_Problem = tuple[Names, tuple[str, str, bool]]


def examine(content: bytes, files: Sequence[str] | None, today: date) -> tuple[Owners | None, list[Finding]]:
    """Return the owners in a file, None while its format has errors, and the findings, errors first.

    Without `files` (outside git), filters are not compared with them. Raises LifecycleError where it is not YAML.
    """
    data = load(content)
    owners, found = parse(data)
    if owners:
        problems = [*_roles(owners), *_people(owners, today), *_dates(owners, today), *_files(owners, files)]
        found = [Finding(f"{OWNERS}:{data.line(path)}", *rest) for path, rest in problems]
    return owners, sorted(found, key=lambda each: not each.refused)


def _roles(owners: Owners) -> Iterator[_Problem]:
    path = ("x-ownership", "roles")
    for role in ROLES:
        if role not in owners.roles:
            yield path, (f"the role {role} is missing", f"Add `{role}: []`, or a handle.", True)
    for role, handles in owners.roles.items():
        if not handles:
            hint = "Name a person or a team; production requires one."
            yield (*path, role), (f"{role} has no owner yet", hint, False)
        for handle in handles:
            if not owners.members(handle):
                problem = f"the members of {handle} are unknown, so that it cannot approve for {role}"
                yield (*path, role), (problem, f"Add `teams: {{{handle}: [ana, bo]}}`.", False)
    for decision in dict.fromkeys((*DECISIONS, *owners.decisions)):
        at, named = ("x-ownership", "decisions", decision), owners.decisions.get(decision, ())
        if not named or decision not in DECISIONS:
            problem = f"no role decides {decision}" if decision in DECISIONS else f"{decision} is not a decision"
            yield at, (problem, f"The decisions are {', '.join(DECISIONS)}: name at least one role for each.", True)
        for role in named:
            if role not in owners.roles:
                problem = f"{decision} is decided by {role}, which is not a role"
                yield at, (problem, f"The roles are {', '.join(owners.roles)}.", True)


def _people(owners: Owners, today: date) -> Iterator[_Problem]:
    held = defaultdict(list)
    for role in owners.roles:
        for person in _lower(owners.behind(role)):
            held[person].append(role)
    over = f" (the waiver ended on {owners.waiver.until})" if owners.waiver else ""
    for person, roles in sorted(held.items()) if not (owners.waiver and owners.waiver.until >= today) else ():
        if len(roles) > 1:
            hint = f"Name a second person, or `waiver: {{until: …, why: …}}` of at most {LONGEST_WAIVER.days} days."
            yield ("x-ownership", "roles"), (f"{person} alone holds {', '.join(roles)}{over}", hint, False)
    addresses = Counter(each for given in owners.people.values() for each in _lower(given))
    for address in [each for each, number in addresses.items() if number > 1]:
        yield ("x-ownership", "people"), (f"{address} is the address of two people", "Give it to one of them.", True)


def _dates(owners: Owners, today: date) -> Iterator[_Problem]:
    path, due = ("x-ownership", "review_by"), owners.review_by
    hint = f"Review OWNERS and docs/agreement.md and set a date within a year, such as {today + timedelta(182)}."
    if due is None or due < today:
        yield path, (f"the review was due on {due}" if due else "no review is planned (review_by)", hint, False)
    elif due > today + YEAR:
        yield path, (f"the review on {due} is more than a year away", hint, True)
    if owners.waiver and owners.waiver.until > today + LONGEST_WAIVER:
        problem = f"the waiver until {owners.waiver.until} is longer than {LONGEST_WAIVER.days} days"
        yield ("x-ownership", "waiver"), (problem, f"Set a date up to {today + LONGEST_WAIVER}.", True)


def _files(owners: Owners, files: Sequence[str] | None) -> Iterator[_Problem]:
    groups = (owners.people, owners.teams, *owners.roles.values(), *owners.teams.values())
    known = _lower([name for group in groups for name in group])
    for each in owners.filters:
        path = ("filters", each.regex)
        if not each.approvers and not each.roles:
            yield path, (f"{each.regex} has no approvers", f"Write `approvers: *{ROLES[1]}`, or [a handle].", True)
        for name in sorted(_lower(each.approvers) - known):
            yield path, (f"{each.regex} names {name}, who has no role", "Add it to roles, people or teams.", True)
        if files and each.regex not in MAY_BE_EMPTY and not any(map(each.matches, files)):
            yield path, (f"the filter {each.regex} matches no file", "Remove it, or correct its name.", True)
    unowned = defaultdict(list)
    for name in files or ():
        if not any(each.matches(name) for each in owners.filters):
            unowned[name[: name.find("/") + 1]].append(name)
    for folder, names in sorted(unowned.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        hint = f"Add a filter for {folder or 'it'} with its approvers, or keep the files out of git."
        yield ("filters",), (f"{names[0]}{more} has no owner", hint, True)


def _lower(names: Sequence[str]) -> set[str]:
    return {name.lower() for name in names}
