"""Several processes that answer on one port: started, watched, started again, and ended together.

Uvicorn's own supervisor is not used. It starts its own kind of server, which knows nothing of the last call; it kills a
worker whose model holds the interpreter for five seconds; it starts a worker that dies again and again without a pause;
and it ends with 0 whatever became of the workers.
"""

import contextlib
import json
import logging
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lifecycle.errors import LifecycleError
from lifecycle.serving import SHARED, listening, messages
from lifecycle.settings import Log, Serve
from lifecycle.storage import Store

log = logging.getLogger("lifecycle.serving")
# What a worker needs to end beyond its drain: the last call, uvicorn's own waits, the log's last segment.
BEYOND_DRAIN = 4.0
# A worker that answered for so long has not failed by what it is; until then each failure doubles the pause.
PROVEN, FIRST_PAUSE, LONGEST_PAUSE = 10.0, 0.5, 30.0


def run(store: Store, environment: str, serve: Serve, log: Log | None = None) -> None:
    """Target until SIGTERM or SIGINT; raises LifecycleError when it cannot start, or when a worker ended badly."""
    messages.configure(serve.log_format)
    order = {
        "store": str(store.root),
        "environment": environment,
        "serve": serve.model_dump(mode="json"),
        "log": log and log.model_dump(mode="json"),
    }
    with contextlib.closing(listening.bind(serve.host, serve.port)) as first:
        # While it listens alone, whoever else wants to is refused; and it finds out who does already.
        listening.listen(first, serve.host, serve.port)
        place = first.family, first.getsockname()
    with _counted_as_one(), _signals() as wake:
        supervisor = Supervisor(order, place, wake, serve.workers)
        try:
            supervisor.watch()
        finally:
            supervisor.end(serve.drain_seconds + BEYOND_DRAIN)
    if supervisor.failed:
        raise LifecycleError(
            f"of {serve.workers} workers, {supervisor.failed} did not end well", "Their messages say why."
        )


class Worker:
    """One process, and what it has told of itself."""

    def __init__(self, order: dict[str, Any], listener: socket.socket, slot: int) -> None:
        self.slot = slot
        told, tell = os.pipe()
        self.told = os.fdopen(told)
        self.began, self.ready = time.monotonic(), False
        with os.fdopen(tell, "w"):
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "lifecycle.serving.worker"],
                # It ends when this is closed: a supervisor that was killed leaves nobody behind.
                stdin=subprocess.PIPE,
                pass_fds=(listener.fileno(), tell),
                # Ctrl-C is for the supervisor, which passes it on.
                process_group=0,
                text=True,
            )
        assert self.process.stdin is not None
        # One that has died already is seen soon.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order | {"listener": listener.fileno(), "tell": tell}) + "\n")
            self.process.stdin.flush()

    def hear(self) -> dict[str, str]:
        """What it says once it has started, or why it could not; nothing from one that was killed before."""
        line = self.told.readline()
        found: dict[str, str] = json.loads(line) if line.endswith("\n") else {}
        self.ready = "ready" in found
        return found

    def close(self) -> None:
        """Forget a process that has ended."""
        self.told.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


class Supervisor:
    """Holds a number of workers up until a signal."""

    def __init__(self, order: dict[str, Any], place: tuple[int, Any], wake: socket.socket, number: int) -> None:
        self.order, self.place, self.wake, self.number = order, place, wake, number
        # Kept here, too: what has connected to a worker that dies waits for the next in its slot.
        self.listeners = {slot: listening.share(*place) for slot in range(number)}
        self.workers: list[Worker] = []
        self.failed = 0
        self._announced = False
        self._failures, self._next = 0, 0.0
        self._looks = selectors.DefaultSelector()
        self._looks.register(wake, selectors.EVENT_READ)

    def watch(self) -> None:
        """Until a signal asks for the end; raises LifecycleError when no worker can answer."""
        while True:
            while len(self.workers) < self.number and time.monotonic() >= self._next:
                self._start()
            pause = max(0.0, self._next - time.monotonic()) if len(self.workers) < self.number else None
            for key, _ in self._looks.select(pause):
                if key.fileobj is self.wake:
                    if {signal.SIGTERM, signal.SIGINT} & {*self.wake.recv(1024)}:
                        return
                else:
                    self._hear(key.data)
            for worker in [each for each in self.workers if each.process.poll() is not None]:
                self._bury(worker)

    def end(self, patience: float) -> None:
        """Pass the signal on and wait until every worker has finished what it has."""
        for listener in self.listeners.values():
            listening.ignores_newcomers(listener)
            listener.close()
        for worker in self.workers:
            worker.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + patience
        for worker in self.workers:
            self._wait(worker, end)
            code = worker.process.returncode
            # One that had not begun to answer lost nothing.
            if code and worker.ready:
                self.failed += 1
                log.error("worker %d ended with %d", worker.process.pid, code)
            worker.close()
            _mark_dead(worker.process.pid)

    def _wait(self, worker: Worker, end: float) -> None:
        asked = set()
        while worker.process.poll() is None:
            if select.select([self.wake], [], [], 0.05)[0]:
                asked |= {*self.wake.recv(1024)}
            if signal.SIGINT in asked:
                # By hand, and once more: nobody waits any longer.
                asked.clear()
                for each in self.workers:
                    each.process.send_signal(signal.SIGINT)
            if time.monotonic() > end:
                worker.process.kill()
                worker.process.wait()

    def _start(self) -> None:
        slot = min({*range(self.number)} - {each.slot for each in self.workers})
        if slot not in self.listeners:
            self.listeners[slot] = listening.share(*self.place)
        worker = Worker(self.order, self.listeners[slot], slot)
        self._looks.register(worker.told, selectors.EVENT_READ, worker)
        self.workers.append(worker)

    def _hear(self, worker: Worker) -> None:
        self._looks.unregister(worker.told)
        said = worker.hear()
        if "problem" in said and not any(each.ready for each in self.workers):
            raise LifecycleError(said["problem"], said["hint"])
        if "problem" in said:
            log.error("worker %d cannot start: %s", worker.process.pid, said["problem"])
        if not self._announced and sum(each.ready for each in self.workers) == self.number:
            self._announced = True
            listening.announce(next(iter(self.listeners.values())))

    def _bury(self, worker: Worker) -> None:
        pid, code = worker.process.pid, worker.process.returncode
        if worker.told in {key.fileobj for key in self._looks.get_map().values()}:
            # It may have said why.
            self._hear(worker)
        self.workers.remove(worker)
        worker.close()
        _mark_dead(pid)
        if not worker.ready and not any(each.ready for each in self.workers):
            raise LifecycleError(f"a worker ended with {code} before it could answer", "Its messages say why.")
        lasted = worker.ready and (code == 0 or time.monotonic() - worker.began > PROVEN)
        self._failures = 0 if lasted else self._failures + 1
        pause = min(FIRST_PAUSE * 2 ** (self._failures - 1), LONGEST_PAUSE) if self._failures else 0.0
        self._next = time.monotonic() + pause
        if pause:
            # Nobody is to wait for so long: the kernel deals new callers out to the others.
            self.listeners.pop(worker.slot).close()
        log.error("worker %d ended with %d; another starts in %.1f s", pid, code, pause)


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket on which every signal that matters arrives as a byte."""
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    wake.setblocking(False)
    before = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)}
    woken = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(woken)
        for each, handler in before.items():
            signal.signal(each, handler)
        wake.close()
        waker.close()


@contextlib.contextmanager
def _counted_as_one() -> Iterator[None]:
    """A folder in which the workers count, so that whichever is asked for metrics tells the sum."""
    if SHARED in os.environ:
        if not Path(os.environ[SHARED]).is_dir():
            raise LifecycleError(f"{SHARED} names {os.environ[SHARED]}, and that is no folder", "Make it, or unset it.")
        yield
        return
    with tempfile.TemporaryDirectory(prefix="lifecycle-metrics-") as folder:
        os.environ[SHARED] = folder
        try:
            yield
        finally:
            del os.environ[SHARED]


def _mark_dead(pid: int) -> None:
    # Requests in flight of a worker that is no more; what it counted stays. Imported when first needed: it is memory.
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]
