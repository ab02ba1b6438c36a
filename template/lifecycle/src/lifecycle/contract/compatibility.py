"""Whether callers of one contract can go on calling another."""

from lifecycle.contract.schema import Column, Contract


def breaking(old: Contract, new: Contract) -> list[str]:
    """What callers of `old` could trip over under `new`, in words; empty when they cannot.

    Entity columns do not count: callers neither send nor see them.
    """
    before = {column.name: column for column in old.request}
    after = {column.name: column for column in new.request}
    found = [f"the request field {name} is gone" for name in before if name not in after]
    for name, column in after.items():
        if name not in before:
            if column.required:
                found.append(f"the new request field {name} is required")
        else:
            found += [f"{name} {change}" for change in _narrower(before[name], column)]
    if old.fallback and not new.fallback:
        found.append("a key without features is no longer answered by a fallback")
    return found + _answer(old, new)


def unannounced(old: Contract, new: Contract) -> list[str]:
    """What breaks callers of `old` without a new major version that says so."""
    return [] if new.version > old.version else breaking(old, new)


def _narrower(old: Column, new: Column) -> list[str]:
    found = []
    # A unit where none stood is documentation.
    if (old.kind, old.source, old.unit or new.unit) != (new.kind, new.source, new.unit):
        was, now = (f"{c.source} {c.kind} {c.unit}".strip() for c in (old, new))
        found.append(f"was {was} and is {now}")
    if old.nullable and not new.nullable:
        found.append("may no longer be null")
    if new.required and not old.required:
        found.append("is now required")
    elif not old.required and new.default != old.default:
        found.append(f"has another default ({old.default!r} → {new.default!r})")
    if old.levels and new.levels and not set(old.levels) <= set(new.levels):
        found.append(f"no longer takes {', '.join(sorted(set(old.levels) - set(new.levels)))}")
    if new.levels and not old.levels and old.kind == new.kind:
        found.append("no longer takes any text")
    if new.low is not None and (old.low is None or new.low > old.low):
        found.append(f"has a higher lower limit ({old.low} → {new.low})")
    if new.high is not None and (old.high is None or new.high < old.high):
        found.append(f"has a lower upper limit ({old.high} → {new.high})")
    if new.max_length is not None and (old.max_length is None or new.max_length < old.max_length):
        found.append(f"takes fewer characters ({old.max_length} → {new.max_length})")
    return found


def _answer(old: Contract, new: Contract) -> list[str]:
    was, now = old.target, new.target
    if (was.task, was.classes, was.unit) == (now.task, now.classes, now.unit):
        return []
    return [f"the answer was {_told(was.task, was.classes)} and is {_told(now.task, now.classes)}"]


def _told(task: str, classes: tuple[str, ...]) -> str:
    return f"{task} ({', '.join(classes)})" if classes else task
