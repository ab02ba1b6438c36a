"""Describe a plan: a short form for the terminal, and docs/contract-report.md."""

from collections.abc import Mapping

from lifecycle.contract.schema import Column, Contract
from looseleaf.contract.changes import digest
from looseleaf.contract.plan import Field, Plan
from looseleaf.contract.texts import rendered

KINDS = {"number": "number", "integer": "whole number", "boolean": "true or false", "category": "text", "time": "date"}
SHOWN = 12


def lines(plan: Plan) -> list[str]:
    """Return the short form of a plan."""
    named = {"left out": [f"{name}: {reason}" for name, reason in plan.excluded.items()]}
    named |= {"decided": plan.decided, "not sure": plan.unsure}
    return rendered("report.txt", plan=plan, shown=SHOWN, notes=named).splitlines()


def page(plan: Plan, call: str, written: Mapping[str, bytes | None], removed: list[str], changes: list[str]) -> str:
    """Return docs/contract-report.md, which records the hashes of the `written` files; `call` repeats the inference."""
    return rendered(
        "report.md",
        plan=plan,
        call=call,
        rows=[_row(each, plan) for each in plan.fields],
        notes={"Not sure": plan.unsure, "Decided": plan.decided, "Changes": changes},
        hashes={name: digest(content) for name, content in written.items() if content is not None},
        removed=removed,
    )


def difference(old: Contract, new: Contract, breaks: list[str]) -> list[str]:
    """Return the differences between two contracts as sentences; empty if they are equal."""
    before = {column.name: column for column in old.columns}
    after = {column.name: column for column in new.columns}
    changes = [f"{name} is new" for name in after if name not in before]
    changes += [f"{name} was removed" for name in before if name not in after]
    for name in after:
        if name in before and before[name] != after[name]:
            changes.append(f"{name}: {_changed_facts(before[name], after[name])}")
    if old.target != new.target:
        was, now = (f"{each.task} ({', '.join(each.classes)})" for each in (old.target, new.target))
        changes.append(f"the target was {was} and is {now}")
    if not changes:
        return []
    if breaks:
        return [f"BREAKING for callers of version {old.version}: {'; '.join(breaks)}", *changes]
    return [f"compatible: callers of version {old.version} are not affected", *changes]


def _changed_facts(old: Column, new: Column) -> str:
    names = ("kind", "source", "nullable", "required", "low", "high", "levels", "max_length", "unit", "expected")
    return ", ".join(
        f"{name} {getattr(old, name)!r} → {getattr(new, name)!r}"
        for name in names
        if getattr(old, name) != getattr(new, name)
    )


def _row(field: Field, plan: Plan) -> tuple[str, ...]:
    profile = plan.table.profiles[field.column]
    kind = field.source if field.source in ("key", "id") else KINDS[field.kind]
    usual = ""
    if field.expected and field.is_input:
        usual = ", ".join(map(str, field.expected[:SHOWN])) + (" …" if len(field.expected) > SHOWN else "")
        usual = usual if field.kind == "category" else f"{field.expected[0]} to {field.expected[1]}"
    share = f"{profile.nulls / profile.rows:.1%}" if profile.nulls else ""
    return field.name, kind, field.unit, usual, share, f"{profile.distinct:,}"
