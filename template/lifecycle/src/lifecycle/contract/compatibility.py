"""Comparison of two contracts: whether callers of the one can continue to call the other."""

from pathlib import Path

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.errors import LifecycleError, Refused
from lifecycle.storage import write_atomically

RELEASED = "contract.json"


def breaking_changes(old: Contract, new: Contract) -> list[str]:
    """Return one phrase per change of `new` that can break callers of `old`; empty when there is none.

    Looked-up columns are ignored: callers neither send nor receive them.
    """
    before = {column.name: column for column in old.request}
    after = {column.name: column for column in new.request}
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


def compare(contract: Contract, root: Path) -> None:
    """Raise LifecycleError when `contract.json`, the last released contract, is not what `contract.py` declares."""
    path = root / RELEASED
    if not path.exists():
        raise LifecycleError(f"{path} is missing", "`make contract` writes it; commit it.")
    if _released(path, contract) != contract:
        problem = "src/model/contract.py has changed since contract.json was written, in a way that breaks no caller"
        raise LifecycleError(problem, "`make contract` writes the new one; commit both.")


def release(contract: Contract, root: Path) -> bool:
    """Write `contract.json`; return whether it changed. A breaking change without a new VERSION raises Refused."""
    path, content = root / RELEASED, contract.to_json()
    # An older release of lifecycle wrote other names for the same content.
    if path.exists() and _released(path, contract) == contract and path.read_text(encoding="utf-8") == content:
        return False
    write_atomically(path, content.encode())
    return True


def _released(path: Path, new: Contract) -> Contract:
    """Return the released contract, unless `new` would break its callers (Refused)."""
    old = Contract.from_json(path.read_text(encoding="utf-8"), RELEASED)
    found = undeclared_changes(old, new)
    if found or new.version < old.version:
        reasons = "\n  ".join(found or ["its VERSION is lower"])
        raise Refused(
            f"the contract would break callers of version {old.version}:\n  {reasons}",
            f"Undo it, or set VERSION = {old.version + 1} in src/model/contract.py and inform the callers. "
            "If nobody calls it yet, remove contract.json and run `make contract`.",
        )
    return old


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
    if new.low is not None and (old.low is None or new.low > old.low):
        found.append(f"has a higher lower limit ({old.low} → {new.low})")
    if new.high is not None and (old.high is None or new.high < old.high):
        found.append(f"has a lower upper limit ({old.high} → {new.high})")
    if new.max_length is not None and (old.max_length is None or new.max_length < old.max_length):
        found.append(f"takes fewer characters ({old.max_length} → {new.max_length})")
    return found


def _describe(target: Target) -> str:
    return f"{target.task} ({', '.join(target.classes)})" if target.classes else target.task
