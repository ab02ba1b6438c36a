"""Log messages of the service on standard error: one JSON object a line, and never a value of a row.

An exception is logged by its type and the lines of code it passed through. Its message is left out, as is that of a
warning: a model may have put the row there.
"""

import json
import logging
import sys
import threading
import traceback
import warnings
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

log = logging.getLogger("lifecycle.serving")
Format = Literal["auto", "json", "text"]


def configure(format: Format) -> None:
    """Format every log message, uncaught exception and warning of this process; `auto` is text on a terminal only."""
    is_text = format == "text" or (format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(Text("%(asctime)s %(levelname)s %(name)s: %(message)s") if is_text else Json())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda given: _log_uncaught(given.exc_type, given.exc_value, given.exc_traceback)
    warnings.showwarning = _log_warning


def log_unawaited(loop: Any, context: dict[str, Any]) -> None:
    """Log an exception that no code awaited; asyncio's own handler would print its message."""
    log.error("%s", context["message"], exc_info=context.get("exception"))


class Text(logging.Formatter):
    """A line of text for people."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return the traceback without the message of the exception."""
        return "\n".join(traceback_lines(ei[1])) if ei[1] else ""


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


def traceback_lines(error: BaseException) -> list[str]:
    """Return the lines of a traceback, those of its cause first, without any exception message."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = [*traceback_lines(cause), "which led to:"] if cause else []
    frames = traceback.extract_tb(error.__traceback__)
    places = (f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames)
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    return [*before, *places, name]


def _log_uncaught(kind: type[BaseException], error: BaseException | None, frames: TracebackType | None) -> None:
    if error is not None and not isinstance(error, KeyboardInterrupt):
        log.critical("the process or one of its threads crashed", exc_info=(kind, error, frames))


def _log_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    log.warning("%s at %s:%d", category.__name__, filename, lineno)
