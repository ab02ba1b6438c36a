"""Delete each file of template/ in a clone of the last commit: some test has to fail, unless the file is documentation.

A file whose absence no test detects is either not needed or not tested. The test of the manifest is left out, because
it compares names and hashes of all files. The tests that fail must pass when every file exists. Two processes share
the files. Part of `make proof`; writes build/sweep.json.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from looseleaf.snapshot import git
from support.rendering import ROOT, outcome, template_files

DOCUMENTATION = {
    "template/config/base.yaml": "a comment; an environment without the file has the defaults",
    "template/config/staging.yaml": "as base.yaml",
    "template/config/production.yaml": "as base.yaml",
}
FAST = ("-m", "not slow")
MANIFEST = ("--deselect", "tests/template/test_static.py::test_the_manifest_is_up_to_date")
# Its conftest imports most of the runtime, so that a missing module fails within seconds.
IMPORTS = ("tests/runtime/test_settings.py", *FAST)
RENDERS = ("tests/template", *FAST, *MANIFEST)
UNITS = ("tests/runtime", *FAST)
TEAM = ("template/tests",)
FAULTS = ("tests/template/test_faults.py", "-k", "test_of_each_fault_exists")
PROJECT = ("tests/system/test_project.py", "tests/template/test_ci.py")
# Tests that would find every file that they name.
NAMING = ("tests/template/test_faults.py", "tests/template/test_budgets.py")


def stages(name: str) -> list[tuple[str, ...]]:
    """Return the tests to run, those that are cheap or likely to detect the missing file first."""
    if name.startswith("template/lifecycle/src/lifecycle/"):
        package = f"tests/runtime/{name.split('/')[4]}"
        own = [(package, *FAST)] if (ROOT / package).is_dir() else []
        return [IMPORTS, *own, UNITS, RENDERS, PROJECT]
    if name.startswith(("template/tests", "template/notebooks", "template/src")):
        return [TEAM, FAULTS, UNITS, RENDERS, PROJECT]
    likely = mentioning(Path(name).name.removesuffix(".jinja"))
    return [*([(*likely, *FAST, *MANIFEST)] if likely else []), RENDERS, UNITS, TEAM, FAULTS, PROJECT]


def mentioning(word: str) -> list[str]:
    """Return the test files that contain the word."""
    found = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if word in path.read_text(encoding="utf-8")]
    return [name for path in found if (name := path.relative_to(ROOT).as_posix()) not in NAMING]


def missed_by(name: str, tree: Path) -> str:
    """Return the first test that fails without the file, else an empty text."""
    (tree / name).unlink()
    for stage in stages(name):
        code, output = outcome(tree, *stage)
        # 1: a test failed; 2: a test module could not be imported; 4: conftest.py could not be imported.
        if code in (1, 2) or (code == 4 and "ImportError while loading conftest" in output):
            lines = output.splitlines()
            red = [line for line in lines if line.startswith(("FAILED ", "ERROR ", "ImportError while"))]
            return red[0].split(" - ")[0].replace(f"{tree}/", "").rstrip(".") if red else lines[-1]
    return ""


def failing(tests: list[str], tree: Path) -> str:
    """Return the output of tests, named as in a report of pytest, that fail although every file exists."""
    names = {test.split("'")[1] if test.startswith("ImportError") else test.split(" ")[1] for test in tests}
    # A conftest that could not be imported belongs to a folder; of a file that could not be imported, no test was run.
    named = sorted({name.partition("[")[0].removesuffix("/conftest.py") for name in names})
    for part in ("tests/", "template/"):
        for options, chosen in (
            ((), [name for name in named if name.startswith(part) and "::" in name]),
            (("--collect-only",), [name for name in named if name.startswith(part) and "::" not in name]),
        ):
            if chosen:
                code, output = outcome(tree, *options, *chosen)
                if code != 0:
                    return output
    return ""


@contextmanager
def borrowed(trees: "SimpleQueue[Path]") -> Iterator[Path]:
    """Take a tree, and put it back complete."""
    tree = trees.get()
    try:
        yield tree
    finally:
        git("reset", "--quiet", "--hard", folder=tree)
        git("clean", "--quiet", "--force", "-d", folder=tree)
        trees.put(tree)


def main() -> int:
    """Delete each file in turn, print the result; returns 1 if no test detects a missing file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="some files of template/; default: all")
    given = parser.parse_args()
    names = given.names or [path.relative_to(ROOT).as_posix() for path in template_files()]
    if unknown := [name for name in (*names, *DOCUMENTATION) if not (ROOT / name).is_file()]:
        sys.exit(f"no such file: {', '.join(unknown)}")
    found = {name: f"documentation: {reason}" for name, reason in DOCUMENTATION.items() if name in names}
    swept = [name for name in names if name not in DOCUMENTATION]
    trees: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="sweep-") as scratch, ThreadPoolExecutor(2) as pool:
        # Clones have the releases that tests read from the history; each is used again, with its compiled modules.
        for number in range(2):
            git("clone", "--quiet", f"file://{ROOT}", str(tree := Path(scratch) / str(number) / "tree"), folder=ROOT)
            trees.put(tree)

        def sweep(name: str) -> str:
            with borrowed(trees) as tree:
                return missed_by(name, tree)

        for name, red in zip(swept, pool.map(sweep, swept), strict=True):
            found[name] = red
            print(f"{name}: {red or 'NO TEST FAILS'}", flush=True)
        with borrowed(trees) as tree:
            if output := failing([red for name in swept if (red := found[name])], tree):
                sys.exit(f"{output}\nTests fail although every file exists: fix them first.")
    print("These tests pass with every file.")
    (ROOT / "build").mkdir(exist_ok=True)
    document = {"complete": not given.names, "files": found}
    (ROOT / "build/sweep.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return int(not all(found.values()))


if __name__ == "__main__":
    sys.exit(main())
