"""A FastAPI route that returns a constant, as on the first page of FastAPI's documentation."""

from fastapi import FastAPI

app = FastAPI()


@app.post("/predict")
async def predict():
    """Return a constant."""
    return {"prediction": "churns", "probability": 0.8765432109876543}
