"""Run the stages of a lift in the author's own Python, in which nothing is installed."""

import hashlib
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import platformdirs
from jupyter_core.paths import jupyter_path

from lifecycle.errors import LifecycleError
from looseleaf.lift.hints import TEXTS
from looseleaf.project import find_uv

AUTHOR = Path(__file__).with_name("author")
PACKAGE = "looseleaf_author"
CHECK = "import sys; sys.version_info < (3, 8) and sys.exit('the lift needs Python 3.8 or newer'); import numpy, pandas"
# Packages of notebooks that are installed without being named; any other name may be a module of the author.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "imblearn": "imbalanced-learn"}
KNOWN = {*DISTRIBUTIONS, "scipy", "matplotlib", "seaborn", "statsmodels", "xgboost", "lightgbm", "catboost", "plotly"}
# A cell that runs code of C cannot be interrupted at its limit; after this time more the process is ended.
GRACE_SECONDS = 30
# What a notebook of someone else must not read.
SECRETS = r"LIFECYCLE_(SIGNING|API)_KEY|AWS_SECRET_ACCESS_KEY|REGISTRY_PASSWORD|COSIGN_.*"

Progress = Callable[[dict[str, Any]], None]


def find(given: str, folder: Path) -> str:
    """Return the author's Python: a path, the name of a Jupyter kernel, or without either a .venv near the notebook.

    Raises LifecycleError where it cannot run the notebook.
    """
    candidates = [given, *_of_kernel(given)] if given else [str(folder / ".venv/bin/python"), sys.executable]
    python = next((each for each in candidates if Path(each).is_file()), "")
    if not python:
        raise LifecycleError(f"there is no Python or kernel {given!r}", TEXTS["kernel"])
    done = subprocess.run([python, "-c", CHECK], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it cannot be started"])[-1]
        problem = f"{python} cannot run the notebook: {reason}"
        raise LifecycleError(problem, "Name the Python in which the notebook ran: --kernel PYTHON.")
    return python


def build(packages: str, code: str) -> str:
    """Return the Python of an environment with these packages and known ones of the code, which uv builds once.

    Raises LifecycleError where they do not install.
    """
    imported = set(re.findall(r"^\s*(?:import|from)\s+(\w+)", code, re.MULTILINE))
    # Old packages were compiled for NumPy 1, and do not declare it.
    wanted = {*packages.split(), "pandas", *({"numpy<2"} if "numpy" not in packages else ())}
    wanted |= {DISTRIBUTIONS.get(each, each) for each in imported & KNOWN}
    name = hashlib.sha256(repr((sys.version_info[:2], sorted(wanted))).encode()).hexdigest()
    folder = f"{platformdirs.user_cache_path('looseleaf')}/lift/{name}"
    python = f"{folder}/bin/python"
    if not Path(folder, "built").exists():
        made = ["venv", "--clear", "--python", sys.executable, folder]
        for command in (made, ["pip", "install", "--python", python, *sorted(wanted)]):
            done = subprocess.run([find_uv(), *command, "--quiet"], capture_output=True, text=True)
            if done.returncode:
                problem = f"uv cannot install {' '.join(sorted(wanted))}:\n{done.stderr.strip()[-800:]}"
                raise LifecycleError(problem, f"Name versions for Python {sys.version[:4]}, or --kernel PYTHON.")
        Path(folder, "built").touch()
    return python


def _of_kernel(name: str) -> list[str]:
    """Return the programs of the kernels with this name."""
    files = [Path(each, name, "kernel.json") for each in jupyter_path("kernels")]
    try:
        return [json.loads(each.read_text(encoding="utf-8"))["argv"][0] for each in files if each.is_file()]
    except (ValueError, LookupError, TypeError) as error:
        problem = f"kernel.json of the kernel {name!r} is not valid ({type(error).__name__})"
        raise LifecycleError(problem, TEXTS["kernel"]) from error


class Session:
    """A process of the author's Python that runs one stage after the other and keeps the values of the notebook."""

    def __init__(self, python: str, progress: Progress | None = None) -> None:
        self.python, self.progress = python, progress or (lambda fact: None)
        self._folder = tempfile.TemporaryDirectory()
        archive = Path(self._folder.name) / "author.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            for path in AUTHOR.glob("*.py"):
                packed.write(path, f"{PACKAGE}/{path.name}")
        shared = {name: value for name, value in os.environ.items() if not re.fullmatch(SECRETS, name)}
        environment = shared | {"PYTHONPATH": str(archive), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [python, "-m", PACKAGE], env=environment, text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def run(self, job: dict[str, Any], seconds: int) -> dict[str, Any]:
        """Run a stage; every step of it may take `seconds`. Raises LifecycleError where it fails or ends."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        place = "the first cell"
        while True:
            try:
                line = self._lines.get(timeout=seconds + GRACE_SECONDS)
            except queue.Empty:
                problem = f"{place} ran longer than {seconds} seconds and cannot be interrupted"
                raise LifecycleError(problem, "Give it more time: --seconds N (SECONDS=N).") from None
            if line is None:
                problem = f"{self.python} ended while it ran {place} (exit code {self._process.wait()})"
                raise LifecycleError(problem, "Run that cell in Jupyter: it may need more memory.")
            fact = json.loads(line)
            if "result" in fact:
                result: dict[str, Any] = fact["result"]
                return result
            if "failure" in fact:
                hint = "Please report this, with the notebook if you may share it."
                raise LifecycleError(f"the stage {job['stage']} failed: {fact['failure']}\n{fact['traceback']}", hint)
            place = f"cell {fact['cell']}" if "cell" in fact else str(fact.get("step", place))
            self.progress(fact)

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line)
        self._lines.put(None)
