"""Run a `lifecycle` command at a simulated time: `python -m lifecycle.sample.clock FILE COMMAND …`.

FILE contains a timestamp in ISO 8601. It is read each time the current time is needed, so that a running service (of
one worker) follows it.
"""

import runpy
import sys
import time
from pathlib import Path

from lifecycle import timestamps
from lifecycle.errors import LifecycleError

# Simulated time passes this much slower than real time: versions made within one simulated second keep their order, and
# the second lasts for a day.
SLOWER = 100_000


def simulated(file: Path) -> float:
    """Return the time that the file contains, in seconds, plus a fraction that grows since the file was written."""
    try:
        written = file.stat().st_mtime
        second = timestamps.parse(file.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise LifecycleError(f"{file} cannot be read ({error.strerror})", "Write a timestamp into it.") from error
    return second + min(max(time.time() - written, 0.0) / SLOWER, 0.999)


def main() -> None:
    """Replace the clock and run the rest of the command line as `lifecycle` does."""
    if len(sys.argv) < 3:
        sys.exit("usage: python -m lifecycle.sample.clock FILE COMMAND …")
    file = Path(sys.argv[1]).absolute()
    timestamps.clock = lambda: simulated(file)
    sys.argv = ["lifecycle", *sys.argv[2:]]
    runpy.run_module("lifecycle", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
