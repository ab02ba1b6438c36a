"""Run pytest in copies of this process, which has imported the large libraries: that takes longer than most tests.

Run as a program, it reads one line of JSON for each run from stdin, and writes the exit code of each to stdout. It
imports nothing of this project, so that each run takes it from its own folder.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# Only imported: a library that has started threads cannot be used in a copy of the process.
LIBRARIES = ("numpy", "pandas", "scipy.stats", "sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline", "duckdb")
LIBRARIES += ("pyarrow.parquet", "onnx", "onnxruntime", "skl2onnx", "skops.io", "fastapi", "yaml", "copier", "jinja2")


class Forks:
    """A process that runs pytest in copies of itself, one after the other."""

    def __init__(self) -> None:
        """Start it."""
        # Without the folder of this file among the places of modules.
        command = [sys.executable, "-P", __file__]
        # Otherwise onnxruntime starts a thread, for which every copy of the process would wait at its end.
        variables = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
        options: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": variables}
        self._process = subprocess.Popen(command, **options)

    def pytest(
        self, *arguments: str, folder: Path, sources: list[Path], environment: dict[str, str], seconds: int
    ) -> tuple[int, str]:
        """Return exit code and output of pytest in a folder, with these places of modules; negative for a signal."""
        assert self._process.stdin
        assert self._process.stdout
        with tempfile.NamedTemporaryFile("r", prefix="pytest-", encoding="utf-8", errors="replace") as output:
            paths = [*map(str, sources)]
            environment = environment | {"PYTHONPATH": os.pathsep.join(paths)}
            request = [str(folder), paths, environment, seconds, output.name, arguments]
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline()), output.read()


def serve() -> None:
    """Run what stdin requests, until it ends."""
    for name in LIBRARIES:
        __import__(name)
    for line in sys.stdin:
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        folder, paths, environment, seconds, output, arguments = json.loads(line)
        signal.alarm(seconds)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:0] = paths
        with open(output, "w") as file, open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        import pytest

        # Not os._exit: temporary folders are removed when the interpreter ends.
        raise SystemExit(pytest.main(arguments))


if __name__ == "__main__":
    serve()
