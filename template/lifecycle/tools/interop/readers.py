"""Read a version as other programs do: `python readers.py READER FOLDER [ARGUMENT …]` prints what it finds as JSON.

Each reader runs in an environment of its own, and nothing of this repository is imported here.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def triton(folder: Path, address: str, key: str) -> Any:
    """Request predictions over the Open Inference Protocol, as JSON and as bytes, and from an unknown model."""
    import numpy as np
    import tritonclient.http as http
    from tritonclient.utils import InferenceServerException, triton_to_np_dtype

    given, headers = json.loads((folder / "request.json").read_text("utf-8")), {"x-api-key": key}
    client, model = http.InferenceServerClient(address), (given["name"], given["version"])
    ready = client.is_server_live(headers), client.is_server_ready(headers), client.is_model_ready(*model, headers)
    names = [each["name"] for each in client.get_model_metadata(*model, headers)["inputs"]]
    about, outputs = {"ready": all(ready), "inputs": names, "unknown": ""}, []

    def infer(name: str, binary: bool) -> Any:
        tensors = []
        for each in given["inputs"]:
            kind = triton_to_np_dtype(each["datatype"])
            # An array of texts sends a null as `None`, and one of floats as NaN.
            null = None if kind is np.object_ else np.nan
            array = np.array([null if value is None else value for value in each["values"]], dtype=kind)
            tensors.append(http.InferInput(each["name"], list(array.shape), each["datatype"]))
            tensors[-1].set_data_from_numpy(array, binary_data=binary)
        return client.infer(name, tensors, model[1], headers=headers, parameters={"null": "None"})

    for binary in (False, True):
        result = infer(given["name"], binary)
        names = [each["name"] for each in result.get_response()["outputs"]]
        outputs.append({name: result.as_numpy(name).tolist() for name in names})
    try:
        infer(f"not-{given['name']}", False)
    except InferenceServerException as error:
        about["unknown"] = error.status()
    return {"about": about, "outputs": outputs}


def mlflow(folder: Path) -> Any:
    """Predict with MLflow's Python interface and with its command line."""
    import mlflow.pyfunc
    import pandas as pd

    model, given = str(folder / "model"), json.loads((folder / "request.json").read_text("utf-8"))
    frame = pd.DataFrame({each["name"]: pd.Series(each["values"], dtype=each["dtype"]) for each in given["inputs"]})
    loaded = mlflow.pyfunc.load_model(model)
    found = [loaded.predict(frame, params=given["params"]).to_dict("records")]
    split = json.loads(frame.to_json(orient="split", date_format="iso", double_precision=15))
    (folder / "input.json").write_text(json.dumps({"dataframe_split": split}))
    command = [sys.executable, "-m", "mlflow", "models", "predict", "--model-uri", model, "--env-manager", "local"]
    command += ["--content-type", "json", "--input-path", str(folder / "input.json")]
    done = subprocess.run([*command, "--output-path", str(folder / "output.json")], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found.append(json.loads((folder / "output.json").read_text("utf-8"))["predictions"])
    return {"predictions": found, "inputs": loaded.metadata.get_input_schema().input_names()}


def onnx(folder: Path) -> Any:
    """Read the metadata of a graph, and predict a matrix."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    matrix = np.array(json.loads((folder / "matrix.json").read_text("utf-8")), dtype=np.float32)
    [outputs] = session.run(None, {session.get_inputs()[0].name: matrix})
    return {"about": {name: json.loads(text) for name, text in about.items()}, "outputs": outputs.tolist()}


def huggingface(folder: Path) -> Any:
    """Load a model card strictly; unknown or wrong results of an evaluation are an error."""
    from huggingface_hub import ModelCard

    card = ModelCard.load(folder / "README.md", ignore_metadata_errors=False)
    results = card.data.eval_results or []
    metrics = {each.metric_type: each.metric_value for each in results}
    return card.data.to_dict() | {"metrics": metrics, "tasks": sorted({each.task_type for each in results})}


def cyclonedx(folder: Path) -> Any:
    """Validate a bill of materials against the schema of its version."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (folder / "bom.json").read_text("utf-8")
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return {"fault": str(fault).splitlines()[0] if fault else ""}


def sign(folder: Path, key: str = "") -> Any:
    """Sign a folder with a private key, a file in PEM, or with a new key; return the public key in PEM."""
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import ec
    from model_signing import signing

    path = Path(key or folder.with_name("new.pem"))
    if not key:
        made = ec.generate_private_key(ec.SECP256R1())
        path.write_bytes(made.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    config = signing.Config().use_elliptic_key_signer(private_key=path).set_hashing_config(_hashing(folder))
    config.sign(folder, folder / "model.sig")
    public = pem.load_pem_private_key(path.read_bytes(), None).public_key()
    return public.public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo).decode()


def verify(folder: Path, *keys: str) -> Any:
    """Return why each public key, in PEM, has not made the signature of a folder; nothing where it has."""
    from model_signing import verifying

    path, faults = folder.with_name("public.pem"), []
    for key in keys:
        path.write_text(key)
        config = verifying.Config().use_elliptic_key_verifier(public_key=path).set_hashing_config(_hashing(folder))
        try:
            config.verify(folder, folder / "model.sig")
            faults.append("")
        # The library raises its own and other types.
        except Exception as error:
            faults.append(f"{type(error).__name__}: {error}".splitlines()[0])
    return faults


def _hashing(folder: Path) -> Any:
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[folder / "model.sig", folder / "bundle.sig"])


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))
