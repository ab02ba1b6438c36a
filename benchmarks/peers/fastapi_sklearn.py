"""What is written by hand when there is no template: FastAPI, a Pydantic row, a joblib file, a frame of one row."""

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

model = joblib.load("pipeline.joblib")
app = FastAPI()


class Row(BaseModel):
    """What the caller sends."""

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


class Target(BaseModel):
    """What it gets."""

    prediction: str
    probability: float


@app.post("/predict")
def predict(row: Row) -> Target:
    """Target one row."""
    probability = model.predict_proba(pd.DataFrame([row.model_dump()]))[0, 1]
    return Target(prediction="churns" if probability >= 0.5 else "stays", probability=probability)
