"""Train, promote, score and serve in a repository, and report what was looked up; run as a script by `observe`.

In a network namespace of its own nothing can be reached, and a name server on its loopback interface counts look-ups.
"""

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

PORT = 8000
COMMANDS = ("train", "promote", "score", "monitor", "serve")
# ONNX Runtime sends its usage data about ten seconds after it was loaded.
SECONDS_TO_OBSERVE = 30
NAMESPACE = ("unshare", "--user", "--map-root-user", "--net", "--mount")
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def namespaces_are_permitted() -> bool:
    """Return whether a process may have a network of its own here."""
    if shutil.which(NAMESPACE[0]) is None:
        return False
    # Some hosts allow the namespace and not the mount inside it.
    code = "import os, sys; sys.exit(os.system('mount --bind /etc/hosts /etc/resolv.conf'))"
    return subprocess.run([*NAMESPACE, sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def observe(repository: Path, home: Path, variables: dict[str, str], *, isolated: bool) -> dict[str, Any]:
    """Run commands with an empty home; returns `lookups`, the names looked up, and `output` of what failed."""
    kept = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS")}
    environment = kept | {"HOME": str(home), "PYTHONPATH": "src", "TMPDIR": str(home.parent)}
    command = [*(NAMESPACE if isolated else ()), sys.executable, str(Path(__file__)), str(int(isolated)), *COMMANDS]
    done = subprocess.run(
        command, cwd=repository, env=environment | variables, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _isolate() -> None:
    """Start the loopback interface, and make it the only name server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.unpack("16sh", fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sh", b"lo", 0)))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))
    server = Path(os.environ["TMPDIR"], "resolv.conf")
    server.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--bind", str(server), "/etc/resolv.conf"], check=True)
    server.unlink()


def _count(lookups: list[str]) -> None:
    """Record the name of each query at the port of a name server."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def listen() -> None:
        while True:
            query, sender = server.recvfrom(4096)
            labels, at = [], 12
            while length := query[at]:
                labels.append(query[at + 1 : at + 1 + length].decode())
                at += 1 + length
            lookups.append(".".join(labels))
            # There is no such name.
            server.sendto(query[:2] + b"\x81\x83" + query[4:], sender)

    threading.Thread(target=listen, daemon=True).start()


def _serve(lookups: list[str]) -> str:
    """Serve one request, then wait for a look-up, at most SECONDS_TO_OBSERVE; return the output of a failure."""
    command = [sys.executable, "-m", "lifecycle", "serve", "--port", str(PORT)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
                connection.request("POST", "/predict", json.dumps({"customer_id": "c-00001"}))
                if connection.getresponse().status in (200, 404):
                    end = time.monotonic() + SECONDS_TO_OBSERVE
                    while not lookups and time.monotonic() < end:
                        time.sleep(0.1)
                    return ""
        return process.communicate()[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _run(*arguments: str) -> str:
    """Run a command; return the output where it fails."""
    command = [sys.executable, "-m", "lifecycle", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout if done.returncode else ""


def main() -> None:
    """Run the commands one after the other and print a report as JSON."""
    lookups: list[str] = []
    failed = ""
    if sys.argv[1] == "1":
        _isolate()
        _count(lookups)
    for name in sys.argv[2:]:
        failed += (
            _serve(lookups) if name == "serve" else _run(name, *(["--override", "a test"] if name == "promote" else []))
        )
    print(json.dumps({"lookups": lookups, "output": failed}))


if __name__ == "__main__":
    main()
