"""Run a `lifecycle` command at a simulated time: `python clock.py FILE COMMAND …`, with the Python of a repository.

FILE contains a timestamp in ISO 8601, and is read each time, so that a running service (of one worker) follows it.
"""

import runpy
import sys
import time
from functools import partial
from pathlib import Path

from lifecycle import timestamps

# Simulated time passes this much slower: versions of one simulated second keep their order, and it lasts for a day.
SLOWER = 100_000


def simulated(file: Path) -> float:
    """Return the time that the file contains, in seconds, plus a fraction that grows since the file was written."""
    age = time.time() - file.stat().st_mtime
    return timestamps.parse(file.read_text(encoding="utf-8").strip()) + min(max(age, 0.0) / SLOWER, 0.999)


if __name__ == "__main__":
    timestamps.clock = partial(simulated, Path(sys.argv[1]).absolute())
    del sys.argv[1]
    runpy.run_module("lifecycle", run_name="__main__", alter_sys=True)
