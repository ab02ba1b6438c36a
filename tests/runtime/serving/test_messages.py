"""What the service says on standard error: a JSON object a line, with all that helps and no value of a row."""

import json
import os
import pty
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.processes import ROW, Service, deploy_own
from support.storages import Storage

SECRET = "eve7123"


def said(program: str, format: str = "json") -> list[dict[str, Any]]:
    """What a process says that is set up as the service is."""
    whole = f"from lifecycle import serving\nserving.configure_logging({format!r})\n{textwrap.dedent(program)}"
    log = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True).stderr
    return [json.loads(line) for line in log.splitlines()]


# A model that fails on a row, fails while it handles the failure, and warns.
RAISES = (
    f"import warnings; warnings.warn(str(frame.values))\n"
    f"            if {SECRET!r} in str(frame.values):\n"
    "                try: float(str(frame.values))\n"
    "                except ValueError as error: raise RuntimeError(repr(frame.to_dict())) from error"
)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["json", "text"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_puts_the_row_into_its_error_shows_where_it_failed_and_no_value(
    serve: Callable[..., Service], storage: Storage, tmp_path: Path, format: str, workers: str
) -> None:
    deploy_own(storage, tmp_path, RAISES)
    service = serve(workers=workers, log_format=format)
    connection = service.connect()
    connection.request("POST", "/predict", json.dumps(ROW | {"customer_id": SECRET}), {"x-request-id": "r-17"})
    reply = connection.getresponse()
    assert (reply.status, json.loads(reply.read())["request_id"]) == (500, "r-17")
    connection.close()
    code, log = service.end()
    assert code == 0
    assert SECRET not in log
    assert "own_model.py" in log, "the place is logged"
    assert "RuntimeError" in log
    assert "ValueError" in log, "and what led to it"
    if format == "json":
        lines = [json.loads(line) for line in log.splitlines()]
        assert all(line.keys() >= {"ts", "level", "logger", "message"} for line in lines)
        (failed,) = [line for line in lines if "exception" in line]
        assert (failed["request_id"], failed["level"]) == ("r-17", "error")
        assert any(line["message"].startswith("UserWarning at ") for line in lines)


def test_an_exception_that_crashes_a_thread_or_is_never_awaited_is_logged_without_its_message() -> None:
    crashed, forgotten = said("""
        import asyncio, threading
        from lifecycle.serving.app import log_unawaited

        def crash():
            raise ValueError("eve7123")

        thread = threading.Thread(target=crash)
        thread.start()
        thread.join()

        async def forget():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(log_unawaited)
            loop.create_future().set_exception(ValueError("eve7123"))

        asyncio.run(forget())
    """)
    assert (crashed["level"], crashed["exception"].splitlines()[-1]) == ("critical", "ValueError")
    assert "in crash" in crashed["exception"]
    assert forgotten["message"] == "Future exception was never retrieved"
    assert SECRET not in json.dumps([crashed, forgotten])


def test_other_loggers_go_the_same_way_and_a_line_stays_a_line() -> None:
    (line,) = said("import logging; logging.getLogger('uvicorn.error').warning('two\\nlines %s', 'ü')")
    assert (line["logger"], line["level"], line["message"]) == ("uvicorn.error", "warning", "two\nlines ü")
    assert line["ts"].endswith("+00:00")
    assert "request_id" not in line


def test_a_terminal_gets_text_and_a_pipe_gets_json() -> None:
    assert [line["message"] for line in said("serving.log.error('so it is')", "auto")] == ["so it is"]
    program = "from lifecycle import serving; serving.configure_logging('auto'); serving.log.error('so it is')"
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True)
    os.close(theirs)
    assert "ERROR lifecycle.serving: so it is" in os.read(ours, 1000).decode()
    os.close(ours)
