"""The map of the house: the core knows no edge, edges do not know each other, one module reaches the team's code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lifecycle

HOUSE = Path(lifecycle.__file__).parent
EDGES = ("pipelines", "serving", "monitoring", "client")
MODULES = {path.relative_to(HOUSE).as_posix(): path for path in sorted(HOUSE.rglob("*.py"))}
# The verbs of the command line start every edge, and only inside the function that needs it.
STARTS_EDGES = "commands/"


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def edge_of(name: str) -> str | None:
    """The edge that a dotted name or a path belongs to."""
    return next((edge for edge in EDGES if name.startswith((f"lifecycle.{edge}", f"{edge}/"))), None)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_inwards(module: str) -> None:
    own = edge_of(module)
    crossing = [name for name in imported(MODULES[module]) if (edge := edge_of(name)) and edge != own]
    assert module.startswith(STARTS_EDGES) or crossing == []


@pytest.mark.parametrize("module", MODULES)
def test_only_one_module_reaches_the_teams_code(module: str) -> None:
    assert [name for name in imported(MODULES[module]) if name.split(".")[0] == "model"] == []
    assert module == "team.py" or "import_module" not in MODULES[module].read_text()


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("serving/")])
def test_the_service_imports_nothing_of_the_training(module: str) -> None:
    heavy = {"pandas", "sklearn", "duckdb", "mlflow", "skops"}
    assert heavy.isdisjoint(name.split(".")[0] for name in imported(MODULES[module]))


@pytest.mark.parametrize("module", MODULES)
def test_nothing_happens_at_import(module: str) -> None:
    calls = [
        node
        for node in ast.parse(MODULES[module].read_text()).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    assert module == "__main__.py" or calls == []


@pytest.mark.parametrize("room", [".", "commands", "owners", *EDGES])
def test_each_room_says_what_it_is_for(room: str) -> None:
    assert ast.get_docstring(ast.parse((HOUSE / room / "__init__.py").read_text()))


def test_modules_are_small_and_the_whole_can_be_read() -> None:
    sizes = sorted(sum(bool(line.strip()) for line in path.read_text().splitlines()) for path in MODULES.values())
    assert sizes[-1] <= 250
    assert sizes[len(sizes) // 2] <= 105
    # Parts of like size train and export, serve and score, watch and renew, and keep people from a mistake.
    assert sum(sizes) <= 11_500
