"""A hand-written service: FastAPI, a Pydantic row, a joblib file, a frame of one row."""

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

model = joblib.load("pipeline.joblib")
app = FastAPI()


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


class Prediction(BaseModel):
    """The response."""

    prediction: str
    probability: float


@app.post("/predict")
def predict(row: Row) -> Prediction:
    """Predict one row."""
    probability = model.predict_proba(pd.DataFrame([row.model_dump()]))[0, 1]
    return Prediction(prediction="churns" if probability >= 0.5 else "stays", probability=probability)
