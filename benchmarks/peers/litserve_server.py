"""LitServe as in its documentation."""

import sys
from typing import Any

import joblib
import litserve
import pandas as pd


class Churn(litserve.LitAPI):
    """Predict one row."""

    def setup(self, device: str) -> None:
        """Load the model once for each worker."""
        self.model = joblib.load("pipeline.joblib")

    def decode_request(self, request: dict[str, Any]) -> pd.DataFrame:
        """Convert the request to a frame."""
        return pd.DataFrame([request])

    def predict(self, frame: pd.DataFrame) -> float:
        """Return the probability."""
        return float(self.model.predict_proba(frame)[0, 1])

    def encode_response(self, probability: float) -> dict[str, Any]:
        """Convert the probability to a response."""
        return {"prediction": "churns" if probability >= 0.5 else "stays", "probability": probability}


if __name__ == "__main__":
    server = litserve.LitServer(Churn(), accelerator="cpu", devices=1, workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
