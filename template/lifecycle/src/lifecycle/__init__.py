"""The lifecycle of a model: contract, features, bundles, deployments, jobs and service."""

import os

from lifecycle.renamed import find_renamed_modules

__version__ = "0.3.0.dev0"

# Dependencies read these variables when they are imported. Without them, onnxruntime 1.32 writes a device id below HOME
# and sends usage data, and MLflow sends usage data.
for _variable in ("ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(_variable, "true" if _variable.startswith("MLFLOW") else "1")

find_renamed_modules()
