"""Render the model card (Mitchell et al. 2019): what a version predicts, from which data, and how well."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lifecycle.contract.schema import Column, Contract

TEMPLATE = Path(__file__).with_name("card.md.j2")


def text(contract: Contract, facts: Mapping[str, Any], runtime: str) -> str:
    """Return the model card as Markdown, from the facts of `bundle.json` and one line about what runs the model.

    The card does not contain the version, which is derived from the hash of all files including this one.
    """
    import jinja2

    strict = jinja2.StrictUndefined
    environment = jinja2.Environment(undefined=strict, finalize=_cell, trim_blocks=True, keep_trailing_newline=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    columns = [(column, _expected(column)) for column in contract.columns]
    return template.render(contract=contract, facts=facts, runtime=runtime, columns=columns)


def _expected(column: Column) -> str:
    if column.kind != "category":
        return " … ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in column.expected[:2])
    levels = column.levels or column.expected
    return ", ".join(map(str, levels[:10])) + (" …" if len(levels) > 10 else "")


def _cell(value: Any) -> str:
    # A name may contain characters that end a cell or a line, or that start other Markdown.
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
