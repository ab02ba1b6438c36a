"""Delete each file of template/ in a copy of the tree: some test has to fail, unless the file is documentation.

A file whose absence no test detects is either not needed or not tested. Tests of pages that merely name files are left
out. Part of `make proof`; writes build/proof.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from looseleaf.snapshot import git, snapshot
from support.rendering import ROOT, outcome, template_files

DOCUMENTATION = {
    "template/config/base.yaml": "a comment; an environment without the file has the defaults",
    "template/config/staging.yaml": "as base.yaml",
    "template/config/production.yaml": "as base.yaml",
}
RENDERS = ("tests/template/test_static.py", "tests/template/test_render.py", "tests/template/test_negative.py")
UNITS = ("tests/runtime",)
FAULTS = ("tests/template/test_faults.py", "-k", "green")
PROJECT = ("tests/system/test_project.py", "tests/template/test_ci.py")


def stages(name: str) -> list[tuple[str, ...]]:
    """Return the tests to run, those most likely to detect the missing file first."""
    if name.startswith("template/lifecycle/src/lifecycle/"):
        package = f"tests/runtime/{name.split('/')[4]}"
        own = [(package,)] if (ROOT / package).is_dir() else []
        return [*own, UNITS, RENDERS, PROJECT]
    if name.startswith(("template/tests", "template/notebooks")):
        return [FAULTS, PROJECT]
    return [RENDERS, UNITS, FAULTS, PROJECT]


def green(stage: tuple[str, ...], base: Path) -> str:
    """Return the output of tests that fail although every file exists, else an empty text."""
    tree = base.parent / stage[0].replace("/", "_")
    snapshot(base, tree)
    code, output = outcome(tree, *stage)
    return "" if code == 0 else output


def missed_by(name: str, base: Path) -> str:
    """Return the first test that fails without the file, else an empty text."""
    tree = base.parent / name.replace("/", "_")
    snapshot(base, tree)
    (tree / name).unlink()
    for stage in stages(name):
        code, output = outcome(tree, *stage)
        # 1: a test failed; 2: a test module could not be imported; 4: conftest.py could not be imported.
        if code in (1, 2) or (code == 4 and "ImportError while loading conftest" in output):
            red = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR", "ImportError"))]
            return red[0].split(" - ")[0] if red else output.splitlines()[-1]
    return ""


def main() -> int:
    """Delete each file in turn, print the result; returns 1 if no test detects a missing file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="some files of template/; default: all")
    given = parser.parse_args()
    names = given.names or [path.relative_to(ROOT).as_posix() for path in template_files()]
    if unknown := [name for name in (*names, *DOCUMENTATION) if not (ROOT / name).is_file()]:
        sys.exit(f"no such file: {', '.join(unknown)}")
    found: dict[str, str] = {
        name: f"documentation: {reason}" for name, reason in DOCUMENTATION.items() if name in names
    }
    with tempfile.TemporaryDirectory(prefix="sweep-") as scratch, ThreadPoolExecutor(2) as pool:
        # A snapshot, so that edits during the run have no effect.
        base = Path(scratch) / "base"
        snapshot(ROOT, base)
        for output in pool.map(lambda stage: green(stage, base), (RENDERS, UNITS, FAULTS, PROJECT)):
            if output:
                sys.exit(f"{output}\nTests fail although every file exists: fix them first.")
        print("all tests pass with every file", flush=True)
        swept = [name for name in names if name not in DOCUMENTATION]
        for name, red in zip(swept, pool.map(lambda each: missed_by(each, base), swept), strict=True):
            found[name] = red
            print(f"{name}: {red or 'NO TEST FAILS'}", flush=True)
    write(found, complete=not given.names)
    return int(not all(found.values()))


def write(found: dict[str, str], complete: bool) -> None:
    """Write the result with commit and date."""
    try:
        commit = git("describe", "--always", "--dirty", folder=ROOT)
    except subprocess.CalledProcessError:
        commit = ""
    document = {"commit": commit, "date": datetime.now(UTC).isoformat(), "complete": complete, "files": found}
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build/proof.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
