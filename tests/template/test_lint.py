"""`make lint` holds layers, vocabulary and docstrings; each of them fails for a seeded defect."""

import os
import shutil
from pathlib import Path

import pytest

from support.rendering import ROOT, TEMPLATE, run, tool

CONFIGURATION = ROOT / "pyproject.toml"


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """Return a copy of the runtime's source folder."""
    ignore = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(TEMPLATE / "lifecycle/src", tmp_path / "src", ignore=ignore))


def lint_imports(source: Path, hooks: Path = ROOT / "hooks") -> tuple[int, str]:
    """Run import-linter on the runtime in `source` and on `looseleaf` in `hooks`."""
    paths = os.pathsep.join([str(source), str(hooks), str(ROOT)])
    command = [tool("lint-imports"), "--config", str(CONFIGURATION), "--no-cache", "--no-logo"]
    done = run(*command, folder=source.parent, PYTHONPATH=paths)
    return done.returncode, done.stdout


def test_imports_follow_the_layers(runtime: Path) -> None:
    code, output = lint_imports(runtime)
    assert code == 0, output


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("contract/rows.py", "from lifecycle.models import bundle", "Each layer"),
        ("scoring/parts.py", "from lifecycle.training import gate", "Each layer"),
        ("contract/schema.py", "from lifecycle.contract import declare", "cycle"),
        ("contract/rows.py", "import looseleaf", "never needs looseleaf"),
    ],
)
def test_a_forbidden_import_is_found(runtime: Path, module: str, line: str, contract: str) -> None:
    path = runtime / "lifecycle" / module
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    code, output = lint_imports(runtime)
    assert code == 1
    assert any(contract in each and "BROKEN" in each for each in output.replace("\n", " ").split("KEPT")), output


def test_an_import_of_the_maintainers_commands_by_what_teams_install_is_found(runtime: Path, tmp_path: Path) -> None:
    hooks = shutil.copytree(ROOT / "hooks", tmp_path / "hooks", ignore=shutil.ignore_patterns("__pycache__"))
    with (hooks / "looseleaf/releases.py").open("a", encoding="utf-8") as module:
        module.write("import maintenance.history\n")
    code, output = lint_imports(runtime, hooks)
    assert code == 1
    assert "What teams install never needs the maintainer's commands BROKEN" in output.replace("\n", " "), output


def test_a_word_outside_the_glossary_is_found(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("The service returns a prediction.\n")
    command = [tool("codespell"), "--toml", str(CONFIGURATION), str(path)]
    assert run(*command, folder=ROOT).returncode == 0
    path.write_text("The service answers what it is asked.\n")
    done = run(*command, folder=ROOT)
    assert done.returncode != 0
    assert "answers ==> predictions" in done.stdout


def test_a_public_function_without_a_docstring_is_found(runtime: Path) -> None:
    path = runtime / "lifecycle/errors.py"
    path.write_text(
        f"{path.read_text(encoding='utf-8')}\n\ndef explain() -> None:\n    return None\n", encoding="utf-8"
    )
    done = run(tool("ruff"), "check", "--config", str(CONFIGURATION), "--select", "D", str(path), folder=ROOT)
    assert done.returncode == 1
    assert "D103" in done.stdout
