"""Deletes each file of template/ in a copy of the tree: some test has to turn red, unless the file is prose.

A file whose absence nothing notices is either not needed or not tested. Tests that merely name files do not count, so
the words of the pages are left out. Takes half an hour; `make proof` runs it and writes build/proof.json.
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

PROSE = {
    "template/config/base.yaml": "says what belongs there; an environment without the file has the defaults",
    "template/config/staging.yaml": "as base.yaml",
    "template/config/production.yaml": "as base.yaml",
}
RENDERS = ("tests/template/test_static.py", "tests/template/test_render.py", "tests/template/test_negative.py")
UNITS = ("tests/runtime",)
FAULTS = ("tests/template/test_faults.py", "-k", "green")
PROJECT = ("tests/system/test_project.py", "tests/template/test_ci.py")


def stages(name: str) -> list[tuple[str, ...]]:
    """The tests to try, in the order in which one of them is likely to miss the file."""
    if name.startswith("template/lifecycle/src"):
        return [UNITS, RENDERS, PROJECT]
    if name.startswith(("template/tests", "template/notebooks")):
        return [FAULTS, PROJECT]
    return [RENDERS, UNITS, FAULTS, PROJECT]


def green(stage: tuple[str, ...], base: Path) -> str:
    """What is red with every file there, or an empty text: red tests prove nothing."""
    tree = base.parent / stage[0].replace("/", "_")
    snapshot(base, tree)
    code, said = outcome(tree, *stage)
    return "" if code == 0 else said


def missed_by(name: str, base: Path) -> str:
    """The first test that is red without the file, or an empty text."""
    tree = base.parent / name.replace("/", "_")
    snapshot(base, tree)
    (tree / name).unlink()
    for stage in stages(name):
        code, said = outcome(tree, *stage)
        # 1: a test failed; 2: a module of tests could not be imported; 4: what they all share could not.
        if code in (1, 2) or (code == 4 and "ImportError while loading conftest" in said):
            red = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR", "ImportError"))]
            return red[0].split(" - ")[0] if red else said.splitlines()[-1]
    return ""


def main() -> int:
    """Sweep, print a line for each file, write the result; 1 when a file is missed by nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="some files of template/; default: all")
    given = parser.parse_args()
    names = given.names or [path.relative_to(ROOT).as_posix() for path in template_files()]
    if unknown := [name for name in (*names, *PROSE) if not (ROOT / name).is_file()]:
        sys.exit(f"no such file: {', '.join(unknown)}")
    found: dict[str, str] = {name: f"prose: {reason}" for name, reason in PROSE.items() if name in names}
    with tempfile.TemporaryDirectory(prefix="sweep-") as scratch, ThreadPoolExecutor(2) as pool:
        # What is swept is the tree of this moment, whatever is edited meanwhile.
        base = Path(scratch) / "base"
        snapshot(ROOT, base)
        for said in pool.map(lambda stage: green(stage, base), (RENDERS, UNITS, FAULTS, PROJECT)):
            if said:
                sys.exit(f"{said}\nThe suite is red as it is; hint that first.")
        print("every test is green with every file there", flush=True)
        swept = [name for name in names if name not in PROSE]
        for name, red in zip(swept, pool.map(lambda each: missed_by(each, base), swept), strict=True):
            found[name] = red
            print(f"{name}: {red or 'NOTHING MISSES IT'}", flush=True)
    write(found, complete=not given.names)
    return int(not all(found.values()))


def write(found: dict[str, str], complete: bool) -> None:
    """The result with the commit and the date it is of."""
    try:
        commit = git("describe", "--always", "--dirty", folder=ROOT)
    except subprocess.CalledProcessError:
        commit = ""
    told = {"commit": commit, "date": datetime.now(UTC).isoformat(), "complete": complete, "files": found}
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build/proof.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
