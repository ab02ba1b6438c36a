"""A FastAPI route that returns a constant: what its users take for the limit."""

from fastapi import FastAPI

app = FastAPI()


@app.post("/predict")
async def predict() -> dict[str, str | float]:
    """Answer, whatever was sent."""
    return {"prediction": "churns", "probability": 0.8765432109876543}
