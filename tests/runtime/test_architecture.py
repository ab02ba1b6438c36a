"""The structure of the runtime: layers, and the service's imports."""

import ast
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import lifecycle
from support.rendering import ROOT

PACKAGE = Path(lifecycle.__file__).parent
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
HEAVY = {"duckdb", "mlflow", "pandas", "sklearn", "skops"}
LINT = Path(sys.executable).with_name("lint-imports")


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names that a module imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def lint_imports(sources: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the packages below `sources` against the layers that pyproject.toml defines."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = next(each for each in tools["importlinter"]["contracts"] if each["type"] == "layers")
    names = "\n    ".join(layers["layers"])
    ignored = "\n    ".join(layers.get("ignore_imports", []))
    config = folder / "importlinter.ini"
    config.write_text(
        "[importlinter]\nroot_package = lifecycle\n\n[importlinter:contract:layers]\nname = layers\ntype = layers\n"
        f"layers =\n    {names}\nignore_imports =\n    {ignored}\nunmatched_ignore_imports_alerting = none\n"
    )
    command = [LINT, "--config", config, "--no-cache"]
    return subprocess.run(command, cwd=sources, capture_output=True, text=True, env={"PYTHONPATH": str(sources)})


def test_packages_import_only_lower_layers(tmp_path: Path) -> None:
    done = lint_imports(PACKAGE.parent, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("contract/compatibility.py", "from lifecycle import cli"),
        ("features/__init__.py", "from lifecycle.registry import deployments"),
        ("errors.py", "import lifecycle.settings"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, module: str, forbidden: str) -> None:
    copy = shutil.copytree(PACKAGE, tmp_path / "lifecycle", ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{forbidden}\n")
    done = lint_imports(tmp_path, tmp_path)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout


@pytest.mark.parametrize("module", MODULES)
def test_only_one_module_imports_the_teams_code(module: str) -> None:
    path = MODULES[module]
    assert "model" not in {name.split(".")[0] for name in imported(path)}
    allowed = ("contract/team.py", "__init__.py")
    assert module in allowed or "import_module" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("serving/")])
def test_the_service_imports_no_training_library(module: str) -> None:
    assert HEAVY.isdisjoint(name.split(".")[0] for name in imported(MODULES[module]))


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_module_calls_nothing(module: str) -> None:
    body = ast.parse(MODULES[module].read_text(encoding="utf-8")).body
    calls = [node for node in body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    # They register old names, warn about them, or are the command itself.
    assert calls == [] or module in ("__init__.py", "__main__.py", "declare.py", "matrix.py")


@pytest.mark.parametrize("package", [name for name in MODULES if name.endswith("__init__.py")])
def test_each_package_has_a_docstring(package: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[package].read_text(encoding="utf-8")))
