"""Return advice for the failure of a cell, and hold the other texts of a lift."""

import tomllib
from pathlib import Path

TEXTS = tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))


def hint_for(error: str) -> str:
    """Return what to do about an error of a cell that the prediction needs."""
    return next(str(hint) for start, hint in TEXTS["hints"].items() if start in error)
