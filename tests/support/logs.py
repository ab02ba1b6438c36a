"""Lines and segments of the prediction log, as a service of CHURN writes them."""

import json
from pathlib import Path
from typing import Any

from lifecycle.registry import predictions
from lifecycle.storage import Store

DAY = 86_400
NOON = 1_767_225_600 + DAY // 2  # 2026-01-01T12:00:00Z
ROW = {"customer_id": "ann", "discount": 1.5, "plan": "basic", "visits": 3}
PREDICTION = {"prediction": "stays", "probability": 0.1234567890123456}


def line(version: str, ts: float = NOON, **other: Any) -> dict[str, Any]:
    """Return a line of the log."""
    facts = {"ts": ts, "id": "r1", "version": version, "threshold": 0.5, "as_of": NOON - DAY}
    return facts | {"rows": [ROW], "predictions": [PREDICTION]} | other


def write(store: Store, name: str, *lines: dict[str, Any] | bytes, environment: str = "local") -> Path:
    """Write a segment and return its path."""
    path = predictions.segment_folder(store, environment) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = (each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in lines)
    path.write_bytes(b"".join(whole))
    return path
