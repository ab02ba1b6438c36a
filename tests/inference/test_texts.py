"""Every text in texts.toml is used, and gets the values that it has places for."""

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from looseleaf.contract import texts

CALLS = {"note": "notes", "refused": "errors"}


def calls() -> Iterator[tuple[str, str, set[str]]]:
    """Yield kind and name of the text in each call, and the names of the values."""
    for path in Path(texts.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
                for each in ast.walk(node.args[0]):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str):
                        yield CALLS[node.func.id], each.value, {str(keyword.arg) for keyword in node.keywords}


@pytest.mark.parametrize("kind", ["notes", "errors"])
def test_every_text_is_used_and_gets_the_values_that_it_has_places_for(kind: str) -> None:
    places = {
        name: {field for part in ([text] if kind == "notes" else text) for _, field, _, _ in Formatter().parse(part)}
        for name, text in texts.TEXTS[kind].items()
    }
    expected = {name: {*filter(None, fields)} for name, fields in places.items()}
    # A text may have several calls.
    given = [(name, values) for of, name, values in calls() if of == kind]
    assert [(name, values) for name, values in given if values != expected.get(name)] == []
    assert {name for name, _ in given} == {*expected}
