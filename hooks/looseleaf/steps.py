"""Named steps, one after the other: each is shown while it runs, timed, and told with a hint when it fails."""

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TAIL = 25


class StepFailed(Exception):
    """A step did not do what it promised; `hint` says what to do, `tail` is the end of what it printed."""

    def __init__(self, problem: str, hint: str, tail: str = "") -> None:
        super().__init__(problem)
        self.hint, self.tail = hint, "\n".join(tail.splitlines()[-TAIL:])


@dataclass(frozen=True)
class Step:
    """One step that is done. `downloads` marks those whose time is the network's."""

    name: str
    seconds: float
    downloads: bool = False


class Steps:
    """Runs steps and remembers them; on a terminal the current one shows its time and its last line of output."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.done: list[Step] = []
        self.current = ""
        self._environment = environment
        self._last_line = ""

    @property
    def seconds(self) -> float:
        """The time of all steps, those that download apart."""
        return sum(step.seconds for step in self.done if not step.downloads)

    def as_dicts(self) -> list[dict[str, Any]]:
        """Name, seconds and downloads of each step."""
        return [asdict(step) | {"seconds": round(step.seconds, 2)} for step in self.done]

    def add(self, name: str, seconds: float, downloads: bool = False) -> None:
        """Note a step that is over."""
        self.done.append(Step(name, seconds, downloads))
        print(f"{_line_start()}  {name:<34} {seconds:6.1f} s{'  (downloads)' if downloads else ''}", flush=True)

    @contextmanager
    def step(self, name: str, downloads: bool = False) -> Iterator[None]:
        """Time what happens inside and show that it is happening; a step that raises is not noted."""
        self.current, self._last_line = name, ""
        start, over = time.monotonic(), threading.Event()
        shown = threading.Thread(target=self._show, args=(name, start, over), daemon=True)
        shown.start()
        try:
            yield
        finally:
            over.set()
            shown.join()
        self.add(name, time.monotonic() - start, downloads)

    def run(self, name: str, command: list[str], folder: Path, hint: str, downloads: bool = False) -> str:
        """Run a command as a step and return its output; raises StepFailed with the end of that output."""
        lines: list[str] = []
        with self.step(name, downloads):
            try:
                process = self._start(command, folder)
            except OSError as error:
                raise StepFailed(f"{command[0]} cannot be run ({error})", hint) from error
            with process:
                try:
                    for line in process.stdout or ():
                        lines.append(line)
                        self._last_line = line.strip() or self._last_line
                except BaseException:
                    process.terminate()
                    process.wait()
                    raise
            if process.returncode:
                raise StepFailed(f"it ended with {process.returncode}", hint, "".join(lines))
        return "".join(lines)

    def _start(self, command: list[str], folder: Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command,
            cwd=folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def _show(self, name: str, start: float, over: threading.Event) -> None:
        if not sys.stdout.isatty():
            return
        for sign in itertools.cycle("|/-\\"):
            line = f"{sign} {name:<34} {time.monotonic() - start:6.1f} s  {self._last_line}"
            print(f"{_line_start()}{line[:100]}", end="", flush=True)
            if over.wait(0.1):
                return


def _line_start() -> str:
    return "\r\x1b[K" if sys.stdout.isatty() else ""
