"""Describe a plan: a short form for the terminal, and docs/contract-report.md."""

from collections.abc import Mapping

from lifecycle.contract.schema import Column, Contract
from looseleaf.contract.changes import digest
from looseleaf.contract.plan import Field, Plan
from looseleaf.contract.texts import printable

KINDS = {"number": "number", "integer": "whole number", "boolean": "true or false", "category": "text", "time": "date"}
SHOWN = 12


def lines(plan: Plan) -> list[str]:
    """Return the short form of a plan."""
    table, target = plan.table, plan.target
    keys = ", ".join(each.name for each in plan.fields if each.source == "key") or "none"
    row_id = [f"id       {printable(each.name)}" for each in plan.fields if each.source == "id"]
    inputs = sum(each.is_input for each in plan.fields)
    columns = len(table.source.columns)
    summary = [
        f"{table.source.path.name}: {table.rows:,} rows, {columns} columns ({table.source.description})",
        f"label    {printable(target.label)}: {target.task}"
        + (f" ({', '.join(target.classes[:SHOWN])})" if target.classes else ""),
        f"key      {printable(keys)}",
        *row_id,
        f"holdout  {plan.holdout}",
        f"inputs   {inputs} of {columns} columns",
    ]
    summary += _section("left out", [f"{each.column}: {each.reason}" for each in plan.excluded])
    summary += _section("decided", list(plan.decided))
    summary += _section("not sure", list(plan.unsure))
    return summary


def page(plan: Plan, call: str, written: Mapping[str, bytes | None], removed: list[str], changes: list[str]) -> str:
    """Return docs/contract-report.md, which records the hashes of the `written` files; `call` repeats the inference."""
    table, target = plan.table, plan.target
    parts = [
        f"# What `make contract` found in {printable(table.source.path.name)}",
        f"{table.rows:,} rows and {len(table.source.columns)} columns, read as {table.source.description}. "
        f"{plan.labels.rows:,} rows have a label. To run it again:",
        f"```\n{call}\n```",
        "## Target and holdout",
        f"`{printable(target.label)}`: {target.task}"
        + (f" ({', '.join(map(printable, target.classes))})" if target.classes else "")
        + f". Held out: {printable(plan.holdout)}.",
    ]
    if plan.labels.counts:
        parts.append(_table(("class", "rows"), [(word, f"{count:,}") for word, count in plan.labels.counts.items()]))
    parts.append("## Columns of the contract")
    head = ("column", "kind", "unit", "usual", "null", "different values")
    parts.append(_table(head, [_row(each, plan) for each in plan.fields]))
    if plan.excluded:
        parts.append("## Left out")
        parts.append("To keep a suspected leak that is known before the label: `KEEP=column`, separated by commas.")
        parts.append(_table(("column", "reason"), [(each.column, each.reason) for each in plan.excluded]))
    for heading, notes in (("Not sure", plan.unsure), ("Decided", plan.decided), ("Changes", changes)):
        if notes:
            parts += [f"## {heading}", "\n".join(f"- {printable(note)}" for note in notes)]
    hashes = [f"| `{name}` | {digest(content)} |" for name, content in written.items() if content is not None]
    parts += [
        "## Files",
        "A file that still has this SHA-256 is replaced by the next run; an edited one only with `FORCE=1`.",
        "\n".join(["| file | SHA-256 |", "|---|---|", *hashes]),
    ]
    if removed:
        parts.append(f"Removed because nothing uses it: {', '.join(f'`{name}`' for name in removed)}.")
    return "\n\n".join(parts) + "\n"


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


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    body = [f"| {' | '.join(printable(cell) for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *body])


def _section(heading: str, notes: list[str]) -> list[str]:
    if not notes:
        return []
    more = [f"  … and {len(notes) - SHOWN} more in the report"] if len(notes) > SHOWN else []
    return [heading, *(f"  {printable(note)}" for note in notes[:SHOWN]), *more]
