"""Render the model card (Mitchell et al. 2019): what a version predicts, from which data, and how well."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lifecycle.contract.schema import Column, Contract, Target

MOST_LEVELS = 10
NOT_ASSIGNED = "not assigned"


def text(contract: Contract, facts: Mapping[str, Any], runtime: str) -> str:
    """Return the model card as Markdown, from the facts of `bundle.json` and one line about what runs the model.

    The card does not contain the version, which is derived from the hash of all files including this one.
    """
    return "\n".join(_lines(contract, facts, runtime)) + "\n"


def _lines(contract: Contract, facts: Mapping[str, Any], runtime: str) -> Iterator[str]:
    target, rows, code = contract.target, facts["rows"], facts["code"]
    yield f"# {facts['name']}\n"
    yield f"{_purpose(target)}\n"
    linear = "the linear baseline, which the candidate did not beat"
    yield from _table(
        ("", ""),
        [
            ("label", target.label),
            ("task", f"{target.task} {', '.join(target.classes) or target.unit}".strip()),
            ("contract", f"version {contract.version}"),
            ("model", linear if facts["estimator"] == "linear" else "the candidate"),
            ("runtime", runtime),
            ("rows", f"{rows['training']:,} for training, {rows['holdout']:,} held out: {facts['holdout']['rule']}"),
            ("labels known at", facts["as_of"]),
            ("data", f"SHA-256 {facts['data']}"),
            ("owners", _owners(facts.get("owners", {}))),
            ("code", f"{code['commit'] or 'no commit'}{', with edited files' if code['edited'] else ''}"),
            *([("lifecycle", facts["lifecycle"])] if "lifecycle" in facts else []),
        ],
    )
    yield "\n## Columns\n"
    names = ("name", "source", "type", "unit", "expected", "null")
    yield from _table(names, [(*_column(column), "yes" if column.nullable else "no") for column in contract.columns])
    yield "\n## Metrics on the rows held out\n"
    metrics = list(next(iter(facts["metrics"].values())))
    values = [(name, *(f"{each[metric]:.4g}" for metric in metrics)) for name, each in facts["metrics"].items()]
    yield from _table(("", *metrics), values)


def _purpose(target: Target) -> str:
    if target.task == "regression":
        return f"This model predicts {_cell(target.label)}{f', in {_cell(target.unit)}' if target.unit else ''}."
    if target.task == "binary":
        return f"This model predicts the probability that {_cell(target.label)} is {_cell(target.classes[1])}."
    return f"This model predicts the probability of each class of {_cell(target.label)}."


def _owners(roles: Mapping[str, Iterable[str]]) -> str:
    named = {role: ", ".join(f"@{handle}" for handle in handles) for role, handles in roles.items()}
    if not any(named.values()):
        return NOT_ASSIGNED
    return "; ".join(f"{role.replace('-', ' ')} {handles or NOT_ASSIGNED}" for role, handles in named.items())


def _column(column: Column) -> tuple[str, ...]:
    bounds = " … ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in column.expected[:2])
    levels = column.levels or column.expected
    listed = ", ".join(map(str, levels[:MOST_LEVELS])) + (" …" if len(levels) > MOST_LEVELS else "")
    expected = listed if column.kind == "category" else bounds
    return column.name, column.source, column.kind, column.unit, expected


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    first = tuple(head)
    for row in (first, ("---",) * len(first), *rows):
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(value: str) -> str:
    # A name may contain characters that end a cell or a line, or that start other Markdown.
    return " ".join(value.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
