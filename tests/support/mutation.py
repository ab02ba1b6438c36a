"""Mutate the modules that decide something, and report the mutants that no test detects.

These are contract, matrix, gate, drift, split of the data and deployments. Each mutant runs the tests named for its
module only: with the tests that train models, all of it would take days.

mutmut names a module by its path below `src/`, so it runs in a copy of the tree in build/mutation that has this layout.
Two modules are mutated at once. Part of `make proof`.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from support.rendering import ROOT, tool

# Modules of the runtime, and the tests that have to detect their mutants; the one that takes longest comes first.
TARGETS = {
    "training/gate.py": ("tests/runtime/training/test_gate.py", "tests/runtime/training/test_gate_outcomes.py"),
    "contract/compatibility.py": ("tests/runtime/contract/test_compatibility.py",),
    "contract/rows.py": ("tests/runtime/contract",),
    "monitoring/drift.py": ("tests/runtime/monitoring/test_drift.py", "tests/runtime/monitoring/test_broken_data.py"),
    "registry/deployments.py": ("tests/runtime/registry/test_deployments.py", "tests/runtime/registry/test_audit.py"),
    "training/dataset.py": ("tests/runtime/training/test_dataset.py",),
}
# States of a mutant that mutmut reports. Any other means that it was not tested to the end.
DETECTED, SURVIVED = ("killed", "timeout"), ("survived", "no tests")
FOLDER = ROOT / "build" / "mutation"
REPORT = ROOT / "build" / "mutation.json"
CONFIGURATION = """
[tool.mutmut]
source_paths = ["src/lifecycle"]
only_mutate = ["src/lifecycle/{module}"]
also_copy = ["template", "hooks", "maintenance", "tests"]
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-q", "-p", "no:cacheprovider", "-m", "not slow"]
max_stack_depth = 8

[tool.pytest.ini_options]
pythonpath = [".", "src", "tests", "template/src", "hooks"]
addopts = ["--import-mode=importlib"]
markers = ["slow: not run here"]
"""


def mutate(module: str, tests: tuple[str, ...]) -> dict[str, object]:
    """Run mutmut on one module; returns the numbers of mutants and the survivors' names."""
    folder = FOLDER / module.removesuffix(".py").replace("/", "-")
    shutil.rmtree(folder, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "template/lifecycle/src/lifecycle", folder / "src/lifecycle", ignore=ignore)
    for name in ("template", "hooks", "maintenance", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    configuration = CONFIGURATION.format(module=module, tests=json.dumps(list(tests)))
    (folder / "pyproject.toml").write_text(configuration, encoding="utf-8")
    done = subprocess.run([tool("mutmut"), "run", "--max-children", "1"], cwd=folder, capture_output=True, text=True)
    results = subprocess.run([tool("mutmut"), "results", "--all", "true"], cwd=folder, capture_output=True, text=True)
    states = dict(re.findall(r"^\s+(\S+): (.+)$", results.stdout, re.MULTILINE))
    if not states or not {*states.values()} <= {*DETECTED, *SURVIVED}:
        problem = f"mutmut did not test all of {module} ({Counter(states.values())})"
        sys.exit(f"{problem}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    survivors = sorted(name for name, state in states.items() if state in SURVIVED)
    return {"mutants": len(states), "detected": len(states) - len(survivors), "survivors": survivors}


def main() -> int:
    """Mutate all modules, or those named; writes build/mutation.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TARGETS)}")
    chosen = parser.parse_args().modules or list(TARGETS)
    report = {}
    with ThreadPoolExecutor(2) as pool:
        for module, found in zip(chosen, pool.map(lambda each: mutate(each, TARGETS[each]), chosen), strict=True):
            report[module] = found
            print(f"{module}: {found['detected']} of {found['mutants']} mutants detected", flush=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
