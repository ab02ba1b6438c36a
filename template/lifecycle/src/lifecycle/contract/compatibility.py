"""Comparison of two contracts: whether callers of the one can continue to call the other."""

from lifecycle.contract.schema import Column, Contract, Target


def breaking_changes(old: Contract, new: Contract) -> list[str]:
    """Return one phrase per change of `new` that can break callers of `old`; empty when there is none.

    Looked-up columns are ignored: callers neither send nor receive them.
    """
    before, after = ({column.name: column for column in contract.request} for contract in (old, new))
    found = [f"the request field {name} is gone" for name in before if name not in after]
    for name, column in after.items():
        if name in before:
            found += [f"{name} {change}" for change in _narrower(before[name], column)]
        elif column.required:
            found.append(f"the new request field {name} is required")
    if old.fallback and not new.fallback:
        found.append("a key without features no longer gets a prediction from a fallback")
    was, now = old.target, new.target
    if (was.task, was.classes, was.unit) != (now.task, now.classes, now.unit):
        found.append(f"the prediction was {_describe(was)} and is {_describe(now)}")
    return found


def undeclared_changes(old: Contract, new: Contract) -> list[str]:
    """Return the breaking changes of `new` when its major version is not higher than that of `old`."""
    return [] if new.version > old.version else breaking_changes(old, new)


def _narrower(old: Column, new: Column) -> list[str]:
    found = []
    # Adding a unit where the old contract states none is documentation, not a change.
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
    limits = (
        ("has a higher lower limit", old.low, new.low, -1),
        ("has a lower upper limit", old.high, new.high, 1),
        ("takes fewer characters", old.max_length, new.max_length, 1),
    )
    for change, before, after, sign in limits:
        if after is not None and (before is None or after * sign < before * sign):
            found.append(f"{change} ({before} → {after})")
    return found


def _describe(target: Target) -> str:
    return f"{target.task} ({', '.join(target.classes)})" if target.classes else target.task
