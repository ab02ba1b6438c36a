"""An MLflow model of a version: its bundle, an `MLmodel` with a signature from the contract, and code that loads it.

MLflow imports this module from the folder `code` of a model, which has all that it needs of the lifecycle in one file.
"""

import ast
import importlib.metadata
import platform
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

CODE = Path(__file__).with_name("lifecycle.zip")
if CODE.exists():
    sys.path.insert(0, str(CODE))

import yaml  # noqa: E402
from pydantic_core import to_json  # noqa: E402

from lifecycle.contract.rows import RowReader  # noqa: E402
from lifecycle.contract.schema import Column  # noqa: E402
from lifecycle.models.bundle import Bundle, verify  # noqa: E402
from lifecycle.models.predictor import Predictor  # noqa: E402

# MLflow's type of a column; those of columns that may be null, where it differs.
TYPES = {"number": "double", "integer": "long", "boolean": "boolean", "category": "string", "time": "datetime"}
NULLABLE = {"integer": "double", "boolean": "any"}
LOADED = """
import sys
import lifecycle.models.predictor
files = [module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "lifecycle"]
print(*files, sep="\\n")
"""
# What that code imports of others.
NEEDED = ("numpy", "pandas", "pydantic", "pyyaml")


class Model:
    """A bundle as MLflow calls it. A row has every column of the signature, also those that the service looks up."""

    def __init__(self, folder: Path) -> None:
        self.predictor = Predictor(verify(folder))
        contract, columns = self.predictor.contract, inputs(self.predictor.bundle)
        self.reader = RowReader(replace(contract, columns=tuple(replace(each, source="request") for each in columns)))

    def predict(self, frame: Any, params: dict[str, Any] | None = None) -> Any:
        """Return a frame with a row of predictions for each row; LifecycleError where one violates the contract."""
        import pandas as pd

        plain = frame.astype(object).where(frame.notna(), None)
        rows, _, _ = self.reader.read(to_json(plain.to_dict("records")))
        found = self.predictor.predict(rows, (params or {}).get("threshold"))
        return pd.DataFrame([flat(each) for each in found], index=frame.index)


def _load_pyfunc(path: str) -> Model:
    return Model(Path(path))


def flat(prediction: dict[str, Any]) -> dict[str, Any]:
    """Return a response object with one value for each class."""
    classes = {f"probability of {name}": p for name, p in prediction.get("probabilities", {}).items()}
    return {name: value for name, value in prediction.items() if name != "probabilities"} | classes


def inputs(bundle: Bundle) -> tuple[Column, ...]:
    """Return the columns that a model reads; only a class of the team reads keys."""
    return bundle.contract.framed if bundle.kind == "python" else bundle.contract.inputs


def signature(bundle: Bundle, threshold: float | None) -> dict[str, str | None]:
    """Return the signature of a version, as MLflow writes it."""
    target, columns = bundle.contract.target, []
    for column in inputs(bundle):
        kind = (NULLABLE if column.nullable else {}).get(column.kind, TYPES[column.kind])
        columns.append({"type": kind, "name": column.name, "required": column.required and kind != "any"})
    example: dict[str, Any] = {"prediction": ""} | ({"probability": 0} if target.task == "binary" else {})
    example |= {"probabilities": dict.fromkeys(target.classes)} if target.task == "multiclass" else {}
    types = {name: "string" if name == "prediction" and target.classes else "double" for name in flat(example)}
    outputs = [{"type": kind, "name": name, "required": True} for name, kind in types.items()]
    limit = {"name": "threshold", "default": threshold, "shape": None, "type": "double"}
    params = to_json([limit]).decode() if target.task == "binary" else None
    return {"inputs": to_json(columns).decode(), "outputs": to_json(outputs).decode(), "params": params}


def write(bundle: Bundle, threshold: float | None, folder: Path) -> None:
    """Write the MLflow model of a verified version into an empty folder."""
    shutil.copytree(bundle.path, folder / "bundle" / bundle.version)
    (folder / "code").mkdir()
    shutil.copyfile(__file__, folder / "code/mlflow_model.py")
    loaded = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    found = sorted(map(Path, loaded.stdout.splitlines()))
    source = min(found, key=lambda path: len(path.parts)).parents[1]
    with zipfile.ZipFile(folder / "code/lifecycle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in found:
            name = zipfile.ZipInfo(path.relative_to(source).as_posix())
            # Without comments and docstrings it takes a third less.
            tree = ast.parse(path.read_bytes())
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                    node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
            archive.writestr(name, ast.unparse(tree), zipfile.ZIP_DEFLATED, 9)
    names = sorted({*NEEDED, *bundle.facts["requires"]})
    pinned = "".join(f"{name}=={importlib.metadata.version(name)}\n" for name in names)
    (folder / "requirements.txt").write_text(pinned, "utf-8")
    environment = {"python": platform.python_version(), "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment), "utf-8")
    flavor: dict[str, Any] = {"loader_module": "mlflow_model", "code": "code", "data": f"bundle/{bundle.version}"}
    flavor |= {"python_version": platform.python_version(), "env": {"virtualenv": "python_env.yaml"}}
    about = {"flavors": {"python_function": flavor}, "signature": signature(bundle, threshold)}
    created = bundle.facts["created"].partition("+")[0].replace("T", " ")
    about |= {"metadata": {"version": bundle.version}, "utc_time_created": created}
    (folder / "MLmodel").write_text(yaml.safe_dump(about), "utf-8")
