"""What a serving process loads: an exported model needs none of the libraries that trained it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle.models.bundle import Bundle
from support.processes import ROW, Service
from support.services import KNOWN
from support.storages import Storage

pytestmark = pytest.mark.slow
# Of the training and of the conversion: each costs seconds at the start, and memory for as long as the service runs.
HEAVY = {"pandas", "sklearn", "scipy", "pyarrow", "duckdb", "mlflow", "skops", "onnx", "skl2onnx", "tqdm", "model"}
AT_ITS_END = """
import atexit, json, os, sys, time

def write_modules():
    with open(f"modules-{os.getpid()}.json", "w") as file:
        json.dump(sorted(sys.modules), file)

atexit.register(write_modules)
"""


@pytest.fixture
def exported(storage: Storage) -> Bundle:
    """A deployed ONNX bundle."""
    made = storage.publish(kind="onnx")
    storage.fill(made, KNOWN)
    storage.deploy(made)
    return made


def loaded(folder: Path) -> list[set[str]]:
    """The packages of each process that has ended."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("modules-*.json"))]
    return [{name.partition(".")[0] for name in each} for each in found]


def test_an_exported_model_is_served_without_any_library_of_the_training(
    serve: Callable[..., Service], exported: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_ITS_END)
    service = serve()
    assert service.predict(ROW)[0] == 200
    for path in ("/info", "/metrics", "/openapi.json"):
        assert service.text(path)[0] == 200
    assert service.end()[0] == 0
    (modules,) = loaded(tmp_path)
    assert modules & HEAVY == set()
    assert "onnxruntime" in modules


def test_an_import_of_one_would_be_seen(serve: Callable[..., Service], exported: Bundle, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_ITS_END + "import pandas\n")
    service = serve()
    assert service.end()[0] == 0
    assert {"pandas"} <= loaded(tmp_path)[0] & HEAVY
