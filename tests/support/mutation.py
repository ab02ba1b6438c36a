"""Mutate the modules that decide something, and report the mutants that no test detects.

mutmut names a module by its path below `src/`, so it runs in a copy of the tree in build/mutation that has this layout.
Part of `make proof`.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys

from support.rendering import ROOT, tool

# Modules of the runtime, and the tests that have to detect their mutants.
TARGETS = {
    "contract/compatibility.py": ("tests/runtime/contract",),
    "contract/rows.py": ("tests/runtime/contract",),
    "models/metrics.py": ("tests/runtime/models", "tests/runtime/training"),
    "models/predictor.py": ("tests/runtime/models",),
    "monitoring/drift.py": ("tests/runtime/monitoring",),
    "monitoring/verdict.py": ("tests/runtime/monitoring",),
    "registry/deployments.py": ("tests/runtime/registry",),
}
FOLDER = ROOT / "build" / "mutation"
REPORT = ROOT / "build" / "mutation.json"
CONFIGURATION = """
[tool.mutmut]
source_paths = ["src/lifecycle"]
only_mutate = ["src/lifecycle/{module}"]
also_copy = ["template", "hooks", "tests"]
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-q", "-p", "no:cacheprovider", "-m", "not slow"]
max_stack_depth = 8

[tool.pytest.ini_options]
pythonpath = ["src", "tests", "template/src", "hooks"]
addopts = ["--import-mode=importlib"]
markers = ["slow: not run here"]
"""


def mutate(module: str, tests: tuple[str, ...]) -> dict[str, object]:
    """Run mutmut on one module; returns the numbers of mutants and the survivors' names."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "template/lifecycle/src/lifecycle", FOLDER / "src/lifecycle", ignore=ignore)
    for name in ("template", "hooks", "tests"):
        shutil.copytree(ROOT / name, FOLDER / name, ignore=ignore)
    configuration = CONFIGURATION.format(module=module, tests=json.dumps(list(tests)))
    (FOLDER / "pyproject.toml").write_text(configuration, encoding="utf-8")
    done = subprocess.run([tool("mutmut"), "run", "--max-children", "2"], cwd=FOLDER, capture_output=True, text=True)
    results = subprocess.run([tool("mutmut"), "results", "--all", "true"], cwd=FOLDER, capture_output=True, text=True)
    states = dict(re.findall(r"^\s+(\S+): (.+)$", results.stdout, re.MULTILINE))
    if not states:
        sys.exit(f"mutmut tested nothing of {module}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    survivors = sorted(name for name, state in states.items() if state in ("survived", "no tests"))
    return {"mutants": len(states), "detected": len(states) - len(survivors), "survivors": survivors}


def main() -> int:
    """Mutate all modules, or those named; writes build/mutation.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TARGETS)}")
    chosen = parser.parse_args().modules or list(TARGETS)
    report = {}
    for module in chosen:
        report[module] = mutate(module, TARGETS[module])
        print(f"{module}: {report[module]['detected']} of {report[module]['mutants']} mutants detected", flush=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
