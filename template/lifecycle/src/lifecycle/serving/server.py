"""Start the service: verify port and deployment, then leave HTTP, signals and worker processes to uvicorn."""

import contextlib
import errno
import json
import math
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

import uvicorn

from lifecycle.errors import LifecycleError
from lifecycle.serving import messages
from lifecycle.settings import Settings

if TYPE_CHECKING:
    from lifecycle.serving.predict import PredictionService

# Variable with environment and settings: uvicorn passes no argument to its worker processes.
WORKER_SETTINGS = "LOOSELEAF_SERVICE"
METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def run(settings: Settings, environment: str) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight.

    Raises:
        LifecycleError: the address is in use or not usable, or the deployed model cannot be loaded.
    """
    serve = settings.serve
    messages.configure(serve.log_format)
    port = usable_port(serve.host, serve.port)
    # One thread predicts; threads within the model would only wait for each other. Read when the model's library loads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    content = {"environment": environment, "settings": settings.model_dump(mode="json")}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_variable(WORKER_SETTINGS, json.dumps(content)))
        app: PredictionService | str
        if serve.workers == 1:
            app = application()
        else:
            app = f"{__name__}:{application.__name__}"
            # Uvicorn would start a worker that cannot load the model again and again.
            _verify_in_other_process()
            if METRICS_DIRECTORY not in os.environ:
                directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="metrics-"))
                stack.enter_context(_variable(METRICS_DIRECTORY, directory))
        # Uvicorn raises the signal again after the graceful shutdown.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        uvicorn.run(
            app,
            factory=isinstance(app, str),
            host=serve.host,
            port=port,
            workers=serve.workers,
            http="httptools",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            # Longer than load balancers keep idle connections, so that they never send on one that is being closed.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=math.ceil(serve.drain_seconds),
            # A model may hold the interpreter for longer than uvicorn's default of 5 seconds.
            timeout_worker_healthcheck=30,
        )


def application() -> "PredictionService":
    """Load what is deployed and return the ASGI application; the factory that uvicorn calls in each worker.

    Raises:
        LifecycleError: the deployed model cannot be loaded.
    """
    from lifecycle.serving.app import create

    content = json.loads(os.environ[WORKER_SETTINGS])
    settings = Settings.model_validate(content["settings"])
    messages.configure(settings.serve.log_format)
    return create(settings.store, content["environment"], settings.serve, settings.log)


def usable_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0.

    Raises:
        LifecycleError: this process cannot listen there.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        problem = f"port {port} of {host} is in use" if error.errno == errno.EADDRINUSE else f"{host}:{port}: {error}"
        hint = f"Stop the process that listens there, or use another address: `make serve PORT={port % 65535 + 1}`."
        raise LifecycleError(problem, hint) from error


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _verify_in_other_process() -> None:
    """Load what is deployed in a process of its own, so that no model stays in the memory of the supervisor."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            if problem := pool.submit(_loading_problem).result():
                raise LifecycleError(*problem)
        except BrokenProcessPool:
            raise LifecycleError("the process crashed while it loaded the model", "Promote another version.") from None


def _loading_problem() -> tuple[str, str] | None:
    try:
        application()
    except LifecycleError as error:
        return error.problem, error.hint
    return None
