"""BentoML as in its documentation: a service with one API, and a model from its model store."""

from typing import Any

import bentoml
import pandas as pd
from pydantic import BaseModel


class Row(BaseModel):
    """The request."""

    age: float
    tenure: float
    visits: float
    purchases: float
    spent: float
    discount: float
    distance: float
    rating: float
    plan: str
    channel: str
    region: str
    device: str


@bentoml.service
class Churn:
    """A service that predicts one row."""

    def __init__(self) -> None:
        self.model = bentoml.sklearn.load_model("churn:latest")

    @bentoml.api
    def predict(self, row: Row) -> dict[str, Any]:
        """Predict one row."""
        probability = float(self.model.predict_proba(pd.DataFrame([row.model_dump()]))[0, 1])
        return {"prediction": "churns" if probability >= 0.5 else "stays", "probability": probability}
