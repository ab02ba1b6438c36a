"""The defaults of a release's settings, read from the source of `lifecycle/settings.py` without running it."""

import ast
from collections.abc import Iterator, Mapping

MODULE = "lifecycle/src/lifecycle/settings.py"


def default_changes(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[tuple[str, str | None, str | None]]:
    """Return name, old and new default of each setting that differs between two renders; None where it is missing."""
    before, after = defaults(old.get(MODULE, b"")), defaults(new.get(MODULE, b""))
    names = sorted({*before, *after}) if before and after else []
    return [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def defaults(source: bytes) -> dict[str, str]:
    """Return the default of each setting by its dotted name; empty for a source of another form."""
    try:
        classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    except (SyntaxError, ValueError):
        return {}
    return dict(_leaves("Settings", classes, "")) if "Settings" in classes else {}


def _leaves(section: str, classes: Mapping[str, ast.ClassDef], prefix: str) -> Iterator[tuple[str, str]]:
    for node in classes[section].body:
        if not isinstance(node, ast.AnnAssign) or node.value is None:
            continue
        value, name = node.value, f"{prefix}{ast.unparse(node.target)}"
        called = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
        if called in classes:
            yield from _leaves(called, classes, f"{name}.")
            continue
        if isinstance(value, ast.Call) and called in ("Field", "Path"):
            named = [keyword.value for keyword in value.keywords if keyword.arg == "default"]
            value = next(iter([*named, *value.args]), value)
        yield name, ast.unparse(value)
