"""`looseleaf eject`: leave the template. Remove what updates a repository, and add the tests of `lifecycle/`."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from looseleaf.errors import UpdateError
from looseleaf.snapshot import git
from looseleaf.update.apply import journal
from looseleaf.update.source import ANSWERS_FILE, Source, recorded

TESTS = "lifecycle/tests"
DATA: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
REMOVED: list[str] = DATA["removed"]
EDITS: dict[str, list[str]] = DATA["edits"]


def run(root: Path) -> int:
    """Leave the template in a repository; returns 0 when done, 1 after an error, which changes no file."""
    try:
        _refuse_unready(root)
        content = recorded(root)
        with tempfile.TemporaryDirectory(prefix="looseleaf-eject-") as work:
            source = Source.fetch(content, root, Path(work) / "template")
            commit = source.commit(str(content["_commit"]))
            git("checkout", "--quiet", commit, folder=source.clone)
            try:
                _eject(root, source.clone / "tests")
            except BaseException:
                git("checkout", "--quiet", "HEAD", "--", ".", folder=root)
                shutil.rmtree(root / TESTS, ignore_errors=True)
                raise
        print(DATA["next"].format(source=f"{source.address}@{commit[:12]}"))
        return 0
    except (UpdateError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {getattr(error, 'stderr', error)}".rstrip(), file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped; everything is as it was", file=sys.stderr)
        return 130
    return 1


def _refuse_unready(root: Path) -> None:
    if journal(root).exists():
        raise UpdateError("an update was interrupted here", "make update ABORT=1 restores every file.")
    if not (root / ANSWERS_FILE).exists():
        raise UpdateError(f"there is no {ANSWERS_FILE}: this repository has left the template already")
    if changed := git("status", "--porcelain", "--", ".", folder=root):
        raise UpdateError(f"the work tree has uncommitted changes:\n{changed}", "Commit or stash them.")
    if (root / TESTS).exists():
        raise UpdateError(f"there is a folder {TESTS} already", "Move it away.")
    if not (root / ".venv/bin/python").exists():
        raise UpdateError("there is no environment yet", "Run make setup.")


def _eject(root: Path, tests: Path) -> None:
    for name in REMOVED:
        (root / name).unlink(missing_ok=True)
    for name, patterns in EDITS.items():
        path = root / name
        for pattern in patterns if path.exists() else ():
            text, count = re.subn(pattern, "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            if count != 1:
                raise UpdateError(f"{name} is not as the template has it", "make update first, or restore the file.")
            path.write_text(text, encoding="utf-8")
    with (root / "lifecycle/lifecycle.mk").open("a", encoding="utf-8") as file:
        file.write(DATA["command"])
    for path in sorted(movable(tests, root / ".venv/bin/python")):
        (root / TESTS / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tests / path, root / TESTS / path)
    (root / TESTS / "pytest.ini").write_text(DATA["pytest"], encoding="utf-8")


def movable(tests: Path, python: Path) -> set[Path]:
    """Return the tests of the runtime that the environment of `python` can import, and what these import of `tests`.

    Tests of renders, updates and libraries that a repository does not have are not copied.
    """
    needs = [_needed(path, tests) for path in sorted((tests / "runtime").rglob("*.py"))]
    names = sorted(set[str]().union(*(packages for _, packages in needs)))
    program = "import sys, importlib.util as u; print(*[n for n in sys.argv[1:] if u.find_spec(n)])"
    path = os.environ | {"PYTHONPATH": str(python.parents[2] / "lifecycle/tools")}
    done = subprocess.run([python, "-c", program, *names], env=path, capture_output=True, text=True, check=True)
    return {one.relative_to(tests) for paths, packages in needs if packages <= {*done.stdout.split()} for one in paths}


def _needed(path: Path, tests: Path) -> tuple[list[Path], set[str]]:
    """Return a module of the tests with all that it imports of the tests, and the packages that these import."""
    paths, packages = [path], set[str]()
    for each in paths:
        for name in _imported(each):
            module = tests / f"{name.replace('.', '/')}.py"
            own = module if module.is_file() else tests / name.replace(".", "/") / "__init__.py"
            if not own.is_file() and not name.startswith("support"):
                packages.add(name.split(".")[0])
            elif own.is_file() and own not in paths:
                paths.append(own)
    return paths, packages


@cache
def _imported(path: Path) -> frozenset[str]:
    names = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return frozenset(names)
