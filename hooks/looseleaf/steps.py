"""Named steps that run one after the other; each is shown while it runs, and timed."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from looseleaf.errors import StepFailed as StepFailed

# A command that is stopped has this time to end by itself.
STOP_SECONDS = 10


class Steps:
    """Runs and times steps. On a terminal, the current step shows its duration and its last line of output.

    `done` has name and seconds of each completed step; `downloads` marks those that depend on the network.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.done: list[dict[str, Any]] = []
        self.current = ""
        self._environment = environment
        self._last_line = ""

    def seconds(self, downloads: bool) -> float:
        """Return the duration of the steps that download, or of the others."""
        return float(sum(each["seconds"] for each in self.done if each["downloads"] is downloads))

    def add(self, name: str, seconds: float, downloads: bool = False) -> None:
        """Record a completed step."""
        self.done.append({"name": name, "seconds": round(seconds, 2), "downloads": downloads})
        print(f"{_line_start()}  {name:<34} {seconds:6.1f} s{'  (downloads)' if downloads else ''}", flush=True)

    @contextmanager
    def step(self, name: str, downloads: bool = False) -> Iterator[None]:
        """Time the body and show that it is running; a body that raises is not recorded."""
        self.current, self._last_line = name, ""
        start, stop = time.monotonic(), threading.Event()
        display = threading.Thread(target=self._show, args=(name, start, stop), daemon=True)
        display.start()
        try:
            yield
        finally:
            stop.set()
            display.join()
        self.add(name, time.monotonic() - start, downloads)

    def run(self, name: str, command: list[str], folder: Path, hint: str, downloads: bool = False) -> str:
        """Run a command as a step and return its output; raises StepFailed with the end of that output."""
        lines: list[str] = []
        with self.step(name, downloads):
            try:
                process = subprocess.Popen(
                    command, cwd=folder, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    text=True, errors="replace", start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise StepFailed(f"{command[0]} cannot be run ({error})", hint) from error
            with process:
                try:
                    for line in process.stdout or ():
                        lines.append(line)
                        self._last_line = line.strip() or self._last_line
                except BaseException:
                    stop(process)
                    raise
            if process.returncode:
                raise StepFailed(f"it ended with {process.returncode}", hint, "".join(lines))
        return "".join(lines)

    def _show(self, name: str, start: float, stop: threading.Event) -> None:
        signs = itertools.cycle("|/-\\")
        while sys.stdout.isatty() and not stop.wait(0.1):
            line = f"{next(signs)} {name:<34} {time.monotonic() - start:6.1f} s  {self._last_line}"
            print(f"{_line_start()}{line[:100]}", end="", flush=True)


def stop(process: "subprocess.Popen[str]") -> None:
    """Stop a process and its descendants, because they might still write to a folder that is to be removed."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, sign)
            process.wait(STOP_SECONDS)


def _line_start() -> str:
    return "\r\x1b[K" if sys.stdout.isatty() else ""
