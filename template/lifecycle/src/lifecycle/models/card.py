"""The model card: what a version answers, from what, and how well, on one page for people (Mitchell et al. 2019)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lifecycle.contract.schema import Column, Contract, Target

MOST_LEVELS = 10


def text(contract: Contract, facts: Mapping[str, Any], runtime: str) -> str:
    """The card of a bundle with these facts, in Markdown, and of what answers in it.

    It does not name the version: that follows from its files.
    """
    return "\n".join(_lines(contract, facts, runtime)) + "\n"


def _lines(contract: Contract, facts: Mapping[str, Any], runtime: str) -> Iterator[str]:
    target, rows, code = contract.target, facts["rows"], facts["code"]
    yield f"# {facts['name']}\n"
    yield f"{_task(target)}\n"
    linear = "the linear baseline, which the candidate did not beat"
    yield from _table(
        ("", ""),
        [
            ("label", target.label),
            ("task", f"{target.task} {', '.join(target.classes) or target.unit}"),
            ("contract", f"version {contract.version}"),
            ("model", linear if facts["estimator"] == "linear" else "the candidate"),
            ("answered by", runtime),
            ("rows", f"{rows['training']:,} for training, {rows['holdout']:,} held out: {facts['holdout']['rule']}"),
            ("labels known at", facts["as_of"]),
            ("data", f"SHA-256 {facts['data']}"),
            ("answers for it", _owners(facts.get("owners", {}))),
            ("code", f"{code['commit'] or 'no commit'}{', with edited files' if code['edited'] else ''}"),
        ],
    )
    yield "\n## Columns\n"
    names = ("name", "source", "type", "unit", "usual", "null")
    yield from _table(names, [(*_column(column), "yes" if column.nullable else "no") for column in contract.columns])
    yield "\n## On the rows held out\n"
    measured = facts["metrics"]
    metrics = list(next(iter(measured.values())))
    told = [(name, *(f"{each[metric]:.4g}" for metric in metrics)) for name, each in measured.items()]
    yield from _table(("", *metrics), told)


def _task(target: Target) -> str:
    if target.task == "regression":
        return f"It answers {_cell(target.label)}{f', in {_cell(target.unit)}' if target.unit else ''}."
    if target.task == "binary":
        return f"It answers the probability that {_cell(target.label)} is {_cell(target.classes[1])}."
    return f"It answers the probability of each class of {_cell(target.label)}."


def _owners(roles: Mapping[str, Iterable[str]]) -> str:
    named = {role: ", ".join(f"@{handle}" for handle in handles) for role, handles in roles.items()}
    if not any(named.values()):
        return "nobody yet"
    return "; ".join(f"{role.replace('-', ' ')} {handles or 'nobody yet'}" for role, handles in named.items())


def _column(column: Column) -> tuple[str, ...]:
    between = " … ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in column.expected[:2])
    levels = column.levels or column.expected
    listed = ", ".join(map(str, levels[:MOST_LEVELS])) + (" …" if len(levels) > MOST_LEVELS else "")
    usual = listed if column.kind == "category" else between
    return column.name, column.source, column.kind, column.unit, usual


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    first = tuple(head)
    for row in (first, ("---",) * len(first), *rows):
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(value: str) -> str:
    # A name may hold what ends a cell, a line or the Markdown.
    return " ".join(value.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
