"""Run the stages `trace` and `verify`. Jobs are JSON lines on standard input, results on standard output."""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from typing import Any


def main() -> None:
    """Serve jobs until standard input ends; the tracer of the first job is kept for the next ones."""
    # What the notebook and its libraries print must not reach the channel.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    jobs = os.fdopen(os.dup(0), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    warnings.filterwarnings("ignore")
    os.environ.setdefault("MPLBACKEND", "agg")

    def send(fact: Any) -> None:
        channel.write(json.dumps(fact, default=str) + "\n")
        channel.flush()

    tracer: Any = None
    for line in jobs:
        job = json.loads(line)
        try:
            if job["stage"] == "trace":
                from . import trace

                os.chdir(job["folder"])
                sys.path.insert(0, job["folder"])
                tracer = trace.run(job, send)
                send({"result": tracer.result()})
            else:
                from . import verify

                send({"result": verify.Verification(job, tracer, send).result()})
        except Exception as error:
            send({"failure": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()})


if __name__ == "__main__":
    main()
