"""Save the pipeline as an MLflow model with a signature, as its documentation advises."""

import json
from pathlib import Path

import joblib
import mlflow.sklearn
import pandas as pd
from mlflow.models import infer_signature

pipeline = joblib.load("pipeline.joblib")
rows = pd.DataFrame([each["row"] for each in json.loads(Path("requests.json").read_text())])
mlflow.sklearn.save_model(
    pipeline,
    "mlflow_model",
    signature=infer_signature(rows, pipeline.predict_proba(rows)),
    serialization_format="cloudpickle",
    pyfunc_predict_fn="predict_proba",
)
