"""A FastAPI route that returns a constant, as the first page of FastAPI's documentation has it."""

from fastapi import FastAPI

app = FastAPI()


@app.post("/predict")
async def predict():
    """Target, whatever was sent."""
    return {"prediction": "churns", "probability": 0.8765432109876543}
