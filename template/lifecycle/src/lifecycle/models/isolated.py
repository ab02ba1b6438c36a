"""Call a function in another process with a limit of time and memory, for libraries that may need any amount."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple


class Limits(NamedTuple):
    """The limits of one call: seconds, and megabytes of memory, which only Linux enforces."""

    seconds: float
    megabytes: int


class Stopped(Exception):
    """The call returned nothing: it reached a limit, its process ended, or its arguments could not be sent."""


@contextlib.contextmanager
def process(limits: Limits, modules: str) -> Iterator[Callable[..., Any]]:
    """Start a process that imports `modules`, separated by commas; yields `call(function, *arguments)` for one call.

    Function, arguments and result are sent as multiprocessing sends them. `call` raises Stopped.
    """
    code = (
        f"import {modules}; from lifecycle.models import isolated; isolated.serve({limits.seconds}, {limits.megabytes})"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    child = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=null, env=environment)

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            content = bytes(ForkingPickler.dumps((function, arguments)))
        # Objects of any library raise their own types.
        except Exception as error:
            raise Stopped(f"it cannot be sent to another process ({type(error).__name__})") from error
        output, _ = child.communicate(content)
        status = child.returncode
        if status == -signal.SIGALRM:
            raise Stopped(f"it takes longer than {limits.seconds:g} s (setting train.export_seconds)")
        if status or not output:
            raise Stopped(f"its process ended with {signal.Signals(-status).name if status < 0 else f'code {status}'}")
        result = ForkingPickler.loads(output)
        if isinstance(result, MemoryError):
            raise Stopped(f"it needs more than {limits.megabytes} MB of memory (setting train.export_mb)")
        return result

    try:
        yield call
    finally:
        child.kill()
        child.communicate()


def serve(seconds: float, megabytes: int) -> None:
    """Execute the one call that arrives at the standard input, and write its result (the code of a child process)."""
    import resource

    content, output = sys.stdin.buffer.read(), os.fdopen(os.dup(1), "wb")
    # What a library prints is not the result.
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))
    # The signal ends the process, also where its caller was killed.
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        function, arguments = ForkingPickler.loads(content)
        result = function(*arguments)
    except MemoryError as error:
        result = error
    output.write(ForkingPickler.dumps(result))
    output.close()
