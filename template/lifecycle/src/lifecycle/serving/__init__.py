"""Start the service: logging, port and deployment; HTTP, signals and worker processes are left to uvicorn."""

import contextlib
import errno
import json
import logging
import math
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from lifecycle.errors import LifecycleError
from lifecycle.settings import Settings

log = logging.getLogger("lifecycle.serving")
# Variable with environment and settings: uvicorn passes no argument to its worker processes.
WORKER_SETTINGS = "LOOSELEAF_SERVICE"
OPTIONS: dict[str, Any] = {"http": "httptools", "ws": "none", "lifespan": "on", "log_config": None}
OPTIONS |= dict.fromkeys(("access_log", "server_header"), False)
# Longer than load balancers keep idle connections, so that they never send on one that is being closed; and longer than
# uvicorn's default of 5 seconds, because a model may hold the interpreter.
OPTIONS |= {"timeout_keep_alive": 75, "timeout_worker_healthcheck": 30}


def run(settings: Settings, environment: str) -> None:
    """Serve until SIGTERM or SIGINT, then finish open requests; LifecycleError for an unusable address or model."""
    serve, several = settings.serve, settings.serve.workers > 1
    configure_logging(serve.log_format)
    port = usable_port(serve.host, serve.port)
    # One thread predicts; threads within the model would only wait for each other. Read when the model's library loads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ[WORKER_SETTINGS] = json.dumps([environment, settings.model_dump(mode="json")])
    if several:
        # Uvicorn would start a worker that cannot load the model again and again.
        _verify_in_other_process()
    with tempfile.TemporaryDirectory(prefix="metrics-") if several else contextlib.nullcontext() as directory:
        if directory:
            os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", directory)
        app = f"{__name__}:{application.__name__}" if several else application()
        # Uvicorn raises the signal again after the graceful shutdown.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        options = OPTIONS | {"timeout_graceful_shutdown": math.ceil(serve.drain_seconds), "root_path": serve.root_path}
        options |= {"proxy_headers": bool(serve.trusted_proxies), "forwarded_allow_ips": serve.trusted_proxies}
        uvicorn.run(app, factory=several, host=serve.host, port=port, workers=serve.workers, **options)


def application() -> ASGIApp:
    """Return the ASGI application, in each worker of uvicorn; LifecycleError where the model does not load."""
    from lifecycle.serving.app import HEADERS, create

    environment, content = json.loads(os.environ[WORKER_SETTINGS])
    settings = Settings.model_validate(content)
    configure_logging(settings.serve.log_format)
    service, pages = create(settings.store, environment, settings.serve, settings.log), settings.serve.cors_origins
    return CORSMiddleware(service, pages, ("GET", "POST"), ("*",), expose_headers=(*HEADERS,)) if pages else service


def usable_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0; raises LifecycleError where this process cannot listen there."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        problem = f"port {port} of {host} is in use" if error.errno == errno.EADDRINUSE else f"{host}:{port}: {error}"
        hint = f"Stop the process that listens there, or use another address: `make serve PORT={port % 65535 + 1}`."
        raise LifecycleError(problem, hint) from error


def _verify_in_other_process() -> None:
    """Load what is deployed in a process of its own, so that no model stays in the memory of the supervisor."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            pool.submit(_load).result()
        except BrokenProcessPool:
            raise LifecycleError("the process crashed while it loaded the model", "Promote another version.") from None


def _load() -> None:
    application()


def configure_logging(format: Literal["auto", "json", "text"]) -> None:
    """Format every log message, uncaught exception and warning of this process; `auto` is text on a terminal only.

    No message contains a value of a row: an exception is logged by its type and the lines of code it passed through, a
    warning by its type and place, because a model may have put the row into the message of either.
    """
    is_text = format == "text" or (format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(Text("%(asctime)s %(levelname)s %(name)s: %(message)s") if is_text else Json())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda given: _log_uncaught(given.exc_type, given.exc_value, given.exc_traceback)
    warnings.showwarning = lambda _, kind, file, line, *__: log.warning("%s at %s:%d", kind.__name__, file, line)


class Text(logging.Formatter):
    """A line of text for people."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return the traceback without the message of the exception."""
        return "\n".join(_traceback_lines(ei[1])) if ei[1] else ""


class Json(Text):
    """A line of JSON for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger and message; request id and exception where there is one."""
        fields = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", None):
            fields["request_id"] = request_id
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def _traceback_lines(error: BaseException) -> list[str]:
    """Return the lines of a traceback, those of its cause first, without any exception message."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = [*_traceback_lines(cause), "which led to:"] if cause else []
    places = "".join(traceback.format_tb(error.__traceback__)).splitlines()
    return [*before, *places, f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")]


def _log_uncaught(kind: type[BaseException], error: BaseException | None, frames: TracebackType | None) -> None:
    if error is not None and not isinstance(error, KeyboardInterrupt):
        log.critical("the process or one of its threads crashed", exc_info=(kind, error, frames))
