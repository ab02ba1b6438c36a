"""The contract for its callers: whether those of one contract can call another, and Python names of the columns."""

import itertools
import keyword
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.errors import LifecycleError, Refused
from lifecycle.storage import write_atomically

RELEASED = "contract.json"
# The types are in use around a generated field; a field of that name would shadow them.
TYPES = ("bool", "datetime", "float", "int", "str")
TAKEN = {*dir(BaseModel), "model_config", *keyword.kwlist, *keyword.softkwlist, *TYPES}


def breaking_changes(old: Contract, new: Contract) -> list[str]:
    """Return one phrase per change of `new` that can break callers of `old`; empty when there is none.

    Ignored are looked-up columns, which callers neither send nor receive, and whether a field that they send is an
    input, identifies the row, or is only logged.
    """
    before, after = ({column.name: column for column in contract.request} for contract in (old, new))
    found = [f"the request field {name} is gone" for name in before if name not in after]
    for name, column in after.items():
        if name in before:
            found += [f"{name} {change}" for change in _narrower(before[name], column)]
        elif column.required:
            found.append(f"the new request field {name} is required")
    if new.lookups and new.key and before.get(new.key.name, new.key).source != "key":
        found.append(f"features are looked up by {new.key.name}, which was not a key")
    if old.fallback and not new.fallback:
        found.append("a key without features no longer gets a prediction from a fallback")
    was, now = old.target, new.target
    if replace(was, label="") != replace(now, label=""):
        found.append(f"the prediction was {_describe(was)} and is {_describe(now)}")
    return found


def released(root: Path) -> Contract:
    """Return the contract in `contract.json`; raises LifecycleError where there is no valid one."""
    path = root / RELEASED
    if not path.exists():
        raise LifecycleError(f"{path} is missing", "`make contract` writes it; commit it.")
    return Contract.from_json(path.read_bytes(), RELEASED)


def compare(contract: Contract, root: Path) -> None:
    """Raise LifecycleError when `contract.json`, the last released contract, is not what `contract.py` declares."""
    old = released(root)
    _refuse_undeclared_changes(old, contract)
    if old != contract:
        problem = "src/model/contract.py has changed since contract.json was written, in a way that breaks no caller"
        raise LifecycleError(problem, "`make contract` writes the new one; commit both.")


def release(contract: Contract, root: Path) -> bool:
    """Write `contract.json`; return whether it changed. A breaking change without a new VERSION raises Refused."""
    path, content = root / RELEASED, contract.to_json()
    if path.exists():
        _refuse_undeclared_changes(released(root), contract)
        # Not a comparison of contracts: older releases of lifecycle wrote other names for the same content.
        if path.read_text(encoding="utf-8") == content:
            return False
    write_atomically(path, content.encode())
    return True


def _refuse_undeclared_changes(old: Contract, new: Contract) -> None:
    found = [] if new.version > old.version else breaking_changes(old, new)
    if found or new.version < old.version:
        reasons = "\n  ".join(found or ["its VERSION is lower"])
        raise Refused(
            f"the contract would break callers of version {old.version}:\n  {reasons}",
            f"Undo it, or set VERSION = {old.version + 1} in src/model/contract.py and inform the callers. "
            "If no caller uses it yet, remove contract.json and run `make contract`.",
        )


def _narrower(old: Column, new: Column) -> list[str]:
    was, now = (f"{column.source} {column.kind} {column.unit}".strip() for column in (old, new))
    is_optional = not (old.required or new.required)
    gone = sorted(set(old.levels) - set(new.levels)) if new.levels else []
    changes = {
        # Adding a unit where the old contract states none is documentation, not a change.
        f"was {was} and is {now}": (old.kind, old.unit or new.unit) != (new.kind, new.unit),
        "may no longer be null": old.nullable and not new.nullable,
        "is now required": new.required and not old.required,
        f"has another default ({old.default!r} → {new.default!r})": is_optional and new.default != old.default,
        f"no longer takes {', '.join(gone)}": bool(gone),
        "no longer takes any text": bool(new.levels) and not old.levels and old.kind == new.kind,
    }
    limits = (
        ("has a higher lower limit", old.low, new.low, -1),
        ("has a lower upper limit", old.high, new.high, 1),
        ("takes fewer characters", old.max_length, new.max_length, 1),
    )
    for change, before, after, sign in limits:
        narrower = after is not None and (before is None or after * sign < before * sign)
        changes[f"{change} ({before} → {after})"] = narrower
    return [change for change, is_made in changes.items() if is_made]


def _describe(target: Target) -> str:
    predicted = "" if target.quantile is None else f" of the {target.quantile:g} quantile"
    return f"{target.task} ({', '.join(target.classes)})" if target.classes else target.task + predicted


def python_names(names: Iterable[str]) -> dict[str, str]:
    """Return column name → Python name in snake case, none of them another column's name; equal ones get a number."""
    found, columns = dict[str, str](), list(names)
    taken = set(columns)
    for at, name in enumerate(columns, 1):
        base = python_name(name) or f"column_{at}"
        tried = itertools.chain([base], (f"{base}_{number}" for number in itertools.count(2)))
        found[name] = next(each for each in tried if each == name or each not in taken)
        taken.add(found[name])
    return found


def python_name(name: str) -> str:
    """Return a text in snake case, `Total Charges (€)` as `total_charges`; empty where no letter or digit is left."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    plain = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    if plain[:1].isdigit():
        plain = f"c_{plain}"
    return f"{plain}_" if plain in TAKEN or plain.startswith("model_") else plain
