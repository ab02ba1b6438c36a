"""Write a version in the formats of other programs, and let these programs read it (`make conform`).

Each of them is installed in an environment of its own, from the package index of this repository.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from interop import mlflow_model
from lifecycle import settings
from lifecycle.contract.schema import Column
from lifecycle.errors import LifecycleError
from lifecycle.models import PEM, runtimes
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.models.predictor import format_predictions
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.storage import Store

READERS = Path(__file__).with_name("readers.py")
# What each reader of readers.py needs. Licences: BSD, Apache 2.0 and MIT. Nothing of it is distributed.
PACKAGES = {
    "triton": ("tritonclient[http]==2.73.0",),
    "mlflow": ("mlflow-skinny==3.17.2",),
    "onnx": ("onnxruntime",),
    "huggingface": ("huggingface-hub==2.4.0",),
    "cyclonedx": ("cyclonedx-python-lib[json-validation]==11.12.0",),
    # model-signing imports pyopenssl without declaring it as a dependency.
    "sign": (signing := ("model-signing==1.1.1", "pyopenssl")),
    "verify": signing,
}


class Absent(Exception):
    """A reader that cannot read this kind of version; the text says why."""


@dataclass(frozen=True)
class Version:
    """A verified version, its deployment if it is deployed, and its golden rows."""

    bundle: Bundle
    deployment: deployments.Deployment | None
    folder: Path
    # Trusted public keys of the OpenSSF's format.
    keys: tuple[str, ...] = ()

    @classmethod
    def opened(cls, store: Store, environment: str, name: str | None, folder: Path) -> "Version":
        """Return a version, by default the deployed one; LifecycleError where there is none or it is damaged."""
        deployment = deployments.read(store, environment)
        if name is None and deployment is None:
            raise LifecycleError(f"nothing is deployed in {environment}", "Run `make promote`, or give VERSION=….")
        bundle = open_version(store, name or deployment.current.version)  # type: ignore[union-attr]
        is_deployed = deployment is not None and deployment.current.version == bundle.version
        keys = tuple(key for key in store.trusted_keys if key.startswith(PEM))
        return cls(bundle, deployment if is_deployed else None, folder, keys)

    @property
    def threshold(self) -> float | None:
        """Return the threshold of the deployment, or of the training."""
        return self.deployment.current.threshold if self.deployment else self.bundle.facts.get("threshold")

    @cached_property
    def golden(self) -> list[dict[str, Any]]:
        """Return the golden rows, with the fields that callers send and models do not read."""
        more = {column.name: _example(column) for column in self.bundle.contract.columns}
        return [more | json.loads(line)["row"] for line in self.bundle.read("golden.jsonl").splitlines()]

    def predictions(self, raw: Any) -> list[dict[str, Any]]:
        """Return the predictions for raw outputs of a model, with one value for each class."""
        found = format_predictions(np.array(raw), self.bundle.contract.target, self.threshold)
        return [mlflow_model.flat(each) for each in found]

    def compare(self, found: list[dict[str, Any]], how: str) -> None:
        """Raise LifecycleError unless the predictions are those in training, within the tolerance of a bundle."""
        target, lines = self.bundle.contract.target, self.bundle.read("golden.jsonl").splitlines()
        expected = self.predictions([json.loads(line)["answer"] for line in lines])
        for at, (one, other) in enumerate(zip(expected, found, strict=True), 1):
            texts = [name for name, value in one.items() if isinstance(value, str)]
            numbers = [[each[name] for name in one if name not in texts] for each in (one, other)]
            away = runtimes.differences(np.array(numbers[:1]), np.array(numbers[1:]), target)
            if any(one[name] != other[name] for name in texts) or not away.max() <= runtimes.tolerance(target):
                problem = f"{how}: golden row {at} of {len(found)} has another prediction"
                raise LifecycleError(problem, "Do not use the version there; compare the versions of the libraries.")

    @contextmanager
    def served(self) -> Iterator[tuple[str, str]]:
        """Serve it from a storage of its own, whose feature table has the golden rows; yields address and key."""
        import uvicorn

        from lifecycle.features import table_path, write_table
        from lifecycle.serving.app import create

        bundle, store, key = self.bundle, Store(self.folder / "storage"), secrets.token_hex(16)
        shutil.copytree(bundle.path, store.bundles / bundle.version)
        deployments.swap(store, "local", None, Deployed(bundle.version, self.threshold), "promote", "make conform", "")
        if bundle.contract.lookups:
            names = [column.name for column in bundle.contract.looked_up]
            rows = [[row[name] for name in names] for row in self.golden]
            write_table(table_path(store, bundle.feature_set), bundle.contract, rows, 0)
        app = create(store, "local", settings.Serve())
        # A reader must not receive the real API keys.
        app.api_keys = [key.encode()]
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", key
        finally:
            server.should_exit = True
            thread.join()


def uv(root: Path) -> str:
    """Return the program uv, which make names; LifecycleError where there is none."""
    found = os.environ.get("UV") or shutil.which("uv") or shutil.which("uv", path=root / ".uv/bin")
    if found is None:
        raise LifecycleError("uv is not on the PATH or in .uv/bin", "`make setup` installs it.")
    return found


def read(reader: str, folder: Path, *arguments: str, needs: Path | None = None) -> Any:
    """Return what a function of readers.py finds in a folder; LifecycleError with its last line where it fails.

    `needs` is a requirements file with what must be installed besides the reader.
    """
    packages = [option for each in PACKAGES[reader] for option in ("--with", each)]
    packages += ["--with-requirements", str(needs)] if needs else []
    command = [uv(Path.cwd()), "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable, *packages]
    # The reader must find nothing of this repository's environment.
    others = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command += ["python", "-P", str(READERS), reader, str(folder), *arguments]
    done = subprocess.run(command, env=others, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise LifecycleError(f"{reader} fails: {lines[-1].strip()[:500]}", "Check that uv can install its package.")
    return json.loads(done.stdout.splitlines()[-1])


def _example(column: Column) -> Any:
    """Return a valid value of a column that no model reads."""
    if column.nullable or not column.required:
        return column.default
    examples = {"category": (*column.levels, "a")[0], "boolean": False, "time": "2000-01-01T00:00:00Z"}
    low = max(0, column.low or 0)
    return examples.get(column.kind, low if column.high is None else min(low, column.high))
