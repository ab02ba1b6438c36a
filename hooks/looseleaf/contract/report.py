"""What was decided and what nobody can be sure of: the same words on the terminal and in docs/contract-report.md."""

from collections.abc import Mapping

from lifecycle.contract.schema import Column, Contract
from looseleaf.contract.decide import Field, Plan
from looseleaf.contract.files import digest
from looseleaf.contract.texts import printable

KINDS = {"number": "number", "integer": "whole number", "boolean": "true or false", "category": "text"}
SHOWN = 12


def lines(plan: Plan) -> list[str]:
    """The short form, for a terminal."""
    table, answer = plan.table, plan.target
    named = ", ".join(each.name for each in plan.fields if each.is_key) or "none"
    inputs = sum(not each.is_key for each in plan.fields)
    told = [
        f"{table.source.path.name}: {table.rows:,} rows, {len(table.source.columns)} columns ({table.source.told})",
        f"label    {printable(answer.label)}: {answer.task}"
        + (f" ({', '.join(answer.classes[:SHOWN])})" if answer.classes else ""),
        f"key      {printable(named)}",
        f"holdout  {plan.holdout}",
        f"inputs   {inputs} of {len(table.source.columns)} columns",
    ]
    told += _some("left out", [f"{each.column}: {each.reason}" for each in plan.excluded])
    told += _some("decided", list(plan.decided))
    told += _some("not sure", list(plan.unsure))
    return told


def page(plan: Plan, call: str, written: Mapping[str, bytes | None], removed: list[str], difference: list[str]) -> str:
    """docs/contract-report.md."""
    table, answer = plan.table, plan.target
    parts = [
        f"# What `make contract` found in {printable(table.source.path.name)}",
        f"{table.rows:,} rows and {len(table.source.columns)} columns, read as {table.source.told}. "
        f"{plan.labels.rows:,} rows have a label. To run it again:",
        f"```\n{call}\n```",
        "## The answer and the holdout",
        f"`{printable(answer.label)}`: {answer.task}"
        + (f" ({', '.join(map(printable, answer.classes))})" if answer.classes else "")
        + f". Held out: {printable(plan.holdout)}.",
    ]
    if plan.labels.counts:
        parts.append(_table(("class", "rows"), [(word, f"{count:,}") for word, count in plan.labels.counts.items()]))
    parts.append("## The columns of the contract")
    parts.append(
        _table(
            ("column", "is", "unit", "usual", "null", "different values"), [_row(each, plan) for each in plan.fields]
        )
    )
    if plan.excluded:
        parts.append("## Left out")
        parts.append(
            "A leak may be kept when it is known before the label: `KEEP=column`, several separated by commas."
        )
        parts.append(_table(("column", "why"), [(each.column, each.reason) for each in plan.excluded]))
    for heading, notes in (("Not sure", plan.unsure), ("Decided", plan.decided), ("Since the last time", difference)):
        if notes:
            parts += [f"## {heading}", "\n".join(f"- {printable(note)}" for note in notes)]
    names = [(name, digest(content)) for name, content in written.items() if content is not None]
    parts += [
        "## Files",
        "A file that still has this SHA-256 is replaced the next time; an edited one is not, without `FORCE=1`.",
    ]
    parts.append("\n".join(["| file | SHA-256 |", "|---|---|", *(f"| `{name}` | {sum_} |" for name, sum_ in names)]))
    if removed:
        parts.append(f"Removed, as nothing uses it any more: {', '.join(f'`{name}`' for name in removed)}.")
    return "\n\n".join(parts) + "\n"


def difference(old: Contract, new: Contract, breaks: list[str]) -> list[str]:
    """What changed between two contracts, in words; empty when nothing did."""
    before = {column.name: column for column in old.columns}
    after = {column.name: column for column in new.columns}
    told = [f"{name} is new" for name in after if name not in before]
    told += [f"{name} is gone" for name in before if name not in after]
    for name in after:
        if name in before and before[name] != after[name]:
            told.append(f"{name}: {_changes(before[name], after[name])}")
    if old.target != new.target:
        was, now = (f"{each.task} ({', '.join(each.classes)})" for each in (old.target, new.target))
        told.append(f"the answer was {was} and is {now}")
    if not told:
        return []
    if breaks:
        return [f"BREAKING for callers of version {old.version}: {'; '.join(breaks)}", *told]
    return [f"compatible: callers of version {old.version} can go on", *told]


def _changes(old: Column, new: Column) -> str:
    names = ("kind", "source", "nullable", "required", "low", "high", "levels", "max_length", "unit", "expected")
    return ", ".join(
        f"{name} {getattr(old, name)!r} → {getattr(new, name)!r}"
        for name in names
        if getattr(old, name) != getattr(new, name)
    )


def _row(field: Field, plan: Plan) -> tuple[str, ...]:
    profile = plan.table.profiles[field.column]
    kind = "key" if field.is_key else KINDS[field.kind]
    usual = ""
    if field.expected and not field.is_key:
        usual = ", ".join(map(str, field.expected[:SHOWN])) + (" …" if len(field.expected) > SHOWN else "")
        usual = usual if field.kind == "category" else f"{field.expected[0]} to {field.expected[1]}"
    share = f"{profile.nulls / profile.rows:.1%}" if profile.nulls else ""
    return field.name, kind, field.unit, usual, share, f"{profile.distinct:,}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    body = [f"| {' | '.join(printable(cell) for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *body])


def _some(heading: str, notes: list[str]) -> list[str]:
    if not notes:
        return []
    more = [f"  … and {len(notes) - SHOWN} more in the report"] if len(notes) > SHOWN else []
    return [heading, *(f"  {printable(note)}" for note in notes[:SHOWN]), *more]
