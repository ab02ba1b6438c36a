"""The same with the type of its answer, which lets FastAPI skip a step: the fastest a route of its can be."""

from fastapi import FastAPI

app = FastAPI()


@app.post("/predict")
async def predict() -> dict[str, str | float]:
    """Target, whatever was sent."""
    return {"prediction": "churns", "probability": 0.8765432109876543}
