"""One of several processes that answer; `lifecycle.serving.workers` starts it, tells it what to do and waits for it."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn

from lifecycle.errors import LifecycleError
from lifecycle.serving import messages, server
from lifecycle.settings import Log, Serve
from lifecycle.storage import Store

log = logging.getLogger("lifecycle.serving")


class Server(server.Server):
    """Tells its supervisor that it answers, and ends with it."""

    def __init__(self, config: uvicorn.Config, tell: int) -> None:
        super().__init__(config)
        self.tell = tell

    def began(self, listener: socket.socket) -> None:
        """Answering: from now on, an end of the supervisor is an end of this."""
        _say(self.tell, ready=True)
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._left_alone)

    def ignores_newcomers(self, listener: socket.socket) -> bool:
        """When nobody answers any more is the supervisor's to know; another worker may follow on this socket."""
        return True

    def _left_alone(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        log.error("the supervisor has gone; its worker ends")
        self.should_exit = True


def main() -> int:
    """Do what the line on standard input says; 0 after a drain, 1 when it cannot start."""
    order = json.loads(sys.stdin.readline())
    tell: int = order["tell"]
    os.set_inheritable(tell, False)
    serve = Serve.model_validate(order["serve"])
    messages.configure(serve.log_format)
    kept = Log.model_validate(order["log"]) if order["log"] else None
    with contextlib.closing(socket.socket(fileno=order["listener"])) as listener:
        listener.set_inheritable(False)
        try:
            config = server.config(Store(Path(order["store"])), order["environment"], serve, kept)
        except LifecycleError as error:
            _say(tell, problem=error.problem, hint=error.hint)
            return 1
        server.answer(Server(config, tell), listener)
    return 0


def _say(tell: int, **said: Any) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(tell, "w") as supervisor:
        supervisor.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    sys.exit(main())
