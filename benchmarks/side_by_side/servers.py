"""The servers: their packages, how each is prepared and started, and the format of requests and responses."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PEERS = Path(__file__).resolve().parents[1] / "peers"
UVICORN = ("uvicorn", "--host", "127.0.0.1", "--no-access-log", "--log-level", "warning")


class NotInstalled(Exception):
    """The packages of a server cannot be installed."""


@dataclass(frozen=True)
class Server:
    """A server; `body` makes a request from a case, `probability` reads the response."""

    name: str
    folder: Path
    command: tuple[str, ...]
    body: Callable[[Mapping[str, Any]], Any]
    probability: Callable[[Any], float] | None
    path: str = "/predict"
    cases: Path = Path()
    variables: Mapping[str, str] = field(default_factory=dict)
    versions: str = ""
    connections: tuple[int, ...] = (1, 32)


@dataclass(frozen=True)
class Peer:
    """Another project's server before it is installed; `{port}` in the command is replaced by its port."""

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    body: Callable[[Mapping[str, Any]], Any] = lambda case: case["row"]
    probability: Callable[[Any], float] | None = lambda response: float(response["probability"])
    path: str = "/predict"
    prepare: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    connections: tuple[int, ...] = (1, 32)


CATALOGUE = (
    Peer(
        "mlflow",
        ("mlflow>=3.5,<4", "scikit-learn", "pandas"),
        ("mlflow", "models", "serve", "-m", "mlflow_model", "--env-manager", "local", "--port", "{port}"),
        body=lambda case: {"dataframe_records": [case["row"]]},
        probability=lambda response: float(response["predictions"][0][1]),
        path="/invocations",
        prepare="mlflow_save.py",
        variables={"MLFLOW_DISABLE_TELEMETRY": "true"},
    ),
    Peer(
        "bentoml",
        ("bentoml>=1.4,<2", "scikit-learn", "pandas"),
        ("bentoml", "serve", "bentoml_service:Churn", "--host", "127.0.0.1", "--port", "{port}"),
        body=lambda case: {"row": case["row"]},
        prepare="bentoml_save.py",
        variables={"BENTOML_HOME": "bentoml_home", "BENTOML_DO_NOT_TRACK": "true"},
    ),
    Peer(
        "litserve",
        ("litserve>=0.2.10,<1", "scikit-learn", "pandas", "joblib"),
        ("python", "litserve_server.py", "{port}"),
    ),
    Peer(
        "fastapi_sklearn",
        ("fastapi", "uvicorn[standard]", "scikit-learn", "pandas", "joblib"),
        (*UVICORN, "fastapi_sklearn:app", "--port", "{port}"),
        connections=(1, 32, 64),
    ),
    *(
        Peer(name, ("fastapi", "uvicorn[standard]"), (*UVICORN, f"{name}:app", "--port", "{port}"), probability=None)
        for name in ("static_fastapi", "static_fastapi_typed")
    ),
    Peer("static_asgi", ("uvicorn[standard]",), (*UVICORN, "static_asgi:app", "--port", "{port}"), probability=None),
)


def uv() -> str:
    """Return the path of uv: on PATH, or next to this Python."""
    return shutil.which("uv") or str(Path(sys.prefix) / "bin" / "uv")


def install(peer: Peer, build: Path, pins: Sequence[str], before: str) -> Server:
    """Create the peer's environment and prepare it; raises NotInstalled with the tool's message.

    `pins` are the versions of the libraries that fitted the pipeline; others are the newest before the date `before`.
    """
    environment, folder = build / f"env-{peer.name}", build / "served"
    python = environment / "bin" / "python"
    wanted = {pin.split("==")[0]: pin for pin in pins}
    packages = [wanted.get(package, package) for package in peer.packages]
    done = 1
    if not python.exists():
        run([uv(), "venv", "--quiet", "--python", sys.executable, str(environment)], build, peer.name)
    line = [uv(), "pip", "install", "--quiet", "--python", str(python), *packages]
    for options in (["--exclude-newer", before], []):
        # An index without upload times cannot resolve as of a date.
        done = subprocess.run([*line, *options], cwd=build, capture_output=True, text=True).returncode
        if not done:
            break
    if done:
        run(line, build, peer.name)
    variables = {name: str(folder / value) if "HOME" in name else value for name, value in peer.variables.items()}
    variables["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    if peer.prepare:
        run([str(python), str(folder / peer.prepare)], folder, peer.name, variables)
    listed = run([uv(), "pip", "freeze", "--python", str(python)], build, peer.name).split()
    names = tuple(package.split("[")[0].split(">")[0].split("=")[0] for package in peer.packages)
    versions = " ".join(each for each in listed if each.split("==")[0] in (*names, "uvloop", "httptools"))
    command = (str(python.parent / peer.command[0]), *peer.command[1:])
    return Server(
        peer.name, folder, command, peer.body, peer.probability, peer.path,
        folder / "requests.json", variables, versions, peer.connections,
    )  # fmt: skip


def run(command: Sequence[str], folder: Path, name: str, variables: Mapping[str, str] | None = None) -> str:
    """Run a command and return its output; raises NotInstalled if it fails."""
    done = subprocess.run(
        command, cwd=folder, env=os.environ | (variables or {}), capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise NotInstalled(f"{name}: {' '.join(command)} ended with {done.returncode}\n{output}")
    return done.stdout


def cases(server: Server) -> list[dict[str, Any]]:
    """Return rows with the predictions of the fitted pipeline."""
    return list(json.loads(server.cases.read_text()))
