"""What the service tells of itself on standard error: one JSON object a line, and never a value of a row.

An exception is told by its type and by the lines of code that it went through. Its message is left out, as is that of
a warning: it is whatever a model has put there, and that may be the row.
"""

import json
import logging
import sys
import threading
import traceback
import warnings
from asyncio import AbstractEventLoop
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

log = logging.getLogger("lifecycle.serving")
Format = Literal["auto", "json", "text"]


def configure(format: Format) -> None:
    """Send every logger, exception and warning of this process through it; `auto` is text for a terminal only."""
    text = format == "text" or (format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(Text("%(asctime)s %(levelname)s %(name)s: %(message)s") if text else Json())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    sys.excepthook = _crashed
    threading.excepthook = lambda given: _crashed(given.exc_type, given.exc_value, given.exc_traceback)
    warnings.showwarning = _warned


def follow(loop: AbstractEventLoop) -> None:
    """Tell of what nobody awaited; asyncio's own words hold the exception's message."""
    loop.set_exception_handler(
        lambda loop, context: log.error("%s", context["message"], exc_info=context.get("exception"))
    )


class Text(logging.Formatter):
    """A line for people."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Where it came from, without its message."""
        return "\n".join(told(ei[1])) if ei[1] else ""


class Json(Text):
    """A line for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message; request and exception where there is one."""
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := getattr(record, "request_id", None):
            line["request_id"] = request
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def told(error: BaseException) -> list[str]:
    """The lines of a traceback, those of what caused it first, without any message."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = [*told(cause), "which led to:"] if cause else []
    places = (
        f"  {place.filename}:{place.lineno} in {place.name}: {place.line}"
        for place in traceback.extract_tb(error.__traceback__)
    )
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    return [*before, *places, name]


def _crashed(kind: type[BaseException], error: BaseException | None, place: TracebackType | None) -> None:
    if error is not None and not isinstance(error, KeyboardInterrupt):
        log.critical("the process or one of its threads crashed", exc_info=(kind, error, place))


def _warned(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    log.warning("%s at %s:%d", category.__name__, filename, lineno)
