"""Write a version for other programs, or let them read it: the commands behind make conform, card and bundle TO=….

`conform` writes into a temporary folder only. Each reader gets the golden rows of the version and has to return the
outputs of its estimator in training.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from interop import Absent, Version, bom, card, mlflow_model, read
from lifecycle import settings
from lifecycle.contract.rows import Encoder
from lifecycle.errors import LifecycleError, complete_commands
from lifecycle.models import OPENSSF
from lifecycle.models.bundle import open_version

# What to do about a finding of a reader.
AGAIN = "Train again, and promote that version."
REPORT = "Update the template; if it remains, report it to its maintainers."
SETUP = "Lock these packages from an index that states hashes and licences (`make upgrade`)."
KEYS = "Sign it (`make bundle SIGN=KEY.pem VERSION=…`), or add the public key of its signature to trusted_keys."
# The dtypes of pandas that MLflow's types take.
DTYPES = {"double": "float64", "long": "int64", "boolean": "bool", "datetime": "datetime64[ns]"}


def main() -> int:
    """Return 0, or 1 where something fails."""
    parser = argparse.ArgumentParser(prog="interop", description=__doc__)
    parser.add_argument("--environment", choices=settings.ENVIRONMENTS, default="local")
    parser.add_argument("--version", help="default: the deployed version")
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("conform")
    parts.add_parser("card")
    sign = parts.add_parser("sign")
    for name in ("key", "version"):
        # No default: it could be a version that an attacker has written.
        sign.add_argument(name)
    export = parts.add_parser("export")
    export.add_argument("--to", choices=[*WRITERS], required=True)
    export.add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        return run(given)
    except LifecycleError as error:
        print(f"error: {complete_commands(str(error), given.environment)}", file=sys.stderr)
        return 1


def run(given: argparse.Namespace) -> int:
    """Run one command in the repository of the working directory; return the exit code."""
    root = Path.cwd()
    store = settings.load(root, given.environment).settings.store
    with store.synchronised(), tempfile.TemporaryDirectory(prefix="interop-") as folder:
        if given.part == "sign":
            bundle = open_version(replace(store, trusted_keys=()), given.version)
            key = read("sign", bundle.path, given.key)
            print(f"{given.version} is signed. The public key for the setting trusted_keys:\n{key}", end="")
            return 0
        version = Version.opened(store, given.environment, given.version, Path(folder))
        if given.part == "export":
            export(version, given.to, given.folder, root)
        elif given.part == "card":
            (root / card.PATH).write_text(card.text(root, version.bundle, version.deployment), encoding="utf-8")
            print(f"{card.PATH} describes {version.bundle.version}; commit it")
        else:
            return conform(version)
    return 0


def export(version: Version, to: str, folder: Path, root: Path) -> None:
    """Write a version for another program into a new folder; nothing remains where it fails."""
    if folder.exists():
        raise LifecycleError(f"{folder} exists already", "Name a new folder.")
    made = version.folder / "export"
    WRITERS[to](version, made, root)
    shutil.copytree(made, folder)
    print(f"{version.bundle.version} was written to {folder} for {to}")


def conform(version: Version) -> int:
    """Let every reader read the version, and print a line for each; return 1 where one fails."""
    failed = 0
    for name, check in CHECKS.items():
        try:
            line = f"passed        {name}: {check(version)}"
        except Absent as absent:
            line = f"not possible  {name}: {absent}"
        except LifecycleError as error:
            failed, line = 1, f"failed        {name}: {error.problem}" + (f". {error.hint}" if error.hint else "")
        print(line, flush=True)
    return failed


def _huggingface(version: Version, folder: Path, root: Path) -> None:
    shutil.copytree(version.bundle.path, folder)
    (folder / "README.md").write_text(card.text(root, version.bundle, version.deployment), encoding="utf-8")


def _cyclonedx(version: Version, folder: Path, root: Path) -> None:
    folder.mkdir()
    (folder / "bom.json").write_text(json.dumps(bom.document(version.bundle, root)) + "\n", encoding="utf-8")


WRITERS: dict[str, Callable[[Version, Path, Path], None]] = {
    "mlflow": lambda version, folder, root: mlflow_model.write(version.bundle, version.threshold, folder),
    "huggingface": _huggingface,
    "cyclonedx": _cyclonedx,
}


def _written(version: Version, to: str) -> Path:
    folder = version.folder / to
    WRITERS[to](version, folder / "model" if to == "mlflow" else folder, Path.cwd())
    return folder


def read_by_triton(version: Version) -> str:
    """Request the predictions of a service of this version with Triton's client."""
    try:
        from lifecycle.serving import v2
    except ImportError:
        raise Absent("this repository has no service") from None
    contract, rows = version.bundle.contract, version.golden
    inputs = []
    for column in contract.request:
        values = [row[column.name] for row in rows]
        datatype = v2.DATATYPES[column.kind][0]
        # An array of whole numbers or of booleans has no null.
        datatype = "FP64" if None in values and datatype in ("INT64", "BOOL") else datatype
        inputs.append({"name": column.name, "datatype": datatype, "values": values})
    folder = version.folder / "triton"
    folder.mkdir()
    request = {"name": version.bundle.facts["name"], "version": version.bundle.version, "inputs": inputs}
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    with version.served() as (address, key):
        found = read("triton", folder, address, key)
    if found["about"] != {"ready": True, "inputs": [column.name for column in contract.request], "unknown": "404"}:
        raise LifecycleError(f"health, metadata or the refusal of an unknown model differ: {found['about']}", REPORT)
    for how, outputs in zip(("as JSON", "as bytes"), found["outputs"], strict=True):
        columns = [[(name, value) for value in values] for name, values in outputs.items() if name != "probabilities"]
        rows_found = [dict(row) for row in zip(*columns, strict=True)]
        for row, each in zip(rows_found, outputs.get("probabilities", ()), strict=False):
            row |= mlflow_model.flat({"probabilities": dict(zip(contract.target.classes, each, strict=True))})
        version.compare(rows_found, how)
    return f"{len(rows)} golden rows as JSON and as bytes, with Triton's client"


def read_by_mlflow(version: Version) -> str:
    """Predict with MLflow, in an environment without the packages of this repository."""
    folder = _written(version, "mlflow")
    signed = mlflow_model.signature(version.bundle, version.threshold)
    inputs = []
    for each in json.loads(signed["inputs"] or ""):
        values = [row[each["name"]] for row in version.golden]
        inputs.append({"name": each["name"], "values": values, "dtype": DTYPES.get(each["type"], "object")})
    params = {"threshold": version.threshold} if signed["params"] else None
    (folder / "request.json").write_text(json.dumps({"inputs": inputs, "params": params}), encoding="utf-8")
    paths = [path for path in (folder / "model").rglob("*") if path.is_file() and "bundle" not in path.parts]
    size = sum(path.stat().st_size for path in paths)
    found = read("mlflow", folder, needs=folder / "model/requirements.txt")
    for how, predictions in zip(("load_model", "mlflow models predict"), found["predictions"], strict=True):
        version.compare(predictions, how)
    return f"{len(version.golden)} golden rows with load_model and `mlflow models predict`; {size / 1000:.0f} kB more"


def read_by_onnxruntime(version: Version) -> str:
    """Read metadata and outputs of the graph with ONNX Runtime alone."""
    bundle, folder = version.bundle, version.folder / "onnx"
    if bundle.kind != "onnx":
        raise Absent(f"a bundle of kind {bundle.kind} has no graph")
    folder.mkdir()
    shutil.copy(bundle.path / "model.onnx", folder)
    matrix = Encoder(bundle.contract, bundle.facts["levels"], bundle.facts.get("empty", ())).rows(version.golden)
    (folder / "matrix.json").write_text(json.dumps(matrix.tolist()), encoding="utf-8")
    found, target = read("onnx", folder), bundle.contract.target
    about, outputs = found["about"], np.array(found["outputs"])
    if not about:
        raise Absent("it was trained by a release that wrote no metadata into graphs; train again")
    known = {"name": bundle.facts["name"], "contract": bundle.facts["files"]["contract.json"]}
    known |= {"classes": [*target.classes], "unit": target.unit, "label": target.label}
    wrong = [name for name, value in known.items() if about.get(name) != value]
    wrong += [] if bundle.version.startswith(f"{about.get('version')}-") else ["version"]
    if wrong:
        raise LifecycleError(f"its metadata differ from the bundle: {', '.join(wrong)}", AGAIN)
    raw = outputs[:, 1] if target.task == "binary" else outputs[:, 0] if target.task == "regression" else outputs
    version.compare(version.predictions(raw), "run")
    return f"{len(about)} metadata_props, and {len(raw)} golden rows"


def read_by_huggingface(version: Version) -> str:
    """Load the card with Hugging Face's library."""
    found = read("huggingface", _written(version, "huggingface"))
    if found["metrics"] != card.metrics(version.bundle) or found["version"] != version.bundle.version:
        raise LifecycleError("its metrics or its version differ from the bundle", card.AGAIN)
    card.check(Path.cwd())
    return f"{', '.join(found['tasks'])} with {len(found['metrics'])} metrics"


def read_by_cyclonedx(version: Version) -> str:
    """Validate the bill of materials with the library of CycloneDX."""
    folder = _written(version, "cyclonedx")
    if fault := read("cyclonedx", folder)["fault"]:
        raise LifecycleError(f"the document does not follow its schema: {fault}", REPORT)
    parts = json.loads((folder / "bom.json").read_text(encoding="utf-8"))["components"]
    lacking = [each["name"] for each in parts if "externalReferences" not in each or "licenses" not in each]
    if lacking:
        raise LifecycleError(f"no hash or no licence is known of {', '.join(lacking)}", SETUP)
    return f"the model and {len(parts)} dependencies, with hashes and licences"


def read_by_model_signing(version: Version) -> str:
    """Verify the signature with the library of the OpenSSF; where no key is configured, that of a copy."""
    folder = version.folder / "signed"
    shutil.copytree(version.bundle.path, folder)
    faults = read("verify", folder, *(version.keys or [read("sign", folder)]))
    if "" not in faults:
        raise LifecycleError(f"no trusted key has made its {OPENSSF}: {faults[0]}", KEYS)
    return "by a trusted key" if version.keys else "a copy signed with a new key: trusted_keys has no key in PEM"


CHECKS: dict[str, Callable[[Version], str]] = {
    "Open Inference Protocol": read_by_triton,
    "MLflow": read_by_mlflow,
    "ONNX": read_by_onnxruntime,
    "Hugging Face": read_by_huggingface,
    "CycloneDX": read_by_cyclonedx,
    "model signing": read_by_model_signing,
}


if __name__ == "__main__":
    sys.exit(main())
